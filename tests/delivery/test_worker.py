"""Deliveries: order, leases, pace, circuit, retries, dead letters, pause, fairness, on both databases."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from connectors.contract import Acknowledgement
from gateway import clock, delivery, outbox, recipients
from gateway.outbox import Claim
from gateway.recipients import RetryBudget, Terms
from gateway.storage.tables.delivery import outbox as table
from gateway.storage.tables.journal import journal_entry
from gateway.worker import Worker
from tests.dates import passed
from tests.faults import invariants
from tests.faults.house import House, declaration, eventually
from tests.faults.partner import Partner


def rows(house: House, *where: Any) -> list[Any]:
    with house.gateway.engine.connect().execution_options(read_only=True) as connection:
        return list(connection.execute(select(table).where(*where).order_by(table.c.id)))


def claim(house: House, limit: int = 10, lease: float = 30.0, **options: Any) -> list[Claim]:
    with house.gateway.unit_of_work() as work:
        return outbox.claim(work, "guichet", limit, lease, **options)


async def test_everything_arrives_once(two_recipients: House) -> None:
    house = two_recipients
    house.says([declaration(number) for number in range(120)])
    await Worker(house.gateway).drain()
    assert len(house.partner.effects) == 240
    invariants.all_hold(house)


def test_one_person_has_one_delivery_in_flight_and_in_order(house: House) -> None:
    for version in range(3):
        house.says([declaration(1, version), declaration(2, version)])
    first = claim(house)
    assert len(first) == 2
    assert len({one.person_id for one in first}) == 2
    assert claim(house) == []
    with house.gateway.unit_of_work() as work:
        outbox.settle(work, first[0], "delivered")
    second = claim(house)
    assert [one.person_id for one in second] == [first[0].person_id]
    assert second[0].id > first[0].id


def test_a_replayed_delivery_waits_for_the_one_in_flight(house: House) -> None:
    house.says([declaration(1, 0)])
    (old,) = claim(house)
    with house.gateway.unit_of_work() as work:
        outbox.settle(work, old, "dead", reason="refused")
    house.says([declaration(1, 1)])
    (newer,) = claim(house)
    with house.gateway.unit_of_work() as work:
        assert outbox.replay(work, [old.id]) == 1
    assert newer.id > old.id
    assert claim(house) == []


# SQLite has one writer: nothing is claimed beside it.
@pytest.mark.parametrize("database", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
def test_a_delivery_replayed_while_another_is_being_claimed_is_not_in_flight_beside_it(house: House) -> None:
    house.says([declaration(1, 0)])
    (old,) = claim(house)
    with house.gateway.unit_of_work() as work:
        outbox.settle(work, old, "dead", reason="refused")
    house.says([declaration(1, 1), declaration(2)])
    with house.gateway.unit_of_work() as one_worker:
        (newer,) = outbox.claim(one_worker, "guichet", 1, 30.0)
        with house.gateway.unit_of_work() as by_hand:
            assert outbox.replay(by_hand, [old.id]) == 1
        beside = claim(house)
    assert newer.person_id == old.person_id
    assert [one.person_id for one in beside] != [old.person_id], "nobody waits for another person's"
    assert len(rows(house, table.c.state == "claimed", table.c.person_id == old.person_id)) == 1
    with house.gateway.unit_of_work() as work:
        outbox.settle(work, newer, "delivered")
    assert [one.id for one in claim(house)] == [old.id]


def test_two_attempts_of_one_worker_at_one_delivery_are_acknowledged_once(house: House) -> None:
    """Its lease ended while the answer was on its way, and the same worker claimed it again: both answers arrive."""
    house.says([declaration(1)])
    attempts = []
    for lease in (0.0, 30.0):
        claims = claim(house, lease=lease)
        with house.gateway.unit_of_work() as work:
            attempts += delivery.prepare_all(work, house.gateway, claims)
    with house.gateway.unit_of_work() as work:
        answered = [(one, Acknowledgement("delivered", "201")) for one in attempts]
        assert delivery.settle_all(work, house.gateway, "guichet", answered) == ["", "delivered"]
    with house.gateway.engine.connect() as connection:
        events = list(connection.execute(select(journal_entry.c.event)).scalars())
    assert events.count("exchange.ack") == 1


def test_a_lost_lease_passes_to_another_and_the_first_is_refused(house: House) -> None:
    house.says([declaration(1)])
    (mine,) = claim(house, lease=0.0)
    (theirs,) = claim(house)
    assert theirs.id == mine.id
    assert theirs.fence == mine.fence + 1
    with house.gateway.unit_of_work() as work:
        assert outbox.still_held(work, [mine]) == set()
        assert outbox.renew(work, [mine, theirs], 30.0) == {theirs}
        outbox.settle(work, mine, "delivered")
    assert rows(house)[0].state == "claimed"
    with house.gateway.unit_of_work() as work:
        outbox.settle(work, theirs, "delivered")
    assert rows(house)[0].state == "delivered"


async def test_a_long_sending_keeps_its_lease(database: str, tmp_path: Any) -> None:
    house = House(tmp_path / "home", database, lease=3.0).furnish()
    house.partner.latency = 60.0
    house.says([declaration(1)])
    one, other = Worker(house.gateway), Worker(house.gateway)
    sending = asyncio.create_task(one.drain())
    ends: set[str] = set()
    while len(ends) < 5:  # renewed each third of its length: the first is over by then
        ends |= {row.lease_until for row in rows(house, table.c.state == "claimed")}
        assert not ends or await other.drain() == 0
        await asyncio.sleep(0.1)
    house.partner.let_go()
    assert await sending == 1
    assert len(house.partner.calls) == 1
    invariants.all_hold(house)
    await house.aclose()


async def test_a_recipient_has_no_more_in_flight_than_it_asked_for(database: str, tmp_path: Any) -> None:
    house = House(tmp_path / "home", database, extra={"concurrent": "3"}).furnish()
    house.partner.latency = 0.02
    house.says([declaration(number) for number in range(30)])
    await Worker(house.gateway).drain()
    assert len(house.partner.effects) == 30
    assert 1 < house.partner.most_in_flight <= 3
    await house.aclose()


def test_all_workers_together_keep_to_the_rate(house: House) -> None:
    terms = Terms(rate="10/second")

    def asked(wanted: int) -> int:
        with house.gateway.unit_of_work() as work:
            return recipients.allowed(work, "guichet", wanted, 0, terms)

    with passed("2026-11-21T10:00:00Z", tick=False) as at:
        assert [asked(6), asked(6), asked(6)] == [6, 4, 0]
        at.shift(0.5)
        assert asked(60) == 5
        at.shift(3600)
        assert asked(60) == 10


async def test_a_failing_recipient_is_left_alone_then_probed(house: House) -> None:
    house.partner.fault = lambda rank: (500, {})
    house.says([declaration(number) for number in range(80)])
    worker = Worker(house.gateway)
    await worker.drain()
    called = len(house.partner.calls)
    assert called <= Terms().concurrent + recipients.AILING, "what is on its way may fail, the rest of the batch stays"
    assert {row.attempts for row in rows(house)} <= {0, 1}, "none was tried twice"
    with house.gateway.unit_of_work() as work:
        assert recipients.allowed(work, "guichet", 50, 0, Terms()) == 0
    house.due_now()
    await worker.drain()
    assert len(house.partner.calls) == called + 1, "one probe"
    house.partner.fault = None
    house.due_now()
    for _ in range(40):
        await worker.drain()
        if len(house.partner.effects) == 80:
            break
        house.due_now()
    assert len(house.partner.effects) == 80
    assert not rows(house, table.c.state == "dead"), "the outage was the recipient's, not the deliveries'"


async def test_nothing_is_claimed_beside_a_slow_call_while_the_others_fail(
    database: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be written, put back unsent and journaled, over and over."""
    first_is_slow = property(lambda partner: 60.0 * (len(partner.calls) == 1), lambda partner, seconds: None)
    monkeypatch.setattr(Partner, "latency", first_is_slow, raising=False)
    house = House(tmp_path / "home", database, extra={"concurrent": "4"}).furnish()
    house.partner.fault = lambda rank: (500, {}) if rank > 1 else None
    house.says([declaration(number) for number in range(80)])
    draining = asyncio.create_task(Worker(house.gateway).drain())
    answered = journal_entry.c.event == "exchange.ack"
    await asyncio.to_thread(eventually, lambda: house.count(journal_entry, answered) >= 31, timeout=60)
    assert house.count(journal_entry, journal_entry.c.event == "exchange.deliver") == 32
    house.partner.let_go()
    await draining
    assert len(house.partner.effects) == 2
    await house.aclose()


async def test_retry_after_is_honoured_by_every_worker(house: House) -> None:
    house.partner.fault = lambda rank: (429, {"retry-after": "120"}) if rank == 0 else None
    house.says([declaration(1)])
    await Worker(house.gateway).drain()
    house.says([declaration(2)])
    await Worker(house.gateway).drain()
    assert len(house.partner.calls) == 1
    await house.gateway.close_transports()  # the transport remembers the pause on a clock that cannot be moved
    with passed(clock.now() + timedelta(seconds=125)):
        await Worker(house.gateway).drain()
    assert len(house.partner.effects) == 2


@pytest.mark.parametrize(
    "asked", ["Fri, 31 Dec 9999 23:59:59 GMT", "999999999", f"Fri, 31 Dec {'9' * 20} 23:59:59 GMT"]
)
async def test_a_recipient_that_asks_to_wait_for_ever_is_asked_again_within_the_week(house: House, asked: str) -> None:
    house.partner.fault = lambda rank: (429, {"retry-after": asked}) if rank == 0 else None
    house.says([declaration(1)])
    await Worker(house.gateway).drain()
    (put_back,) = rows(house)
    assert put_back.state == "queued"
    assert put_back.next_at <= clock.instant(clock.now() + outbox.GIVE_UP_AFTER)
    await house.gateway.close_transports()  # the transport remembers the pause
    house.due_now()
    await Worker(house.gateway).drain()
    assert len(house.partner.effects) == 1


async def test_a_refused_delivery_is_a_dead_letter_that_can_be_replayed(house: House) -> None:
    house.partner.fault = lambda rank: (422, {})
    house.says([declaration(1)])
    await Worker(house.gateway).drain()
    (dead,) = rows(house, table.c.state == "dead")
    assert dead.reason == "http-422"
    house.partner.fault = None
    with house.gateway.unit_of_work() as work:
        assert outbox.replay(work, [dead.id, "unknown"]) == 1
    await Worker(house.gateway).drain()
    invariants.all_hold(house)


async def test_a_delivery_put_off_until_later_is_sent_now_when_its_operator_says_so(house: House) -> None:
    house.partner.fault = lambda rank: (503, {"Retry-After": "3600"})
    house.says([declaration(1)])
    await Worker(house.gateway).drain()
    (late,) = rows(house, table.c.state == "queued")
    house.partner.fault = None
    with house.gateway.unit_of_work() as work:
        assert outbox.replay(work, [late.id]) == 1
    assert rows(house, table.c.state == "queued")[0].next_at < late.next_at


async def test_a_paused_recipient_waits_and_the_other_does_not(two_recipients: House) -> None:
    house = two_recipients
    with house.gateway.unit_of_work() as work:
        recipients.pause(work, "guichet", True)
    house.says([declaration(number) for number in range(10)])
    await Worker(house.gateway).drain()
    assert len(house.partner.effects) == 10
    with house.gateway.unit_of_work() as work:
        recipients.pause(work, "guichet", False)
    await Worker(house.gateway).drain()
    assert len(house.partner.effects) == 20
    invariants.all_hold(house)


async def test_a_delivery_nobody_could_take_for_a_week_is_dead(house: House) -> None:
    house.partner.fault = lambda rank: (503, {})
    house.says([declaration(1)])
    start = clock.now()
    for day in (0, 1, 2, 8):
        await house.gateway.close_transports()
        with passed(start + timedelta(days=day)):
            house.gateway.publish_journal()
            await Worker(house.gateway).drain()
    (dead,) = rows(house)
    assert (dead.state, dead.reason) == ("dead", "too-late:http-503")


def test_what_met_nothing_but_an_outage_for_a_week_is_dead_too(house: House) -> None:
    house.says([declaration(1)])
    start, left = clock.now(), []
    for day in (0, 1, 2, 8, 9):
        with passed(start + timedelta(days=day)):
            (held,) = claim(house)
            with house.gateway.unit_of_work() as work:
                left.append(outbox.put_back(work, held, "http-503", counted=False))
                work.flush()
                outbox.replay(work, [held.id], ("dead",))
    assert left == ["queued", "queued", "queued", "dead", "queued"]


async def test_waiting_deliveries_go_when_something_is_known(house: House) -> None:
    house.says([declaration(1)])
    (held,) = claim(house)
    with house.gateway.unit_of_work() as work:
        outbox.settle(work, held, "waiting", reason="person-unknown-there")
    await Worker(house.gateway).drain()
    assert not house.partner.effects
    house.says([declaration(1, 1)])
    await Worker(house.gateway).drain()
    assert {row.state for row in rows(house)} == {"delivered"}


def test_a_talkative_person_starves_nobody(house: House) -> None:
    for version in range(40):
        house.says([declaration(1, version)])
    house.says([declaration(number) for number in range(2, 12)])
    taken = claim(house, 11)
    assert len({one.person_id for one in taken}) == 11


def test_retries_never_stand_before_new_deliveries(house: House) -> None:
    house.says([declaration(number) for number in range(20)])
    tried = claim(house, 20, lease=0.0)
    house.says([declaration(number) for number in range(20, 30)])
    assert len(tried) == 20
    taken = claim(house, 20, retries=2)
    taken += claim(house, 20, retries=0)
    assert sum(one.attempts > 1 for one in taken) == 2
    assert sum(one.attempts == 1 for one in taken) == 10


def test_the_retry_budget_is_a_share_of_first_attempts() -> None:
    budget, first, again = RetryBudget(share=0.2, reserve=0.0), claim_of(1), claim_of(2)
    budget.spend([first] * 50)
    assert budget.left == 10
    budget.spend([again] * 10)
    assert budget.left == 0
    budget.refill(3.0)
    assert budget.left == 3
    budget.succeeded(10)
    assert budget.left == 13, "a retry that passes costs nothing"


async def test_a_body_that_has_no_connector_any_more_costs_its_delivery_and_no_worker(house: House) -> None:
    house.says([declaration(1)])
    held = replace(claim(house)[0], recipient="gone")
    with house.gateway.unit_of_work() as work:
        prepared = delivery.prepare_all(work, house.gateway, [replace(held, recipient="guichet")])[0]
    with capture_logs() as said:
        answer = await delivery.send(house.gateway, replace(prepared, claim=held))
    assert answer == Acknowledgement("retry", "connector-failed")
    assert re.fullmatch(r"\w+\.py:\d+", said[0]["at"]), "its author is told the line that failed"


def claim_of(attempts: int) -> Claim:
    return Claim("d", "guichet", "p", "caf", "doc", "", "f", "e", attempts, 1, "2026-11-21T10:00:00Z")


# On SQLite one process does everything: nothing to tell another.
@pytest.mark.parametrize("database", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
async def test_a_worker_is_woken_by_what_is_promised_elsewhere(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(house.gateway)
    looks: list[float] = []
    monkeypatch.setattr(worker, "_look", _counted(worker._look, looks))
    working = asyncio.create_task(worker.run(pause=60.0))
    for _ in range(1_200):
        if len(looks) > 1:  # the second once it listens: something may have been missed until then
            break
        await asyncio.sleep(0.05)
    before = len(looks)
    await asyncio.to_thread(house.says, [declaration(1)])
    for _ in range(900):  # less than its pause
        if house.partner.effects:
            break
        await asyncio.sleep(0.05)
    assert house.partner.effects, "no notification came before the next look"
    assert len(looks) > before
    worker.stopping.set()
    await working


def _counted(look: Callable[[], Any], looks: list[float]) -> Callable[[], Any]:
    async def counted() -> Any:
        looks.append(1.0)
        return await look()

    return counted


async def test_stopping_finishes_what_is_in_flight(house: House) -> None:
    house.partner.latency = 60.0
    house.says([declaration(number) for number in range(5)])
    worker = Worker(house.gateway)
    working = asyncio.create_task(worker.run())
    for _ in range(3_000):
        if house.partner.in_flight:
            break
        await asyncio.sleep(0.02)
    worker.stopping.set()
    house.partner.let_go()
    await asyncio.wait_for(working, 60)
    assert not rows(house, table.c.state == "claimed")
    assert len(rows(house, table.c.state == "delivered")) == len(house.partner.effects) > 0


async def test_what_keeps_deliveries_back_for_long_is_not_said_at_each_look(two_recipients: House) -> None:
    house = two_recipients
    house.says([declaration(1)])
    house.gateway.settings.audit_tolerance = 0.0  # the journal is no longer sealed in time
    worker = Worker(house.gateway)
    with capture_logs() as said:
        for _ in range(20):
            assert await worker.drain() == 0
        house.gateway.settings.audit_tolerance = 86_400.0
        assert await worker.drain() == 2
    told = [line for line in said if line["event"].startswith("delivery.")]
    assert [line["event"] for line in told] == ["delivery.audit_unavailable", "delivery.audit_available"]
    assert told[0]["kind"] == "audit-unavailable"
    assert told[1]["times"] >= 20
