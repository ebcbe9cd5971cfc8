"""The partners' HTTP doors: exchanges and the mailbox.

Plain Starlette routes: this is where the traffic is, and a framework's body parsing would cost more than the exchange
itself. Everything a partner reads is what the policy lets it see today. Persons are in `api_persons.py`, the journal
in `api_journal.py`, inbound webhooks in `webhooks_in.py`; what they share in `doors.py`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import exists, or_, select
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from connectors.contract import JOURNAL, journal_index
from connectors.manifest import Document
from gateway import api_journal, api_persons, inbox, journal, notifier, webhooks_in
from gateway.access import Caller, authenticate
from gateway.arrival import Arrival, Found
from gateway.doors import (
    bounded,
    conditional,
    etag,
    extension,
    in_work,
    json_answer,
    listing,
    media_of,
    page,
    read_body,
    read_json,
    require_accepted,
    require_empty,
    require_form,
    require_match,
)
from gateway.granted import closed, require_whole
from gateway.hand_over import hand_over
from gateway.journal import Entry
from gateway.once import idempotency_key, index_of
from gateway.problems import Misnamed, Problem, Unknown, Unreadable, Unsupported
from gateway.registry import Gateway
from gateway.storage.tables.delivery import outbox
from gateway.storage.tables.record import exchange as exchange_table
from gateway.unit_of_work import UnitOfWork

__all__ = ["listing", "page", "read_body", "read_json", "routes"]

SHOWN = 50
"""Deliveries of each exchange that a list shows; the others, a page at a time, where that exchange is shown."""
SMALL = 64 * 1024
"""Below, reading a document costs less than handing it to another thread."""


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
        caller = await authenticate(http, later=True, action="send")
        require_whole(caller)
        key, known, media = idempotency_key(http), self._announced(http, caller), media_of(http)
        delivery = _delivery(http)
        if media not in known.content_type:
            raise Unsupported("media-type", f"Send {known.id} as {' or '.join(known.content_type)}.")
        body = await read_body(http, known.max_bytes)
        bounded(body, media)
        require_form(body, media)
        arrival = Arrival(self.gateway, caller, known.id, media, key, body, delivery)
        if len(body) > SMALL or body.startswith(b"PK"):
            arrival.ahead = await asyncio.to_thread(self._read_ahead, arrival)
        status, render = await in_work(http, arrival)
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
            raise Misnamed("document-not-sent", f"{known.id} is received by this body, not sent by it.")
        return known

    def _read_ahead(self, arrival: Arrival) -> Found | Problem | None:
        """Read a larger document before the writer's turn, unless its answer is known: then nothing is read again."""
        idempotency = index_of(self.gateway, arrival.caller, arrival.key)
        with self.gateway.engine.connect().execution_options(read_only=True) as connection:
            query = select(exchange_table.c.id).where(exchange_table.c.idempotency_h == idempotency)
            if connection.execute(query).first():
                return None
        return arrival.read()

    async def list_exchanges(self, http: HttpRequest) -> Response:
        """What this body sent, and what was sent to it, newest first."""
        caller = await authenticate(http)
        after, limit = page(http)

        def read() -> list[dict[str, Any]]:
            # Asked of each exchange, from the newest: a list of all that a body ever received would be made each time.
            received = exists().where(outbox.c.exchange_id == exchange_table.c.id, outbox.c.recipient == caller.body)
            query = select(exchange_table).where(or_(exchange_table.c.sender == caller.body, received))
            if after:
                query = query.where(exchange_table.c.id < after)
            with self.gateway.reading() as work:
                rows = work.connection.execute(query.order_by(exchange_table.c.id.desc()).limit(limit)).all()
                return [_exchange(work, row, caller.body) for row in rows]

        return listing("exchanges", await asyncio.to_thread(read), limit)

    async def show_exchange(self, http: HttpRequest) -> Response:
        """One exchange this body took part in, with the state of each delivery, a page at a time."""
        caller = await authenticate(http)
        after, limit = page(http)

        def read() -> dict[str, Any]:
            query = select(exchange_table).where(exchange_table.c.id == http.path_params["id"])
            with self.gateway.reading() as work:
                row = work.connection.execute(query).first()
                shown = _exchange(work, row, caller.body, after, limit) if row else None
            if row is None or shown is None or not (row.sender == caller.body or shown["deliveries"]):
                raise Unknown("exchange-unknown", "Check the id against the list of your exchanges.")
            return shown | (json.loads(row.response) if row.sender == caller.body and row.response else {})

        return conditional(http, json_answer(await asyncio.to_thread(read)))

    # --- the mailbox ---------------------------------------------------------------------------------------

    async def list_inbox(self, http: HttpRequest) -> Response:
        """What waits for this body and this token opens, oldest first."""
        caller = await authenticate(http)
        after, limit = page(http)

        def read() -> list[inbox.Letter]:
            with self.gateway.reading() as work:  # however long a narrow token has to search, no writer waits
                return inbox.letters(
                    work,
                    self.gateway,
                    caller.body,
                    after,
                    limit,
                    lambda one: not closed(work, self.gateway, caller, one),
                )

        letters = await asyncio.to_thread(read)
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
                row = inbox.find(work, caller.body, http.path_params["id"])
                require_accepted(http, row.content_type)
            except Problem as problem:
                return problem
            if refused := closed(work, self.gateway, caller, row):
                return refused
            content = hand_over(work, self.gateway, row)
            if isinstance(content, Problem):
                return content
            _log_inbox(work, self.gateway, caller, row, "log.read", "inbox")
            return row, content

        row, content = await in_work(http, fetch)
        headers = {
            "Maillon-Document": row.document,
            "Content-Disposition": f'attachment; filename="{row.document}-{row.id}.{extension(row.content_type)}"',
        }
        return conditional(http, Response(content, media_type=row.content_type, headers=headers))

    async def acknowledge_letter(self, http: HttpRequest) -> Response:
        """The body has taken the document in; again changes nothing and is answered alike. `If-Match`: the tag of the
        document fetched."""
        caller, peer_idx = await authenticate(http), _peer_idx(http)
        await require_empty(http)

        def acknowledge(work: UnitOfWork) -> Callable[[], str] | Problem:
            try:
                found = inbox.find(work, caller.body, http.path_params["id"])
                if refused := closed(work, self.gateway, caller, found):
                    return refused
                if http.headers.get("if-match"):
                    require_match(http, etag(inbox.fetch(work, self.gateway, found)))
                row = inbox.acknowledge(work, caller.body, http.path_params["id"])
            except Problem as problem:
                return problem
            if row.acknowledged_at:
                place = _acknowledged(work, caller.body, row)
                return lambda: place
            told = {} if row.document == inbox.NOTICE else {
                "recipient_org": caller.body, "delivery_id": row.delivery_id, "peer_idx": peer_idx,
            }  # fmt: skip
            entry = _log_inbox(work, self.gateway, caller, row, "exchange.ack", "acknowledged", **told)
            if row.document == inbox.NOTICE:
                notifier.acknowledged(work, caller.body, row.delivery_id)
            return lambda: f"{entry.origin} {entry.idx}"

        place = (await in_work(http, acknowledge))()
        return Response(status_code=204, headers={JOURNAL: place} if place else {})


def _acknowledged(work: UnitOfWork, body: str, row: Any) -> str:
    """Where the journal tells that a letter was acknowledged; empty once that entry is past its retention, or when
    several notices of one instant, whose entries name none, cannot be told apart."""
    told = None if row.document == inbox.NOTICE else row.delivery_id
    written = journal.of_instant(work.connection, row.acknowledged_at, "exchange.ack", body)
    found = [one for one in written if one.fields.get("delivery_id") == told]
    return f"{journal.origin(work.connection, found[0].log)} {found[0].idx}" if len(found) == 1 else ""


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


def _exchange(work: UnitOfWork, row: Any, body: str, after: str = "", limit: int = SHOWN) -> dict[str, Any]:
    """An exchange as this body may see it: its deliveries if it sent it, else those addressed to it; so many of them,
    as those of a monthly file are tens of thousands."""
    query = select(outbox).where(outbox.c.exchange_id == row.id, outbox.c.id > after)
    if body != row.sender:
        query = query.where(outbox.c.recipient == body)
    deliveries = [
        {"id": one.id, "recipient": one.recipient, "document": one.document, "state": one.state, "reason": one.reason,
         "article": one.article, "attempts": one.attempts, "settled_at": one.settled_at}
        for one in work.connection.execute(query.order_by(outbox.c.id).limit(limit + 1))
    ]  # fmt: skip
    more = deliveries[limit - 1]["id"] if len(deliveries) > limit else None
    return {"id": row.id, "received_at": row.received_at, "document": row.document, "sender": row.sender,
            "records": row.records, "deliveries": deliveries[:limit], "next": more}  # fmt: skip
