"""Fixtures that every subject may need: a real PostgreSQL server, started once per test process; a log of its own."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
from hypothesis import HealthCheck, settings
from sqlalchemy import create_engine, make_url, text

from connectors.manifest import installed
from gateway import logs

# How busy the machine is says nothing of the code: no example is late, no strategy too slow.
settings.register_profile("maillon", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("maillon")


def _postgres_program(name: str) -> str | None:
    """The newest installed server's own program; the wrappers on PATH come last."""
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    return str(installed[-1]) if installed else shutil.which(name)


def _as_server_user(*command: str) -> list[str]:
    """PostgreSQL refuses to run as root: there, the account its package created runs it."""
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else list(command)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(autouse=True)
def _log_of_its_own() -> Iterator[None]:
    """A command that a test runs here configures the log of its whole process, on a stream that ends with the test."""
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        logging.captureWarnings(False)
        for handler in [one for one in logging.root.handlers if isinstance(one, logs._Library)]:
            logging.root.removeHandler(handler)


@pytest.fixture(autouse=True)
def _connectors_of_its_own() -> Iterator[None]:
    """A connector that a test makes visible to its process (`tests/faults/house.py`) ends with it."""
    before = sys.path.copy()
    yield
    if sys.path != before:
        sys.path[:] = before
        installed.cache_clear()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of the administration database of this process's own PostgreSQL server, in a folder removed at the end."""
    initdb, control = _postgres_program("initdb"), _postgres_program("pg_ctl")
    if not initdb or not control:
        pytest.skip("PostgreSQL server binaries are not installed")
    if os.geteuid() == 0 and not (shutil.which("runuser") and _account_exists("postgres")):
        pytest.skip("PostgreSQL does not run as root and there is no postgres account")
    folder = Path(tempfile.mkdtemp(prefix="maillon-postgres-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    data, port = str(folder / "data"), _free_port()
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c max_connections=60"
    try:
        _run(initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        _run(control, "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run(_as_server_user(control, "-D", data, "-m", "immediate", "-w", "stop"), capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def _run(*command: str) -> None:
    done = subprocess.run(_as_server_user(*command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/")
    assert done.returncode == 0, done.stderr.decode(errors="replace")


def _account_exists(name: str) -> bool:
    import pwd

    return any(account.pw_name == name for account in pwd.getpwall())


@pytest.fixture(scope="session")
def new_postgres_database(postgres_url: str) -> Callable[[], AbstractContextManager[str]]:
    """A function that makes a new, empty database and gives its URL: dropped when its block ends."""

    @contextmanager
    def make() -> Iterator[str]:
        name = f"maillon_{uuid4().hex}"
        administration = create_engine(
            make_url(postgres_url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
        )
        with administration.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        yield postgres_url.rsplit("/", 1)[0] + f"/{name}"
        with administration.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        administration.dispose()

    return make


@pytest.fixture
def postgres_database(new_postgres_database: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    """URL of a new, empty database, dropped after the test."""
    with new_postgres_database() as url:
        yield url
