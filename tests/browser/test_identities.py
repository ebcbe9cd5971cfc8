"""A signed-in engineer says in the browser who a doubtful person is, thinks again, and undoes it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select

from gateway import rights
from gateway.storage.tables.journal import journal_entry
from gateway.storage.tables.record import identity_case, person
from tests.browser.conftest import SCREENSHOTS, Lived, a_doubtful_person, follow, send

pytestmark = pytest.mark.browser


def _case(lived: Lived, rank: int, number: str) -> Any:
    """A new case: what a neighbouring CCAS tells of one of the people, without any number."""
    a_doubtful_person(lived.on, lived.people[rank], number)
    with lived.gateway.engine.connect().execution_options(read_only=True) as connection:
        return connection.execute(select(identity_case).order_by(identity_case.c.id.desc())).first()


def _state(lived: Lived, case: Any) -> tuple[str, str, str | None]:
    """What the case is, by whom, and into whom the doubtful person is merged."""
    query = select(identity_case.c.state, identity_case.c.decided_by, person.c.merged_into)
    query = query.join(person, person.c.id == identity_case.c.person_id).where(identity_case.c.id == case.id)
    with lived.gateway.engine.connect().execution_options(read_only=True) as connection:
        return tuple(connection.execute(query).one())


def _journaled(lived: Lived, case: Any) -> list[tuple[str, str]]:
    query = select(journal_entry.c.entry).where(journal_entry.c.event.like("identity.%")).order_by(journal_entry.c.ts)
    with lived.gateway.engine.connect().execution_options(read_only=True) as connection:
        entries = [json.loads(entry) for entry in connection.scalars(query)]
    return [(one["event"], one["agent"]) for one in entries if one.get("object_ref") == case.id]


def _signed_in(page: Any, case: Any) -> None:
    page.goto("/console/connexion?comme=integration")
    page.goto("/console/identites")
    follow(page, f'a[href="/console/identites/{case.id}"]')


def _photograph(page: Any, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"identite-{name}.png", full_page=True)


def test_the_same_person_then_undone(page: Any, lived: Lived) -> None:
    case = _case(lived, 2, "PA-9001")
    assert _state(lived, case) == ("open", None, None)
    _signed_in(page, case)
    _photograph(page, "ouverte")
    follow(page, f'form[action="/console/identites/{case.id}/meme"] button')
    assert page.url.partition("?")[0].endswith("/console/identites")
    _photograph(page, "decidee")
    state, by, merged = _state(lived, case)
    assert (state, merged) == ("same", case.candidate_id)
    assert by

    follow(page, f'a[href="/console/identites/{case.id}"]')
    assert not page.query_selector(f'form[action="/console/identites/{case.id}/differente"]'), "settled: only undone"
    _photograph(page, "meme")
    follow(page, f'form[action="/console/identites/{case.id}/defaire"] button')
    assert _state(lived, case) == ("reversed", by, None)
    events = _journaled(lived, case)
    assert [event for event, _ in events] == ["identity.merge", "identity.unmerge"]
    assert len({agent for _, agent in events}) == 1
    follow(page, f'a[href="/console/identites/{case.id}"]')
    assert not page.query_selector(f'form[action^="/console/identites/{case.id}/"]'), "undone: nothing is left to say"
    _photograph(page, "defaite")


def test_what_was_recorded_of_both_is_listed_once_they_are_one(signed_in: Any, lived: Lived) -> None:
    """A limitation set before she was recognised holds for her, and her page says so."""
    one, case = lived.people[2], _case(lived, 2, "PA-9003")
    with lived.gateway.unit_of_work() as work:
        set_ = rights.limit(work, lived.gateway, _LIMITATION | {"person_id": case.person_id}).id
    try:
        send(signed_in("integration"), f"/console/identites/{case.id}", f"/console/identites/{case.id}/meme")
        hers = send(signed_in("dpo"), "/console/personne", nir=one.person.nir, date_naissance=one.born).text
        assert f"/console/bases/{set_}" in hers
    finally:
        send(signed_in("integration"), f"/console/identites/{case.id}", f"/console/identites/{case.id}/defaire")
        with lived.gateway.unit_of_work() as work:
            rights.lift(work, lived.gateway, set_)


_LIMITATION = {
    "kind": "limitation", "subject_ref": "ab" * 20, "regime": "", "purpose": "", "purpose_text": "Tout",
    "legal_basis": "e", "article": ["RGPD 18"], "categories": [], "channel": "paper", "collection_method": "courrier",
    "storage_location": "France", "retention": "P12M", "withdrawal_method": "par écrit", "rights": ["limitation"],
}  # fmt: skip


def test_another_person(page: Any, lived: Lived) -> None:
    case = _case(lived, 3, "PA-9002")
    _signed_in(page, case)
    follow(page, f'form[action="/console/identites/{case.id}/differente"] button')
    state, by, merged = _state(lived, case)
    assert (state, merged) == ("different", None)
    assert by
    assert [event for event, _ in _journaled(lived, case)] == ["identity.review"]
    follow(page, f'a[href="/console/identites/{case.id}"]')
    assert not page.query_selector(f'form[action^="/console/identites/{case.id}/"]')
