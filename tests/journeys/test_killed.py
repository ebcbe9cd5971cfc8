"""The process is killed without warning: nothing is lost, nothing is doubled."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Select, func, select

from connectors.caf import generator
from gateway import basis, convention, verify
from gateway.demo.stage import FOLDER
from gateway.registry import Gateway
from gateway.settings import Settings
from gateway.storage.tables.delivery import mailbox, outbox
from gateway.storage.tables.journal import journal_entry
from gateway.storage.tables.record import assertion_set, batch, person

FOYERS = 1_200
DONE = select(func.coalesce(func.sum(batch.c.done), 0))
DRAIN = """
import asyncio
from gateway.worker import Worker
from gateway.registry import Gateway
from gateway.settings import settings
asyncio.run(Worker(Gateway.open(settings())).drain())
"""


class House:
    """A gateway's home and what runs in it, each command in a process of its own."""

    def __init__(self, home: Path, database_url: str) -> None:
        self.home, self.database_url = home, database_url
        self.environment = os.environ | {
            "MAILLON_HOME": str(home),
            "MAILLON_PROFILE": "test",
            "MAILLON_LEASE": "1.5",
            **({"MAILLON_DATABASE_URL": database_url} if database_url else {}),
        }

    def gateway(self) -> Gateway:
        return Gateway.open(Settings(home=self.home, profile="test", database_url=self.database_url))

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, *command], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def ingest(self, path: Path) -> subprocess.Popen[bytes]:
        return self.start("-m", "gateway", "ingest", str(path), "--from", "caf", "--document", "caf.flux_beneficiaire")

    def count(self, table: object, *where: object) -> int:
        gateway = self.gateway()
        with gateway.engine.connect() as connection:
            found = int(connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one())  # type: ignore[arg-type]
        gateway.engine.dispose()
        return found


@pytest.fixture(params=["sqlite", "postgresql"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    url = request.getfixturevalue("postgres_database") if request.param == "postgresql" else ""
    one = House(tmp_path / "home", url)
    gateway = one.gateway()
    with gateway.unit_of_work() as work:
        for notice in ("rsa-demande", "reseau-emploi"):
            basis.publish_notice(work, notice, 1, "Notice de test")
        convention.add(work, (FOLDER / "convention.toml").read_bytes())
    gateway.engine.dispose()
    return one


@pytest.fixture
def monthly_file(tmp_path: Path) -> Path:
    path = tmp_path / "RSABEM.xml"
    generator.write_file(path, FOYERS, seed=11, departement="040")
    return path


def kill_within(house: House, running: subprocess.Popen[bytes], draw: random.Random, done: Select[Any]) -> bool:
    """SIGKILL at a random moment of the work itself, told by what it has `done`; False when it had already ended.

    A moment told by the clock would be the machine's: before the work on a slow one, after it on a fast one.
    """
    gateway = house.gateway()
    with gateway.engine.connect() as connection:

        def rows() -> int:
            found = connection.execute(done).scalar_one()
            connection.rollback()
            return int(found)

        before = rows()
        while rows() == before:
            if running.poll() is not None:
                return False
            time.sleep(0.002)
    gateway.engine.dispose()
    time.sleep(draw.uniform(0, 0.05))
    running.send_signal(signal.SIGKILL)
    return running.wait() == -signal.SIGKILL


def assert_sound(house: House) -> None:
    gateway = house.gateway()
    gateway.publish_journal()
    reports = [report for _, report in verify.verify_all(gateway.journal_folder)]
    gateway.engine.dispose()
    assert all(report.ok for report in reports)
    assert sum(report.entries for report in reports) == house.count(journal_entry)


def test_killed_while_reading_a_file(house: House, monthly_file: Path) -> None:
    draw = random.Random(20261121)
    starting = house.ingest(monthly_file)
    time.sleep(draw.uniform(0.1, 0.5))
    starting.kill()
    starting.wait()
    killed = [kill_within(house, house.ingest(monthly_file), draw, DONE) for _ in range(2)]
    assert any(killed), "no run was interrupted: the test proves nothing"
    finished = house.ingest(monthly_file)
    out, _ = finished.communicate(timeout=120)
    assert finished.returncode == 0
    told = json.loads(out.decode().splitlines()[-1])
    assert told["records"] == FOYERS
    assert house.count(batch, batch.c.state == "done") == 1

    elsewhere = House(house.home.parent / "untouched", "")
    gateway = elsewhere.gateway()
    with gateway.unit_of_work() as work:
        basis.publish_notice(work, "rsa-demande", 1, "Notice de test")
        basis.publish_notice(work, "reseau-emploi", 1, "Notice de test")
        convention.add(work, (FOLDER / "convention.toml").read_bytes())
    gateway.engine.dispose()
    elsewhere.ingest(monthly_file).communicate(timeout=120)
    for table in (person, assertion_set, outbox):
        assert house.count(table) == elsewhere.count(table), table.name
    assert_sound(house)


def test_killed_while_delivering(house: House, monthly_file: Path) -> None:
    house.ingest(monthly_file).communicate(timeout=120)
    promised = house.count(outbox)
    assert promised > FOYERS
    draw = random.Random(20261122)
    handed_over = select(func.count()).select_from(mailbox)
    killed = [kill_within(house, house.start("-c", DRAIN), draw, handed_over) for _ in range(2)]
    assert any(killed), "no run was interrupted: the test proves nothing"
    deadline = time.monotonic() + 90
    while house.count(outbox, outbox.c.state.in_(("queued", "claimed"))) and time.monotonic() < deadline:
        house.start("-c", DRAIN).wait(60)
        time.sleep(0.5)  # a killed worker's lease has to end before another takes over
    assert house.count(outbox, outbox.c.state == "delivered") == promised
    assert house.count(mailbox) == promised
    assert_sound(house)
