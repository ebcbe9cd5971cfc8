"""A real journal in a temporary folder, on SQLite or on PostgreSQL."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway import clock, journal, journal_files, verify
from gateway.keys import Keyring
from gateway.settings import Settings
from gateway.storage import open_engine
from gateway.storage.tables import metadata
from gateway.unit_of_work import UnitOfWork


@dataclass
class Journal:
    engine: Engine
    home: Path
    folder: Path = field(init=False)
    keys: Keyring = field(init=False)
    settings: Settings = field(init=False)

    def __post_init__(self) -> None:
        self.folder = self.home / "journal"
        self.keys = Keyring(self.home / "keys")
        self.settings = Settings(home=self.home, profile="test")
        metadata.create_all(self.engine)

    def write(self, count: int = 1, *, at: str = "", retention: str = "12m", **fields: Any) -> list[journal.Entry]:
        """Append entries in one transaction; `at` is the transaction's time."""
        with UnitOfWork(self.engine) as work:
            work.now = at or work.now
            return [
                journal.append(work, "exchange.request", retention=retention, **(a_request(number) | fields))
                for number in range(count)
            ]

    def publish(self, **options: Any) -> list[journal_files.Published]:
        return journal_files.publish(self.engine, self.keys, self.settings, **options)

    def verify(self, **options: Any) -> verify.Report:
        return verify.verify(self.folder, self.vkey, **options)

    @property
    def vkey(self) -> str:
        return (self.folder / "vkey").read_text().strip()


def a_request(number: int) -> dict[str, Any]:
    """What an entry says of the synthetic exchange of this number."""
    return {
        "exchange_id": clock.new_id(),
        "sender_org": "caf",
        "recipient_org": "france_travail",
        "subject": sha256(b"%d" % (number % 97)).hexdigest()[:40],
        "purpose": "orientation",
        "regime": "SIFT",
        "article": "CT L5411-5-1; R5312-38-1 II 2°",
        "basis": "c",
        "categories_sent": ["identite", "contact"],
        "categories_redacted": ["sante"],
        "decision": "redact",
        "rule_ids": ["A01", "D09"],
        "payload_h": sha256(b"payload %d" % number).hexdigest(),
    }


@pytest.fixture
def a_journal(tmp_path: Path) -> Iterator[Journal]:
    engine = open_engine(f"sqlite:///{tmp_path / 'maillon.db'}")
    yield Journal(engine, tmp_path)
    engine.dispose()


@pytest.fixture
def a_journal_on_postgresql(tmp_path: Path, postgres_database: str) -> Iterator[Journal]:
    engine = open_engine(postgres_database)
    yield Journal(engine, tmp_path)
    engine.dispose()


@pytest.fixture(scope="session")
def a_published_journal(tmp_path_factory: pytest.TempPathFactory) -> Journal:
    """1,000 entries, published in three times; to be read, or copied before it is harmed."""
    home = tmp_path_factory.mktemp("published")
    made = Journal(open_engine(f"sqlite:///{home / 'maillon.db'}"), home)
    for count in (300, 1, 699):
        made.write(count)
        made.publish()
    made.engine.dispose()
    return made


@pytest.fixture(scope="session")
def go_verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The verifier in Go, built from Debian's packages alone."""
    if not shutil.which("go") or not Path("/usr/share/gocode/src/golang.org/x/mod/sumdb/tlog").is_dir():
        pytest.skip("Go or Debian's golang-golang-x-mod-dev is not installed")
    folder = tmp_path_factory.mktemp("go")
    source = Path(__file__).parent / "verifier" / "main.go"
    shutil.copy(source, folder / "main.go")
    environment = {
        "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": str(folder / "cache"),
        "HOME": str(folder), "PATH": "/usr/bin:/bin:/usr/local/go/bin",
    }  # fmt: skip
    built = subprocess.run(
        ["go", "build", "-o", "journal-verify", "main.go"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    return folder / "journal-verify"
