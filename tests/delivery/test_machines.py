"""Two machines share the deliveries of one gateway: processes with addresses of their own, on PostgreSQL."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from gateway.storage.tables.delivery import outbox
from tests.faults import invariants
from tests.faults.house import House, declaration, eventually, free_port
from tests.faults.machines import NETWORK, machines
from tests.faults.partner import Partner
from tests.faults.postgres import Server

DELIVERIES = 40


@contextmanager
def everywhere(partner: Partner) -> Iterator[int]:
    """The partner, on every address of this machine; gives its port."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(partner, host="0.0.0.0", port=port, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    eventually(lambda: server.started)
    yield port
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize(
    ("ending", "lease"),
    [
        ("killed", 2.0),
        ("unplugged", 2.0),
        pytest.param("killed", 20.0, marks=pytest.mark.chaos),
        pytest.param("unplugged", 20.0, marks=pytest.mark.chaos),
    ],
)
def test_what_a_lost_machine_held_is_delivered_by_the_other(tmp_path: Path, ending: str, lease: float) -> None:
    """Nobody intervenes. Under the product's own lease (20 s) it takes less than 30 s; what a machine that was cut off
    says once it is back changes nothing."""
    partner = Partner()
    partner.latency = 5.0  # until both machines hold deliveries
    claimed = outbox.c.state == "claimed"
    with machines(2) as two, Server(network=NETWORK) as server, everywhere(partner) as port:
        if ending == "unplugged" and not two[0].apart:
            pytest.skip("no network namespaces here: nothing can be unplugged")
        house = House(
            tmp_path / "home", server.url, lease=lease, partner=partner, partner_url=f"http://{two[0].host}:{port}",
            extra={"concurrent": "2", "networks": NETWORK},
        ).furnish()  # fmt: skip
        try:
            house.says([declaration(number) for number in range(DELIVERIES)])
            workers = []
            for machine in two:
                house.partner_url = f"http://{machine.host}:{port}"
                house.database_url = server.url.replace("127.0.0.1", machine.host)
                workers.append(house.work(network=machine.name))
                most = 16 * len(workers)
                eventually(lambda most=most: house.count(outbox, claimed) > most - 8, timeout=120)  # type: ignore[misc]
            house.kill(workers[0]) if ending == "killed" else two[0].plug(False)
            partner.let_go()
            partner.latency, lost = 0.05, time.monotonic()
            assert len(partner.effects) < DELIVERIES // 2
            eventually(lambda: len(partner.effects) == DELIVERIES, timeout=120)
            if lease == 20.0:
                assert time.monotonic() - lost < 30
            if ending == "unplugged":
                two[0].plug(True)
            eventually(lambda: house.count(outbox, outbox.c.state == "delivered") == DELIVERIES, timeout=60)
            workers[1].terminate()
            assert workers[1].wait(60) == 0
            invariants.one_effect_each(house)
            invariants.one_entry_each(house)
            invariants.journal_verifies(house)
        finally:
            house.close()
