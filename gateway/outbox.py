"""The outbox: deliveries waiting, in flight and settled. It is the source of truth; what wakes a worker up is not.

Order is kept per (recipient, person): a delivery is ready only when no earlier one for the same pair is open, and none
is in flight; workers that claim side by side hold the pair while they do. A claim is a lease with a fence: a worker
that died loses its lease, and its late settlement carries an old fence and changes nothing. While it is held, `next_at`
is the end of the lease: what is due is then one question, answered by one index over what is open.

How fast and how often a recipient is called is decided in `gateway/recipients.py`.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Integer, Select, bindparam, exists, func, literal, or_, select, text, update

from gateway import clock, wake
from gateway.storage.tables.delivery import outbox
from gateway.unit_of_work import UnitOfWork

MAX_ATTEMPTS = 12
"""Attempts that tell of the delivery itself; those made while the whole recipient fails are not counted."""
_TRIED = 2
"""Attempts that are counted even so: with no more, what is too old is tried again, as when a hand replays it."""
GIVE_UP_AFTER = timedelta(days=7)
"""A delivery that nobody could take for this long is a dead letter, whoever is at fault."""
_FIRST_DELAY, _LONGEST_DELAY = 2.0, 3600.0
_OPEN = text("outbox.state IN ('queued', 'claimed')")
"""Written out, so that both databases see that the partial indexes apply."""

_CLAIM = {"state": "claimed", "fence": outbox.c.fence + 1, "attempts": outbox.c.attempts + 1}
_OURS = (
    update(outbox)
    .where(outbox.c.id == bindparam("delivery"), outbox.c.fence == bindparam("held"))
    .where(outbox.c.state == "claimed")
)
_SETTLE = _OURS.values(
    state=bindparam("ended"),
    reason=bindparam("why"),
    article=bindparam("articles"),
    categories=bindparam("sent"),
    withheld=bindparam("kept_back"),
    lease_until=None,
    settled_at=bindparam("moment"),
)
_PUT_BACK = _OURS.values(
    state="queued", reason=bindparam("why"), lease_until=None, next_at=bindparam("again"), attempts=bindparam("tried")
)
_RENEW = _OURS.values(lease_until=bindparam("until"), next_at=bindparam("until"))
REPLACED = "replaced"
"""Why a delivery that waited for somebody does not any more: a later one of the same document waits in its place."""
_REPLACE = (
    update(outbox)
    .where(outbox.c.person_id == bindparam("person"), outbox.c.recipient == bindparam("body"))
    .where(outbox.c.document == bindparam("form"), outbox.c.item == bindparam("about"))
    .where(outbox.c.flow == bindparam("by"), outbox.c.state == "waiting", outbox.c.id < bindparam("later"))
    .values(state="withheld", reason=REPLACED, settled_at=bindparam("moment"))
)
_IN_FLIGHT = outbox.alias("in_flight")
_TAKE = (
    update(outbox)
    .where(outbox.c.id.in_(bindparam("taken", expanding=True)))
    .where(
        ~exists().where(
            _IN_FLIGHT.c.person_id == outbox.c.person_id,
            _IN_FLIGHT.c.recipient == outbox.c.recipient,
            _IN_FLIGHT.c.state == "claimed",
            _IN_FLIGHT.c.id != outbox.c.id,
        )
    )
    .values(lease_until=bindparam("until"), next_at=bindparam("until"), **_CLAIM)
    .returning(outbox.c.id)
)
_HELD = (
    select(outbox.c.id, outbox.c.fence)
    .where(outbox.c.id.in_(bindparam("claims", expanding=True)), outbox.c.state == "claimed")
    .with_for_update()
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
    created_at: str


_FIELDS = tuple(outbox.c[name] for name in Claim.__dataclass_fields__)


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
    wake.announce(work, recipient)
    return delivery


# --- claiming ---------------------------------------------------------------------------------------------------------


def recipients_with_work(work: UnitOfWork) -> list[str]:
    """The bodies that have something due, found by jumping from one to the next in the index of what is open."""
    due: list[str] = []
    last = ""
    while True:
        following = select(func.min(outbox.c.recipient)).where(_OPEN, outbox.c.recipient > last)
        last = work.connection.execute(following).scalar() or ""
        if not last:
            return due
        ready = select(outbox.c.id).where(_OPEN, outbox.c.recipient == last, outbox.c.next_at <= work.now).limit(1)
        if work.connection.execute(ready).first():
            due.append(last)


def claim(work: UnitOfWork, recipient: str, limit: int, lease: float, retries: int | None = None) -> list[Claim]:
    """Take up to `limit` due deliveries of one recipient for `lease` seconds: the longest due first, one per person.

    At most `retries` of them may have been tried before (None: any number); those in excess are put off a little, so
    that they never stand before deliveries that were not tried yet.
    """
    while limit > 0:
        asked = {"body": recipient, "moment": work.now, "most": limit}
        rows = work.connection.execute(_due(work.connection.dialect.name), asked).all()
        again = [row.id for row in rows if row.attempts] if retries is not None else []
        put_off = set(again[retries:])
        if put_off:
            later = clock.instant(clock.now() + timedelta(seconds=random.uniform(1.0, 5.0)))
            work.connection.execute(update(outbox).where(outbox.c.id.in_(put_off)).values(next_at=later))
        free = [row for row in rows if row.free and row.id not in put_off]
        if free or not put_off:
            return _taken(work, free, lease)
    return []


def _taken(work: UnitOfWork, free: Sequence[Any], lease: float) -> list[Claim]:
    """Those of these deliveries that are claimed: no other of the same person was since they were read."""
    if not free:
        return []
    asked = {"taken": [row.id for row in free], "until": _until(lease)}
    taken = set(work.connection.execute(_TAKE, asked).scalars())
    return [_claim(row) for row in free if row.id in taken]


def _claim(row: Any) -> Claim:
    *promised, attempts, fence, created_at, _free = row
    return Claim(*(*promised, attempts + 1, fence + 1, created_at))


@cache
def _due(dialect: str) -> Select[Any]:
    """The first `most` deliveries for `body` due at this `moment`: one statement, built once."""
    other = outbox.alias("other")
    blocked = exists().where(
        other.c.person_id == outbox.c.person_id,
        other.c.recipient == outbox.c.recipient,
        or_(
            (other.c.state == "queued") & (other.c.id < outbox.c.id),
            (other.c.state == "claimed") & (other.c.id != outbox.c.id),
        ),
    )
    postgresql = dialect == "postgresql"
    # Read beside others: what a hand queues again, or a promise of before, may not wait behind what another worker is
    # claiming now, which nobody sees yet. Whoever claims for a person holds her until its transaction ends.
    person = func.hashtextextended(outbox.c.recipient + outbox.c.person_id, 0)
    query = (
        select(*_FIELDS, (func.pg_try_advisory_xact_lock(person) if postgresql else literal(1)).label("free"))
        .where(_OPEN, outbox.c.recipient == bindparam("body"), outbox.c.next_at <= bindparam("moment"))
        .where(~blocked)
        .order_by(outbox.c.next_at, outbox.c.id)
        .limit(bindparam("most", type_=Integer))
    )
    return query.with_for_update(skip_locked=True, of=outbox) if postgresql else query


def _until(lease: float) -> str:
    return clock.instant(clock.now() + timedelta(seconds=lease))


def still_held(work: UnitOfWork, claims: Collection[Claim]) -> set[Claim]:
    """Those of these claims whose lease has not passed to another, which may be a later claim of the same worker;
    locked until the transaction ends."""
    if not claims:
        return set()
    held = work.connection.execute(_HELD, {"claims": [one.id for one in claims]})
    fences = {(delivery, fence) for delivery, fence in held}
    return {one for one in claims if (one.id, one.fence) in fences}


def renew(work: UnitOfWork, claims: Collection[Claim], lease: float) -> set[Claim]:
    """Hold these claims for `lease` more seconds: sending takes time. Returns those still held."""
    held = still_held(work, claims)
    until = _until(lease)
    for one in held:
        work.change(_RENEW, delivery=one.id, held=one.fence, until=until)
    return held


# --- settling ---------------------------------------------------------------------------------------------------------


def settle(
    work: UnitOfWork,
    claimed: Claim,
    state: str,
    *,
    reason: str = "",
    article: str | None = None,
    categories: str | None = None,
    withheld: str | None = None,
) -> None:
    """Close a claim as `delivered`, `withheld`, `waiting` or `dead`, unless its lease has passed to another. One that
    waits takes the place of those before it: it is decided and written anew when it goes, and says all of it."""
    work.change(
        _SETTLE,
        delivery=claimed.id,
        held=claimed.fence,
        ended=state,
        why=reason[:64] or None,
        articles=article,
        sent=categories,
        kept_back=withheld,
        moment=work.now,
    )
    if state == "waiting":
        place = {"person": claimed.person_id, "body": claimed.recipient, "form": claimed.document}
        place |= {"about": claimed.item, "by": claimed.flow, "later": claimed.id}
        work.change(_REPLACE, moment=work.now, **place)


def put_back(
    work: UnitOfWork, claimed: Claim, reason: str, retry_after: float | None = None, *, counted: bool = True
) -> str:
    """Try again later: as the recipient asks, within the time that a delivery is tried, or after an exponential delay
    with full jitter; `dead` in the end.

    `counted` is False for an attempt that tells nothing of this delivery, because the whole recipient fails. Returns
    the state it is left in.
    """
    ending = ""
    if counted and claimed.attempts >= MAX_ATTEMPTS:
        ending = "attempts-exhausted"
    elif claimed.attempts > _TRIED and datetime.fromisoformat(claimed.created_at) + GIVE_UP_AFTER < clock.now():
        ending = "too-late"
    if ending:
        settle(work, claimed, "dead", reason=f"{ending}:{reason}")
        return "dead"
    ceiling = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(claimed.attempts - 1, 12))
    delay = max(min(retry_after or 0.0, GIVE_UP_AFTER.total_seconds()), random.uniform(0.1, ceiling))
    work.change(
        _PUT_BACK,
        delivery=claimed.id,
        held=claimed.fence,
        why=reason[:64],
        again=clock.instant(clock.now() + timedelta(seconds=delay)),
        tried=claimed.attempts if counted else min(claimed.attempts, max(claimed.attempts - 1, _TRIED)),
    )
    return "queued"


# --- by hand, and when something new is known -------------------------------------------------------------------------


def replay(
    work: UnitOfWork, deliveries: Sequence[str], states: tuple[str, ...] = ("dead", "waiting", "withheld", "queued")
) -> int:
    """Queue deliveries in these states again, now and with all their tries; they are decided and written anew."""
    return _again(work, outbox.c.id.in_(deliveries), states)


def replay_waiting(work: UnitOfWork, person_id: str) -> int:
    """Something new is known of this person: what waited for it goes again."""
    return _again(work, outbox.c.person_id == person_id, ("waiting",))


def _again(work: UnitOfWork, which: object, states: tuple[str, ...]) -> int:
    queued = (
        update(outbox)
        .where(which, outbox.c.state.in_(states))  # type: ignore[arg-type]
        .values(state="queued", attempts=0, next_at=work.now, settled_at=None, reason=None)
        .returning(outbox.c.recipient)
    )
    recipients = work.connection.execute(queued).scalars().all()
    for one in set(recipients):
        wake.announce(work, one)
    return len(recipients)


def counts(work: UnitOfWork) -> dict[tuple[str, str], int]:
    """How many deliveries are queued, claimed, waiting and dead, by (recipient, state)."""
    found: dict[tuple[str, str], int] = {}
    for condition in (_OPEN, text("outbox.state IN ('waiting', 'dead')")):
        query = select(outbox.c.recipient, outbox.c.state, func.count()).where(condition)
        for recipient, state, count in work.connection.execute(query.group_by(outbox.c.recipient, outbox.c.state)):
            found[recipient, state] = count
    return found
