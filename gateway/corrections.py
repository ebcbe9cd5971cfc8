"""What changes of a person reaches whoever was delivered it before, also through the flow of another body.

A recipient holds a document written from the whole dossier: when one of its sources says something else, the document
is promised again, in the name of the body whose flow carries it, and decided anew when it leaves. One that would be the
same as the recipient holds is not sent.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import select

from connectors.manifest import Document
from gateway import outbox
from gateway.lookup import rows
from gateway.registry import Gateway
from gateway.storage.tables.delivery import outbox as table
from gateway.storage.tables.record import identity_case
from gateway.unit_of_work import UnitOfWork
from schemas import paths
from schemas.record import Current

_COLUMNS = (
    "id", "recipient", "person_id", "sender", "document", "item", "flow", "exchange_id", "categories", "settled_at",
)  # fmt: skip


def items_of(item: str, changed: paths.Shapes) -> list[str]:
    """For a form about one object (a rendez-vous), the keys of the objects that changed; else one delivery."""
    if not item:
        return [""]
    about = (its for shape, its in changed.items() if shape.startswith(f"{item}[]"))
    start = len(item) + 1
    return sorted({path[start : path.index("]")] for its in about for path in its})


def send_again(
    work: UnitOfWork,
    gateway: Gateway,
    people: Sequence[str],
    changed: set[str],
    exchange_id: str = "",
    *,
    known_by: str = "",
    offered: Collection[str] = (),
) -> tuple[tuple[str, ...], set[str]]:
    """Queue again the last delivery of each document that could carry a changed value; the deliveries, who holds them.

    Without `exchange_id` they stay with the exchange that first carried them, and what is only promised is followed by
    another promise. Left out: the body the change is `known_by`, and flows to which it was `offered` already.
    """
    told = paths.by_shape(changed)
    categories = paths.categories(told)
    deliveries, holders = [], set()
    for row in last_delivered(work, people, promised=not exchange_id):
        if row.recipient == known_by or row.flow in offered or not gateway.speaks(row.recipient, row.document):
            continue
        document = gateway.document(row.recipient, row.document)
        carried = gateway.categories(document) & categories
        if not carried or (row.item and row.item not in items_of(document.item, told)):
            continue
        delivery = outbox.enqueue(
            work, recipient=row.recipient, person_id=row.person_id, sender=row.sender, document=row.document,
            item=row.item, flow=row.flow, exchange_id=exchange_id or row.exchange_id,
        )  # fmt: skip
        deliveries.append(delivery)
        holders.add(row.recipient)
    return tuple(deliveries), holders


def settled(work: UnitOfWork, gateway: Gateway, one: str, other: str) -> None:
    """A human said that `one` is `other`, or that she is not after all: whoever holds a document about either is
    offered it again, without what is another's, and what waited for a fact goes if it is known now."""
    changed = set(gateway.dossiers.current(work, one))
    send_again(work, gateway, [one, other], changed)
    for each in (one, other):
        outbox.replay_waiting(work, each)


def of_another(
    work: UnitOfWork, gateway: Gateway, person_id: str, document: Document, item: str, current: Current
) -> bool:
    """Is the object that a delivery was about another person's, whom a human told apart from her after a merge?

    An object that its sender merely says no more is nobody else's: a silence takes nothing back.
    """
    object_ = f"{document.item}[{item}]."
    if not item or any(path.startswith(object_) for path in current):
        return False
    apart = (identity_case.c.candidate_id == person_id) & (identity_case.c.state == "reversed")
    others = work.connection.execute(select(identity_case.c.person_id).where(apart)).scalars().all()
    return any(path.startswith(object_) for other in others for path in gateway.dossiers.current(work, other))


def last_delivered(work: UnitOfWork, people: Sequence[str], *, promised: bool = False) -> list[Any]:
    """The last delivery of each document to each body, made or in flight; or only `promised`: it may leave before this
    commits, written from what was known before."""
    states = "'delivered', 'claimed', 'queued'" if promised else "'delivered', 'claimed'"
    found = rows(work.connection, table, _COLUMNS, "person_id", people, f"state IN ({states})")
    found.sort(key=lambda row: row.id)
    return list({(row.recipient, row.person_id, row.document, row.item): row for row in found}.values())
