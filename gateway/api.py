"""The partners' HTTP doors: exchanges and the mailbox.

Plain Starlette routes: this is where the traffic is, and a framework's body parsing would cost more than the exchange
itself. Everything a partner reads is what the policy lets it see today. Persons are in `api_persons.py`, the journal
in `api_journal.py`, inbound webhooks in `webhooks_in.py`; what they share in `doors.py`.
"""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

from sqlalchemy import or_, select
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from connectors.archive import check_archive
from connectors.contract import JOURNAL, DocumentRefused, Lasting, journal_index
from connectors.manifest import Document
from gateway import api_journal, api_persons, clock, inbox, journal, webhooks_in
from gateway.access import Caller, authenticate, burn
from gateway.doors import (
    bounded,
    conditional,
    etag,
    in_work,
    json_answer,
    listing,
    media_of,
    page,
    read_body,
    read_json,
    refusal,
    require_match,
)
from gateway.exchange import exchange
from gateway.journal import Entry
from gateway.journal_files import require_available
from gateway.once import Told, idempotency_key, once
from gateway.problems import Invalid, Problem, TooLarge, Unknown, Unreadable, Unsupported
from gateway.quarantine import with_bytes
from gateway.receipt import Receipt, Request
from gateway.registry import Gateway
from gateway.storage.tables.delivery import outbox
from gateway.storage.tables.record import exchange as exchange_table
from gateway.unit_of_work import UnitOfWork

__all__ = ["listing", "page", "read_body", "read_json", "routes"]

MAX_RECORDS = 2_000
"""Records of one exchange: they are one transaction. More go through `maillon ingest`, in batches."""
SMALL = 64 * 1024
"""Below, reading a document costs less than handing it to another thread."""
MAX_UNPACKED = 32 * 1024 * 1024
_TOLD = 50
"""Findings told in one refusal."""


def routes(gateway: Gateway) -> list[Route]:
    """The routes of `/v1` that partners call."""
    doors = _Doors(gateway)
    return [
        Route("/v1/exchanges", doors.post_exchange, methods=["POST"]),
        Route("/v1/exchanges", doors.list_exchanges, methods=["GET"]),
        Route("/v1/exchanges/{id}", doors.show_exchange, methods=["GET"]),
        Route("/v1/inbox", doors.list_inbox, methods=["GET"]),
        Route("/v1/inbox/{id}/document", doors.fetch_letter, methods=["GET"]),
        Route("/v1/inbox/{id}/ack", doors.acknowledge_letter, methods=["POST"]),
        *api_persons.routes(gateway),
        *webhooks_in.routes(gateway),
        *api_journal.routes(gateway),
    ]


class _Doors:
    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    # --- exchanges -----------------------------------------------------------------------------------------

    async def post_exchange(self, http: HttpRequest) -> Response:
        """Take one document of the caller's own format; answer once it is durable."""
        caller = await authenticate(http, later=True)
        key, known, media = idempotency_key(http), self._announced(http, caller), media_of(http)
        delivery = _delivery(http)
        if media not in known.content_type:
            raise Unsupported("media-type", f"Send {known.id} as {' or '.join(known.content_type)}.")
        body = await read_body(http, known.max_bytes)
        bounded(body, media)
        records: list[Any] | Problem | None = None
        if len(body) > SMALL or body.startswith(b"PK"):
            records = await asyncio.to_thread(self._read_first, caller, known.id, media, key, body)
        status, render = await in_work(
            http, lambda work: self._accept(work, caller, known.id, media, key, body, records, delivery)
        )
        http.app.state.wake()
        told = json.loads(render())
        headers = {"Location": f"/v1/exchanges/{told['id']}"} if status == 202 else {}
        if place := told["journal"]:
            headers[JOURNAL] = f"{place['origin']} {place['index']}"
        return Response(render(), status, headers, media_type="application/json")

    def _announced(self, http: HttpRequest, caller: Caller) -> Document:
        named = http.headers.getlist("maillon-document")
        if len(named) != 1:
            raise Unreadable("document-missing", "Name the document in one Maillon-Document header.")
        known = self.gateway.document(caller.body, named[0])
        if "read" not in known.direction:
            raise Invalid("document-not-sent", f"{known.id} is received by this body, not sent by it.")
        return known

    def _accept(
        self,
        work: UnitOfWork,
        caller: Caller,
        document: str,
        media: str,
        key: str,
        body: bytes,
        records: Any,
        delivery: str,
    ) -> Any:
        burn(work, caller)
        require_available(work, self.gateway.settings)

        def act() -> Told | Problem:
            found = self._read(caller, document, media, body) if records is None else records
            return found if isinstance(found, Problem) else self._carry(work, caller, document, found, delivery)

        return once(work, self.gateway, caller, key, f"{document}\x00".encode() + body, act)

    def _read_first(self, caller: Caller, document: str, media: str, key: str, body: bytes) -> Any:
        """Read a larger document before the writer's turn, unless its answer is known: then nothing is read again."""
        idempotency = self.gateway.keys.blind("idempotency", f"{caller.client_id}\x00{key}")
        with self.gateway.engine.connect().execution_options(read_only=True) as connection:
            query = select(exchange_table.c.id).where(exchange_table.c.idempotency_h == idempotency)
            if connection.execute(query).first():
                return None
        return self._read(caller, document, media, body)

    def _read(self, caller: Caller, document: str, media: str, body: bytes) -> list[Any] | Problem:
        """The records of a document, or why it is refused as a whole."""
        try:
            if body.startswith(b"PK"):
                check_archive(io.BytesIO(body), max_unpacked=MAX_UNPACKED)
            records = []
            reading = self.gateway.connector(caller.body).read(document, io.BytesIO(body), content_type=media)
            for record in reading:
                records.append(record)
                if len(records) > MAX_RECORDS:
                    return TooLarge("too-many-records", f"At most {MAX_RECORDS} records; use `maillon ingest`.")
        except DocumentRefused as refused:
            return refusal(refused, media)
        if records and all(record.rejected for record in records):
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
                "records-rejected", "No record can be applied; nothing was kept.", records=len(records),
                errors=errors[:_TOLD],
            )  # fmt: skip
        if isinstance(reading, Lasting):
            reading.keep()
        return with_bytes(records, body)

    def _carry(self, work: UnitOfWork, caller: Caller, document: str, records: list[Any], delivery: str) -> Told:
        id = clock.new_id()
        received = None
        if delivery:  # its sender keeps a journal of its own: this entry is what the two are compared by
            received = journal.append(
                work, "exchange.request", exchange_id=id, delivery_id=delivery, sender_org=caller.body,
                client_id=caller.client_id, n_records=len(records), outcome="received",
            )  # fmt: skip
        flows = self.gateway.flows(work, caller.body, caller.purposes)
        receipts = exchange(work, self.gateway, Request(id, caller.body, document, flows, caller.client_id), records)
        return Told(
            202,
            lambda: _told(id, work.now, document, records, receipts, received),
            id=id,
            document=document,
            purpose=",".join(sorted(caller.purposes))[:64],
            received_at=work.now,
            records=len(records),
        )

    async def list_exchanges(self, http: HttpRequest) -> Response:
        """What this body sent, and what was sent to it, newest first."""
        caller = await authenticate(http)
        after, limit = page(http)

        def read(work: UnitOfWork) -> list[dict[str, Any]]:
            received = select(outbox.c.exchange_id).where(outbox.c.recipient == caller.body)
            query = select(exchange_table).where(
                or_(exchange_table.c.sender == caller.body, exchange_table.c.id.in_(received))
            )
            if after:
                query = query.where(exchange_table.c.id < after)
            rows = work.connection.execute(query.order_by(exchange_table.c.id.desc()).limit(limit)).all()
            return [_exchange(work, row, caller.body) for row in rows]

        return listing("exchanges", await in_work(http, read), limit)

    async def show_exchange(self, http: HttpRequest) -> Response:
        """One exchange this body took part in, with the state of each delivery."""
        caller = await authenticate(http)

        def read(work: UnitOfWork) -> dict[str, Any] | Problem:
            query = select(exchange_table).where(exchange_table.c.id == http.path_params["id"])
            row = work.connection.execute(query).first()
            shown = _exchange(work, row, caller.body) if row else None
            if row is None or shown is None or not (row.sender == caller.body or shown["deliveries"]):
                return Unknown("exchange-unknown", "Check the id against the list of your exchanges.")
            return shown | (json.loads(row.response) if row.sender == caller.body and row.response else {})

        return conditional(http, json_answer(await in_work(http, read)))

    # --- the mailbox ---------------------------------------------------------------------------------------

    async def list_inbox(self, http: HttpRequest) -> Response:
        """What waits for this body, oldest first."""
        caller = await authenticate(http)
        after, limit = page(http)
        letters = await in_work(http, lambda work: inbox.letters(work, self.gateway, caller.body, after, limit))
        rows = [
            {"id": one.id, "document": one.document, "content_type": one.content_type, "person": one.person,
             "created_at": one.created_at, "fetched_at": one.fetched_at, "delivery": one.delivery}
            for one in letters
        ]  # fmt: skip
        return listing("letters", rows, limit)

    async def fetch_letter(self, http: HttpRequest) -> Response:
        """One document of the mailbox, as its recipient's own software reads it."""
        caller = await authenticate(http)

        def fetch(work: UnitOfWork) -> tuple[Any, bytes] | Problem:
            try:
                row, content = inbox.fetch(work, self.gateway, caller.body, http.path_params["id"])
            except Unknown as unknown:
                return unknown
            _log_inbox(work, self.gateway, caller, row, "log.read", "inbox")
            return row, content

        row, content = await in_work(http, fetch)
        content, media = self._rendered(caller, row, content, http.headers.get("accept", "*/*"))
        headers = {
            "Maillon-Document": row.document,
            "Content-Disposition": f'attachment; filename="{row.document}-{row.id}"',
        }
        return conditional(http, Response(content, media_type=media, headers=headers))

    def _rendered(self, caller: Caller, row: Any, content: bytes, accept: str) -> tuple[bytes, str]:
        wanted = accept.partition(",")[0].partition(";")[0].strip()
        render = getattr(self.gateway.connector(caller.body), "render", None)
        if render is None or wanted in ("*/*", "", row.content_type):
            return content, row.content_type
        rendered = render(row.document, content, wanted)
        if rendered is None:
            raise Unsupported("media-type", f"This document is available as {row.content_type}.")
        return rendered, wanted

    async def acknowledge_letter(self, http: HttpRequest) -> Response:
        """The body has taken the document in; again changes nothing. `If-Match`: the tag of the document fetched."""
        caller, peer_idx = await authenticate(http), _peer_idx(http)

        def acknowledge(work: UnitOfWork) -> Entry | Problem:
            try:
                if http.headers.get("if-match"):
                    _, content = inbox.fetch(work, self.gateway, caller.body, http.path_params["id"])
                    require_match(http, etag(content))
                row = inbox.acknowledge(work, caller.body, http.path_params["id"])
            except Problem as problem:
                return problem
            told = {} if row.document == inbox.NOTICE else {
                "recipient_org": caller.body, "delivery_id": row.delivery_id, "peer_idx": peer_idx,
            }  # fmt: skip
            return _log_inbox(work, self.gateway, caller, row, "exchange.ack", "acknowledged", **told)

        entry = await in_work(http, acknowledge)
        return Response(status_code=204, headers={JOURNAL: f"{entry.origin} {entry.idx}"})


def _log_inbox(
    work: UnitOfWork, gateway: Gateway, caller: Caller, row: Any, event: str, outcome: str, **more: Any
) -> Entry:
    return journal.append(
        work, event, sender_org=caller.body, client_id=caller.client_id, outcome=outcome,
        subject=gateway.keys.pseudonym(caller.body, row.person_id) if row.person_id else None, **more,
    )  # fmt: skip


def _delivery(http: HttpRequest) -> str:
    """The sender's own id of this delivery, if it gives one. Raises `Unreadable`."""
    given = http.headers.get("maillon-delivery", "")
    if given and journal.FIELDS["delivery_id"](given) is None:
        raise Unreadable("delivery-id", "Give Maillon-Delivery as a UUID, or leave it out.")
    return given


def _peer_idx(http: HttpRequest) -> int | None:
    """Where the body's own journal tells that it took a document in, if it says so. Raises `Unreadable`."""
    given = http.headers.get(JOURNAL)
    index = journal_index(given) if given else None
    if given and index is None:
        raise Unreadable("journal-index", f"Give {JOURNAL} as an origin, a space and an index, or leave it out.")
    return index


def _told(
    id: str, received: str, document: str, records: list[Any], receipts: list[Receipt], entry: Entry | None
) -> dict[str, Any]:
    """The answer to an exchange; the index of its journal entry is known just before the commit."""
    entry = entry or next((receipt.entry for receipt in receipts if receipt.entry is not None), None)
    return {
        "id": id,
        "received_at": received,
        "document": document,
        "records": len(records),
        "results": [
            {"record": rank, "status": receipt.status, "findings": _findings(record)}
            for rank, (record, receipt) in enumerate(zip(records, receipts, strict=True), 1)
        ],
        "outcomes": [
            {"recipient": one.recipient, "status": one.status, "reason": one.reason or None,
             "article": "; ".join(one.article) or None, "categories": list(one.categories),
             "withheld_categories": list(one.withheld_categories), "delivery": one.delivery, "document": one.document}
            for receipt in receipts
            for one in receipt.outcomes
        ],
        "journal": {"index": entry.idx, "origin": entry.origin} if entry else None,
    }  # fmt: skip


def _findings(record: Any) -> list[dict[str, str]]:
    return [
        {"code": one.code, "path": one.path, "severity": one.severity, "detail": one.detail} for one in record.findings
    ]


def _exchange(work: UnitOfWork, row: Any, body: str) -> dict[str, Any]:
    """An exchange as this body may see it: all its deliveries if it sent it, else those addressed to it."""
    query = select(outbox).where(outbox.c.exchange_id == row.id)
    if body != row.sender:
        query = query.where(outbox.c.recipient == body)
    deliveries = [
        {"id": one.id, "recipient": one.recipient, "document": one.document, "state": one.state, "reason": one.reason,
         "article": one.article, "attempts": one.attempts, "settled_at": one.settled_at}
        for one in work.connection.execute(query.order_by(outbox.c.id))
    ]  # fmt: skip
    return {"id": row.id, "received_at": row.received_at, "document": row.document, "sender": row.sender,
            "records": row.records, "deliveries": deliveries}  # fmt: skip
