"""Who has received what: the bodies that were given something of a person, by a delivery or because they read it.

A delivery that left and whose answer never came may have been received: its recipient is told as the others are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from sqlalchemy import or_, select

from gateway import journal
from gateway.journal_entry import GAVE
from gateway.registry import Gateway
from gateway.storage.tables.delivery import outbox
from gateway.unit_of_work import UnitOfWork

_LEFT = {"exchange.deliver": ("sending",)}


def past_recipients(work: UnitOfWork, gateway: Gateway, person_id: str, purpose: str = "") -> list[str]:
    """Bodies to which something of this person was delivered or sent, or that read it, for one purpose or for any.

    A delivery being decided on is waited for, and one that is not claimed yet is decided on after this transaction:
    nobody receives what was allowed before a withdrawal without being told of it. The caller has changed nothing yet.
    """
    open_ = outbox.c.person_id == person_id, outbox.c.state.in_(("queued", "claimed"))
    work.connection.execute(select(outbox.c.id).where(*open_).order_by(outbox.c.id).with_for_update(read=True)).all()
    query = (
        select(outbox.c.recipient)
        .distinct()
        .where(outbox.c.person_id == person_id, outbox.c.state.in_(("delivered", "claimed")))
    )
    if purpose:
        query = query.where(or_(outbox.c.flow.endswith(f":{purpose}"), outbox.c.flow == ""))
    delivered = {row.recipient for row in work.connection.execute(query)}
    return sorted(delivered | _told_by_journal(work, gateway, person_id, purpose, GAVE | _LEFT).keys())


def given(work: UnitOfWork, gateway: Gateway, person_id: str) -> dict[str, set[str]]:
    """Body → C-codes that the journal says it was given: deliveries it acknowledged, what it read of the dossier, acts
    transmitted from a work list. What was pruned from the journal is forgotten here; the last delivery
    of each document stays in the outbox."""
    return _told_by_journal(work, gateway, person_id, "", GAVE)


def _told_by_journal(
    work: UnitOfWork, gateway: Gateway, person_id: str, purpose: str, events: Mapping[str, tuple[str, ...]]
) -> dict[str, set[str]]:
    names = {gateway.keys.pseudonym(body, person_id): body for body in gateway.bodies}
    found: dict[str, set[str]] = defaultdict(set)
    for entry in journal.about(work.connection, names, events):
        said = entry.fields
        if said.get("outcome") in events[said["event"]] and purpose in ("", said.get("purpose")):
            found[said["recipient_org"]] |= set(said.get("categories_sent", ()))
    return dict(found)
