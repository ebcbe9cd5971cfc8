"""Deliveries beside a bare client that makes the same calls, in one run.

    python bench/delivery.py [--deliveries N] [--recipients K] [--database URL] [--workers W] [--latency S] [--json]

| what | floor | target |
|---|---|---|
| deliveries per CPU-second, real socket | the same POSTs from the bare client, nothing written or stored | ≥ 1,800 |
| two worker processes on PostgreSQL, latency 50 ms | one worker process | ≥ 1.8 × |

The recipient runs in a process of its own, so that its time is not counted. A delivery is whole: claimed, decided
again, written in the recipient's format, sent, settled, and twice in the journal.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from connectors.transport import LOOPBACK, Limits, Transport
from gateway.worker import Worker
from tests.faults.house import RECIPIENTS, House, declaration, eventually, free_port
from tests.faults.partner import Partner

TARGETS = {"deliveries_per_cpu_second": 1_800.0, "two_workers_ratio": 1.8}


def _recipient(port: int, latency: float) -> None:
    import uvicorn

    partner = Partner()
    partner.latency = latency
    uvicorn.run(partner, port=port, log_level="critical", access_log=False)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def cpu_of(work: Any) -> tuple[float, float]:
    """(CPU, wall) seconds of a coroutine in this process."""
    used, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    asyncio.run(work)
    now = resource.getrusage(resource.RUSAGE_SELF)
    return now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime, time.perf_counter() - began


async def bare(url: str, count: int, concurrent: int) -> None:
    transport = Transport("bench", [url], networks=LOOPBACK, limits=Limits(concurrent=concurrent, deadline=120))
    body, ranks = json.dumps({"reference": "r", "fiche": {"x": "y" * 800}}).encode(), iter(range(count))

    async def client() -> None:
        for rank in ranks:
            headers = {"Idempotency-Key": f"bare-{rank}", "Content-Type": "application/json"}
            await transport.request("POST", f"{url}/fiches", headers=headers, content=body)

    await asyncio.gather(*(client() for _ in range(concurrent)))
    await transport.aclose()


def promised(url: str, database: str, count: int, recipients: int) -> House:
    """A house whose outbox holds this many deliveries."""
    house = House(
        Path(tempfile.mkdtemp(prefix="maillon-bench-")) / "home", database, recipients=RECIPIENTS[:recipients],
        lease=25.0, partner_url=url, extra={"concurrent": "32", "deadline": "120"},
    ).furnish()  # fmt: skip
    people = count // recipients
    for first in range(0, people, 200):
        house.says([declaration(number) for number in range(first, min(people, first + 200))])
    return house


def workers_rate(house: House, count: int, workers: int) -> float:
    """Deliveries per wall second of this many worker processes, from the first delivery to the last."""
    from gateway.storage.tables.delivery import outbox

    def done() -> int:
        return house.count(outbox, outbox.c.state == "delivered")

    started: list[subprocess.Popen[bytes]] = [house.work() for _ in range(workers)]
    eventually(lambda: done() > count // 10, timeout=300, every=0.02)
    at, began = done(), time.perf_counter()
    eventually(lambda: done() > count * 9 // 10, timeout=300, every=0.02)
    rate = (done() - at) / (time.perf_counter() - began)
    for one in started:
        one.terminate()
    return rate


def main() -> None:
    parse = argparse.ArgumentParser()
    parse.add_argument("--deliveries", type=int, default=2_000)
    parse.add_argument("--recipients", type=int, default=1)
    parse.add_argument("--database", default=os.environ.get("BENCH_DATABASE_URL", ""))
    parse.add_argument("--workers", type=int, default=0, help="compare 1 worker process with this many (PostgreSQL)")
    parse.add_argument("--latency", type=float, default=0.0)
    parse.add_argument("--json", action="store_true")
    asked = parse.parse_args()
    port = free_port()
    recipient = multiprocessing.get_context("spawn").Process(target=_recipient, args=(port, asked.latency), daemon=True)
    recipient.start()
    url = f"http://127.0.0.1:{port}"
    eventually(lambda: _listens(port), timeout=60)
    told: dict[str, float] = {}
    if asked.workers:
        for count in (1, asked.workers):
            house = promised(url, asked.database, asked.deliveries, asked.recipients)
            told[f"workers_{count}_per_second"] = workers_rate(house, asked.deliveries, count)
            house.close()
        told["two_workers_ratio"] = told[f"workers_{asked.workers}_per_second"] / told["workers_1_per_second"]
    else:
        asyncio.run(bare(url, 200, 32))
        floor_cpu, floor_wall = cpu_of(bare(url, asked.deliveries, 32))
        house = promised(url, asked.database, asked.deliveries, asked.recipients)
        house.says([declaration(900_000 + number) for number in range(50)])

        async def deliver() -> None:
            await Worker(house.gateway).drain()
            await house.gateway.close_transports()

        cpu, wall = cpu_of(deliver())
        count = asked.deliveries + 50 * asked.recipients
        told = {
            "deliveries_per_cpu_second": count / cpu,
            "deliveries_per_second": count / wall,
            "bare_per_cpu_second": asked.deliveries / floor_cpu,
            "bare_per_second": asked.deliveries / floor_wall,
            "ratio_to_bare": (count / cpu) / (asked.deliveries / floor_cpu),
        }
        house.close()
    recipient.terminate()
    if asked.json:
        print(json.dumps({"bench": "delivery", **told}))
        return
    for name, value in told.items():
        target = f"   target {TARGETS[name]:,.1f}" if name in TARGETS else ""
        print(f"{name:32}{value:12,.2f}{target}")


if __name__ == "__main__":
    main()
