"""F-1, F-2, F-3, F-10, F-11, F-15, F-16, F-20, F-24 and two machines: real processes, killed, starved and cut off.

Short seeds run with the suite; `make chaos` runs the long ones and prints the seed.
"""

from __future__ import annotations

import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import select

from gateway import verify
from gateway.access.client import TokenRefused
from gateway.storage import migrate
from gateway.storage.tables.delivery import outbox as table
from tests.chaos.conftest import SEED
from tests.faults import invariants, traffic
from tests.faults.house import House, declaration, eventually, free_port
from tests.faults.launcher import NAMES, PLACES, Process, found
from tests.faults.postgres import Server
from tests.faults.proxy import FaultProxy

Houses = Callable[..., House]


def open_count(house: House) -> int:
    return house.count(table, table.c.state.in_(("queued", "claimed")))


def start_all(house: House, failpoint: str = "", who: str = "serve") -> list[Process]:
    """Everything that runs: on PostgreSQL the worker is a process of its own."""
    running = [house.serve(failpoint if who == "serve" or not house.database_url else "")]
    if house.database_url:
        running.append(house.work(failpoint if who == "work" else ""))
    return running


def finish(house: House, running: list[Process], senders: list[traffic.Sender], go: Any = None) -> None:
    for one in senders:
        one.join(600)
        assert not one.is_alive()
    assert not [number for one in senders for number in one.gave_up]
    eventually(lambda: open_count(house) == 0, timeout=300, every=0.3)
    for one in running:
        one.send_signal(signal.SIGTERM)
    for one in running:
        one.wait(40)
    invariants.all_hold(house, accepted=traffic.accepted(senders), go=go)


def killed_at_random(house: House, exchanges: int, kills: int, go: Any = None) -> None:
    """Each kill falls while messages are under way: its instant is a rank of the traffic, drawn with the seed."""
    draw = random.Random(SEED)
    running = start_all(house)
    house.until_ready()
    senders = traffic.send_all(house, exchanges, senders=3, patience=300)
    for rank in sorted(draw.choices(range(exchanges), k=kills)):
        eventually(lambda rank=rank: sum(len(one.accepted) for one in senders) >= rank, timeout=300, every=0.01)
        time.sleep(draw.uniform(0, 0.2))
        victim = draw.randrange(len(running))
        house.kill(running[victim])
        running[victim] = house.serve() if victim == 0 else house.work()
        if draw.random() < 0.7:
            house.until_ready()
        else:  # the next one may die while it starts
            time.sleep(draw.uniform(0, 3))
    finish(house, running, senders, go)
    assert sum(len(one.accepted) for one in senders) == exchanges
    assert house.killed == kills


def test_f_1_killed_at_random(house: House) -> None:
    killed_at_random(house, exchanges=45, kills=2)


@pytest.mark.chaos
def test_f_1_killed_two_hundred_times_during_ten_thousand_exchanges(house: House, go_verifier: Path) -> None:
    killed_at_random(house, exchanges=10_000, kills=200, go=go_verifier)


def waited(process: Process, seconds: float) -> bool:
    """Did it end within this time?"""
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.returncode is not None


def died_there(house: House, failpoint: str) -> None:
    """Traffic until the process dies at its failpoint; then a sound one takes over."""
    worker = failpoint.partition(".")[0] in ("claim", "send", "ack") and house.database_url
    running = start_all(house, failpoint, "work" if worker else "serve")
    doomed = running[1 if worker else 0]
    if not (failpoint.startswith(("checkpoint", "rename", "commit"))):
        house.until_ready()
    senders = traffic.send_all(house, 6, patience=300)
    while not waited(doomed, 15) and len(senders) < 40:  # it got there too rarely yet: all six in one claim, maybe
        senders += traffic.send_all(house, 6, patience=300, first=3 * len(senders))
    assert doomed.returncode == -signal.SIGKILL
    assert (house.home / "died").read_text() == failpoint
    running[running.index(doomed)] = house.work() if worker else house.serve()
    finish(house, running, senders)


@pytest.mark.parametrize("failpoint", ["send.after:2", "commit.after:9"])
def test_f_2_killed_at_a_named_place(house_at: Houses, failpoint: str) -> None:
    died_there(house_at(), failpoint)


@pytest.mark.parametrize("place", PLACES)
def test_f_2_each_named_place_is_in_the_product(place: str) -> None:
    assert callable(getattr(*found(place)))


@pytest.mark.chaos
@pytest.mark.parametrize("failpoint", [f"{name}:{rank}" for name in NAMES for rank in (1, 3)])
def test_f_2_killed_at_every_named_place(house: House, failpoint: str) -> None:
    died_there(house, failpoint)


def database_killed(house_at: Houses, times: int, exchanges: int) -> None:
    draw = random.Random(SEED)
    with Server() as server:
        house = house_at(server.url)
        running = start_all(house)
        house.until_ready()
        senders = traffic.send_all(house, exchanges, patience=120)
        recoveries = []
        for _ in range(times):
            time.sleep(draw.uniform(0.2, 1.0))
            with house.client() as partner, httpx.Client(base_url=house.issuer, timeout=60, trust_env=False) as anyone:
                assert partner.get("/v1/exchanges").status_code == 200
                server.kill()
                meanwhile = [partner.get("/v1/exchanges"), house.post(partner, 0), anyone.get("/console/"),
                             anyone.post("/oauth/token", data=partner.auth.token_form())]  # fmt: skip
                for answer in meanwhile:
                    assert (answer.status_code, answer.headers.get("retry-after")) == (503, "5"), answer.url
                assert anyone.get("/readyz").status_code == 503
                assert anyone.get("/healthz").status_code == 200
            server.start()
            began = time.monotonic()
            house.until_ready(20, "/readyz")
            recoveries.append(time.monotonic() - began)
            house.happened("recovered", seconds=recoveries[-1])
        assert max(recoveries) < 10
        finish(house, running, senders)
        house.gateway.engine.dispose()


@pytest.mark.postgres
def test_f_3_the_database_is_killed(house_at: Houses) -> None:
    database_killed(house_at, times=1, exchanges=20)


@pytest.mark.chaos
@pytest.mark.postgres
def test_f_3_the_database_is_killed_fifty_times(house_at: Houses) -> None:
    database_killed(house_at, times=50, exchanges=2_000)


def statuses(house: House, numbers: range) -> list[int]:
    """What one attempt at each of these messages is answered; 0: nothing was."""
    told = []
    for number in numbers:
        try:
            with house.client() as client:
                told.append(house.post(client, number).status_code)
        except (httpx.HTTPError, TokenRefused):
            told.append(0)
    return told


def test_f_10_a_full_volume_tears_nothing_and_is_left_behind_alone(small_volume: Path, house_at: Houses) -> None:
    filled_then_freed(small_volume, house_at(home=small_volume / "home"))


@pytest.mark.chaos
@pytest.mark.postgres
def test_f_10_a_full_volume_of_the_journal_alone(small_volume: Path, postgres_database: str, house_at: Houses) -> None:
    filled_then_freed(small_volume, house_at(postgres_database, home=small_volume / "home"))


def filled_then_freed(small_volume: Path, house: House) -> None:
    """The volume of the journal's files; on SQLite, of the database too."""
    running = start_all(house)
    house.until_ready()
    assert statuses(house, range(3)) == [202] * 3
    ballast = small_volume / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as filling:
        while True:
            filling.write(bytes(4096))
    told = statuses(house, range(3, 15))
    if not house.database_url:
        assert 202 not in told[4:], "the last free pages are used, then nothing is accepted"
        assert set(told) <= {0, 202, 503, 507}
    time.sleep(1.5)  # a few publications fail
    assert verify.verify(house.gateway.journal_folder).ok
    ballast.unlink()
    house.until_ready()
    senders = traffic.send_all(house, 20)
    finish(house, running, senders)


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_f_11_when_the_disk_fails_nothing_is_acknowledged(house_at: Houses) -> None:
    """Every fsync of the process answers EIO for a while."""
    house = house_at()
    running = start_all(house)
    house.until_ready()
    assert statuses(house, range(3)) == [202] * 3
    inject = ["-e", "inject=fsync,fdatasync:error=EIO", "-o", "/dev/null", "-p", str(running[0].pid)]
    failing = subprocess.Popen(["strace", "-f", "-qq", *inject])
    threads = Path(f"/proc/{running[0].pid}/task")
    eventually(lambda: not any("TracerPid:\t0\n" in one.read_text() for one in threads.glob("*/status")))
    told = statuses(house, range(3, 9))
    failing.terminate()
    failing.wait(30)
    assert set(told) <= {0, 503, 507}, "an exchange that is not on the disk was accepted"
    senders = traffic.send_all(house, 20)
    finish(house, running, senders)


NEXT_VERSION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "9999", {last!r}, None, None


def upgrade() -> None:
    op.add_column("outbox", sa.Column("of_the_next_version", sa.String(length=20)))
    op.create_index("ix_next_version", "exchange", ["received_at", "sender"])
    op.create_table("of_the_next_version", sa.Column("id", sa.Integer(), primary_key=True))
"""


@pytest.mark.postgres
@pytest.mark.parametrize("exchanges", [60, pytest.param(2_000, marks=pytest.mark.chaos)])
def test_f_15_a_rolling_upgrade_with_a_migration_under_load(
    postgres_database: str, house_at: Houses, tmp_path: Path, exchanges: int
) -> None:
    """One machine after the other, behind a balancer: the next version migrates while this one still runs, delivers,
    is killed and starts again beside it."""
    versions = tmp_path / "next"
    shutil.copytree(Path(migrate.__file__).parent / "migrations", versions)
    last = ScriptDirectory.from_config(migrate.config()).get_current_head()
    (versions / "versions" / "9999_next.py").write_text(NEXT_VERSION.format(last=last))
    ports = free_port(), free_port()
    with FaultProxy(("127.0.0.1", ports[0])) as balancer:
        house = house_at(postgres_database, port=balancer.port)
        old = [house.serve(port=ports[0]), house.work()]
        house.until_ready()
        senders = traffic.send_all(house, exchanges, senders=4, patience=300)

        def carried(share: float) -> None:
            eventually(lambda: sum(len(one.accepted) for one in senders) >= share * exchanges, timeout=300, every=0.02)

        carried(0.2)
        new = [house.serve(port=ports[1], migrations=versions), house.work(migrations=versions)]
        eventually(lambda: is_ready(house, ports[1]))
        assert not is_ready(house, free_port())
        assert is_ready(house, ports[0]), "the version that runs is not turned away by what the next one added"
        balancer.targets = [("127.0.0.1", port) for port in ports]
        balancer.cut()
        carried(0.4)
        for rank, again in enumerate((lambda: house.serve(port=ports[0]), house.work)):
            house.kill(old[rank])
            old[rank] = again()
        eventually(lambda: is_ready(house, ports[0]))
        carried(0.6)
        balancer.targets = [("127.0.0.1", ports[1])]
        for one in old:
            one.send_signal(signal.SIGTERM)
        assert {one.wait(60) for one in old} <= {0, -signal.SIGTERM}
        balancer.cut()
        finish(house, new, senders)
    assert {status for one in senders for status in one.statuses} <= {200, 202}


def is_ready(house: House, port: int) -> bool:
    """Whether the process at this port takes exchanges."""
    address = {"Host": house.issuer.removeprefix("http://")}
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", headers=address, timeout=60, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def test_f_16_asked_to_stop_it_finishes_what_is_in_flight(house: House) -> None:
    house.partner.latency = 60.0
    running = start_all(house)
    house.until_ready()
    senders = traffic.send_all(house, 4)
    for one in senders:
        one.join(60)
    eventually(lambda: house.partner.in_flight > 0, every=0.02)
    deliverer = running[-1]
    deliverer.send_signal(signal.SIGTERM)
    house.partner.let_go()
    assert deliverer.wait(30) in (0, -signal.SIGTERM)
    assert house.count(table, table.c.state == "claimed") == 0
    assert len(house.partner.effects) == house.count(table, table.c.state == "delivered") > 0
    running[-1] = house.work() if house.database_url else house.serve()
    finish(house, running, senders)


@pytest.mark.postgres
@pytest.mark.parametrize("lease", [3.0, pytest.param(20.0, marks=pytest.mark.chaos)])
def test_a_killed_machines_deliveries_are_taken_over_within_thirty_seconds(
    postgres_database: str, house_at: Houses, lease: float
) -> None:
    """Two machines: two worker processes that share nothing but the database, with the lease of the settings."""
    house = house_at(postgres_database, lease=lease)
    house.partner.latency = 60.0
    house.says([declaration(number) for number in range(8)])
    doomed = house.work()
    eventually(lambda: house.count(table, table.c.state == "claimed") == 8)
    other = house.work()
    eventually(lambda: house.partner.in_flight > 0)
    house.partner.latency = 0.0
    killed = time.monotonic()
    house.kill(doomed)
    eventually(lambda: house.count(table, table.c.state == "delivered") == 8, timeout=30, every=0.25)
    assert time.monotonic() - killed < 30
    other.send_signal(signal.SIGTERM)
    other.wait(40)
    invariants.all_hold(house)


@pytest.mark.postgres
def test_f_20_cut_off_from_the_database_a_worker_is_replaced_and_its_old_fence_refused(
    postgres_database: str, house_at: Houses
) -> None:
    house = house_at(postgres_database, lease=2.0)
    address, _, name = postgres_database.rpartition("/")
    port = int(address.rpartition(":")[2])
    with FaultProxy(("127.0.0.1", port)) as between:
        far = House(house.home, f"{address.rpartition(':')[0]}:{between.port}/{name}", lease=2.0, key=house.key)
        far.partner_url = house.partner_url
        house.partner.latency = 60.0
        house.says([declaration(1)])
        old = far.work()
        eventually(lambda: house.partner.in_flight == 1)
        between.partitioned = True
        house.partner.latency = 0.0
        new = house.work()
        eventually(lambda: house.count(table, table.c.state == "delivered") == 1)
        house.partner.let_go()
        eventually(lambda: house.partner.in_flight == 0)
        between.partitioned = False
        between.cut()
        time.sleep(2.0)
        with house.gateway.engine.connect() as connection:
            row = connection.execute(select(table)).one()
        assert (row.state, row.fence) == ("delivered", 2)
        for one in (old, new):
            one.send_signal(signal.SIGTERM)
            one.wait(40)
        far.close()
    assert len(house.partner.calls) == 2
    invariants.all_hold(house)


def test_f_24_without_descriptors_it_refuses_then_recovers(house_at: Houses) -> None:
    house = house_at()
    serving = house.serve()
    house.until_ready()
    traffic.Sender(house, [(0, 0)]).run()
    before = invariants.measured(serving.pid)
    limits = resource.prlimit(serving.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(serving.pid, resource.RLIMIT_NOFILE, (before[1] + 3, limits[1]))
    refused = 0
    for _ in range(12):
        try:
            with house.client() as client:
                refused += house.post(client, 1).status_code >= 500
        except Exception:
            refused += 1
    resource.prlimit(serving.pid, resource.RLIMIT_NOFILE, limits)
    house.until_ready(60)
    again = traffic.Sender(house, [(number, 0) for number in range(1, 6)])
    again.run()
    assert not again.gave_up
    eventually(lambda: open_count(house) == 0)
    invariants.at_rest(serving.pid, before)
    serving.send_signal(signal.SIGTERM)
    serving.wait(40)
    invariants.all_hold(house, accepted=set(again.accepted.values()))


@pytest.mark.chaos
def test_f_25_soak(house: House) -> None:
    """Bounded in time (CHAOS_MINUTES, 5 by default): the memory of the second half grows by less than a tenth."""
    import os

    minutes = float(os.environ.get("CHAOS_MINUTES", "5"))
    running = start_all(house)
    house.until_ready()
    end, first, seen = time.monotonic() + minutes * 60, 0, []
    everyone: list[traffic.Sender] = []
    while time.monotonic() < end:
        senders = traffic.send_all(house, 100, first=first)
        for one in senders:
            one.join(120)
        everyone += senders
        first += 100
        seen.append(sum(invariants.measured(one.pid)[0] for one in running))
    half = seen[len(seen) // 2 :]
    assert half[-1] <= 1.1 * half[0], seen
    finish(house, running, everyone)
