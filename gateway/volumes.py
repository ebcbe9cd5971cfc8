"""Counts of the journal by day: who, to whom, why, under which article, with what end.

Days are those of Paris. One that is over never changes: it is counted once, by `keep`, and read back from
`journal_day`. Of today, only what the journal has grown by is counted.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from sqlalchemy import JSON, Connection, Engine, Text, cast, func, insert, select
from sqlalchemy.exc import DBAPIError

from gateway import clock
from gateway.clock import day_of, today
from gateway.journal_entry import GAVE
from gateway.storage import unreachable
from gateway.storage.tables.journal import journal_day, journal_entry, journal_log
from schemas.normalisation import PARIS

if TYPE_CHECKING:
    from gateway.registry import Gateway

COUNTED = ("exchange.request", "exchange.deny", "log.read", "input.reject", *GAVE)
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

    @property
    def gave(self) -> bool:
        """Does its recipient hold what it says, by a delivery or because it read the dossier?"""
        return self.outcome in GAVE.get(self.event, ())


Counts = Counter[Row]


@dataclass(slots=True)
class _Known:
    days: dict[str, Counts] = field(default_factory=dict)
    today: str = ""
    counted: Counts = field(default_factory=Counter)
    """What was counted of `today`…"""
    upto: dict[str, int] = field(default_factory=dict)
    """…up to these sizes of the logs."""
    lock: threading.Lock = field(default_factory=threading.Lock)


_known: WeakKeyDictionary[Engine, _Known] = WeakKeyDictionary()


def counts(engine: Engine, connection: Connection, days: int) -> Counts:
    """Everything counted of the last `days` days, today included."""
    total: Counts = Counter()
    for _, one in by_day(engine, connection, days):
        total.update(one)
    return total


def by_day(engine: Engine, connection: Connection, days: int) -> Iterator[tuple[str, Counts]]:
    """(day, its counts), oldest first."""
    known = _known.setdefault(engine, _Known())
    with known.lock:
        over, last = _over(), date.fromisoformat(today())
        wanted = [(last - timedelta(days=back)).isoformat() for back in range(days - 1, -1, -1)]
        _load(connection, known, [day for day in wanted if day < over and day not in known.days])
        for day in wanted:
            if day >= over:
                yield day, _growing(connection, known, day) if day == wanted[-1] else _count(connection, day)
                continue
            if day not in known.days:
                known.days[day] = _count(connection, day)
            yield day, known.days[day]


def _over() -> str:
    """The first day that is not over."""
    return today(clock.instant(clock.now() - _SETTLED))


def _begins(day: str, after: int = 0) -> str:
    """When a day begins, or one so many days later, as the journal writes it."""
    return clock.instant(datetime.combine(date.fromisoformat(day) + timedelta(days=after), time(), PARIS))[:23] + "Z"


def keep(gateway: Gateway) -> int:
    """Write down the counts of the days that are over since the first one not written; how many were."""
    over = date.fromisoformat(_over())
    with gateway.reading() as work:
        day = work.connection.scalar(select(func.max(journal_day.c.day)))
        first = day or work.connection.scalar(select(func.min(journal_entry.c.ts)))
        if first is None:
            return 0
        start = date.fromisoformat(day_of(first)) + timedelta(days=bool(day))
        days = [(start + timedelta(days=rank)).isoformat() for rank in range((over - start).days)]
        rows = [{"day": one, "counts": _dumped(_count(work.connection, one))} for one in days]
    for row in rows:
        with gateway.unit_of_work() as work:
            if work.connection.scalar(select(journal_day.c.day).where(journal_day.c.day == row["day"])) is None:
                work.connection.execute(insert(journal_day).values(**row))
    return len(rows)


def _dumped(counts: Counts) -> str:
    return json.dumps([[*row, times] for row, times in sorted(counts.items())], ensure_ascii=False)


def _load(connection: Connection, known: _Known, days: list[str]) -> None:
    """What was written down of these days."""
    if not days:
        return
    query = select(journal_day).where(journal_day.c.day >= days[0], journal_day.c.day <= days[-1])
    for day, text in connection.execute(query):
        known.days[day] = Counter({Row(*values): times for *values, times in json.loads(text)})


def _growing(connection: Connection, known: _Known, day: str) -> Counts:
    """The counts of today: only what the journal has grown by is read."""
    if known.today != day:
        known.today, known.counted, known.upto = day, Counter(), {}
    sizes = {log: size for log, size in connection.execute(select(journal_log.c.log, journal_log.c.size))}  # noqa: C416
    for log, size in sizes.items():
        if size > known.upto.get(log, 0):
            place = (journal_entry.c.log == log, journal_entry.c.idx >= known.upto.get(log, 0))
            known.counted.update(_count(connection, day, *(place if log in known.upto else place[:1])))
    known.upto = sizes
    return known.counted


def _count(connection: Connection, day: str, *where: Any) -> Counts:
    ts = journal_entry.c.ts
    period = (ts >= _begins(day), ts < _begins(day, 1), journal_entry.c.event.in_(COUNTED), *where)
    found: Counts = Counter()
    for values, times in said(connection, ("article", "outcome", "reason_code", "categories_sent"), *period).items():
        sent = values[-1].strip("[]").replace('"', "").replace(" ", "")
        found[Row._make((*values[:-1], sent))] += times
    return found


def said(connection: Connection, names: Sequence[str], *where: Any) -> Counter[tuple[str, ...]]:
    """How many of these entries say the same: event, sender, recipient, purpose, decision, then these members of their
    JSON, as text ("" for what is absent).

    An entry that somebody wrote over may be no JSON any more, and stops the database: then each is looked at alone, so
    that whoever has to see that it was altered can (`maillon journal verify` and the daily watch name it)."""
    columns = [func.coalesce(journal_entry.c[name], "").label(name) for name in _COLUMNS]
    members = [func.coalesce(_member(connection, name), "").label(name) for name in names]
    inner = select(*columns, *members).where(*where).subquery()
    try:
        with connection.begin_nested():
            counted = connection.execute(select(*inner.c, func.count()).group_by(*inner.c)).all()
        return Counter({tuple(values): times for *values, times in counted})
    except DBAPIError as error:
        if unreachable(error):
            raise
    found: Counter[tuple[str, ...]] = Counter()
    for *values, entry in connection.execute(select(*columns, journal_entry.c.entry).where(*where)):
        told = _parsed(entry)
        found[(*values, *(_as_text(told.get(name)) for name in names))] += 1
    return found


_COLUMNS = ("event", "sender", "recipient", "purpose", "decision")


def _member(connection: Connection, name: str) -> Any:
    """A member of the entry's JSON, as text, on both databases."""
    if connection.dialect.name == "postgresql":
        return func.convert_from(journal_entry.c.entry, "UTF8").cast(JSON)[name].as_string()
    return func.json_extract(cast(journal_entry.c.entry, Text), f"$.{name}")


def _parsed(entry: bytes) -> dict[str, Any]:
    try:
        told = json.loads(entry)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
