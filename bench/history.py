"""A person's history in a large journal, on SQLite and on PostgreSQL: p99 of the first page, beside one index look-up.

    python bench/history.py [--rows N] [--full] [--postgres URL] [--json]

PostgreSQL is used when a URL is given or its server can be started here (`initdb`), else it is left out and said so.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import _common
from _postgres import started
from journal import measure_history
from sqlalchemy import Engine

from gateway.storage import open_engine
from gateway.storage.tables import metadata


def look_up(engine: Engine, count: int) -> float:
    """p99 in ms of the bare statement: one person's rows through the index, no merge, nothing decoded."""
    mark = "?" if engine.dialect.name == "sqlite" else "%s"
    statement = f"SELECT entry FROM journal_entry WHERE subject = {mark} ORDER BY ts LIMIT 100"
    latencies = []
    with engine.connect().execution_options(read_only=True) as connection:
        for _ in range(500):
            name = sha256(b"%d" % random.randrange(max(1, count // 20))).hexdigest()[:40]
            start = time.perf_counter()
            connection.exec_driver_sql(statement, (name,)).all()
            latencies.append((time.perf_counter() - start) * 1000)
    return sorted(latencies)[int(len(latencies) * 0.99)]


def one(url: str, count: int) -> tuple[float, float]:
    engine = open_engine(url)
    metadata.create_all(engine)
    found = measure_history(engine, count)["history_p99_ms"]
    floor = look_up(engine, count)
    metadata.drop_all(engine)
    engine.dispose()
    return found, floor


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    count = 10_000_000 if asked.full else asked.rows
    with tempfile.TemporaryDirectory() as folder:
        found = {"sqlite": one(f"sqlite:///{Path(folder) / 'history.db'}", count)}
    with started(asked.postgres) as url:
        if url:
            found["postgresql"] = one(url, count)
    figures: dict[str, Any] = {"rows": count}
    for name, (product, floor) in found.items():
        figures |= {f"{name}_floor_ms": floor, f"{name}_to_floor": product / floor}
    if "postgresql" not in found:
        figures["postgresql"] = "left out: no server binaries here"
    ratios = {f"{name}_p99_ms": (product, 100.0, False) for name, (product, _) in found.items()}
    return _common.told("history", ratios, figures)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--postgres", default="", help="URL of an empty PostgreSQL database")


if __name__ == "__main__":
    _common.main(__doc__, measure, options)
