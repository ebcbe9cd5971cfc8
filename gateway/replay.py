"""A record that waited for a correction, read again from what the partner wrote."""

from __future__ import annotations

import io
from datetime import datetime
from typing import Any

from connectors.contract import DocumentRefused
from gateway import journal, quarantine
from gateway.exchange import exchange
from gateway.problems import Conflict
from gateway.receipt import Receipt, Request, row_of
from gateway.registry import Gateway
from gateway.storage.tables.record import exchange as exchange_table
from gateway.unit_of_work import UnitOfWork
from schemas.record import Record


def replay(gateway: Gateway, row_id: str) -> Receipt:
    """Read the record of this finding again and carry it, in a transaction of its own. Raises as `replay_in`."""
    with gateway.unit_of_work() as work:
        return replay_in(work, gateway, row_id)


def replay_in(work: UnitOfWork, gateway: Gateway, row_id: str) -> Receipt:
    """Read the record of this finding again and carry it; all its open findings are then closed.

    The partner's bytes go through the connector as it is today. What raises must undo the transaction: `Unknown` (no
    such finding), `Conflict` (`quarantine-settled`; `still-not-understood`: something in it still waits;
    `resend-needed`: its bytes were not kept).
    """
    rows = quarantine.found_with(work, row_id)
    if row_id not in rows:
        raise Conflict("quarantine-settled", "This finding was settled already; read the list again.")
    row = quarantine.row(work, row_id)
    record = _read_again(gateway, row, quarantine.kept_record(work, gateway, row_id))
    if record.quarantined:
        raise _still(record)
    request = _request(work, gateway, row.sender, row.document)
    (receipt,) = exchange(work, gateway, request, [record], first=row.position)
    if record.quarantined:  # the exchange itself refused something in it
        raise _still(record)
    quarantine.settle_record(work, row, "replayed")
    journal.append(
        work, "input.release", exchange_id=request.id, sender_org=row.sender, n_records=1, outcome="replayed",
        reason_code=row.code,
    )  # fmt: skip
    return receipt


def understood(work: UnitOfWork, gateway: Gateway, row_id: str) -> bool:
    """Would this record be read whole today? Nothing is written; the exchange may still find something illegal in it.

    Raises `Unknown`, `Conflict` (`quarantine-settled`, `resend-needed`).
    """
    row = quarantine.row(work, row_id)
    try:
        record = _read_again(gateway, row, quarantine.kept_record(work, gateway, row_id))
    except Conflict as conflict:
        if conflict.code != "still-not-understood":
            raise
        return False
    return not record.quarantined


def _read_again(gateway: Gateway, row: Any, kept: Record) -> Record:
    if kept.original is None:
        raise Conflict("resend-needed", "Its bytes were not kept: its sender sends the record again.")
    try:
        records = list(gateway.connector(row.sender).read(row.document, io.BytesIO(kept.original())))
    except DocumentRefused as refused:
        raise Conflict("still-not-understood", f"The record is still refused: {refused.code}.") from None
    if len(records) != 1:
        raise Conflict("resend-needed", "Its connector no longer reads one record in it: its sender sends it again.")
    (record,) = records
    # The key it had among the others of its file; no digest: the next file tells it again, whatever it says.
    record.key, record.digest = kept.key, b""
    if record.asserted_at is None:  # it was said when it came: what its sender said since stands
        record.asserted_at = datetime.fromisoformat(row.created_at)
    return record


def _still(record: Record) -> Conflict:
    codes = sorted({finding.code for finding in record.findings if finding.severity != "notice"})
    return Conflict("still-not-understood", f"Correct the table first; still there: {', '.join(codes)}.")


def _request(work: UnitOfWork, gateway: Gateway, sender: str, document: str) -> Request:
    request = gateway.request(work, sender, document)
    work.add(exchange_table, **row_of(request, work.now, records=1))
    return request
