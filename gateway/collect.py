"""Files that a carrier keeps for us (HubEE): taken whole, read into the record, then answered.

Nothing is doubled and nothing is lost when this stops at any instant: the carrier's notification goes last, the
register beside the files knows what was taken, `ingest` knows what was read, and the same function goes on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import structlog
from sqlalchemy import select

from connectors.contract import DocumentRefused
from connectors.hubee.client import Stopped
from connectors.hubee.connector import Hubee
from connectors.hubee.demarches import WORDS
from connectors.hubee.reception import Arrival, Notice, Reception
from connectors.hubee.registre import AlreadyCollecting, Piece
from gateway import journal
from gateway.ingest import ingest
from gateway.problems import CallerProblem, Conflict, Misconfigured, Problem, where
from gateway.registry import Gateway
from gateway.storage import unreachable
from gateway.storage.tables.record import batch

log = structlog.get_logger(__name__)

Step = Callable[[str], None]
FileStatus = Literal["read", "refused", "held", "kept", "retry"]


@dataclass(frozen=True, slots=True)
class CollectedFile:
    """What became of one file of a case. `kept` files stay on this disk for the body itself: see the connector."""

    type: str
    status: FileStatus
    document: str = ""
    sender: str = ""
    code: str = ""
    verified: bool = True
    """False: the carrier gave no digest to compare with."""
    detail: str = ""
    path: str = ""
    """Why it was refused, in our words, and the place in the file; empty when it was refused before a crash."""
    counts: dict[str, Any] | None = None
    """What `ingest` counted; None when it had been read before a crash."""

    def line(self) -> dict[str, Any]:
        told: dict[str, Any] = {"type": self.type, "status": self.status}
        named = ("document", "sender", "code", "detail", "path")
        told |= {"detail": WORDS[self.code]} if self.code in WORDS else {}
        told |= {name: value for name in named if (value := getattr(self, name))}
        told |= {"counts": self.counts} if self.counts else {}
        return told | ({} if self.verified else {"digest": "unverified-at-source"})


@dataclass(frozen=True, slots=True)
class Collected:
    """What became of one notification of the carrier.

    `done`, `refused`, `error`: the sender was told so. `held`: a human decides here first. `duplicate`: already
    settled. `message`: the sender wrote. `left`: not for us, untouched. `waiting`, `retry`: at the next collection.
    `stopped`: the carrier refuses this access.
    """

    demarche: str
    case: str
    status: Literal["done", "refused", "error", "held", "left", "waiting", "retry", "stopped", "message", "duplicate"]
    code: str = ""
    files: tuple[CollectedFile, ...] = ()
    retry_after: float | None = None
    message: str = field(default="", repr=False)
    """What the sender wrote, for whoever asked for this collection; never logged nor stored here."""

    def line(self) -> dict[str, Any]:
        """The JSON object printed for it: no free text."""
        told: dict[str, Any] = {"demarche": self.demarche, "case": self.case, "status": self.status}
        told |= {name: value for name in ("code", "retry_after") if (value := getattr(self, name))}
        told |= {"detail": WORDS[self.code]} if self.code in WORDS else {}
        return told | ({"files": [one.line() for one in self.files]} if self.files else {})


async def collect(gateway: Gateway, body: str = "hubee", *, step: Step = lambda name: None) -> list[Collected]:
    """Take what waits at the carrier, read it, answer. One `Collected` per notification, in the order they came.

    Raises `Misconfigured` without access, `Conflict` (`already-collecting`) while another process collects here.
    """
    hubee = cast(Hubee, gateway.connector(body))
    with hubee.open_registre(gateway.settings.home / "hubee") as registre:
        try:
            reception = hubee.reception(gateway.transport(body), registre, step)
            with registre.alone():
                registre.sweep()
                found = [await _one(gateway, reception, one, step) async for one in reception.arrivals()]
                registre.sweep()
        except AlreadyCollecting:
            raise Conflict("already-collecting", "Another collection runs in this folder; let it finish.") from None
        except Stopped as stopped:
            raise Misconfigured("carrier-not-configured", f"Complete the settings of {body}: {stopped.code}.") from None
    for one in found:
        log.info("collected", demarche=one.demarche, case=one.case, status=one.status, code=one.code)
    return found


async def _one(gateway: Gateway, reception: Reception, found: Arrival | Notice, step: Step) -> Collected:
    if isinstance(found, Notice):
        status: Any = "stopped" if found.status == "refused" else found.status
        return Collected(
            found.demarche, found.case, status, found.code, retry_after=found.retry_after, message=found.message
        )
    files = [await _read(gateway, reception, found, piece, step) for piece in found.to_read]
    files += [_kept(found, piece) for piece in found.pieces if piece not in found.to_read]
    codes = {one.type: one.code for one in files if one.status == "refused"}
    told = Collected(found.demarche.code, found.case, "retry", files=tuple(files))
    if later := next((one.code for one in files if one.status == "retry"), ""):
        return replace(told, status="retry", code=later)
    issue, message = found.outcome(codes, held=any(one.status == "held" for one in files))
    try:
        await reception.settle(found, issue, message)
    except Stopped as stopped:
        return replace(told, status="retry", code=stopped.code, retry_after=stopped.retry_after)
    reason = next((one.code for one in files if one.status in ("refused", "held")), "")
    return replace(told, status=issue, code=reason or next((code for _, code in found.missing), ""))


def _kept(arrival: Arrival, piece: Piece) -> CollectedFile:
    """A file nobody reads here, kept whole. A type that is not of the démarche is not repeated: it is free text."""
    known = piece.type in arrival.demarche.kept
    code = arrival.demarche.kept[piece.type] if known else "type-unknown"
    return CollectedFile(piece.type if known else "", "kept", code=code, verified=piece.verified)


async def _read(gateway: Gateway, reception: Reception, arrival: Arrival, piece: Piece, step: Step) -> CollectedFile:
    """Read one file into the record, or say why not. What was settled before a crash is not done again."""
    document, sender = arrival.demarche.read[piece.type], _sender(gateway, arrival.demarche.sender)

    def became(status: FileStatus, code: str = "", counts: dict[str, Any] | None = None) -> CollectedFile:
        return CollectedFile(piece.type, status, document, sender, code, piece.verified, counts=counts)

    if piece.settled:
        return became("refused", piece.refusal) if piece.refusal else became("read")
    try:
        gateway.document(sender, document)
    except Problem as problem:
        return became("retry", problem.code)
    if reason := await asyncio.to_thread(_held, gateway, sender, document, piece):
        return became("held", reason)
    try:
        path = reception.registre.path(piece)
        counts = await asyncio.to_thread(ingest, gateway, path, sender, document, announced=arrival.demarche.check)
    except (DocumentRefused, CallerProblem) as refused:
        await asyncio.to_thread(_journal_refusal, gateway, sender, refused.code)
        step("refused")
        reception.mark(piece, refused.code)
        return replace(became("refused", refused.code), detail=refused.detail, path=refused.path or "")
    except Problem as problem:
        return became("retry", problem.code)
    except Exception as error:  # one file nobody can read must not keep the others from being read
        if unreachable(error):
            return became("retry", "database-unavailable")
        log.error("collect.failed", case=arrival.case, error=type(error).__name__, where=where(error))
        return became("retry", "unexpected-error")
    if counts.held:
        return became("held", counts.held, counts.line())
    step("ingested")
    reception.mark(piece)
    return became("read", counts=counts.line())


def _sender(gateway: Gateway, network: str) -> str:
    """The MSA speaks in its own name where it is registered as a body, else through the caisses' connector."""
    return network if network in gateway.bodies else "caf"


def _held(gateway: Gateway, sender: str, document: str, piece: Piece) -> str | None:
    """Why this very file waits for a human, so that it is not read again at every collection."""
    with gateway.engine.connect().execution_options(read_only=True) as connection:
        return connection.execute(
            select(batch.c.held).where(
                batch.c.sender == sender,
                batch.c.document == document,
                batch.c.file_digest == bytes.fromhex(piece.digest),
                batch.c.state == "held",
            )
        ).scalar()


def _journal_refusal(gateway: Gateway, sender: str, code: str) -> None:
    with gateway.unit_of_work() as work:
        journal.refused(work, code, sender_org=sender)
