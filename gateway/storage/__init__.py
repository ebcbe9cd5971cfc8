"""Opening the database: SQLite in one file, or PostgreSQL."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from gateway.problems import Misconfigured


def open_engine(url: str) -> Engine:
    """An engine for `sqlite:///…` or `postgresql://…`.

    SQLite runs in WAL with `synchronous=FULL`, so that what was committed survives a power cut; a transaction takes
    the write lock when it begins (`BEGIN IMMEDIATE`) unless it was opened with `execution_options(read_only=True)`.

    Raises `Misconfigured("settings-invalid")` for another database.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise Misconfigured("settings-invalid", _WHICH) from None
    if parsed.get_backend_name() == "sqlite":
        if parsed.database and parsed.database != ":memory:":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, connect_args=_CONNECT, hide_parameters=True)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise Misconfigured("settings-invalid", _WHICH)
    parsed = parsed.set(drivername="postgresql+psycopg")
    return create_engine(
        parsed, pool_pre_ping=True, pool_size=8, max_overflow=8, hide_parameters=True, connect_args=_PATIENCE
    )


def takes_writing(connection: Connection) -> bool:
    """Whether this database can be written: not a standby, nor a file closed to this account."""
    if connection.dialect.name != "sqlite":
        return bool(connection.execute(text("select current_setting('transaction_read_only') = 'off'")).scalar_one())
    file = connection.engine.url.database
    return not file or file == ":memory:" or all(os.access(one, os.W_OK) for one in (file, Path(file).parent))


def unreachable(error: Exception) -> bool:
    """The connection was lost, or could not be made (no statement was running then): nothing is wrong with what was
    being done, which may be done again."""
    return isinstance(error, DBAPIError) and (error.connection_invalidated or error.statement is None)


def upsert(dialect: str, table: Table) -> Any:
    """An insert to be told what becomes of a row that is there already (`on_conflict_do_nothing`, `…_do_update`), in
    the words of this dialect; the other is not loaded: it would be felt when a process starts."""
    return import_module(f"sqlalchemy.dialects.{dialect}").insert(table)


_WHICH = "MAILLON_DATABASE_URL begins with sqlite:/// or postgresql://."
_PATIENCE = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""A network cut in two must be an error within seconds, not a silence (seconds; the last in milliseconds)."""


_CONNECT = {"timeout": 30, "check_same_thread": False, "cached_statements": 256}
"""Of the texts that `lookup` and `inserts` make, all stay ready: some ten tables, in eight sizes each."""


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "busy_timeout=30000",
        "cache_size=-32768",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get("read_only")
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
