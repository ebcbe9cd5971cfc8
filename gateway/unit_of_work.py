"""One transaction: assertions, decisions, journal entry and outbox row commit together or not at all."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Engine, Executable, Table, insert

from gateway import clock


class UnitOfWork:
    """A transaction whose inserts are gathered and written together.

    Rows given to `add` are written in order of their tables' first use at `flush` (called by `commit`), one
    `executemany` per table. Statements that must see them call `flush` first. What has to happen in the same
    transaction just before it commits (giving journal entries their index) registers with `before_commit`; what may
    only happen once it is durable (waking a worker) with `after_commit`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._rows: dict[Table, list[dict[str, Any]]] = {}
        self._changes: dict[Executable, list[dict[str, Any]]] = {}
        self._before_commit: list[Callable[[UnitOfWork], None]] = []
        self._after_commit: list[Callable[[], None]] = []
        self.connection: Connection
        self.now = clock.instant()
        self.scratch: dict[str, Any] = {}
        """Per-transaction caches of the modules that use this unit of work, by module name."""

    def __enter__(self) -> Self:
        self.connection = self._engine.connect()
        self.connection.begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        try:
            if kind is None:
                self.commit()
            else:
                self.connection.rollback()
        finally:
            self.connection.close()

    def abandon(self) -> None:
        """Undo everything: a rehearsal leaves nothing behind."""
        self.connection.rollback()
        self.connection.close()

    def add(self, table: Table, **row: Any) -> None:
        """Write this row before the transaction commits."""
        self._rows.setdefault(table, []).append(row)

    def change(self, statement: Executable, **parameters: Any) -> None:
        """Run this update or upsert before the transaction commits, after the inserts; one batch per statement."""
        self._changes.setdefault(statement, []).append(parameters)

    def before_commit(self, action: Callable[[UnitOfWork], None]) -> None:
        """Run once, in this transaction, after everything else was gathered. Registering it again changes nothing."""
        if action not in self._before_commit:
            self._before_commit.append(action)

    def after_commit(self, action: Callable[[], None]) -> None:
        if action not in self._after_commit:
            self._after_commit.append(action)

    def flush(self) -> None:
        rows, self._rows = self._rows, {}
        for table, gathered in rows.items():
            self.connection.execute(insert(table), gathered)
        changes, self._changes = self._changes, {}
        for statement, parameters in changes.items():
            self.connection.execute(statement, parameters)

    def commit(self) -> None:
        self.flush()
        for action in self._before_commit:
            action(self)
        self.flush()
        # A crash before this line leaves nothing; after it, everything. Nothing outside the database moved yet.
        self.connection.commit()
        for notify in self._after_commit:
            notify()
