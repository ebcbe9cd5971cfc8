"""Clearing what waits in quarantine: read again with the table as it is now, ask for the whole record again, or set
aside.

The kept record holds what was understood, and the code that was not. When the table knows it today, the missing fact
is put in its place and the record exchanged like any other. Where its place cannot be known (an item of a list, one
person among several), the record's digest is forgotten: its next sending is read whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sqlalchemy import insert, select, update

import mappings
from connectors.manifest import installed
from gateway import clock, journal, quarantine
from gateway.exchange import exchange
from gateway.problems import Conflict
from gateway.receipt import Receipt, Request
from gateway.registry import Gateway
from gateway.storage.tables.record import exchange as exchange_table
from gateway.storage.tables.record import quarantine as quarantine_table
from gateway.storage.tables.record import source_record
from gateway.unit_of_work import UnitOfWork
from mappings.engine import Mapping
from mappings.grammar import Row, Section
from mappings.types import Bad
from mappings.writing import dotted
from schemas.record import Record

BRACKETS = re.compile(r"\[[^\[\]]*\]")
_NO_DIGEST = b"\x00" * 32


def replay(work: UnitOfWork, gateway: Gateway, row_id: str) -> Receipt:
    """Read one finding again and exchange its record. Raises `Conflict`: `resend-needed`, `still-unknown`."""
    row = work.connection.execute(select(quarantine_table).where(quarantine_table.c.id == row_id)).one_or_none()
    if row is None or row.state != "open":
        raise Conflict("quarantine-settled", "This finding was settled already; read the list again.")
    if row.severity == "reject":
        raise Conflict("resend-needed", "A rejected record holds nothing to exchange; its sender sends it again.")
    record = quarantine.kept_record(work, gateway, row_id)
    path, value = _understood(work, gateway, row)
    _place(record, path, value)
    record.findings = []
    purposes = frozenset(gateway.document(row.sender, row.document).purposes)
    request = Request(clock.new_id(), row.sender, row.document, gateway.flows(work, row.sender, purposes))
    work.connection.execute(
        insert(exchange_table).values(
            id=request.id,
            sender=row.sender,
            document=row.document,
            purpose=",".join(sorted(purposes)),
            received_at=work.now,
            records=1,
        )
    )
    receipt = exchange(work, gateway, request, [record], first=row.position)[0]
    quarantine.settle(work, row_id, "replayed")
    journal.append(
        work,
        "input.release",
        exchange_id=request.id,
        sender_org=row.sender,
        n_records=1,
        outcome="replayed",
        reason_code=row.code,
    )
    return receipt


def read_next_time(work: UnitOfWork, gateway: Gateway, row_id: str) -> None:
    """Forget that this record was seen: its next sending is read whole, unchanged or not."""
    row = work.connection.execute(select(quarantine_table).where(quarantine_table.c.id == row_id)).one()
    record = quarantine.kept_record(work, gateway, row_id)
    index = gateway.dossiers.record_index(row.sender, row.document, record.key)
    work.connection.execute(update(source_record).where(source_record.c.record_h == index).values(digest=_NO_DIGEST))
    quarantine.settle(work, row_id, "replayed")
    journal.append(
        work, "input.release", sender_org=row.sender, n_records=1, outcome="next-sending", reason_code=row.code
    )


def dismiss(work: UnitOfWork, row_id: str) -> None:
    """Set a finding aside for good: what it held is not exchanged."""
    row = work.connection.execute(select(quarantine_table).where(quarantine_table.c.id == row_id)).one()
    quarantine.settle(work, row_id, "dismissed")
    journal.append(work, "input.release", sender_org=row.sender, n_records=1, outcome="dismissed", reason_code=row.code)


# --- what the table says now ------------------------------------------------------------


def knows(work: UnitOfWork, gateway: Gateway, row: Any) -> bool:
    """Would the tables of today understand this finding? Reads the raw value without showing it."""
    try:
        _understood(work, gateway, row)
    except Conflict:
        return False
    return True


def _understood(work: UnitOfWork, gateway: Gateway, row: Any) -> tuple[str, Any]:
    """(canonical path, value) of what was not understood."""
    raw = quarantine.raw(work, gateway, row.id)
    if not raw:
        raise Conflict("resend-needed", "The value was not kept; the sender sends the record again.")
    wanted = _shape(row.path)
    for mapping in _mappings(gateway, row.sender, row.document):
        for path, partner, one in rows(mapping):
            if one.codes and (wanted == _shape(partner) or wanted.endswith("/" + _shape(partner))):
                return path, _read(mapping, one, raw)
    raise Conflict("resend-needed", "No row of the mapping reads this element any more.")


def _read(mapping: Mapping, row: Row, raw: str) -> Any:
    try:
        value = mapping.tables[str(row.codes)].read(raw)
    except Bad:
        raise Conflict("still-unknown", "The code table does not know this code yet; complete it first.") from None
    if value is None:
        raise Conflict("resend-needed", "The code means nothing here; set the finding aside.")
    return value


def _mappings(gateway: Gateway, sender: str, document: str) -> Iterator[Mapping]:
    connector = gateway.body(sender).connector
    for name in installed()[connector].manifest.documents[document].mapping:
        if (one := mappings.load(name)).file.direction != "write":
            yield one


def rows(mapping: Mapping, *, writing: bool = False) -> Iterator[tuple[str, str, Row]]:
    """(canonical path, partner path, row) of every row that reads a fact, or that writes one."""
    yield from _rows(mapping, mapping.file.section, "", "", writing)


def _rows(
    mapping: Mapping, sections: tuple[Section, ...], canonical: str, partner: str, writing: bool
) -> Iterator[tuple[str, str, Row]]:
    mark = "/" if mapping.file.partner.format == "xml" else "."
    for section in sections:
        inside, at = dotted(canonical, section.canonical), _joined(partner, section.partner, mark)
        for row in section.fields:
            if row.canonical is not None and (row.writes if writing else row.reads):
                for name in row.partners:
                    yield dotted(inside, row.canonical), _joined(at, name, mark), row
        yield from _rows(mapping, section.section, inside, at, writing)


def _joined(before: str, after: str, mark: str) -> str:
    return f"{before}{mark}{after}" if before and after else before or after


def _shape(path: str) -> str:
    """A partner's path without its ranks and conditions, `/` between names."""
    return BRACKETS.sub("", path).replace(".", "/").strip("/")


def _place(record: Record, path: str, value: Any) -> None:
    if "[]" in path:
        raise Conflict("resend-needed", "The code belongs to an item of a list; the record must be read again whole.")
    if path.startswith("foyer.") or (path.startswith("droit_rsa.") and not path.endswith("soumis_droits_devoirs")):
        record.foyer[path] = value
    elif len(record.personnes) == 1:
        record.personnes[0].facts[path] = value
    else:
        raise Conflict("resend-needed", "The record speaks of several persons; it must be read again whole.")
