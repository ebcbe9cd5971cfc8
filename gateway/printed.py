"""Documents to keep, read or print apart from the console: a template of `templates/` each, in the frame they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

FOLDER = Path(__file__).parent / "templates"


def printed(template: str, filters: Mapping[str, Callable[..., Any]], **told: Any) -> str:
    """The document, in French HTML without script."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=select_autoescape(), undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= filters
    return environment.get_template(template).render(**told)
