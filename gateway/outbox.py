"""The outbox: deliveries waiting, in flight and settled. It is the source of truth; what wakes a worker up is not.

Order is kept per (recipient, person): a delivery is ready only when no earlier one for the same pair is open. A claim
is a lease with a fence: a worker that died loses its lease, and its late settlement carries an old fence and changes
nothing.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import and_, bindparam, exists, func, or_, select, update

from gateway import clock
from gateway.storage.tables.delivery import outbox, recipient_state
from gateway.unit_of_work import UnitOfWork

OPEN = ("queued", "claimed")
MAX_ATTEMPTS = 12
_FIRST_DELAY, _LONGEST_DELAY = 2.0, 3600.0

_CLAIM = (
    update(outbox)
    .where(outbox.c.id == bindparam("delivery"))
    .values(state="claimed", fence=outbox.c.fence + 1, attempts=outbox.c.attempts + 1, lease_until=bindparam("until"))
)


@dataclass(frozen=True, slots=True)
class Claim:
    """One delivery this worker may carry out until its lease ends."""

    id: str
    recipient: str
    person_id: str
    sender: str
    document: str
    item: str
    flow: str
    exchange_id: str
    attempts: int
    fence: int


def enqueue(
    work: UnitOfWork,
    *,
    recipient: str,
    person_id: str,
    sender: str,
    document: str,
    item: str,
    flow: str,
    exchange_id: str,
) -> str:
    """Promise a delivery; it becomes visible when the transaction commits. Returns its id."""
    delivery = clock.new_id()
    work.add(
        outbox,
        id=delivery,
        recipient=recipient,
        person_id=person_id,
        sender=sender,
        document=document,
        item=item,
        flow=flow,
        exchange_id=exchange_id,
        state="queued",
        next_at=work.now,
        created_at=work.now,
    )
    return delivery


def recipients_with_work(work: UnitOfWork) -> list[str]:
    """The bodies that have something due and are neither paused nor asking to be left alone."""
    rows = work.connection.execute(
        select(outbox.c.recipient)
        .distinct()
        .outerjoin(recipient_state, recipient_state.c.recipient == outbox.c.recipient)
        .where(_due(work.now))
        .where(func.coalesce(recipient_state.c.paused, 0) == 0)
        .where(or_(recipient_state.c.retry_at.is_(None), recipient_state.c.retry_at <= work.now))
    )
    return sorted(row.recipient for row in rows)


def _due(now: str):  # type: ignore[no-untyped-def]
    return or_(
        and_(outbox.c.state == "queued", outbox.c.next_at <= now),
        and_(outbox.c.state == "claimed", outbox.c.lease_until < now),
    )


def claim(work: UnitOfWork, recipient: str, limit: int, lease: float) -> list[Claim]:
    """Take up to `limit` due deliveries of one recipient for `lease` seconds, oldest first, one per person."""
    earlier = outbox.alias("earlier")
    query = (
        select(outbox)
        .where(outbox.c.recipient == recipient, _due(work.now))
        .where(
            ~exists().where(
                earlier.c.recipient == outbox.c.recipient,
                earlier.c.person_id == outbox.c.person_id,
                earlier.c.state.in_(OPEN),
                earlier.c.id < outbox.c.id,
            )
        )
        .order_by(outbox.c.id)
        .limit(limit)
    )
    if work.connection.dialect.name == "postgresql":
        query = query.with_for_update(skip_locked=True, of=outbox)
    rows = work.connection.execute(query).all()
    until = clock.instant(clock.now() + timedelta(seconds=lease))
    if rows:
        work.connection.execute(_CLAIM, [{"delivery": row.id, "until": until} for row in rows])
    return [
        Claim(
            row.id, row.recipient, row.person_id, row.sender, row.document, row.item, row.flow, row.exchange_id,
            row.attempts + 1, row.fence + 1,
        )
        for row in rows
    ]  # fmt: skip


def settle(
    work: UnitOfWork,
    claimed: Claim,
    state: str,
    *,
    reason: str = "",
    article: str | None = None,
    categories: str | None = None,
    withheld: str | None = None,
) -> bool:
    """Close a claim as `delivered`, `withheld`, `waiting` or `dead`. False when the lease had passed to another."""
    done = work.connection.execute(
        update(outbox)
        .where(outbox.c.id == claimed.id, outbox.c.fence == claimed.fence, outbox.c.state == "claimed")
        .values(
            state=state,
            reason=reason or None,
            article=article,
            categories=categories,
            withheld=withheld,
            lease_until=None,
            settled_at=work.now,
        )
    )
    return done.rowcount == 1


def put_back(work: UnitOfWork, claimed: Claim, reason: str, retry_after: float | None) -> bool:
    """Try again later: as the recipient asks, or after an exponential delay with full jitter; dead in the end."""
    if claimed.attempts >= MAX_ATTEMPTS:
        return settle(work, claimed, "dead", reason=reason)
    ceiling = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** (claimed.attempts - 1))
    delay = max(retry_after or 0.0, random.uniform(ceiling / 2, ceiling))
    done = work.connection.execute(
        update(outbox)
        .where(outbox.c.id == claimed.id, outbox.c.fence == claimed.fence, outbox.c.state == "claimed")
        .values(
            state="queued",
            reason=reason,
            lease_until=None,
            next_at=clock.instant(clock.now() + timedelta(seconds=delay)),
        )
    )
    return done.rowcount == 1


def replay(work: UnitOfWork, deliveries: Sequence[str]) -> int:
    """Queue dead, waiting or withheld deliveries again; they are decided and written anew."""
    done = work.connection.execute(
        update(outbox)
        .where(outbox.c.id.in_(deliveries), outbox.c.state.in_(("dead", "waiting", "withheld")))
        .values(state="queued", attempts=0, next_at=work.now, settled_at=None, reason=None)
    )
    return done.rowcount


def replay_waiting(work: UnitOfWork, person_id: str) -> int:
    """Something new is known of this person: what waited for it goes again."""
    done = work.connection.execute(
        update(outbox)
        .where(outbox.c.person_id == person_id, outbox.c.state == "waiting")
        .values(state="queued", attempts=0, next_at=work.now, settled_at=None, reason=None)
    )
    return done.rowcount
