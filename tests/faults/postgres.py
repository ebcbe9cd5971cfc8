"""A PostgreSQL server that an experiment may stop, kill and start again."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import psycopg
import pytest

from tests import conftest
from tests.faults.house import free_port


class Server:
    """One server in a temporary folder, with durable writes on. `following`: the server whose standby it is; from then
    on that one commits nothing which this one does not have."""

    def __init__(self, network: str = "", following: Server | None = None) -> None:
        initdb, control, copy = map(conftest._postgres_program, ("initdb", "pg_ctl", "pg_basebackup"))
        if not initdb or not control or not copy:
            pytest.skip("PostgreSQL server binaries are not installed")
        self._control = control
        self.folder = Path(tempfile.mkdtemp(prefix="maillon-chaos-postgres-"))
        self.port = free_port()
        self._listen = "*" if network else "127.0.0.1"
        if conftest.os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
        self.data = str(self.folder / "data")
        if following is not None:
            self._run(copy, "-D", self.data, "-d", following.url, "-R", "-X", "stream", "-c", "fast", "--no-sync")
            self.start()
            following.says("alter system set synchronous_standby_names = '*'", "select pg_reload_conf()")
            return
        self._run(initdb, "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        if network:
            with Path(self.data, "pg_hba.conf").open("a") as permitted:
                permitted.write(f"host all all {network} trust\n")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses={self._listen} -c unix_socket_directories={self.folder}"
        self._run(self._control, "-D", self.data, "-o", options, "-l", str(self.folder / "log"), "-w", "start")

    def kill(self) -> None:
        """As a crash: no checkpoint, no goodbye."""
        self._run(self._control, "-D", self.data, "-m", "immediate", "-w", "stop")

    def restart(self) -> None:
        """As for an upgrade of the server: every connection is cut."""
        self._run(self._control, "-D", self.data, "-m", "fast", "-l", str(self.folder / "log"), "-w", "restart")

    def promote(self) -> None:
        """A standby becomes the server that writes."""
        self._run(self._control, "-D", self.data, "-w", "promote")

    def says(self, *statements: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for one in statements:
                connection.execute(one)

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            conftest._as_server_user(*command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/"
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(
            conftest._as_server_user(self._control, "-D", self.data, "-m", "immediate", "-w", "stop"),
            capture_output=True,
            cwd="/",
        )
        shutil.rmtree(self.folder, ignore_errors=True)
