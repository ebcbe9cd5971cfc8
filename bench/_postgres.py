"""A PostgreSQL server of this run, in a temporary folder, when its programs are installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _program(name: str) -> str | None:
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    return str(installed[-1]) if installed else shutil.which(name)


def _run(*command: str, check: bool = True) -> None:
    """PostgreSQL refuses to run as root: there, the account its package created runs it."""
    whole = ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else list(command)
    subprocess.run(whole, check=check, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")


@contextmanager
def started(url: str = "", network: str = "") -> Iterator[str]:
    """The URL given, or that of a new server; empty when there is none to start. `network`: reached from there too."""
    initdb, control = _program("initdb"), _program("pg_ctl")
    if url or not (initdb and control):
        yield url
        return
    folder = Path(tempfile.mkdtemp(prefix="maillon-bench-"))
    data = str(folder / "data")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    listen = "*" if network else "127.0.0.1"
    options = f"-p {port} -c listen_addresses={listen} -c unix_socket_directories={folder}"
    try:
        ready = _start(initdb, control, folder, options, network)
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres" if ready else ""
    finally:
        _run(control, "-D", data, "-m", "immediate", "-w", "stop", check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _start(initdb: str, control: str, folder: Path, options: str, network: str) -> bool:
    data = str(folder / "data")
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        _run(initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        if network:
            with (folder / "data" / "pg_hba.conf").open("a") as permitted:
                permitted.write(f"host all all {network} trust\n")
        _run(control, "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
    except (LookupError, OSError, subprocess.CalledProcessError):
        return False
    return True
