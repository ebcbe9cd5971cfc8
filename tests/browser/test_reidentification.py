"""From a pseudonym back to a person in the console: two accounts, a reason, one look."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
from sqlalchemy import select, update

from gateway.storage.tables.console import console_session
from gateway.storage.tables.journal import journal_entry
from gateway.storage.tables.record import person
from tests.browser.conftest import Lived, send

SignedIn = Callable[[str], httpx.Client]
HERE = "/console/reidentification"
REASON = "Réquisition du procureur, dossier 2026-41."


def _pseudonym(lived: Lived) -> tuple[str, str]:
    """The name under which the journal speaks of one of the people to France Travail, and her id."""
    with lived.gateway.engine.connect().execution_options(read_only=True) as connection:
        one = connection.scalars(select(person.c.id).where(person.c.erased_at.is_(None)).order_by(person.c.id)).first()
    assert one
    return lived.gateway.keys.pseudonym("france_travail", one), one


def _reads(lived: Lived) -> list[dict[str, Any]]:
    query = select(journal_entry.c.entry).where(journal_entry.c.event == "log.read").order_by(journal_entry.c.idx)
    with lived.gateway.engine.connect().execution_options(read_only=True) as connection:
        entries = [json.loads(entry) for entry in connection.scalars(query)]
    return [one for one in entries if str(one.get("outcome")).startswith("reidentify-")]


def test_one_asks_another_approves_and_the_first_looks_once(signed_in: SignedIn, lived: Lived) -> None:
    first, second = signed_in("dpo"), signed_in("dpo_adjoint")
    subject, _ = _pseudonym(lived)
    made = send(first, HERE, pseudonyme=subject, motif=REASON)
    assert "un autre compte doit l&#39;approuver" in made.text
    one = made.url.path
    assert REASON in second.get(one).text
    assert "Approuver" not in made.text, "nobody approves her own request"
    refused = send(first, HERE, f"{one}/approuver")
    assert refused.status_code == 403
    assert "un autre compte doit le faire" in refused.text
    assert "Voir la personne" not in second.get(one).text

    assert "approuvée" in send(second, one, f"{one}/approuver").text
    assert send(second, HERE, f"{one}/voir").status_code == 403, "only the account that asked"
    shown = send(first, one, f"{one}/voir")
    assert "Nom de naissance" in shown.text
    assert "/console/personne/" in shown.text
    assert send(first, HERE, f"{one}/voir").status_code == 409

    told = _reads(lived)[-3:]
    assert [entry["outcome"] for entry in told] == ["reidentify-requested", "reidentify-approved", "reidentify-used"]
    assert told[0]["agent"] == told[2]["agent"] != told[1]["agent"]
    assert {entry["subject"] for entry in told} == {subject}
    assert REASON not in json.dumps(told, ensure_ascii=False)


def test_approving_and_looking_ask_who_one_is_again(signed_in: SignedIn, lived: Lived) -> None:
    first, second = signed_in("dpo"), signed_in("dpo_adjoint")
    one = send(first, HERE, pseudonyme=_pseudonym(lived)[0], motif=REASON).url.path
    with lived.gateway.engine.begin() as connection:
        connection.execute(update(console_session).values(authenticated_at="2020-01-01T00:00:00.000000Z"))
    before = len(_reads(lived))
    asked = send(second, one, f"{one}/approuver")
    assert "/console/provider/" in asked.url.path
    assert "Confirmez que c&#39;est bien vous" in asked.text
    assert len(_reads(lived)) == before


def test_a_request_without_a_pseudonym_or_a_reason_says_what_to_correct(signed_in: SignedIn) -> None:
    client = signed_in("dpo")
    short = send(client, HERE, pseudonyme="0" * 40, motif="pour voir")
    assert short.status_code == 422
    assert 'href="#motif"' in short.text
    assert "0" * 40 in short.text, "what was typed is kept"
    wrong = send(client, HERE, pseudonyme="Mme Lefevre", motif=REASON)
    assert 'href="#pseudonyme"' in wrong.text


def test_only_the_protection_officer_opens_these_pages(signed_in: SignedIn) -> None:
    assert signed_in("operateur").get(HERE).status_code == 403
