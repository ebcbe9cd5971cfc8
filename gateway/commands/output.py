"""Where commands write: data on stdout alone, words for people on stderr."""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

people = Console(stderr=True, highlight=False)
"""Progress and messages."""

REFUSED, WRONG_USAGE = 1, 2


def data(value: Any) -> None:
    """One JSON object on one line of stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def told(code: str, detail: str = "", style: str = "bold red") -> None:
    """A code and its words on one line of stderr, as they are: brackets in them (`[record]`) are no style."""
    people.print(f"[{style}]{escape(code)}[/]" + (f": {escape(detail)}" if detail else ""), soft_wrap=True)


def fail(code: str, detail: str = "", status: int = REFUSED) -> NoReturn:
    """Say why on stderr and leave. `code` is stable; `detail` says who does what."""
    told(code, detail)
    raise typer.Exit(status)
