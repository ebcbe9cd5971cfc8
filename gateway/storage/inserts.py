"""Rows written together, in the driver's own words: few statements, whatever the number of rows.

Python's SQLite driver lets the other threads run at each row of an `executemany`, then waits until they let it run
again. Beside a thread that computes (a page, a mapping being prepared) each row waited for a whole turn of the
interpreter: an exchange writes seventeen. Here many rows are one statement.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from sqlalchemy import Connection

TOGETHER = 64
"""Most rows of one statement. SQLite takes 32,766 values."""
_ROW = re.compile(r"(?<=\bVALUES )\(\?(?:, \?)*\)")


def write_rows(connection: Connection, statement: str, rows: Sequence[Any]) -> None:
    """Run an `INSERT … VALUES (?, …)` for each of these rows, in their order.

    A statement that takes values elsewhere too, or another database (psycopg sends an `executemany` in one go), is run
    as it is.
    """
    if connection.dialect.name != "sqlite" or not _takes_several(statement):
        connection.exec_driver_sql(statement, list(rows))
        return
    start = 0
    while start < len(rows):
        # Few different texts, so that the driver finds them ready: as many rows as a power of two.
        size = min(TOGETHER, 1 << (len(rows) - start).bit_length() - 1)
        values = tuple(chain.from_iterable(rows[start : start + size]))
        connection.exec_driver_sql(_repeated(statement, size), values)
        start += size


@lru_cache(maxsize=512)
def _takes_several(statement: str) -> bool:
    row = _ROW.search(statement)
    return row is not None and row.group().count("?") == statement.count("?")


@lru_cache(maxsize=512)
def _repeated(statement: str, size: int) -> str:
    return _ROW.sub(lambda row: ", ".join([row.group()] * size), statement, count=1)
