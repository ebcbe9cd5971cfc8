"""Two accounts on one doubt, a form sent twice, a session that ends in between: told plainly, applied once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from gateway import basis, clock, notification, recipients, rights
from gateway.storage.tables.console import console_session
from gateway.storage.tables.delivery import recipient_state
from gateway.storage.tables.journal import journal_entry
from gateway.storage.tables.record import identity_case
from gateway.words import typeset
from tests.browser.conftest import Lived, a_doubtful_person, send

SignedIn = Callable[[str], httpx.Client]


def _token(client: httpx.Client, page: str) -> dict[str, str]:
    token = re.search(r'name="jeton" value="([^"]+)"', client.get(page).text)
    assert token
    return {"jeton": token[1]}


def _journaled(lived: Lived, **wanted: str) -> list[dict[str, Any]]:
    with lived.gateway.engine.connect().execution_options(read_only=True) as connection:
        entries = [json.loads(bytes(one)) for one in connection.scalars(select(journal_entry.c.entry))]
    return [one for one in entries if wanted.items() <= one.items()]


def test_the_second_to_decide_is_told_what_the_first_decided(signed_in: SignedIn, lived: Lived) -> None:
    a_doubtful_person(lived.on, lived.people[4], "PA-9100")
    with lived.gateway.engine.connect().execution_options(read_only=True) as connection:
        case = connection.scalars(select(identity_case.c.id).order_by(identity_case.c.id.desc())).first()
    first, second, page = signed_in("integration"), signed_in("integration"), f"/console/identites/{case}"
    ready = [(first, _token(first, page)), (first, _token(first, page)), (second, _token(second, page))]
    answers = [client.post(f"{page}/differente", data=token) for client, token in ready]
    assert [one.status_code for one in answers] == [200, 409, 409]
    for late in answers[1:]:
        said = "Ce cas était déjà décidé, par vous ou par un autre compte : rien n'a changé."
        assert typeset(said) in unescape(late.text)
        assert f'href="{page}"' in late.text, "one click away from what was decided"
    assert "personnes différentes, par vous" in second.get(page).text
    assert len(_journaled(lived, event="identity.review", object_ref=case)) == 1


def test_deliveries_are_stopped_once(signed_in: SignedIn, lived: Lived) -> None:
    first, second, page = signed_in("operateur"), signed_in("operateur"), "/console/partenaires"
    stop = {"event": "admin.setting", "recipient_org": "departement", "outcome": "paused"}
    before = len(_journaled(lived, **stop))
    told = [send(one, page, f"{page}/departement/suspendre").text for one in (first, second, second)]
    assert ["déjà suspendus" in one for one in told] == [False, True, True]
    assert len(_journaled(lived, **stop)) == before + 1
    failing = update(recipient_state).where(recipient_state.c.recipient == "departement")
    with lived.gateway.unit_of_work() as work:
        work.connection.execute(failing.values(failures=4, retry_at=clock.after(work.now, timedelta(hours=1))))
    assert "déjà repris" not in send(second, page, f"{page}/departement/reprendre").text
    assert "déjà repris" in send(first, page, f"{page}/departement/reprendre").text
    with lived.gateway.reading() as work:
        assert not recipients.resting(work, "departement"), "as `maillon outbox resume` says: at once"


def test_what_was_sent_after_the_session_ended_was_not_done_and_this_is_said(signed_in: SignedIn, lived: Lived) -> None:
    client, page = signed_in("operateur"), "/console/partenaires"
    token = _token(client, page)
    client.post("/console/sortie", data=token)
    told = client.post(f"{page}/departement/suspendre", data=token)
    assert "ce que vous venez d'envoyer n'a pas été fait" in unescape(told.text)
    again = client.get(next(one for one in re.findall(r'href="([^"]+)"', unescape(told.text)) if "operateur" in one))
    assert again.url.path == page, "back where the form is"
    assert "Envoyez-le de nouveau" in again.text


def _asked(client: httpx.Client, lived: Lived, right: str) -> str:
    """The page of a request of somebody known."""
    one = lived.people[0]
    found = send(client, "/console/personne", nir=one.person.nir, date_naissance=one.born)
    return send(client, f"{found.url.path}/demande", droit=right, ou="personne").url.path


def _proved(client: httpx.Client, proof: httpx.Response, account: str = "dpo") -> httpx.Response:
    """Answer the local provider, which asks who it is."""
    assert "Confirmez que c'est bien vous" in unescape(proof.text)
    form = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', unescape(proof.text)))
    return client.post(re.search(r'action="([^"]+)"', proof.text)[1], data=form | {"account": account})  # type: ignore[index]


def _long_ago(lived: Lived, column: str) -> None:
    with lived.gateway.engine.begin() as connection:
        connection.execute(update(console_session).values({column: clock.instant(clock.now().replace(year=2020))}))


def test_what_was_typed_while_the_proof_ended_is_back_in_its_form(signed_in: SignedIn, lived: Lived) -> None:
    client = signed_in("dpo")
    asked = _asked(client, lived, "rectification")
    act, words = f"{asked}/executer", "Mes mots,\nà « joindre » <tels quels>."
    sent = _token(client, act) | {"champ": "personne.nom_naissance", "valeur": "Lefèvre", "declaration": words}
    _long_ago(lived, "authenticated_at")
    proof = client.post(act, data=sent)
    with lived.gateway.engine.connect() as connection:
        kept = " ".join(filter(None, connection.scalars(select(console_session.c.pending))))
    assert kept
    assert "nom_naissance" not in kept, "sealed: it may quote somebody"
    back = _proved(client, proof)
    assert back.url.path == act, "back where the form is, not at the home page"
    assert "Rien n'a encore été fait" in unescape(back.text)
    shown = unescape(back.text)
    assert '<option value="personne.nom_naissance" selected>' in shown
    assert 'value="Lefèvre"' in shown
    assert f">{words}</textarea>" in shown
    _long_ago(lived, "authenticated_at")  # it was read for a long time
    back = _proved(client, client.get(f"{act}?fait=a_refaire"))
    assert f">{words}</textarea>" in unescape(back.text)


def test_what_was_typed_while_the_proof_ended_is_for_nobody_else(signed_in: SignedIn, lived: Lived) -> None:
    client = signed_in("dpo")
    act = f"{_asked(client, lived, 'rectification')}/executer"
    sent = _token(client, act) | {"champ": "personne.nom_naissance", "valeur": "Lefèvre", "declaration": "à moi"}
    _long_ago(lived, "authenticated_at")
    back = _proved(client, client.post(act, data=sent), account="dpo_adjoint")
    assert back.url.path == act
    assert "Envoyez-le de nouveau" in back.text
    assert "Lefèvre" not in unescape(back.text)


def test_what_was_typed_until_the_session_ended_is_back_in_its_form(signed_in: SignedIn, lived: Lived) -> None:
    client, page = signed_in("dpo"), "/console/reidentification"
    sent = _token(client, page) | {"pseudonyme": "a" * 40, "motif": "Un long motif,\nécrit entre deux appels."}
    _long_ago(lived, "seen_at")
    told = client.post(page, data=sent)
    assert "ce que vous venez d'envoyer n'a pas été fait" in unescape(told.text)
    back = client.get(next(one for one in re.findall(r'href="([^"]+)"', unescape(told.text)) if "comme=dpo" in one))
    assert back.url.path == page
    assert "Un long motif,\nécrit entre deux appels.</textarea>" in unescape(back.text)
    assert f'value="{"a" * 40}"' in back.text
    sent["jeton"] = _token(client, page)["jeton"]
    assert "La demande est inscrite" in client.post(page, data=sent).text
    assert "entre deux appels" not in client.get(f"{page}?fait=a_refaire").text, "sent: kept no longer"
    search, one = "/console/personne", lived.people[0]
    sent = _token(client, search) | {"nir": one.person.nir}
    _long_ago(lived, "seen_at")
    told = client.post(search, data=sent)
    back = client.get(next(one for one in re.findall(r'href="([^"]+)"', unescape(told.text)) if "comme=dpo" in one))
    assert back.url.path == search
    assert one.person.nir not in back.text, "what is typed there is never shown back"


def test_a_form_of_another_session_leads_back_to_its_page(signed_in: SignedIn) -> None:
    client = signed_in("operateur")
    told = client.post("/console/abandonnes/rejouer", data={"jeton": "x", "id": "y"})
    assert told.status_code == 403
    assert 'href="/console/abandonnes"' in told.text.partition("<main")[2]


@pytest.mark.parametrize(("right", "said"), [("objection", "raised"), ("limitation", "set")])
def test_a_decision_sent_twice_is_one_decision(signed_in: SignedIn, lived: Lived, right: str, said: str) -> None:
    client = signed_in("dpo")

    def of_that_kind(asked: str) -> list[Any]:
        with lived.gateway.unit_of_work() as work:
            demand = rights.get(work, asked.rpartition("/")[2])
            return [each for each in basis.list_(work, demand.person_id) if each["record"]["kind"] == right]

    for one in reversed(lived.people):  # somebody still known, of whom nothing of the kind was said before
        found = send(client, "/console/personne", nir=one.person.nir, date_naissance=one.born)
        if found.url.path == "/console/personne":
            continue
        asked = send(client, f"{found.url.path}/demande", droit=right, ou="personne").url.path
        if not of_that_kind(asked):
            break
    act = f"{asked}/executer"
    sent = _token(client, act) | {"base": "PIE|accompagnement", "canal": "face_to_face"}
    first, again = client.post(act, data=sent), client.post(act, data=sent)
    assert "C'était déjà fait" in unescape(again.text)
    assert again.url.path == asked
    records = of_that_kind(asked)
    with lived.gateway.unit_of_work() as work:
        told = notification.of_record(work, records[0]["record"]["record_id"])
    assert [each["state"] for each in records] == [said]
    if right == "limitation":
        assert f"{len(told)} destinataire" in first.text, "those told are counted as they are listed"
    else:
        assert "Décider l'opposition" in unescape(again.text), "and what is left to do is named"


def test_two_who_complete_one_breach_lose_nothing(signed_in: SignedIn) -> None:
    first, second = signed_in("dpo"), signed_in("dpo")
    page = send(first, "/console/violations", nature="token-stolen").url.path
    forms = [_token(one, page) | _hidden(one, page, "lu") for one in (first, second)]
    assert "complétée" in first.post(page, data=forms[0] | {"measures": "Clés remplacées."}).text
    late = second.post(page, data=forms[1] | {"measures": "Plainte déposée.", "cnil": "2026-01-05T09:30"})
    told = unescape(late.text)
    assert "Un autre compte a complété cette violation entre-temps" in told
    assert "Clés remplacées." in told, "what is written down"
    assert "Plainte déposée.</textarea>" in told, "and what she typed, still in the form"
    assert 'value="2026-01-05T09:30"' in told
    both = {"measures": "Clés remplacées. Plainte déposée.", "jeton": forms[1]["jeton"]}
    assert "complétée" in second.post(page, data=_hidden(second, page, "lu") | both).text


def test_a_breach_form_to_correct_keeps_what_was_typed(signed_in: SignedIn) -> None:
    client = signed_in("dpo")
    page = send(client, "/console/violations", nature="token-stolen").url.path
    sent = _token(client, page) | _hidden(client, page, "lu") | {"measures": "Clés remplacées.", "categories": "C77"}
    told = unescape(client.post(page, data=sent).text)
    assert "Clés remplacées.</textarea>" in told
    assert 'href="#categories"' in told, "the field that is wrong is the one named"
    for wrong in ({"cnil": "12026-11-02T09:00"}, {"informees": "0001-01-01T00:00"}, {"persons": "douze"}):
        told = unescape(client.post(page, data=sent | {"categories": "C1"} | wrong).text)
        assert "Clés remplacées.</textarea>" in told, wrong
        assert f'href="#{next(iter(wrong))}"' in told
    assert "1\u202f200" in client.post(page, data=sent | {"categories": "C1", "persons": "1 200"}).text


def _hidden(client: httpx.Client, page: str, name: str) -> dict[str, str]:
    found = re.search(rf'name="{name}" value="([^"]+)"', client.get(page).text)
    assert found
    return {name: found[1]}
