"""What the gateway does by itself at intervals: one table of jobs, each run by one process at a time.

Every server and every `maillon work` looks at the table; whoever takes the lease of a job runs it, the others leave it.
The lease is renewed while the job runs, so that one of a dead process is taken over within a minute. A job that fails
is tried again, later each time, up to its own period; its failure is shown by `maillon doctor` and by the metrics. What
stops exchanges when the journal is no longer sealed is `journal_files.require_available`, not this. Under a date that
was moved no lease is taken and nothing is done: what a wrong date prunes and purges would be gone.

A new job is a row of `JOBS`: its name, the setting that holds its period in seconds (0: never), what it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from prometheus_client import Gauge
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from gateway import (
    breach_watch,
    clock,
    delivery_metrics,
    journal_upkeep,
    meter_readings,
    purge,
    reopened,
    retention,
    timestamp,
    volumes,
    witness,
    worklist,
)
from gateway.access import partners
from gateway.journal_files import WITNESS_POLICY, sealed_at
from gateway.logs import LastingFailure
from gateway.problems import Problem
from gateway.registry import Gateway
from gateway.settings import Settings
from gateway.storage.tables.schedule import schedule as table
from gateway.unit_of_work import UnitOfWork

log = structlog.get_logger(__name__)

LEASE = 60.0
OBSERVE = 15.0
"""Seconds between two readings of what is shown of deliveries, which a backlog makes longer."""
FIRST = 60.0
"""Seconds after which a job nobody ran yet runs, and after which one that failed once is tried again."""

FAILURES = Gauge(
    "maillon_scheduled_failures", "Failures in a row of what the gateway does by itself", ["task"],
    multiprocess_mode="mostrecent",
)  # fmt: skip
MOVED = Gauge(
    "maillon_clock_moved_seconds", "How far this machine's date was moved since the process began",
    multiprocess_mode="livemax",
)  # fmt: skip
DONE = Gauge(
    "maillon_scheduled_success_timestamp_seconds", "When it was last done", ["task"], multiprocess_mode="mostrecent"
)
SEALED = Gauge(
    "maillon_journal_sealed_timestamp_seconds", "When the journal was last published; 0: it is not what was published",
    multiprocess_mode="mostrecent",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Job:
    """Something done at intervals. `wanted`: whether the operator configured what it needs."""

    name: str
    setting: str
    run: Callable[[Gateway], Awaitable[object]]
    wanted: Callable[[Settings], bool] = lambda settings: True
    cut: bool = False
    """It may be cut anywhere when the process stops: what it leaves is done next time."""
    show: Callable[[UnitOfWork], None] | None = None
    """Sets the metrics of what it last found, in every process, while it is on."""

    def period(self, settings: Settings) -> float:
        """Seconds between two runs; 0 when it is switched off or not configured."""
        return float(getattr(settings, self.setting)) if self.wanted(settings) else 0.0


async def _cosign(gateway: Gateway) -> None:
    await witness.cosign_published(gateway.engine, gateway.settings)


async def _stamp(gateway: Gateway) -> None:
    await timestamp.stamp_published(gateway.settings, clock.now())


async def _prune(gateway: Gateway) -> None:
    await asyncio.to_thread(journal_upkeep.prune, gateway.engine, gateway.keys, gateway.settings)


async def _purge(gateway: Gateway) -> None:
    await asyncio.to_thread(purge.purge, gateway)


async def _count(gateway: Gateway) -> None:
    await asyncio.to_thread(volumes.keep, gateway)


async def _count_due(gateway: Gateway) -> None:
    await asyncio.to_thread(retention.keep, gateway)


async def _verify(gateway: Gateway) -> None:
    await asyncio.to_thread(breach_watch.verify_journal, gateway)


async def _watch(gateway: Gateway) -> None:
    await asyncio.to_thread(breach_watch.look, gateway)


JOBS: tuple[Job, ...] = (
    Job("journal-witness", "witness_every", _cosign, lambda settings: (settings.home / WITNESS_POLICY).exists()),
    Job("journal-stamp", "stamp_every", _stamp, lambda settings: bool(settings.timestamp_url)),
    Job("journal-prune", "prune_every", _prune),
    Job("retention-purge", "purge_every", _purge),
    Job("retention-count", "retention_every", _count_due),
    Job("journal-volumes", "volumes_every", _count),
    Job("double-entry-meter", "meter_every", meter_readings.keep, cut=True, show=meter_readings.show),
    Job("journal-verify", "verify_every", _verify),
    Job("breach-watch", "watch_every", _watch),
    Job(reopened.JOB, "reopened_every", reopened.keep, cut=True),
    Job("worklists", "worklist_every", worklist.poll_all, lambda settings: bool(worklist.listed(settings)), cut=True),
)


async def run(gateway: Gateway, stopping: asyncio.Event, jobs: Sequence[Job] = JOBS, pause: float = 5.0) -> None:
    """Run what is due, looking every `pause` seconds, until `stopping` is set; what runs then is finished first, unless
    it may be cut."""
    running: dict[str, asyncio.Task[None]] = {}
    observed = -math.inf
    failure = LastingFailure("schedule.database_unavailable", "schedule.database_available")
    while not stopping.is_set():
        MOVED.set(clock.moved())
        try:
            if time.monotonic() - observed >= OBSERVE:
                observed = time.monotonic()
                await asyncio.to_thread(_observe, gateway)
            due = await asyncio.to_thread(_due, gateway, [job for job in jobs if job.name not in running])
            for job, fence in due:
                running[job.name] = asyncio.create_task(_run_one(gateway, job, fence))
            failure.over()
        except Exception as error:  # whatever it is, nothing else would ever run again in this process
            failure.met(error)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), timeout=pause)
        running = {name: task for name, task in running.items() if not task.done()}
    for job in jobs:
        if job.cut and job.name in running:
            running[job.name].cancel()
    await asyncio.gather(*running.values(), return_exceptions=True)


async def _run_one(gateway: Gateway, job: Job, fence: int) -> None:
    reason = ""
    keeping = asyncio.create_task(_keep_lease(gateway, job, fence))
    try:
        await job.run(gateway)
    except asyncio.CancelledError:  # the process stops: whoever looks next goes on
        await asyncio.to_thread(_write, gateway, job, fence, lease_until=None, started_at=None)
        return
    except Exception as error:  # a defect of one job must not stop the others
        reason = error.code if isinstance(error, Problem) else str(getattr(error, "code", "")) or type(error).__name__
        log.error("schedule.failed", job=job.name, kind=reason)
    finally:
        keeping.cancel()
    with contextlib.suppress(OSError, Problem, SQLAlchemyError):  # else the lease ends, and it is run again
        await asyncio.to_thread(_ended, gateway, job, fence, reason)


async def _keep_lease(gateway: Gateway, job: Job, fence: int) -> None:
    while True:
        await asyncio.sleep(LEASE / 3)
        with contextlib.suppress(OSError, Problem, SQLAlchemyError):
            await asyncio.to_thread(_write, gateway, job, fence, lease_until=_later(clock.instant(), LEASE))


def _due(gateway: Gateway, jobs: Sequence[Job]) -> list[tuple[Job, int]]:
    """The jobs that this process took: each with the fence of its run."""
    wanted = {job.name: job for job in jobs if job.period(gateway.settings) > 0}
    with gateway.reading() as work:  # nobody waits for a look that finds nothing
        known = _rows(work)
        observe(known)
        for job in wanted.values():
            if job.show:
                job.show(work)
        ready = [
            job for name, job in wanted.items()
            if name not in known or _ready(known[name], job.period(gateway.settings), work.now)
        ]  # fmt: skip
    taken = ((job, _take(gateway, job)) for job in ready)
    return [(job, fence) for job, fence in taken if fence]


def _rows(work: UnitOfWork) -> dict[str, Any]:
    return {row.name: row for row in work.connection.execute(select(table))}


def _ready(row: Any, period: float, now: str) -> bool:
    if row.lease_until:
        return bool(row.lease_until <= now)
    return bool(_next(row, period) <= now)


def _next(row: Any, period: float) -> str:
    """When a job that nobody runs should run."""
    if not row.started_at:
        return _later(row.since, min(period, FIRST))
    wait = min(period, FIRST * 2 ** min(row.failures - 1, 16)) if row.failures else period
    return _later(row.started_at, wait)


def _take(gateway: Gateway, job: Job) -> int:
    """Take the lease of a job; the fence of this run, or 0 when it is not due after all or another process has it."""
    with gateway.unit_of_work() as work:
        row = work.connection.execute(select(table).where(table.c.name == job.name).with_for_update()).first()
        if row is None:
            with contextlib.suppress(IntegrityError), work.connection.begin_nested():
                work.connection.execute(insert(table).values(name=job.name, since=work.now))
            return 0
        if not _ready(row, job.period(gateway.settings), work.now):
            return 0
        values = {"fence": row.fence + 1, "started_at": work.now, "lease_until": _later(work.now, LEASE)}
        work.connection.execute(update(table).where(table.c.name == job.name).values(**values))
        return int(row.fence) + 1


def _ended(gateway: Gateway, job: Job, fence: int, reason: str) -> None:
    values: dict[str, Any] = {"lease_until": None, "reason": reason[:64] or None}
    values |= {"failures": table.c.failures + 1} if reason else {"failures": 0, "done_at": clock.instant()}
    _write(gateway, job, fence, **values)


def _write(gateway: Gateway, job: Job, fence: int, **values: Any) -> None:
    with gateway.unit_of_work() as work:
        mine = (table.c.name == job.name) & (table.c.fence == fence)
        work.connection.execute(update(table).where(mine).values(**values))


def _later(instant: str, seconds: float) -> str:
    return clock.after(instant, timedelta(seconds=seconds))


# --- what is shown of it ----------------------------------------------------------------------------------------------


def _observe(gateway: Gateway) -> None:
    """Set the gauges of what other modules keep: deliveries, the journal's last seal, partners' credentials."""
    with gateway.reading() as work:
        delivery_metrics.observe(work)
        SEALED.set(sealed_at(work.connection))
        partners.show(work.connection)


def observe(known: dict[str, Any]) -> None:
    """Set the gauges from the table; every process shows the same."""
    for name, row in known.items():
        FAILURES.labels(name).set(row.failures)
        if row.done_at:
            DONE.labels(name).set(datetime.fromisoformat(row.done_at).timestamp())


@dataclass(frozen=True, slots=True)
class State:
    """One job as `maillon doctor` shows it. `ok` is false when it fails, or is late though something should run it."""

    name: str
    setting: str
    period: float
    ok: bool
    done_at: str | None
    failures: int
    reason: str | None


def states(gateway: Gateway, jobs: Sequence[Job] = JOBS) -> list[State]:
    """How each job stands; a period of 0 says that it is off."""
    with gateway.reading() as work:
        known = _rows(work)
    found = []
    for job in jobs:
        row, period = known.get(job.name), job.period(gateway.settings)
        late = bool(row and period and _later(_next(row, period), max(period, 10 * FIRST)) < work.now)
        found.append(
            State(
                job.name,
                job.setting,
                period,
                ok=not period or row is None or not (row.failures or late),
                done_at=row.done_at if row else None,
                failures=row.failures if row else 0,
                reason=row.reason if row else None,
            )
        )
    return found
