"""Readings of the double-entry meter: taken at intervals by one process, kept, and shown by all.

A reading opens every delivered dossier. It is done piece by piece, each followed by a rest as long as itself, so that
exchanges come first; it may be cut anywhere, and is then begun anew. The last reading of each day is kept.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from sqlalchemy import delete, func, insert, select

from gateway import clock
from gateway.clock import day_of
from gateway.meter import Count, in_order, pieces
from gateway.metrics import Shared
from gateway.registry import Gateway
from gateway.storage.tables.meter import meter_reading as table
from gateway.unit_of_work import UnitOfWork

KINDS = ("filled", "own", "empty", "typed_again", "in_conflict")
FIELDS = Shared(
    "maillon_fields",
    "Fields of recipients' documents at the last reading, by what happened to them: " + ", ".join(KINDS),
    ["recipient", "document", "what"],
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the meter said at an instant, by recipient and document."""

    read_at: str
    counts: tuple[Count, ...]

    def total(self, what: str) -> int:
        """The sum of one count over all documents."""
        return sum(getattr(one, what) for one in self.counts)


async def keep(gateway: Gateway) -> Reading:
    """Read the meter and write it down in place of an earlier reading of the same day."""
    began = clock.instant()
    reading = pieces(gateway)
    counts: dict[tuple[str, str], Count] = {}
    while True:
        start = time.monotonic()
        if (more := await asyncio.to_thread(next, reading, None)) is None:
            break
        counts = more
        await asyncio.sleep(time.monotonic() - start)
    kept = Reading(began, tuple(in_order(counts)))
    # Until here nothing moved: a process that dies leaves the reading of before, and whoever looks next begins anew.
    await asyncio.to_thread(_write, gateway, kept)
    return kept


def _write(gateway: Gateway, reading: Reading) -> None:
    day, counts = day_of(reading.read_at), json.dumps([asdict(one) for one in reading.counts])
    with gateway.unit_of_work() as work:
        work.connection.execute(delete(table).where(table.c.day == day))
        work.connection.execute(insert(table).values(day=day, read_at=reading.read_at, counts=counts))


def last(work: UnitOfWork) -> Reading | None:
    """The last reading; None before the first."""
    return next(iter(_readings(work, [work.connection.scalar(select(func.max(table.c.day)))])), None)


def monthly(work: UnitOfWork) -> list[Reading]:
    """The last reading of each month, newest first: twelve of them; a month without any is left out."""
    month = func.substr(table.c.day, 1, 7)
    days = select(func.max(table.c.day)).group_by(month).order_by(month.desc()).limit(12)
    return _readings(work, list(work.connection.scalars(days)))


def _readings(work: UnitOfWork, days: Sequence[str | None]) -> list[Reading]:
    found = work.connection.execute(select(table).where(table.c.day.in_(days)).order_by(table.c.day.desc()))
    return [Reading(row.read_at, tuple(map(_count, json.loads(row.counts)))) for row in found]


def _count(kept: dict[str, Any]) -> Count:
    """As it was kept, perhaps by another version: what this one does not count is left out."""
    return Count(**{one.name: kept[one.name] for one in fields(Count) if one.name in kept})


def show(work: UnitOfWork) -> None:
    """Show the last reading to Prometheus: every process shows the same, and nothing before the first."""
    reading = last(work)
    FIELDS.show(
        {
            (one.recipient, one.document, what): getattr(one, what)
            for one in (reading.counts if reading else ())
            for what in KINDS
        }
    )
