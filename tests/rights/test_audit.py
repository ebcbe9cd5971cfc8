"""The DPO's doors: pseudonyms only, every read journaled, each decision explained by the table of its day."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx import AsyncClient

from gateway import clock, journal, notifier, policy_history
from gateway.app import build
from gateway.audit import routes
from gateway.audit_queries import consents_past
from gateway.decide import decide, question
from tests.rights.conftest import MARIE, Office, known

SEARCH = {"nir": MARIE["identifiants[nir].valeur"], "date_naissance": MARIE["personne.date_naissance"]}


@pytest.fixture
async def app(office: Office) -> AsyncIterator[Any]:
    app = build(office.gateway, embedded_worker=False)
    mounted = {getattr(one, "path", "") for one in app.router.routes}
    for one in (*routes(office.gateway), *notifier.routes(office.gateway)):
        if one.path not in mounted:
            app.router.routes.append(one)
    async with app.router.lifespan_context(app):
        yield app


async def test_a_search_gives_pseudonyms_and_every_read_is_in_the_journal(office: Office, dpo: AsyncClient) -> None:
    marie = await known(office)
    found = (await dpo.post("/v1/audit/search", json=SEARCH)).raise_for_status().json()
    assert found["certainty"] == "certain"
    assert found["pseudonyms"]["ccas"] == [office.gateway.keys.pseudonym("ccas", marie)]
    assert marie not in json.dumps(found)
    history = (await dpo.get(f"/v1/audit/persons/{found['person']}/history")).raise_for_status().json()
    assert {one["event"] for one in history["entries"]} >= {"exchange.request", "exchange.deliver", "exchange.ack"}
    assert "CANARI" not in json.dumps(history)
    reads = _events(office, "log.read")
    assert [one["outcome"] for one in reads] == ["audit-search", "audit-history"]
    assert {one["sender_org"] for one in reads} == {"dpo"}


async def test_history_continues_where_the_page_ended(office: Office, dpo: AsyncClient) -> None:
    await known(office)
    person = (await dpo.post("/v1/audit/search", json=SEARCH)).json()["person"]
    whole = (await dpo.get(f"/v1/audit/persons/{person}/history?limit=200")).json()["entries"]
    seen: list[Any] = []
    after = ""
    while after is not None and len(seen) < len(whole):
        answer = await dpo.get(f"/v1/audit/persons/{person}/history", params={"limit": 3, "after": after})
        told = answer.raise_for_status().json()
        seen += told["entries"]
        after = told["next"]
    assert seen[: len(whole)] == whole
    assert (await dpo.get(f"/v1/audit/persons/{person}/history?after=nowhere")).status_code == 422


async def test_a_reference_given_to_somebody_else_is_unknown(office: Office, dpo: AsyncClient) -> None:
    marie = await known(office)
    other = office.gateway.keys.pseudonym("ccas", marie)
    assert (await dpo.get(f"/v1/audit/persons/{other}/history")).status_code == 404
    assert (await dpo.get(f"/v1/audit/exchanges/{clock.new_id()}")).status_code == 404
    assert (await dpo.get("/v1/audit/subjects/NOM/history")).status_code == 404


async def test_a_partner_never_reads_the_audit(office: Office, app: Any) -> None:
    async with office.client("ccas", app) as client:
        for path in ("denials", "register", "retention", "breaches", "requests"):
            assert (await client.get(f"/v1/audit/{path}")).status_code == 403
        assert (await client.post("/v1/audit/search", json=SEARCH)).status_code == 403


async def test_each_decision_of_an_exchange_is_explained_by_the_table_of_its_day(
    office: Office, dpo: AsyncClient
) -> None:
    office.says("departement", MARIE)
    refused = office.says("ccas", MARIE | {"personne.nom_usage": "CANARIUSAGE"})
    assert refused.outcomes[0].status == "withheld"
    await known(office)
    by_exchange: dict[str, str] = {}
    for one in (*_events(office, "exchange.deny"), *_events(office, "exchange.request")):
        by_exchange.setdefault(one["exchange_id"], one["event"])
    explained = []
    for identifier in by_exchange:
        told = (await dpo.get(f"/v1/audit/exchanges/{identifier}")).raise_for_status().json()
        explained += [one["explained"] for one in told["entries"] if one["explained"]]
    assert explained
    assert all(one["policy_known"] and one["sound"] and one["rules"] for one in explained)
    assert {rule["effect"] for one in explained for rule in one["rules"]} >= {"deny", "permit"}


async def test_an_exchange_is_read_page_by_page_as_its_neighbours_are(office: Office, dpo: AsyncClient) -> None:
    office.says("departement", MARIE)
    office.says("ccas", MARIE | {"personne.nom_usage": "CANARIUSAGE"})
    await known(office)
    identifier = _events(office, "exchange.request")[0]["exchange_id"]
    whole = (await dpo.get(f"/v1/audit/exchanges/{identifier}", params={"limit": 200})).raise_for_status().json()
    assert whole["next"] is None
    assert len(whole["entries"]) > 1
    entries, deliveries, after = [], [], ""
    while after is not None:
        asked = {"limit": 1} | ({"after": after} if after else {})
        page = (await dpo.get(f"/v1/audit/exchanges/{identifier}", params=asked)).raise_for_status().json()
        assert len(page["entries"]) <= 1
        entries, deliveries, after = entries + page["entries"], deliveries + page["deliveries"], page["next"]
    assert (entries, deliveries) == (whole["entries"], whole["deliveries"])
    wrong = await dpo.get(f"/v1/audit/exchanges/{identifier}", params={"after": "hier"})
    assert wrong.status_code == 422


async def test_a_decision_record_is_taken_again_under_the_table_of_its_day(office: Office, dpo: AsyncClient) -> None:
    marie = await known(office)
    gateway = office.gateway
    with gateway.unit_of_work() as work:
        flow = next(one for one in gateway.flows(work, "ccas") if one.vers == "departement")
        current = gateway.dossiers.current(work, marie)
        record = decide(work, gateway, marie, flow, current).record(
            question(work, gateway, marie, flow, current), clock.instant()
        )
    assert gateway.policy.version in policy_history.versions(office.home)
    told = (await dpo.post("/v1/audit/decisions/replay", content=record)).raise_for_status().json()
    assert (told["same"], told["change"], told["permits"]) == (True, "unchanged", True)
    altered = record.replace(b'"decision":"permit"', b'"decision":"deny"')
    assert (await dpo.post("/v1/audit/decisions/replay", content=altered)).json()["same"] is False
    for wrong in (b"{}", b"[" * 60_000, b"9" * 5_000):
        assert (await dpo.post("/v1/audit/decisions/replay", content=wrong)).status_code == 422


async def test_refusals_are_counted_by_rule_with_their_article(office: Office, dpo: AsyncClient) -> None:
    office.says("departement", MARIE)
    office.says("ccas", MARIE)
    told = (await dpo.get("/v1/audit/denials")).raise_for_status().json()["denials"]
    assert sum(one["count"] for one in told) == len(
        [x for e in _events(office, "exchange.deny") for x in e["rule_ids"]]
    )
    assert all(one["rule"] and one["article"] and one["reason"] for one in told)


async def test_the_evidence_pack_holds_the_proof_and_the_rules(office: Office, dpo: AsyncClient) -> None:
    await known(office)
    identifier = _events(office, "exchange.deliver")[0]["exchange_id"]
    answer = (await dpo.get(f"/v1/audit/exchanges/{identifier}/evidence")).raise_for_status()
    with zipfile.ZipFile(io.BytesIO(answer.content)) as pack:
        assert {"policy.txt", "checkpoint", "verify.py", "rules.toml", "LISEZMOI.txt"} <= set(pack.namelist())
        assert all(b"CANARI" not in pack.read(name) for name in pack.namelist())
    nothing = "/v1/audit/exchanges/01890000-0000-7000-8000-000000000000"
    for path in (nothing, f"{nothing}/evidence"):
        refused = await dpo.get(path)
        assert (refused.status_code, refused.json()["type"]) == (404, "urn:maillon:problem:exchange-unknown")


async def test_the_journal_is_verified_on_demand_and_an_alteration_is_named(office: Office, dpo: AsyncClient) -> None:
    with office.gateway.unit_of_work() as work:
        for number in range(300):
            journal.append(work, "log.read", outcome="search", n_records=number)
    assert (await dpo.post("/v1/audit/verify")).raise_for_status().json()["ok"] is True
    bundle = office.gateway.journal_folder / "tile" / "entries" / "000"
    content = bundle.read_bytes()
    bundle.write_bytes(content.replace(b'"n_records":42,', b'"n_records":43,'))
    told = (await dpo.post("/v1/audit/verify")).json()
    assert told["ok"] is False
    assert told["logs"][0]["first_bad"] == 42


@pytest.mark.parametrize("path", ["conventions", "consents", "retention", "lookups", "categories", "requests",
                                  "notifications", "register", "breaches"])  # fmt: skip
async def test_every_question_is_answered_without_a_name(office: Office, dpo: AsyncClient, path: str) -> None:
    await known(office)
    answer = (await dpo.get(f"/v1/audit/{path}")).raise_for_status()
    assert "CANARI" not in answer.text
    assert _events(office, "log.read")[-1]["outcome"] == f"audit-{path}"


async def test_an_instant_outside_the_calendar_is_refused_as_any_other(dpo: AsyncClient) -> None:
    for wrong in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:00:00-02:00", "2026-11-22"):
        answer = await dpo.get("/v1/audit/denials", params={"from": wrong})
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:maillon:problem:bad-instant")


async def test_a_period_that_ends_before_it_begins_is_refused_not_answered_by_nothing(dpo: AsyncClient) -> None:
    span = {"from": "2026-12-01T00:00:00Z", "to": "2026-11-01T00:00:00Z"}
    answer = await dpo.get("/v1/audit/denials", params=span)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:maillon:problem:period-backwards")


async def test_repeated_and_out_of_hours_lookups_are_shown(office: Office, dpo: AsyncClient) -> None:
    marie = await known(office)
    subject = office.gateway.keys.pseudonym("ccas", marie)
    for moment in ("2026-11-17T23:00", "2026-11-18T10:00"):  # one day, in Paris
        work = office.gateway.unit_of_work()
        work.now = f"{moment}:00.000000Z"
        with work:
            for _ in range(6):
                journal.append(
                    work, "log.read", sender_org="ccas", client_id="ccas", subject=subject, outcome="dossier"
                )
    told = (
        await dpo.get("/v1/audit/lookups", params={"from": "2026-11-17T23:00:00Z", "to": "2026-11-19T00:00:00Z"})
    ).json()
    (one,) = told["lookups"]
    assert (one["client_id"], one["lookups"], one["persons"], one["out_of_hours"]) == ("ccas", 12, 1, 6)
    assert one["repeated"] == [{"day": "2026-11-18", "subject": subject, "lookups": 12}]
    assert one["mass"] == []


async def test_a_consent_past_its_term_is_shown(office: Office, dpo: AsyncClient) -> None:
    from gateway import basis

    marie = await known(office)
    work = office.gateway.unit_of_work()
    work.now = "2025-01-01T00:00:00.000000Z"
    with work:
        told = basis.record(work, office.consent(marie, "2025-06-01T00:00:00Z"), decision="given")
        work.now = "2025-06-02T00:00:00.000000Z"
        (one,) = consents_past(work)  # before the commit: the server's own upkeep may come right after it
    assert (one["id"], one["recorded"]) == (told.id, "given")
    notifier.upkeep(office.gateway)
    assert (await dpo.get("/v1/audit/consents")).json()["consents"][0]["recorded"] == "expired"


async def test_what_is_older_than_its_regime_allows_is_due(office: Office, dpo: AsyncClient) -> None:
    assert (await dpo.get("/v1/audit/retention")).json()["data"] == []
    work = office.gateway.unit_of_work()
    work.now = "2020-01-01T00:00:00.000000Z"
    with work:
        who = office.gateway.dossiers.new_subject(work, "personne")
        office.gateway.dossiers.put(work, who, ("ccas", "ccas.essai", b"k" * 32), {"personne.civilite": "madame"},
                                    asserted_at=work.now, exchange_id=clock.new_id(), partial=True)  # fmt: skip
    (one,) = (await dpo.get("/v1/audit/retention")).json()["data"]
    assert (one["source"], one["statements"], one["subjects"]) == ("ccas", 1, 1)


def _events(office: Office, event: str) -> list[dict[str, Any]]:
    with office.gateway.unit_of_work() as work:
        return [one.fields for one in journal.of_period(work.connection, "2000", "3000", event=event, limit=10_000)]
