"""How fast and how often each recipient is called, by all workers together: pause, circuit, rate, retry budget.

A recipient whose deliveries fail one after the other is ailing: it is left alone, longer each time, and then asked with
one delivery at a time until one passes. Its state is in the database, so that every worker leaves it alone.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, or_, select, update

from connectors.contract import Acknowledgement
from gateway import clock
from gateway.outbox import Claim
from gateway.storage import upsert
from gateway.storage.tables.delivery import recipient_state
from gateway.unit_of_work import UnitOfWork

AILING = 3
"""Deliveries failed in a row, none of which had failed before, that open the circuit."""
_LONGEST_REST = 300.0
OURS = frozenset({"connector-failed", "not-written"})
"""Failures that are this gateway's own: they say nothing of the recipient's health."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What one recipient is given, from the operator's settings (`bodies.<id>`)."""

    concurrent: int = 10
    """Deliveries in flight from one worker."""
    rate: str = ""
    """Deliveries at most, by all workers together: `10/second`."""
    deadline: float = 30.0
    """Seconds for one call; an attempt, which may take several calls, has four times that."""

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Terms:
        standard = cls()
        return cls(
            max(1, int(values.get("concurrent") or standard.concurrent)),
            values.get("rate", ""),
            float(values.get("deadline") or standard.deadline),
        )

    @property
    def attempt(self) -> float:
        return 4 * self.deadline


_STATE = select(recipient_state).where(recipient_state.c.recipient == bindparam("body"))
_STATE_LOCKED = _STATE.with_for_update()


def _state(work: UnitOfWork, recipient: str, *, lock: bool = False) -> Any:
    return work.connection.execute(_STATE_LOCKED if lock else _STATE, {"body": recipient}).first()


def allowed(work: UnitOfWork, recipient: str, wanted: int, in_flight: int, terms: Terms) -> int:
    """How many more deliveries may leave for this recipient now, at most `wanted`."""
    row = _state(work, recipient, lock=bool(terms.rate))
    if row is not None:
        if _rests(row, work.now):
            return 0
        if row.failures >= AILING:
            wanted = min(wanted, 1) if not in_flight else 0
    return _within_rate(work, recipient, wanted, terms, row) if terms.rate and wanted > 0 else wanted


def _within_rate(work: UnitOfWork, recipient: str, wanted: int, terms: Terms, row: Any) -> int:
    """Deliveries spaced evenly, with one second's worth in a burst (generic cell rate algorithm)."""
    import limits  # for whoever set a rate

    rate = limits.parse(terms.rate)
    step = timedelta(seconds=rate.get_expiry() / rate.amount)
    burst = max(timedelta(seconds=1), step)
    now = clock.now()
    used = max(now, datetime.fromisoformat(row.rate_at)) if row is not None and row.rate_at else now
    granted = min(wanted, int((now + burst - used) / step))
    if granted > 0:
        _write(work, recipient, row, rate_at=clock.instant(used + granted * step))
    return max(0, granted)


def note_health(work: UnitOfWork, recipient: str, answered: Sequence[tuple[Claim, Acknowledgement]]) -> bool:
    """Remember how the recipient fares; True when it is ailing, so that its failures are not the deliveries' own.

    A delivery that failed before says nothing new of the recipient, unless the recipient is already being probed.
    """
    told = [(claimed, answer) for claimed, answer in answered if answer.code not in OURS]
    if not told:
        return False
    well = any(answer.outcome != "retry" for _, answer in told) and not any(answer.retry_after for _, answer in told)
    # A recipient that was well and is well costs no lock: its workers would wait for one another at each turn.
    row = _state(work, recipient, lock=not well)
    if well and (row is None or (row.failures, row.retry_at) == (0, None)):
        return False
    before = row.failures if row is not None else 0
    asked = max((answer.retry_after or 0.0 for _, answer in told), default=0.0)
    failures = 0
    if all(answer.outcome == "retry" for _, answer in told):
        news = sum(claimed.attempts == 1 or before >= AILING for claimed, _ in told)
        failures = min(100, before + news)
    rest = asked
    if failures >= AILING:
        ceiling = min(_LONGEST_REST, 2.0 ** min(failures - AILING + 2, 9))
        rest = max(asked, random.uniform(ceiling / 2, ceiling))
    retry_at = clock.instant(clock.now() + timedelta(seconds=min(rest, 3600.0))) if rest else None
    if row is not None and retry_at and row.retry_at:
        retry_at = max(retry_at, row.retry_at)
    if row is None or (row.failures, row.retry_at) != (failures, retry_at):
        _write(work, recipient, row, failures=failures, retry_at=retry_at)
    return failures >= AILING


def _write(work: UnitOfWork, recipient: str, row: Any, **values: Any) -> None:
    if row is not None:
        statement = update(recipient_state).where(recipient_state.c.recipient == recipient)
        work.connection.execute(statement.values(**values))
        return
    row = {"recipient": recipient, "paused": 0, "failures": 0} | values
    inserted = upsert(work.connection.dialect.name, recipient_state).values(**row)
    work.connection.execute(inserted.on_conflict_do_update(index_elements=["recipient"], set_=values))


def resting(work: UnitOfWork, recipient: str) -> bool:
    """Whether an operator paused this body, or its failures have it left alone for now."""
    row = _state(work, recipient)
    return row is not None and _rests(row, work.now)


def _rests(row: Any, now: str) -> bool:
    return bool(row.paused or (row.retry_at and row.retry_at > now))


def pause(work: UnitOfWork, recipient: str, paused: bool) -> bool:
    """Stop delivering to a recipient until told otherwise, or begin again at once, its failures forgotten. Whether
    anything changed."""
    values: dict[str, Any] = {"paused": int(paused)}
    if not paused:
        values |= {"failures": 0, "retry_at": None}
    new = upsert(work.connection.dialect.name, recipient_state).values({"recipient": recipient, "failures": 0} | values)
    other = or_(*(recipient_state.c[name].is_distinct_from(value) for name, value in values.items()))
    stored = new.on_conflict_do_update(index_elements=["recipient"], set_=values, where=other)
    return bool(work.connection.execute(stored).rowcount)


def states(work: UnitOfWork) -> dict[str, tuple[bool, bool]]:
    """(paused, ailing) of each recipient that has a state."""
    return {
        row.recipient: (bool(row.paused), row.failures >= AILING)
        for row in work.connection.execute(select(recipient_state))
    }


class RetryBudget:
    """Retries that fail are at most a share of first attempts, so that a failing recipient is not called ever more.

    Each first attempt earns `share` of a retry, and a retry that succeeds costs nothing; a small reserve lets a quiet
    recipient be tried again.
    """

    def __init__(self, share: float = 0.2, reserve: float = 10.0) -> None:
        self._share, self._most = share, max(100.0, reserve)
        self._held = reserve

    @property
    def left(self) -> int:
        return int(self._held)

    def spend(self, claims: Sequence[Claim]) -> None:
        again = sum(claimed.attempts > 1 for claimed in claims)
        self._held = min(self._most, self._held - again + self._share * (len(claims) - again))

    def succeeded(self, retries: int) -> None:
        """These retries passed: they did not weigh on a failing recipient."""
        self._held = min(self._most, self._held + retries)

    def refill(self, seconds: float) -> None:
        """One retry a second is always earned back."""
        self._held = min(self._most, self._held + seconds)
