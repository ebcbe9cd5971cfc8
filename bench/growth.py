"""Cost of one exchange as the store grows: CPU per new household in a nearly empty store, then in fuller ones.

    python bench/growth.py [--sizes N,N…] [--full] [--json]

The store is filled with the rows that N households leave behind (persons, households, identifiers, stays, assertion
sets, source records, journal entries, deliveries), written in bulk; then the same batch of new households is taken
through the main path, committed, on SQLite. Ratio: cost at the largest size over cost at the smallest; 1 is flat.
`--full`: 10 k, 1 M and 10 M households (some 60 GB of disk, hours).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _common
from sqlalchemy import Table

from connectors.caf.generator import write_file
from gateway import clock
from gateway.ingest import ingest
from gateway.registry import Gateway
from gateway.storage.tables.delivery import outbox
from gateway.storage.tables.journal import journal_entry
from gateway.storage.tables.record import assertion_set, foyer, identifier, membership, person, source_record

TAKEN = 300
CHUNK = 5_000


def rows(number: int, now: str) -> Iterator[tuple[Table, dict[str, Any]]]:
    """What one household of one person leaves."""
    who, home, record = clock.new_id(), clock.new_id(), os.urandom(32)
    yield person, {"id": who, "created_at": now, "wrapped_key": b"k" * 60}
    yield foyer, {"id": home, "created_at": now, "wrapped_key": b"k" * 60}
    for system in ("nir", "nir+date", "nom+date", "nom+date+lieu", "prenom+tel"):
        yield identifier, {"index_h": os.urandom(32), "subject_id": who, "system": system, "source": "caf",
                           "first_seen": now}  # fmt: skip
    yield membership, {"foyer_id": home, "person_id": who, "source": "caf", "since": now}
    for subject in (who, home):
        yield assertion_set, {"id": clock.new_id(), "subject_id": subject, "source": "caf", "document": "x",
                              "record_h": record, "exchange_id": who, "asserted_at": now, "received_at": now,
                              "payload": b"p" * 600}  # fmt: skip
    yield source_record, {"record_h": record, "digest": record, "asserted_at": now, "exchange_id": who}
    yield outbox, {"id": clock.new_id(), "recipient": "departement", "person_id": who, "sender": "caf",
                   "document": "maillon.dossier", "item": "", "flow": "f", "exchange_id": who, "state": "delivered",
                   "next_at": now, "created_at": now}  # fmt: skip
    yield journal_entry, {"log": "36m", "idx": number, "ts": now[:23] + "Z", "event": "exchange.request",
                          "exchange_id": who, "subject": os.urandom(20).hex(), "sender": "caf",
                          "recipient": "departement", "purpose": "instruction_rsa", "decision": "permit",
                          "entry": b"e" * 600, "leaf": record}  # fmt: skip


def fill(gateway: Gateway, start: int, end: int) -> None:
    for first in range(start, end, CHUNK):
        with gateway.unit_of_work() as work:
            for number in range(first, min(end, first + CHUNK)):
                for table, row in rows(number, work.now):
                    work.add(table, **row)
            work.flush()


def cost(gateway: Gateway, folder: Path, seed: int, mois: str) -> float:
    """µs of CPU for one new household, best of three files."""
    spent = []
    for turn in range(3):
        path = folder / f"{seed}-{turn}.xml"
        write_file(path, TAKEN, seed=seed + turn, mois=f"{mois}-{1 + turn:02d}", flux="quotidien")
        cpu, _, counts = _common.cpu_and_wall(lambda path=path: ingest(gateway, path, "caf", "caf.flux_beneficiaire"))
        if counts.records != TAKEN or counts.accepted < TAKEN * 0.9:
            raise SystemExit(f"{counts.accepted} of {counts.records} households were accepted")
        spent.append(cpu)
    return min(spent) / TAKEN * 1e6


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    sizes = [10_000, 1_000_000, 10_000_000] if asked.full else [int(one) for one in asked.sizes.split(",")]
    found: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as name, _common.opened() as gateway:
        folder, filled = Path(name), 0
        cost(gateway, folder, 900, "2026-01")
        for turn, size in enumerate(sizes):
            fill(gateway, filled, size)
            filled = size
            found[size] = cost(gateway, folder, 100 * (turn + 1), f"2026-{turn + 2:02d}")
    return _common.told(
        "growth",
        {"large_to_small": (found[sizes[-1]] / found[sizes[0]], 1.2, False)},
        {f"us_at_{size}": spent for size, spent in found.items()},
    )


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", default="2000,40000", help="households stored, smallest first")


if __name__ == "__main__":
    _common.main(__doc__, measure, options)
