"""Connectors written to a temporary folder and made present, as an installed package would be."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from connectors import manifest
from connectors.kit import scaffold
from mappings import engine


@pytest.fixture
def present(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """`present("id", format="xml")` scaffolds a package outside the tree, announces it, and returns its folder."""

    def make(id: str = "essai_kit", **choices: str) -> Path:
        chosen = scaffold.Choices(id, "Essai du kit", package=True, **choices)  # type: ignore[arg-type]
        scaffold.write(chosen, tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path / chosen.root))
        point = EntryPoint(name=id, value=f"maillon_{id}", group=manifest.GROUP)
        for module in (manifest, engine):
            monkeypatch.setattr(module, "entry_points", lambda group: [point] if group == manifest.GROUP else [])
        _forget()
        return tmp_path / chosen.home

    yield make
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    manifest.installed.cache_clear()
    engine._index.cache_clear()
    engine.load.cache_clear()
    for name in [name for name in sys.modules if name.startswith("maillon_")]:
        del sys.modules[name]
