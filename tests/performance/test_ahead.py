"""A file read by a second process gives what reading it here gives, and losing that process loses nothing."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.caf.generator import write_file
from connectors.contract import Sketch
from gateway import ahead
from gateway.ingest import ingest
from gateway.registry import Gateway
from gateway.settings import Settings
from gateway.storage.tables.record import assertion_set
from schemas.record import Finding, PersonFacts, Record


@pytest.fixture
def spoilt(tmp_path: Path) -> Path:
    """Forty households, two of which no gateway can take, and one person told again elsewhere under swapped names."""
    path = tmp_path / "flux.xml"
    write_file(path, 40, flux="quotidien", mois="2026-09-01")
    records = path.read_bytes().split(b"</InfosFoyerRSA>")
    records[7] += b"<Inconnu/>"
    records[21] = records[21].replace(b"</DTNAI>", b"!</DTNAI>", 1)
    again = re.sub(rb"<NIR>\d+</NIR>", b"", records[2])
    for number in (b"MATRICULE", b"NUMDEMRSA"):
        again = re.sub(rb"(<%b>)\d" % number, rb"\g<1>9", again)
    swapped = rb"(<NOM>)([^<]+)(</NOM>\s*<NOMNAI>)[^<]+(</NOMNAI>\s*<PRENOM>)([^<]+)"
    records[30] = re.sub(swapped, rb"\1\5\3\5\4\2", again)
    path.write_bytes(b"</InfosFoyerRSA>".join(records))
    return path


def carried(home: Path, path: Path) -> tuple[Any, ...]:
    """What a gateway of its own makes of a file: its counts, its rejects, and all that is known afterwards."""
    gateway = Gateway.open(Settings(profile="test", home=home, departement="040"))
    rejects: list[tuple[int, list[str], bytes]] = []

    def reject(rank: int, record: Record) -> None:
        assert record.original is not None
        rejects.append((rank, sorted(one.code for one in record.findings), record.original()))

    counts = ingest(gateway, path, "caf", "caf.flux_beneficiaire", on_reject=reject)
    with gateway.reading() as work:
        subjects = work.connection.execute(assertion_set.select().with_only_columns(assertion_set.c.subject_id))
        gateway.dossiers.prefetch(work, {row.subject_id for row in subjects})
        known = sorted(
            json.dumps(one.facts, sort_keys=True) for live in work.scratch["dossier"].values() for one in live.values()
        )
    gateway.engine.dispose()
    told = counts.line()
    del told["seconds"]
    return told, rejects, known


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Share every file, in small lots, and wait for the other process: how many records each lot asked of it."""
    lots: list[int] = []
    asked = ahead.Ahead.ask

    def ask(self: ahead.Ahead, sketches: list[Sketch]) -> Any:
        self._ready.exception()
        lots.append(len(sketches))
        return asked(self, sketches)

    monkeypatch.setattr(ahead, "WORTH", 1)
    monkeypatch.setattr("gateway.ingest.BATCH", 9)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(ahead.Ahead, "ask", ask)
    return lots


def test_two_processes_make_of_a_file_what_one_makes(
    tmp_path: Path, spoilt: Path, shared: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as alone:
        alone.setattr(ahead, "WORTH", 10**9)
        here = carried(tmp_path / "one", spoilt)
    assert shared == []
    there = carried(tmp_path / "two", spoilt)
    assert [one for one in shared if one] == [9, 9, 9, 9, 4]
    assert there == here
    assert [rank for rank, _, _ in here[1]] == [8, 22, 31]
    assert here[1][2][1] == ["identity-to-confirm"]
    assert len(here[2]) > 60


FACTS = st.dictionaries(st.text(), st.text() | st.booleans())
PEOPLE = st.builds(PersonFacts, FACTS, st.text(), st.text(), st.lists(st.text(), max_size=3).map(tuple))
RECORDS = st.builds(
    Record, st.text(), st.lists(PEOPLE, max_size=3), FACTS, st.lists(st.builds(Finding, st.text(), st.text())),
    st.none() | st.datetimes(), st.binary(), partial=st.booleans(),
)  # fmt: skip


@given(RECORDS)
def test_nothing_of_a_record_is_lost_between_the_two_processes(record: Record) -> None:
    assert ahead._made(pickle.loads(pickle.dumps(ahead._told(record)))) == record


def test_a_lost_process_loses_no_record(
    tmp_path: Path, spoilt: Path, shared: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = ahead.Ahead.records
    lost: list[int] = []

    def records(self: ahead.Ahead, sketches: list[Sketch], asked: Any) -> Any:
        if len(shared) == 3 and not lost:
            (other,) = self._pool._processes
            os.kill(other, signal.SIGKILL)
            lost.append(other)
        return answered(self, sketches, asked)

    monkeypatch.setattr(ahead.Ahead, "records", records)
    told, rejects, known = carried(tmp_path / "home", spoilt)
    assert lost
    assert told["records"] == 40
    assert told["accepted"] == 37
    assert [rank for rank, _, _ in rejects] == [8, 22, 31]
    assert len(known) > 60


def test_a_reading_killed_at_once_leaves_no_process_behind(spoilt: Path, tmp_path: Path) -> None:
    """Its output is closed once no process has it; the other one would keep a key in memory for nobody."""
    program = (
        "import os, signal, sys\n"
        "from gateway import ahead, cli\n"
        "ahead.WORTH = 1\n"
        "ahead.Ahead.ask = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "cli.main()\n"
    )
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAILLON_")}
    own |= {"MAILLON_HOME": str(tmp_path / "home"), "MAILLON_DEPARTEMENT": "040"}
    reading = subprocess.Popen(
        [sys.executable, "-c", program, "ingest", spoilt, "--from", "caf"], env=own, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        reading.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(reading.pid, signal.SIGKILL)
    assert reading.returncode == -signal.SIGKILL
