"""Fetching what a partner only gives on request: a diagnosis, an orientation, a status.

The body that asks is named, so that finding the person at the partner's rests on that body's own flow; what comes back
then takes the main path like any document the partner sends. Who knows her by a number is told it, for identification;
who is asked by civil identity is told it by the flow that names what it is asked (`document = "api_particulier.…"`).
What tells a partner of her is written in the journal before it leaves, and again once the partner answered: it then
holds what it was told.
"""

from __future__ import annotations

import asyncio
import io
from typing import Any

from connectors.contract import DocumentRefused, NotObtained
from gateway import clock, decision_record, journal
from gateway.exchange import exchange
from gateway.found_by import asked_about, found_by
from gateway.receipt import Receipt, row_of
from gateway.registry import Gateway
from gateway.storage.tables.record import exchange as exchange_table
from schemas.record import Record


async def pull(gateway: Gateway, person_id: str, source: str, document: str, asked_by: str) -> list[Receipt]:
    """Fetch one document about one person and exchange it. Nothing known at the partner's gives no receipt.

    Raises `NotObtained` when the partner could not or would not give it, or gave what cannot be read (its `outcome`
    says whether to try again).
    """
    identifiers, told, refusals = await asyncio.to_thread(_identifiers, gateway, person_id, source, document, asked_by)
    if not identifiers:
        raise NotObtained("waiting", "no-identifier", why=", ".join(refusals))
    transport = gateway.transport(source)
    try:
        contents = [one async for one in gateway.connector(source).pull(document, identifiers, transport)]
    except NotObtained as error:
        if error.outcome != "retry":  # after a silence or a failure, nobody knows what the partner has read
            await asyncio.to_thread(_answered, gateway, told, "refused", error.code)
        raise
    await asyncio.to_thread(_answered, gateway, told, "delivered", ASKED)
    receipts: list[Receipt] = []
    for name, content in contents:
        receipts += await asyncio.to_thread(_take, gateway, person_id, source, name, content)
    return receipts


def _identifiers(
    gateway: Gateway, person_id: str, source: str, document: str, asked_by: str
) -> tuple[dict[str, str], list[dict[str, Any]], list[str]]:
    """What may be used to find the person at the partner's, as the flows from the asking body permit it; what the
    journal was told of each; and why those that permit nothing do not: each reason with its articles."""
    with gateway.unit_of_work() as work:
        current = gateway.dossiers.current(work, person_id)
        request_id = clock.new_id()
        names: dict[str, str] = {}
        written: list[dict[str, Any]] = []
        refusals: dict[str, None] = {}
        for flow in gateway.flows_to(work, source):
            if flow.de != asked_by or not flow.active:
                continue
            told = [found_by(work, gateway, person_id, flow, current)]
            if flow.document == document:
                told.append(asked_about(work, gateway, person_id, flow, current))
            for one in told:
                if one.names.keys() - names.keys() and one.flow and one.question and one.decision:
                    subject = gateway.keys.pseudonym(source, person_id)
                    why = decision_record.told(work, one.flow, one.question, one.decision)
                    said = {
                        "exchange_id": request_id,
                        "sender_org": asked_by,
                        "recipient_org": source,
                        "document": document,
                        "subject": subject,
                        **why,
                    }
                    journal.append(work, "exchange.deliver", **said, outcome="sending")
                    written.append(said)
                elif one.decision and not one.decision.permits:
                    refusals[f"{one.decision.reason} ({'; '.join(one.decision.articles)})"] = None
                names |= one.names
        return names, written, list(refusals)


ASKED = "asked"
"""How a question about a person ends: the partner, told of whom it is, answered."""


def _answered(gateway: Gateway, told: list[dict[str, Any]], outcome: str, code: str) -> None:
    with gateway.unit_of_work() as work:
        reason = journal.fitting("reason_code", code, "refused")
        for one in told:
            journal.append(work, "exchange.ack", **one, outcome=outcome, reason_code=reason)


def _take(gateway: Gateway, person_id: str, source: str, document: str, content: bytes) -> list[Receipt]:
    try:
        records = list(gateway.connector(source).read(document, io.BytesIO(content)))
    except DocumentRefused as refused:  # the partner may give it whole next time
        raise NotObtained("retry", refused.code) from None
    with gateway.unit_of_work() as work:
        _name(gateway, person_id, records)
        request = gateway.request(work, source, document)
        row = row_of(request, work.now, gateway.document(source, document).purposes, records=len(records))
        work.add(exchange_table, **row, request_h=gateway.keys.blind("body", content.hex()))
        receipts = exchange(work, gateway, request, records)
        if not any(receipt.entry for receipt in receipts):
            journal.append(
                work,
                "exchange.request",
                exchange_id=request.id,
                sender_org=source,
                n_records=len(records),
                outcome="unchanged",
            )
        return receipts


def _name(gateway: Gateway, person_id: str, records: list[Record]) -> None:
    """An answer about the person we asked for often names nobody: it is about her, by the partner's own look-up."""
    for record in records:
        for one in record.personnes:
            if not gateway.identity.keys_of(one.facts).indexes:
                one.person_id = person_id
                record.key = f"{person_id}\x00{record.key}"
