"""One served gateway for all the tests of the doors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.house import House, opened


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with opened(tmp_path_factory.mktemp("house")) as house:
        yield house
