"""What the gateway does by itself: once whatever the number of processes, again after a failure, never when off."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from sqlalchemy import insert, select, update

from gateway import clock, delivery_metrics, journal_files, journal_upkeep, notifier, production, schedule
from gateway.logs import LastingFailure
from gateway.problems import Unavailable
from gateway.registry import Gateway
from gateway.schedule import Job
from gateway.settings import Settings
from gateway.storage.tables.delivery import outbox
from gateway.storage.tables.journal import journal_log
from gateway.storage.tables.schedule import schedule as table
from gateway.worker import Worker
from tests.dates import moved

Opened = Callable[[], Gateway]


@pytest.fixture
def opened(database: str, tmp_path: Path) -> Iterator[Opened]:
    """Opens one more process's gateway on the same database and home."""
    gateways: list[Gateway] = []

    def open_() -> Gateway:
        gateways.append(Gateway.open(Settings(profile="test", home=tmp_path, database_url=database)))
        return gateways[-1]

    yield open_
    for gauge in (schedule.DONE, schedule.FAILURES, delivery_metrics.WAITING):
        gauge.clear()
    for gateway in gateways:
        gateway.engine.dispose()


class Counted:
    """A job that counts its runs, and fails while it is told to."""

    def __init__(self, setting: str = "prune_every") -> None:
        self.runs, self.failing, self.ended = 0, False, asyncio.Event()
        self.job = Job("counted", setting, self.run)

    async def run(self, gateway: Gateway) -> None:
        self.runs += 1
        self.ended.set()
        if self.failing:
            raise Unavailable("witness-quorum", "Nobody answers.")


def _row(gateway: Gateway):
    with gateway.engine.connect() as connection:
        return connection.execute(select(table).where(table.c.name == "counted")).one()


def _set(gateway: Gateway, **values: object) -> None:
    with gateway.engine.begin() as connection:
        connection.execute(update(table).where(table.c.name == "counted").values(**values))


def _make_due(gateway: Gateway) -> None:
    """As if its last run, or its first look, was long ago."""
    _set(gateway, since="2020-01-01T00:00:00.000000Z", started_at=None)


async def _look(gateway: Gateway, counted: Counted) -> list[int]:
    """What one look of one process takes, run to its end."""
    taken = await asyncio.to_thread(schedule._due, gateway, [counted.job])
    for job, fence in taken:
        await schedule._run_one(gateway, job, fence)
    return [fence for _, fence in taken]


async def test_a_job_waits_for_its_time_and_one_process_runs_it(opened: Opened) -> None:
    one, other, counted = opened(), opened(), Counted()
    assert [await _look(one, counted) for _ in range(2)] == [[], []], "a new job is not run at once"
    _make_due(one)
    found = await asyncio.gather(
        *(asyncio.to_thread(schedule._due, gateway, [counted.job]) for gateway in (one, other))
    )
    taken = [(gateway, *pair) for gateway, pairs in zip((one, other), found, strict=True) for pair in pairs]
    assert len(taken) == 1
    await schedule._run_one(*taken[0])
    assert counted.runs == 1
    assert await _look(other, counted) == [], "it waits for its period"
    assert (_row(one).failures, _row(one).lease_until) == (0, None)


async def test_a_dead_process_is_replaced_when_its_lease_ends(opened: Opened) -> None:
    gateway, counted = opened(), Counted()
    await _look(gateway, counted)
    _make_due(gateway)
    [(job, late)] = await asyncio.to_thread(schedule._due, gateway, [counted.job])
    assert await _look(gateway, counted) == [], "held"
    _set(gateway, lease_until="2020-01-01T00:00:00.000000Z")
    assert await _look(gateway, counted) == [late + 1]
    done = _row(gateway)
    schedule._ended(gateway, job, late, "too-late")
    assert _row(gateway) == done, "the end of the dead one's run changes nothing"


async def test_a_failure_is_shown_and_tried_again_sooner_than_its_period(opened: Opened) -> None:
    gateway, counted = opened(), Counted()
    await _look(gateway, counted)
    _make_due(gateway)
    counted.failing = True
    await _look(gateway, counted)
    [state] = schedule.states(gateway, [counted.job])
    assert (state.ok, state.failures, state.reason) == (False, 1, "witness-quorum")
    assert await _look(gateway, counted) == [], "not at once"
    for minutes, due in ((0.5, 0), (1.1, 1)):
        ago = schedule._later(clock.instant(), -60 * minutes)
        _set(gateway, started_at=ago)
        assert len(await _look(gateway, counted)) == due
    counted.failing = False
    _set(gateway, started_at="2020-01-01T00:00:00.000000Z")
    await _look(gateway, counted)
    [state] = schedule.states(gateway, [counted.job])
    assert (state.ok, state.failures, state.reason) == (True, 0, None)
    assert counted.runs == 3


async def test_nothing_is_done_by_itself_under_a_date_that_was_moved(opened: Opened) -> None:
    gateway, counted = opened(), Counted()
    await _look(gateway, counted)
    _make_due(gateway)
    before = _row(gateway)
    for shift in (timedelta(days=400), timedelta(days=-400)):
        with moved(clock.now() + shift), pytest.raises(Unavailable, match="clock-doubtful"):
            await asyncio.to_thread(schedule._due, gateway, [counted.job])
        assert (_row(gateway), counted.runs) == (before, 0)
    await _look(gateway, counted)
    assert counted.runs == 1, "the date is right again"


async def test_how_far_the_date_was_moved_is_measured(opened: Opened) -> None:
    gateway, stopping = opened(), asyncio.Event()
    with moved(clock.now() + timedelta(days=1)):
        loop = asyncio.create_task(schedule.run(gateway, stopping, [], pause=0.01))
        for _ in range(6_000):
            await asyncio.sleep(0.01)
            measured = re.search(r"maillon_clock_moved_seconds ([\d.]+)", generate_latest().decode())
            if measured and float(measured[1]):
                break
    assert measured
    assert round(float(measured[1])) == 86_400
    schedule.MOVED.set(0)
    stopping.set()
    await asyncio.wait_for(loop, 60)


async def test_the_loop_runs_what_is_due_and_stops_when_asked(opened: Opened) -> None:
    gateway, counted = opened(), Counted()
    await _look(gateway, counted)
    _make_due(gateway)
    stopping = asyncio.Event()
    loop = asyncio.create_task(schedule.run(gateway, stopping, [counted.job], pause=0.01))
    await asyncio.wait_for(counted.ended.wait(), 60)
    stopping.set()
    await asyncio.wait_for(loop, 60)
    assert (counted.runs, _row(gateway).lease_until) == (1, None)
    schedule._due(gateway, [])
    shown = generate_latest().decode()
    assert re.search(r'maillon_scheduled_success_timestamp_seconds\{task="counted"\} 1\.\d+e\+09', shown)
    assert 'maillon_scheduled_failures{task="counted"} 0.0' in shown


def _publishing(gateway: Gateway, stopping: asyncio.Event) -> Coroutine[Any, Any, None]:
    gateway.settings.checkpoint_every = 0.01
    failure = LastingFailure("publish_failed", "publish_resumed")
    return journal_upkeep.keep_publishing(gateway.engine, gateway.keys, gateway.settings, stopping, failure)


def _delivering(gateway: Gateway, stopping: asyncio.Event) -> Coroutine[Any, Any, None]:
    worker = Worker(gateway)
    worker.stopping = stopping
    return worker.run(pause=0.01)


@pytest.mark.parametrize(
    ("turn", "run"),
    [
        ("gateway.schedule._due", lambda gateway, stopping: schedule.run(gateway, stopping, [], pause=0.01)),
        ("gateway.notifier._claim", lambda gateway, stopping: notifier.run(gateway, stopping, pause=0.01)),
        ("gateway.journal_upkeep.due", _publishing),
        ("gateway.outbox.recipients_with_work", _delivering),
    ],
)
async def test_a_defect_met_in_one_turn_ends_nothing_that_runs_by_itself(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, turn: str, run: Callable[..., Coroutine[Any, Any, None]]
) -> None:
    """Nobody would restart a process that still answers: whatever one turn meets, the next is taken."""
    gateway, stopping, again, turns = opened(), asyncio.Event(), asyncio.Event(), []
    here = asyncio.get_running_loop()

    def defective(*_: object, **__: object) -> None:
        turns.append(turn)
        if len(turns) > 1:
            here.call_soon_threadsafe(again.set)
        raise RuntimeError("a defect")

    monkeypatch.setattr(turn, defective)
    running = asyncio.create_task(run(gateway, stopping))
    await asyncio.wait_for(again.wait(), 60)
    stopping.set()
    await asyncio.wait_for(running, 60)


async def test_a_process_that_delivers_nothing_shows_what_waits_and_when_the_journal_was_sealed(opened: Opened) -> None:
    """On PostgreSQL `serve` does not deliver: with every worker gone, it alone can say that deliveries wait."""
    gateway = opened()
    journal_files.publish(gateway.engine, gateway.keys, gateway.settings)
    ids = dict.fromkeys(("id", "person_id", "exchange_id"), clock.new_id())
    words = {"recipient": "shown_by_serve", "sender": "caf", "document": "d", "flow": "f", "state": "queued"}
    with gateway.engine.begin() as connection:
        connection.execute(insert(outbox).values(**ids, **words, next_at=clock.instant(), created_at=clock.instant()))

    async def shown(line: str) -> None:
        """The process shows this line, however long a busy machine takes to measure it."""
        stopping = asyncio.Event()
        loop = asyncio.create_task(schedule.run(gateway, stopping, [], pause=0.01))
        async with asyncio.timeout(60):
            while not re.search(f"^{line}$", generate_latest().decode(), re.M):  # noqa: ASYNC110 nothing tells of it
                await asyncio.sleep(0.01)
        stopping.set()
        await asyncio.wait_for(loop, 60)

    await shown('maillon_deliveries{recipient="shown_by_serve",state="queued"} 1.0')
    await shown(r"maillon_journal_sealed_timestamp_seconds 1\.\d+e\+09")
    with gateway.engine.begin() as connection:
        connection.execute(update(journal_log).values(broken="journal-behind"))
    await shown(r"maillon_journal_sealed_timestamp_seconds 0\.0")


def test_what_is_not_configured_is_off_and_said_so(tmp_path: Path) -> None:
    settings = Settings(profile="test", home=tmp_path, prune_every=0)
    Gateway.open(settings).engine.dispose()
    said = {one["check"]: one["detail"] for one in production.examine(settings)}
    assert {said[name] for name in ("journal-witness", "journal-stamp", "journal-prune")} == {"off"}
    (tmp_path / "witnesses.policy").write_text("quorum none\n")
    said = {one["check"]: one["detail"] for one in production.examine(settings)}
    assert said["journal-witness"] == "not done yet"


def test_stamps_without_trusted_roots_are_refused_at_the_start(tmp_path: Path) -> None:
    asked = Settings(profile="production", home=tmp_path, timestamp_url="https://tsa.invalid")
    assert any("MAILLON_TIMESTAMP_AUTHORITIES" in one for one in production.missing(asked))
