"""The data protection officer answers what persons ask, and keeps the list of breaches: over HTTP."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from gateway import basis, clock, rights
from gateway.console import rights as console_rights
from gateway.console import rights_act
from gateway.rectification import statements_of
from gateway.storage.tables.basis import basis_record
from gateway.storage.tables.delivery import outbox
from gateway.storage.tables.journal import journal_entry
from gateway.storage.tables.record import person
from tests.browser.conftest import Lived, send

SignedIn = Callable[[str], httpx.Client]


def _asks(client: httpx.Client, lived: Lived, rank: int, right: str, **more: str) -> str:
    """The address of a new request of one of the people."""
    one = lived.people[rank]
    found = send(client, "/console/personne", nir=one.person.nir, date_naissance=one.born)
    opened = send(client, f"{found.url.path}/demande", droit=right, ou="personne", **more)
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
    read = folder.read("page.html").decode()
    assert name in read
    assert _not_for_a_reader(read) == [], "she reads French, not our codes"
    assert "sait de vous n'est" in unescape(read), "what one body's word may not reach through another is explained"
    assert json.loads(folder.read("dossier.json"))["document"] == "maillon.acces"
    told = send(client, asked, f"{asked}/reponse", issue="done")
    assert "satisfaite" in told.text
    assert name not in told.text
    assert _journaled(lived, "right.access")[-1]["agent_role"] == "dpo", "the journal names who took the copy"
    assert _journaled(lived, "right.answer")[-1]["agent_role"] == "dpo"
    assert asked in client.get("/console/droits?vue=repondues").text


def test_no_copy_leaves_while_who_asks_is_in_doubt(signed_in: SignedIn, lived: Lived) -> None:
    client = signed_in("dpo")
    asked = _asks(client, lived, 0, "access")
    assert client.get(f"{asked}/portabilite").status_code == 409, "it is not what was asked"
    doubted = send(client, asked, f"{asked}/reponse", issue="identity-asked")
    assert "Télécharger" not in doubted.text
    assert client.get(f"{asked}/copie").status_code == 409
    confirmed = send(client, asked, f"{asked}/reponse", issue="identity-confirmed")
    assert "Télécharger" in confirmed.text
    assert client.get(f"{asked}/copie").headers["content-type"] == "application/zip"


def _not_for_a_reader(page: str) -> list[str]:
    """Codes, dates of machines and words of the code that a page for everyone should not show."""
    told = re.sub(r"<[^>]+>", "\n", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL))
    codes = r"\d{4}-\d\d-\d\d|\b[a-z]+_[a-z_]+\b|\bP\d+[YMD]\b|\b(?:SIFT|PIE|informed|raised|set|access|objection)\b"
    accents = r"\b(?:mobilite|sante|numerique|identite|referent|decidee|present|telephones|residence)\b"
    return re.findall(f"{codes}|{accents}", told)


def test_a_form_sent_twice_is_one_request(signed_in: SignedIn, lived: Lived) -> None:
    client, one = signed_in("dpo"), lived.people[0]
    found = send(client, "/console/personne", nir=one.person.nir, date_naissance=one.born)
    page = client.get(f"{found.url.path}/demande").text
    sent = dict(re.findall(r'name="(jeton|numero)" value="([^"]+)"', page)) | {"droit": "access", "ou": "personne"}
    first, again = (client.post(f"{found.url.path}/demande", data=sent) for _ in range(2))
    assert first.url.path == again.url.path
    to_come = client.post(f"{found.url.path}/demande", data=sent | {"recue": "2099-01-01", "numero": ""})
    assert (to_come.status_code, 'href="#recue"' in to_come.text) == (422, True)
    other = client.post(f"{found.url.path}/demande", data=sent | {"droit": "erasure"})
    assert other.status_code == 409, "another request under the same number is not taken for the first"


def test_a_late_request_is_seen_first(signed_in: SignedIn, lived: Lived) -> None:
    client = signed_in("dpo")
    day = clock.instant(clock.now() - timedelta(days=45))[:10]
    asked = _asks(client, lived, 0, "access", recue=day)
    listed = client.get("/console/droits").text
    assert "délai dépassé" in listed
    assert listed.index(asked) == min(listed.index(one) for one in re.findall(r"/console/droits/[0-9a-f-]{36}", listed))
    assert "Prolonger" not in client.get(asked).text, "an extension comes before the first deadline"
    answer = send(client, asked, f"{asked}/reponse", issue="done")
    assert "répondue après le délai" in answer.text


def test_a_refusal_needs_its_letter_and_cites_its_text(signed_in: SignedIn, lived: Lived) -> None:
    client = signed_in("dpo")
    asked = _asks(client, lived, 0, "erasure")
    without = send(client, asked, f"{asked}/reponse", issue="refused", motif_refus="legal-obligation")
    assert without.status_code == 422
    letter = {"lettre": ("refus.pdf", b"%PDF-1.7 refus", "application/pdf")}
    told = send(client, asked, f"{asked}/reponse", letter, issue="refused", motif_refus="legal-obligation")
    assert "RGPD 17(3)(b)" in told.text
    assert _journaled(lived, "right.answer")[-1]["reason_h"]


def test_a_correction_reaches_those_who_received_it(signed_in: SignedIn, lived: Lived) -> None:
    client = signed_in("dpo")
    other = _asks(client, lived, 0, "rectification")
    asked = _asks(client, lived, 0, "rectification")
    act = f"{asked}/executer"
    wrong = send(client, act, champ="personne.date_naissance", valeur="hier")
    assert wrong.status_code == 422
    assert "pas admise" in wrong.text
    assert ('href="#valeur"' in wrong.text, 'value="hier"' in wrong.text) == (True, True), (
        "it is corrected, not retyped"
    )
    assert 'aria-describedby="valeur-aide valeur-erreur" aria-invalid="true"' in wrong.text, "said beside the field too"
    told = send(client, act, champ="personne.adresses[residence].code_postal", valeur="40990")
    assert "La correction est faite" in told.text
    assert "rectifier" in told.text, "the recipients told are listed"
    assert "Refuser" not in told.text, "what was carried out is not refused"
    assert "exécutée" in client.get(re.findall(r'href="(/console/personne/[0-9a-f]{40})"', told.text)[0]).text
    assert act in told.text, "a second value may be corrected"
    letter = {"lettre": ("refus.pdf", b"%PDF-1.7 refus", "application/pdf")}
    forced = send(client, asked, f"{asked}/reponse", letter, issue="refused", motif_refus="accurate")
    assert forced.status_code == 409
    silent = send(client, other, f"{other}/reponse", issue="refused", motif_refus="accurate")
    assert ('href="#lettre"' in silent.text, 'id="lettre-erreur"' in silent.text) == (True, True)
    refused = send(client, other, f"{other}/reponse", letter, issue="refused", motif_refus="accurate")
    assert "Le refus est inscrit" in refused.text, "another request of hers is answered for itself"


def test_a_statement_is_kept_whole(signed_in: SignedIn, lived: Lived) -> None:
    client, said = signed_in("dpo"), "Je ne suis pas d'accord. " * 60
    asked = _asks(client, lived, 0, "rectification")
    send(client, f"{asked}/executer", champ="personne.adresses[residence].code_postal", declaration=said)
    with lived.gateway.reading() as work:
        one = rights.get(work, asked.rpartition("/")[2])
        told = statements_of(work, lived.gateway, [one.person_id])
    assert told[-1]["text"] == said.strip()


def test_a_correction_is_typed_as_it_is_read() -> None:
    """A day as French writes it, a code by its label; what is neither is left for the check of facts to refuse."""
    assert rights_act._typed("personne.date_naissance", "21/09/1989") == "1989-09-21"
    assert rights_act._typed("personne.date_naissance", "hier") == "hier"
    assert rights_act._typed("foyer.situation_familiale", "Célibataire") == "celibataire"
    assert rights_act._typed("freins[mobilite].impact", "fort") == "fort"
    names = {rights_act._named(f"personne.telephones[+3365800000{n}].numero", f"+3365800000{n}") for n in range(2)}
    assert len(names) == 2, "two telephones can be told apart"


def test_a_limitation_stops_and_tells_until_it_is_lifted_once_the_person_is_informed(
    signed_in: SignedIn, lived: Lived
) -> None:
    client, one = signed_in("dpo"), lived.people[1]

    def shown() -> set[str]:
        history = send(client, "/console/personne", nir=one.person.nir, date_naissance=one.born).text
        return set(re.findall(r'href="(/console/bases/[0-9a-f-]{36})"', history))

    before = shown()
    asked = _asks(client, lived, 1, "limitation")
    told = send(client, f"{asked}/executer", base="PIE|accompagnement", canal="face_to_face").text
    assert "La limitation est posée" in told
    assert "Refuser" not in told
    assert _journaled(lived, "right.limit")
    (here,) = shown() - before
    assert here in client.get("/console/bases").text
    assert send(client, here).status_code == 422, "she is informed before"
    letter = {"lettre": ("levee.pdf", b"%PDF-1.7 levee", "application/pdf")}
    told = unescape(send(client, here, "", letter).text)
    assert "La limitation est levée" in told
    assert "reprendre" in told, "those told to limit are told to resume"
    lifted = _journaled(lived, "right.unlimit")[-1]
    assert (lifted["agent_role"], lifted["object_ref"]) == ("dpo", here.rpartition("/")[2])
    assert lifted["reason_h"] == hashlib.sha256(letter["lettre"][1]).hexdigest()
    again = client.get(here)
    assert "lettre" not in again.text, "nothing is left to lift"
    token = dict(re.findall(r'name="(jeton)" value="([^"]+)"', again.text))
    assert "déjà fait" in unescape(client.post(here, data=token, files=letter).text)
    assert here not in client.get("/console/bases").text


def test_a_limitation_needs_no_earlier_information_and_may_bear_on_everything(
    signed_in: SignedIn, lived: Lived
) -> None:
    """She was never told of any sharing: RGPD 18 is hers all the same, and stops it everywhere."""
    client = signed_in("dpo")
    with lived.gateway.engine.connect() as connection:
        told = set(connection.scalars(select(basis_record.c.person_id)))
        sent = connection.execute(select(outbox.c.person_id, outbox.c.flow).order_by(outbox.c.id)).all()
    person_id, flow_id = next((row.person_id, row.flow) for row in sent if row.person_id not in told)
    with lived.gateway.unit_of_work() as work:
        one = rights.receive(work, lived.gateway, person_id, "limitation")
    act = f"/console/droits/{one.id}/executer"
    page = client.get(act).text
    assert "Système d'information du réseau pour l'emploi" in unescape(page), "each regime of the open exchanges"
    done = send(client, act, base="|", canal="paper")
    assert "La limitation est posée" in done.text
    with lived.gateway.unit_of_work() as work:
        flow = lived.gateway.flow(work, flow_id)
        assert flow is not None
        states = basis.states(work, [person_id])[person_id].for_flow(flow.regime, flow.purpose, flow.vers, work.now)
    assert states.limitation
    assert not states.person_informed, "a limitation tells her nothing"
    with lived.gateway.unit_of_work() as work:
        asked = rights.receive(work, lived.gateway, person_id, "objection")
    page = unescape(client.get(f"/console/droits/{asked.id}/executer").text)
    assert "Parcours insertion emploi" in page
    assert "réseau pour l'emploi" not in page, "no objection is open there (CT R5312-45)"
    with lived.gateway.unit_of_work() as work:
        (held,) = (one for one in basis.list_(work, person_id) if one["state"] == "set")
        rights.lift(work, lived.gateway, held["record"]["record_id"])


def test_a_rejected_objection_keeps_its_decision_until_its_letter_is_there(signed_in: SignedIn, lived: Lived) -> None:
    client = signed_in("dpo")
    act = f"{_asks(client, lived, 4, 'objection')}/executer"
    send(client, act, base="PIE|accompagnement", canal="paper")
    (raised,) = re.findall(r'<option value="([0-9a-f-]{36})"', client.get(act).text)
    without = send(client, act, opposition=raised, issue="non")
    assert without.status_code == 422
    assert '<option value="non" selected' in without.text
    letter = {"lettre": ("rejet.pdf", b"%PDF-1.7 rejet", "application/pdf")}
    assert "est décidée" in send(client, act, "", letter, opposition=raised, issue="non").text
    other_tab = send(client, act, opposition=raised, issue="oui")
    assert "déjà fait" in unescape(other_tab.text)


def test_a_withdrawal_that_was_carried_out_is_not_refused(signed_in: SignedIn, lived: Lived) -> None:
    client = signed_in("dpo")
    with lived.gateway.unit_of_work() as work:
        here = person.c.erased_at.is_(None), person.c.merged_into.is_(None), person.c.provisional == 0
        # The last one: of the first, the pages show that she gave no consent.
        person_id = work.connection.scalar(select(person.c.id).where(*here).order_by(person.c.id.desc()).limit(1))
        basis.publish_notice(work, "essai", 1, "Notice")
        basis.record(work, _CONSENT | {"person_id": person_id}, decision="given")
        asked = f"/console/droits/{rights.receive(work, lived.gateway, person_id, 'withdrawal').id}"
    page = client.get(f"{asked}/executer").text
    (consent,) = re.findall(r'<option value="([^"]+)"', page)
    done = unescape(send(client, f"{asked}/executer", base=consent).text)
    assert "Le consentement est retiré. Informez la personne" in done
    assert "Refuser" not in done
    assert "satisfaite" in send(client, asked, f"{asked}/reponse", issue="done").text


_CONSENT = {
    "kind": "consent", "subject_ref": "ab" * 20, "notice_id": "essai", "notice_version": 1, "recipients": ["ccas"],
    "regime": "CONSENT_6_1_a", "purpose": "aide_facultative_ccas", "purpose_text": "Étude d'une aide facultative",
    "legal_basis": "a", "article": ["RGPD 6(1)(a)"], "categories": ["C1"], "channel": "face_to_face",
    "controllers": [{"nom": "CCAS", "adresse": "1 place de la Mairie", "contact": "dpo@ccas.example",
                     "siren": "200000008", "role": "ccas"}],
    "collection_method": "entretien", "storage_location": "France", "retention": "P12M",
    "withdrawal_method": "au guichet", "rights": ["retrait"],
    "valid_until": clock.instant(clock.now() + timedelta(days=100)),
    "evidence": {"kind": "oral_attested", "agent": "cd" * 20, "witnessed_at": "2026-01-21T08:59:00Z"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("right", "open_", "shut"),
    [
        ("access", "RGPD 15(4)", "RGPD 17(3)(b)"),
        ("rectification", "RGPD 16", "RGPD 20(3)"),
        ("portability", "RGPD 20(3)", "RGPD 21(1)"),
        ("withdrawal", "RGPD 12(6)", "RGPD 17(3)(b)"),
    ],
)
def test_a_right_is_refused_under_its_own_texts(
    signed_in: SignedIn, lived: Lived, right: str, open_: str, shut: str
) -> None:
    client = signed_in("dpo")
    asked = _asks(client, lived, 2, right)
    page = client.get(asked).text
    assert f"({open_})" in page
    assert f"({shut})" not in page
    letter = {"lettre": ("refus.pdf", b"%PDF-1.7 refus", "application/pdf")}
    forced = send(client, asked, f"{asked}/reponse", letter, issue="refused", motif_refus="elsewhere")
    assert "Le refus est inscrit" not in forced.text


def test_a_day_of_the_form_is_a_day_of_paris() -> None:
    """Half past midnight in Paris, still the day before in UTC."""
    assert clock.today("2026-11-21T23:30:00Z") == "2026-11-22"
    assert console_rights._received(clock.today()) == "", "today is now"
    assert console_rights._received("2026-07-02") == "2026-07-01T22:00:00.000000Z"


def test_an_erasure_against_a_law_asks_for_a_written_decision(signed_in: SignedIn, lived: Lived) -> None:
    client = signed_in("dpo")
    asked = _asks(client, lived, -1, "erasure")
    act = f"{asked}/executer"
    assert "CASF" in client.get(act).text, "the texts that stand against it are named"
    refused = send(client, act, motif="request")
    assert refused.status_code == 422
    decision = {"lettre": ("decision.pdf", b"%PDF-1.7 decision", "application/pdf")}
    told = send(client, act, "", decision, motif="request")
    assert "La personne est effacée" in told.text
    assert "effacer" in told.text
    with lived.gateway.engine.connect() as connection:
        assert connection.execute(select(person.c.id).where(person.c.erased_at.is_not(None))).first()
    assert "Refuser" not in told.text, "what was carried out is not refused"
    forced = send(client, asked, f"{asked}/reponse", decision, issue="refused", motif_refus="legal-obligation")
    assert forced.status_code == 409


def test_taking_a_copy_asks_for_a_new_proof(signed_in: SignedIn, lived: Lived) -> None:
    from tests.browser.test_journeys import _age_the_proof

    client = signed_in("dpo")
    asked = _asks(client, lived, 0, "portability")
    _age_the_proof(lived)
    assert "/console/provider/authorize" in str(client.get(f"{asked}/portabilite").url)


def test_a_breach_is_followed_to_its_end(signed_in: SignedIn, lived: Lived) -> None:
    client, page = signed_in("dpo"), "/console/violations"
    to_come = send(client, page, nature="token-stolen", connue="2099-01-05T09:00")
    assert (to_come.status_code, 'href="#connue"' in to_come.text) == (422, True), "the 72 hours start no later"
    made = send(client, page, nature="token-stolen", connue="2026-01-05T09:00")
    assert "72 heures dépassées" in made.text
    at = made.url.path
    fields = {"persons": "12", "records": "40", "categories": "C1 C5", "measures": "jeton révoqué"}
    to_come = send(client, at, cnil="2099-01-05T09:00", **fields)
    assert (to_come.status_code, "jeton révoqué" in to_come.text) == (422, True), "what was typed is kept"
    late = send(client, at, cnil="2026-01-20T10:00", **fields)
    assert late.status_code == 422
    assert "dites pourquoi" in late.text
    told = send(client, at, cnil="2026-01-20T10:00", delay_reason="découverte tardive", **fields)
    assert "hors délai" in told.text
    assert "C5" in told.text
    closed = send(client, at, f"{at}/clore")
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
