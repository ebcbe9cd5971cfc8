"""A list longer than a page is read to its end, page after page, each row once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from html import unescape
from urllib.parse import urljoin

import httpx
import pytest
from sqlalchemy import select

from gateway import clock
from gateway.console import identities, operator, quarantine, rights
from gateway.rights import WAITING, receive
from gateway.storage.tables.delivery import outbox
from gateway.storage.tables.record import identity_case, person
from gateway.storage.tables.record import quarantine as finding
from gateway.storage.tables.rights import rights_request
from tests.browser.conftest import Lived, a_doubtful_person

pytestmark = pytest.mark.xdist_group("console")


@pytest.fixture
def client(signed_in: Callable[[str], httpx.Client], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], httpx.Client]:
    for pages in (identities, operator, quarantine, rights):
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


def _known(lived: Lived, query: object) -> set[str]:
    with lived.gateway.engine.connect().execution_options(read_only=True) as connection:
        return set(connection.scalars(query))  # type: ignore[call-overload]


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
