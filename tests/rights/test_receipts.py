"""Each decision is taken again, years later, under the table of its day; a period, under another table."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from httpx import AsyncClient
from sqlalchemy import select, update
from typer.testing import CliRunner, Result

from gateway import convention, decision_record, journal, policy_history
from gateway.app import build
from gateway.commands import proof
from gateway.decide import question
from gateway.journal import Logged
from gateway.policy_table import DEFAULT
from gateway.problems import Conflict, Invalid, JournalBroken, Misconfigured, Unknown
from gateway.settings import settings
from gateway.storage.tables.delivery import outbox
from gateway.storage.tables.journal import decision_record as table
from gateway.storage.tables.journal import journal_entry
from tests.rights.conftest import HERE, ISSUER, MARIE, PAUL, Office, known

commands = typer.Typer()
proof.register(commands)
ALL = ("2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z")
LONG_AGO = "2020-01-01T00:00:00Z"


def decided(office: Office) -> list[Logged]:
    """Every entry of the journal that decides, oldest first."""
    with office.gateway.engine.connect() as connection:
        entries = journal.of_period(connection, *ALL, limit=1000)
    return [entry for entry in entries if "decision" in entry.fields]


def verdict(office: Office, entry: Logged) -> decision_record.Verdict:
    with office.gateway.engine.connect() as connection:
        return decision_record.replay_entry(connection, office.home, entry)


@pytest.fixture
async def app(office: Office) -> AsyncIterator[Any]:
    served = build(office.gateway, embedded_worker=False)
    async with served.router.lifespan_context(served):
        yield served


@pytest.fixture
def run(office: Office, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MAILLON_HOME", str(office.home))
    monkeypatch.setenv("MAILLON_PROFILE", "test")
    monkeypatch.setenv("MAILLON_ISSUER", ISSUER)
    settings.cache_clear()

    def command(*args: str) -> Result:
        return CliRunner().invoke(commands, ["receipt", *args])

    yield command
    settings.cache_clear()


def stricter(office: Office) -> Path:
    """The table of a DPO who closes the sharing of the parcours insertion (A06)."""
    text = DEFAULT.read_text("utf-8")
    rule = re.search(r'\[\[rule\]\]\nid = "A06".*?status = "active"', text, re.DOTALL)
    assert rule
    path = office.home / "stricter.toml"
    path.write_text(text.replace(rule[0], rule[0].replace('status = "active"', 'status = "proposed"')), "utf-8")
    return path


async def test_every_decision_permitted_or_refused_is_found_again_byte_for_byte(both: Office) -> None:
    both.says("departement", PAUL, key="d9")  # not informed: refused
    await known(both)
    entries = decided(both)
    assert {entry.fields["event"] for entry in entries} >= {"exchange.request", "exchange.deny", "exchange.ack"}
    for entry in entries:
        found = verdict(both, entry)
        assert found.same
        said = found.line()
        assert said["rule_ids"] == entry.fields["rule_ids"]
        assert said["facts"]["clock_ok"] is True
    sent = [entry.fields for entry in entries if entry.fields["event"] in ("exchange.deliver", "exchange.ack")]
    assert all(one["delivery_id"] for one in sent), "what two journals are compared by"
    flowing = [entry.fields for entry in entries if entry.fields["decision"] == "permit"]
    assert {one["convention"] for one in flowing} == {"essai-droits:1"}
    assert {one["notice_ref"] for one in flowing} == {"parcours-insertion:1"}


async def test_persons_in_the_same_situation_share_a_record_that_names_nobody(office: Office) -> None:
    await known(office)
    with office.gateway.engine.connect() as connection:
        before = connection.scalars(select(table.c.digest)).all()
    await known(office, PAUL, "d2")
    with office.gateway.engine.connect() as connection:
        rows = connection.execute(select(table)).all()
    assert {row.digest for row in rows} == set(before)
    for row in rows:
        told = json.loads(row.content)
        assert not re.search(rb"CANARI|[0-9a-f]{8}-[0-9a-f]{4}-7", row.content)
        assert told["evaluated_at"] == told["consent_ref"] == told["notice_ref"] == told["reason_hash"] == ""


async def test_a_decision_outlives_its_table(office: Office) -> None:
    await known(office)
    old = decided(office)
    office.gateway.engine.dispose()
    office.open(policy_file=stricter(office))
    office.says("ccas", MARIE | {"personne.nom_usage": "CANARIAUTRE"})
    new = decided(office)[len(old) :]
    assert {entry.fields["rule_ids"][0] for entry in new} == {"D00"}
    assert len({entry.fields["policy_h"] for entry in (*old, *new)}) == 2
    assert all(verdict(office, entry).same for entry in (*old, *new))


async def test_an_altered_record_or_table_and_an_unknown_one_are_told_apart(office: Office) -> None:
    await known(office)
    entry = decided(office)[-1]
    digest = entry.fields["decision_h"]
    version = office.gateway.policy.version
    kept = office.home / "policies" / f"{version}.toml"
    content = kept.read_bytes()
    kept.write_bytes(content + b"\n")
    with pytest.raises(Misconfigured, match="policy-altered"):
        verdict(office, entry)
    kept.unlink()
    with pytest.raises(Unknown, match="policy-unknown"):
        verdict(office, entry)
    assert policy_history.keep(office.home, DEFAULT) == version
    assert verdict(office, entry).same

    this = table.c.digest == bytes.fromhex(digest)
    with office.gateway.engine.begin() as connection:
        honest = connection.scalar(select(table.c.content).where(this))
        forged = honest.replace(b'"person_informed":true', b'"person_informed":false')
        assert forged != honest
        connection.execute(update(table).where(this).values(content=forged))
    with pytest.raises(Conflict, match="receipt-altered"):
        verdict(office, entry)
    with office.gateway.engine.begin() as connection:
        connection.execute(table.delete().where(this))
    with pytest.raises(Unknown, match="receipt-missing"):
        verdict(office, entry)


async def test_the_command_replays_an_exchange_and_sees_a_rewritten_entry(office: Office, run: Any) -> None:
    await known(office)
    entry = next(one for one in decided(office) if one.fields["event"] == "exchange.ack")
    told = run("replay", entry.fields["exchange_id"])
    assert told.exit_code == 0, told.output
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    assert all(line["same"] and line["proven"] for line in lines)
    assert len(lines) >= 3
    one = run("replay", f"{entry.log}:{entry.idx}")
    assert json.loads(one.stdout)["index"] == entry.idx

    # An insider who rewrites the entry itself, and names a record that exists: the tree does not hold it.
    other = next(one for one in decided(office) if one.fields["decision"] == "deny")
    forged = entry.content.replace(entry.fields["decision_h"].encode(), other.fields["decision_h"].encode())
    assert forged != entry.content
    with office.gateway.engine.begin() as connection:
        place = (journal_entry.c.log == entry.log) & (journal_entry.c.idx == entry.idx)
        connection.execute(update(journal_entry).where(place).values(entry=forged))
    assert isinstance(run("replay", f"{entry.log}:{entry.idx}").exception, JournalBroken)
    assert proof._proven(office.gateway, entry)
    assert not proof._proven(office.gateway, replace(entry, content=forged))


async def test_what_decides_nothing_has_no_receipt(office: Office, run: Any) -> None:
    await known(office)
    with office.gateway.engine.connect() as connection:
        entries = journal.of_period(connection, *ALL, limit=1000)
    silent = next(one for one in entries if "decision" not in one.fields)
    told = run("replay", f"{silent.log}:{silent.idx}")
    assert (told.exit_code, "receipt-none" in told.stderr) == (1, True)
    assert run("replay", "12m:999999").exit_code == 2


async def test_a_period_is_replayed_on_another_table(office: Office, run: Any, dpo: AsyncClient) -> None:
    await known(office)
    before = decided(office)
    told = run("period", str(stricter(office)), "--from", LONG_AGO)
    assert told.exit_code == 0, told.output
    *changes, counts = [json.loads(line) for line in told.stdout.splitlines()]
    permitted = [entry for entry in before if entry.fields["decision"] == "permit"]
    assert counts["decisions"] == len(before)
    assert counts["changes"] == {"refused": len(permitted), "unchanged": len(before) - len(permitted)}
    assert [(one["log"], one["index"]) for one in changes] == [(entry.log, entry.idx) for entry in permitted]
    assert {tuple(one["after"]["rule_ids"]) for one in changes} == {("D00",)}

    answer = await dpo.post(
        "/v1/audit/decisions/period", params={"from": LONG_AGO}, content=stricter(office).read_bytes()
    )
    assert answer.raise_for_status().json()["counts"] == counts["changes"]
    table = stricter(office).read_bytes()
    shapeless = [table.replace(b"retention = ", b"retention = 5 # ", 1), table.replace(b"article = ", b"id = ", 1)]
    for wrong in (b"[[", b"a = " + b"[" * 60_000, b"a = " + b"9" * 5_000, *shapeless):
        refused = await dpo.post("/v1/audit/decisions/period", content=wrong)
        assert (refused.status_code, "send a decision table" in refused.json()["detail"]) == (422, True)
        assert "signs it again" not in refused.json()["detail"]  # whoever sent it must act, not its author
    shown = (await dpo.get(f"/v1/audit/exchanges/{permitted[0].fields['exchange_id']}")).raise_for_status().json()
    receipts = [one["receipt"] for one in shown["entries"] if one["receipt"]]
    assert receipts
    assert all(one["same"] for one in receipts)


async def test_two_writers_of_the_same_new_decisions_both_commit(both: Office) -> None:
    marie = await known(both)
    gateway = both.gateway
    with gateway.unit_of_work() as work:
        flow = next(one for one in gateway.flows(work, "ccas") if one.vers == "departement")
        asked = question(work, gateway, marie, flow, gateway.dossiers.current(work, marie))
    new = [replace(asked, human_validations=count) for count in (1, 2)]
    gathered = threading.Barrier(2)
    failed: list[BaseException] = []

    def write(order: int) -> None:
        try:
            with gateway.unit_of_work() as work:
                journal.append(work, "log.read", outcome="first")  # its hook is registered before the records'
                for one in new[::order]:
                    told = decision_record.told(work, flow, one, gateway.policy.decide(one))
                    journal.append(work, "exchange.permit", **told)
                if gateway.engine.dialect.name == "postgresql":  # on SQLite a transaction is alone from its start
                    gathered.wait(60)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(order,)) for order in (1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert sum(entry.fields["event"] == "exchange.permit" for entry in decided(both)) == 4
    assert all(verdict(both, entry).same for entry in decided(both))


@pytest.mark.parametrize("gone", ["flow", "document", "everything"])
async def test_a_delivery_whose_flow_vanished_meanwhile_is_refused_with_a_receipt(
    both: Office, gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = both.gateway
    marie = both.says("caf", MARIE, foyer={"droit_rsa.etat": "ouvert_versable"}).persons[0]
    with gateway.unit_of_work() as work:
        if gone == "flow":
            text = (HERE / "convention.toml").read_text(encoding="utf-8")
            start, rest = text.index('[[flux]]\nde = "caf"'), text.index('[[flux]]\nde = "france_travail"')
            convention.add(work, (text[:start] + text[rest:]).encode())
        elif gone == "everything":
            work.connection.execute(update(outbox).values(flow="convention-perdue:caf:departement:x:y"))
    if gone == "document":
        known = gateway.document

        def removed(body: str, document: str) -> Any:
            if body == "departement":
                raise Invalid("document-unknown", "removed from its manifest")
            return known(body, document)

        monkeypatch.setattr(gateway, "document", removed)
    await both.settle()
    with gateway.unit_of_work() as work:
        row = work.connection.execute(select(outbox).where(outbox.c.person_id == marie)).one()
        (entry,) = journal.of_period(work.connection, "2000", "3000", decision="deny")
        verdict = decision_record.replay_entry(work.connection, gateway.settings.home, entry)
    assert row.state == "withheld"
    assert verdict.same
    if gone == "everything":
        assert (row.reason, entry.fields["rule_ids"], entry.fields["regime"]) == ("indeterminate", ["D99"], "inconnu")
    else:
        assert (row.reason, entry.fields["rule_ids"][0]) == ("convention-missing", "D01")
        assert (entry.fields["regime"], entry.fields["purpose"]) == ("RSA", "instruction_rsa")
