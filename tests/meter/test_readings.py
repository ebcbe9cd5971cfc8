"""The meter's readings: taken by one process, kept without naming anybody, shown by all."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest
from sqlalchemy import insert, select, update

from gateway import clock, meter, meter_readings, production, schedule
from gateway.registry import Gateway
from gateway.settings import Settings
from gateway.storage.tables.meter import meter_reading
from gateway.storage.tables.schedule import schedule as scheduled
from gateway.unit_of_work import UnitOfWork
from tests.dates import passed
from tests.faults.house import House, declaration, eventually, free_port
from tests.journeys.territory import AMELIA, DEMO, Territory, accompaniment, beneficiary, territory

(JOB,) = [one for one in schedule.JOBS if one.name == "double-entry-meter"]


@pytest.fixture
def landes(database: str, tmp_path: Path) -> Iterator[Territory]:
    """The CCAS received the sheet of a person, and typed three of its fields again."""
    one = territory(tmp_path, DEMO, database_url=database)
    one.oriented()
    one.tell("departement", "departement.accompagnement", accompaniment())
    one.deliver("ccas")
    one.tell("ccas", "ccas.suivi", beneficiary())
    yield one
    meter_readings.FIELDS.show({})
    for gauge in (schedule.DONE, schedule.FAILURES):
        gauge.clear()
    one.gateway.engine.dispose()


def shown() -> dict[str, float]:
    """What Prometheus is told of the CCAS's sheet."""
    lines = re.findall(r'^maillon_fields{document="ccas.beneficiaires",recipient="ccas",what="(\w+)"} (\S+)$',
                       generate_latest().decode(), re.M)  # fmt: skip
    return {what: float(value) for what, value in lines}


@pytest.fixture(autouse=True)
def alone(request: pytest.FixtureRequest) -> Iterator[None]:
    """The servers of other tests live on in this process, and show what is theirs: not here, not now."""
    if "landes" not in request.fixturenames:
        yield
        return
    show, ours = meter_readings.show, request.getfixturevalue("landes").gateway.engine.url

    def show_ours(work: UnitOfWork) -> None:
        if work.connection.engine.url == ours:
            show(work)

    object.__setattr__(JOB, "show", show_ours)  # a row of the table that all of them share
    meter_readings.FIELDS.show({})
    yield
    object.__setattr__(JOB, "show", show)


def last(gateway: Gateway) -> meter_readings.Reading | None:
    with gateway.unit_of_work() as work:
        return meter_readings.last(work)


def long_ago(gateway: Gateway) -> None:
    """As if the job had been seen long ago."""
    with gateway.engine.begin() as connection:
        mine = update(scheduled).where(scheduled.c.name == JOB.name)
        connection.execute(mine.values(since="2020-01-01T00:00:00.000000Z", started_at=None, lease_until=None))


async def until_read(gateway: Gateway) -> None:
    """Run the jobs as a process does, until there is a reading and it is shown."""
    await asyncio.to_thread(schedule._due, gateway, [JOB])
    long_ago(gateway)
    stopping = asyncio.Event()
    running = asyncio.create_task(schedule.run(gateway, stopping, [JOB], pause=0.01))
    try:
        await asyncio.to_thread(eventually, lambda: last(gateway) is not None and shown())
    finally:
        stopping.set()
        await running


async def test_a_process_reads_the_meter_and_every_process_shows_it(landes: Territory) -> None:
    gateway = landes.gateway
    assert (last(gateway), shown()) == (None, {})
    await until_read(gateway)
    (count,) = [one for one in last(gateway).counts if one.recipient == "ccas"]
    assert [count] == meter.read(gateway, "ccas")
    assert shown() == {what: getattr(count, what) for what in meter_readings.KINDS}
    assert shown()["typed_again"] == 3
    meter_readings.FIELDS.show({})
    other = Gateway.open(gateway.settings)
    assert not schedule._due(other, [JOB]), "its time has not come again"
    assert shown()["typed_again"] == 3, "read from the table by a process that counted nothing"
    other.engine.dispose()


async def test_a_recipient_that_is_gone_disappears(landes: Territory) -> None:
    await until_read(landes.gateway)
    assert shown()
    with landes.gateway.unit_of_work() as work:
        work.connection.execute(update(meter_reading).values(counts="[]"))
    schedule._due(landes.gateway, [JOB])
    assert not shown()


async def test_what_is_kept_names_nobody_and_one_reading_a_day_stays(landes: Territory) -> None:
    gateway = landes.gateway
    await meter_readings.keep(gateway)
    landes.tell("ccas", "ccas.suivi", beneficiary(zipcode="33999"))
    kept = await meter_readings.keep(gateway)
    assert last(gateway) == kept
    assert kept.total("in_conflict") == 1
    with gateway.engine.connect() as connection:
        ((day, counts),) = connection.execute(select(meter_reading.c.day, meter_reading.c.counts))
    assert day == clock.today()
    assert not [word for word in (AMELIA.nom, AMELIA.nir, landes.who, "33999") if word in counts]
    with passed(datetime.now(UTC) + timedelta(days=1), tick=True):
        tomorrow = await meter_readings.keep(gateway)
    with gateway.unit_of_work() as work:
        months = {one.read_at[:7] for one in (kept, tomorrow)}
        found = meter_readings.monthly(work)
    assert (found[0].read_at, len(found)) == (tomorrow.read_at, len(months))


def test_the_months_before_are_shown_by_their_last_reading(landes: Territory) -> None:
    days = [f"2025-{month:02d}-{day}" for month in range(1, 13) for day in ("09", "28")] + ["2026-01-05"]
    with landes.gateway.unit_of_work() as work:
        later = {"recipient": "ccas", "document": "d", "filled": 4, "kind_of_a_later_version": 1}
        for day in days:
            at = f"{day}T02:00:00.000000Z"
            work.connection.execute(insert(meter_reading).values(day=day, read_at=at, counts=json.dumps([later])))
    with landes.gateway.unit_of_work() as work:
        found = meter_readings.monthly(work)
        assert [one.read_at[:10] for one in found][:3] == ["2026-01-05", "2025-12-28", "2025-11-28"]
        assert len(found) == 12
        assert {one.total("filled") for one in found} == {4}, "what another version counts too is left out"


async def test_while_it_is_read_others_write(landes: Territory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading in the middle of a person holds back no writer, and the loop goes on."""
    inside, go_on = threading.Event(), threading.Event()
    whole = landes.gateway.write

    def slow(*args: Any, **more: Any) -> Any:
        inside.set()
        assert go_on.wait(60)
        return whole(*args, **more)

    monkeypatch.setattr(landes.gateway, "write", slow)
    reading = asyncio.create_task(meter_readings.keep(landes.gateway))
    try:
        assert await asyncio.to_thread(inside.wait, 60)
        with landes.gateway.engine.begin() as connection:
            connection.execute(insert(meter_reading).values(day="2020-01-01", read_at="2020-01-01", counts="[]"))
    finally:
        go_on.set()
    assert (await reading).counts


async def test_a_process_that_stops_cuts_it_and_the_next_begins_anew(
    landes: Territory, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway, inside, go_on = landes.gateway, threading.Event(), threading.Event()
    schedule._due(gateway, [JOB])
    long_ago(gateway)
    with monkeypatch.context() as patched:
        patched.setattr(gateway, "write", lambda *args, **more: (inside.set(), go_on.wait(60))[1])
        stopping = asyncio.Event()
        running = asyncio.create_task(schedule.run(gateway, stopping, [JOB], pause=0.01))
        try:
            assert await asyncio.to_thread(inside.wait, 60)
            stopping.set()
            await asyncio.wait_for(running, 60)
        finally:
            go_on.set()
    assert last(gateway) is None
    (state,) = schedule.states(gateway, [JOB])
    assert (state.failures, state.done_at) == (0, None)
    await until_read(gateway)
    assert last(gateway).total("typed_again") == 3


def test_zero_switches_it_off(landes: Territory) -> None:
    settings = landes.gateway.settings.model_copy(update={"meter_every": 0.0})
    off = Gateway.open(settings)
    asyncio.run(meter_readings.keep(off))
    assert schedule._due(off, [JOB]) == []
    assert not shown(), "what it said before it was switched off is not shown"
    said = {one["check"]: one["detail"] for one in production.examine(settings)}
    assert said[JOB.name] == "off"
    off.engine.dispose()


def test_its_period_is_a_day() -> None:
    assert JOB.period(Settings()) == 86_400


class Metered(House):
    """Its processes read the meter every second."""

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"MAILLON_METER_EVERY": "1"}


@pytest.fixture
def house(postgres_database: str, tmp_path: Path) -> Iterator[House]:
    one = Metered(tmp_path / "house", postgres_database).furnish()
    yield one
    one.close()


def test_every_process_of_the_gateway_answers_the_same_counts(house: House) -> None:
    house.says([declaration(number) for number in (1, 2)])
    ports = (house.port, free_port())
    house.serve()
    house.start("work", "--metrics-port", str(ports[1]))
    house.until_ready()

    def told(port: int) -> set[str]:
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60, trust_env=False)
        except httpx.TransportError:
            return set()
        return set(re.findall(r"^maillon_fields{.*", answer.text, re.M))

    eventually(lambda: all(map(told, ports)))
    counted = meter.read(house.gateway)
    expected = {
        f'maillon_fields{{document="{one.document}",recipient="{one.recipient}",what="{what}"}} {getattr(one, what)}.0'
        for one in counted
        for what in meter_readings.KINDS
    }
    assert sum(one.persons for one in counted) == 2
    eventually(lambda: [told(port) for port in ports] == [expected, expected])
