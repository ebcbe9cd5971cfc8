"""The list of breaches (GDPR 33(5)), the 72 hours, and exactly whom a stolen token touched.

A breach is written as a draft by what notices something (`breach_watch.py`) or by hand; the DPO opens it, completes it,
and closes it. The clock starts when the controller is aware.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import insert, select, update

from gateway import clock, journal
from gateway.audit_queries import period
from gateway.lookup import batches
from gateway.problems import Conflict, Invalid, Misnamed, Unknown, misread
from gateway.registry import Gateway
from gateway.storage.tables.access import client
from gateway.storage.tables.basis import basis_record
from gateway.storage.tables.record import assertion_set, exchange, foyer, membership
from gateway.storage.tables.rights import breach as table
from gateway.unit_of_work import UnitOfWork

NOTICE = timedelta(hours=72)


class Breach(BaseModel):
    """What the list says of one breach. Texts are about facts and measures, never about a person."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    nature: list[Literal["confidentialite", "integrite", "disponibilite"]] = Field(min_length=1)
    categories: list[str] = Field(default_factory=list)
    persons: int = Field(0, ge=0)
    records: int = Field(0, ge=0)
    consequences: str = Field("", max_length=5_000)
    measures: str = Field("", max_length=5_000)
    noticed: str = Field("", max_length=1_000)
    """What was noticed, when the gateway itself wrote the draft."""
    delay_reason: str = Field("", max_length=2_000)
    controllers: list[str] = Field(default_factory=list)


KINDS = {
    "canary-leak": ["confidentialite"], "mass-read": ["confidentialite"], "journal-verification": ["integrite"],
    "key-exposure": ["confidentialite", "integrite"], "token-stolen": ["confidentialite"],
    "probing": ["confidentialite"], "other": ["confidentialite"],
}  # fmt: skip
"""What may be noticed, and the nature it is drafted with."""


def draft(
    work: UnitOfWork,
    kind: str,
    content: Mapping[str, Any] | None = None,
    *,
    detected_at: str = "",
    aware_at: str = "",
    signal: str | None = None,
) -> str:
    """Write a breach down; its id. `signal` names what was noticed, for `known`. Raises `Invalid` (`breach-kind`,
    `later-than-now`…)."""
    if kind not in KINDS:
        raise Misnamed("breach-kind", f"Kinds: {', '.join(KINDS)}.")
    said = _parse({"nature": KINDS[kind]} | dict(content or {}))
    identifier = clock.new_id()
    detected = _past(work, "detected_at", detected_at) or work.now
    work.connection.execute(
        insert(table).values(
            id=identifier, kind=kind, state="draft", detected_at=detected,
            aware_at=_past(work, "aware_at", aware_at) or work.now, content=_dump(said), signal=signal,
        )
    )  # fmt: skip
    journal.append(
        work, "breach.open", object_ref=identifier, reason_code=kind, n_records=said.records, outcome="draft"
    )
    return identifier


def complete(
    work: UnitOfWork,
    identifier: str,
    content: Mapping[str, Any],
    *,
    cnil_notified_at: str = "",
    persons_notified_at: str = "",
) -> dict[str, Any]:
    """Add what became known, or that the CNIL or the persons were told. A notice after 72 hours gives its reason."""
    row = _row(work, identifier)
    if row.state == "closed":
        raise Conflict("breach-closed", "This breach is closed.")
    said = _parse(json.loads(row.content) | dict(content))
    told = _past(work, "cnil_notified_at", cnil_notified_at) or row.cnil_notified_at
    if told and told > clock.after(row.aware_at, NOTICE) and not said.delay_reason:
        raise Invalid("delay-reason", "A notice after 72 hours gives the reasons of the delay (GDPR 33(1)).")
    persons = _past(work, "persons_notified_at", persons_notified_at) or row.persons_notified_at
    values = {"content": _dump(said), "state": "open", "cnil_notified_at": told, "persons_notified_at": persons}
    work.connection.execute(update(table).where(table.c.id == identifier).values(**values))
    journal.append(
        work, "breach.notify", object_ref=identifier, outcome="notified" if told else "completed",
        n_records=said.records,
    )  # fmt: skip
    return show(work, identifier)


def _past(work: UnitOfWork, name: str, text: str) -> str:
    """When something was known or told, if it was said: the 72 hours would be nothing if they could start later."""
    instant = clock.told(text) if text else ""
    if instant > work.now:
        raise Invalid("later-than-now", "What was known or told was so before now: correct this instant.", path=name)
    return instant


def close(work: UnitOfWork, identifier: str) -> dict[str, Any]:
    """Nothing is left to do about this breach. Raises `Unknown`, `Conflict` (`breach-closed`)."""
    if _row(work, identifier).state == "closed":
        raise Conflict("breach-closed", "This breach is closed.")
    work.connection.execute(update(table).where(table.c.id == identifier).values(state="closed", closed_at=work.now))
    journal.append(work, "breach.close", object_ref=identifier, outcome="closed")
    return show(work, identifier)


def show(work: UnitOfWork, identifier: str) -> dict[str, Any]:
    """One breach, with the end of its 72 hours. Raises `Unknown`."""
    return _line(_row(work, identifier), work.now)


def list_(work: UnitOfWork) -> list[dict[str, Any]]:
    """Every breach, newest first, with what is left of the 72 hours."""
    return [_line(row, work.now) for row in work.connection.execute(select(table).order_by(table.c.id.desc()))]


def known(work: UnitOfWork, signal: str) -> bool:
    """Was this already written down, whatever the DPO made of it?"""
    return work.connection.scalar(select(table.c.id).where(table.c.signal == signal)) is not None


def touched(work: UnitOfWork, gateway: Gateway, client_id: str, start: str, end: str) -> dict[str, Any]:
    """Exactly which persons and records a client touched between two instants, under the pseudonyms of its body.

    What it read (`log.read`, with the person), searched, and wrote: each exchange, with the persons it spoke of, and
    each record of what exchanges rest on (a consent withdrawn…).
    Raises `Unknown` for a client that was never registered.
    """
    start, end = clock.told(start), clock.told(end)
    body = work.connection.execute(select(client.c.body).where(client.c.client_id == client_id)).scalar()
    if body is None:
        raise Unknown("client-unknown", "List the clients with `maillon partner list`.")
    reads: list[dict[str, Any]] = []
    exchanges: dict[str, str] = {}
    records: dict[str, str] = {}
    for entry in period(work.connection, start[:23] + "Z", end[:23] + "Z", sender=body):
        fields = entry.fields
        if fields.get("client_id") != client_id:
            continue
        if fields["event"] == "log.read" or (fields["event"] == "exchange.ack" and "subject" in fields):
            reads.append({"ts": entry.ts, "log": entry.log, "index": entry.idx, "what": fields.get("outcome", ""),
                          "subject": fields.get("subject")})  # fmt: skip
        elif exchange_id := fields.get("exchange_id"):
            exchanges.setdefault(exchange_id, entry.ts)
        elif not fields["event"].startswith("exchange.") and (
            record := fields.get("consent_ref") or fields.get("object_ref")
        ):
            records.setdefault(record, entry.ts)
    written = [
        *_written(work, gateway, body, client_id, exchanges),
        *_recorded(work, gateway, body, records),
    ]
    persons = {one["subject"] for one in reads if one["subject"]} | {one["subject"] for one in written}
    return {
        "client_id": client_id,
        "body": body,
        "from": start,
        "to": end,
        "persons": sorted(persons),
        "reads": reads,
        "written": written,
        "records": len(reads) + len(written),
    }


def _written(
    work: UnitOfWork, gateway: Gateway, body: str, client_id: str, exchanges: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The statements that these exchanges brought, each with the person, or the persons of the household."""
    found: list[dict[str, Any]] = []
    for some in batches(sorted(exchanges)):
        query = (
            select(assertion_set.c.exchange_id, assertion_set.c.subject_id, assertion_set.c.document, foyer.c.id)
            .join(exchange, exchange.c.id == assertion_set.c.exchange_id)
            .outerjoin(foyer, foyer.c.id == assertion_set.c.subject_id)
            .where(assertion_set.c.exchange_id.in_(some), exchange.c.client_id == client_id)
            .order_by(assertion_set.c.id)
        )
        for exchange_id, subject, document, home in work.connection.execute(query).all():
            people = [subject] if home is None else _members(work, home)
            found += [
                {"ts": exchanges[exchange_id], "exchange_id": exchange_id, "document": document,
                 "subject": gateway.keys.pseudonym(body, one)}
                for one in people
            ]  # fmt: skip
    return found


def _recorded(work: UnitOfWork, gateway: Gateway, body: str, records: Mapping[str, str]) -> list[dict[str, Any]]:
    """The basis records that were made or changed, each with its person."""
    found: list[dict[str, Any]] = []
    for some in batches(sorted(records)):
        query = select(basis_record.c.id, basis_record.c.person_id).where(basis_record.c.id.in_(some))
        found += [
            {"ts": records[record], "record": record, "document": "maillon.basis",
             "subject": gateway.keys.pseudonym(body, person)}
            for record, person in work.connection.execute(query.order_by(basis_record.c.id))
        ]  # fmt: skip
    return found


def _members(work: UnitOfWork, home: str) -> list[str]:
    rows = work.connection.execute(select(membership.c.person_id).where(membership.c.foyer_id == home).distinct())
    return sorted(rows.scalars())


def _parse(content: Mapping[str, Any]) -> Breach:
    try:
        return Breach.model_validate(content)
    except ValidationError as error:
        raise Invalid("breach-invalid", misread(error)) from None


def _dump(said: Breach) -> str:
    return rfc8785.dumps(said.model_dump(mode="json")).decode()


def _row(work: UnitOfWork, identifier: str) -> Any:
    row = work.connection.execute(select(table).where(table.c.id == identifier).with_for_update()).first()
    if row is None:
        raise Unknown("breach-unknown", "List the breaches with `maillon breach list`.")
    return row


def _line(row: Any, now: str) -> dict[str, Any]:
    due = clock.after(row.aware_at, NOTICE)
    content: dict[str, Any] = json.loads(row.content)
    return {
        "id": row.id, "kind": row.kind, "state": row.state, "detected_at": row.detected_at, "aware_at": row.aware_at,
        "due_at": due, "late": (row.cnil_notified_at or now) > due, "cnil_notified_at": row.cnil_notified_at,
        "persons_notified_at": row.persons_notified_at, "closed_at": row.closed_at,
    } | content  # fmt: skip
