"""Files of the caisses, as they arrive at the Landes (040)."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.caf.connector import Caf
from connectors.caf.generator import write_file
from connectors.caf.lecture import Lecture

SHARED = Path(__file__).parents[2].parent / "shared"


@pytest.fixture
def caf() -> Caf:
    return Caf("040")


@pytest.fixture
def samples() -> Path:
    folder = SHARED / "samples" / "caf"
    if not folder.is_dir():
        pytest.skip("the folder of real samples is not beside the checkout")
    return folder


def fichier(n: int = 5, *oddities: str, seed: int = 3, **options: str) -> io.BytesIO:
    """A beneficiary file of `n` households with these oddities."""
    flux = io.BytesIO()
    write_file(flux, n, seed, oddities=oddities, **options)  # type: ignore[arg-type]
    flux.seek(0)
    return flux


@pytest.fixture
def lire(caf: Caf) -> Callable[..., Lecture]:
    def read(n: int = 5, *oddities: str, **options: str) -> Lecture:
        reading = caf.read("caf.flux_beneficiaire", fichier(n, *oddities, **options))
        assert isinstance(reading, Lecture)
        return reading

    return read
