"""Writing the journal, and asking it questions.

An entry is written in the transaction of what it tells, so that neither exists without the other. `append` makes its
bytes; just before the commit the entries of the transaction take their dense indexes and enter the tree, under the
lock of their log (`BEGIN IMMEDIATE` on SQLite, the row of `journal_log` on PostgreSQL), held from there to the commit.

| file | holds |
|---|---|
| `journal_entry.py` | what an entry may say |
| `journal.py` | the writer, and the questions |
| `journal_files.py` | tiles, checkpoints, export |
| `journal_upkeep.py` | when to publish, when to refuse exchanges, pruning, change of keys |
| `journal_recovery.py` | what a restored database lacks, brought back from the published files |
| `verify.py` | the reader, which imports nothing of these |

Reading the journal is itself an event: whoever calls `history`, `of_exchange` or `of_period` for a person appends
`log.read`.
"""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select, tuple_
from sqlalchemy.exc import IntegrityError

from gateway import clock, merkle
from gateway.journal_entry import EVENTS, FIELDS, EntryRefused, encode, fitting
from gateway.policy_obligations import hours
from gateway.problems import JournalBroken, Problem, Unavailable
from gateway.settings import settings
from gateway.storage.inserts import write_rows
from gateway.storage.tables.journal import FEW, journal_entry, journal_log
from gateway.unit_of_work import UnitOfWork

__all__ = [
    "DEFAULT_LOG", "EVENTS", "FIELDS", "RETENTION_MONTHS", "Entry", "EntryRefused", "Logged", "about", "append", "at",
    "fitting", "history", "kept_for", "of_exchange", "of_period", "origin_of", "refused",
]  # fmt: skip

RETENTION_MONTHS = {"6m": 6, "12m": 12, "36m": 36}
"""One log per retention class, from the shortest: entries of one class are pruned without waiting for another's."""
DEFAULT_LOG = "12m"
_PENDING = "journal"
_COLUMNS = tuple(column.name for column in journal_entry.columns)


def origin_of(base: str, log: str) -> str:
    """Origin line of a log: the configured one for the default class, with the class appended for the others."""
    return base if log == DEFAULT_LOG else f"{base}/{log}"


@lru_cache
def kept_for(traces: str) -> str:
    """The log for traces that their regime keeps this long (ISO 8601): never longer, where a log is as short."""
    shortest, *longer = RETENTION_MONTHS
    fit = [log for log in longer if hours(f"P{RETENTION_MONTHS[log]}M") <= hours(traces)]
    return fit[-1] if fit else shortest


@dataclass(slots=True, eq=False)
class Entry:
    """One entry on its way into a log.

    `idx` and `origin` are given just before the commit, by a `before_commit` action registered at the first `append`:
    an action registered later sees them, and may store them in the same transaction. They count once it is committed.
    """

    log: str
    content: bytes
    columns: tuple[str | None, ...]
    """ts, event, and the values of `journal_entry.COLUMNS`."""
    idx: int | None = None
    origin: str | None = None


class _Pending:
    """The entries of one transaction, and random bytes drawn for many nonces at once."""

    __slots__ = ("entries", "nonces", "ts", "used")

    def __init__(self, now: str) -> None:
        self.entries: list[Entry] = []
        self.ts = _milliseconds(now)
        self.nonces, self.used = "", 0

    def nonce(self) -> str:
        if self.used == len(self.nonces):
            self.nonces, self.used = os.urandom(16 if not self.nonces else 2048).hex(), 0
        self.used += 32
        return self.nonces[self.used - 32 : self.used]


def _milliseconds(now: str) -> str:
    return now[:23] + "Z"


def append(work: UnitOfWork, event: str, /, *, retention: str = DEFAULT_LOG, **fields: Any) -> Entry:
    """Write an entry in this transaction. Fields are those of `journal_entry.FIELDS`; None or "" means absent.

    Raises `EntryRefused` for an unknown event, field or form: nothing of the transaction may then be committed.
    The commit raises `Unavailable("audit-unavailable")` when the journal cannot be written: no log, no exchange.
    """
    if retention not in RETENTION_MONTHS:
        raise EntryRefused("retention", "unknown class")
    pending = work.scratch.get(_PENDING)
    if pending is None:
        pending = work.scratch[_PENDING] = _Pending(work.now)
        # A new function each time: an entry appended by a later hook of the same commit is indexed too.
        work.before_commit(lambda work: _index(work, work.scratch.pop(_PENDING).entries))
    entry = Entry(retention, *encode(event, pending.ts, pending.nonce(), work.by | fields if work.by else fields))
    pending.entries.append(entry)
    return entry


def refused(work: UnitOfWork, code: str, **who: Any) -> Entry:
    """Write down that something was refused whole, and whose; a code that an entry does not take becomes `refused`."""
    return append(work, "input.reject", outcome="refused", reason_code=fitting("reason_code", code, "refused"), **who)


def _index(work: UnitOfWork, entries: list[Entry]) -> None:
    try:
        # In the order of their names, so that two transactions never wait for each other's log.
        for log in sorted({entry.log for entry in entries}):
            _extend(work, log, [entry for entry in entries if entry.log == log])
    except Problem:
        raise
    except Exception as error:
        raise Unavailable(
            "audit-unavailable", "The journal cannot be written; nothing was accepted.", retry_after=60
        ) from error


def _extend(work: UnitOfWork, log: str, entries: list[Entry]) -> None:
    connection = work.connection
    statements = _statements(connection.dialect.name)
    state = _locked(connection, log, statements)
    first, frontier = state.size, merkle.split(state.frontier)
    leaves = [sha256(b"\x00" + entry.content).digest() for entry in entries]
    size = merkle.grow(frontier, first, leaves)
    rows = [
        (log, idx, *entry.columns, entry.content, leaf)
        for idx, entry, leaf in zip(range(first, size), entries, leaves, strict=True)
    ]
    write_rows(connection, statements.insert, rows)
    done = connection.exec_driver_sql(statements.grow, (size, b"".join(frontier), log, first))
    if done.rowcount != 1:
        raise Unavailable("audit-unavailable", "Another writer changed the journal; nothing was accepted.")

    for idx, entry in enumerate(entries, first):
        entry.idx, entry.origin = idx, state.origin


@dataclass(frozen=True, slots=True)
class _Statements:
    state: str
    insert: str
    grow: str


@lru_cache
def _statements(dialect: str) -> _Statements:
    """The writer's three statements in the driver's own words: built by SQLAlchemy each time they would cost more than
    what they do (30 µs an entry against 15 on SQLite). No value is ever part of them."""
    mark, lock = ("?", "") if dialect == "sqlite" else ("%s", " FOR UPDATE")
    marks = ", ".join([mark] * len(_COLUMNS))
    return _Statements(
        f"SELECT size, frontier, origin FROM journal_log WHERE log = {mark}{lock}",  # noqa: S608
        f"INSERT INTO journal_entry ({', '.join(_COLUMNS)}) VALUES ({marks})",  # noqa: S608
        f"UPDATE journal_log SET size = {mark}, frontier = {mark} WHERE log = {mark} AND size = {mark}",  # noqa: S608
    )


def _locked(connection: Connection, log: str, statements: _Statements) -> Row[Any]:
    """The state of a log, locked until the transaction ends; the log is opened by its first entry."""
    state = connection.exec_driver_sql(statements.state, (log,)).one_or_none()
    if state is None:
        open_log(connection, log)
        state = connection.exec_driver_sql(statements.state, (log,)).one()
    return state


def open_log(connection: Connection, log: str) -> None:
    """Begin a log, if nobody has; its origin is the one configured now, and never changes afterwards."""
    now = clock.instant()
    opened = insert(journal_log).values(
        log=log,
        origin=origin_of(settings().journal_origin, log),
        size=0,
        frontier=b"",
        min_index=0,
        checkpoint_at=now,
        quorum_at=now,
    )
    try:
        with connection.begin_nested():
            connection.execute(opened)
    except IntegrityError:
        pass  # another transaction opened it first


@dataclass(frozen=True, slots=True)
class Logged:
    """An entry read back: its place in its log, and its bytes as they were hashed."""

    log: str
    idx: int
    ts: str
    content: bytes

    @property
    def fields(self) -> dict[str, Any]:
        """What it says. Raises `JournalBroken` (`journal-altered`) when these bytes are no entry."""
        try:
            parsed: dict[str, Any] = json.loads(self.content)
        except ValueError:
            told = f"Entry {self.idx} of the log {self.log} was written over: keep the database, bring back a backup."
            raise JournalBroken("journal-altered", told, index=self.idx) from None
        return parsed

    @property
    def cursor(self) -> Cursor:
        return self.ts, self.log, self.idx


Cursor = tuple[str, str, int]
"""Where a page ended: (ts, log, idx) of its last entry."""

_ORDER = (journal_entry.c.ts, journal_entry.c.log, journal_entry.c.idx)
_READ = select(journal_entry.c.log, journal_entry.c.idx, journal_entry.c.ts, journal_entry.c.entry)


def _page(connection: Connection, query: Select[Any], after: Cursor | None, limit: int | None) -> Iterator[Logged]:
    if after is not None:
        query = query.where(tuple_(*_ORDER) > tuple_(*after))
    for row in connection.execute(query.order_by(*_ORDER).limit(limit)):
        yield Logged(row.log, row.idx, row.ts, row.entry)


def history(
    connection: Connection, subjects: Sequence[str], *, after: Cursor | None = None, limit: int = 100
) -> list[Logged]:
    """What the journal says of a person, oldest first, by all her pseudonyms (one per recipient and epoch).

    Each pseudonym costs one look-up in the index (subject, ts), whatever the size of the journal.
    """
    pages = [
        _page(connection, _READ.where(journal_entry.c.subject == subject), after, limit)
        for subject in dict.fromkeys(subjects)
    ]
    merged = heapq.merge(*pages, key=lambda logged: logged.cursor)
    return [logged for _, logged in zip(range(limit), merged, strict=False)]


def about(connection: Connection, subjects: Collection[str], events: Collection[str]) -> list[Logged]:
    """Every entry of these events about a person, by all her pseudonyms."""
    query = _READ.where(journal_entry.c.subject.in_(subjects), journal_entry.c.event.in_(events)).order_by(*_ORDER)
    return [Logged(row.log, row.idx, row.ts, row.entry) for row in connection.execute(query)]


def of_exchange(
    connection: Connection, exchange_id: str, *, after: Cursor | None = None, limit: int | None = None
) -> list[Logged]:
    """What was written of one exchange: request, decisions, deliveries, acknowledgements; all of it without `limit`."""
    return list(_page(connection, _READ.where(journal_entry.c.exchange_id == exchange_id), after, limit))


def at(connection: Connection, log: str, index: int) -> list[Logged]:
    """The entry of this index, in a list; empty when there is none, or it was pruned."""
    query = _READ.where(journal_entry.c.log == log, journal_entry.c.idx == index)
    return [Logged(row.log, row.idx, row.ts, row.entry) for row in connection.execute(query)]


def of_instant(connection: Connection, now: str, event: str, sender: str) -> list[Logged]:
    """What the transactions of this instant (`UnitOfWork.now`) wrote of one event of one sender."""
    query = _READ.where(
        journal_entry.c.ts == _milliseconds(now), journal_entry.c.event == event, journal_entry.c.sender == sender
    )
    return [Logged(row.log, row.idx, row.ts, row.entry) for row in connection.execute(query.order_by(*_ORDER))]


def origin(connection: Connection, log: str) -> str:
    """The checkpoint origin line of a log that was begun."""
    return str(connection.execute(select(journal_log.c.origin).where(journal_log.c.log == log)).scalar_one())


def of_period(
    connection: Connection, start: str, end: str, *, after: Cursor | None = None, limit: int = 100, **columns: str
) -> list[Logged]:
    """Entries with start ≤ ts < end (RFC 3339 UTC), oldest first; `columns` narrow by `event`, `sender`, `recipient`,
    `purpose`, `decision` or `log`."""
    query = _READ.where(journal_entry.c.ts >= start, journal_entry.c.ts < end)
    for name, value in columns.items():
        query = query.where(journal_entry.c[name] == value)
    if (few := FEW.get(columns.get("event", ""))) is not None:
        query = query.where(few)
    return list(_page(connection, query, after, limit))


def newest(connection: Connection, event: str, *, before: Cursor | None = None) -> Iterator[Logged]:
    """What was written of an event that is few (`tables.journal.FEW`), newest first."""
    query = _READ.where(FEW[event], journal_entry.c.event == event).order_by(*(one.desc() for one in _ORDER))
    query = query.where(tuple_(*_ORDER) < tuple_(*before)) if before else query
    with connection.execute(query.execution_options(yield_per=100)) as found:
        for row in found:
            yield Logged(row.log, row.idx, row.ts, row.entry)
