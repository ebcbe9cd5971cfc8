"""The partners' HTTP doors: exchanges, inbox, persons.

The exchange door is a plain Starlette route: it is where the traffic is, and a framework's body parsing would cost more
than the exchange itself. Everything a partner reads is what the policy lets it see today.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from typing import Any

from pydantic_core import to_json
from sqlalchemy import or_, select
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connectors.contract import DocumentRefused
from connectors.json import parse as parse_json
from gateway import canonical, clock, inbox, journal
from gateway.access import Caller, authenticate, burn
from gateway.convention import Flow
from gateway.decide import decide
from gateway.exchange import exchange
from gateway.journal_files import require_available
from gateway.person_search import facts_of
from gateway.prefill import seen_by
from gateway.problems import Invalid, TooLarge, Unknown, Unreadable, Unsupported
from gateway.receipt import Receipt, Request
from gateway.registry import Gateway
from gateway.storage.tables.delivery import outbox
from gateway.storage.tables.record import exchange as exchange_table
from gateway.unit_of_work import UnitOfWork

MAX_PAGE = 200


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
        Route("/v1/persons/search", doors.search_person, methods=["POST"]),
        Route("/v1/persons/{ref}/dossier", doors.show_dossier, methods=["GET"]),
    ]


class _Doors:
    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    # --- exchanges -----------------------------------------------------------------------------------------

    async def post_exchange(self, http: HttpRequest) -> Response:
        """Take one document of the caller's own format; answer once it is durable."""
        caller = await authenticate(http, later=True)
        document = http.headers.get("maillon-document", "")
        if not document:
            raise Unreadable("document-missing", "Name the document in the Maillon-Document header.")
        known = self.gateway.document(caller.body, document)
        if "read" not in known.direction:
            raise Invalid("document-not-sent", f"{document} is received by this body, not sent by it.")
        key = http.headers.get("idempotency-key", "")
        if not key or len(key) > 200:
            raise Unreadable("idempotency-key-missing", "Send an Idempotency-Key header of 1 to 200 characters.")
        media = http.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media not in known.content_type:
            raise Unsupported("media-type", f"Send {document} as {' or '.join(known.content_type)}.")
        body = await read_body(http, known.max_bytes)
        status, answer = await http.app.state.committer.submit(
            lambda work: self._accept(work, caller, document, media, key, body)
        )
        http.app.state.wake()
        return Response(answer(), status, media_type="application/json")

    def _accept(
        self, work: UnitOfWork, caller: Caller, document: str, media: str, key: str, body: bytes
    ) -> tuple[int, Any]:
        gateway = self.gateway
        burn(work, caller)
        require_available(work, gateway.settings)
        idempotency = gateway.keys.blind("idempotency", f"{caller.client_id}\x00{key}")
        digest = gateway.keys.blind("body", f"{document}\x00{body.hex()}")
        pending: dict[bytes, Any] = work.scratch.setdefault("accepted", {})
        if idempotency in pending:
            known_digest, answer = pending[idempotency]
        else:
            row = work.connection.execute(
                select(exchange_table.c.request_h, exchange_table.c.response).where(
                    exchange_table.c.idempotency_h == idempotency
                )
            ).first()
            known_digest, answer = (row.request_h, lambda: row.response) if row else (None, None)
        if known_digest is not None:
            if known_digest != digest:
                raise Invalid("idempotency-key-reused", "This key was used for another body; use a new key.")
            return 200, answer
        told = self._carry(work, caller, document, media, body)

        def render() -> str:
            return json.dumps(told())

        pending[idempotency] = (digest, render)
        id, received, purposes, records = told.args
        work.before_commit(
            lambda last: last.add(
                exchange_table,
                id=id,
                sender=caller.body,
                client_id=caller.client_id,
                document=document,
                purpose=",".join(purposes),
                received_at=received,
                request_h=digest,
                idempotency_h=idempotency,
                records=records,
                response=render(),
            )
        )
        return 202, render

    def _carry(self, work: UnitOfWork, caller: Caller, document: str, media: str, body: bytes) -> Any:
        """Read, exchange, and return what renders the answer once the journal has given its index."""
        gateway = self.gateway
        try:
            reading = gateway.connector(caller.body).read(document, io.BytesIO(body), content_type=media)
            records = list(reading)
        except DocumentRefused as refused:
            raise Unreadable(refused.code, refused.detail, path=refused.path or None) from None
        id = clock.new_id()
        flows = gateway.flows(work, caller.body, caller.purposes)
        receipts = exchange(work, gateway, Request(id, caller.body, document, flows, caller.client_id), records)
        return _Answer((id, work.now, sorted(caller.purposes), len(records)), document, records, receipts)

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
            return [
                {"id": row.id, "received_at": row.received_at, "document": row.document, "sender": row.sender,
                 "records": row.records, "deliveries": _deliveries(work, row.id, caller.body, row.sender)}
                for row in rows
            ]  # fmt: skip

        rows = await self._read(http, read)
        return listing("exchanges", rows, limit)

    async def show_exchange(self, http: HttpRequest) -> Response:
        """One exchange this body took part in, with the state of each delivery."""
        caller = await authenticate(http)

        def read(work: UnitOfWork) -> dict[str, Any] | None:
            row = work.connection.execute(
                select(exchange_table).where(exchange_table.c.id == http.path_params["id"])
            ).first()
            if row is None:
                return None
            deliveries = _deliveries(work, row.id, caller.body, row.sender)
            if row.sender != caller.body and not deliveries:
                return None
            told = {"id": row.id, "received_at": row.received_at, "document": row.document, "sender": row.sender,
                    "records": row.records, "deliveries": deliveries}  # fmt: skip
            if row.sender == caller.body and row.response:
                told |= json.loads(row.response)
            return told

        told = await self._read(http, read)
        if told is None:
            raise Unknown("exchange-unknown", "Check the id against the list of your exchanges.")
        return JSONResponse(told)

    # --- the mailbox ---------------------------------------------------------------------------------------

    async def list_inbox(self, http: HttpRequest) -> Response:
        caller = await authenticate(http)
        after, limit = page(http)
        letters = await self._read(http, lambda work: inbox.letters(work, self.gateway, caller.body, after, limit))
        rows = [
            {"id": one.id, "document": one.document, "content_type": one.content_type, "person": one.person,
             "created_at": one.created_at, "fetched_at": one.fetched_at}
            for one in letters
        ]  # fmt: skip
        return listing("letters", rows, limit)

    async def fetch_letter(self, http: HttpRequest) -> Response:
        caller = await authenticate(http)

        def fetch(work: UnitOfWork) -> tuple[Any, bytes]:
            row, content = inbox.fetch(work, self.gateway, caller.body, http.path_params["id"])
            self._log_read(work, caller, row.person_id, "inbox")
            return row, content

        row, content = await http.app.state.committer.submit(fetch)
        connector = self.gateway.connector(caller.body)
        wanted = http.headers.get("accept", "*/*").partition(",")[0].partition(";")[0].strip()
        media = row.content_type
        render = getattr(connector, "render", None)
        if render is not None and wanted not in ("*/*", row.content_type):
            rendered = render(row.document, content, wanted)
            if rendered is None:
                raise Unsupported("media-type", f"This document is available as {row.content_type}.")
            content, media = rendered, wanted
        return Response(
            content,
            media_type=media,
            headers={
                "Maillon-Document": row.document,
                "Content-Disposition": f'attachment; filename="{row.document}-{row.id}"',
                "X-Content-Type-Options": "nosniff",
                "Cache-Control": "no-store",
            },
        )

    async def acknowledge_letter(self, http: HttpRequest) -> Response:
        caller = await authenticate(http)

        def acknowledge(work: UnitOfWork) -> None:
            row = inbox.acknowledge(work, caller.body, http.path_params["id"])
            journal.append(
                work,
                "exchange.ack",
                sender_org=caller.body,
                client_id=caller.client_id,
                subject=self.gateway.keys.pseudonym(caller.body, row.person_id) if row.person_id else None,
                outcome="acknowledged",
            )

        await http.app.state.committer.submit(acknowledge)
        return Response(status_code=204)

    # --- persons -------------------------------------------------------------------------------------------

    async def search_person(self, http: HttpRequest) -> Response:
        """Identifiers in the body, never in a URL; the answer is a reference of this caller's own."""
        caller = await authenticate(http)
        body = await read_json(http)
        facts = facts_of(body)

        def search(work: UnitOfWork) -> dict[str, Any]:
            match = self.gateway.identity.resolve(work, self.gateway.identity.keys_of(facts))
            person = match.person_id
            if person is not None and not self._linked(work, caller, person):
                # A person this body does not accompany answers exactly as an unknown one.
                person, certainty = None, "inconnu"
            else:
                certainty = match.certainty
            journal.append(
                work, "log.read", sender_org=caller.body, client_id=caller.client_id, outcome="search",
                reason_code=certainty.replace("_", "-"),
                subject=self.gateway.keys.pseudonym(caller.body, person) if person else None,
            )  # fmt: skip
            if person is None:
                return {"person": None, "certainty": "inconnu" if certainty == "certain" else certainty}
            return {"person": self.gateway.references.give(work, caller.body, person), "certainty": certainty}

        return JSONResponse(await http.app.state.committer.submit(search))

    async def show_dossier(self, http: HttpRequest) -> Response:
        """The shared record as this caller may see it, or its own document prefilled (`Accept-Document`)."""
        caller = await authenticate(http)
        wanted = http.headers.get("accept-document", "")

        def read(work: UnitOfWork) -> dict[str, Any]:
            person = self.gateway.references.find(work, caller.body, http.path_params["ref"])
            if person is None:
                raise Unknown("person-unknown", "Search the person again: this reference names nobody you accompany.")
            self._log_read(work, caller, person, "dossier")
            return self._seen_by(work, caller, person, wanted)

        return Response(to_json(await http.app.state.committer.submit(read)), media_type="application/json")

    def _seen_by(self, work: UnitOfWork, caller: Caller, person: str, wanted: str) -> dict[str, Any]:
        visible, withheld = seen_by(work, self.gateway, person, self._flows(work, caller))
        if not visible:
            raise Unknown("person-unknown", "Search the person again: this reference names nobody you accompany.")
        told: dict[str, Any] = {
            "withheld": [
                {"category": one.code, "facts": one.count, "rule": one.rule, "article": one.article} for one in withheld
            ]
        }
        if not wanted:
            shown: dict[str, Any] = canonical.write(visible).document
            return shown | told
        self.gateway.document(caller.body, wanted)
        written = self.gateway.write(caller.body, wanted, visible)
        document = written.document.decode() if isinstance(written.document, bytes) else written.document
        return told | {
            "document": document,
            "fields_total": written.fields_total,
            "fields_prefilled": len(written.filled),
            "sources": written.filled,
        }

    def _flows(self, work: UnitOfWork, caller: Caller) -> tuple[Flow, ...]:
        return self.gateway.flows_to(work, caller.body, caller.purposes)

    def _linked(self, work: UnitOfWork, caller: Caller, person: str) -> bool:
        current = self.gateway.dossiers.current(work, person)
        return any(fact.source == caller.body for fact in current.values()) or any(
            decide(work, self.gateway, person, flow, current).permits for flow in self._flows(work, caller)
        )

    def _log_read(self, work: UnitOfWork, caller: Caller, person: str, what: str) -> None:
        journal.append(
            work,
            "log.read",
            sender_org=caller.body,
            client_id=caller.client_id,
            subject=self.gateway.keys.pseudonym(caller.body, person) if person else None,
            outcome=what,
        )

    async def _read(self, http: HttpRequest, action: Any) -> Any:
        return await http.app.state.committer.submit(action)


class _Answer:
    """Renders the answer of an accepted exchange; called after the journal has given its index."""

    def __init__(self, args: tuple[Any, ...], document: str, records: list[Any], receipts: list[Receipt]) -> None:
        self.args = args
        self._told = (document, records, receipts)

    def __call__(self) -> dict[str, Any]:
        document, records, receipts = self._told
        entry = next((receipt.entry for receipt in receipts if receipt.entry is not None), None)
        outcomes = [
            {
                "recipient": one.recipient,
                "status": one.status,
                "reason": one.reason or None,
                "article": "; ".join(one.article) or None,
                "categories": list(one.categories),
                "withheld_categories": list(one.withheld_categories),
                "delivery": one.delivery,
                "document": one.document,
            }
            for receipt in receipts
            for one in receipt.outcomes
        ]
        return {
            "id": self.args[0],
            "received_at": self.args[1],
            "document": document,
            "records": len(records),
            "results": [
                {"record": rank, "status": receipt.status, "findings": _findings(record)}
                for rank, (record, receipt) in enumerate(zip(records, receipts, strict=True), 1)
            ],
            "outcomes": outcomes,
            # The index is given just before the commit; this answer is stored in the same transaction.
            "journal": {"index": entry.idx, "origin": entry.origin} if entry else None,
        }


def _findings(record: Any) -> list[dict[str, str]]:
    return [
        {"code": one.code, "path": one.path, "severity": one.severity, "detail": one.detail} for one in record.findings
    ]


def _deliveries(work: UnitOfWork, exchange_id: str, body: str, sender: str) -> list[dict[str, Any]]:
    """The deliveries of an exchange that this body may see: all of its own, or those addressed to it."""
    query = select(outbox).where(outbox.c.exchange_id == exchange_id)
    if body != sender:
        query = query.where(outbox.c.recipient == body)
    return [
        {"id": row.id, "recipient": row.recipient, "document": row.document, "state": row.state, "reason": row.reason,
         "article": row.article, "attempts": row.attempts, "settled_at": row.settled_at}
        for row in work.connection.execute(query.order_by(outbox.c.id))
    ]  # fmt: skip


# --- shared by the doors ----------------------------------------------------------------------------------


async def read_body(http: HttpRequest, limit: int) -> bytes:
    """The body, counted while it is read: the announced length is not trusted. Raises `TooLarge`, `Unsupported`."""
    if http.headers.get("content-encoding", "identity").lower() != "identity":
        raise Unsupported("content-encoding", "Send the body uncompressed.")
    announced = http.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise TooLarge("body-too-large", f"Send at most {limit} bytes; larger files go through `maillon ingest`.")
    received, size = [], 0
    async for chunk in http.stream():
        size += len(chunk)
        if size > limit:
            raise TooLarge("body-too-large", f"Send at most {limit} bytes; larger files go through `maillon ingest`.")
        received.append(chunk)
    return b"".join(received)


async def read_json(http: HttpRequest, limit: int = 64 * 1024) -> Any:
    """A small JSON body, strictly read. Raises `Unsupported`, `Unreadable`, `TooLarge`."""
    if http.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Unsupported("media-type", "Send application/json.")
    body = await read_body(http, limit)
    try:
        return parse_json(body)
    except DocumentRefused as refused:
        raise Unreadable(refused.code, refused.detail, path=refused.path or None) from None


def page(http: HttpRequest) -> tuple[str, int]:
    """`?after=` and `?limit=` of a listing. Raises `Invalid`."""
    limit = http.query_params.get("limit", "50")
    if not limit.isdigit() or not 1 <= int(limit) <= MAX_PAGE:
        raise Invalid("limit", f"Ask for 1 to {MAX_PAGE} rows.")
    return http.query_params.get("after", ""), int(limit)


def listing(name: str, rows: Iterable[dict[str, Any]], limit: int) -> JSONResponse:
    rows = list(rows)
    return JSONResponse({name: rows, "next": rows[-1]["id"] if len(rows) == limit else None})
