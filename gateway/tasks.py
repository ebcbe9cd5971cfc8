"""What a human must look at: an open household that a full file left out, a code to choose.

Nothing is closed because of a silence, nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert, select, update

from gateway import clock
from gateway.dossier import Place
from gateway.lookup import batches
from gateway.problems import Conflict, Unknown
from gateway.receipt import Request
from gateway.registry import Gateway
from gateway.stays import CLOSED
from gateway.storage.tables.record import identifier, source_record, task
from gateway.unit_of_work import UnitOfWork

ABSENT = "absent-from-stock"


def after_stock(work: UnitOfWork, gateway: Gateway, request: Request, emitted_at: str, began: str) -> int:
    """Compare a full file that was just read with what is known of the same caisses.

    Opens one task per household whose right is open and that the file left out; settles those told again. Returns how
    many tasks were opened. A file older than another full one finds nothing: everything was told since. What a file of
    a moment to come says counts from when it was read, which `began` tells.
    """
    emitted_at, until = min(emitted_at, began), (work.now if emitted_at > began else emitted_at)
    _told_again(work, request, emitted_at)
    prefix = f"{request.sender}|{request.document}|"
    scopes = select(source_record.c.scope).where(
        source_record.c.asserted_at.between(emitted_at, until),
        source_record.c.scope.startswith(prefix, autoescape=True),
    )
    left_out = work.connection.execute(
        select(source_record.c.record_h, identifier.c.subject_id)
        .join(identifier, (identifier.c.index_h == source_record.c.record_h) & (identifier.c.system == "foyer"))
        .where(source_record.c.scope.in_(scopes.distinct()), source_record.c.asserted_at < emitted_at)
    ).all()
    already = select(task.c.subject_id).where(task.c.kind == ABSENT, task.c.state == "open")
    waiting = set(work.connection.execute(already).scalars())
    opened = 0
    for some in batches(left_out):
        part = [row for row in some if row.subject_id not in waiting]
        opened += _open(work, gateway, request, part, emitted_at)
    return opened


def _open(work: UnitOfWork, gateway: Gateway, request: Request, rows: Sequence[Any], emitted_at: str) -> int:
    gateway.dossiers.prefetch(work, [row.subject_id for row in rows])
    found = [row for row in rows if _is_open(work, row.subject_id)]
    for row in found:
        work.connection.execute(
            insert(task).values(
                id=clock.new_id(),
                kind=ABSENT,
                subject_id=row.subject_id,
                record_h=row.record_h,
                sender=request.sender,
                document=request.document,
                exchange_id=request.id,
                since=emitted_at,
                state="open",
                opened_at=work.now,
            )
        )
    return len(found)


def _is_open(work: UnitOfWork, foyer_id: str) -> bool:
    states = {one.facts.get("droit_rsa.etat") for one in work.scratch["dossier"][foyer_id].values()}
    return bool(states) and not states & CLOSED


def _told_again(work: UnitOfWork, request: Request, emitted_at: str) -> None:
    told = select(source_record.c.record_h).where(source_record.c.asserted_at >= emitted_at)
    work.connection.execute(
        update(task)
        .where(task.c.kind == ABSENT, task.c.state == "open", task.c.sender == request.sender)
        .where(task.c.document == request.document, task.c.since < emitted_at, task.c.record_h.in_(told))
        .values(state="settled", settled_at=work.now)
    )


def open_once(work: UnitOfWork, kind: str, subject: str, place: Place, exchange_id: str, since: str) -> None:
    """Open a task about what one body said of a subject in one of its records, unless the same is open."""
    sender, document, record_h = place
    told = {"kind": kind, "subject_id": subject, "record_h": record_h, "exchange_id": exchange_id, "state": "open"}
    if not work.connection.execute(select(task.c.id).where(*(task.c[name] == told[name] for name in told))).first():
        told |= {"id": clock.new_id(), "sender": sender, "document": document, "since": since, "opened_at": work.now}
        work.connection.execute(insert(task).values(**told))


def open_tasks(work: UnitOfWork, subjects: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Open tasks, oldest first; of these subjects only when given."""
    columns = (task.c.id, task.c.kind, task.c.subject_id, task.c.sender, task.c.document, task.c.since)
    query = select(*columns).where(task.c.state == "open").order_by(task.c.id)
    if subjects is not None:
        query = query.where(task.c.subject_id.in_(subjects))
    return [dict(row._mapping) for row in work.connection.execute(query)]


def dismiss(work: UnitOfWork, task_id: str) -> None:
    """A human looked: nothing to do. Raises `Unknown`, or `Conflict` when it was closed already."""
    row = work.connection.execute(select(task).where(task.c.id == task_id)).first()
    if row is None:
        raise Unknown("task-unknown", "Check the id against the list of alerts.")
    if row.state != "open":
        raise Conflict("task-settled", "This task was closed already; read the list again.")
    work.connection.execute(update(task).where(task.c.id == task_id).values(state="dismissed", settled_at=work.now))
