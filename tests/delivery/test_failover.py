"""The database goes away under a gateway at work: restarted, or lost with its standby taking its place."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.storage.tables.delivery import outbox
from tests.faults import invariants, traffic
from tests.faults.house import House, eventually
from tests.faults.postgres import Server
from tests.faults.proxy import FaultProxy

EXCHANGES = 60


@pytest.mark.postgres
@pytest.mark.parametrize("how", ["restarted", "failed-over"])
def test_the_database_pauses_and_all_goes_on_by_itself(tmp_path: Path, how: str) -> None:
    """Nobody touches the gateway. The address of the database is one that moves to the standby."""
    with ExitStack() as closing:
        first = closing.enter_context(Server())
        second = closing.enter_context(Server(following=first)) if how == "failed-over" else None
        address = closing.enter_context(FaultProxy(("127.0.0.1", first.port)))
        url = first.url.replace(str(first.port), str(address.port))
        house = House(tmp_path / "home", url).furnish()
        closing.callback(house.close)
        house.partner.latency = 0.2
        serving, working = house.serve(), house.work()
        house.until_ready()
        senders = traffic.send_all(house, EXCHANGES // 2, patience=120)
        eventually(lambda: len(house.partner.effects) >= 5)
        if second is None:
            first.restart()
        else:
            first.kill()
        senders += traffic.send_all(house, EXCHANGES // 2, first=EXCHANGES // 2, patience=120)
        if second is not None:
            time.sleep(1.0)  # until somebody decides
            second.promote()
            address.targets = [("127.0.0.1", second.port)]
        back, before = time.monotonic(), (len(traffic.accepted(senders)), len(house.partner.effects))
        eventually(lambda: len(traffic.accepted(senders)) > before[0] and len(house.partner.effects) > before[1])
        assert time.monotonic() - back < 30
        for one in senders:
            one.join(120)
        assert not [number for one in senders for number in one.gave_up]
        eventually(lambda: house.count(outbox, outbox.c.state == "delivered") == EXCHANGES)
        for process in (serving, working):
            assert process.poll() is None, "nothing had to be started again"
            process.terminate()
            process.wait(40)
        invariants.all_hold(house, accepted=traffic.accepted(senders))
