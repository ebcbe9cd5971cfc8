"""What a household, a delivery and a process weigh: CPU, bytes and memory, on both databases. Sizes, not targets.

    python bench/sizing.py [--foyers N] [--deliveries N] [--full] [--json]

A synthetic CAF file is taken durably, then its restatement; deliveries are carried out to a partner that answers at
once; `maillon serve` and `maillon work` run as processes under some traffic. CPU of the PostgreSQL server is that of
all its processes. `bench/capacity.py` reads these figures.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import _common
from _postgres import started
from delivery import per_cpu_second, promised, recipient
from ingest import restated
from sqlalchemy import Engine, func, select, text

from connectors.caf.generator import write_file
from gateway.ingest import ingest
from gateway.storage.tables.delivery import outbox
from gateway.storage.tables.journal import journal_entry
from gateway.worker import Worker
from tests.faults.house import House, eventually

_PAGES = ("page_count", "page_size")
_TICK = os.sysconf("SC_CLK_TCK")


class _Database:
    """How much a database holds, and what its server used."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._postgres = engine.dialect.name == "postgresql"

    def size(self) -> int:
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if self._postgres:
                connection.execute(text("VACUUM ANALYZE"))
                return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())
            pages, bytes_each = (connection.execute(text(f"PRAGMA {one}")).scalar_one() for one in _PAGES)
            return int(pages) * int(bytes_each)

    def entries(self) -> int:
        with self._engine.connect() as connection:
            return int(connection.execute(select(func.count()).select_from(journal_entry)).scalar_one())

    def server_cpu(self) -> float:
        """CPU seconds of the server and all it started; 0 where there is none."""
        if not self._postgres:
            return 0.0
        with self._engine.connect() as connection:
            backend = int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
        server = _stat(backend)[1]
        ticks = sum(_stat(server)[11:15])
        for process in Path("/proc").glob("[0-9]*"):
            try:
                fields = _stat(int(process.name))
            except OSError:
                continue
            if fields[1] == server:
                ticks += fields[11] + fields[12]
        return ticks / _TICK


def _stat(pid: int) -> list[int]:
    """Fields of /proc/PID/stat after the name: [1] is the parent, [11:15] CPU ticks, waited children's last."""
    return [0, *map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1:])]


def taken(url: str, foyers: int) -> dict[str, float]:
    """Households taken, and taken again the next day: CPU and bytes each."""
    with tempfile.TemporaryDirectory() as folder, _common.opened(url) as gateway:
        database, found = _Database(gateway.engine), {}
        small, path = Path(folder) / "small.xml", Path(folder) / "new.xml"
        write_file(small, 30, flux="quotidien", mois="2026-09-01", debut=10_000_000)
        write_file(path, foyers, flux="quotidien", mois="2026-09-02")
        ingest(gateway, small, "caf", "caf.flux_beneficiaire")
        size, entries = database.size(), database.entries()

        def cost(source: Path) -> tuple[float, float]:
            before = database.server_cpu()
            client, _, _ = _common.cpu_and_wall(lambda: ingest(gateway, source, "caf", "caf.flux_beneficiaire"))
            return client / foyers * 1e6, (database.server_cpu() - before) / foyers * 1e6

        found["household_us"], found["household_server_us"] = cost(path)
        found["household_bytes"] = (database.size() - size) / foyers
        found["household_entries"] = (database.entries() - entries) / foyers
        later = restated(path, "2026-09-02", "2026-09-03")
        found["unchanged_us"], found["unchanged_server_us"] = cost(later)
        gateway.publish_journal()
        files = sum(one.stat().st_size for one in gateway.journal_folder.rglob("*") if one.is_file())
        found["published_bytes_per_entry"] = files / database.entries()
        return found


def delivered(url: str, count: int) -> dict[str, float]:
    """Deliveries to a partner that answers at once: CPU and bytes each."""
    with recipient() as port, promised(count, f"http://127.0.0.1:{port}", url, concurrent="32") as house:
        database = _Database(house.gateway.engine)
        size, server = database.size(), database.server_cpu()

        async def deliver() -> None:
            await Worker(house.gateway).drain()
            await house.gateway.close_transports()

        rate = per_cpu_second(count, deliver)
        server = database.server_cpu() - server
        return {
            "delivery_us": 1e6 / rate,
            "delivery_server_us": server / count * 1e6,
            "delivery_bytes": (database.size() - size) / count,
        }


def processes(url: str, exchanges: int) -> dict[str, float]:
    """Peak memory of `maillon serve` and `maillon work` after this many exchanges over HTTP."""
    with recipient() as port, promised(0, f"http://127.0.0.1:{port}", url) as house:
        serving, working = house.serve(), house.work()
        house.until_ready(timeout=180)
        with house.client() as client:
            for number in range(exchanges):
                House.post(client, number).raise_for_status()
        eventually(lambda: house.count(outbox, outbox.c.state == "delivered") >= exchanges, timeout=300)
        return {"serve_mb": _peak(serving.pid), "work_mb": _peak(working.pid)}


def _peak(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return float(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    foyers = 5_000 if asked.full else asked.foyers
    parts: list[tuple[Callable[[str, int], dict[str, float]], int]] = [(taken, foyers), (delivered, asked.deliveries)]
    figures: dict[str, Any] = {"foyers": foyers, "deliveries": asked.deliveries}
    for name in ("sqlite", "postgresql"):
        for part, count in parts if name == "sqlite" else [*parts, (processes, 200)]:
            with started() if name == "postgresql" else nullcontext("") as url:
                if name == "sqlite" or url:
                    figures |= {f"{name}_{key}": value for key, value in part(url, count).items()}
    return _common.told("sizing", {}, figures)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--foyers", type=int, default=500)
    parser.add_argument("--deliveries", type=int, default=1_000)


if __name__ == "__main__":
    _common.main(__doc__, measure, options)
