"""A person's history in a large journal, on SQLite and on PostgreSQL: p99 of the first page, beside one index look-up.

    python bench/history.py [--rows N] [--full] [--sqlite FILE] [--postgres URL] [--json]

`--full` is the size of the target, 10,000,000 entries (some minutes, 10 GB for each database). A file or a database
that already holds as many rows is searched as it is, so that one filled at leisure can be searched at a calm moment.
PostgreSQL is used when a URL is given or its server can be started here (`initdb`), else it is left out and said so.

Rows are written by the database itself and indexed afterwards, in the product's own table and indexes: entries of a
year in the order of time, those of a person scattered among all others, few persons with thousands and most with about
ten. A person is asked for under four pseudonyms, one of which the journal knows. Times are those of the wall clock less
the wait for a core, which a busy machine adds; `wall` is with it.
"""

from __future__ import annotations

import argparse
import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import _common
from _postgres import started
from journal import fields
from sqlalchemy import Connection, Engine, create_engine, func, select, text

from gateway import journal
from gateway.journal_entry import encode
from gateway.storage import open_engine
from gateway.storage.tables import metadata
from gateway.storage.tables.journal import journal_entry

FULL = 10_000_000
LOOKS = 1_000
PER_PERSON = 20
_ONE_ENTRY, _ = encode("exchange.deliver", "2026-01-01T00:00:00.000Z", "0" * 32, fields(0))
_DRAWN = "(CAST(idx AS BIGINT) * 7919 % 1000003 / 1000003.0)"
"""Between 0 and 1, different from one entry to the next and the same each time."""

_FILL = {
    "sqlite": """
        WITH RECURSIVE n(idx) AS (SELECT 0 UNION ALL SELECT idx + 1 FROM n WHERE idx + 1 < :rows)
        INSERT INTO journal_entry
        SELECT '12m', idx, strftime('%Y-%m-%dT%H:%M:%S.000Z', 1767225600 + idx * 31536000 / :rows, 'unixepoch'),
               'exchange.deliver', printf('%036d', idx), pseudonym, 'caf', 'ccas', 'orientation', 'permit',
               :entry, randomblob(32)
        FROM n JOIN bench_person ON rank = CAST(:persons * {0} * {0} AS INTEGER)""",
    "postgresql": """
        INSERT INTO journal_entry
        SELECT '12m', idx,
               to_char(to_timestamp(1767225600 + idx * 31536000 / :rows) AT TIME ZONE 'UTC',
                       'YYYY-MM-DD"T"HH24:MI:SS".000Z"'),
               'exchange.deliver', lpad(idx::text, 36, '0'), pseudonym, 'caf', 'ccas', 'orientation', 'permit',
               :entry, sha256(idx::text::bytea)
        FROM generate_series(0, CAST(:rows AS BIGINT) - 1) AS n(idx)
        JOIN bench_person ON rank = floor(:persons * {0} * {0})::int
        ORDER BY idx""",
}


def persons(rows: int) -> int:
    return max(1, rows // PER_PERSON)


def pseudonym(rank: int) -> str:
    return sha256(b"%d" % rank).hexdigest()[:40]


def fill(engine: Engine, rows: int) -> float:
    """Bring an empty database to this many entries; gives the seconds it took, 0 when it already holds them."""
    metadata.create_all(engine)
    with engine.connect() as connection:
        held = connection.scalar(select(func.count()).select_from(journal_entry)) or 0
    if held:
        if held != rows:
            raise SystemExit(f"the database holds {held} entries, not {rows}")
        return 0.0
    start = time.perf_counter()
    engine.dispose()
    indexes = sorted(journal_entry.indexes, key=lambda index: str(index.name))
    names = [{"rank": rank, "pseudonym": pseudonym(rank)} for rank in range(persons(rows))]
    told = {"rows": rows, "persons": persons(rows), "entry": _ONE_ENTRY}
    statement = _FILL[engine.dialect.name].format(_DRAWN)
    with _bulk(engine) as connection:
        for index in indexes:
            connection.exec_driver_sql(f"DROP INDEX {index.name}")
        connection.exec_driver_sql("CREATE TABLE bench_person (rank INTEGER PRIMARY KEY, pseudonym VARCHAR(64))")
        connection.execute(text("INSERT INTO bench_person VALUES (:rank, :pseudonym)"), names)
        connection.execute(text(statement), told)
        connection.exec_driver_sql("DROP TABLE bench_person")
        for index in indexes:
            index.create(connection)
        connection.exec_driver_sql("ANALYZE")
    return time.perf_counter() - start


def looks(look: Callable[[], object], server: list[str]) -> tuple[list[float], list[float]]:
    """Sorted milliseconds of each look: on the wall clock, and without the wait for a core."""
    wall, own = [], []
    for _ in range(LOOKS):
        before, start = _common.queued(["thread-self", *server]), time.perf_counter()
        look()
        spent = (time.perf_counter() - start) * 1000
        wall.append(spent)
        own.append(max(0.0, spent - (_common.queued(["thread-self", *server]) - before)))
    return sorted(wall), sorted(own)


@contextmanager
def _bulk(engine: Engine) -> Iterator[Connection]:
    """A connection that writes fast and need not survive a crash."""
    if engine.dialect.name == "sqlite":
        fast, settings = create_engine(engine.url), ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF",
                                                     "PRAGMA cache_size=-262144", "PRAGMA threads=2")  # fmt: skip
    else:
        fast, settings = create_engine(engine.url), ("SET synchronous_commit=off", "SET maintenance_work_mem='512MB'")
    with fast.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for setting in settings:
            connection.exec_driver_sql(setting)
        yield connection
    fast.dispose()


def p99(times: list[float]) -> float:
    return times[math.ceil(len(times) * 0.99) - 1]


def search(engine: Engine, rows: int) -> dict[str, float]:
    draw = random.Random(rows)
    mark = "?" if engine.dialect.name == "sqlite" else "%s"
    bare = f"SELECT entry FROM journal_entry WHERE subject = {mark} ORDER BY ts LIMIT 100"

    def one() -> str:
        return pseudonym(draw.randrange(persons(rows)))

    with engine.connect().execution_options(read_only=True) as connection:

        def history() -> None:
            names = [one(), *(f"{draw.getrandbits(160):040x}" for _ in range(3))]
            if not journal.history(connection, names, limit=100):
                raise SystemExit("the history of a known person is missing")

        def look_up() -> None:
            connection.exec_driver_sql(bare, (one(),)).all()

        sqlite = engine.dialect.name == "sqlite"
        server = [] if sqlite else [str(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())]
        wall, own = looks(history, server)
        _, floor = looks(look_up, server)
    return {
        "p99_ms": p99(own),
        "median_ms": own[LOOKS // 2],
        "wall_p99_ms": p99(wall),
        "floor_p99_ms": p99(floor),
    }


def measured(url: str, rows: int) -> dict[str, float]:
    engine = open_engine(url)
    try:
        filled = fill(engine, rows)
        return search(engine, rows) | ({"fill_s": filled} if filled else {})
    finally:
        engine.dispose()


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    rows = FULL if asked.full else asked.rows
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        found["sqlite"] = measured(f"sqlite:///{asked.sqlite or Path(folder) / 'history.db'}", rows)
    with started(asked.postgres) as url:
        if url:
            found["postgresql"] = measured(url, rows)
    figures: dict[str, Any] = {"rows": rows}
    for name, told in found.items():
        figures |= {f"{name}_{key}": value for key, value in told.items() if key != "p99_ms"}
    if "postgresql" not in found:
        figures["postgresql"] = "left out: no server binaries here"
    ratios: dict[str, tuple[float, float | None, bool]] = {
        f"{name}_p99_ms": (told["p99_ms"], 100.0, False) for name, told in found.items()
    }
    return _common.told("history", ratios, figures)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--sqlite", type=Path, help="SQLite file: empty, or already filled")
    parser.add_argument("--postgres", default="", help="URL of a PostgreSQL database: empty, or already filled")


if __name__ == "__main__":
    _common.main(__doc__, measure, options)
