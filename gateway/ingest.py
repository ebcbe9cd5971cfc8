"""A partner's file into the record: streamed, in batches, resumable, counted record by record.

A file is known by its sender's own key and by its bytes. The same file again changes nothing; the same key with other
bytes is refused. Progress is committed with each batch: after a crash the next run continues after the last committed
record. A file that says of itself something untrue (footer) is held whole until a human decides.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from connectors.contract import Envelope, Lasting, Reading, Sketch, Sketched
from gateway import clock, dry_run, journal, tasks
from gateway.ahead import Ahead, ahead
from gateway.exchange import exchange
from gateway.identity import Keys
from gateway.problems import Conflict
from gateway.receipt import Receipt, Request, row_of
from gateway.registry import Gateway
from gateway.storage.tables.record import batch
from gateway.storage.tables.record import exchange as exchange_table
from gateway.unit_of_work import UnitOfWork
from schemas.record import Record

BATCH = 500
"""Records committed together: large enough to spare the disk (a fifth faster than 200), small enough to redo quickly
after a crash and to hold in memory (four megabytes of households)."""
BATCH_IN_TURN = 200
"""The same where writers take turns (`gateway/turns.py`): about six locks a household, and a PostgreSQL server as it is
installed has room for 6,400 of all its clients."""

STATUSES = ("accepted", "unchanged", "quarantined", "rejected")


@dataclass(slots=True)
class Counts:
    """What became of a file. Each record is counted once among the four statuses."""

    document: str
    records: int = 0
    persons: int = 0
    accepted: int = 0
    unchanged: int = 0
    quarantined: int = 0
    rejected: int = 0
    seconds: float = 0.0
    held: str | None = None
    notices: dict[str, int] = field(default_factory=dict)
    """Quirks of the file by code: reported, nothing to do."""
    changes: dict[str, int] = field(default_factory=dict)
    """What changed (or would, in a dry run), by kind of change: keys of `gateway.dry_run`."""
    absent: int = 0
    """Open households that a full file should have told and did not: one task each, nothing else."""

    def line(self) -> dict[str, Any]:
        """The JSON object printed last."""
        told = {name: getattr(self, name) for name in ("document", "records", "persons", *STATUSES)}
        told["seconds"] = round(self.seconds, 3)
        if self.held:
            told["held"] = self.held
        if self.absent:
            told["absent"] = self.absent
        if self.notices:
            told["notices"] = self.notices
        return told


@dataclass(frozen=True, slots=True)
class _Lot:
    """Records committed together: those read, with their ranks, and those already known as they are."""

    ranks: list[int]
    read: list[Record]
    keys: list[list[Keys]]
    """What identifies the persons of each record, where another process computed it."""
    unchanged: list[tuple[bytes, int]]
    """Index of each, and how many persons it held."""

    @property
    def size(self) -> int:
        return len(self.read) + len(self.unchanged)


Progress = Callable[[int, int | None], None]
"""Called with records done and records declared, after each batch."""


def ingest(
    gateway: Gateway,
    path: Path,
    sender: str,
    document: str,
    *,
    dry_run: bool = False,
    publish_held: bool = False,
    on_reject: Callable[[int, Record], None] | None = None,
    on_start: Callable[[int], None] | None = None,
    progress: Progress | None = None,
    announced: Callable[[Envelope], None] | None = None,
) -> Counts:
    """Read a file into the record. `announced` holds what the file says of itself against what its carrier said, and
    raises `DocumentRefused` when they differ. `publish_held`: a human decided to take a held file as it is. `on_start`
    is called before any record, with how many an earlier run committed: `on_reject` will not be called for those.

    Raises `DocumentRefused` when the file as a whole is refused (nothing written), `Conflict` (`same-key-other-bytes`)
    when its sender already sent another file under the same key.
    """
    started = time.perf_counter()
    counts = Counts(document)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").digest()
        stream.seek(0)
        reading = gateway.connector(sender).read(document, stream)
        if announced:
            announced(reading.envelope)
        for finding in reading.envelope.findings:
            counts.notices[finding.code] = counts.notices.get(finding.code, 0) + 1
        run = _Run(gateway, sender, document, reading, digest, counts, on_reject, on_start, progress)
        if dry_run:
            run.rehearse(publish_held)
        else:
            run.carry_out(publish_held)
    counts.seconds = time.perf_counter() - started
    return counts


@dataclass(slots=True)
class _Run:
    """One file being read."""

    gateway: Gateway
    sender: str
    document: str
    reading: Reading
    digest: bytes
    counts: Counts
    on_reject: Callable[[int, Record], None] | None
    on_start: Callable[[int], None] | None
    progress: Progress | None

    @property
    def envelope(self) -> Envelope:
        return self.reading.envelope

    @property
    def _emitted_at(self) -> str | None:
        return clock.instant(self.envelope.emitted_at) if self.envelope.emitted_at else None

    def carry_out(self, publish_held: bool) -> None:
        known = self._known()
        held = self.envelope.held if known is None else self._why_held(known)
        if publish_held and held:
            known, held = (self._release(known.id) if known is not None else None), None
        ended = known is not None and known.state != "running"
        done = known.done if known is not None else 0
        if self.on_start:
            self.on_start(json.loads(known.counts)["records"] if ended else done)
        if ended:
            self._replay(known)
            return
        if known is None:
            request = self._request(clock.new_id())
            self._start(request, held)
        else:
            request = self._request(known.id)
            for name, value in json.loads(known.counts).items():
                setattr(self.counts, name, value)
        self.counts.held = held
        if held:
            self._hold(request, held)
            return
        for lot in self._lots(done):
            with self.gateway.unit_of_work() as work:
                self._take(work, request, lot)
                done += lot.size
                self._advance(work, request.id, done)
            if self.progress:
                self.progress(done, self.envelope.declared)
        if isinstance(self.reading, Lasting):
            self.reading.keep()
        self._end(request)

    def rehearse(self, publish_held: bool) -> None:
        """Do everything but commit: the counts and the changes are those of a real run."""
        known = self._known()  # another file under the same key is refused here as it would be
        published = publish_held or (known is not None and not self._why_held(known))
        self.counts.held = None if published else self.envelope.held
        if self.on_start:
            self.on_start(0)
        if self.counts.held:
            self._count_as_waiting()
            return
        request = self._request(clock.new_id())
        done = 0
        for lot in self._lots(0):
            with self.gateway.unit_of_work() as work:
                work.abandon()
                self._take(work, request, lot)
            done += lot.size
            if self.progress:
                self.progress(done, self.envelope.declared)

    def _why_held(self, known: Any) -> str | None:
        """Why a file that was begun waits for a human, if it does: before a crash, one may have taken it as it is. A
        version that wrote the reason only once it had held the file left none: the journal then says whether it was
        taken, as any record that was committed does."""
        if known.held or known.state != "running" or known.done or not self.envelope.held:
            return str(known.held) if known.held else None
        with self.gateway.reading() as work:
            entries = journal.of_exchange(work.connection, known.id)
        return None if any(one.fields["event"] == "input.release" for one in entries) else self.envelope.held

    def _request(self, exchange_id: str) -> Request:
        with self.gateway.unit_of_work() as work:
            return self.gateway.request(work, self.sender, self.document, exchange_id)

    def _known(self) -> Any:
        with self.gateway.engine.connect().execution_options(read_only=True) as connection:
            row = connection.execute(
                select(batch).where(
                    batch.c.sender == self.sender,
                    batch.c.document == self.document,
                    batch.c.envelope_h == self._envelope_h(),
                )
            ).first()
        if row is not None and row.file_digest != self.digest:
            raise Conflict(
                "same-key-other-bytes",
                "The sender already sent another file under this key; ask which one is right before sending again.",
            )
        return row

    def _envelope_h(self) -> bytes:
        return self.gateway.keys.blind("envelope", self.envelope.key or self.digest.hex())

    def _start(self, request: Request, held: str | None) -> None:
        with self.gateway.unit_of_work() as work:
            row = row_of(request, work.now)
            work.add(exchange_table, **row, request_h=self.gateway.keys.blind("body", self.digest.hex()))
            work.add(
                batch,
                id=request.id,
                sender=self.sender,
                document=self.document,
                envelope_h=self._envelope_h(),
                file_digest=self.digest,
                kind=self.envelope.kind,
                emitted_at=self._emitted_at,
                state="running",
                held=held,
                started_at=work.now,
            )
            if self.envelope.held and not held:
                self._released(work, request.id)

    def _lots(self, done: int) -> Iterator[_Lot]:
        """What follows the records already committed, a batch at a time; what is known as it is, is not read."""
        size = BATCH_IN_TURN if self.gateway.engine.dialect.name == "postgresql" else BATCH
        if not isinstance(self.reading, Sketched):
            records = islice(iter(self.reading), done, None)
            while read := list(islice(records, size)):
                yield _Lot(list(range(done + 1, done + 1 + len(read))), read, [], [])
                done += len(read)
            return
        sketches = self.reading.skip(done).sketches()
        compared = (self._compared(lot) for lot in iter(lambda: list(islice(sketches, size)), []))
        with ahead(self.reading, self.gateway.keys) as other:
            if other is None:
                for new, same in compared:
                    yield _Lot([one.position + 1 for one in new], list(self.reading.records(new)), [], same)
            else:
                yield from self._read_ahead(other, compared)

    def _read_ahead(
        self, other: Ahead, compared: Iterator[tuple[list[Sketch], list[tuple[bytes, int]]]]
    ) -> Iterator[_Lot]:
        """The same lots, the next one being read by another process while this one is written."""
        asked: deque[tuple[list[Sketch], list[tuple[bytes, int]], Future[Any] | None]] = deque()
        for new, same in chain(compared, [([], [])]):
            asked.append((new, same, other.ask(new)))
            if len(asked) > 1:
                new, same, future = asked.popleft()
                found = other.records(new, future)
                ranks = [one.position + 1 for one in new]
                yield _Lot(ranks, [record for record, _ in found], [keys for _, keys in found], same)

    def _compared(self, sketches: list[Sketch]) -> tuple[list[Sketch], list[tuple[bytes, int]]]:
        """Those that must be read, and those known as they are: index of each, and how many persons it held."""
        dossiers = self.gateway.dossiers
        indexes = [dossiers.record_index(self.sender, self.document, one.key) for one in sketches]
        with self.gateway.engine.connect().execution_options(read_only=True) as connection:
            known = dossiers.digests(connection, indexes)
        same, other = [], []
        for index, sketch in zip(indexes, sketches, strict=True):
            seen = known.get(index)
            if seen and sketch.digest and seen.digest == sketch.digest:
                same.append((index, seen.persons))
            else:
                other.append(sketch)
        return other, same

    def _take(self, work: UnitOfWork, request: Request, lot: _Lot) -> None:
        receipts = (
            exchange(work, self.gateway, request, lot.read, ranks=lot.ranks, known_keys=lot.keys) if lot.read else []
        )
        emitted = min(self._emitted_at or work.now, work.now)
        for index, persons in lot.unchanged:
            self.gateway.dossiers.restated(work, index, emitted)
            self.counts.records += 1
            self.counts.persons += persons
            self.counts.unchanged += 1
        for rank, record, receipt in zip(lot.ranks, lot.read, receipts, strict=True):
            self._count(rank, record, receipt)

    def _count(self, rank: int, record: Record, receipt: Receipt) -> None:
        self.counts.records += 1
        self.counts.persons += len(record.personnes)
        setattr(self.counts, receipt.status, getattr(self.counts, receipt.status) + 1)
        for finding in record.findings:
            if finding.severity == "notice":
                self.counts.notices[finding.code] = self.counts.notices.get(finding.code, 0) + 1
        if receipt.status in ("rejected", "quarantined") and self.on_reject:
            self.on_reject(rank, record)
        dry_run.add(self.counts.changes, receipt)

    def _advance(self, work: UnitOfWork, exchange_id: str, done: int) -> None:
        told = {name: getattr(self.counts, name) for name in ("records", "persons", *STATUSES, "notices")}
        work.connection.execute(
            update(batch).where(batch.c.id == exchange_id).values(done=done, counts=json.dumps(told))
        )

    def _release(self, batch_id: str) -> Any:
        """A human takes the held file as it is: it starts again from its first record, and the journal says so."""
        with self.gateway.unit_of_work() as work:
            work.connection.execute(
                update(batch)
                .where(batch.c.id == batch_id)
                .values(state="running", held=None, done=0, counts="{}", ended_at=None)
            )
            self._released(work, batch_id)
        return self._known()

    def _released(self, work: UnitOfWork, batch_id: str) -> None:
        """That a human took the file as it is, in the journal."""
        journal.append(work, "input.release", exchange_id=batch_id, sender_org=self.sender, outcome="released")

    def _hold(self, request: Request, held: str) -> None:
        """Nothing is published: every record is counted as waiting for a human, and the reason is written down."""
        self._count_as_waiting()
        with self.gateway.unit_of_work() as work:
            self._advance(work, request.id, 0)
            self._close(work, request, "held", held=held)

    def _count_as_waiting(self) -> None:
        why = [finding for finding in self.envelope.findings if finding.code == self.counts.held]
        for rank, record in enumerate(self.reading, 1):
            self.counts.records += 1
            self.counts.persons += len(record.personnes)
            self.counts.quarantined += 1
            if self.on_reject:
                record.findings.extend(why)
                self.on_reject(rank, record)

    def _end(self, request: Request) -> None:
        with self.gateway.unit_of_work() as work:
            if self.envelope.kind == "stock" and self._emitted_at:
                began = work.connection.execute(select(batch.c.started_at).where(batch.c.id == request.id)).scalar_one()
                self.counts.absent = tasks.after_stock(work, self.gateway, request, self._emitted_at, began)
            self._advance(work, request.id, self.counts.records)
            self._close(work, request, "done")

    def _close(self, work: UnitOfWork, request: Request, state: str, held: str | None = None) -> None:
        work.connection.execute(
            update(batch).where(batch.c.id == request.id).values(state=state, held=held, ended_at=work.now)
        )
        work.connection.execute(
            update(exchange_table).where(exchange_table.c.id == request.id).values(records=self.counts.records)
        )
        journal.append(
            work,
            "exchange.request",
            exchange_id=request.id,
            sender_org=self.sender,
            n_records=self.counts.records,
            outcome=state,
            reason_code=held,
        )

    def _replay(self, known: Any) -> None:
        """The same file again: what was applied is unchanged, what waits still waits."""
        told = json.loads(known.counts)
        self.counts.held = known.held
        for name in ("records", "persons", "quarantined", "rejected"):
            setattr(self.counts, name, told[name])
        self.counts.unchanged = told["accepted"] + told["unchanged"]
        self.counts.notices = told.get(
            "notices", self.counts.notices
        )  # a release that kept none of them may have read it
