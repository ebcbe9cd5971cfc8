"""Cost of one exchange as the store grows: CPU per new household in a nearly empty store, then in a full one.

    python bench/growth.py [--small N] [--large N] [--full] [--json]

The store is filled with the rows that N households leave behind (persons, households, identifiers, stays, assertion
sets, source records, journal entries, deliveries), written in bulk; then the same batch of new households is taken
through the main path, committed, on SQLite. Ratio: cost when large over cost when small; 1 is flat.
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
    small, large = (10_000, 1_000_000) if asked.full else (asked.small, asked.large)
    with tempfile.TemporaryDirectory() as name, _common.opened() as gateway:
        folder = Path(name)
        cost(gateway, folder, 900, "2026-01")
        fill(gateway, 0, small)
        first = cost(gateway, folder, 100, "2026-02")
        fill(gateway, small, large)
        then = cost(gateway, folder, 200, "2026-03")
    return _common.told(
        "growth",
        {"large_to_small": (then / first, 1.2, False)},
        {"small": small, "large": large, "small_us": first, "large_us": then},
    )


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--small", type=int, default=2_000)
    parser.add_argument("--large", type=int, default=40_000)


if __name__ == "__main__":
    _common.main(__doc__, measure, options)
