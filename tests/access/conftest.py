"""Situations of the access tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.access.office import Office, open_office


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """A gateway that answers, two partners (a CCAS and a Département) and a DPO."""
    return open_office(tmp_path)


@pytest.fixture
def office_that_wants_nonces(tmp_path: Path) -> Office:
    return open_office(tmp_path / "nonces", dpop_nonce=True)
