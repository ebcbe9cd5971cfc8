"""The worker: carries out deliveries until stopped. Any number of them, on any machines, share one outbox.

Each recipient is served apart, so that a slow one costs the others nothing. While deliveries are on their way, their
leases are renewed; what comes back is settled in the transaction that claims what leaves next, so that the disk is
asked once for both.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar, TypeVarTuple

from sqlalchemy.exc import SQLAlchemyError

from connectors.contract import Acknowledgement
from gateway import clock, delivery, delivery_metrics, outbox, recipients, wake
from gateway.delivery import Prepared
from gateway.journal_files import unsealed
from gateway.logs import LastingFailure
from gateway.outbox import Claim
from gateway.problems import Problem, Unavailable
from gateway.recipients import RetryBudget, Terms
from gateway.registry import Gateway
from gateway.unit_of_work import UnitOfWork

T = TypeVar("T")
Given = TypeVarTuple("Given")

BATCH = 128
"""Deliveries of one recipient that a worker holds, and claims in one transaction, at most."""
_ROUNDS = 8
"""…and as many times those in flight: a worker that held more would keep them from the others."""
_LEFT_ALONE = Acknowledgement("retry", delivery.LEFT_ALONE)
"""What becomes of a delivery that was about to leave for a recipient that began to fail: it was not tried."""
_GATHER = 0.1
"""Seconds that a first answer waits for others, so that they share a transaction."""
_TROUBLE = (SQLAlchemyError, Problem, OSError)
"""The database or the journal cannot be written now: nothing leaves, nothing is lost, and it is tried again."""


@dataclass(slots=True)
class _Served:
    """One recipient being served by this worker."""

    terms: Terms
    slots: asyncio.Semaphore
    trouble: LastingFailure
    defect: LastingFailure
    budget: RetryBudget = field(default_factory=RetryBudget)
    since: float = field(default_factory=time.monotonic)
    flying: dict[asyncio.Task[Acknowledgement], Prepared] = field(default_factory=dict)
    answered: list[tuple[Prepared, Acknowledgement]] = field(default_factory=list)
    failures: int = 0
    """Deliveries that failed in a row."""

    @property
    def room(self) -> int:
        """How many to claim: more than may be on the wire, and none before half of them have left."""
        most = min(BATCH, _ROUNDS * self.terms.concurrent)
        room = most - len(self.flying)
        return room if not self.flying or (room >= most // 2 and not self.failing) else 0

    @property
    def failing(self) -> bool:
        """Nothing more of what is held leaves, and nothing is claimed beside what is still on its way."""
        return self.failures >= recipients.AILING


class Worker:
    """Delivers to every recipient, or to those named."""

    def __init__(self, gateway: Gateway, only: Sequence[str] = ()) -> None:
        self._gateway = gateway
        self._only = frozenset(only)
        self._sqlite = gateway.engine.dialect.name == "sqlite"
        self._threads = ThreadPoolExecutor(1 if self._sqlite else 4, "delivery")
        self._served: dict[str, _Served] = {}
        self._unreachable = LastingFailure("delivery.database_unavailable", "delivery.database_available")
        self._stale = LastingFailure("delivery.referential_stale", "delivery.referential_current")
        self._unsealed = LastingFailure("delivery.audit_unavailable", "delivery.audit_available")
        self._leases = LastingFailure("delivery.leases_not_renewed", "delivery.leases_renewed")
        self.stopping = asyncio.Event()
        """Set it to stop: nothing more is claimed, what is in flight is finished and settled."""
        self.wake = asyncio.Event()
        """Set it when something was promised, so that nobody waits for the next look."""

    async def run(self, pause: float | None = None) -> None:
        """Work until `stopping` is set. `pause` is the longest time between two looks at the outbox, in seconds."""
        pause = pause or (0.5 if self._sqlite else 1.0)
        beside = [asyncio.create_task(self._keep_leases())]
        if not self._sqlite:
            beside.append(asyncio.create_task(wake.listen(self._gateway.engine, self._told, self.stopping)))
        serving: dict[str, asyncio.Task[int]] = {}
        while not self.stopping.is_set():
            self.wake.clear()
            for recipient in await self._look():
                if recipient not in serving or serving[recipient].done():
                    serving[recipient] = asyncio.create_task(self._serve(recipient))
            await _first(pause, self.wake, self.stopping)
        await asyncio.gather(*serving.values(), return_exceptions=True)
        for one in beside:
            one.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        self._threads.shutdown(wait=False)

    async def drain(self) -> int:
        """Work until nothing is due; returns how many deliveries were claimed."""
        total, keeping = 0, asyncio.create_task(self._keep_leases())
        try:
            while due := await self._look():
                done = sum(await asyncio.gather(*(self._serve(recipient) for recipient in due)))
                if not done:
                    break
                total += done
        finally:
            keeping.cancel()
        return total

    def _told(self, recipient: str) -> None:
        if not self._only or not recipient or recipient in self._only:
            self.wake.set()

    async def _look(self) -> list[str]:
        """The recipients that have something due; none while the database cannot be reached."""

        def read() -> list[str]:
            with self._gateway.unit_of_work() as work:
                return outbox.recipients_with_work(work)

        try:
            due = await self._in_thread(read)
        except Exception as error:  # whatever it is, this process would never deliver again
            self._unreachable.met(error)
            return []
        self._unreachable.over()
        return [one for one in due if not self._only or one in self._only]

    # --- one recipient ----------------------------------------------------------------------------------------------

    async def _serve(self, recipient: str) -> int:
        """Deliver to one recipient until nothing is due for it; returns how many deliveries were claimed."""
        served = self._served.get(recipient)
        if served is None:
            terms = Terms.of(self._gateway.settings.bodies.get(recipient, {}))
            served = self._served[recipient] = _Served(
                terms,
                asyncio.Semaphore(terms.concurrent),
                LastingFailure("delivery.turn_failed", "delivery.turn_resumed", recipient=recipient),
                LastingFailure("delivery.defect", "delivery.defect_over", recipient=recipient),
            )
        total, trouble = 0, 0.0
        while True:
            try:
                claimed, ready = await self._in_thread(self._turn, recipient, served)
            except _TROUBLE as error:
                served.trouble.met(error)
                if self.stopping.is_set() and trouble:
                    return total  # what is unsettled is taken over when its lease ends
                trouble = min(5.0, trouble * 2 or 0.25)
                await _first(trouble, self.stopping)
                continue
            except Exception as error:
                served.defect.met(error)
                return total
            served.trouble.over()
            served.defect.over()
            trouble = 0.0
            total += claimed
            if not served.flying:
                served.failures = 0  # what is claimed now, a single probe it may be, is to leave
            for one in ready:
                served.flying[asyncio.create_task(self._send(one, served))] = one
            if not claimed and not served.flying:
                return total
            await self._collect(served)

    async def _collect(self, served: _Served) -> None:
        """Wait until something was answered, and a moment more for what comes with it."""
        if not served.flying:
            return
        await asyncio.wait(served.flying, return_when=asyncio.FIRST_COMPLETED)
        if len(served.flying) > 1:
            await asyncio.wait(served.flying, timeout=_GATHER)
        for task in [task for task in served.flying if task.done()]:
            prepared = served.flying.pop(task)
            if task.cancelled():
                delivery_metrics.TAKEOVERS.labels(prepared.claim.recipient).inc()
            else:
                served.answered.append((prepared, task.result()))

    async def _send(self, prepared: Prepared, served: _Served) -> Acknowledgement:
        async with served.slots:
            if served.failing:
                return _LEFT_ALONE
            began = time.monotonic()
            try:
                async with asyncio.timeout(served.terms.attempt):
                    answer = await delivery.send(self._gateway, prepared)
            except TimeoutError:
                answer = Acknowledgement("retry", "deadline")
            delivery_metrics.SECONDS.labels(prepared.claim.recipient).observe(time.monotonic() - began)
            if answer.code not in recipients.OURS:
                served.failures = served.failures + 1 if answer.outcome == "retry" else 0
            return answer

    def _turn(self, recipient: str, served: _Served) -> tuple[int, list[Prepared]]:
        """In one transaction: settle what was answered, then claim, decide and write what leaves next."""
        gateway, answered = self._gateway, list(served.answered)
        now = time.monotonic()
        with gateway.unit_of_work() as work:
            closed = self._closed(work)
            states = delivery.settle_all(work, gateway, recipient, answered) if answered else []
            claims: list[Claim] = []
            if not self.stopping.is_set() and served.room and not closed:
                work.flush()
                room = recipients.allowed(work, recipient, served.room, len(served.flying), served.terms)
                retries = served.budget.left if room > 1 else None  # a probe is always allowed
                claims = outbox.claim(work, recipient, room, gateway.settings.lease, retries)
            ready = delivery.prepare_all(work, gateway, claims)
        # Durable from here on; before, nothing of it was, and the answers are kept to be settled again.
        del served.answered[: len(answered)]
        served.budget.spend(claims)
        served.budget.succeeded(sum(one.claim.attempts > 1 and told.outcome != "retry" for one, told in answered))
        served.budget.refill(now - served.since)
        served.since = now
        _count(recipient, answered, states)
        return len(claims), ready

    def _closed(self, work: UnitOfWork) -> bool:
        """Nothing leaves for now: with a former code list, a document would lack what the list does not know (others
        deliver it); with a journal no longer sealed, it could not be proven (all wait)."""
        name = self._gateway.dossiers.code_lists.stale(work)
        late = unsealed(work.connection, self._gateway.settings)
        self._stale.found(Unavailable(name) if name else None)
        self._unsealed.found(Unavailable("audit-unavailable") if late else None)
        return bool(name or late)

    # --- leases -----------------------------------------------------------------------------------------------------

    async def _keep_leases(self) -> None:
        """Renew what is on its way; an attempt whose lease has passed to another worker is given up."""
        lease = self._gateway.settings.lease
        while True:
            await asyncio.sleep(lease / 3)
            flying = {task: one.claim for each in self._served.values() for task, one in each.flying.items()}
            claims = list(flying.values())
            claims += [one.claim for each in self._served.values() for one, _ in each.answered]
            if not claims:
                continue

            def renew(claims: list[Claim] = claims) -> set[Claim]:
                with self._gateway.unit_of_work() as work:
                    return outbox.renew(work, claims, lease)

            try:
                held = await self._in_thread(renew)
            except Exception as error:  # tried again while the lease lasts
                self._leases.met(error)
                continue
            self._leases.over()
            for task, claim in flying.items():
                if claim not in held:
                    task.cancel()

    async def _in_thread(self, function: Callable[[*Given], T], *arguments: *Given) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


def _count(recipient: str, answered: Sequence[tuple[Prepared, Acknowledgement]], states: Sequence[str]) -> None:
    ended = [answer.outcome if state else "lost" for (_, answer), state in zip(answered, states, strict=True)]
    for outcome, number in Counter(ended).items():
        delivery_metrics.ATTEMPTS.labels(recipient, outcome).inc(number)
    if lost := ended.count("lost"):
        delivery_metrics.TAKEOVERS.labels(recipient).inc(lost)
    if "delivered" in states:
        age, now = delivery_metrics.AGE.labels(recipient), clock.now()
        for (prepared, _), state in zip(answered, states, strict=True):
            if state == "delivered":
                promised = datetime.fromisoformat(prepared.claim.created_at)
                age.observe(max(0.0, (now - promised).total_seconds()))


async def _first(seconds: float, *events: asyncio.Event) -> None:
    """Wait for any of these events, at most this many seconds."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for one in waits:
        one.cancel()
