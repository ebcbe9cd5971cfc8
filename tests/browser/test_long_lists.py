"""A list longer than a page is read to its end, page after page, each row once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from html import unescape
from urllib.parse import urljoin

import httpx
import pytest
from sqlalchemy import Select, select, update

from gateway import basis, clock, convention, journal
from gateway.console import bases, dead_letters, files, identities, quarantine, retention, rights
from gateway.notification import tell
from gateway.rights import WAITING, receive
from gateway.storage.tables.basis import basis_event, basis_notification, basis_record
from gateway.storage.tables.delivery import outbox
from gateway.storage.tables.record import identity_case, person
from gateway.storage.tables.record import quarantine as finding
from gateway.storage.tables.rights import rights_request
from tests.browser.conftest import Lived, a_doubtful_person


@pytest.fixture
def client(signed_in: Callable[[str], httpx.Client], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], httpx.Client]:
    for pages in (bases, dead_letters, files, identities, quarantine, retention, rights):
        monkeypatch.setattr(pages, "PAGE", 1)
    return signed_in


def _pages(client: httpx.Client, page: str, caption: str) -> Iterator[str]:
    """The pages of the list whose caption begins so: another list of the same page has its own."""
    while page:
        text = unescape(client.get(page).text)
        yield text
        further = re.search(rf'href="([^"]+)">Page suivante<span class="ear"> : {caption}', text)
        page = urljoin(page, further[1]) if further else ""


def _seen(client: httpx.Client, page: str, pattern: str, caption: str = "") -> Counter[str]:
    return Counter(one for text in _pages(client, page, caption) for one in re.findall(pattern, text))


def _known(lived: Lived, query: Select[tuple[str]]) -> set[str]:
    with lived.gateway.engine.connect().execution_options(read_only=True) as connection:
        return set(connection.scalars(query))


def test_identities_to_confirm(client: Callable[[str], httpx.Client], lived: Lived) -> None:
    for rank in range(3):
        a_doubtful_person(lived.on, lived.people[rank], f"PA-920{rank}")
    seen = _seen(
        client("integration"), "/console/identites", r'href="/console/identites/([0-9a-f-]{36})"', "Cas ouverts"
    )
    assert _known(lived, select(identity_case.c.id).where(identity_case.c.state == "open")) <= seen.keys()


def test_deliveries_given_up(client: Callable[[str], httpx.Client], lived: Lived) -> None:
    seen = _seen(client("operateur"), "/console/abandonnes", r'name="id" value="([^"]+)"', "Envois abandonnés")
    assert seen == Counter(_known(lived, select(outbox.c.id).where(outbox.c.state == "dead")))
    assert len(seen) > 1


def test_findings_of_one_place(client: Callable[[str], httpx.Client], lived: Lived) -> None:
    engineer = client("integration")
    places = re.findall(r'href="(/console/quarantaine/liste[^"]+)"', engineer.get("/console/quarantaine").text)
    seen = sum((_seen(engineer, unescape(one), r"/console/quarantaine/([0-9a-f-]{36})") for one in places), Counter())
    assert seen == Counter(_known(lived, select(finding.c.id).where(finding.c.state == "open")))


def test_requests_of_persons(client: Callable[[str], httpx.Client], lived: Lived) -> None:
    with lived.gateway.unit_of_work() as work:
        somebody = work.connection.scalar(select(person.c.id).where(person.c.erased_at.is_(None)).limit(1))
        for _ in range(5):
            receive(work, lived.gateway, somebody, "access", received_at=clock.instant()[:10])
    seen = _seen(client("dpo"), "/console/droits", r'href="/console/droits/([0-9a-f-]{36})"')
    assert seen == Counter(_known(lived, select(rights_request.c.id).where(rights_request.c.state.in_(WAITING))))


def test_what_stops_exchanges_and_who_did_not_answer(client: Callable[[str], httpx.Client], lived: Lived) -> None:
    with lived.gateway.unit_of_work() as work:
        people = work.connection.scalars(select(person.c.id).where(person.c.erased_at.is_(None)).limit(2)).all()
        for each in people:
            everything = {"person_id": each, "subject_ref": lived.gateway.keys.pseudonym("personne", each)}
            change = basis.record(work, _LIMITATION | everything)
            tell(work, change.id, "right.limit", ["ccas"], reference=lambda body: "a" * 40, action="limit")
            given_up = update(basis_notification).where(basis_notification.c.record_id == change.id)
            work.connection.execute(given_up.values(state="dpo_task"))
    dpo = client("dpo")
    stops = _seen(dpo, "/console/bases", r'href="/console/bases/([0-9a-f-]{36})"', "Oppositions")
    known = select(basis_record.c.id).where(basis_record.c.kind == "limitation")
    assert stops == Counter(_known(lived, known) - _known(lived, _LIFTED))
    tasks = sum(text.count("sans réponse") for text in _pages(dpo, "/console/bases", "Anciens destinataires"))
    assert tasks == len(_known(lived, select(basis_notification.c.id).where(basis_notification.c.state == "dpo_task")))


_LIMITATION = {
    "kind": "limitation", "regime": "", "purpose": "urgence_vitale", "purpose_text": "urgence", "legal_basis": "e",
    "collection_method": "demande", "storage_location": "ici", "retention": "P1Y", "withdrawal_method": "lettre",
    "rights": ["limitation"], "article": ["RGPD 18"], "channel": "paper", "categories": [],
}  # fmt: skip
_LIFTED = select(basis_event.c.record_id).where(basis_event.c.name == "lifted")


def test_what_was_purged_and_what_ends(client: Callable[[str], httpx.Client], lived: Lived) -> None:
    certificates = {clock.new_id() for _ in range(3)}
    with lived.gateway.unit_of_work() as work:
        for one in certificates:
            journal.append(work, "right.erase", outcome="partial", reason_code="elapsed", object_ref=one, n_records=1)
    dpo = client("dpo")
    assert _seen(dpo, "/console/conservation", "|".join(certificates), "Purges") == Counter(certificates)
    ends = [text.count("fin d'une convention") for text in _pages(dpo, "/console/conservation", "De la plus proche")]
    with lived.gateway.unit_of_work() as work:
        today = convention.today(work).isoformat()
        assert sum(ends) == sum(today <= one["fin"] for one in convention.list_(work)) < len(ends)


def test_the_pages_of_two_lists_are_turned_apart(client: Callable[[str], httpx.Client], lived: Lived) -> None:
    engineer = client("integration")
    for rank in range(2):
        a_doubtful_person(lived.on, lived.people[rank], f"PA-921{rank}")
    first = unescape(engineer.get("/console/identites?avant=2000&apres=&fait=rien&n=1").text)
    (further,) = re.findall(r'href="([^"]+)">Page suivante<span class="ear"> : Cas ouverts', first)
    assert "avant=2000" in further
    assert "fait=" not in further
