"""Fetching what a partner only gives on request: a diagnosis, an orientation, a status.

The body that asks is named, so that finding the person at the partner's rests on that body's own flow; what comes back
then takes the main path like any document the partner sends. Who knows her by a number is told it, for identification;
who is asked by civil identity is told it by the flow that names what it is asked (`document = "api_particulier.…"`).
What tells a partner of her is written in the journal before it leaves.
"""

from __future__ import annotations

import asyncio
import io

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
    identifiers, refusals = await asyncio.to_thread(_identifiers, gateway, person_id, source, document, asked_by)
    if not identifiers:
        raise NotObtained("waiting", "no-identifier", why=", ".join(refusals))
    receipts: list[Receipt] = []
    transport = gateway.transport(source)
    async for name, content in gateway.connector(source).pull(document, identifiers, transport):
        receipts += await asyncio.to_thread(_take, gateway, person_id, source, name, content)
    return receipts


def _identifiers(
    gateway: Gateway, person_id: str, source: str, document: str, asked_by: str
) -> tuple[dict[str, str], list[str]]:
    """What may be used to find the person at the partner's, as the flows from the asking body permit it; and why those
    that permit nothing do not: each reason with its articles."""
    with gateway.unit_of_work() as work:
        current = gateway.dossiers.current(work, person_id)
        request_id = clock.new_id()
        names: dict[str, str] = {}
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
                    journal.append(
                        work, "exchange.deliver", exchange_id=request_id, sender_org=asked_by, recipient_org=source,
                        document=document, subject=subject, **why, outcome="sending",
                    )  # fmt: skip
                elif one.decision and not one.decision.permits:
                    refusals[f"{one.decision.reason} ({'; '.join(one.decision.articles)})"] = None
                names |= one.names
        return names, list(refusals)


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
