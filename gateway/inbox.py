"""The mailbox of a body that has no server: documents wait, are fetched, then acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Select, delete, select, update

from connectors.contract import Outgoing
from connectors.manifest import Document
from gateway import clock
from gateway.deposit import content
from gateway.outbox import Claim, replay
from gateway.problems import Unknown
from gateway.registry import Gateway
from gateway.storage.tables.delivery import held_by_recipient, mailbox, outbox
from gateway.unit_of_work import UnitOfWork

NOTICE = "maillon.notification"
"""What a body is told about data it received: pseudonyms and codes only, kept unsealed, as it outlives the person."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One document in a mailbox, as listed: no content."""

    id: str
    document: str
    content_type: str
    person: str
    created_at: str
    fetched_at: str | None
    delivery: str
    """Id of the delivery, under which the journal tells it."""


def put(work: UnitOfWork, gateway: Gateway, outgoing: Outgoing, claimed: Claim, document: Document) -> None:
    """Leave a document for its recipient, sealed under the person's key."""
    work.add(
        mailbox,
        id=clock.new_id(),
        body=claimed.recipient,
        person_id=claimed.person_id,
        document=claimed.document,
        content_type=document.content_type[0],
        content=gateway.vault.seal_bytes(work, claimed.person_id, content(outgoing.written, document)),
        delivery_id=claimed.id,
        created_at=work.now,
    )


def letters(
    work: UnitOfWork,
    gateway: Gateway,
    body: str,
    after: str = "",
    limit: int = 50,
    opened: Callable[[Any], bool] = lambda _: True,
) -> list[Letter]:
    """What waits for this body, oldest first; acknowledged documents are not shown, nor those not `opened`."""
    columns = [one for one in mailbox.c if one is not mailbox.c.content]
    waiting = _sent(*columns).where(mailbox.c.body == body, mailbox.c.acknowledged_at.is_(None))
    rows = _pages(work, waiting.order_by(mailbox.c.id).limit(max(limit, 200)), after)
    return [
        Letter(
            row.id,
            row.document,
            row.content_type,
            "" if row.document == NOTICE else gateway.keys.pseudonym(body, row.person_id),
            row.created_at,
            row.fetched_at,
            row.delivery_id,
        )
        for row in islice(filter(opened, rows), limit)
    ]


def _pages(work: UnitOfWork, page: Select[Any], after: str) -> Iterator[Any]:
    while rows := work.connection.execute(page.where(mailbox.c.id > after)).all():
        yield from rows
        after = rows[-1].id


def _sent(*columns: Any) -> Select[Any]:
    """Letters with what their delivery says; a notice has none."""
    return select(*columns, outbox.c.flow, outbox.c.categories).outerjoin_from(
        mailbox, outbox, outbox.c.id == mailbox.c.delivery_id
    )


def fetch(work: UnitOfWork, gateway: Gateway, row: Any) -> bytes:
    """The content of a letter that was found, whatever the law says of it by now (`gateway/hand_over.py` asks)."""
    if row.fetched_at is None:
        work.connection.execute(update(mailbox).where(mailbox.c.id == row.id).values(fetched_at=work.now))
    return bytes(row.content) if row.document == NOTICE else gateway.vault.open_bytes(work, row.person_id, row.content)


def write_anew(work: UnitOfWork, person_id: str, since: str) -> None:
    """Take out of their mailboxes the letters about her, of since then, that nobody read: their deliveries are decided
    and written anew."""
    hers = mailbox.c.person_id == person_id, mailbox.c.document != NOTICE, mailbox.c.created_at >= since
    unread = delete(mailbox).where(*hers, mailbox.c.fetched_at.is_(None)).returning(mailbox.c.delivery_id)
    taken = list(work.connection.execute(unread).scalars())
    sent = select(outbox.c.recipient, outbox.c.document, outbox.c.item).where(outbox.c.id.in_(taken))
    for place in work.connection.execute(sent).all():
        its = (held_by_recipient.c[name] == value for name, value in place._mapping.items())
        work.connection.execute(delete(held_by_recipient).where(held_by_recipient.c.person_id == person_id, *its))
    replay(work, taken, ("delivered",))


def acknowledge(work: UnitOfWork, body: str, letter: str) -> Any:
    """The body has taken the document in: the letter as it was before. Acknowledging twice changes nothing."""
    row = find(work, body, letter)
    if row.acknowledged_at is None:
        waiting = (mailbox.c.id == letter) & mailbox.c.acknowledged_at.is_(None)
        if not work.connection.execute(update(mailbox).where(waiting).values(acknowledged_at=work.now)).rowcount:
            return find(work, body, letter)  # another transaction did, which this one waited for
    return row


def find(work: UnitOfWork, body: str, letter: str) -> Any:
    """The row of a letter of this body, with the `flow` and the `categories` of its delivery.

    Raises `Unknown`, also for somebody else's.
    """
    row = work.connection.execute(_sent(mailbox).where(mailbox.c.id == letter, mailbox.c.body == body)).first()
    if row is None:
        raise Unknown("letter-unknown", "Check the id against the list of the inbox.")
    return row
