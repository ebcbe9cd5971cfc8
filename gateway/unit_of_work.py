"""One transaction: assertions, decisions, journal entry and outbox row commit together or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Boolean, Connection, Dialect, Engine, Executable, Integer, LargeBinary, String, Table, insert
from sqlalchemy.types import NullType

from gateway import clock, policy_table
from gateway.storage.inserts import write_rows


class UnitOfWork:
    """A transaction whose inserts are gathered and written together.

    Rows given to `add` are written in order of their tables' first use at `flush` (called by `commit`), those of one
    table and set of columns together, in the driver's own words. Statements that must see them call `flush` first. What
    has to happen in the same transaction just before it commits (giving journal entries their index) registers with
    `before_commit`; what may only happen once it is durable (waking a worker) with `after_commit`.

    All that it writes is dated `now`: under a date that was moved nothing is written, so that nothing is decided, sent,
    given up or forgotten by it. Raises `Unavailable("clock-doubtful")`.
    """

    def __init__(self, engine: Engine, *, law: policy_table.Table | None = None, read_only: bool = False) -> None:
        self._engine = engine
        self._law = law
        self._read_only = read_only
        self._keeps = not read_only
        self._rows: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
        self._changes: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
        self._before_commit: list[Callable[[UnitOfWork], None]] = []
        self._after_commit: list[Callable[[], None]] = []
        self.connection: Connection
        self.by: dict[str, str] = {}
        """The account in whose name this is done, as every journal entry of this transaction names it."""
        if not read_only:
            clock.require_steady()
        self.now = clock.instant()
        self.scratch: dict[str, Any] = {}
        """Per-transaction caches of the modules that use this unit of work, by module name."""

    def __enter__(self) -> Self:
        self.connection = self._engine.connect()
        if self._read_only:  # on SQLite, it then waits for no writer, and no writer for it
            self.connection = self.connection.execution_options(read_only=True)
        self.connection.begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        try:
            if kind is None and self._keeps:
                self.commit()
            else:
                self.connection.rollback()
        finally:
            self.connection.close()

    @property
    def law(self) -> policy_table.Table:
        """The decision table that this transaction answers to: the installation's, or the one of this release."""
        return self._law or policy_table.shipped()

    def next_act(self) -> None:
        """What follows has an instant of its own: of two statements of one transaction, the later is the last word."""
        self.now = max(self.now, clock.instant())

    def abandon(self) -> None:
        """End by undoing everything: a rehearsal leaves nothing behind."""
        self._keeps = False

    def add(self, table: Table, **row: Any) -> None:
        """Write this row before the transaction commits."""
        self._rows.setdefault((table, *row), []).append(tuple(row.values()))

    def gathered(self, table: Table, columns: tuple[str, ...]) -> list[tuple[Any, ...]]:
        """Where to append rows of these columns, for whoever writes many of them; to be asked for at each use."""
        return self._rows.setdefault((table, *columns), [])

    def change(self, statement: Executable, **parameters: Any) -> None:
        """Run this update or upsert before the transaction commits, after the inserts; one batch per statement."""
        self._changes.setdefault((statement, *parameters), []).append(tuple(parameters.values()))

    def before_commit(self, action: Callable[[UnitOfWork], None], *, early: bool = False) -> None:
        """Run once, in this transaction, after everything else was gathered. Registering it again changes nothing.

        `early`: before the others, so that what waits for other transactions waits without the lock of a log.
        """
        if action not in self._before_commit:
            self._before_commit.insert(0 if early else len(self._before_commit), action)

    def after_commit(self, action: Callable[[], None]) -> None:
        if action not in self._after_commit:
            self._after_commit.append(action)

    def flush(self) -> None:
        rows, self._rows = self._rows, {}
        changes, self._changes = self._changes, {}
        for gathered in (rows, changes):
            for (what, *names), values in gathered.items():
                if not values:
                    continue
                ready = _prepared(what, tuple(names), self.connection.dialect)
                write_rows(self.connection, ready.text, ready.parameters(values))

    def commit(self) -> None:
        self.flush()
        for action in self._before_commit:
            action(self)
        self.flush()
        # A crash before this line leaves nothing; after it, everything. Nothing outside the database moved yet.
        self.connection.commit()
        for notify in self._after_commit:
            notify()


_PLAIN = (String, Integer, LargeBinary, Boolean, NullType)
"""Types that both drivers take as Python has them: nothing to convert on the way."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A statement in the driver's words, and how the values given by name take their places."""

    text: str
    names: tuple[str, ...]
    places: tuple[int, ...] | None
    """Where each value stands among a row and the constants after it, where the driver counts; None where it names."""
    constants: dict[str, Any]

    def parameters(self, rows: list[tuple[Any, ...]]) -> list[Any]:
        if self.places is None:
            return [self.constants | dict(zip(self.names, row, strict=True)) for row in rows]
        if self.places == tuple(range(len(self.names))):
            return rows
        same = tuple(self.constants.values())
        return [tuple(map((row + same).__getitem__, self.places)) for row in rows]


@lru_cache(maxsize=512)
def _prepared(what: Table | Executable, names: tuple[str, ...], dialect: Dialect) -> _Prepared:
    """Compile once: SQLAlchemy would spend more on each row's parameters than the database on the row."""
    statement: Any = insert(what) if isinstance(what, Table) else what
    compiled = statement.compile(dialect=dialect, column_keys=list(names))
    if unfit := [name for name, bind in compiled.binds.items() if not isinstance(bind.type, _PLAIN)]:
        raise TypeError(f"{', '.join(unfit)} must be converted for the driver: execute this statement on its own")
    constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
    if unknown := set(names) - compiled.binds.keys():
        raise TypeError(f"the statement does not take {', '.join(sorted(unknown))}")
    known = [*names, *constants]
    places = tuple(map(known.index, compiled.positiontup)) if compiled.positional else None
    return _Prepared(str(compiled), names, places, constants)
