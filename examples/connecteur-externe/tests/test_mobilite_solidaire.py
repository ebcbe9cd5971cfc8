"""The contract of mobilite_solidaire, on its own fixtures, its mappings' examples and its stand-in."""

from __future__ import annotations

import pytest

from connectors import kit


@pytest.mark.parametrize("case", kit.suite("mobilite_solidaire"), ids=str)
def test_the_contract_is_kept(case: kit.Case) -> None:
    case.verify()
