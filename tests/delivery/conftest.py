"""A gateway on each database, with a partner that can be made to fail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.house import RECIPIENTS, House


@pytest.fixture
async def house(database: str, tmp_path: Path) -> AsyncIterator[House]:
    one = House(tmp_path / "home", database).furnish()
    yield one
    await one.aclose()


@pytest.fixture
async def two_recipients(database: str, tmp_path: Path) -> AsyncIterator[House]:
    one = House(tmp_path / "home", database, recipients=RECIPIENTS).furnish()
    yield one
    await one.aclose()
