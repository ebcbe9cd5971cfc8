"""Cost of one exchange as the store grows: CPU per new household in a nearly empty store, then in fuller ones.

    python bench/growth.py [--sizes N,N…] [--full] [--json]

The store is filled with the rows that N households leave behind (persons, households, identifiers, stays, assertion
sets, source records, journal entries, deliveries), made by SQLite itself; a second store stays at the smallest size.
At each size both take the same new households through the main path, by turns, committed, on SQLite. Ratio: cost in
the largest over cost in the small one beside it; 1 is flat. `--full`: 10 k, 1 M and 10 M households (60 GB of disk).
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import _common
from journal import fields

from connectors.caf.generator import write_file
from gateway.ingest import ingest
from gateway.journal_entry import encode
from gateway.registry import Gateway

TAKEN = 300
ROUNDS = 6
YEAR_MS = 365 * 86_400_000


def _id(kind: int) -> str:
    """SQL of an id of household `i`, in the order of time as ours (RFC 9562, version 7), below those made from now."""
    return f"printf('%08x-%04x-7{kind:03x}-8000-%012x', (:at + i) >> 16, (:at + i) & 65535, i)"


PERSON, HOME, OF_PERSON, OF_HOME, DELIVERY = map(_id, range(5))
AT = "strftime('%Y-%m-%dT%H:%M:%f', (:at + i) / 1000.0, 'unixepoch') || '000Z'"
SYSTEMS = ("nir", "nir+date", "nom+date", "nom+initiale", "nom+date+lieu", "prenom+tel")
LEFT = (
    ("person", {"id": PERSON, "created_at": AT, "wrapped_key": "zeroblob(60)"}),
    ("foyer", {"id": HOME, "created_at": AT, "wrapped_key": "zeroblob(60)"}),
    *(
        ("identifier", {"index_h": "randomblob(32)", "subject_id": PERSON, "system": f"'{system}'", "source": "'caf'",
                        "first_seen": AT})
        for system in SYSTEMS
    ),
    ("membership", {"foyer_id": HOME, "person_id": PERSON, "source": "'caf'", "since": AT}),
    *(
        ("assertion_set", {"id": id, "subject_id": subject, "source": "'caf'", "document": "'caf.flux_beneficiaire'",
                           "record_h": "randomblob(32)", "exchange_id": PERSON, "asserted_at": AT, "received_at": AT,
                           "payload": "randomblob(600)"})
        for id, subject in ((OF_PERSON, PERSON), (OF_HOME, HOME))
    ),
    ("source_record", {"record_h": "randomblob(32)", "digest": "randomblob(32)", "asserted_at": AT,
                       "exchange_id": PERSON}),
    ("outbox", {"id": DELIVERY, "recipient": "'departement'", "person_id": PERSON, "sender": "'caf'",
                "document": "'maillon.dossier'", "flow": "'f'", "exchange_id": PERSON, "state": "'delivered'",
                "next_at": AT, "created_at": AT}),
    ("journal_entry", {"log": "'36m'", "idx": "i", "ts": f"substr({AT}, 1, 23) || 'Z'", "event": "'exchange.request'",
                       "exchange_id": PERSON, "subject": "lower(hex(randomblob(20)))", "sender": "'caf'",
                       "recipient": "'departement'", "purpose": "'instruction_rsa'", "decision": "'permit'",
                       "entry": ":entry", "leaf": "randomblob(32)"}),
)  # fmt: skip
"""What one household of one person leaves: table → column → SQL of its value for household `i`."""
ENTRY, _ = encode("exchange.request", "2026-01-01T00:00:00.000Z", "0" * 32, fields(0))
"""A genuine entry: the console counts what entries say."""


def fill(gateway: Gateway, start: int, end: int) -> None:
    """The rows of households `start` to `end`: in the order of their keys, their indexes built again afterwards, so
    that ten million take minutes. The gateway must be at rest."""
    gateway.engine.dispose()
    numbers = "WITH RECURSIVE numbers(i) AS (SELECT :start UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < :end)"
    given = {"start": start, "end": end, "at": time.time_ns() // 1_000_000 - YEAR_MS, "entry": ENTRY}
    with closing(sqlite3.connect(str(gateway.engine.url.database), isolation_level=None)) as store:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "cache_size=-2000000"):
            store.execute(f"PRAGMA {pragma}")
        tables = ", ".join(f"'{table}'" for table, _ in LEFT)
        indexes = f"SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql > '' AND tbl_name IN ({tables})"
        built = store.execute(indexes).fetchall()
        store.execute("BEGIN EXCLUSIVE")
        for name, _ in built:
            store.execute(f"DROP INDEX {name}")
        for table, row in LEFT:
            columns, values = ", ".join(row), ", ".join(row.values())
            order = " ORDER BY 1" if "randomblob" in next(iter(row.values())) else ""
            store.execute(f"{numbers} INSERT INTO {table} ({columns}) SELECT {values} FROM numbers{order}", given)
        for _, create in built:
            store.execute(create)
        store.execute("COMMIT")


def taken(gateway: Gateway, path: Path) -> float:
    """µs of CPU for one new household of this file."""
    cpu, _, counts = _common.cpu_and_wall(lambda: ingest(gateway, path, "caf", "caf.flux_beneficiaire"))
    if counts.records != TAKEN or counts.accepted < TAKEN * 0.9:
        raise SystemExit(f"{counts.accepted} of {counts.records} households were accepted")
    return cpu / TAKEN * 1e6


def side_by_side(small: Gateway, large: Gateway, path: Path, stage: int) -> tuple[float, float]:
    """The least cost in each store, which take the same new households by turns: a machine that is busy for a while
    is so for both."""
    spent: list[tuple[float, float]] = []
    for turn in range(ROUNDS + 1):  # the first one warms up
        day = f"2026-{stage + 1:02d}-{turn + 1:02d}"
        write_file(path, TAKEN, seed=100 * stage + turn, mois=day, flux="quotidien")
        spent.append((taken(small, path), taken(large, path)))
    return min(one for one, _ in spent[1:]), min(one for _, one in spent[1:])


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    least, *sizes = [10_000, 1_000_000, 10_000_000] if asked.full else [int(one) for one in asked.sizes.split(",")]
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name, _common.opened() as small, _common.opened() as large:
        fill(small, 0, least)
        fill(large, 0, least)
        filled = least
        for stage, size in enumerate(sizes):
            fill(large, filled, size)
            filled = size
            little, much = side_by_side(small, large, Path(name) / "new.xml", stage)
            ratio = figures[f"to_small_at_{size}"] = much / little
            figures |= {f"us_at_{least}_beside_{size}": little, f"us_at_{size}": much}
    return _common.told("growth", {"large_to_small": (ratio, 1.2, False)}, figures)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", default="2000,100000", help="households stored, smallest first")


if __name__ == "__main__":
    _common.main(__doc__, measure, options)
