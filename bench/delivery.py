"""Delivery: what one costs beside a client that only sends, and what a second machine adds.

| measure | floor | target |
|---|---|---|
| `to_plain_client`: deliveries per CPU-second, real socket | the same POSTs from a plain aiohttp client, nothing written or stored | ≥ 0.245: 1,800 deliveries where that client does 7,338 |
| `two_machines`: deliveries per second of two worker processes | one worker process, PostgreSQL, partner 50 ms away | ≥ 1.8 |

A delivery is whole: claimed, decided again, written in the recipient's format, sent, settled, and twice in the journal.
The recipient runs in a process of its own, so that its time is not counted. The two machines are network namespaces
where they are permitted; each worker has `--concurrent` deliveries in flight, so that latency is what limits one.
"""  # noqa: E501

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import socket
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from _common import main, told
from _postgres import started

from connectors.transport import LOOPBACK, Limits, Transport
from gateway.storage.tables.delivery import outbox
from gateway.worker import Worker
from tests.faults.house import House, declaration, eventually, free_port
from tests.faults.machines import NETWORK, Machine, machines
from tests.faults.partner import Partner

IN_FLIGHT = 32
SHEET = json.dumps({"reference": "r", "fiche": {"x": "y" * 800}}).encode()


def _recipient(port: int, latency: float) -> None:
    import uvicorn

    partner = Partner()
    partner.latency = latency
    uvicorn.run(partner, host="0.0.0.0", port=port, log_level="critical", access_log=False)


@contextmanager
def recipient(latency: float = 0.0) -> Iterator[int]:
    """A partner in a process of its own; gives its port."""
    port = free_port()
    process = multiprocessing.get_context("spawn").Process(target=_recipient, args=(port, latency), daemon=True)
    process.start()
    try:
        eventually(lambda: _listens(port), timeout=60)
        yield port
    finally:
        process.terminate()
        process.join()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def per_cpu_second(count: int, work: Callable[[], Coroutine[Any, Any, Any]]) -> float:
    def used() -> float:
        now = resource.getrusage(resource.RUSAGE_SELF)
        return now.ru_utime + now.ru_stime

    began = used()
    asyncio.run(work())
    return count / (used() - began)


async def _all(count: int, send: Callable[[dict[str, str]], Coroutine[Any, Any, Any]]) -> None:
    ranks = iter(range(count))

    async def client() -> None:
        for rank in ranks:
            await send({"Idempotency-Key": f"{id(ranks)}-{rank}", "Content-Type": "application/json"})

    await asyncio.gather(*(client() for _ in range(IN_FLIGHT)))


async def plain(url: str, count: int) -> None:
    """A client that only sends."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT)) as session:

        async def send(headers: dict[str, str]) -> None:
            async with session.post(f"{url}/fiches", data=SHEET, headers=headers) as answer:
                await answer.read()

        await _all(count, send)


async def transported(url: str, count: int) -> None:
    """The same through the product's transport: addresses checked, time and size bounded, circuit watched."""
    limits = Limits(concurrent=IN_FLIGHT, deadline=120)
    async with Transport("bench", [url], networks=LOOPBACK, limits=limits) as transport:

        async def send(headers: dict[str, str]) -> None:
            await transport.request("POST", f"{url}/fiches", headers=headers, content=SHEET)

        await _all(count, send)


@contextmanager
def promised(count: int, url: str, database: str = "", **terms: str) -> Iterator[House]:
    """A house whose outbox holds this many deliveries."""
    with tempfile.TemporaryDirectory(prefix="maillon-bench-") as folder:
        house = House(Path(folder) / "home", database, lease=20.0, partner_url=url, extra={"deadline": "120"} | terms)
        house.furnish()
        try:
            for first in range(0, count, 200):
                house.says([declaration(number) for number in range(first, min(count, first + 200))])
            yield house
        finally:
            house.close()


def one_process(count: int, rounds: int) -> dict[str, float]:
    """Deliveries per CPU-second of one worker, and of clients that only send: the best of several rounds each."""
    best = {"deliveries": 0.0, "transport": 0.0, "plain": 0.0}
    with recipient() as port:
        url = f"http://127.0.0.1:{port}"
        asyncio.run(plain(url, 200))
        for _ in range(rounds):
            with promised(count, url, concurrent=str(IN_FLIGHT)) as house:
                house.gateway.warm()  # as `maillon work` does when it starts

                async def deliver(house: House = house) -> None:
                    await Worker(house.gateway).drain()
                    await house.gateway.close_transports()

                measured = {
                    "plain": per_cpu_second(count, lambda: plain(url, count)),
                    "transport": per_cpu_second(count, lambda: transported(url, count)),
                    "deliveries": per_cpu_second(count, deliver),
                }
                assert _delivered(house) == count
            best = {name: max(before, measured[name]) for name, before in best.items()}
    return best


def _delivered(house: House) -> int:
    return house.count(outbox, outbox.c.state == "delivered")


def per_second(database: str, partner: int, count: int, at_work: list[Machine], concurrent: int) -> float:
    """Deliveries per second of one worker process on each of these machines, from the tenth to the last tenth."""
    one = at_work[0].host
    with promised(count, f"http://{one}:{partner}", database, concurrent=str(concurrent), networks=NETWORK) as house:
        for machine in at_work:
            # Each reaches the database and the partner by its own cable.
            house.partner_url = f"http://{machine.host}:{partner}"
            house.database_url = database.replace("127.0.0.1", machine.host)
            house.work(network=machine.name)
        try:
            eventually(lambda: _delivered(house) > count // 10, timeout=300, every=0.02)
            at, began = _delivered(house), time.perf_counter()
            eventually(lambda: _delivered(house) > count * 9 // 10, timeout=600, every=0.02)
            return (_delivered(house) - at) / (time.perf_counter() - began)
        finally:
            for process in house.running:
                process.terminate()
                process.wait()


def scale_out(count: int, concurrent: int, latency: float) -> dict[str, Any]:
    with machines(2) as two, recipient(latency) as partner:
        rates = []
        for at_work in (two[:1], two):
            with started(network=NETWORK) as database:
                if not database:
                    return {}
                rates.append(per_second(database, partner, count * len(at_work), at_work, concurrent))
    return {
        "partner_ms": latency * 1000,
        "in_flight_per_machine": concurrent,
        "one_machine_per_second": rates[0],
        "two_machines_per_second": rates[1],
        "latency_allows_per_second": concurrent / latency,
        "network_namespaces": two[0].apart,
    }


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    count = asked.deliveries or (6_000 if asked.full else 1_500)
    alone = one_process(count, 3)
    scaled = scale_out(count // 2, asked.concurrent, asked.latency)
    ratios: dict[str, tuple[float, float | None, bool]] = {
        "to_plain_client": (alone["deliveries"] / alone["plain"], 0.245, True),
        "deliveries_per_cpu_s": (alone["deliveries"], 1_800.0, True),
    }
    if scaled:
        ratios["two_machines"] = (scaled["two_machines_per_second"] / scaled["one_machine_per_second"], 1.8, True)
    figures = {
        "plain_client_per_cpu_second": alone["plain"],
        "transport_per_cpu_second": alone["transport"],
        **scaled,
    }
    return told("delivery", ratios, figures)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--deliveries", type=int, default=0)
    parser.add_argument("--concurrent", type=int, default=2, help="deliveries in flight from one machine")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds the partner takes")


if __name__ == "__main__":
    main(__doc__, measure, options)
