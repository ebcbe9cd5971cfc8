"""Durable bulk: a CAF file into the record, all new, then the same again, beside the one-core floor, in one run.

    python bench/ingest.py [--foyers N] [--full] [--json]

The floor is `lxml.iterparse(tag=…)` that clears each record and keeps nothing, on one core. All new: identity,
assertions, decisions, journal and outbox, committed (SQLite, synchronous FULL). The same file: its bytes are known.
The next file: the same households in another file of another day, as a caisse sends them every month.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import _common
from read import floor

from connectors.caf.generator import write_file
from gateway.ingest import ingest


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    foyers = 20_000 if asked.full else asked.foyers
    with tempfile.TemporaryDirectory() as folder, _common.opened() as gateway:
        warm, path, later = (Path(folder) / name for name in ("warm.xml", "first.xml", "next.xml"))
        write_file(warm, 50, seed=99, mois="2026-08")
        write_file(path, foyers)
        write_file(later, foyers, mois="2026-11")
        ingest(gateway, warm, "caf", "caf.flux_beneficiaire")

        def carry(source: Path) -> Any:
            return ingest(gateway, source, "caf", "caf.flux_beneficiaire")

        least = _common.best(lambda: floor(path), 5)
        new_cpu, new_wall, counts = _common.cpu_and_wall(lambda: carry(path))
        if counts.accepted != foyers:
            raise SystemExit(f"{counts.accepted} records of {foyers} were accepted")
        _, again_wall, again = _common.cpu_and_wall(lambda: carry(path))
        if again.unchanged != foyers:
            raise SystemExit(f"{again.unchanged} records of {foyers} were unchanged")
        next_cpu, next_wall, _ = _common.cpu_and_wall(lambda: carry(later))
    return _common.told(
        "ingest",
        {
            "durable_all_new": (least / new_wall, 0.35, True),
            "unchanged": (least / again_wall, 1.0, True),
            "next_file": (least / next_wall, None, True),
        },
        {
            "foyers": foyers,
            "persons": counts.persons,
            "floor_foyers_s": foyers / least,
            "new_foyers_s": foyers / new_wall,
            "new_us_per_foyer_cpu": new_cpu / foyers * 1e6,
            "unchanged_foyers_s": foyers / again_wall,
            "next_foyers_s": foyers / next_wall,
            "next_us_per_foyer_cpu": next_cpu / foyers * 1e6,
        },
    )


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--foyers", type=int, default=2000)


if __name__ == "__main__":
    _common.main(__doc__, measure, options)
