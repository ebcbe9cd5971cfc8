"""Erasing a person: unreadable here, in another process, on a restored backup; everybody who received is told."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from sqlalchemy import func, select

from gateway import clock, erasure, erasure_list, notification, quarantine, rights
from gateway.exchange import exchange
from gateway.problems import Conflict, Unknown
from gateway.receipt import Request
from gateway.registry import Gateway
from gateway.storage.tables import metadata
from gateway.storage.tables.record import assertion_set, person
from gateway.vault import Erased
from schemas.record import Finding, PersonFacts, Record
from tests.rights.conftest import MARIE, PAUL, Office, known

FORCED = "ab" * 32
SENT = (("m", MARIE), ("p", PAUL))
"""What one file says of two persons, by the sender's name of each."""
HOLDING = (
    "assertion_set", "identifier", "membership", "outbox", "held_by_recipient", "mailbox", "reference",
    "identity_case", "statement", "source_record",
)  # fmt: skip


async def test_a_person_still_followed_is_not_erased_and_the_articles_say_why(both: Office) -> None:
    marie = await known(both)
    refused = pytest.raises(Conflict, match=r"still-needed.*PIE accompagnement.*CASF L263-4-1")
    with refused, both.gateway.unit_of_work() as work:
        erasure.erase(work, both.gateway, marie)
    with both.gateway.unit_of_work() as work:
        assert both.gateway.dossiers.current(work, marie)


async def test_nothing_of_her_is_left_and_the_others_keep_all_of_theirs(both: Office) -> None:
    marie = await known(both)
    paul = await known(both, PAUL, "d2")
    gateway = both.gateway
    before = _rows(both, paul)
    with gateway.unit_of_work() as work:
        told = erasure.erase(work, gateway, marie, ground="withdrawn", forced_by=FORCED)
    assert told.line()["journal"]["index"] is not None
    assert set(told.told) == {"ccas", "departement"}
    assert told.deleted["assertion_set"] >= 3
    assert _rows(both, marie) == {}
    assert _rows(both, paul) == before
    with gateway.unit_of_work() as work:
        assert gateway.dossiers.current(work, paul)["personne.nom_naissance"].value == "CANARIDURAND"
        assert gateway.dossiers.current(work, marie) == {}
        assert gateway.identity.resolve(work, gateway.identity.keys_of(MARIE)).certainty == "inconnu"
        tombstone = work.connection.execute(select(person).where(person.c.id == marie)).one()
        assert (tombstone.wrapped_key, bool(tombstone.erased_at)) == (None, True)
        assert {one.recipient for one in notification.of_record(work, told.id)} == {"ccas", "departement"}
    with pytest.raises(Conflict, match="already-erased"), gateway.unit_of_work() as work:
        erasure.erase(work, gateway, marie, forced_by=FORCED)


async def test_no_page_of_the_file_nor_its_write_ahead_log_keeps_her_key(office: Office) -> None:
    marie = await known(office)
    with office.gateway.engine.connect() as connection:
        wrapped = connection.execute(select(person.c.wrapped_key).where(person.c.id == marie)).scalar_one()
    before = b"".join(path.read_bytes() for path in office.home.glob("maillon.db*"))
    assert wrapped in before
    with office.gateway.unit_of_work() as work:
        erasure.erase(work, office.gateway, marie, forced_by=FORCED)
    after = b"".join(path.read_bytes() for path in office.home.glob("maillon.db*"))
    assert wrapped not in after


async def test_she_stays_unreadable_when_yesterdays_backup_comes_back(office: Office) -> None:
    marie = await known(office)
    paul = await known(office, PAUL, "d2")
    office.gateway.engine.dispose()
    backup = office.home / "backup.sqlite"
    shutil.copy(office.home / "maillon.db", backup)
    with office.gateway.unit_of_work() as work:
        erasure.erase(work, office.gateway, marie, forced_by=FORCED)
    office.restore(backup)

    untouched = office.gateway  # a process that never noticed: its keys were dropped and do not come back
    with untouched.unit_of_work() as work:
        assert work.connection.execute(select(person.c.wrapped_key).where(person.c.id == marie)).scalar_one()
        assert untouched.dossiers.current(work, marie) == {}
    untouched.engine.dispose()

    again = office.open()
    with again.unit_of_work() as work:
        assert work.connection.execute(select(person.c.wrapped_key).where(person.c.id == marie)).scalar_one() is None
        assert again.identity.resolve(work, again.identity.keys_of(MARIE)).certainty == "inconnu"
        assert again.dossiers.current(work, paul)["personne.nom_naissance"].value == "CANARIDURAND"
    assert _rows(office, marie) == {}
    assert erasure.reconcile(again) == 0


async def test_a_list_lost_in_a_crash_is_made_again_from_the_database(office: Office) -> None:
    marie = await known(office)
    with office.gateway.unit_of_work() as work:
        erasure.erase(work, office.gateway, marie, forced_by=FORCED)
    erasure_list.place(office.home).write_text("0190", encoding="ascii")  # cut in the middle of a line
    office.gateway.engine.dispose()
    office.open()
    assert erasure_list.read(office.home) == {marie}


async def test_another_process_forgets_her_within_seconds(both: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    marie = await known(both)
    other = Gateway.open(both.gateway.settings)
    with other.unit_of_work() as work:
        sealed = work.connection.execute(
            select(assertion_set.c.payload).where(assertion_set.c.subject_id == marie).limit(1)
        ).scalar_one()
        assert other.vault.open(work, marie, sealed)
    with both.gateway.unit_of_work() as work:
        erasure.erase(work, both.gateway, marie, forced_by=FORCED)
    monkeypatch.setattr(other.vault, "_looked_at", float("-inf"))  # NEWS seconds later
    with other.unit_of_work() as work, pytest.raises(Erased):
        other.vault.open(work, marie, sealed)
    other.engine.dispose()


async def test_a_household_shared_with_another_stays_and_her_own_goes(both: Office) -> None:
    foyer = {"droit_rsa.etat": "ouvert_versable"}
    marie = both.says("caf", MARIE, key="f1", foyer=foyer).persons[0]
    paul = both.says("caf", PAUL, key="f1", foyer=foyer).persons[0]
    with both.gateway.unit_of_work() as work:
        erasure.erase(work, both.gateway, marie, forced_by=FORCED)
    with both.gateway.unit_of_work() as work:
        assert both.gateway.dossiers.current(work, paul)["droit_rsa.etat"].value == "ouvert_versable"
        (home,) = both.gateway.dossiers.homes(work, paul)
        last = erasure.erase(work, both.gateway, paul, forced_by=FORCED)
    assert set(last.subjects) == {paul, home}


async def test_who_was_erased_and_is_sent_again_as_she_was_is_read_again(both: Office) -> None:
    def file_of_two() -> list[str]:
        with both.gateway.unit_of_work() as work:
            request = Request(clock.new_id(), "departement", "departement.essai", (), "departement")
            people = [Record(name, [PersonFacts(facts, name)], digest=name.encode() * 32) for name, facts in SENT]
            receipts = exchange(work, both.gateway, request, people)
        return [receipt.status for receipt in receipts]

    assert file_of_two() == ["accepted", "accepted"]
    with both.gateway.unit_of_work() as work:
        hers = both.gateway.identity.resolve(work, both.gateway.identity.keys_of(MARIE)).person_id
        erasure.erase(work, both.gateway, hers or "", forced_by=FORCED)
    with both.gateway.unit_of_work() as work:
        digests = work.connection.execute(select(metadata.tables["source_record"].c.digest)).scalars().all()
        assert b"m" * 32 not in map(bytes, digests)
    assert file_of_two() == ["accepted", "unchanged"]


async def test_a_body_still_needs_her_whose_every_word_another_repeats(both: Office) -> None:
    marie = await known(both)
    both.informed(marie)
    with both.gateway.unit_of_work() as work:
        before = erasure.needs(work, both.gateway, marie)
    for body in ("departement", "ccas"):
        with both.gateway.unit_of_work() as work:
            said = {path: fact.value for path, fact in both.gateway.dossiers.current(work, marie).items()}
        both.says(body, said, key="all")
        with both.gateway.unit_of_work() as work:
            assert erasure.needs(work, both.gateway, marie) == before


async def test_what_is_limited_meanwhile_is_still_needed(both: Office) -> None:
    """She contests what is said of her: it is kept until that is settled (GDPR 18(2)), not erased without the DPO."""
    marie = await known(both)
    with both.gateway.unit_of_work() as work:
        before = erasure.needs(work, both.gateway, marie)
    with both.gateway.unit_of_work() as work:
        rights.limit(work, both.gateway, both.record("limitation", marie, regime="", purpose="", article=["RGPD 18"]))
    with both.gateway.unit_of_work() as work:
        assert before
        assert erasure.needs(work, both.gateway, marie) == before


async def test_quarantined_records_lose_her_and_keep_the_others(office: Office) -> None:
    marie = await known(office)
    gateway = office.gateway

    def doubtful(*people: dict[str, Any]) -> Record:
        finding = Finding("unknown-code", "CODE", "quarantine", raw="CANARIRAW")
        return Record("q1", [PersonFacts(one, str(rank)) for rank, one in enumerate(people)], findings=[finding])

    with gateway.unit_of_work() as work:
        request = Request(clock.new_id(), "caf", "caf.flux_beneficiaire", ())
        quarantine.keep(work, gateway, request, doubtful(MARIE), 1)
        quarantine.keep(work, gateway, request, doubtful(PAUL), 2)
        quarantine.keep(work, gateway, request, doubtful(MARIE, PAUL), 3)
    with gateway.unit_of_work() as work:
        told = erasure.erase(work, gateway, marie, forced_by=FORCED)
        assert told.deleted["quarantine"] == 2
    with gateway.unit_of_work() as work:
        left = {row.position: row.id for row in work.connection.execute(select(metadata.tables["quarantine"]))}
        assert set(left) == {2, 3}
        assert quarantine.raw(work, gateway, left[2]) == "CANARIRAW"
        assert quarantine.raw(work, gateway, left[3]) == ""
        (kept,) = quarantine.kept_record(work, gateway, left[3]).personnes
        assert kept.facts["personne.nom_naissance"] == "CANARIDURAND"


async def test_an_unknown_person_is_unknown(office: Office) -> None:
    with pytest.raises(Unknown), office.gateway.unit_of_work() as work:
        erasure.erase(work, office.gateway, "00000000-0000-7000-8000-000000000000")


def _rows(office: Office, one: str) -> dict[str, int]:
    """Rows that name this person by her id, by table; a digest of hers counts by its exchange."""
    counted = {}
    with office.gateway.engine.connect().execution_options(read_only=True) as connection:
        for name in HOLDING:
            table = metadata.tables[name]
            columns = [c for c in table.columns if c.name in ("subject_id", "person_id", "candidate_id")]
            if name == "source_record":
                continue
            for column in columns:
                query = select(func.count()).select_from(table).where(column == one)
                if count := connection.execute(query).scalar_one():
                    counted[f"{name}.{column.name}"] = count
    return counted
