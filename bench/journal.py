"""The journal beside its floors, in one run: writing, verifying and proving. A history: `history.py`.

    python bench/journal.py [--entries N] [--rounds K] [--full] [--json]

| what | floor | target |
|---|---|---|
| append | SHA-256 leaf and RFC 6962 frontier over the same bytes | ≤ 5 µs of CPU per entry beyond its insert, batched |
| sequencer | the same | ≤ 5 µs: its index, its leaf, the frontier, beyond its insert |
| verify | one leaf hash and one node hash per entry, nothing read or compared | 1 M entries in ≤ 10 s |
| proof | | ≤ 10 ms of CPU, p99 |

The insert is the time inside the driver, counted in the same run; what the journal adds is the rest: the bytes of the
entry (`encode_us`), then what the sequencer does under the lock of the log (`sequencer_us`).
"""

from __future__ import annotations

import argparse
import gc
import random
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import _common
from sqlalchemy import Engine, event

from gateway import clock, journal, journal_files, merkle, verify
from gateway.keys import Keyring
from gateway.settings import Settings
from gateway.storage import open_engine
from gateway.storage.tables import metadata
from gateway.unit_of_work import UnitOfWork

BATCH = 1_000
TARGETS = {"append_us": 5.0, "sequencer_us": 5.0, "verify_1m_s": 10.0, "proof_ms": 10.0}


def fields(number: int) -> dict[str, Any]:
    digest = sha256(b"%d" % number).hexdigest()
    return {
        "exchange_id": clock.new_id(),
        "sender_org": "caf",
        "recipient_org": "france_travail",
        "client_id": "caf-040",
        "subject": digest[:40],
        "purpose": "orientation",
        "regime": "SIFT",
        "article": "CT L5411-5-1; R5312-38-1 II 2°",
        "basis": "c",
        "notice_ref": "sift:3",
        "categories_sent": ("C1", "C2"),
        "categories_redacted": ("C13",),
        "decision": "permit",
        "rule_ids": ("A01", "D09"),
        "policy_h": "b" * 64,
        "payload_h": digest,
        "outcome": "queued",
    }


def cpu(work: Callable[[], object]) -> float:
    gc.collect()
    start = time.process_time()
    work()
    return time.process_time() - start


class _Driver:
    """CPU seconds that this engine's driver spends on the statements it is given."""

    def __init__(self, engine: Engine) -> None:
        self.spent = 0.0
        event.listen(engine, "before_cursor_execute", self._before)
        event.listen(engine, "after_cursor_execute", self._after)

    def _before(self, *_: Any) -> None:
        self._start = time.process_time()

    def _after(self, *_: Any) -> None:
        self.spent += time.process_time() - self._start


def measure_append(engine: Engine, rounds: int) -> dict[str, float]:
    """CPU µs per entry beyond the database's own work: writing its bytes, then the sequencer; beside the hashing floor.

    What the driver spends (the insert) is counted while it runs and taken off."""
    best = {"encode": 1e9, "sequence": 1e9, "insert": 1e9, "floor": 1e9}
    driver = _Driver(engine)
    for turn in range(rounds + 1):
        told = [fields(turn * BATCH + number) for number in range(BATCH)]
        marks: list[tuple[float, float]] = []

        def mark(_: object, marks: list[tuple[float, float]] = marks) -> None:
            marks.append((time.process_time(), driver.spent))

        with UnitOfWork(engine) as work:
            gc.collect()
            mark(work)
            entries = [journal.append(work, "exchange.deliver", **one) for one in told]
            mark(work)
            work.before_commit(mark)  # the sequencer registered itself at the first entry, just before
        (begun, _), (encoded, before), (sequenced, after) = marks
        contents = [entry.content for entry in entries]

        def hash_only(contents: list[bytes] = contents) -> None:
            merkle.grow([], 0, [sha256(b"\x00" + content).digest() for content in contents])

        if turn:  # the first round fills the caches
            found = {"encode": encoded - begun, "sequence": sequenced - encoded - (after - before),
                     "insert": after - before, "floor": cpu(hash_only)}  # fmt: skip
            best = {name: min(best[name], found[name]) for name in best}
    micro = {name: seconds / BATCH * 1e6 for name, seconds in best.items()}
    return {
        "append_us": micro["encode"] + micro["sequence"],
        "encode_us": micro["encode"],
        "sequencer_us": micro["sequence"],
        "append_floor_us": micro["floor"],
        "insert_us": micro["insert"],
        "entry_bytes": sum(map(len, contents)) / BATCH,
    }


def publish(count: int, folder: Path) -> float:
    """A published log of this many entries in `home/journal`; gives wall seconds per 1,000 entries of `publish`."""
    engine = open_engine(f"sqlite:///{folder / 'journal.db'}")
    metadata.create_all(engine)
    for first in range(0, count, 20_000):
        with UnitOfWork(engine) as work:
            for number in range(first, min(count, first + 20_000)):
                journal.append(work, "exchange.deliver", **fields(number))
    start = time.perf_counter()
    journal_files.publish(engine, Keyring(folder / "keys"), Settings(home=folder))
    spent = time.perf_counter() - start
    engine.dispose()
    return spent / count * 1000


def verify_floor(folder: Path) -> float:
    entries = [entry for _, entry in verify.entries(folder)]

    def hash_only() -> None:
        row = [sha256(b"\x00" + entry).digest() for entry in entries]
        for left, right in zip(row, row, strict=True):
            sha256(b"\x01" + left + right).digest()

    return cpu(hash_only)


def measure_reading(count: int, rounds: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        published = publish(count, home)
        folder = home / "journal"
        spent = min(cpu(lambda: _accepted(folder)) for _ in range(rounds))
        floor = min(verify_floor(folder) for _ in range(rounds))
        read = journal_files.tile_reader(folder)
        latencies = []
        for index in (random.randrange(count) for _ in range(300)):
            start = time.thread_time()
            merkle.inclusion_proof(read, count, index)
            latencies.append((time.thread_time() - start) * 1000)
        return {
            "entries": count,
            "publish_ms_per_1000": published * 1000,
            "verify_1m_s": spent / count * 1e6,
            "verify_floor_1m_s": floor / count * 1e6,
            "proof_ms": sorted(latencies)[int(len(latencies) * 0.99)],
        }


def _accepted(folder: Path) -> None:
    report = verify.verify(folder)
    if not report.ok:
        raise SystemExit(f"the journal does not verify: {report}")


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    entries = 1_000_000 if asked.full else asked.entries
    with tempfile.TemporaryDirectory() as name:
        engine = open_engine(asked.database or f"sqlite:///{name}/bench.db")
        metadata.create_all(engine)
        found = measure_append(engine, asked.rounds)
        engine.dispose()
    found |= measure_reading(entries, asked.rounds)
    ratios: dict[str, tuple[float, float | None, bool]] = {
        name: (found.pop(name), target, False) for name, target in TARGETS.items()
    }
    ratios["append_to_floor"] = (ratios["append_us"][0] / found["append_floor_us"], None, False)
    ratios["verify_to_floor"] = (ratios["verify_1m_s"][0] / found["verify_floor_1m_s"], None, False)
    return _common.told("journal", ratios, found)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--entries", type=int, default=50_000, help="size of the journal that is verified")
    parser.add_argument("--database", default="", help="URL of an empty database for the writing side")
    parser.add_argument("--rounds", type=int, default=3)


if __name__ == "__main__":
    _common.main(__doc__, measure, options)
