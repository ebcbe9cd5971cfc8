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

import pytest
from sqlalchemy import func, select

from connectors.caf import generator
from gateway import basis, convention, verify
from gateway.demo.stage import FOLDER
from gateway.registry import Gateway
from gateway.settings import Settings
from gateway.storage.tables.delivery import mailbox, outbox
from gateway.storage.tables.journal import journal_entry
from gateway.storage.tables.record import assertion_set, batch, person

FOYERS = 1_200
STATEMENTS = 150
"""The reading of the file and the delivery of what it promises each take some 450 statements: a moment drawn among the
first 150 from the first row written on is one of the work itself, on a slow machine as on a fast one."""
DRAIN = """
import asyncio
from gateway.worker import Worker
from gateway.registry import Gateway
from gateway.settings import settings
asyncio.run(Worker(Gateway.open(settings())).drain())
"""
DIES = """
import os, signal
from sqlalchemy import event
from sqlalchemy.engine import Engine

left, begun = {moment}, False

def die_in_time(*_):
    global left
    left -= begun
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

@event.listens_for(Engine, "before_cursor_execute")
def before(connection, cursor, statement, *_):
    global begun
    begun = begun or statement.startswith("INSERT INTO {table}")
    die_in_time()

event.listen(Engine, "commit", die_in_time)
"""
"""Put before a program, ends it by SIGKILL before the statement or the commit numbered `moment` from the first row of
`table` on."""


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

    def ingest(self, path: Path, before: str = "") -> subprocess.Popen[bytes]:
        words = ("ingest", str(path), "--from", "caf", "--document", "caf.flux_beneficiaire")
        return self.start("-c", before + "from gateway.cli import main\nmain()", *words)

    def count(self, table: object, *where: object) -> int:
        gateway = self.gateway()
        with gateway.engine.connect() as connection:
            found = int(connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one())  # type: ignore[arg-type]
        gateway.engine.dispose()
        return found


def furnished(house: House) -> House:
    gateway = house.gateway()
    with gateway.unit_of_work() as work:
        for notice in ("rsa-demande", "reseau-emploi"):
            basis.publish_notice(work, notice, 1, "Notice de test")
        convention.add(work, (FOLDER / "convention.toml").read_bytes())
    gateway.engine.dispose()
    return house


@pytest.fixture
def house(database: str, tmp_path: Path) -> House:
    return furnished(House(tmp_path / "home", database))


@pytest.fixture(scope="module")
def monthly_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "RSABEM.xml"
    generator.write_file(path, FOYERS, seed=11, departement="040")
    return path


@pytest.fixture(scope="module")
def undisturbed(monthly_file: Path, tmp_path_factory: pytest.TempPathFactory) -> House:
    """Where the same file was read in one go."""
    one = furnished(House(tmp_path_factory.mktemp("undisturbed"), ""))
    one.ingest(monthly_file).communicate(timeout=120)
    return one


def assert_killed(running: subprocess.Popen[bytes]) -> None:
    """The command was to kill itself: told here when it came to its end instead."""
    assert running.wait(120) == -signal.SIGKILL, "it was not interrupted: the test proves nothing"


def assert_sound(house: House) -> None:
    gateway = house.gateway()
    gateway.publish_journal()
    reports = [report for _, report in verify.verify_all(gateway.journal_folder)]
    gateway.engine.dispose()
    assert all(report.ok for report in reports)
    assert sum(report.entries for report in reports) == house.count(journal_entry)


def test_killed_while_reading_a_file(house: House, monthly_file: Path, undisturbed: House) -> None:
    draw = random.Random(20261121)
    starting = house.ingest(monthly_file)
    time.sleep(draw.uniform(0.1, 0.5))
    starting.kill()
    starting.wait()
    for _ in range(2):
        dies = DIES.format(moment=draw.randint(1, STATEMENTS), table="assertion_set")
        assert_killed(house.ingest(monthly_file, before=dies))
    finished = house.ingest(monthly_file)
    out, _ = finished.communicate(timeout=120)
    assert finished.returncode == 0
    told = json.loads(out.decode().splitlines()[-1])
    assert told["records"] == FOYERS
    assert house.count(batch, batch.c.state == "done") == 1

    for table in (person, assertion_set, outbox):
        assert house.count(table) == undisturbed.count(table), table.name
    assert_sound(house)


def test_killed_while_delivering(house: House, monthly_file: Path) -> None:
    house.ingest(monthly_file).communicate(timeout=120)
    promised = house.count(outbox)
    assert promised > FOYERS
    draw = random.Random(20261122)
    for _ in range(2):
        dies = DIES.format(moment=draw.randint(1, STATEMENTS), table="mailbox")
        assert_killed(house.start("-c", dies + DRAIN))
    deadline = time.monotonic() + 90
    while house.count(outbox, outbox.c.state.in_(("queued", "claimed"))) and time.monotonic() < deadline:
        house.start("-c", DRAIN).wait(60)
        time.sleep(0.5)  # a killed worker's lease has to end before another takes over
    assert house.count(outbox, outbox.c.state == "delivered") == promised
    assert house.count(mailbox) == promised
    assert_sound(house)
