"""Writers who speak of the same record or of the same person take turns.

SQLite has one writer. PostgreSQL lets transactions run side by side: two that look for a new person at the same moment
would both find nobody, and make two of her; two versions of one record would both stand. Here each waits, before it
looks, until those who hold one of its records or identifiers have committed (advisory locks, freed with the
transaction; PostgreSQL documentation §13.3.5). Records come before persons, and each in order of its number, so that
two writers never wait for one another.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import IntEnum

from sqlalchemy import select

from gateway.problems import Unavailable
from gateway.storage.tables.record import person
from gateway.unit_of_work import UnitOfWork

_WAIT = "SELECT pg_advisory_xact_lock(number) FROM unnest(%s::bigint[]) AS number"
_TRY = "SELECT pg_try_advisory_xact_lock(number) FROM unnest(%s::bigint[]) AS number"


class Turn(IntEnum):
    """What is waited for, in the only order in which it may be."""

    RECORD = 1
    PERSON = 2


def take(work: UnitOfWork, turn: Turn, indexes: Iterable[bytes]) -> bool:
    """Hold these blind indexes until the transaction ends; True when some were not held yet, so that what was read of
    them before may be old.

    A transaction that holds some already (several exchanges share it) does not wait for more: `Unavailable` (503,
    `busy`) asks to do this exchange again in a transaction of its own.
    """
    if work.connection.dialect.name != "postgresql":
        return False
    held: dict[Turn, set[int]] = work.scratch.setdefault("turns", {one: set() for one in Turn})
    wanted = {int.from_bytes(index[:8], "big", signed=True) for index in indexes} - held[turn]
    if not wanted:
        return False
    first = not any(held[one] for one in Turn if one >= turn)
    answers = work.connection.exec_driver_sql(_WAIT if first else _TRY, (sorted(wanted),)).all()
    if not first and not all(answer for (answer,) in answers):
        raise Unavailable("busy", "Another exchange about the same person is being written; send again.", retry_after=1)
    held[turn] |= wanted
    return True


def kept(work: UnitOfWork, people: Collection[str]) -> list[str]:
    """Those of these persons who are not erased: who erases one of them waits until this transaction ends
    (`erasure.keep_to_herself`). For whoever promises or writes something of hers without saying anything new, and so
    takes no turn; it waits for no exchange, and none waits for it."""
    here = select(person.c.id).where(person.c.id.in_(people), person.c.erased_at.is_(None)).order_by(person.c.id)
    return list(work.connection.execute(here.with_for_update(read=True, key_share=True)).scalars())
