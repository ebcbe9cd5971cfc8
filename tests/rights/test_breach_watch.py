"""What may be a data breach is noticed and written down once, with its 72 hours, for the DPO to qualify."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import update

from gateway import breach, breach_watch, journal
from gateway.access import partners
from gateway.access.client import TokenRefused
from gateway.problems import JournalBroken
from gateway.storage.tables.journal import journal_entry
from tests.rights.conftest import MARIE, Office, known


def drafts(office: Office) -> list[dict[str, Any]]:
    with office.gateway.unit_of_work() as work:
        return breach.list_(work)


def _log(office: Office, event: str, times: int, **fields: Any) -> None:
    with office.gateway.unit_of_work() as work:
        for number in range(times):
            said = {name: value(number) if callable(value) else value for name, value in fields.items()}
            journal.append(work, event, **said)


def test_a_quiet_hour_is_no_breach(office: Office) -> None:
    office.says("departement", MARIE)
    _log(office, "log.read", breach_watch.VAIN - 1, client_id="ccas", sender_org="ccas", reason_code="inconnu")
    _log(office, "input.reject", 50, client_id="ccas", outcome="refused", reason_code="assertion-signature")
    assert breach_watch.look(office.gateway) == []
    assert breach_watch.verify_journal(office.gateway) == []


async def test_a_suspended_client_that_goes_on_is_told_with_whom_it_had_touched(office: Office, app: Any) -> None:
    await known(office)
    async with app.router.lifespan_context(app):
        with office.gateway.unit_of_work() as work:
            partners.suspend(work, "ccas")
        office.gateway.refresh()
        for _ in range(3):
            async with office.client("ccas", app) as client:
                with pytest.raises(TokenRefused):
                    await client.get("/v1/inbox")
    [identifier] = breach_watch.look(office.gateway)
    [told] = drafts(office)
    assert (told["id"], told["kind"], told["state"], told["late"]) == (identifier, "key-exposure", "draft", False)
    assert told["aware_at"] < told["due_at"]
    assert (told["persons"], told["controllers"]) == (1, ["ccas"])
    assert "ccas : 3 " in told["noticed"]
    assert "CANARI" not in json.dumps(told)

    with office.gateway.unit_of_work() as work:
        breach.close(work, identifier)
    assert breach_watch.look(office.gateway) == [], "what the DPO closed is not opened again the same day"


def test_masses_and_blind_searches_are_told_by_client_and_by_agent(office: Office) -> None:
    subject = {"subject": lambda number: f"{number:040x}"}
    _log(office, "log.read", 200, client_id="ccas", sender_org="ccas", outcome="dossier", **subject)
    _log(office, "log.read", 200, agent="ab" * 20, agent_role="dpo", outcome="person", **subject)
    _log(office, "log.read", breach_watch.VAIN, client_id="departement", outcome="search", reason_code="inconnu")
    _log(office, "input.reject", 5, client_id="caf-040", outcome="refused", reason_code="proof-other-key")
    assert len(breach_watch.look(office.gateway)) == 4
    found = {(one["kind"], one["noticed"].partition(" :")[0]): one for one in drafts(office)}
    assert set(found) == {
        ("mass-read", "ccas"), ("mass-read", "ab" * 20), ("probing", "departement"), ("token-stolen", "caf-040")
    }  # fmt: skip
    assert found["mass-read", "ccas"]["persons"] == 200


async def test_a_rewritten_journal_is_told_at_the_next_look_and_stays_a_failure(office: Office) -> None:
    await known(office)
    office.gateway.publish_journal()
    with office.gateway.engine.begin() as connection:
        connection.execute(update(journal_entry).where(journal_entry.c.idx == 1).values(entry=b'{"event":"log.read"}'))
    _log(office, "log.read", 1, outcome="search")
    assert len(breach_watch.look(office.gateway)) == 1
    for _ in range(2):
        with pytest.raises(JournalBroken, match="journal-verification"):
            breach_watch.verify_journal(office.gateway)
    [told] = drafts(office)
    assert (told["kind"], told["nature"]) == ("journal-verification", ["integrite"])
    assert "journal-altered" in told["noticed"]


async def test_a_published_folder_that_was_altered_is_told_with_its_first_bad_index(office: Office) -> None:
    _log(office, "log.read", 300, outcome="search")
    office.gateway.publish_journal()
    bundle = office.gateway.journal_folder / "tile" / "entries" / "000"
    bundle.write_bytes(bundle.read_bytes().replace(b"search", b"sEarch", 1))
    with pytest.raises(JournalBroken):
        breach_watch.verify_journal(office.gateway)
    [told] = drafts(office)
    assert "écriture 0" in told["noticed"]
