"""Inbound webhooks: partners that push, each proving its messages in its own way.

The connector proves a message before anything parses it; this door remembers what was received. A message received
twice, or older than the last one about the same object, is answered 202 and changes nothing: the sender must stop
trying. What the source erased is erased here in the same transaction.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from connectors.contract import DocumentRefused, Pushed, Pushing
from connectors.manifest import ManifestError
from gateway import clock, journal
from gateway.access.jose import Refused
from gateway.access.mtls import SENTENCES
from gateway.access.replay import Used, record
from gateway.doors import access_of, bounded, in_work, json_answer, media_of, read_body, refusal, require_announced
from gateway.exchange import exchange
from gateway.journal_files import require_available
from gateway.problems import Misconfigured, Problem, Unauthenticated, Unknown, Unsupported
from gateway.quarantine import erased_at_source, with_bytes
from gateway.receipt import row_of
from gateway.registry import Gateway
from gateway.storage.tables.record import assertion_set
from gateway.storage.tables.record import exchange as exchange_table
from gateway.unit_of_work import UnitOfWork
from schemas.record import Record

MAX_BYTES = 1024 * 1024
MEMORY = timedelta(days=3)
"""How long a message is recognised: longer than any sender's retries, and than the window of its timestamp."""
_UNPROVED = frozenset({"signature-missing", "signature-wrong", "stale-timestamp", "timestamp-ahead"})


def routes(gateway: Gateway) -> list[Route]:
    return [Route("/v1/webhooks/{connector}", _Door(gateway).receive, methods=["POST"])]


class _Door:
    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    async def receive(self, http: HttpRequest) -> Response:
        """Take one signed message of a partner that pushes; durable when it is answered."""
        body_id = http.path_params["connector"]
        connector = self._connector(body_id)
        if media_of(http) != "application/json":
            raise Unsupported("media-type", "Send application/json.")
        try:
            self._require_tls(http)
            require_announced(http, MAX_BYTES)
            connector.announced(http.headers)
            body = await read_body(http, MAX_BYTES)
            message = connector.webhook(http.headers, body, clock.now())
            bounded(body, "application/json")
            records = with_bytes(list(connector.read(message.document, io.BytesIO(body))), body)
        except DocumentRefused as refused:
            raise await self._refused(http, refused) from None
        told = await in_work(http, lambda work: self._take(work, body_id, message, records))
        http.app.state.wake()
        return json_answer(told, 202)

    def _require_tls(self, http: HttpRequest) -> None:
        """What a partner pushes is signed, and read by whoever is on its way when it comes in clear."""
        try:
            access_of(self.gateway).require_tls(http.scope)
        except Refused as refused:
            raise DocumentRefused(refused.reason, SENTENCES[refused.reason]) from None

    def _connector(self, body_id: str) -> Any:
        """The connector of a body that pushes here. A body that does not, or is not configured, is unknown."""
        try:
            connector = self.gateway.connector(body_id) if body_id in self.gateway.bodies else None
        except (ManifestError, Misconfigured):
            connector = None
        if not isinstance(connector, Pushing):
            raise Unknown("webhook-unknown", "No partner pushes to this address.")
        return connector

    async def _refused(self, http: HttpRequest, refused: DocumentRefused) -> Problem:
        """The refusal, journaled; one address may only fill the journal up to a point."""
        access = access_of(self.gateway)
        peer = access.trust.peer(http.scope)
        problem: Problem = refusal(refused)
        if refused.code in _UNPROVED:
            headers = {"WWW-Authenticate": 'Signature realm="webhooks"'}
            problem = Unauthenticated(refused.code, refused.detail, headers=headers)
        if access.rates.exceeded("refused-address", peer) and not access.rates.first_excess("refused-address", peer):
            return access.rates.too_many("refused-address", peer)
        await asyncio.to_thread(
            access.on_refusal, "webhook.refused", reason=refused.code, client_id=None, instance=http.state.instance
        )
        return problem

    def _take(self, work: UnitOfWork, body_id: str, message: Pushed, records: list[Record]) -> dict[str, Any]:
        require_available(work, self.gateway.settings)
        use = Used.of("webhook", body_id, message.replay_key, time.time() + MEMORY.total_seconds())
        sent_at = clock.instant(message.sent_at)
        order = self.gateway.dossiers.record_index(body_id, message.document, f"order\x00{message.order_key}")
        last = self.gateway.dossiers.digests(work.connection, [order]).get(order)
        ignored = "" if record(work.connection, [use]) else "repeated"
        ignored = ignored or ("out-of-order" if last and sent_at < last.asserted_at else "")
        if ignored:
            journal.append(
                work, "exchange.request", sender_org=body_id, document=message.document, outcome="ignored",
                reason_code=ignored,
            )  # fmt: skip
            return {"id": None, "status": "ignored", "reason": ignored, "records": 0, "results": []}
        self._purge(work, body_id, message)
        request = self.gateway.request(work, body_id, message.document)
        receipts = exchange(work, self.gateway, request, records)
        self.gateway.dossiers.taken(work, order, Record("", [], digest=use.digest), sent_at, request.id)
        results = [{"record": rank, "status": receipt.status} for rank, receipt in enumerate(receipts, 1)]
        told = {"id": request.id, "status": "accepted", "reason": None, "records": len(records), "results": results}
        row = row_of(request, work.now, records=len(records))
        work.add(exchange_table, **row, response=json.dumps(told))
        return told

    def _purge(self, work: UnitOfWork, body_id: str, message: Pushed) -> None:
        """Remove what this source said and has now erased: every version of it, and what waits in quarantine."""
        index = self.gateway.dossiers.record_index
        keys = [one for key, person in message.erased_places for one in (key, f"{key}\x00{person}")]
        places = [index(body_id, message.document, key) for key in keys]
        if not places:
            return
        here = (
            assertion_set.c.source == body_id,
            assertion_set.c.document == message.document,
            assertion_set.c.record_h.in_(places),
        )
        subjects = set(work.connection.scalars(select(assertion_set.c.subject_id).where(*here)))
        removed = work.connection.execute(delete(assertion_set).where(*here)).rowcount
        erased_at_source(work, self.gateway, body_id, message.document, {key for key, _ in message.erased_places})
        for subject in subjects:
            work.scratch.get("dossier", {}).pop(subject, None)
        journal.append(
            work, "right.erase", sender_org=body_id, document=message.document, n_records=removed,
            outcome="purged", reason_code="source-erasure",
        )  # fmt: skip
