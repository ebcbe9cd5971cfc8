"""Under a date that was moved nothing is decided, sent, given up or written down; set right, everything goes on."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from gateway import clock, notifier, production, schedule
from gateway.access.client import PartnerAuth
from gateway.app import build
from gateway.decide import question
from gateway.problems import Misconfigured, Unavailable
from gateway.registry import Gateway
from gateway.storage.tables.delivery import outbox as table
from gateway.storage.tables.journal import journal_entry, journal_log
from gateway.worker import Worker
from tests.dates import moved, passed
from tests.faults import invariants
from tests.faults.house import SENDER, House, declaration

SHIFTS = [timedelta(hours=1), timedelta(hours=-1), timedelta(days=400)]


def rows(house: House) -> list[Any]:
    with house.gateway.engine.connect().execution_options(read_only=True) as connection:
        return list(connection.execute(select(table).order_by(table.c.id)))


def entries(house: House) -> int:
    with house.gateway.engine.connect().execution_options(read_only=True) as connection:
        return int(connection.execute(select(func.count()).select_from(journal_entry)).scalar_one())


async def post(client: httpx.AsyncClient, number: int) -> httpx.Response:
    headers = {"Maillon-Document": "guichet.declaration", "Idempotency-Key": f"k{number}"}
    return await client.post("/v1/exchanges", json=declaration(number), headers=headers)


@pytest.mark.parametrize("shift", SHIFTS, ids=str)
async def test_f_12_an_exchange_is_refused_then_accepted_and_a_delivery_waits_then_goes(
    house: House, shift: timedelta
) -> None:
    app, worker = build(house.gateway, embedded_worker=False), Worker(house.gateway)
    own = httpx.ASGITransport(app)
    auth = PartnerAuth(house.issuer, SENDER, house.key, purpose="instruction_rsa")
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=own, base_url=house.issuer) as anybody,
        httpx.AsyncClient(transport=own, base_url=house.issuer, auth=auth) as sender,
    ):
        assert (await post(sender, 1)).status_code == 202
        before, journal = rows(house), entries(house)
        with moved(clock.now() + shift):
            for method, path in (
                ("POST", "/v1/exchanges"), ("POST", "/oauth/token"), ("POST", "/v1/webhooks/rdv_insertion"),
                ("GET", f"/v1/persons/{clock.new_id()}/dossier"), ("GET", "/v1/inbox"), ("POST", "/v1/journal/witness"),
            ):  # fmt: skip
                refused = await anybody.request(method, path)
                assert refused.status_code == 503, path
                assert refused.json()["type"] == "urn:maillon:problem:clock-doubtful"
                assert refused.headers["retry-after"] == "60"
            ready = await anybody.get("/readyz")
            assert (ready.status_code, ready.json()["checks"]["clock"]) == (503, False)
            assert (await anybody.get("/healthz")).status_code == 200
            assert await worker.drain() == 0
            with pytest.raises(Unavailable, match="clock-doubtful"):
                house.gateway.publish_journal()
        assert (rows(house), entries(house)) == (before, journal), "nothing is counted, put off or said"
        assert (await anybody.get("/readyz")).json()["checks"]["clock"]
        assert (await post(sender, 2)).status_code == 202
    await worker.drain()
    assert {row.state for row in rows(house)} == {"delivered"}
    assert {row.attempts for row in rows(house)} == {1}
    invariants.all_hold(house)


async def test_f_12_what_was_on_its_way_is_settled_once_the_date_is_right(house: House) -> None:
    moving = moved(clock.now() + timedelta(days=400))

    def move(rank: int) -> None:
        """As the partner takes it, the date is moved."""
        if rank == 0:
            moving.start()

    house.partner.fault = move
    house.says([declaration(1)])
    worker = Worker(house.gateway)
    delivering = asyncio.create_task(worker.drain())
    try:
        while not house.partner.effects:  # noqa: ASYNC110 the partner has no event to wait for
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        assert [(row.state, row.attempts) for row in rows(house)] == [("claimed", 1)]
        assert not delivering.done()
    finally:
        moving.stop()
    await asyncio.wait_for(delivering, 60)
    await worker.drain()  # its lease may have ended meanwhile
    assert [row.state for row in rows(house)] == ["delivered"]
    invariants.all_hold(house)


async def test_nothing_else_that_is_dated_is_done_either(house: House) -> None:
    gateway = house.gateway
    with moved(clock.now() + timedelta(days=40)):
        for act in (
            lambda: house.says([declaration(1)]),
            lambda: notifier.upkeep(gateway),
            lambda: schedule._take(gateway, schedule.JOBS[0]),
        ):
            with pytest.raises(Unavailable, match="clock-doubtful"):
                act()
        with pytest.raises(Unavailable, match="clock-doubtful"):
            await notifier.round_(gateway)


def test_were_a_door_left_open_the_table_itself_refuses(house: House) -> None:
    (receipt,) = house.says([declaration(1)])
    (person,), gateway = receipt.persons, house.gateway

    def decided() -> tuple[bool, str, tuple[str, ...], bool]:
        with gateway.reading() as work:  # what looks without writing may still look
            (flow,) = gateway.flows(work, SENDER)
            asked = question(work, gateway, person, flow, gateway.dossiers.current(work, person))
            decision = gateway.policy.decide(asked)
            return decision.permits, decision.reason, tuple(decision.rule_ids), asked.clock_ok

    permitted = decided()
    assert (permitted[0], permitted[3]) == (True, True)
    with moved(clock.now() + timedelta(minutes=6)):
        assert decided() == (False, "indeterminate", ("D99",), False)
    with moved(clock.now() + timedelta(minutes=4)):
        assert decided() == permitted, "a clock may be set right by less than five minutes"


def doctor(house: House) -> dict[str, Any]:
    return next(one for one in production.examine(house.gateway.settings) if one["check"] == "clock")


@pytest.mark.parametrize("behind", [timedelta(hours=1), timedelta(days=20_000)], ids=str)
def test_no_process_begins_before_what_the_journal_has_seen(house: House, behind: timedelta) -> None:
    house.gateway.publish_journal()
    settings = house.gateway.settings
    assert doctor(house)["ok"]
    with passed(clock.now() - behind):
        with pytest.raises(Misconfigured, match="clock-doubtful"):
            Gateway.open(settings)
        assert not doctor(house)["ok"]
    Gateway.open(settings).engine.dispose()


def test_a_journal_sealed_under_a_date_ahead_is_dated_anew_by_its_operator(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a machine leaves it that started under a wrong date: SQLite has no other clock to ask."""
    ahead = clock.instant(clock.now() + timedelta(days=400))
    house.gateway.publish_journal()
    with house.gateway.engine.begin() as connection:
        connection.execute(journal_log.update().values(checkpoint_at=ahead, quorum_at=ahead))
    settings = house.gateway.settings
    with pytest.raises(Misconfigured, match=r"400 days after this machine's date.*maillon journal checkpoint"):
        Gateway.open(settings)
    dating = Gateway.open(settings, date_is_right=True)
    dating.publish_journal()
    dating.engine.dispose()
    Gateway.open(settings).engine.dispose()
    with house.gateway.engine.connect().execution_options(read_only=True) as connection:
        (log,) = connection.execute(select(journal_log)).all()
    assert max(log.checkpoint_at, log.quorum_at) <= clock.instant()


@pytest.mark.postgres
@pytest.mark.parametrize("shift", [timedelta(hours=1), timedelta(hours=-1)], ids=str)
def test_a_machine_whose_date_is_not_the_databases_does_not_begin(
    postgres_database: str, tmp_path: Any, shift: timedelta
) -> None:
    house = House(tmp_path / "home", postgres_database).furnish()
    with passed(clock.now() + shift):
        for said in (False, True):
            with pytest.raises(
                Misconfigured, match="The dates of this machine and of the database's are 60 minutes apart"
            ):
                Gateway.open(house.gateway.settings, date_is_right=said)
        assert "60 minutes apart" in json.dumps(doctor(house))
    house.close()
