"""What a process that has just started takes, and what it does not."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
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


def test_a_server_serves_the_issuer_of_its_settings_file(tmp_path: Path) -> None:
    """Two servers behind one address have one issuer, wherever each listens; without a setting it is where it is."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "maillon.toml").write_text('profile = "test"\nissuer = "http://127.0.0.1:8499"\n', "utf-8")
    command = [sys.executable, "-m", "gateway", "serve", "--port", str(port)]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAILLON_")}
    inherited |= {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, cwd=tmp_path, env=inherited, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        told = next(json.loads(line) for line in server.stderr if '"serving"' in line)
        server.terminate()
    assert told["issuer"] == "http://127.0.0.1:8499"
