"""Fixtures that every subject may need: a real PostgreSQL server and the migrations, started and run once per test
process; a log of its own."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import cache
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
from hypothesis import HealthCheck, settings
from sqlalchemy import Engine, create_engine, inspect, make_url, text

from connectors.manifest import installed
from gateway import logs
from gateway.storage import migrate, open_engine

# How busy the machine is says nothing of the code: no example is late, no strategy too slow.
settings.register_profile("maillon", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("maillon")


TLS = ssl.create_default_context()
"""For clients of plain HTTP too: each would read the authorities of this machine anew."""


def pytest_configure() -> None:
    """What tests write is held in memory where there is room for it: no test waits for a disk, or cuts its power."""
    memory = Path("/dev/shm")
    usable = os.access(memory, os.W_OK) and not os.statvfs(memory).f_flag & os.ST_NOEXEC
    if usable and shutil.disk_usage(memory).free > 4 << 30:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))


def pytest_collection_finish() -> None:
    """What was imported and collected stays until the end: no collection of garbage looks at it again."""
    gc.collect()
    gc.freeze()


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
    options += " -c fsync=off"  # nobody cuts this machine's power, and those whose server is killed start their own
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
def new_postgres_database(postgres_url: str) -> Callable[..., AbstractContextManager[str]]:
    """A function that makes a new database, empty or the copy of another, and gives its URL: dropped when its block
    ends."""

    @contextmanager
    def make(template: str = "template1") -> Iterator[str]:
        name = f"maillon_{uuid4().hex}"
        administration = create_engine(
            make_url(postgres_url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
        )
        with administration.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
        yield postgres_url.rsplit("/", 1)[0] + f"/{name}"
        with administration.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        administration.dispose()

    return make


@pytest.fixture
def empty_postgres_database(new_postgres_database: Callable[..., AbstractContextManager[str]]) -> Iterator[str]:
    """URL of a new, empty database, dropped after the test."""
    with new_postgres_database() as url:
        yield url


@pytest.fixture(scope="session")
def migrated_postgres_database(new_postgres_database: Callable[..., AbstractContextManager[str]]) -> Iterator[str]:
    """Name of a database that the migrations made, to copy."""
    with new_postgres_database() as url:
        engine = open_engine(url)
        migrate.migrate(engine)
        engine.dispose()
        yield url.rpartition("/")[2]


@pytest.fixture
def postgres_database(
    new_postgres_database: Callable[..., AbstractContextManager[str]], migrated_postgres_database: str
) -> Iterator[str]:
    """URL of a new database at the current schema, dropped after the test."""
    with new_postgres_database(migrated_postgres_database) as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest) -> str:
    """`MAILLON_DATABASE_URL` of each database in turn: none is SQLite's file in the home folder."""
    return request.getfixturevalue("postgres_database") if request.param == "postgresql" else ""


@pytest.fixture(scope="session", autouse=True)
def migrations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Engine], None]]:
    """A new SQLite database is made of the statements that the migrations left in another, where this process ran them;
    gives the migrations themselves, for who tries them."""
    genuine, made = migrate._upgrade, tmp_path_factory.mktemp("migrated") / "maillon.db"

    @cache
    def statements() -> list[str]:
        engine = open_engine(f"sqlite:///{made}")
        genuine(engine)
        engine.dispose()
        with closing(sqlite3.connect(made)) as connection:
            return list(connection.iterdump())[1:-1]  # between BEGIN and COMMIT

    def upgrade(engine: Engine) -> None:
        if engine.dialect.name == "sqlite":
            with engine.begin() as connection:
                if not inspect(connection).get_table_names():
                    for one in statements():
                        connection.exec_driver_sql(one)
                    return
        genuine(engine)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(migrate, "_upgrade", upgrade)
        yield genuine
