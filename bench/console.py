"""The pages of the console over a large database: CPU of each, first and again, and the cold start of `maillon serve`.

    python bench/console.py [--exchanges N] [--full] [--home DIR] [--json]

Each stored exchange is one received, one delivered or refused, three journal entries, spread over ninety days; beside
them, as many statements of bodies, of half as many households.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import _common
import httpx

if TYPE_CHECKING:
    from gateway.registry import Gateway

TARGET_MS = 150.0
START_S = 2.0
DAYS = 90
BATCH = 5_000
ROUNDS = 3
PURPOSES = ("orientation", "diagnostic_global", "accompagnement")


def fill(gateway: Gateway, exchanges: int) -> None:
    """A gateway that has lived: persons read from a CAF file, then exchanges about as many persons as there are."""
    import growth

    from connectors.caf import generator
    from gateway import clock
    from gateway.ingest import ingest

    path = gateway.settings.home / "flux.xml"
    generator.write_file(path, 200, seed=5, mois="2026-08", departement="040", oddities=("code_inconnu",))
    ingest(gateway, path, "caf", "caf.flux_beneficiaire")
    now = clock.now()
    chance = random.Random(7)
    for first in range(0, exchanges, BATCH):
        back = timedelta(days=DAYS) * (1 - first / exchanges)
        _batch(gateway, clock.instant(now - back), min(BATCH, exchanges - first), chance)
    growth.fill(gateway, 0, exchanges // 2)


def _reopened(home: Path) -> Gateway:
    from gateway.registry import Gateway
    from gateway.settings import Settings

    return Gateway.open(Settings(profile="test", home=home, departement="040"))


def _batch(gateway: Gateway, at: str, count: int, chance: random.Random) -> None:
    from gateway import clock, journal
    from gateway.storage.tables.basis import basis_event, basis_record
    from gateway.storage.tables.delivery import outbox
    from gateway.storage.tables.record import exchange, person

    with gateway.unit_of_work() as work:
        work.now = at
        for rank in range(count):
            id, who, purpose = clock.new_id(), clock.new_id(), chance.choice(PURPOSES)
            subject = gateway.keys.pseudonym("france_travail", who)
            refused, read = rank % 20 == 0, rank % 10 == 0
            common = {"exchange_id": id, "sender_org": "caf", "purpose": purpose}
            told = common | {"recipient_org": "france_travail", "subject": subject, "article": ["CASF L263-4-1"]}
            work.add(exchange, id=id, sender="caf", document="caf.flux_beneficiaire", purpose=purpose,
                     received_at=at, records=1)  # fmt: skip
            work.add(outbox, id=clock.new_id(), recipient="france_travail", person_id=who, sender="caf",
                     document="france_travail.dossier_diagnostic", flow="c:1", exchange_id=id, next_at=at,
                     state="withheld" if refused else "delivered", created_at=at, settled_at=at)  # fmt: skip
            journal.append(work, "exchange.request", **common, n_records=1, outcome="accepted")
            if refused:
                journal.append(work, "exchange.deny", **told, decision="deny", reason_code="basis-objected")
            else:
                journal.append(work, "exchange.ack", **told, outcome="delivered", categories_sent=["C1", "C5"])
            if read:
                journal.append(work, "log.read", sender_org="ccas_voisin", outcome="dossier", subject=subject)
                work.add(person, id=who, created_at=at)
                record = clock.new_id()
                work.add(basis_record, id=record, person_id=who, kind="information", regime="RSA", purpose=purpose,
                         content='{"article":["CASF L262-40"]}', valid_from=at, created_at=at)  # fmt: skip
                work.add(basis_event, id=clock.new_id(), record_id=record, name="informed", occurred_at=at,
                         recorded_at=at, actor="self")  # fmt: skip


class Browser:
    """A client of this gateway with a session of one role; the gateway runs in this process, so its CPU is counted."""

    def __init__(self, gateway: Gateway, role: str) -> None:
        from gateway.app import build

        wire = httpx.ASGITransport(app=build(gateway, embedded_worker=False))
        self._loop = asyncio.Runner()
        self._client = httpx.AsyncClient(transport=wire, base_url=gateway.settings.issuer, follow_redirects=True)
        assert self.get(f"/console/connexion?comme={role}").url.path == "/console/"

    def get(self, path: str) -> httpx.Response:
        return self._loop.run(self._client.get(path, timeout=300))


def pages(gateway: Gateway) -> dict[str, tuple[float, float]]:
    """Page → CPU in ms the first time, and the least of the following."""
    from gateway.console import places
    from gateway.console.common import MENU

    found: dict[str, tuple[float, float]] = {}
    for role in MENU:
        client = Browser(gateway, role)
        paths = [one.path for one in places() if one.method == "GET" and role in one.roles and "{" not in one.path]
        paths += sorted({_linked(client, path) for path in paths} - {""})
        for path in paths:
            times = [_timed(client, path) for _ in range(1 + ROUNDS)]
            found[path] = times[0], min(times[1:])
    return found


def _linked(client: Browser, path: str) -> str:
    """The first page of one thing that a list leads to."""
    hrefs = re.findall(r'<t[hd][^>]*><a href="([^"]+)"', client.get(path).text)
    return next((urlsplit(href.replace("&amp;", "&")).geturl() for href in hrefs if href.startswith("/console/")), "")


def _timed(client: Browser, path: str) -> float:
    cpu, _, answer = _common.cpu_and_wall(lambda: client.get(path))
    assert answer.status_code == 200, (path, answer.status_code)
    return cpu * 1000


def start(home: Path) -> float:
    """CPU seconds from the command to the first answer of `maillon serve`, on a database that exists and with the
    modules compiled, as an installation leaves them."""
    port = random.randrange(20_000, 40_000)
    settings = os.environ | {"MAILLON_HOME": str(home), "MAILLON_PROFILE": "test"}
    settings |= {"PYTHONPYCACHEPREFIX": str(home / "compiled")}
    for name in ("MAILLON_DATABASE_URL", "PYTHONDONTWRITEBYTECODE"):
        settings.pop(name, None)
    command = [sys.executable, "-m", "gateway", "serve", "--port", str(port)]
    served = subprocess.Popen(command, env=settings, cwd=_common.ROOT, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                if httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.05)
        ticks = Path(f"/proc/{served.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")
    finally:
        served.terminate()
        served.wait(120)


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    from gateway import journal_files, retention, volumes

    exchanges = 1_000_000 if asked.full else asked.exchanges
    with tempfile.TemporaryDirectory() as name:
        home = asked.home or Path(name) / "home"
        known = (home / "maillon.db").exists()
        gateway = _reopened(home) if known else _common.prepared(home)
        if not known:
            fill(gateway, exchanges)
        volumes.keep(gateway)  # as a server does every hour
        retention.keep(gateway)  # so too
        journal_files.publish(gateway.engine, gateway.keys, gateway.settings)  # as a server does every minute
        gateway.warm()  # as a server does when it starts
        found = pages(gateway)
        gateway.engine.dispose()
        start(home)
        started = start(home)
    slowest = sorted(found.items(), key=lambda one: -max(one[1]))
    figures: dict[str, Any] = {"exchanges": exchanges, "pages": len(found)}
    figures |= {f"{path} first": first for path, (first, _) in slowest[:8]}
    figures |= {f"{path} again": again for path, (_, again) in slowest[:8]}
    ratios = {
        "slowest_page_first_ms": (max(first for first, _ in found.values()), TARGET_MS, False),
        "slowest_page_again_ms": (max(again for _, again in found.values()), TARGET_MS, False),
        "cold_start_cpu_s": (started, START_S, False),
    }
    return _common.told("console", ratios, figures)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--exchanges", type=int, default=20_000)
    parser.add_argument("--home", type=Path, help="folder kept between two runs: filled once, then measured again")


if __name__ == "__main__":
    _common.main(__doc__, measure, options)
