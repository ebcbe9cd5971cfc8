"""One person in the gateway: whom her records were merged with, under which pseudonyms the journal speaks of her."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator

from sqlalchemy import select

from gateway import journal
from gateway.journal import Logged
from gateway.problems import Unknown
from gateway.registry import Gateway
from gateway.storage.tables.basis import basis_record
from gateway.storage.tables.delivery import outbox
from gateway.storage.tables.record import person
from gateway.unit_of_work import UnitOfWork

HERSELF, OFFICER = "personne", "dpo"
"""Under these names too the journal has a pseudonym of each person: for her own requests, and for the DPO."""


def head_of(work: UnitOfWork, person_id: str) -> str:
    """The person that this one was found to be. Raises `Unknown`."""
    row = work.connection.execute(select(person.c.id, person.c.merged_into).where(person.c.id == person_id)).first()
    if row is None:
        raise Unknown("person-unknown", "Search the person again: no such id here.")
    return str(row.merged_into or row.id)


def people_of(work: UnitOfWork, head: str) -> list[str]:
    """A person and those merged into her, herself first."""
    rows = work.connection.execute(select(person.c.id).where(person.c.merged_into == head))
    return [head, *sorted(rows.scalars())]


def pseudonyms(work: UnitOfWork, gateway: Gateway, people: Collection[str]) -> dict[str, str]:
    """Every pseudonym of these people → the body whose name for her it is."""
    addressed = work.connection.execute(select(outbox.c.recipient).where(outbox.c.person_id.in_(people)).distinct())
    bodies = {*gateway.bodies, HERSELF, OFFICER, *addressed.scalars()}
    found = {gateway.keys.pseudonym(body, one): body for body in sorted(bodies) for one in people}
    records = select(basis_record.c.id, basis_record.c.content).where(basis_record.c.person_id.in_(people))
    for row in work.connection.execute(records):
        found.setdefault(_subject_ref(row.content), "")
    return found


_PAGE = 500


def logged(work: UnitOfWork, subjects: Iterable[str]) -> Iterator[Logged]:
    """All that the journal says under these pseudonyms, oldest first, read a page at a time."""
    subjects, after = list(subjects), None
    while rows := journal.history(work.connection, subjects, after=after, limit=_PAGE):
        yield from rows
        if len(rows) < _PAGE:
            return
        after = rows[-1].cursor


def _subject_ref(content: str) -> str:
    return str(json.loads(content)["subject_ref"])
