"""What a mission locale says of a young person; the contract suite is run by `tests/kit/test_our_connectors.py`."""

from __future__ import annotations

from connectors.kit.subject import Subject
from connectors.manifest import installed
from schemas.record import Record


def read(situation: str) -> Record:
    subject = Subject(installed()["i_milo"])
    (record,) = subject.read(next(one for one in subject.samples if one.situation == situation))
    return record


def test_sessions_are_local_hours_in_winter_and_in_summer() -> None:
    facts = read("cej_et_sessions").personnes[0].facts
    assert facts["rendez_vous[i_milo:88-1].debut"] == "2026-10-05T07:30:00Z"
    assert facts["rendez_vous[i_milo:88-2].debut"] == "2026-11-30T13:00:00Z"
    assert facts["contrats[i_milo:C-31].nature"] == "cej"


def test_a_refusal_without_its_author_is_no_absence() -> None:
    record = read("refus_sans_auteur")
    assert [(one.code, one.raw) for one in record.findings] == [("disputed-code", "REFUSAL")]
    assert "rendez_vous[i_milo:88-3].statut" not in record.personnes[0].facts
