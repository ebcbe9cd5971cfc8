"""The life of a consent: given, withdrawn, expired, and what no later event can undo."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import Engine, event, select

from gateway import basis, notification
from gateway.basis_record import LIFE, fold
from gateway.problems import Conflict, Invalid, Unavailable
from gateway.storage.tables.basis import basis_notification, basis_record

At = Callable[..., Any]
Said = Callable[..., dict[str, Any]]
Journal = Callable[[], list[dict[str, Any]]]


def test_nothing_recorded_is_unknown_where_consent_is_the_basis(consent_state: Callable[..., str], said: Said) -> None:
    assert consent_state() == "unknown"


def test_given_then_withdrawn_stays_withdrawn(
    at: At, said: Said, consent_state: Callable[..., str], journal: Journal
) -> None:
    with at("2026-11-21T09:00:00Z") as work:
        change = basis.record(work, said("consent"), decision="given")
    assert consent_state("2026-11-21T09:00:00Z") == "given"
    with at("2026-11-21T09:00:01Z") as work:
        basis.withdraw(work, change.id)
    assert consent_state("2026-11-21T09:00:01Z") == "withdrawn"
    with at("2026-11-21T09:00:02Z") as work, pytest.raises(Conflict, match="basis-ended"):
        basis.reconfirm(work, change.id)
    assert [(one["event"], one["consent_ref"]) for one in journal()] == [
        ("consent.give", change.id),
        ("consent.withdraw", change.id),
    ]


def test_a_new_consent_never_revives_the_old_record(at: At, said: Said, consent_state: Callable[..., str]) -> None:
    with at("2026-11-21T09:00:00Z") as work:
        first = basis.record(work, said("consent"), decision="given")
    with at("2026-11-21T10:00:00Z") as work:
        basis.withdraw(work, first.id)
    with at("2026-11-21T11:00:00Z") as work:
        second = basis.record(work, said("consent", categories=["C1"]), decision="given")
    assert consent_state("2026-11-21T11:00:00Z") == "given"
    with at("2026-11-21T11:00:01Z") as work:
        assert basis.read(work, first.id)["state"] == "withdrawn"
        found = basis.states(work, [second.basis.person_id])[second.basis.person_id]
        flow = found.for_flow("CONSENT_6_1_a", "aide_facultative_ccas", "ccas_villemin", work.now)
        assert (flow.consent_ref, flow.consent_categories) == (second.id, {"C1"})


def test_a_second_consent_supersedes_the_first(at: At, said: Said) -> None:
    with at("2026-11-21T09:00:00Z") as work:
        first = basis.record(work, said("consent"), decision="given")
    with at("2026-11-21T10:00:00Z") as work:
        basis.record(work, said("consent", categories=["C1"]), decision="given")
    with at("2026-11-21T10:00:01Z") as work:
        assert basis.read(work, first.id)["state"] == "superseded"
        with pytest.raises(Conflict):
            basis.withdraw(work, first.id)


def test_a_consent_renewed_in_advance_leaves_no_gap(at: At, said: Said, consent_state: Callable[..., str]) -> None:
    with at("2026-11-21T09:00:00Z") as work:
        first = basis.record(work, said("consent"), decision="given")
    renewed = said("consent", valid_from="2027-05-25T00:00:00Z", valid_until="2028-05-01T00:00:00Z", categories=["C1"])
    with at("2027-05-10T00:00:00Z") as work:
        second = basis.record(work, renewed, decision="given")

    def relied_on(moment: str) -> tuple[str, str]:
        with at(moment) as work:
            found = basis.states(work, [first.basis.person_id])[first.basis.person_id]
            told = found.for_flow("CONSENT_6_1_a", "aide_facultative_ccas", "ccas_villemin", work.now)
            return told.consent_state, told.consent_ref

    assert relied_on("2027-05-24T23:59:59.999999Z") == ("given", first.id)
    assert relied_on("2027-05-25T00:00:00Z") == ("given", second.id)
    with at("2027-05-24T00:00:00Z") as work:
        assert basis.expire_due(work) == []
    with at("2027-05-25T00:00:00Z") as work:
        assert [(one.id, one.state) for one in basis.expire_due(work)] == [(first.id, "superseded")]
        assert basis.expire_due(work) == []
    with at("2027-05-26T00:00:00Z") as work:
        basis.withdraw(work, second.id)
    assert consent_state("2027-05-26T00:00:00Z") == "withdrawn"


@pytest.mark.parametrize("answer", ["given", "refused"])
def test_what_was_asked_of_her_is_answered_by_the_record_that_says_her_word(
    at: At, said: Said, consent_state: Callable[..., str], answer: str
) -> None:
    """Her evidence comes with her answer: what was asked waits no more, and no one may withdraw it any more."""
    with at("2026-11-21T09:00:00Z") as work:
        asked = basis.record(work, said("consent"))
    with at("2026-11-22T09:00:00Z") as work:
        told = basis.record(work, said("consent"), decision=answer)
        states = {one["record"]["record_id"]: one["state"] for one in basis.list_(work, told.basis.person_id)}
    assert states == {asked.id: "superseded", told.id: answer}
    assert consent_state("2026-11-22T09:00:00Z") == answer
    with at("2026-11-23T09:00:00Z") as work, pytest.raises(Conflict, match="basis-ended"):
        basis.withdraw(work, asked.id)


def test_expiry_is_exact(at: At, said: Said, consent_state: Callable[..., str]) -> None:
    """The last instant of a consent is the one before its term, across the change of clocks."""
    content = said("consent", valid_until="2027-03-28T03:00:00+02:00")
    with at("2026-11-21T09:00:00Z") as work:
        basis.record(work, content, decision="given")
    assert consent_state("2027-03-28T00:59:59.999999Z") == "given"
    assert consent_state("2027-03-28T01:00:00Z") == "expired"
    with at("2027-03-28T01:00:00Z") as work:
        assert [change.event for change in basis.expire_due(work)] == ["consent.expire"]
        assert basis.expire_due(work) == []


def test_what_has_ended_is_not_looked_at_again(at: At, said: Said) -> None:
    """There is more of it every year, and whoever looks holds the writers back."""
    with at("2026-11-21T09:00:00Z") as work:
        basis.record(work, said("consent", valid_until="2027-03-28T03:00:00+02:00"), decision="given")
        basis.record(work, said("consent", purpose="accompagnement"))
    with at("2027-03-28T01:00:00Z") as work:
        assert len(basis.expire_due(work)) == 1
    asked: list[str] = []
    with at("2029-01-01T00:00:00Z") as work:
        event.listen(work.connection, "before_cursor_execute", lambda *told: asked.append(told[2]))
        assert basis.expire_due(work) == []
    assert len(asked) == 2, "which are due, and which began"


def test_a_backdated_paper_counts_from_its_entry(at: At, said: Said, consent_state: Callable[..., str]) -> None:
    with at("2026-11-21T09:00:00Z") as work:
        change = basis.record(work, said("consent"), decision="given", occurred_at="2026-11-01T10:00:00+01:00")
    assert consent_state("2026-11-20T09:00:00Z") == "unknown", "an exchange of the day before stays unlawful"
    with at("2026-11-21T09:00:01Z") as work:
        event = basis.read(work, change.id)["events"][0]
    assert event["occurred_at"] == "2026-11-01T09:00:00.000000Z"
    assert event["recorded_at"] == "2026-11-21T09:00:00.000000Z"
    with at("2026-11-21T09:00:01Z") as work, pytest.raises(Invalid, match="occurred-later"):
        basis.withdraw(work, change.id, occurred_at="2026-12-01T00:00:00Z")


def test_the_consent_of_one_recipient_is_not_another_s(at: At, said: Said, consent_state: Callable[..., str]) -> None:
    with at() as work:
        basis.record(work, said("consent"), decision="given")
    assert consent_state(recipient="ccas_voisin") == "unknown"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"regime": "SIFT", "purpose": "orientation", "legal_basis": "c"}, "consent-not-the-basis"),
        ({"regime": "RSA", "purpose": "instruction_rsa", "legal_basis": "c"}, "consent-not-the-basis"),
        ({"legal_basis": "c"}, "basis-mismatch"),
        ({"recipients": []}, "consent-not-specific"),
        ({"categories": ["C1", "C18"]}, "category-never-leaves"),
        ({"categories": ["C1", "C13"]}, "explicit-consent-needed"),
        ({"valid_until": None}, "expiry-needed"),
        ({"valid_until": "2028-01-01T00:00:00Z"}, "expiry-too-late"),
        ({"valid_until": "2026-11-21T09:00:00Z"}, "expiry-past"),
        ({"evidence": None}, "evidence-needed"),
        ({"notice_version": 2}, "notice-unknown"),
        ({"actor_kind": "curator"}, "basis-invalid"),
        ({"article": ["Mme Durand a dit oui"]}, "article-form"),
        ({"controllers": []}, "basis-invalid"),
    ],
)
def test_a_consent_that_is_no_consent_is_refused(
    at: At, said: Said, engine: Engine, fields: dict[str, Any], code: str
) -> None:
    with pytest.raises(Invalid) as refused, at() as work:
        basis.record(work, said("consent", **fields), decision="given")
    assert refused.value.code == code
    with engine.connect() as connection:
        assert connection.execute(select(basis_record)).all() == []


@pytest.mark.parametrize(
    ("fields", "word"),
    [({"recipients": []}, "recipients"), ({"valid_until": "2028-01-01T00:00:00Z"}, "valid_until")],
)
def test_a_consent_that_the_law_refuses_says_what_to_correct(
    at: At, said: Said, fields: dict[str, Any], word: str
) -> None:
    with pytest.raises(Invalid, match=word), at() as work:
        basis.record(work, said("consent", **fields), decision="given")


def test_at_one_instant_the_most_restrictive_wins_in_any_order() -> None:
    """Two events at the same instant, and a third later: the answer never depends on the order of the rows."""
    same = "2026-11-21T09:00:00.000000Z"
    for kind, (names, ends) in LIFE.items():
        for end in ends:
            events = [(names[0], same), *((name, same) for name in names if name not in ends), (end, same)]
            assert {fold(kind, list(order)) for order in permutations(events)} == {end}
    assert fold("objection", [("raised", same), ("rejected", same), ("upheld", same)]) == "upheld"
    assert fold("consent", [("withdrawn", same), ("given", same), ("reconfirmed", same + "9")]) == "withdrawn"


def test_withdrawal_tells_each_past_recipient_under_its_own_reference(at: At, said: Said, journal: Journal) -> None:
    with at("2026-11-21T09:00:00Z") as work:
        change = basis.record(work, said("consent"), decision="given")
    with at("2026-11-21T10:00:00Z") as work:
        ended = basis.withdraw(
            work, change.id, past_recipients=["ccas_villemin", "france_travail", "ccas_villemin"],
            reference=lambda recipient: f"ref-{recipient}",
        )  # fmt: skip
        told = notification.of_record(work, change.id)
    assert len(ended.notifications) == 2
    assert {one.recipient: one.content["subject_ref"] for one in told} == {
        "ccas_villemin": "ref-ccas_villemin",
        "france_travail": "ref-france_travail",
    }
    assert {one.content["event"] for one in told} == {"basis.withdrawn"}
    assert journal()[-1]["n_records"] == 2


def test_a_withdrawal_that_cannot_be_journaled_changes_nothing(at: At, said: Said, engine: Engine) -> None:
    with at("2026-11-21T09:00:00Z") as work:
        change = basis.record(work, said("consent"), decision="given")
        full = "CREATE TRIGGER full BEFORE INSERT ON journal_entry BEGIN SELECT RAISE(ABORT, 'full'); END"
        work.before_commit(lambda work: work.connection.exec_driver_sql(full))
    with pytest.raises(Unavailable, match="audit-unavailable"), at("2026-11-21T10:00:00Z") as work:
        basis.withdraw(work, change.id, past_recipients=["france_travail"], reference=lambda _: "ref")
    with at("2026-11-21T10:00:01Z") as work:
        assert basis.read(work, change.id)["state"] == "given"
        assert work.connection.execute(select(basis_notification)).all() == []


def test_a_silent_recipient_becomes_a_task_for_the_dpo(at: At, said: Said) -> None:
    with at("2026-11-21T09:00:00Z") as work:
        change = basis.record(work, said("consent"), decision="given")
        (one,) = basis.withdraw(
            work, change.id, past_recipients=["france_travail"], reference=lambda _: "ref"
        ).notifications
    moment, attempts = "2026-11-21T09:00:00Z", 0
    while True:
        with at(moment) as work:
            assert [due.id for due in notification.due(work)] == [one]
            attempts += 1
            if notification.failed(work, one) == "dpo_task":
                break
            (left,) = notification.of_record(work, change.id)
            moment = left.next_at
    assert attempts > 50
    assert moment > "2026-12-20"
    with at("2026-12-22T00:00:00Z") as work:
        assert [task.id for task in notification.dpo_tasks(work)] == [one]
        assert notification.due(work) == []


def test_an_answer_is_taken_once(at: At, said: Said) -> None:
    with at("2026-11-21T09:00:00Z") as work:
        change = basis.record(work, said("consent"), decision="given")
        one, other = basis.withdraw(
            work, change.id, past_recipients=["caf", "france_travail"], reference=lambda _: "ref"
        ).notifications
    done = {"received_at": "2026-11-21T09:05:00Z", "action_done": "stop"}
    with at("2026-11-21T09:05:00Z") as work:
        assert notification.answered(work, one, done) == "done"
        assert notification.answered(work, one, done) == "done"
        with pytest.raises(Conflict, match="answer-differs"):
            notification.answered(work, one, done | {"received_at": "2026-11-21T09:06:00Z"})
        refusal = {"received_at": "2026-11-21T09:05:00Z", "lawful_refusal": True, "article": "RGPD 17(3)(b)"}
        assert notification.answered(work, other, refusal) == "refused"
        assert [task.id for task in notification.dpo_tasks(work)] == [other]


def test_a_record_holds_the_hash_of_its_notice(at: At, said: Said) -> None:
    with at() as work:
        change = basis.record(work, said("consent", falc=True), decision="given")
        record = basis.read(work, change.id)["record"]
    assert record["notice_hash"] == sha256("Notice consentement, facile à lire".encode()).hexdigest()


def test_the_journal_takes_every_change(at: At, said: Said, journal: Journal) -> None:
    with at() as work:
        basis.record(work, said("consent"))
        change = basis.record(work, said("consent"), decision="given")
        basis.reconfirm(work, change.id)
        basis.withdraw(work, change.id, past_recipients=["france_travail"], reference=lambda _: "ef" * 20)
        objection = basis.object_(work, _pie(said, "objection"))
        basis.resolve_objection(work, objection.id, upheld=False, reason_hash="0a" * 32)
        limit = basis.record(work, said("limitation", regime="", purpose="", recipients=[], valid_until=None))
        basis.close(work, limit.id)
        guard = basis.record(work, said("protection", age_status="protected_adult", recipients=[]))
        basis.representative_notified(work, guard.id)
        basis.record(work, said("validation", regime="SIFT", purpose="sanction", legal_basis="e"))
        basis.record(work, _pie(said, "information"))
    assert [one["event"] for one in journal()] == [
        "consent.request", "consent.supersede", "consent.give", "consent.reconfirm", "consent.withdraw", "basis.object",
        "basis.object_rejected", "right.limit", "right.unlimit", "basis.protect", "basis.inform", "basis.validate",
        "basis.inform",
    ]  # fmt: skip


def _pie(said: Said, kind: str) -> dict[str, Any]:
    return said(
        kind, notice_id="pie", regime="PIE", purpose="accompagnement", legal_basis="e", article=["CASF L263-4-1"]
    )
