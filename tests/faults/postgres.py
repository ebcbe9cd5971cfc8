"""A PostgreSQL server that an experiment may stop, kill and start again."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import pytest

from tests import conftest
from tests.faults.house import free_port


class Server:
    """One server in a temporary folder, with durable writes on."""

    def __init__(self, network: str = "") -> None:
        initdb, control = conftest._postgres_program("initdb"), conftest._postgres_program("pg_ctl")
        if not initdb or not control:
            pytest.skip("PostgreSQL server binaries are not installed")
        self._control = control
        self.folder = Path(tempfile.mkdtemp(prefix="maillon-chaos-postgres-"))
        self.port = free_port()
        self._listen = "*" if network else "127.0.0.1"
        if conftest.os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
        self.data = str(self.folder / "data")
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
