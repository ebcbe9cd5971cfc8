"""Counts of the journal by day: who, to whom, why, under which article, with what end.

A day that is over never changes: it is counted once per process. Today's is counted again when the journal grew.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from sqlalchemy import JSON, Connection, Engine, Text, cast, func, select, type_coerce

from gateway import clock
from gateway.storage.tables.journal import journal_entry, journal_log

COUNTED = ("exchange.request", "exchange.deny", "exchange.ack", "log.read", "input.reject")
_SETTLED = timedelta(minutes=10)
"""A day is over this long after midnight: entries carry the time their transaction began."""


class Row(NamedTuple):
    """One kind of thing that happened."""

    event: str
    sender: str
    recipient: str
    purpose: str
    decision: str
    article: str
    outcome: str
    reason: str
    sent: str
    """Categories sent, joined by commas."""


Counts = Counter[Row]


@dataclass(slots=True)
class _Known:
    days: dict[str, Counts] = field(default_factory=dict)
    today: tuple[str, int, Counts] = ("", -1, field(default_factory=Counter))
    lock: threading.Lock = field(default_factory=threading.Lock)


_known: WeakKeyDictionary[Engine, _Known] = WeakKeyDictionary()


def member(connection: Connection, name: str) -> Any:
    """A member of the entry's JSON, as text, on both databases."""
    if connection.dialect.name == "postgresql":
        return type_coerce(func.convert_from(journal_entry.c.entry, "UTF8").cast(JSON)[name], JSON).as_string()
    return func.json_extract(cast(journal_entry.c.entry, Text), f"$.{name}")


def counts(engine: Engine, connection: Connection, days: int) -> Counts:
    """Everything counted of the last `days` days, today included."""
    total: Counts = Counter()
    for _, one in by_day(engine, connection, days):
        total.update(one)
    return total


def by_day(engine: Engine, connection: Connection, days: int) -> Iterator[tuple[str, Counts]]:
    """(day, its counts), oldest first; days are UTC as the journal's."""
    known = _known.setdefault(engine, _Known())
    with known.lock:
        now = clock.now()
        size = connection.scalar(select(func.coalesce(func.sum(journal_log.c.size), 0))) or 0
        over = (now - _SETTLED).date()
        wanted = [(now.date() - timedelta(days=back)).isoformat() for back in range(days - 1, -1, -1)]
        for day in wanted:
            if day < over.isoformat():
                if day not in known.days:
                    known.days[day] = _count(connection, day)
            elif known.today[:2] != (day, size):
                known.today = (day, size, _count(connection, day))
                yield day, known.today[2]
                continue
            yield day, known.days[day] if day in known.days else known.today[2]


def _count(connection: Connection, day: str) -> Counts:
    table = journal_entry.c
    nothing = func.coalesce
    columns = (
        table.event,
        nothing(table.sender, ""),
        nothing(table.recipient, ""),
        nothing(table.purpose, ""),
        nothing(table.decision, ""),
        nothing(member(connection, "article"), ""),
        nothing(member(connection, "outcome"), ""),
        nothing(member(connection, "reason_code"), ""),
        nothing(member(connection, "categories_sent"), ""),
    )
    following = (datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1)).date().isoformat()
    positions = list(range(1, len(columns) + 1))
    inner = (
        select(*(column.label(name) for column, name in zip(columns, Row._fields, strict=True)))
        .where(table.ts >= day, table.ts < following, table.event.in_(COUNTED))
        .subquery()
    )
    query = select(*inner.c, func.count()).group_by(*inner.c)
    assert len(positions) == len(Row._fields)
    found: Counts = Counter()
    for *values, times in connection.execute(query):
        values[-1] = values[-1].strip("[]").replace('"', "").replace(" ", "")
        found[Row(*values)] += times
    return found
