"""Who has received what: the bodies that were given something of a person, by a delivery or because they read it."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import or_, select

from gateway import journal
from gateway.registry import Gateway
from gateway.storage.tables.delivery import outbox
from gateway.unit_of_work import UnitOfWork

_GAVE = {"exchange.permit": ("dossier",), "exchange.ack": ("delivered", "duplicate")}


def past_recipients(work: UnitOfWork, gateway: Gateway, person_id: str, purpose: str = "") -> list[str]:
    """Bodies to which something of this person was delivered, or that read it, for one purpose or for any."""
    query = (
        select(outbox.c.recipient)
        .distinct()
        .where(outbox.c.person_id == person_id, outbox.c.state.in_(("delivered", "claimed")))
    )
    if purpose:
        query = query.where(or_(outbox.c.flow.endswith(f":{purpose}"), outbox.c.flow == ""))
    delivered = {row.recipient for row in work.connection.execute(query)}
    return sorted(delivered | given(work, gateway, person_id, purpose).keys())


def given(work: UnitOfWork, gateway: Gateway, person_id: str, purpose: str = "") -> dict[str, set[str]]:
    """Body → C-codes that the journal says it was given: deliveries it acknowledged, what it read of the dossier, acts
    transmitted from a work list. What was pruned from the journal is forgotten here; deliveries stay in the outbox."""
    names = {gateway.keys.pseudonym(body, person_id): body for body in gateway.bodies}
    found: dict[str, set[str]] = defaultdict(set)
    for entry in journal.about(work.connection, names, _GAVE):
        said = entry.fields
        if said.get("outcome") in _GAVE[said["event"]] and purpose in ("", said.get("purpose")):
            found[said["recipient_org"]] |= set(said.get("categories_sent", ()))
    return dict(found)
