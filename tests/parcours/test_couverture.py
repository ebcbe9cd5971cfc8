"""`docs/coverage.md` says what the mappings do, and no element of the caisses' schemas is forgotten."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

import mappings
from mappings.coverage import leaves

COVERAGE = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "coverage.py"))


@pytest.mark.parametrize("document", sorted(COVERAGE["DOCUMENTS"]))
def test_chaque_element_est_lu_ou_declare_non_partage(document: str) -> None:
    found = leaves(mappings.load(document))
    assert len(found) > 60
    assert [leaf.path for leaf in found if not leaf.canonical and not leaf.reason] == []


def test_la_page_est_a_jour() -> None:
    assert COVERAGE["PAGE"].read_text("utf-8") == COVERAGE["page"](), "run: python docs/coverage.py"
