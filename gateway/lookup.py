"""Rows by key, in the driver's own words: the look-ups that every record of every exchange pays for.

SQLAlchemy spends several times longer on building such a query than SQLite on answering it. No value is ever part of
the text, which is made once for each table, columns and number of keys.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Connection, Table

T = TypeVar("T")

CHUNK = 400
"""Most keys asked for at once."""


def batches(keys: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """These keys, so many at once at the most."""
    return (keys[start : start + size] for start in range(0, len(keys), size))


def rows(
    connection: Connection, table: Table, columns: tuple[str, ...], by: str, keys: Collection[Any], also: str = ""
) -> list[Any]:
    """The named columns of the rows whose column `by` is one of these keys, as tuples with names.

    `also` is a condition without any value, as the caller wrote it (`superseded_at IS NULL`).
    """
    wanted = list(keys)
    found: list[Any] = []
    for start in range(0, len(wanted), CHUNK):
        chunk = wanted[start : start + CHUNK]
        if connection.dialect.name == "postgresql":
            text, parameters = _text(table, columns, by, also, 0), [chunk]
        else:
            # Few different texts: the keys are made up to a power of two by repeating one of them.
            size = 1 << (len(chunk) - 1).bit_length()
            text = _text(table, columns, by, also, size)
            parameters = chunk + chunk[:1] * (size - len(chunk))
        found += _ask(connection, text, tuple(parameters), columns)
    return found


def _ask(connection: Connection, text: str, parameters: tuple[Any, ...], columns: tuple[str, ...]) -> list[Any]:
    """On SQLite the driver itself is asked: describing the answer would cost SQLAlchemy more than finding it."""
    if connection.dialect.name == "sqlite" and connection.in_transaction():
        driver: Any = connection.connection.dbapi_connection
        with suppress(driver.Error):  # asked again below, it is told as callers expect it
            return list(map(_row(columns), driver.execute(text, parameters)))
    return list(connection.exec_driver_sql(text, parameters).all())


@lru_cache(maxsize=64)
def _row(columns: tuple[str, ...]) -> Callable[[Any], Any]:
    named: Any = namedtuple("Row", list(columns))  # type: ignore[misc]
    make: Callable[[Any], Any] = named._make
    return make


@lru_cache(maxsize=512)
def _text(table: Table, columns: tuple[str, ...], by: str, also: str, size: int) -> str:
    if unknown := {*columns, by} - set(table.columns.keys()):
        raise TypeError(f"{table.name} has no column {', '.join(sorted(unknown))}")
    one_of = f"IN ({', '.join('?' * size)})" if size else "= ANY(%s)"
    return f"SELECT {', '.join(columns)} FROM {table.name} WHERE {by} {one_of}" + (f" AND {also}" if also else "")  # noqa: S608
