"""An exchange that arrives over HTTP, in a transaction that it may share with those that arrive at the same moment.

What all of them look up (proofs used before, idempotency keys, records, persons) is looked up for all at once, with few
queries; then each is carried out on its own.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from connectors.archive import check_archive
from connectors.contract import DocumentRefused, Lasting
from gateway import access, clock, exchange, journal, once
from gateway.access import Caller
from gateway.doors import refusal
from gateway.granted import opened
from gateway.journal import Entry
from gateway.journal_files import require_available
from gateway.once import Told
from gateway.problems import Invalid, Problem, TooLarge, Unreadable
from gateway.quarantine import with_bytes
from gateway.receipt import Receipt, Request, row_of
from gateway.registry import Gateway
from gateway.unit_of_work import UnitOfWork
from schemas.record import Finding, Record

MAX_RECORDS = 2_000
"""Records of one exchange: they are one transaction. More go through `maillon ingest`, in batches."""
MAX_UNPACKED = 32 * 1024 * 1024
_TOLD = 50
"""Findings told in one refusal."""


_HELD = "Nothing of it is applied. Send a right one, or have an operator take it as it is from its file."
"""Of a document that contradicts itself as a whole: only `maillon ingest` shows it to a human who may decide."""

MANY = 100
"""Records, of about a millisecond each."""


class Found(NamedTuple):
    """A document that was read."""

    records: list[Record]
    keep: Callable[[], None] | None
    """Replaces what its connector keeps, when it is one that lasts: for whoever may send it, once."""
    findings: tuple[Finding, ...] = ()
    """Of the document as a whole: a column or a sheet that nobody reads."""


class _Sent(NamedTuple):
    """What one arrival asks of the main path."""

    request: Request
    records: list[Record]
    keep: Callable[[], None] | None
    findings: tuple[Finding, ...]


@dataclass(slots=True, eq=False)
class Arrival:
    """One document of a caller's own format, under its idempotency key."""

    gateway: Gateway
    caller: Caller
    document: str
    media: str
    key: str
    body: bytes = field(repr=False)
    delivery: str = ""
    """The sender's own id of this delivery, if it gave one."""
    ahead: Found | Problem | None = field(default=None, repr=False)
    """What `read` found, when it was done before the writer's turn."""

    @property
    def long(self) -> bool:
        """Does it take the writer long enough for others to go first?"""
        return isinstance(self.ahead, Found) and len(self.ahead.records) > MANY

    def __call__(self, work: UnitOfWork) -> tuple[int, Callable[[], str]] | Problem:
        """Carry it out: the status and what renders the answer once everything is committed, or the refusal.

        Raises `Unauthenticated("proof-replayed")`, `Unavailable("audit-unavailable")`.
        """
        if self not in work.scratch.get("arrivals", {}):
            self.foresee(work, [self])
        work.next_act()
        access.burn(work, self.caller)
        require_available(work, self.gateway.settings)
        said = f"{self.document}\x00".encode() + self.body
        return once.once(work, self.gateway, self.caller, self.key, said, lambda: self._carry(work))

    @staticmethod
    def foresee(work: UnitOfWork, arrivals: Sequence[Arrival]) -> None:
        """Look up together what these arrivals will look up, and read the documents of those that are new."""
        found: dict[Arrival, _Sent | Problem | None] = work.scratch.setdefault("arrivals", {})
        welcome = access.foresee(work, [one.caller for one in arrivals])
        indexes = [once.index_of(one.gateway, one.caller, one.key) for one in arrivals]
        earlier = once.foresee(work, indexes)
        for one, index, may in zip(arrivals, indexes, welcome, strict=True):
            found[one] = one._sent(work) if may and earlier[index] is None else None
        new = [(sent.request, sent.records) for one in arrivals if isinstance(sent := found[one], _Sent)]
        if new:
            exchange.foresee(work, arrivals[0].gateway, new)

    def read(self) -> Found | Problem:
        """What the document holds, or why it is refused as a whole."""
        try:
            if self.body.startswith(b"PK"):
                check_archive(io.BytesIO(self.body), max_unpacked=MAX_UNPACKED)
            records: list[Record] = []
            connector = self.gateway.connector(self.caller.body)
            reading = connector.read(self.document, io.BytesIO(self.body), content_type=self.media)
            for record in reading:
                records.append(record)
                if len(records) > MAX_RECORDS:
                    return TooLarge("too-many-records", f"At most {MAX_RECORDS} records; use `maillon ingest`.")
        except DocumentRefused as refused:
            return refusal(refused, self.media)
        if reading.envelope.held:
            return Invalid(reading.envelope.held, _HELD)
        if records and all(record.rejected for record in records):
            return _refused(records)
        keep = reading.keep if isinstance(reading, Lasting) else None
        return Found(with_bytes(records, self.body), keep, tuple(reading.envelope.findings))

    def _sent(self, work: UnitOfWork) -> _Sent | Problem:
        found = self.read() if self.ahead is None else self.ahead
        if isinstance(found, Problem):
            return found
        records = found.records
        if self.ahead is not None:  # what is found on the way is added to them: each attempt has its own
            records = [replace(record, findings=list(record.findings)) for record in records]
        flows = opened(self.caller, self.gateway.flows(work, self.caller.body, self.caller.purposes))
        request = Request(clock.new_id(), self.caller.body, self.document, flows, self.caller.client_id)
        return _Sent(request, records, found.keep, found.findings)

    def _carry(self, work: UnitOfWork) -> Told | Problem:
        sent: _Sent | Problem = work.scratch["arrivals"][self]
        if isinstance(sent, Problem):
            return sent
        request, records, keep, findings = sent
        moment = work.now
        # Whatever becomes of it, that it came is told; between two gateways, it is what their journals are compared by.
        received = journal.append(
            work, "exchange.request", exchange_id=request.id, sender_org=request.sender, client_id=request.client_id,
            n_records=len(records), outcome="received", **({"delivery_id": self.delivery} if self.delivery else {}),
        )  # fmt: skip
        receipts = exchange.exchange(work, self.gateway, request, records)
        if keep:
            keep()
        return Told(
            202,
            lambda: _told(request, moment, records, receipts, received) | {"findings": _findings(findings)},
            **row_of(request, moment, self.caller.purposes, records=len(records)),
        )


def _refused(records: list[Record]) -> Problem:
    """None of these records can be applied: why not."""
    errors = [
        {"record": rank, "code": one.code, "path": one.path}
        for rank, record in enumerate(records, 1)
        for one in record.findings
        if one.severity == "reject"
    ]
    codes = {str(one["code"]) for one in errors}
    if all(code.startswith("xml-") for code in codes):
        return Unreadable(min(codes), "No record can be read; nothing was kept.", errors=errors[:_TOLD])
    return Invalid(
        "records-rejected", "No record can be applied; nothing was kept.", records=len(records), errors=errors[:_TOLD]
    )


def _told(
    request: Request, received: str, records: list[Record], receipts: list[Receipt], entry: Entry
) -> dict[str, Any]:
    """The answer to an exchange; the index of its journal entry is known just before the commit."""
    return {
        "id": request.id,
        "received_at": received,
        "document": request.document,
        "records": len(records),
        "results": [
            {"record": rank, "status": receipt.status, "findings": _findings(record.findings)}
            for rank, (record, receipt) in enumerate(zip(records, receipts, strict=True), 1)
        ],
        "outcomes": [
            {"recipient": one.recipient, "status": one.status, "reason": one.reason or None,
             "article": "; ".join(one.article) or None, "categories": list(one.categories),
             "withheld_categories": list(one.withheld_categories), "delivery": one.delivery, "document": one.document}
            for receipt in receipts
            for one in receipt.outcomes
        ],
        "journal": {"index": entry.idx, "origin": entry.origin},
    }  # fmt: skip


def _findings(found: Sequence[Finding]) -> list[dict[str, str]]:
    return [{"code": one.code, "path": one.path, "severity": one.severity, "detail": one.detail} for one in found]
