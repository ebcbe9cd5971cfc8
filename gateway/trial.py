"""A file that an operator tries before anything is written: what it would change is told, then she decides.

    HOME/essais/<id>/document     the bytes, readable by this account of the machine alone
    HOME/essais/<id>/etat.json    state, progress and counts; never a value of the file

A trial and an application each run in a thread of the server. After a crash the state stays `running` without moving:
it is run again, and an application goes on after its last committed record. One that something else cut short (the
database, a journal no longer sealed) is to be decided again, and goes on likewise. What nobody decided is thrown away
after a week.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, BinaryIO, Literal

import structlog

from connectors.contract import DocumentRefused
from connectors.manifest import installed
from gateway import clock
from gateway.ingest import Counts, ingest
from gateway.problems import Conflict, Problem, Unknown, where
from gateway.registry import Gateway

State = Literal["trying", "tried", "refused", "applying", "applied"]
MOVING: tuple[State, ...] = ("trying", "applying")
KEPT = timedelta(days=7)
STILL = 60.0
"""Seconds without progress after which a trial that should move is taken for one that a crash stopped."""
log = structlog.get_logger(__name__)
_ID = re.compile(r"[0-9a-f-]{36}")


@dataclass(frozen=True, slots=True)
class Trial:
    """One file that waits for a decision, or what became of it."""

    id: str
    sender: str
    document: str
    size: int
    at: str
    state: State = "trying"
    code: str = ""
    """Why the file is refused as a whole; of one to be decided again, why its application stopped."""
    done: int = 0
    total: int | None = None
    held: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    changes: dict[str, int] = field(default_factory=dict)
    notices: dict[str, int] = field(default_factory=dict)
    moved_at: float = 0.0

    @property
    def stopped(self) -> bool:
        """Should it move, and does it not any more?"""
        return self.state in MOVING and time.time() - self.moved_at > STILL


class Trials:
    """The trials of one gateway's home."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._folder = gateway.settings.home / "essais"

    def receive(self, sender: str, document: str, source: BinaryIO) -> Trial:
        """Keep a file, and begin to try it."""
        self._forget()
        id = clock.new_id()
        place = self._folder / id
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        place.mkdir(mode=0o700)
        with os.fdopen(os.open(place / "document", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as kept:
            shutil.copyfileobj(source, kept)
            size = kept.tell()
        trial = Trial(id, sender, document, size, clock.instant())
        self._write(trial)
        self._start(trial)
        return trial

    def find(self, id: str) -> Trial:
        """Raises `Unknown` (`trial-unknown`)."""
        try:
            if not _ID.fullmatch(id):
                raise FileNotFoundError
            told = json.loads((self._folder / id / "etat.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise Unknown("trial-unknown", "List the files that wait.") from None
        return Trial(**told)

    def listed(self) -> list[Trial]:
        """Newest first."""
        names = sorted((path.name for path in self._folder.glob("*/") if _ID.fullmatch(path.name)), reverse=True)
        return [self.find(name) for name in names if (self._folder / name / "etat.json").is_file()]

    def ready(self, id: str, act: Literal["again", "apply", "discard"]) -> Trial:
        """A file of which this can be done now; so that it is asked before the decision is written down. Raises
        `Unknown`, `Conflict` (`trial-moving`, `trial-not-ready`)."""
        trial = self.find(id)
        if act == "apply" and trial.state != "tried":
            raise Conflict("trial-not-ready", "Only a file whose trial ended can be applied.")
        if act == "again" and not trial.stopped:
            raise Conflict("trial-moving", "It goes on by itself.")
        if act == "discard" and trial.state in MOVING and not trial.stopped:
            raise Conflict("trial-moving", "Wait until it ends.")
        return trial

    def again(self, id: str) -> None:
        """Run again what a crash stopped. Raises `Unknown`, `Conflict` (`trial-moving`)."""
        self._start(self.ready(id, "again"))

    def apply(self, id: str) -> Trial:
        """Take the file in as it is, since a human so decided. Raises `Unknown`, `Conflict` (`trial-not-ready`)."""
        trial = self.ready(id, "apply")
        self._start(replace(trial, state="applying", done=0, code=""))
        return trial

    def discard(self, id: str) -> Trial:
        """Throw the file away, and what was found of it. Raises `Unknown`, `Conflict` (`trial-moving`)."""
        trial = self.ready(id, "discard")
        shutil.rmtree(self._folder / id)
        return trial

    # --- at work ------------------------------------------------------------------------------------------------------

    def _start(self, trial: Trial) -> None:
        self._write(trial)
        threading.Thread(target=self._run, args=(trial,), name=f"essai-{trial.id[-6:]}", daemon=True).start()

    def _run(self, trial: Trial) -> None:
        applying, said = trial.state == "applying", [0.0]

        def progress(done: int, total: int | None) -> None:
            if time.monotonic() - said[0] > 1:
                said[0] = time.monotonic()
                self._write(replace(trial, done=done, total=total))

        try:
            counts = ingest(
                self._gateway, self._folder / trial.id / "document", trial.sender, trial.document,
                dry_run=not applying, publish_held=applying, progress=progress,
            )  # fmt: skip
        except (DocumentRefused, Problem) as refused:
            self._write(_cut_short(trial, refused.code))
        except Exception as error:
            log.error("trial.defect", kind=type(error).__name__, at=where(error))
            self._write(_cut_short(trial, "internal"))
        else:
            self._write(_ended(trial, counts))
            if applying:
                (self._folder / trial.id / "document").unlink()

    def _write(self, trial: Trial) -> None:
        """The state, replaced whole."""
        file = self._folder / trial.id / "etat.json"
        fresh = file.with_suffix(".part")
        fresh.write_text(json.dumps(asdict(replace(trial, moved_at=time.time()))), encoding="utf-8")
        fresh.replace(file)

    def _forget(self) -> None:
        for trial in self.listed():
            if clock.now() - datetime.fromisoformat(trial.at) > KEPT and (trial.state not in MOVING or trial.stopped):
                shutil.rmtree(self._folder / trial.id)


def _cut_short(trial: Trial, code: str) -> Trial:
    return replace(trial, state="tried" if trial.state == "applying" else "refused", code=code)


def _ended(trial: Trial, counts: Counts) -> Trial:
    told: Any = counts.line()
    numbers = {name: told[name] for name in ("records", "persons", "accepted", "unchanged", "quarantined", "rejected")}
    return replace(
        trial, state="applied" if trial.state == "applying" else "tried", done=counts.records, held=counts.held,
        counts=numbers, changes=counts.changes or trial.changes, notices=counts.notices,
    )  # fmt: skip


def senders(gateway: Gateway) -> Iterator[tuple[str, str]]:
    """(body, document) of every file of many persons that a registered body may send; a DPO's client sends none."""
    for id, body in sorted(gateway.bodies.items()):
        spoken = installed().get(body.connector)
        for document in spoken.manifest.document if spoken else ():
            if document.bulk and "read" in document.direction:
                yield id, document.id
