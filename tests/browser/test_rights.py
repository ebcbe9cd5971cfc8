"""The data protection officer answers what persons ask, and keeps the list of breaches: over HTTP."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from gateway import clock
from gateway.storage.tables.journal import journal_entry
from gateway.storage.tables.record import person
from tests.browser.conftest import Lived

pytestmark = pytest.mark.xdist_group("console")
SignedIn = Callable[[str], httpx.Client]


def _send(client: httpx.Client, page: str, action: str = "", files: Any = None, **data: str) -> httpx.Response:
    token = re.search(r'name="jeton" value="([^"]+)"', client.get(page).text)
    assert token
    return client.post(action or page, data={"jeton": token[1]} | data, files=files)


def _asks(client: httpx.Client, lived: Lived, rank: int, right: str, **more: str) -> str:
    """The address of a new request of one of the people."""
    one = lived.people[rank]
    found = _send(client, "/console/personne", nir=one.person.nir, date_naissance=one.born)
    opened = _send(client, f"{found.url.path}/demande", droit=right, ou="personne", **more)
    assert opened.status_code == 200, opened.text[-2000:]
    assert "La demande est inscrite" in opened.text
    return opened.url.path


def _journaled(lived: Lived, event: str) -> list[dict[str, Any]]:
    query = select(journal_entry.c.entry).where(journal_entry.c.event == event).order_by(journal_entry.c.ts)
    with lived.gateway.engine.connect() as connection:
        return [json.loads(bytes(entry).decode()) for entry in connection.scalars(query)]


def test_a_copy_is_handed_over_and_the_request_answered(signed_in: SignedIn, lived: Lived) -> None:
    client, name = signed_in("dpo"), lived.people[0].person.nom_naissance
    asked = _asks(client, lived, 0, "access")
    answer = client.get(f"{asked}/copie")
    assert answer.headers["content-type"] == "application/zip"
    folder = zipfile.ZipFile(io.BytesIO(answer.content))
    assert name in folder.read("page.html").decode()
    assert json.loads(folder.read("dossier.json"))["document"] == "maillon.acces"
    told = _send(client, asked, f"{asked}/reponse", issue="done")
    assert "satisfaite" in told.text
    assert name not in told.text
    assert _journaled(lived, "right.access")[-1]["agent_role"] == "dpo", "the journal names who took the copy"
    assert _journaled(lived, "right.answer")[-1]["agent_role"] == "dpo"
    assert asked in client.get("/console/droits?vue=repondues").text


def test_a_late_request_is_seen_first(signed_in: SignedIn, lived: Lived) -> None:
    client = signed_in("dpo")
    day = clock.instant(clock.now() - timedelta(days=45))[:10]
    asked = _asks(client, lived, 0, "access", recue=day)
    listed = client.get("/console/droits").text
    assert "délai dépassé" in listed
    assert listed.index(asked) == min(listed.index(one) for one in re.findall(r"/console/droits/[0-9a-f-]{36}", listed))
    assert "Prolonger" not in client.get(asked).text, "an extension comes before the first deadline"
    answer = _send(client, asked, f"{asked}/reponse", issue="done")
    assert "répondue après le délai" in answer.text


def test_a_refusal_needs_its_letter_and_cites_its_text(signed_in: SignedIn, lived: Lived) -> None:
    client = signed_in("dpo")
    asked = _asks(client, lived, 0, "erasure")
    without = _send(client, asked, f"{asked}/reponse", issue="refused", motif_refus="legal-obligation")
    assert without.status_code == 422
    letter = {"lettre": ("refus.pdf", b"%PDF-1.7 refus", "application/pdf")}
    told = _send(client, asked, f"{asked}/reponse", letter, issue="refused", motif_refus="legal-obligation")
    assert "RGPD 17(3)(b)" in told.text
    assert _journaled(lived, "right.answer")[-1]["reason_h"]


def test_a_correction_reaches_those_who_received_it(signed_in: SignedIn, lived: Lived) -> None:
    client = signed_in("dpo")
    asked = _asks(client, lived, 0, "rectification")
    act = f"{asked}/executer"
    wrong = _send(client, act, champ="personne.date_naissance", valeur="hier")
    assert wrong.status_code == 422
    assert "pas admise" in wrong.text
    told = _send(client, act, champ="personne.adresses[residence].code_postal", valeur="40990")
    assert "La correction est faite" in told.text
    assert "rectifier" in told.text, "the recipients told are listed"


def test_a_limitation_stops_and_tells(signed_in: SignedIn, lived: Lived) -> None:
    client = signed_in("dpo")
    asked = _asks(client, lived, 1, "limitation")
    chosen = re.search(r'<option value="([0-9a-f-]{36})"', client.get(f"{asked}/executer").text)
    assert chosen
    told = _send(client, f"{asked}/executer", base=chosen[1])
    assert "La limitation est posée" in told.text
    assert _journaled(lived, "right.limit")


def test_an_erasure_against_a_law_asks_for_a_written_decision(signed_in: SignedIn, lived: Lived) -> None:
    client = signed_in("dpo")
    asked = _asks(client, lived, -1, "erasure")
    act = f"{asked}/executer"
    assert "CASF" in client.get(act).text, "the texts that stand against it are named"
    refused = _send(client, act, motif="request")
    assert refused.status_code == 422
    decision = {"lettre": ("decision.pdf", b"%PDF-1.7 decision", "application/pdf")}
    told = _send(client, act, "", decision, motif="request")
    assert "La personne est effacée" in told.text
    assert "effacer" in told.text
    with lived.gateway.engine.connect() as connection:
        assert connection.execute(select(person.c.id).where(person.c.erased_at.is_not(None))).first()


def test_taking_a_copy_asks_for_a_new_proof(signed_in: SignedIn, lived: Lived) -> None:
    from tests.browser.test_journeys import _age_the_proof

    client = signed_in("dpo")
    asked = _asks(client, lived, 0, "portability")
    _age_the_proof(lived)
    assert "/console/provider/authorize" in str(client.get(f"{asked}/portabilite").url)


def test_a_breach_is_followed_to_its_end(signed_in: SignedIn, lived: Lived) -> None:
    client, page = signed_in("dpo"), "/console/violations"
    made = _send(client, page, nature="token-stolen", connue="2026-01-05T09:00")
    assert "72 heures dépassées" in made.text
    at = made.url.path
    fields = {"persons": "12", "records": "40", "categories": "C1 C5", "measures": "jeton révoqué"}
    late = _send(client, at, cnil="2026-01-20T10:00", **fields)
    assert late.status_code == 422
    assert "dites pourquoi" in late.text
    told = _send(client, at, cnil="2026-01-20T10:00", delay_reason="découverte tardive", **fields)
    assert "hors délai" in told.text
    assert "C5" in told.text
    closed = _send(client, at, f"{at}/clore")
    assert closed.url.path == page
    assert _journaled(lived, "breach.close")[-1]["agent_role"] == "dpo"


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        ("registre.html", "30(2)"),
        ("registre.csv", "Base légale"),
        ("registre-sous-traitant.csv", "Responsable de traitement"),
        ("registre.json", '"maillon.registre"'),
        ("annexe-aipd.html", "35(7)"),
    ],
)
def test_each_register_is_taken_away(signed_in: SignedIn, name: str, holds: str) -> None:
    answer = signed_in("dpo").get(f"/console/registres/{name}")
    assert answer.status_code == 200
    assert f'filename="{name}"' in answer.headers["content-disposition"]
    assert holds in answer.text
