"""Who has received what: the bodies that hold something of a person, by what was delivered to them."""

from __future__ import annotations

from sqlalchemy import or_, select

from gateway.storage.tables.delivery import outbox
from gateway.unit_of_work import UnitOfWork


def past_recipients(work: UnitOfWork, person_id: str, purpose: str = "") -> list[str]:
    """Bodies to which something of this person was delivered, for one purpose or for any."""
    query = (
        select(outbox.c.recipient)
        .distinct()
        .where(outbox.c.person_id == person_id, outbox.c.state.in_(("delivered", "claimed")))
    )
    if purpose:
        query = query.where(or_(outbox.c.flow.endswith(f":{purpose}"), outbox.c.flow == ""))
    return sorted(row.recipient for row in work.connection.execute(query))
