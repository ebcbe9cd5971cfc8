"""What this machine refuses is one line that says where and why, never a trace of calls."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc.jwk import ECKey
from pydantic import ValidationError
from sqlalchemy import text, update
from sqlalchemy.exc import DBAPIError
from starlette.requests import Request as Asked

from gateway import cli, clock
from gateway.access import partners
from gateway.app import readiness
from gateway.console import home
from gateway.console import partners as partners_page
from gateway.console.blocks import Lines, Table
from gateway.console.common import View
from gateway.journal_files import WITNESS_POLICY, Files
from gateway.production import examine, missing
from gateway.registry import Gateway
from gateway.settings import Settings
from gateway.storage import open_engine, takes_writing
from gateway.storage.tables.journal import journal_log
from tests.access.office import certificate_of

MAILLON = Path(sys.executable).with_name("maillon")


@pytest.mark.parametrize(
    "command", [["serve", "--port"], ["work", "--metrics-port"], ["sandbox", "ccas", "--port"]], ids=lambda one: one[0]
)
def test_a_port_that_another_process_holds_is_named(tmp_path: Path, command: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = str(held.getsockname()[1])
        environment = {"PATH": os.environ["PATH"], "MAILLON_HOME": str(tmp_path)}
        done = subprocess.run([MAILLON, *command, port], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith(f"address-unavailable: 127.0.0.1:{port} "), done.stderr
    assert "already in use" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "application", lambda *_: lambda: Path("/dev/full").write_bytes(b"a"))
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 1
    assert capsys.readouterr().err.startswith("system-refused: No space left on device: ")


def test_a_full_sqlite_file_says_so_and_sends_to_no_log(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'a.db'}")
    with engine.begin() as connection:
        connection.execute(text("create table t (x)"))
        connection.execute(text("pragma max_page_count = 2"))
        with pytest.raises(DBAPIError) as refused:
            connection.execute(text("insert into t values (zeroblob(100000))"))
    engine.dispose()
    code, detail = cli._of_the_database(refused.value)
    assert code == "database-refused"
    assert "SQLITE_FULL" in detail
    assert "space" in detail
    assert "log" not in detail


@pytest.mark.postgres
def test_a_connection_that_the_database_ends_asks_to_begin_again(postgres_database: str) -> None:
    """It is stopped, fails over, or its administrator ends the session: the statement is not at fault."""
    engine = open_engine(postgres_database)
    with pytest.raises(DBAPIError) as refused, engine.connect() as connection:
        connection.execute(text("select pg_terminate_backend(pg_backend_pid())"))
    engine.dispose()
    code, detail = cli._of_the_database(refused.value)
    assert code == "database-lost"
    assert "57P01" in detail
    assert "Begin again" in detail


@contextmanager
def _as_another_account() -> Iterator[Path]:
    """A folder of an account without privileges, which this process becomes."""
    with tempfile.TemporaryDirectory(prefix="maillon-refused-") as name:
        if root := os.geteuid() == 0:
            os.chown(name, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            if root:
                os.seteuid(0)
            for folder in (Path(name), *Path(name).iterdir()):
                folder.chmod(0o755)


def test_a_journal_folder_closed_to_the_gateway_is_an_access_denied() -> None:
    with _as_another_account() as folder:
        Files(folder, lambda _: None).write("checkpoint", b"a")
        folder.chmod(0o555)
        with pytest.raises(PermissionError) as refused:
            Files(folder, lambda _: None).write("checkpoint", b"b")
        assert (folder / "checkpoint").read_bytes() == b"a"
    assert str(folder / "checkpoint") in str(refused.value)


@pytest.mark.postgres
def test_a_standby_is_not_ready_and_the_doctor_says_so(postgres_database: str, tmp_path: Path) -> None:
    """After a failover, the address may still name the server that is now read."""
    site = Settings(profile="test", home=tmp_path, database_url=postgres_database, departement="040")
    gateway = Gateway.open(site)
    assert readiness(gateway)["database"]
    with gateway.engine.begin() as connection:
        name = connection.execute(text("select current_database()")).scalar_one()
        connection.execute(text(f"alter database {name} set default_transaction_read_only = on"))
    gateway.engine.dispose()
    assert not readiness(gateway)["database"]
    told = next(one for one in examine(site) if one["check"] == "database")
    assert not told["ok"]
    assert "standby" in told["detail"]
    gateway.engine.dispose()


def test_a_proxy_or_a_departement_that_is_none_is_told_before_the_first_call(tmp_path: Path) -> None:
    lacks = missing(Settings(profile="production", home=tmp_path, proxies="mandataire", departement="040"))
    assert "MAILLON_PROXIES lists addresses or networks: 127.0.0.1, 10.0.0.0/8." in lacks
    with pytest.raises(ValidationError, match="three characters: 040"):
        Settings(departement="40")


def test_the_doctor_reads_the_settings_of_each_body_whatever_its_connector(tmp_path: Path) -> None:
    bodies = {"ccas-dax": {"clef": "x"}, "ccas-dxa": {"clef": "x"}}
    site = Settings(profile="test", home=tmp_path, departement="040", bodies=bodies)
    gateway = Gateway.open(site)
    keys = {"keys": [ECKey.generate_key("P-256", auto_kid=True).as_dict(private=False)]}
    with gateway.unit_of_work() as work:
        partners.register_partner(work, "ccas-dax", "ccas", keys)
        partners.register_partner(work, "ccas-hinx", "ailleurs", keys)
        partners.register_partner(work, "delegue", "delegue", keys, role="dpo")
    gateway.engine.dispose()
    told = {one["check"]: one["detail"] for one in examine(site) if not one["ok"] and one["check"].startswith("body")}
    assert told == {
        "body ccas-dax": "under [bodies.ccas-dax]: clef: unknown setting",
        "body ccas-dxa": "nothing reads [bodies.ccas-dxa]: register this body "
        "(maillon partner add ccas-dxa), or correct its id",
        "body ccas-hinx": "install the connector ailleurs",
    }


def test_a_sqlite_file_closed_to_writing_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'a.db'}")
    with engine.connect().execution_options(read_only=True) as connection:
        assert takes_writing(connection)
        (tmp_path / "a.db").chmod(0o444)
        if os.geteuid() == 0:
            monkeypatch.setattr(os, "access", lambda path, _: bool(Path(path).stat().st_mode & 0o222))
        assert not takes_writing(connection)
    engine.dispose()


def test_witnesses_away_for_too_long_are_named_rather_than_the_folder(tmp_path: Path) -> None:
    gateway = Gateway.open(Settings(profile="test", home=tmp_path))
    gateway.publish_journal()
    (tmp_path / WITNESS_POLICY).write_text("quorum none")
    with gateway.engine.begin() as connection:
        connection.execute(update(journal_log).values(quorum_at=clock.instant(clock.now() - timedelta(hours=30))))
    gateway.publish_journal()
    (told,) = [one for one in examine(gateway.settings) if one["check"] == "journal"]
    gateway.engine.dispose()
    assert (told["ok"], told["detail"].partition(":")[0]) == (False, "witness-quorum")


def test_what_ends_soon_is_told_before_nobody_is_let_in_and_nothing_is_stamped(tmp_path: Path) -> None:
    """A partner's certificate, and the roots that the journal's stamps chain to."""
    roots = [_root(name, days) for name, days in (("followed", 10), ("followed", 4000), ("alone", 80), ("long", 100))]
    (tmp_path / "roots.pem").write_bytes(b"".join(roots))
    stamped: dict[str, Any] = {"timestamp_url": "https://tsa.example", "timestamp_authorities": tmp_path / "roots.pem"}
    site = Settings(profile="test", home=tmp_path, departement="040", **stamped)
    gateway = Gateway.open(site)
    last = {"ccas-dax": 20, "ccas-mont": 40, "ccas-hinx": 20, "ccas-pau": None, "ccas-tarbes": -3}
    with gateway.unit_of_work() as work:
        for id in last:
            partners.register_partner(work, id, "ccas", None, tls_client_auth={"san_dns": f"{id}.example"})
        partners.suspend(work, "ccas-hinx")
    for id, days in last.items():
        partners.note_end(gateway.engine, id, None if days is None else int(time.time()) + days * 86400)

    told = {one["check"]: one["detail"] for one in examine(site) if not one["ok"]}
    assert {check for check in told if check.startswith("partner")} == {"partner ccas-dax", "partner ccas-tarbes"}
    assert clock.today(clock.instant(clock.now() + timedelta(days=20))) in told["partner ccas-dax"]
    assert told["stamps"].count("CN=") == 1
    assert "CN=alone on " in told["stamps"]

    with gateway.reading() as work:
        view = View(Asked({"type": "http", "query_string": b"", "headers": []}), gateway, None, work)  # type: ignore[arg-type]
        (table,) = (one for one in partners_page.partners(view).blocks if isinstance(one, Table))
        today = {name: number for name, number, *_ in home._operateur(view)}
    named = [row[0].items for row in table.rows if isinstance(row[0], Lines)]
    assert [one[0] for one in named] == ["ccas-dax", "ccas-tarbes"]
    assert today["identifiants"] == 2

    with gateway.unit_of_work() as work:
        partners.rename(work, "ccas-dax", {"san_dns": "nouveau.example"})
    assert "partner ccas-dax" not in {one["check"] for one in examine(site) if not one["ok"]}
    (tmp_path / "roots.pem").write_text("no certificate")
    assert "cannot be read" in next(one["detail"] for one in examine(site) if one["check"] == "stamps")
    gateway.engine.dispose()


def _root(name: str, days: int) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return certificate_of(key, common_name=name, days=days).public_bytes(Encoding.PEM)
