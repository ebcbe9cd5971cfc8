"""The console's pages on PostgreSQL, and what they tell of a person found to be another; the browser looks at them on
SQLite."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, time, timedelta
from html import unescape
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from gateway import (
    basis,
    breach,
    clock,
    identity_review,
    journal,
    meter_readings,
    notification,
    person_export,
    quarantine,
    rectification,
    reidentification,
    retention,
    rights,
    volumes,
    words,
)
from gateway.app import build
from gateway.console import double_entry, integrity, places, registers
from gateway.receipt import Request
from gateway.reidentification import Account
from gateway.storage.tables.record import exchange, identity_case
from gateway.storage.tables.record import quarantine as quarantined
from gateway.words import typeset
from schemas.normalisation import PARIS
from schemas.record import Finding, Record
from tests.rights.conftest import ISSUER, MARIE, Office, known

ALIKE = {path: value for path, value in MARIE.items() if not path.startswith("identifiants")}
"""What is told of Marie without any number: only a human can say that it is she."""


@asynccontextmanager
async def signed_in(office: Office, role: str) -> AsyncIterator[httpx.AsyncClient]:
    wire = httpx.ASGITransport(build(office.gateway, embedded_worker=False))
    async with httpx.AsyncClient(transport=wire, base_url=ISSUER, follow_redirects=True) as client:
        await client.get(f"/console/connexion?comme={role}")
        yield client


_IN_A_FOLDER = "/console/fichiers/essai/{id}"
"""What waits in files, not in the database."""


@pytest.mark.parametrize("database", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
async def test_every_page_opens_on_postgresql_too(both: Office) -> None:
    ids = await _lived(both)
    answers, known_to_us = {}, [one for one in places() if one.method == "GET" and one.path != _IN_A_FOLDER]
    for role in ("dpo", "integration", "operateur"):
        async with signed_in(both, role) as client:
            for path in [one.path for one in known_to_us if role in one.roles]:
                for address in _addresses(path, ids):
                    answer = await client.get(address)
                    answers[role, address] = answer.status_code, answer.url.path
    assert len(answers) > 65
    assert {asked: told for asked, told in answers.items() if told != (200, asked[1])} == {}


@pytest.mark.parametrize("database", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
async def test_a_character_that_postgresql_takes_in_no_text_breaks_no_page(both: Office) -> None:
    async with signed_in(both, "dpo") as client:
        opened = [await client.get(f"/console/{page}?apres=a%00b") for page in ("echanges", "bases", "droits")]
    async with signed_in(both, "integration") as client:
        opened.append(await client.get("/console/quarantaine/liste?document=%00&code=%00"))
    assert [one.status_code for one in opened] == [200] * 4


def _addresses(path: str, ids: Mapping[str, Any]) -> list[str]:
    """The addresses of one place: itself, or one for each thing it may be about."""
    stem, brace, rest = path.partition("{")
    if not brace:
        return [path]
    named = ids.get(path, ids[stem])
    after = rest.partition("}")[2]
    return [f"{stem}{one}{after}" for one in (named if isinstance(named, list | tuple) else [named])]


async def _lived(office: Office) -> dict[str, Any]:
    """A person who lived: what each address with a parameter is about."""
    gateway, marie = office.gateway, await known(office)
    office.says("ccas", ALIKE, key="another file")
    with gateway.unit_of_work() as work:
        asked = {right: rights.receive(work, gateway, marie, right).id for right in rights.ARTICLES}
        reason, officer = "Une raison écrite en toutes lettres.", Account(agent="cd" * 20)
        exchanged = work.connection.scalar(select(exchange.c.id).order_by(exchange.c.id))
        sent = Request(exchanged, "departement", "departement.essai", gateway.flows(work, "departement"), "departement")
        quarantine.keep(work, gateway, sent, Record("k", [], findings=[Finding("unknown-code", "a/b", raw="X")]), 1)
        work.flush()
        ids = {
            "/console/echanges/": exchanged,
            "/console/personne/": gateway.references.give(work, "dpo", marie),
            "/console/conventions/": "essai-droits",
            "/console/correspondances/": "caf.flux_beneficiaire",
            "/console/bases/": rights.limit(work, gateway, office.record("limitation", marie, article=["RGPD 18"])).id,
            "/console/droits/": [*asked.values()],
            "/console/droits/{id}/copie": asked.pop("access"),
            "/console/droits/{id}/portabilite": asked.pop("portability"),
            "/console/droits/{id}/executer": [*asked.values()],
            "/console/violations/": breach.draft(work, "other"),
            "/console/reidentification/": reidentification.request(work, "ab" * 20, reason, officer)["id"],
            "/console/registres/": registers.FILES,
            "/console/quarantaine/": work.connection.scalar(select(quarantined.c.id)),
            "/console/identites/": work.connection.scalar(select(identity_case.c.id)),
            "/console/divergences/": gateway.references.give(work, "integration", marie),
            "/console/connecteurs/": "caf",
            "/console/double-saisie/": double_entry.FILES,
        }
    gateway.publish_journal()
    retention.keep(gateway)
    volumes.keep(gateway)
    await meter_readings.keep(gateway)
    return ids


async def test_what_was_asked_and_recorded_before_she_was_recognised_is_told_of_her_whole(both: Office) -> None:
    """Under the reference that she had then too; and what was done since, for what she asked then."""
    gateway = both.gateway
    await known(both)
    (apart,) = both.says("ccas", ALIKE, key="another file").persons
    with gateway.unit_of_work() as work:
        old = gateway.references.give(work, "dpo", apart)
        asked = rights.receive(work, gateway, apart, "rectification").id
        raised = basis.object_(work, both.record("objection", apart, article=["RGPD 21"], recipients=["ccas"])).id
        case = work.connection.scalar(select(identity_case.c.id))
        identity_review.decide(work, gateway, case, True, "agent")
    assert both.says("departement", MARIE | {"personne.civilite": "monsieur"}).outcomes[0].reason == "objection"
    with gateway.unit_of_work() as work:
        rectification.rectify(work, gateway, apart, {"personne.nom_usage": "CANARIJUSTE"})
    async with signed_in(both, "dpo") as dpo:
        page = unescape((await dpo.get(f"/console/personne/{old}")).text)
        assert typeset("Ont reçu des données sur cette personne : ") in page
        assert typeset("Des envois ont été refusés vers : ") in page
        assert "rectifier" in (await dpo.get(f"/console/droits/{asked}")).text
        assert "1 envoi refusé" in (await dpo.get("/console/bases")).text
    with gateway.unit_of_work() as work:
        told = rights.resolve(work, gateway, raised, upheld=True)
        names = {one.recipient for one in notification.of_record(work, raised)}
        copy = person_export.gather(work, gateway, apart)
    assert [one["id"] for one in copy["requests"]] == [asked]
    assert (len(told.notifications), names) == (2, {"ccas", "departement"})


async def test_a_long_reading_holds_back_no_writer(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal is packed, an exchange of a whole file read, while others write."""
    ids, free = await _lived(office), []

    def writing(real: Any) -> Any:
        def meanwhile(*args: Any, **named: Any) -> Any:
            with sqlite3.connect(office.home / "maillon.db", timeout=0, isolation_level=None) as other:
                other.execute("BEGIN IMMEDIATE")
                other.execute("ROLLBACK")
            free.append(real.__name__)
            return real(*args, **named)

        return meanwhile

    monkeypatch.setattr(integrity, "_packed", writing(integrity._packed))
    monkeypatch.setattr(journal, "of_exchange", writing(journal.of_exchange))
    async with signed_in(office, "dpo") as dpo:
        read = await dpo.get(f"/console/echanges/{ids['/console/echanges/']}")
        token = read.text.partition('name="jeton" value="')[2].partition('"')[0]
        taken = await dpo.post("/console/integrite/export", data={"jeton": token})
    assert (read.status_code, taken.headers["content-type"]) == (200, "application/zip")
    assert free == ["of_exchange", "_packed"]


@pytest.mark.parametrize(
    ("event", "outcome"),
    [("exchange.ack", "delivered"), ("exchange.ack", "duplicate"), ("exchange.permit", "dossier")],
    ids=["delivered", "held already", "read in the dossier"],
)
async def test_what_a_body_was_given_is_told_and_the_day_when_it_is_sensitive(
    office: Office, event: str, outcome: str
) -> None:
    with office.gateway.unit_of_work() as work:
        work.now = _in_paris(3, "00:30")
        journal.append(
            work, event, sender_org="departement", recipient_org="ccas", outcome=outcome, categories_sent=["C13"],
            purpose="accompagnement",
        )  # fmt: skip
    async with signed_in(office, "dpo") as dpo:
        watched = (await dpo.get("/console/anomalies")).text
        counted = (await dpo.get("/console/registre")).text
    assert f"<td>{words.day(work.now)}</td>" in watched, "not the moment at which the page is read, nor its day in UTC"
    assert typeset("(livrés : 1, refusés : 0)") in unescape(counted)


def _in_paris(days_ago: int, at: str) -> str:
    day = clock.local(clock.instant()).date() - timedelta(days=days_ago)
    return clock.instant(datetime.combine(day, time.fromisoformat(at), PARIS))


async def test_readings_of_the_evening_and_of_the_night_are_of_two_days(office: Office) -> None:
    """One day in universal time, two in Paris."""

    def read(*moments: str) -> None:
        for at in moments:
            with office.gateway.unit_of_work() as work:
                work.now = _in_paris(3 if at < "12" else 4, at)
                journal.append(work, "log.read", sender_org="ccas", subject="a" * 40, outcome="dossier")

    read("23:30", "23:40", "23:50", "00:10", "00:20", "00:30", "00:40")
    async with signed_in(office, "dpo") as dpo:
        assert "lue plusieurs fois dans la journée" not in (await dpo.get("/console/anomalies")).text
        read("08:00")
        assert "lue plusieurs fois dans la journée" in (await dpo.get("/console/anomalies")).text


async def test_an_engineer_sees_that_bodies_differ_and_no_value_that_the_law_keeps(office: Office) -> None:
    """Her name in use, since when she has a disability recognised, her level of health difficulty."""
    said: list[dict[str, Any]] = [
        {"personne.nom_usage": "CANARIUN", "personne.rqth.debut": "2026-01-07", "freins[sante].valeur": "fort"},
        {"personne.nom_usage": "CANARIDEUX", "personne.rqth.debut": "2025-02-09", "freins[sante].valeur": "faible"},
    ]
    for body, facts in zip(("departement", "ccas"), said, strict=True):
        office.says(body, MARIE | facts)
    async with signed_in(office, "integration") as client:
        listed = (await client.get("/console/divergences")).text
        (address,) = set(re.findall(r"/console/divergences/[0-9a-f]{40}", listed))
        shown = unescape((await client.get(address)).text)
    assert ("CANARIUN" in shown, "CANARIDEUX" in shown) == (True, True)
    assert typeset("masquée : C13\u00a0santé") in shown
    assert typeset("masquée : C14\u00a0RQTH et handicap") in shown
    assert not [value for value in ("07/01/2026", "09/02/2025", "fort", "faible", "[sante]") if value in listed + shown]
