"""What could not be understood waits here, whole and sealed, for a human: fixed in the table, then replayed.

Rejected records and quarantined findings are both kept: nothing a partner sent is dropped. The list shows codes and
paths only; the raw value and the record are sealed under the gateway's own quarantine key.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from pydantic_core import from_json, to_json
from sqlalchemy import delete, func, select, update

from gateway import clock, journal
from gateway.dossier import NO_DIGEST
from gateway.identity import CERTAIN
from gateway.keys import seal, unseal
from gateway.problems import Conflict, Unknown
from gateway.receipt import Receipt, Request
from gateway.registry import Gateway
from gateway.storage.tables.record import assertion_set, identifier, membership, quarantine, source_record
from gateway.unit_of_work import UnitOfWork
from schemas.record import Finding, PersonFacts, Record

MAX_KEPT = 256 * 1024
"""Bytes of a document kept to be read again."""


def reject(work: UnitOfWork, gateway: Gateway, request: Request, record: Record, position: int) -> Receipt:
    """A record that cannot be applied at all: kept with its reasons, journaled, counted."""
    keep(work, gateway, request, record, position)
    entry = journal.append(
        work,
        "input.reject",
        exchange_id=request.id,
        sender_org=request.sender,
        n_records=1,
        outcome="rejected",
        reason_code=next(finding.code for finding in record.findings if finding.severity == "reject"),
    )
    return Receipt("rejected", findings=len(record.findings), entry=entry)


def keep(work: UnitOfWork, gateway: Gateway, request: Request, record: Record, position: int) -> None:
    """Write down each finding that a human must see, and with the first the record they were found in: with each, a
    record of a thousand findings would weigh a thousand times what was sent."""
    key = gateway.keys.secret("quarantine")
    whole: bytes | None = _pack(record)
    for finding in record.findings:
        if finding.severity == "notice":
            continue
        id = clock.new_id()
        work.add(
            quarantine,
            id=id,
            exchange_id=request.id,
            sender=request.sender,
            document=request.document,
            position=position,
            code=finding.code,
            path=finding.path[:200],
            severity=finding.severity,
            detail=finding.detail,
            raw=seal(key, finding.raw.encode(), id.encode()) if finding.raw else None,
            record=seal(key, whole, id.encode()) if whole else None,
            state="open",
            created_at=work.now,
            settled_at=None,
        )
        whole = None


def with_bytes(records: list[Record], content: bytes) -> list[Record]:
    """Let the only record of a document keep the document itself, when its connector kept nothing of it.

    A record among others does not: what is kept of one person must hold nobody else.
    """
    if len(records) == 1 and records[0].original is None and len(content) <= MAX_KEPT:
        records[0].original = partial(bytes, content)
    return records


def counts(work: UnitOfWork) -> list[tuple[str, str, str, int]]:
    """Open findings by document, code and path: what an engineer looks at first."""
    rows = work.connection.execute(
        select(quarantine.c.document, quarantine.c.code, quarantine.c.path, func.count())
        .where(quarantine.c.state == "open")
        .group_by(quarantine.c.document, quarantine.c.code, quarantine.c.path)
        .order_by(func.count().desc(), quarantine.c.document, quarantine.c.path)
    )
    return [tuple(row) for row in rows]


def raw(work: UnitOfWork, gateway: Gateway, row_id: str) -> str:
    """The value that was not understood, verbatim. Reading it is an access to personal data: journal it."""
    kept = row(work, row_id).raw
    return unseal(gateway.keys.secret("quarantine"), kept, row_id.encode()).decode() if kept else ""


def kept_record(work: UnitOfWork, gateway: Gateway, row_id: str) -> Record:
    """The record as it was read, to be exchanged again."""
    one = row(work, row_id)
    holds = select(quarantine.c.id, quarantine.c.record).where(_together(one), quarantine.c.record.is_not(None))
    kept = work.connection.execute(holds.limit(1)).first() if one.state == "open" else None
    if kept is None:
        raise Conflict("quarantine-settled", "This finding was settled already; its content is no longer kept.")
    return _unpack(unseal(gateway.keys.secret("quarantine"), kept.record, kept.id.encode()))


def settle(work: UnitOfWork, row_id: str, state: str) -> None:
    """Close a finding as `replayed` or `dismissed`; its value is not kept any longer, nor its record once the last of
    its findings is closed. Raises `Conflict` when it was settled already."""
    one = row(work, row_id)
    if not _close(work, quarantine.c.id == row_id, state):
        raise Conflict("quarantine-settled", "This finding was settled already; read the list again.")
    if not found_with(work, row_id):
        work.connection.execute(update(quarantine).where(_together(one)).values(record=None))


def settle_record(work: UnitOfWork, one: Any, state: str) -> int:
    """Close all that waits of the record of this row; nothing of it is kept any longer. Returns how many findings."""
    closed = _close(work, _together(one), state)
    work.connection.execute(update(quarantine).where(_together(one)).values(record=None))
    return closed


def _close(work: UnitOfWork, where: Any, state: str) -> int:
    closed = {"state": state, "settled_at": work.now, "raw": None}
    open_ = where & (quarantine.c.state == "open")
    return work.connection.execute(update(quarantine).where(open_).values(**closed)).rowcount


def _together(one: Any) -> Any:
    """The findings of one record of one exchange."""
    return (quarantine.c.exchange_id == one.exchange_id) & (quarantine.c.position == one.position)


def dismiss(work: UnitOfWork, row_id: str) -> None:
    """Set a finding aside for good: what it held is not exchanged."""
    one = row(work, row_id)
    settle(work, row_id, "dismissed")
    _released(work, one, "dismissed")


def read_next_time(work: UnitOfWork, gateway: Gateway, row_id: str) -> None:
    """Forget that this record was seen: its next sending is read whole, unchanged or not."""
    one = row(work, row_id)
    index = gateway.dossiers.record_index(one.sender, one.document, kept_record(work, gateway, row_id).key)
    work.connection.execute(update(source_record).where(source_record.c.record_h == index).values(digest=NO_DIGEST))
    settle(work, row_id, "replayed")
    _released(work, one, "next-sending")


def _released(work: UnitOfWork, one: Any, outcome: str) -> None:
    journal.append(work, "input.release", sender_org=one.sender, n_records=1, outcome=outcome, reason_code=one.code)


def found_with(work: UnitOfWork, row_id: str) -> list[str]:
    """The open findings of the same record of the same exchange, this one among them."""
    one = row(work, row_id)
    query = select(quarantine.c.id).where(_together(one), quarantine.c.state == "open").order_by(quarantine.c.id)
    return list(work.connection.execute(query).scalars())


def forget(work: UnitOfWork, gateway: Gateway, people: Collection[str]) -> int:
    """Take these people out of every record kept here, settled or not; rows that held nobody else are deleted.

    The verbatim value of a finding goes too, as it may be theirs. Returns how many rows were changed.
    """
    key, changed = gateway.keys.secret("quarantine"), 0
    for one, record, others in list(holding(work, gateway, people)):
        if not others:
            changed += work.connection.execute(delete(quarantine).where(_together(one))).rowcount
            continue
        record.personnes, record.original = others, None
        record.findings = [replace(finding, raw="") for finding in record.findings]
        resealed = seal(key, _pack(record), one.id.encode())
        changed += work.connection.execute(update(quarantine).where(_together(one)).values(raw=None)).rowcount
        work.connection.execute(update(quarantine).where(quarantine.c.id == one.id).values(record=resealed))
    return changed


def erased_at_source(work: UnitOfWork, gateway: Gateway, sender: str, document: str, keys: Collection[str]) -> None:
    """Dismiss what waits of these records, with its content: their sender has erased them. Rejected as a whole, a
    record left nothing but this. Every one kept of this document is opened: few are, and few are erased."""
    if not keys:
        return
    key = gateway.keys.secret("quarantine")
    columns = (quarantine.c.id, quarantine.c.exchange_id, quarantine.c.position, quarantine.c.record)
    kept = (quarantine.c.sender == sender, quarantine.c.document == document, quarantine.c.record.is_not(None))
    rows = work.connection.execute(select(*columns).where(*kept)).all()
    for one in rows:
        if _unpack(unseal(key, one.record, one.id.encode())).key in keys:
            settle_record(work, one, "dismissed")


def holding(
    work: UnitOfWork, gateway: Gateway, people: Collection[str]
) -> Iterator[tuple[Any, Record, list[PersonFacts]]]:
    """Records that speak of one of these people: (the row that holds it, the record, the others it speaks of).

    She is recognised by her identifiers, by the sender's own key of the record, or by her name, first name and birth
    date when no other NIR contradicts. Every record is opened: this is for the rights of one person, not for traffic.
    """
    if not people:
        return
    rows = work.connection.execute(select(identifier.c.index_h).where(identifier.c.subject_id.in_(people))).scalars()
    indexes = frozenset(bytes(one) for one in rows)
    said = select(assertion_set.c.record_h).where(assertion_set.c.subject_id.in_(people))
    places = frozenset(bytes(one) for one in work.connection.execute(said).scalars())
    homes = select(membership.c.foyer_id).where(membership.c.person_id.in_(people))
    named = select(identifier.c.index_h).where(identifier.c.subject_id.in_(homes), identifier.c.system == "foyer")
    households = frozenset(bytes(one) for one in work.connection.execute(named).scalars())
    key = gateway.keys.secret("quarantine")
    columns = (quarantine.c[name] for name in ("id", "exchange_id", "position", "sender", "document", "record"))
    for row in work.connection.execute(select(*columns).where(quarantine.c.record.is_not(None))).all():
        record = _unpack(unseal(key, row.record, row.id.encode()))
        if not record.personnes and gateway.dossiers.record_index(row.sender, row.document, record.key) in households:
            yield row, record, []  # unreadable, of a household she lives or lived in
            continue
        ranked = list(enumerate(record.personnes)) or [(0, PersonFacts({}))]
        keyed = [(one, f"{record.key}\x00{one.key or rank}") for rank, one in ranked]
        hers = [
            one
            for one, name in keyed
            if gateway.dossiers.record_index(row.sender, row.document, name) in places
            or _is_one_of(gateway, one, people, indexes)
        ]
        if hers:
            yield row, record, [one for one in record.personnes if one not in hers]


def _is_one_of(gateway: Gateway, one: PersonFacts, people: Collection[str], indexes: frozenset[bytes]) -> bool:
    if one.person_id in people:
        return True
    told = gateway.identity.keys_of(one.facts)
    if any(gateway.identity.under(told, system) & indexes for system in CERTAIN):
        return True
    other_nir = told.nir is not None and told.nir not in indexes
    return not other_nir and bool(gateway.identity.under(told, "nom+date") & indexes)


def row(work: UnitOfWork, row_id: str) -> Any:
    """One finding as it was written down. Raises `Unknown`."""
    found = work.connection.execute(select(quarantine).where(quarantine.c.id == row_id)).first()
    if found is None:
        raise Unknown("quarantine-unknown", "Check the id against the quarantine list.")
    return found


def _pack(record: Record) -> bytes:
    return to_json(
        {
            "key": record.key,
            "personnes": [{"facts": one.facts, "key": one.key} for one in record.personnes],
            "foyer": record.foyer,
            "findings": [[f.code, f.path, f.severity, f.raw, f.detail] for f in record.findings],
            "asserted_at": clock.instant(record.asserted_at) if record.asserted_at else None,
            "partial": record.partial,
            "silent": record.silent,
            "original": b64encode(record.original()).decode() if record.original else None,
        }
    )


def _unpack(packed: bytes) -> Record:
    told = from_json(packed)
    return Record(
        key=told["key"],
        personnes=[PersonFacts(one["facts"], one["key"]) for one in told["personnes"]],
        foyer=told["foyer"],
        findings=[Finding(*one) for one in told["findings"]],
        asserted_at=datetime.fromisoformat(told["asserted_at"]) if told["asserted_at"] else None,
        partial=told["partial"],
        silent=tuple(told.get("silent", ())),
        original=partial(b64decode, told["original"]) if told.get("original") else None,
    )
