"""What a process that has just started takes, and what it does not."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from starlette.testclient import TestClient

from gateway import clock, journal
from gateway.app import build
from gateway.registry import Gateway
from gateway.settings import Settings


def test_a_process_that_starts_on_an_older_database_takes_no_exchange(tmp_path: Path) -> None:
    """A backup older than what was published was put back: the very first request is told so."""

    def opened() -> Gateway:
        return Gateway.open(Settings(profile="test", home=tmp_path / "home"))

    def told(gateway: Gateway) -> None:
        with gateway.unit_of_work() as work:
            journal.append(work, "exchange.request", exchange_id=clock.new_id(), sender_org="caf", n_records=1)
        gateway.publish_journal()

    gateway = opened()
    told(gateway)
    backup = sqlite3.connect(tmp_path / "backup.db")
    sqlite3.connect(tmp_path / "home" / "maillon.db").backup(backup)
    backup.close()
    told(gateway)
    gateway.engine.dispose()
    for left in (tmp_path / "home").glob("maillon.db*"):
        left.unlink()
    shutil.copy(tmp_path / "backup.db", tmp_path / "home" / "maillon.db")
    with TestClient(build(opened(), embedded_worker=False)) as client:
        assert client.get("/readyz").json() == {
            "status": "not-ready", "checks": {"database": True, "clock": True, "journal": False},
        }  # fmt: skip
