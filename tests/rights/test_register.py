"""The register of processing compared with the journal; the list of breaches; whom a stolen token touched."""

from __future__ import annotations

import csv
import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from lxml import html

from gateway import art30, basis, breach, clock, decision_record, journal
from gateway.app import build
from gateway.audit_queries import sent
from gateway.problems import Conflict, Invalid, Unknown
from tests.rights.conftest import MARIE, PAUL, Office, known

EVER = ("2020-01-01T00:00:00.000000Z", "2100-01-01T00:00:00.000000Z")


def register(office: Office) -> dict[str, Any]:
    with office.gateway.unit_of_work() as work:
        return art30.register(work, office.gateway, *EVER)


async def test_declared_and_observed_stand_side_by_side(both: Office) -> None:
    before = register(both)
    assert {one["id"] for one in before["treatments"]} == {"P8-PIE", "P9-RSA", "P12-CONSENT_6_1_a"}
    assert all(one["observed_recipients"] == [] for one in before["treatments"])
    await known(both)
    told = {one["id"]: one for one in register(both)["treatments"]}
    assert told["P8-PIE"]["observed_recipients"] == ["ccas", "departement"]
    assert set(told["P8-PIE"]["observed_categories"]) == {"C1", "C2"}
    assert set(told["P8-PIE"]["observed_categories"]) <= set(told["P8-PIE"]["categories"])
    assert told["P9-RSA"]["observed_recipients"] == []
    assert told["P8-PIE"]["articles"] == ["CASF L263-4-1"]


async def test_what_was_seen_and_is_not_declared_is_an_alert(both: Office) -> None:
    await known(both)
    assert [one for one in register(both)["differences"] if one["kind"] == "undeclared"] == []
    with both.gateway.unit_of_work() as work:
        for recipient, codes in (("departement", ["C13"]), ("caf", ["C1"])):
            journal.append(work, "exchange.ack", sender_org="ccas", recipient_org=recipient, purpose="accompagnement",
                           categories_sent=codes, outcome="delivered")  # fmt: skip
    alerts = [one for one in register(both)["differences"] if one["kind"] == "undeclared"]
    assert [(one["recipient"], one["what"], one["categories"]) for one in alerts] == [
        ("caf", "recipient", ["C1"]),
        ("departement", "categories", ["C13"]),
    ]


async def test_what_a_body_reads_in_the_dossier_is_counted_as_received(office: Office) -> None:
    marie = await known(office)
    mine = office.gateway.keys.pseudonym("ccas", marie)
    app = build(office.gateway, embedded_worker=False)
    async with app.router.lifespan_context(app), office.client("ccas", app) as reader:
        search = {"nir": MARIE["identifiants[nir].valeur"], "date_naissance": MARIE["personne.date_naissance"]}
        reference = (await reader.post("/v1/persons/search", json=search)).raise_for_status().json()["person"]
        before = register(office)
        shown = (await reader.get(f"/v1/persons/{reference}/dossier")).raise_for_status().json()
        assert shown["facts"]
        assert (await reader.get(f"/v1/persons/{'0' * 40}/dossier")).status_code == 404
    with office.gateway.unit_of_work() as work:
        told = journal.of_period(work.connection, *EVER, limit=500, event="exchange.permit")
        assert told
        assert {one.fields["recipient_org"] for one in told} == {"ccas"}
        assert {(one.fields["subject"], one.fields["outcome"]) for one in told} == {(mine, "dossier")}
        for one in told:
            assert one.fields["sender_org"] != "ccas"
            assert all(one.fields[name] for name in ("purpose", "article", "rule_ids"))
            verdict = decision_record.replay_entry(work.connection, office.gateway.settings.home, one)
            assert verdict.same
            assert set(one.fields["categories_sent"]) <= set(verdict.again.before["categories_sent"])
            assert not set(one.fields["categories_sent"]) & set(one.fields.get("categories_redacted", ()))
    after = {one["id"]: one for one in register(office)["treatments"]}
    for one in before["treatments"]:
        read = sum(
            entry.fields["purpose"] == one["purpose"] and entry.fields["regime"] == one["regime"] for entry in told
        )
        assert after[one["id"]]["observed_deliveries"] == one["observed_deliveries"] + read
    assert [one for one in register(office)["differences"] if one["kind"] == "undeclared"] == []


def test_what_a_body_said_it_had_already_is_counted_as_received(office: Office) -> None:
    """France Travail answers « same criteria »: it holds them, whether this sending or an earlier one brought them."""
    with office.gateway.unit_of_work() as work:
        journal.append(
            work, "exchange.ack", sender_org="departement", recipient_org="france_travail", purpose="orientation",
            categories_sent=["C9"], outcome="duplicate",
        )  # fmt: skip
    with office.gateway.unit_of_work() as work:
        seen = sent(work.connection, *EVER)
    assert seen == {("orientation", "departement", "france_travail"): {"C9": 1}}


def test_a_category_read_beyond_what_is_declared_is_an_alert(office: Office) -> None:
    with office.gateway.unit_of_work() as work:
        journal.append(work, "exchange.permit", sender_org="departement", recipient_org="caf", purpose="accompagnement",
                       categories_sent=["C13"], outcome="dossier")  # fmt: skip
    alerts = [one for one in register(office)["differences"] if one["kind"] == "undeclared"]
    assert [(one["recipient"], one["categories"]) for one in alerts] == [("caf", ["C13"])]


async def test_the_register_is_a_spreadsheet_and_a_page(office: Office) -> None:
    await known(office)
    told = register(office)
    rows = list(csv.reader(art30.as_csv(told).lstrip("\ufeff").splitlines(), delimiter=";"))
    assert len(rows) == 1 + len(told["treatments"])
    assert {len(row) for row in rows} == {15}
    page = html.fromstring(art30.as_html(told, office.gateway))
    assert page.get("lang") == "fr"
    assert not page.xpath("//script")
    assert len(page.xpath("//table/caption")) == len(told["treatments"])
    read = page.text_content()
    assert "Parcours insertion emploi" in read, "a regime by its name"
    assert "C1 identité" in read, "a category as French writes it"
    bodies = office.gateway.bodies
    assert all(bodies[id].name in read for id in ("caf", "departement")), "a controller by its name (30(1)(a))"
    assert not re.search(r"\d{4}-\d\d-\d\d|\b(?:france_travail|instruction_rsa)\b", read)
    controllers = {one["controller"] for one in told["processor_register"]}
    assert controllers == {"caf", "ccas", "departement", "france_travail"}


# --- breaches ---------------------------------------------------------------------------------------------------------


def test_the_72_hours_start_when_the_controller_is_aware(both: Office) -> None:
    now = clock.now()
    aware = clock.instant(now - timedelta(hours=80))
    with both.gateway.unit_of_work() as work:
        late = breach.draft(work, "mass-read", {"persons": 12, "records": 40}, aware_at=aware)
        assert breach.show(work, late)["late"] is True
        fresh = breach.draft(work, "journal-verification")
        told = breach.show(work, fresh)
        assert (told["late"], told["state"], told["nature"]) == (False, "draft", ["integrite"])
        assert datetime.fromisoformat(told["due_at"]) - datetime.fromisoformat(told["aware_at"]) == timedelta(hours=72)
    with both.gateway.unit_of_work() as work:
        with pytest.raises(Invalid, match="delay-reason"):
            breach.complete(work, late, {}, cnil_notified_at=clock.instant(now))
        done = breach.complete(work, late, {"delay_reason": "analyse en cours"}, cnil_notified_at=clock.instant(now))
        assert (done["state"], done["persons"]) == ("open", 12)
        breach.close(work, late)
        with pytest.raises(Conflict):
            breach.close(work, late)
        assert [one["id"] for one in breach.list_(work)] == [fresh, late]
    with both.gateway.unit_of_work() as work:
        events = [one.fields["event"] for one in journal.of_period(work.connection, *EVER, limit=500)]
    told = [one for one in events if one.startswith("breach.")]
    assert told == ["breach.open", "breach.open", "breach.notify", "breach.close"]


def test_a_breach_of_no_known_kind_is_refused(office: Office) -> None:
    with office.gateway.unit_of_work() as work:
        for kind, content in (("rumour", {}), ("other", {"nature": ["rumeur"]}), ("other", {"nom": "CANARI"})):
            with pytest.raises(Invalid) as caught:
                breach.draft(work, kind, content)
            assert "CANARI" not in str(caught.value)


async def test_a_stolen_token_gives_exactly_the_persons_and_records_it_touched(office: Office) -> None:
    marie = await known(office)
    paul = await known(office, PAUL, "d2")
    other = await known(office, third(), "d3")
    with office.gateway.unit_of_work() as work:
        consent = basis.record(work, office.consent(other), decision="given").id
    app = build(office.gateway, embedded_worker=False)
    async with app.router.lifespan_context(app), office.client("ccas", app) as thief:
        start = clock.instant()
        (await thief.post(f"/v1/basis/{consent}/withdraw")).raise_for_status()
        search = {"nir": MARIE["identifiants[nir].valeur"], "date_naissance": MARIE["personne.date_naissance"]}
        reference = (await thief.post("/v1/persons/search", json=search)).raise_for_status().json()["person"]
        (await thief.get(f"/v1/persons/{reference}/dossier")).raise_for_status()
        letters = (await thief.get("/v1/inbox")).raise_for_status().json()["letters"]
        mine = office.gateway.keys.pseudonym("ccas", paul)
        letter = next(one for one in letters if one["person"] == mine)
        (await thief.get(f"/v1/inbox/{letter['id']}/document")).raise_for_status()
        body = {
            "fileNumber": "X1",
            "birthName": PAUL["personne.nom_naissance"],
            "firstName": "Canaripaul",
            "birthDate": PAUL["personne.date_naissance"],
            "socialSecurityNumber": PAUL["identifiants[nir].valeur"],
        }
        headers = {"Maillon-Document": "ccas.beneficiaires", "Idempotency-Key": "stolen-1"}
        sent = await thief.post("/v1/exchanges", json=body, headers=headers)
        assert sent.status_code == 202, sent.text
        end = clock.instant(clock.now() + timedelta(seconds=1))
    with office.gateway.unit_of_work() as work:
        told = breach.touched(work, office.gateway, "ccas", start, end)
        before = breach.touched(work, office.gateway, "ccas", "2020-01-01T00:00:00Z", "2020-02-01T00:00:00Z")
        with pytest.raises(Unknown):
            breach.touched(work, office.gateway, "nobody", start, end)
    pseudonyms = {office.gateway.keys.pseudonym("ccas", one) for one in (marie, paul, other)}
    assert set(told["persons"]) == pseudonyms
    assert [one["what"] for one in told["reads"] if one["subject"]] == ["search", "dossier", "inbox"]
    assert {(one.get("exchange_id") or one["record"], one["subject"]) for one in told["written"]} == {
        (sent.json()["id"], mine), (consent, office.gateway.keys.pseudonym("ccas", other)),
    }  # fmt: skip
    assert before["persons"] == []


def third() -> dict[str, Any]:
    return {
        "identifiants[nir].valeur": "2900740999903",
        "personne.nom_naissance": "CANARITROIS",
        "personne.prenoms": ["Canaritrois"],
        "personne.date_naissance": "1990-07-03",
        "personne.adresses[residence].code_insee": "40192",
    }
