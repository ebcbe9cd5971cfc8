"""Our own connectors keep the contract that is asked of others."""

from __future__ import annotations

import dataclasses

import pytest

from connectors import kit
from connectors.kit.subject import Subject
from connectors.manifest import installed

OURS = sorted(id for id, one in installed().items() if one.package.startswith("connectors."))
CASES = [pytest.param(id, case, id=f"{id}-{case}") for id in OURS for case in kit.suite(id)]
CALLED = ("api_particulier", "france_travail")
"""Partners called over HTTP…"""
MET = frozenset((
    "demande", "acces_refuse", "attente_annoncee", "attente_non_annoncee", "panne", "delai", "injoignable", "scenarios",
))  # fmt: skip
"""…who meet every fault: none of these cases may have silently lost its object for them."""


@pytest.mark.parametrize(("id", "case"), CASES)
def test_the_contract_is_kept(id: str, case: kit.Case) -> None:
    told = case.verify()
    if id in CALLED and case.name in MET:
        assert told.outcome == "ok"


@pytest.mark.parametrize("id", CALLED)
def test_partners_called_over_http_meet_every_fault(id: str) -> None:
    assert {case.name for case in kit.suite(id)} >= MET


@pytest.mark.parametrize("id", OURS)
def test_the_grade_announced_is_the_grade_held(id: str) -> None:
    assert kit.held(installed()[id]) == installed()[id].quality.grade


def test_a_sheet_sent_as_something_else_than_the_manifest_says_fails() -> None:
    """The media type was changed in the manifest alone: what leaves is still the former one."""
    one = installed()["i_milo"]
    documents = [told.model_copy(update={"content_type": ("text/csv",)}) for told in one.manifest.document]
    other = dataclasses.replace(one, manifest=one.manifest.model_copy(update={"document": tuple(documents)}))
    (case,) = (case for case in kit.suite("i_milo") if case.name == "envoi")
    assert case.run().outcome == "ok"
    told = dataclasses.replace(case, subject=Subject(other)).run()
    assert told.outcome == "failed"
    assert told.detail == ("i_milo.fiche: content_type of manifest.toml is text/csv, and application/json is sent",)
