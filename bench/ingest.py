"""Durable bulk: CAF files into the record, all new, then the same again, beside the one-core floor, in one run.

    python bench/ingest.py [--foyers N] [--rounds K] [--full] [--json]

The floor is `lxml.iterparse(tag=…)` that clears each record and keeps nothing, on one core. All new: identity,
assertions, decisions, journal and outbox, committed (SQLite, synchronous FULL), by two processes: one reads ahead, one
writes; what counts is the CPU time of the busier one, which two free cores take on the wall clock too. The same file:
its bytes are known. Restated: the same households, byte for byte, in a file of the next day. Best of the rounds, each
with households never seen: what neighbours take of a busy machine is left out, and the wall clock is told beside.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import _common
from read import floor

from connectors.caf.generator import write_file
from gateway.ingest import ingest


def restated(path: Path, day: str, other: str) -> Path:
    """The same file as its sender would make it another day: only the dates of its header differ."""
    content = path.read_bytes()
    header, record, rest = content.partition(b"<InfosFoyerRSA")
    later = path.with_suffix(".later.xml")
    later.write_bytes(header.replace(day.encode(), other.encode()) + record + rest)
    return later


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    foyers = 20_000 if asked.full else asked.foyers
    best: dict[str, tuple[float, ...]] = {}

    def keep(name: str, work: Any) -> Any:
        """CPU of this process, CPU of the other one, wall: least of the rounds."""
        own, other = time.process_time(), _common.children()
        _, wall, found = _common.cpu_and_wall(work)
        spent = time.process_time() - own, _common.children() - other, wall
        best[name] = tuple(map(min, best.get(name, spent), spent))
        return found

    with tempfile.TemporaryDirectory() as folder, _common.opened() as gateway:
        for turn in range(asked.rounds + 1):
            day, other = f"2026-09-{1 + turn:02d}", f"2026-10-{1 + turn:02d}"
            path = Path(folder) / f"{turn}.xml"
            write_file(path, foyers if turn else 60, flux="quotidien", mois=day, debut=turn * foyers)
            later = restated(path, day, other)

            def carry(source: Path) -> Any:
                return ingest(gateway, source, "caf", "caf.flux_beneficiaire")

            if not turn:  # caches, compiled statements
                carry(path)
                continue
            keep("floor", lambda path=path: floor(path))
            counts = keep("new", lambda path=path: carry(path))
            if counts.accepted < foyers * 0.95:
                raise SystemExit(f"{counts.accepted} records of {foyers} were accepted")
            again = keep("unchanged", lambda path=path: carry(path))
            later_counts = keep("restated", lambda later=later: carry(later))
            if min(again.unchanged, later_counts.unchanged) < foyers * 0.95:
                raise SystemExit("unchanged records were applied again")
    least = best["floor"][0]
    return _common.told(
        "ingest",
        {
            "durable_all_new": (least / max(best["new"][:2]), 0.35, True),
            "unchanged": (least / best["unchanged"][0], 1.0, True),
            "restated": (least / best["restated"][0], None, True),
        },
        {"foyers": foyers, "persons": counts.persons}
        | {f"{name}_us_per_foyer": own / foyers * 1e6 for name, (own, _, _) in best.items()}
        | {"read_ahead_us_per_foyer": best["new"][1] / foyers * 1e6}
        | {f"{name}_wall_foyers_s": foyers / wall for name, (_, _, wall) in best.items()},
    )


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--foyers", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=3)


if __name__ == "__main__":
    _common.main(__doc__, measure, options)
