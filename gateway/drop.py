"""Files that a body drops in a folder (`connectors/drop.py` says how): each read into the record, then put away.

A crash at any instant leaves the file in `en-cours/`: the next run takes it up, and `ingest` goes on after the last
committed record or finds that all was done. What the gateway itself cannot do yet leaves the file there too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import structlog

from connectors.contract import DocumentRefused
from connectors.drop import AlreadyTaking, NotOurs, alone, left, put_away, waiting
from gateway import journal
from gateway.ingest import ingest
from gateway.problems import CallerProblem, Conflict, Misconfigured, Problem, where
from gateway.registry import Gateway
from gateway.rejects import Rejects
from gateway.storage import unreachable

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Dropped:
    """What became of one file: `read`, `refused` as a whole, `held` for a human, `retry` at the next run, or `left`
    where it is until somebody renames or removes it."""

    file: str
    status: Literal["read", "refused", "held", "retry", "left"]
    code: str = ""
    counts: dict[str, Any] | None = None
    reason: dict[str, str] = field(default_factory=dict)
    """Of a refusal: `detail` and `path`, our own words and the place in the file."""

    def line(self) -> dict[str, Any]:
        """The JSON object printed for it. The name is the operator's to see: partners write it."""
        told: dict[str, Any] = {"file": self.file, "status": self.status} | self.reason
        return told | ({"code": self.code} if self.code else {}) | ({"counts": self.counts} if self.counts else {})


def take(
    gateway: Gateway, folder: Path, sender: str, document: Callable[[Path], str], quiet: float = 10.0
) -> Iterator[Dropped]:
    """Read what waits in this folder, one `Dropped` per file, oldest first. `document` says which one a file is.

    Raises `Conflict` (`already-taking`) while another process takes files from it, `Misconfigured` (`folder-not-ours`)
    when somebody else put a folder in the place of one of those inside.
    """
    try:
        with alone(folder):
            for path in waiting(folder, quiet):
                yield _one(gateway, path, sender, document)
            for name, reason in left(folder):
                yield Dropped(name, "left", reason)
    except AlreadyTaking:
        raise Conflict("already-taking", "Another process takes files from this folder; let it finish.") from None
    except NotOurs as other:
        raise Misconfigured(
            "folder-not-ours", f"{other} is a link or another account's: remove it, and let only this account make it."
        ) from None


def _one(gateway: Gateway, path: Path, sender: str, document: Callable[[Path], str]) -> Dropped:
    rejects, kind = path.parent.parent / "rejets" / f"{path.name}.jsonl", document(path)
    try:
        with Rejects(rejects) as told:
            counts = ingest(gateway, path, sender, kind, on_reject=told.tell, on_start=told.start)
        there = put_away(path, "attente" if counts.held else "archive")
        rejects.rename(rejects.with_name(f"{there.name}.jsonl"))
        rejects = rejects.with_name(f"{there.name}.jsonl")
    except (DocumentRefused, CallerProblem) as refused:
        return _refused(gateway, path, sender, refused)
    except Problem as problem:
        return Dropped(path.name, "retry", problem.code)
    except Exception as error:  # one file nobody can read must not keep the others from being read
        if unreachable(error):
            return Dropped(path.name, "retry", "database-unavailable")
        log.error("drop.failed", error=type(error).__name__, where=where(error))
        return Dropped(path.name, "retry", "unexpected-error")
    finally:
        if rejects.stat().st_size == 0:
            rejects.unlink()
    return Dropped(path.name, "held" if counts.held else "read", counts.held or "", counts.line())


def _refused(gateway: Gateway, path: Path, sender: str, refused: DocumentRefused | CallerProblem) -> Dropped:
    """The file goes to `rejets/` beside its reason: a code, a sentence, a place, never a value of the file."""
    code, told = refused.code, {"detail": refused.detail, "path": refused.path or ""}
    reason = {name: value for name, value in told.items() if value}
    with gateway.unit_of_work() as work:
        journal.refused(work, code, sender_org=sender)
    there = put_away(path, "rejets")
    there.with_name(f"{there.name}.motif.json").write_text(json.dumps({"code": code} | reason) + "\n", encoding="utf-8")
    return Dropped(path.name, "refused", code, reason=reason)
