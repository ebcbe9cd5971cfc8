"""The territory of the demonstration, for whatever is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.territory import DEMO, Territory, territory


@pytest.fixture
def landes(tmp_path: Path) -> Iterator[Territory]:
    one = territory(tmp_path, DEMO)
    yield one
    one.gateway.engine.dispose()
