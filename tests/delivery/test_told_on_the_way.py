"""Who is told of a withdrawal, a limitation or an erasure when a delivery is on its way at that moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillWaiting

import pytest

from connectors.contract import Acknowledgement
from gateway import delivery, outbox
from gateway.delivery import Prepared
from gateway.past import past_recipients
from gateway.unit_of_work import UnitOfWork
from tests.faults.house import House, declaration


def told(house: House, person: str) -> list[str]:
    with house.gateway.unit_of_work() as work:
        return past_recipients(work, house.gateway, person, "instruction_rsa")


def leave(house: House, work: UnitOfWork) -> list[Prepared]:
    return delivery.prepare_all(work, house.gateway, outbox.claim(work, "guichet", 10, 30.0))


def test_a_recipient_that_may_have_received_is_told(house: House) -> None:
    """The answer never came, and what is tried again is withheld: the recipient may hold it all the same."""
    person = house.says([declaration(1)])[0].persons[0]
    assert told(house, person) == [], "nothing left yet"
    with house.gateway.unit_of_work() as work:
        sent = leave(house, work)
    with house.gateway.unit_of_work() as work:
        assert delivery.settle_all(work, house.gateway, "guichet", [(sent[0], Acknowledgement("retry", "cut"))]) == [
            "queued"
        ]
    assert told(house, person) == ["guichet"]


def test_a_delivery_being_decided_on_is_waited_for(house: House) -> None:
    person = house.says([declaration(1)])[0].persons[0]
    with ThreadPoolExecutor(1) as other:
        with house.gateway.unit_of_work() as work:
            assert leave(house, work)
            work.flush()
            asked = other.submit(told, house, person)
            with pytest.raises(StillWaiting):
                asked.result(0.5)
        assert asked.result(20) == ["guichet"]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)  # SQLite has one writer at a time: nothing to lock
def test_a_delivery_that_nobody_claimed_is_decided_on_afterwards(house: House) -> None:
    person = house.says([declaration(1)])[0].persons[0]
    with house.gateway.unit_of_work() as withdrawing:
        assert past_recipients(withdrawing, house.gateway, person) == []
        with house.gateway.unit_of_work() as work:
            assert leave(house, work) == []
    with house.gateway.unit_of_work() as work:
        assert leave(house, work)
