"""What the decision table learns of a person, from records to a decision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from gateway import basis, clock, convention
from gateway.basis import FlowStates
from gateway.demo.stage import FOLDER
from gateway.policy_table import DEFAULT
from gateway.problems import Conflict, Invalid
from gateway.registry import Gateway
from gateway.settings import Settings

At = Callable[..., Any]
Said = Callable[..., dict[str, Any]]
Journal = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def seen(at: At, person: str) -> Callable[..., FlowStates]:
    def states(
        regime: str, purpose: str, recipient: str = "ccas_villemin", moment: str = "2026-11-21T12:00:00Z"
    ) -> FlowStates:
        with at(moment) as work:
            return basis.states(work, [person])[person].for_flow(regime, purpose, recipient, work.now)

    return states


@pytest.fixture
def pie(said: Said) -> Callable[..., dict[str, Any]]:
    def content(kind: str, **fields: Any) -> dict[str, Any]:
        return said(
            kind, notice_id="pie", regime="PIE", purpose="accompagnement", legal_basis="e",
            article=["CASF L263-4-1"], **fields,
        )  # fmt: skip

    return content


def test_nobody_knows_anything_of_a_new_person(seen: Callable[..., FlowStates], said: Said) -> None:
    found = seen("PIE", "accompagnement")
    assert (found.consent_state, found.objection_state) == ("not_applicable", "none")
    assert (found.person_informed, found.limitation, found.age_status) == (False, False, "adult")
    assert seen("SIFT", "orientation").objection_state == "not_available"
    assert seen("CSS_ACCORD", "instruction_rsa", "caf").consent_state == "unknown"


def test_an_objection_is_pending_then_answered(
    at: At, pie: Callable[..., dict[str, Any]], seen: Callable[..., FlowStates], journal: Journal
) -> None:
    with at("2026-11-21T10:00:00Z") as work:
        change = basis.object_(work, pie("objection"))
    assert seen("PIE", "accompagnement").objection_state == "raised_pending"
    assert seen("PIE", "accompagnement", "autre_ccas").objection_state == "none"
    with at("2026-11-21T11:00:00Z") as work:
        with pytest.raises(Invalid, match="reason-needed"):
            basis.resolve_objection(work, change.id, upheld=False)
        basis.resolve_objection(
            work, change.id, upheld=True, past_recipients=["ccas_villemin"], reference=lambda _: "ref"
        )
    assert seen("PIE", "accompagnement").objection_state == "upheld"
    assert [one["event"] for one in journal()] == ["basis.object", "basis.object_upheld"]
    with at("2026-11-21T12:00:00Z") as work, pytest.raises(Conflict):
        basis.resolve_objection(work, change.id, upheld=False, reason_hash="0a" * 32)


def test_a_regime_without_objection_says_so(at: At, said: Said) -> None:
    content = said("objection", notice_id="sift", regime="SIFT", purpose="orientation", legal_basis="c")
    with pytest.raises(Invalid, match="objection-not-available"), at() as work:
        basis.object_(work, content)


def test_a_new_version_of_the_notice_asks_to_inform_again(
    at: At, pie: Callable[..., dict[str, Any]], seen: Callable[..., FlowStates]
) -> None:
    with at("2026-11-21T10:00:00Z") as work:
        basis.record(work, pie("information", falc=True, valid_until=None))
    found = seen("PIE", "accompagnement", moment="2026-11-21T11:00:00Z")
    assert (found.person_informed, found.notice_ref) == (True, "pie:1")
    with at("2026-11-21T12:00:00Z") as work:
        basis.publish_notice(work, "pie", 2, "Notice pie, version 2")
        with pytest.raises(Conflict, match="notice-published"):
            basis.publish_notice(work, "pie", 1, "autre texte")
    assert seen("PIE", "accompagnement").person_informed is False


def test_a_collective_notice_counts_only_where_the_convention_says_so(at: At, said: Said) -> None:
    with at() as work:
        assert basis.informed_collectively(work, "collective", "sift:1")
        assert not basis.informed_collectively(work, "individuelle", "sift:1")
        assert not basis.informed_collectively(work, "collective", "sift:2")
        assert not basis.informed_collectively(work, "collective", "absente:1")


def test_a_limitation_of_everything_is_lifted(
    at: At, said: Said, seen: Callable[..., FlowStates], journal: Journal
) -> None:
    with at("2026-11-21T10:00:00Z") as work:
        content = said("limitation", regime="", purpose="", recipients=[], valid_until=None)
        change = basis.record(work, content)
    assert seen("RSA", "instruction_rsa", "departement").limitation
    with at("2026-11-21T11:00:00Z") as work:
        basis.close(work, change.id)
    assert not seen("RSA", "instruction_rsa", "departement").limitation
    assert [one["event"] for one in journal()] == ["right.limit", "right.unlimit"]


def test_a_protected_adult_waits_for_her_representative(at: At, said: Said, seen: Callable[..., FlowStates]) -> None:
    content = said("protection", age_status="protected_adult", regime="", purpose="", recipients=[], valid_until=None)
    with at("2026-11-21T10:00:00Z") as work:
        change = basis.record(work, content)
    assert (seen("PIE", "accompagnement").age_status, seen("PIE", "accompagnement").representative_notified) == (
        "protected_adult",
        False,
    )
    with at("2026-11-21T11:00:00Z") as work:
        basis.representative_notified(work, change.id)
    assert seen("PIE", "accompagnement").representative_notified is True
    with at("2026-11-21T11:30:00Z") as work:
        basis.close(work, change.id)
    assert seen("PIE", "accompagnement").age_status == "adult"


def test_two_validations_need_two_agents(at: At, said: Said, seen: Callable[..., FlowStates]) -> None:
    def validation(agent: str) -> dict[str, Any]:
        evidence = {"kind": "oral_attested", "agent": agent, "witnessed_at": "2026-11-21T09:00:00Z"}
        return said(
            "validation", notice_id="sift", regime="SIFT", purpose="sanction", legal_basis="e",
            recipients=["france_travail"], evidence=evidence, valid_until="2026-11-22T09:00:00Z",
        )  # fmt: skip

    counts = []
    for agent in ("aa" * 20, "aa" * 20, "bb" * 20):
        with at("2026-11-21T10:00:00Z") as work:
            basis.record(work, validation(agent))
        counts.append(seen("SIFT", "sanction", "france_travail").human_validations)
    assert counts == [1, 1, 2]
    assert seen("SIFT", "sanction", "france_travail", "2026-11-23T09:00:00Z").human_validations == 0


def test_many_people_are_read_in_a_few_queries(at: At, engine: Engine, pie: Callable[..., dict[str, Any]]) -> None:
    people = [clock.new_id() for _ in range(400)]
    with at("2026-11-21T10:00:00Z") as work:
        for person in people[:50]:
            basis.record(work, pie("information") | {"person_id": person})
    queries: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *said: queries.append(said[2]))
    with at("2026-11-21T11:00:00Z") as work:
        found = basis.states(work, people)
        basis.states(work, people[:3])
    assert (
        sum(
            state.for_flow("PIE", "accompagnement", "ccas_villemin", "2026-11-21T11:00:00.000000Z").person_informed
            for state in found.values()
        )
        == 50
    )
    assert len([query for query in queries if query.startswith("SELECT")]) == 3


def test_what_is_recorded_and_signed_is_held_against_the_table_of_the_installation(tmp_path: Path, said: Said) -> None:
    """Not the one that this release comes with: here a PIE that leaves no right to object, and nobody informed by a
    poster."""
    own = DEFAULT.read_text("utf-8").replace('objection = "available"', 'objection = "not_available"', 1)
    own = own.replace('information = "collective"', 'information = "individual"')
    (tmp_path / "decision.toml").write_text(own, encoding="utf-8")
    settings = Settings(
        profile="test", home=tmp_path / "home", policy_file=tmp_path / "decision.toml", departement="040"
    )
    gateway = Gateway.open(settings)
    assert gateway.policy.table.regimes["PIE"].objection == "not_available"
    raised = said("objection", notice_id="", notice_version=0, regime="PIE", purpose="accompagnement", legal_basis="e")
    with gateway.unit_of_work() as work, pytest.raises(Invalid, match="objection-not-available"):
        basis.object_(work, raised | {"article": ["RGPD 21"]})
    with gateway.reading() as work:
        found = basis.states(work, [raised["person_id"]])[raised["person_id"]]
        assert found.for_flow("PIE", "accompagnement", "ccas", work.now).objection_state == "not_available"
    with gateway.unit_of_work() as work, pytest.raises(Invalid, match="flow-information"):
        convention.add(work, (FOLDER / "convention.toml").read_bytes())
    gateway.engine.dispose()
