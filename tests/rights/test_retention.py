"""What is past its retention: refused, then purged, whole or in part; what may not be, is kept and said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update
from starlette.requests import Request as Asked

from gateway import (
    basis,
    clock,
    decision_record,
    erasure_list,
    identity_review,
    journal,
    notification,
    notifier,
    past,
    purge,
    quarantine,
    retention,
    rights,
    tasks,
)
from gateway import outbox as outbox_
from gateway.console.blocks import Notice, Table
from gateway.console.common import View
from gateway.console.retention import purges
from gateway.exchange import exchange
from gateway.policy import replay
from gateway.prefill import permitted
from gateway.problems import Unavailable
from gateway.receipt import Receipt, Request
from gateway.storage.tables.basis import basis_record
from gateway.storage.tables.delivery import mailbox, outbox
from gateway.storage.tables.record import assertion_set, foyer, identity_case, membership, source_record
from gateway.words import say
from schemas.record import Finding, PersonFacts, Record
from tests.rights.conftest import MARIE, PAUL, Office
from tests.rights.test_commands import app as commands
from tests.rights.test_commands import run  # noqa: F401 a fixture

START = datetime(2026, 1, 15, 9, tzinfo=UTC)
HOME = {"droit_rsa.etat": "ouvert_versable"}
Later = Callable[..., None]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Later:
    """Starts on a day of January 2026; each call lets days pass, and a server has sealed the journal meanwhile."""
    house: Office = request.getfixturevalue("both" if "both" in request.fixturenames else "office")
    passed = timedelta()

    def let(days: int = 0) -> None:
        nonlocal passed
        passed += timedelta(days=days)
        moment = START + passed
        monkeypatch.setattr(clock, "now", lambda: moment)
        house.gateway.publish_journal()

    let()
    return let


def caf(office: Office, *, key: str = "f1", people: Any = ((MARIE, "p"),), digest: bytes = b"1" * 32) -> Receipt:
    """The monthly file of the CAF says a household again."""
    with office.gateway.unit_of_work() as work:
        request = Request(clock.new_id(), "caf", "caf.essai", office.gateway.flows(work, "caf"), "caf")
        told = [PersonFacts(facts, one) for facts, one in people]
        return exchange(work, office.gateway, request, [Record(key, told, HOME, digest=digest, partial=False)])[0]


def count(office: Office, table: Any, *where: Any) -> int:
    with office.gateway.engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one())


def told(office: Office, **columns: str) -> list[dict[str, Any]]:
    with office.gateway.engine.connect() as connection:
        return [one.fields for one in journal.of_period(connection, "2020", "2040", limit=1000, **columns)]


async def test_data_past_its_retention_is_refused_before_any_purge(both: Office, later: Later) -> None:
    marie = caf(both).persons[0]
    later(170)
    await both.settle()
    with both.gateway.unit_of_work() as work:
        row = work.connection.execute(select(outbox).where(outbox.c.person_id == marie)).one()
        assert (row.state, row.reason) == ("withheld", "expired-record")
        assert row.article == "RGPD 5(1)(e); CT R5312-44; CASF R263-8"
        (entry,) = journal.of_period(work.connection, "2020", "2040", decision="deny")
        assert entry.fields["rule_ids"][0] == "D19"
        verdict = decision_record.replay_entry(work.connection, both.gateway.settings.home, entry)
        assert (verdict.same, verdict.again.before["facts"]["record_expired"]) == (True, True)
    assert count(both, assertion_set) > 0


def test_only_what_is_too_old_is_left_out_of_what_a_body_reads(office: Office, later: Later) -> None:
    phone = "personne.telephones[+33611223344].numero"
    marie = caf(office).persons[0]
    later(170)
    office.says("ccas", {path: value for path, value in MARIE.items() if path != phone})
    office.informed(marie)
    with office.gateway.unit_of_work() as work:
        (flow,) = office.gateway.flows(work, "ccas")
        current = office.gateway.dossiers.current(work, marie)
        facts, withheld, asked, decision = permitted(work, office.gateway, marie, flow, current)
        assert (decision.permits, facts["personne.nom_naissance"].source) == (True, "ccas")
        assert phone in current
        assert phone not in facts
        assert {("C2", 1), ("C5", 1)} == {(one.code, one.count) for one in withheld if one.rule == "D19"}
        record = decision.record(asked, work.now)
    assert json.loads(record)["redactions"]["C5"] == "D19"  # of which nothing else is known
    assert replay(record, office.gateway.policy).same


def test_a_household_said_again_every_month_is_not_past_anything(both: Office, later: Later) -> None:
    marie = caf(both).persons[0]
    for _ in range(8):
        later(30)
        assert caf(both).status == "unchanged"
    assert purge.purge(both.gateway).purged == []
    with both.gateway.unit_of_work() as work:
        current = both.gateway.dossiers.current(work, marie)
        assert retention.within(work, both.gateway, current) is current
    later(170)
    (done,) = purge.purge(both.gateway).purged
    assert done.kind == "person"


async def test_a_person_no_regime_holds_is_erased_and_her_recipients_told(both: Office, later: Later) -> None:
    marie = caf(both).persons[0]
    await both.settle()
    later(170)
    rehearsed = purge.purge(both.gateway, dry_run=True)
    assert count(both, assertion_set) == 2
    report = purge.purge(both.gateway)
    (done,) = [one for one in report.purged if one.kind == "person"]
    assert [one.kind for one in rehearsed.purged] == [one.kind for one in report.purged]
    assert rehearsed.purged[0].counts == report.purged[0].counts
    assert (done.told, done.counts["assertion_set"]) == (("departement",), 2)
    assert {"C1", "C2"} <= set(done.categories)
    assert count(both, assertion_set) == count(both, source_record) == count(both, mailbox) == 0
    assert marie in erasure_list.read(both.home)
    with both.gateway.unit_of_work() as work:
        assert [one.recipient for one in notification.of_record(work, done.id)] == ["departement"]
    entries = told(both, event="right.erase")
    assert {(one["reason_code"], one["article"]) for one in entries} == {("elapsed", "RGPD 5(1)(e)")}
    assert [one["outcome"] for one in entries] == ["purged", "erased"]  # the letter left for the Département, then her
    assert done.line()["journal"]["index"] is not None
    assert purge.purge(both.gateway).purged == []
    assert caf(both).status == "accepted"  # its next file is read whole


def test_what_another_regime_still_holds_stays(both: Office, later: Later) -> None:
    marie = caf(both).persons[0]
    both.says("ccas", MARIE | {"personne.nom_usage": "CANARIUSAGE"})
    later(170)
    report = purge.purge(both.gateway)
    (done,) = report.purged
    assert (done.kind, done.counts["assertion_set"]) == ("part", 2)
    assert count(both, source_record, source_record.c.scope.is_(None)) == 1
    assert count(both, membership) == count(both, foyer, foyer.c.wrapped_key.is_not(None)) == 0
    with both.gateway.unit_of_work() as work:
        current = both.gateway.dossiers.current(work, marie)
        assert current.sources == {"ccas"}
        assert "droit_rsa.etat" not in current
    (entry,) = told(both, event="right.erase")
    assert (entry["outcome"], entry["reason_code"]) == ("purged", "elapsed")
    assert purge.purge(both.gateway).purged == []
    later(600)
    assert purge.purge(both.gateway).purged[0].kind == "person"


def test_a_category_kept_less_long_than_the_rest_goes_first(office: Office, later: Later, lengthened: None) -> None:
    """What the CAF may tell France Travail is held three years, what else its file says five months."""
    marie = caf(office).persons[0]
    later(170)
    (done,) = purge.purge(office.gateway).purged
    assert ("C5" in done.categories, "C1" in done.categories) == (True, False)
    with office.gateway.unit_of_work() as work:
        current = office.gateway.dossiers.current(work, marie)
        assert "personne.nom_naissance" in current
        assert "droit_rsa.etat" not in current
    assert purge.purge(office.gateway).purged == []
    later(20)
    caf(office)  # the same bytes: read whole all the same
    with office.gateway.unit_of_work() as work:
        assert "droit_rsa.etat" in office.gateway.dossiers.current(work, marie)


def test_two_adults_of_one_household_are_purged_one_after_the_other(both: Office, later: Later) -> None:
    caf(both, people=((MARIE, "p"), (PAUL, "q")))
    later(170)
    report = purge.purge(both.gateway)
    assert sorted(one.kind for one in report.purged)[-2:] == ["person", "person"]
    assert count(both, assertion_set) == count(both, membership) == 0
    assert count(both, foyer, foyer.c.wrapped_key.is_not(None)) == 0
    assert purge.purge(both.gateway).purged == []


@pytest.mark.parametrize("reason", ["limitation", "request", "objection"])
def test_a_dispute_or_a_request_that_waits_holds_everything(office: Office, later: Later, reason: str) -> None:
    marie = caf(office).persons[0]
    with office.gateway.unit_of_work() as work:
        if reason == "limitation":
            record = office.record("limitation", marie, article=["RGPD 18"], purpose="", regime="PIE")
            held = rights.limit(work, office.gateway, record).id
        elif reason == "objection":
            held = basis.object_(work, office.record("objection", marie, article=["RGPD 21"])).id
        else:
            held = rights.receive(work, office.gateway, marie, "access").id
    later(170)
    report = purge.purge(office.gateway)
    assert (report.purged, dict(report.held)) == ([], {reason: 1})
    with office.gateway.unit_of_work() as work:
        if reason == "limitation":
            rights.lift(work, office.gateway, held)
        elif reason == "objection":
            rights.resolve(work, office.gateway, held, upheld=False, reason_hash="ab" * 32)
        else:
            rights.done(work, office.gateway, held)
    assert [one.kind for one in purge.purge(office.gateway).purged][:1] == ["person"]


def test_a_source_that_signed_no_flow_is_kept_and_listed(office: Office, later: Later) -> None:
    marie = caf(office).persons[0]
    with office.gateway.unit_of_work() as work:
        office.gateway.dossiers.put(
            work, marie, ("mairie", "mairie.essai", b"m" * 32), {"personne.civilite": "madame"},
            asserted_at=work.now, exchange_id=clock.new_id(), partial=True,
        )  # fmt: skip
    later(5000)
    report = purge.purge(office.gateway)
    assert [one.kind for one in report.purged] == ["part"]
    (unknown,) = report.unknown
    assert (unknown["source"], unknown["statements"], unknown["regime_known"]) == ("mairie", 1, False)
    with office.gateway.unit_of_work() as work:
        assert office.gateway.dossiers.current(work, marie).sources == {"mairie"}


async def test_copies_left_for_a_recipient_go_with_the_regime_of_their_flow(both: Office, later: Later) -> None:
    marie = caf(both).persons[0]
    await both.settle()
    assert count(both, mailbox) == 1
    later(100)
    both.says("ccas", MARIE)  # she stays known by another regime
    later(70)
    report = purge.purge(both.gateway)
    (letters,) = [one for one in report.purged if one.kind == "letters"]
    assert (letters.counts, count(both, mailbox, mailbox.c.person_id == marie)) == ({"mailbox": 1}, 0)
    (entry,) = [one for one in told(both, event="right.erase") if one.get("regime")]
    assert (entry["regime"], entry["recipient_org"], entry["n_records"]) == ("RSA", "departement", 1)


def test_what_an_elapsed_regime_rested_on_goes_and_an_upheld_objection_stays(office: Office, later: Later) -> None:
    marie = office.says("ccas", MARIE).persons[0]
    office.informed(marie)
    with office.gateway.unit_of_work() as work:
        consent = basis.record(work, office.consent(marie, "2026-06-01T00:00:00Z"), decision="given").id
        objection = basis.object_(work, office.record("objection", marie, article=["RGPD 21"])).id
        rights.resolve(work, office.gateway, objection, upheld=True)
    later(510)
    caf(office)
    (done,) = purge.purge(office.gateway).purged
    assert (done.kind, done.counts) == ("bases", {"basis_record": 1})
    assert count(office, basis_record, basis_record.c.id == consent) == 0
    assert count(office, basis_record) == 2
    later(300)
    caf(office)
    purge.purge(office.gateway)  # the CCAS's words, held under PIE
    purge.purge(office.gateway)  # the next day, what they rested on
    assert count(office, basis_record) == count(office, basis_record, basis_record.c.id == objection) == 1


def test_what_was_never_understood_is_not_kept_longer(office: Office, later: Later) -> None:
    with office.gateway.unit_of_work() as work:
        request = Request(clock.new_id(), "caf", "caf.essai", (), "caf")
        unclear = Record("f9", [PersonFacts(PAUL, "p")], findings=[Finding("unknown-code", "SITPRO", raw="ZZZ")])
        quarantine.keep(work, office.gateway, request, unclear, 1)
    later(170)
    (done,) = purge.purge(office.gateway).purged
    assert (done.kind, done.counts) == ("quarantine", {"quarantine": 1})
    with office.gateway.unit_of_work() as work:
        assert quarantine.counts(work) == []


async def test_of_what_was_delivered_the_traces_go_and_the_last_of_each_stays(both: Office, later: Later) -> None:
    """Sixteen months of a household that changes every month; the traces of the RSA are kept a year."""
    for month in range(16):
        name = {"personne.nom_usage": f"CANARI{month}"}
        marie = both.says("caf", MARIE | name, key="f1", foyer=HOME).persons[0]
        await both.settle()
        later(30)
    with both.gateway.unit_of_work() as work:
        record = both.record("limitation", marie, article=["RGPD 18"], purpose="", regime="PIE")
        limited = rights.limit(work, both.gateway, record).id
    assert purge.purge(both.gateway).purged == []
    with both.gateway.unit_of_work() as work:
        rights.lift(work, both.gateway, limited)
    report = purge.purge(both.gateway)
    counts = {one.kind: one.counts for one in report.purged if one.kind in ("deliveries", "exchanges")}
    assert counts == {"deliveries": {"outbox": 3}, "exchanges": {"exchange": 2}}  # the first brought the household
    entries = told(both, event="right.erase")
    assert all(one.line()["journal"]["index"] is not None for one in report.purged)
    assert len(entries) == len(report.purged)
    assert count(both, outbox, outbox.c.state == "delivered") == 13
    with both.gateway.unit_of_work() as work:
        assert past.past_recipients(work, both.gateway, marie) == ["departement"]
        assert both.gateway.dossiers.current(work, marie)["personne.nom_usage"].value == "CANARI15"
    later(360)
    both.says("ccas", MARIE)  # she stays known by another regime
    purge.purge(both.gateway)
    purge.purge(both.gateway)
    assert count(both, outbox, outbox.c.sender == "caf") == 2  # one is not a year old
    with both.gateway.unit_of_work() as work:
        assert past.past_recipients(work, both.gateway, marie) == ["departement"]


def test_a_refusal_is_forgotten_with_the_traces_unless_it_was_tried_again(both: Office, later: Later) -> None:
    both.says("caf", MARIE, foyer=HOME)
    both.says("ccas", MARIE)  # by whom she stays known
    promised = count(both, outbox)
    withheld = {"state": "withheld", "settled_at": "2026-01-16T09:00:00.000000Z"}
    with both.gateway.unit_of_work() as work:
        work.connection.execute(update(outbox).values(withheld))
    later(380)
    (found,) = [unit for unit in purge._old_traces(both.gateway) if unit[0] == "deliveries"]
    with both.gateway.unit_of_work() as work:
        outbox_.replay(work, found[1])
    with both.gateway.unit_of_work() as work:
        assert purge._traces(work, both.gateway, found) == "deliveries"
    assert count(both, outbox) == promised
    with both.gateway.unit_of_work() as work:
        work.connection.execute(update(outbox).values(withheld))
    assert "deliveries" in [one.kind for one in purge.purge(both.gateway).purged]
    assert count(both, outbox) == 0


def test_what_a_human_settled_is_forgotten_but_not_what_waits_nor_what_undoes_a_merge(
    both: Office, later: Later
) -> None:
    for person, same in ((MARIE, True), (PAUL, False)):
        name = person["personne.nom_naissance"]
        both.says("departement", person, key=name)
        told = {path: value for path, value in person.items() if not path.startswith("identifiants")}
        (doubtful,) = both.says("ccas", told | {"personne.prenoms": ["C."]}, key=name).persons
        with both.gateway.unit_of_work() as work:
            asked = select(identity_case.c.id).where(identity_case.c.person_id == doubtful)
            identity_review.decide(work, both.gateway, work.connection.execute(asked).scalar_one(), same, "agent")
            for kind in ("settled", "waiting"):
                tasks.open_once(work, kind, doubtful, ("ccas", "essai", b"1" * 32), clock.new_id(), work.now)
            (looked_at,) = (one["id"] for one in tasks.open_tasks(work, [doubtful]) if one["kind"] == "settled")
            tasks.dismiss(work, looked_at)
    later(360)
    assert not {"tasks", "identities"} & {one.kind for one in purge.purge(both.gateway).purged}
    later(20)
    counts = {one.kind: one.counts for one in purge.purge(both.gateway).purged}
    assert counts["tasks"] == {"task": 2}
    assert counts["identities"] == {"identity_case": 1}
    with both.gateway.unit_of_work() as work:
        assert [one["kind"] for one in tasks.open_tasks(work)] == ["waiting", "waiting"]
        undone = work.connection.execute(select(identity_case.c.id)).scalar_one()
        identity_review.reverse(work, both.gateway, undone, "agent")


def test_what_recipients_answered_goes_unless_its_basis_is_here(both: Office, later: Later) -> None:
    marie = both.says("departement", MARIE).persons[0]
    information, rectified, unanswered = both.informed(marie), clock.new_id(), clock.new_id()
    with both.gateway.unit_of_work() as work:
        for record in (information, rectified, unanswered):
            notification.tell(
                work, record, "right.rectified", ["ccas"], action="rectify",
                reference=lambda body: both.gateway.keys.pseudonym(body, marie),
            )  # fmt: skip
    asyncio.run(notifier.round_(both.gateway))
    with both.gateway.unit_of_work() as work:
        for record in (information, rectified):
            notifier.acknowledged(work, "ccas", notification.of_record(work, record)[0].id)
    assert count(both, mailbox) == 3
    later(380)
    (done,) = [one for one in purge.purge(both.gateway).purged if one.kind == "notices"]
    assert done.counts == {"mailbox": 1, "basis_notification": 1}
    with both.gateway.unit_of_work() as work:
        assert [len(notification.of_record(work, one)) for one in (information, rectified, unanswered)] == [1, 0, 1]


def test_a_crash_leaves_whole_persons_and_the_next_run_goes_on(
    both: Office, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    both.says("caf", MARIE, key="f1")
    both.says("caf", PAUL, key="f2")
    later(170)
    whole, met = purge._whole, []

    def breaks(*given: Any) -> Any:
        done = whole(*given)
        met.append(given[2])
        if len(met) == 2:
            raise Unavailable("audit-unavailable", "the journal is away")
        return done

    monkeypatch.setattr(purge, "_whole", breaks)
    with pytest.raises(Unavailable):
        purge.purge(both.gateway)
    assert [count(both, assertion_set, assertion_set.c.subject_id == one) for one in met] == [0, 1]
    assert len(told(both, event="right.erase")) == 1
    monkeypatch.undo()
    monkeypatch.setattr(clock, "now", lambda: START + timedelta(days=170))
    assert [one.kind for one in purge.purge(both.gateway).purged] == ["person"]
    assert count(both, assertion_set) == 0


_ASKED = Asked({"type": "http", "query_string": b"", "headers": []})


def test_the_retention_page_shows_what_is_due_then_its_certificate(office: Office, later: Later) -> None:
    caf(office)
    later(170)

    def shown() -> tuple[list[Any], list[Any]]:
        with office.gateway.reading() as work:
            view = View(_ASKED, office.gateway, None, work)  # type: ignore[arg-type]
            due, done = (one for one in purges(view) if isinstance(one, Table))
            return list(due.rows), list(done.rows)

    with office.gateway.reading() as work:
        told = purges(View(_ASKED, office.gateway, None, work))  # type: ignore[arg-type]
    assert [one.text for one in told if isinstance(one, Notice)] == [say("purge.jamais")]
    retention.keep(office.gateway)
    due, done = shown()
    assert [(row[1].value, row[2].value, row[4]) for row in due] == [(2, 2, "RSA")]
    assert done == []
    (made,) = purge.purge(office.gateway).purged
    due, done = shown()
    assert due == []
    assert [(row[1], row[4].text, row[5].text) for row in done] == [
        ("la personne entière", made.id, f"12m:{made.entry.idx}")
    ]


def test_the_command_says_what_is_due_then_purges_it(office: Office, later: Later, run: Any) -> None:  # noqa: F811
    assert commands.registered_groups
    caf(office)
    later(170)
    due = [json.loads(line) for line in run("retention", "due").stdout.splitlines()]
    assert [(one["source"], one["statements"], one["regimes"]) for one in due] == [("caf", 2, ["RSA"])]
    rehearsal = json.loads(run("retention", "purge", "--dry-run").stdout.splitlines()[-1])
    assert (rehearsal["purged"], rehearsal["dry_run"], count(office, assertion_set)) == ({"person": 1}, True, 2)
    lines = [json.loads(line) for line in run("retention", "purge").stdout.splitlines()]
    assert lines[0]["journal"]["index"] is not None
    assert lines[-1]["purged"] == {"person": 1}
    assert run("retention", "due").stdout == ""
    assert "CANARI" not in json.dumps(lines)


@pytest.fixture
def lengthened(office: Office) -> None:
    """A second flow of the CAF, under a regime that lasts longer and carries less."""
    from gateway import convention
    from tests.rights.conftest import HERE

    more = """
[[flux]]
de = "caf"
vers = "france_travail"
document = "maillon.dossier"
purpose = "identification"
regime = "SIFT"
base_legale = ["CT R5312-32"]
information = "collective"
notice = "parcours-insertion:1"
"""
    with office.gateway.unit_of_work() as work:
        convention.add(work, (HERE / "convention.toml").read_bytes() + more.encode())
