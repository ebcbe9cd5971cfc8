"""Publishing: whole or not at all at every step, never a fork, pruning, key change, and when exchanges must stop."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import func, select, update
from structlog.testing import capture_logs
from structlog.typing import EventDict
from typer.testing import CliRunner

from gateway import clock, journal, journal_files, journal_upkeep, merkle, note, verify
from gateway.commands import proof
from gateway.journal_copy import verify_own
from gateway.keys import Keyring
from gateway.logs import LastingFailure
from gateway.problems import JournalBroken, Unavailable
from gateway.registry import Gateway
from gateway.settings import Settings, settings
from gateway.storage import open_engine
from gateway.storage.tables.journal import journal_entry, journal_key, journal_log
from gateway.unit_of_work import UnitOfWork
from tests.faults.launcher import forks


class MachineFailed(Exception):
    pass


def _fail_at(wanted: int):
    seen = 0

    def step(_name: str) -> None:
        nonlocal seen
        seen += 1
        if seen == wanted:
            raise MachineFailed

    return step


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".tmp" not in path.parts and path.name != ".lock"
    }


def _steps(a_journal, action) -> list[str]:
    names: list[str] = []
    action(step=names.append)
    return names


def test_a_failure_at_any_step_leaves_the_last_checkpoint_whole_and_the_next_call_finishes(a_journal) -> None:
    a_journal.write(500)
    a_journal.publish()
    a_journal.write(300)
    start = shutil.copytree(a_journal.folder, a_journal.home / "start")
    remembered = (start / "checkpoint").read_text("utf-8")
    names = _steps(a_journal, a_journal.publish)
    wanted = _contents(a_journal.folder)
    assert {"tiles written", "ready for the checkpoint", "after rename checkpoint", "checkpoint written"} <= set(names)
    for number in range(1, len(names) + 1):
        shutil.rmtree(a_journal.folder)
        shutil.copytree(start, a_journal.folder)
        with a_journal.engine.begin() as connection:
            connection.execute(update(journal_log).values(checkpoint=remembered))
        with pytest.raises(MachineFailed):
            a_journal.publish(step=_fail_at(number))
        seen = a_journal.verify()
        assert (seen.ok, seen.entries) in ((True, 500), (True, 800)), (names[number - 1], str(seen))
        a_journal.publish()
        assert _contents(a_journal.folder) == wanted, names[number - 1]


def _publish_killed_at(number: int, home: Path) -> None:
    steps = iter(range(1, 10_000))
    engine = open_engine(f"sqlite:///{home / 'maillon.db'}")
    journal_files.publish(
        engine, Keyring(home / "keys"), Settings(home=home, profile="test"),
        step=lambda _: os.kill(os.getpid(), signal.SIGKILL) if next(steps) == number else None,
    )  # fmt: skip


def test_a_killed_publisher_is_taken_over_by_the_next(a_journal) -> None:
    a_journal.write(300)
    names = _steps(a_journal, a_journal.publish)
    wanted = _contents(a_journal.folder)
    for number in range(1, len(names) + 1, 3):
        shutil.rmtree(a_journal.folder)
        # Not a fork of this process: what its other threads hold at that moment, nobody would give back.
        publisher = forks.Process(target=_publish_killed_at, args=(number, a_journal.home))
        publisher.start()
        publisher.join(60)
        assert publisher.exitcode == -signal.SIGKILL
        a_journal.publish()
        assert _contents(a_journal.folder) == wanted


def test_a_lost_folder_is_written_again_from_the_database(a_journal) -> None:
    a_journal.write(600)
    a_journal.publish()
    wanted = _contents(a_journal.folder)
    shutil.rmtree(a_journal.folder)
    a_journal.publish()
    assert _contents(a_journal.folder) == wanted


@pytest.mark.parametrize("path", ["tile/1/000.p/2", "checkpoint", "tile/0/002.p/88"])
def test_a_damaged_folder_repairs_itself_as_the_journal_grows(a_journal, path: str) -> None:
    a_journal.write(600)
    a_journal.publish()
    damaged = bytearray((a_journal.folder / path).read_bytes())
    damaged[3] ^= 4
    (a_journal.folder / path).write_bytes(damaged)
    a_journal.write(1)
    a_journal.publish()
    report = a_journal.verify()
    assert (report.ok, report.entries) == (True, 601)


def test_a_full_tile_found_damaged_is_repaired_on_request(a_journal) -> None:
    a_journal.write(600)
    a_journal.publish()
    (a_journal.folder / "tile/entries/000").unlink()
    assert a_journal.verify().first_bad == 0
    a_journal.publish(rebuild=True)
    assert a_journal.verify().ok


@pytest.fixture
def operated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """The gateway that the commands of this test open, with 300 entries."""
    monkeypatch.setenv("MAILLON_HOME", str(tmp_path))
    monkeypatch.setenv("MAILLON_PROFILE", "test")
    settings.cache_clear()
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        for _ in range(300):
            journal.append(work, "log.read", outcome="search")
    yield gateway
    settings.cache_clear()


def test_the_operator_has_the_published_files_written_again(operated: Gateway) -> None:
    operated.publish_journal()
    (operated.journal_folder / "tile/entries/000").unlink()
    app = typer.Typer()
    proof.register(app)
    typed = ("verify", "checkpoint", "verify", "checkpoint --rebuild", "verify")
    ended = [CliRunner().invoke(app, ["journal", *words.split()]).exit_code for words in typed]
    assert ended == [1, 0, 1, 0, 0]


def test_a_database_brought_back_from_yesterday_is_refused_not_signed(a_journal) -> None:
    a_journal.write(300)
    a_journal.publish()
    with a_journal.engine.begin() as connection:
        old = connection.execute(select(journal_log)).one()
    a_journal.write(50)
    a_journal.publish()
    published = _contents(a_journal.folder)
    with a_journal.engine.begin() as connection:
        connection.execute(journal_entry.delete().where(journal_entry.c.idx >= 300))
        connection.execute(update(journal_log).values(size=old.size, frontier=old.frontier, checkpoint=old.checkpoint))
    with pytest.raises(JournalBroken, match="journal-behind"):
        a_journal.publish()
    with UnitOfWork(a_journal.engine) as work:
        assert journal_files.broken(work.connection) == "journal-behind"
        with pytest.raises(Unavailable, match="audit-unavailable"):  # at once, in every process: not after a day
            journal_files.require_available(work, a_journal.settings)
    a_journal.write(600)
    with pytest.raises(JournalBroken, match="journal-forked"):
        a_journal.publish()
    assert _contents(a_journal.folder) == published, "what was published is the evidence: nothing is written over it"


def test_exchanges_resume_once_the_right_backup_is_brought_back(a_journal) -> None:
    a_journal.write(300)
    a_journal.publish()
    with a_journal.engine.begin() as connection:
        (published,) = connection.execute(select(journal_log)).all()
        connection.execute(update(journal_log).values(size=299))
    with pytest.raises(JournalBroken):
        a_journal.publish()
    with a_journal.engine.begin() as connection:
        connection.execute(update(journal_log).values(size=published.size))
    a_journal.publish()
    with UnitOfWork(a_journal.engine) as work:
        assert not journal_files.broken(work.connection)
        journal_files.require_available(work, a_journal.settings)


def test_a_rewritten_database_is_refused_even_when_the_folder_was_removed(a_journal, tmp_path: Path) -> None:
    a_journal.write(300)
    a_journal.publish()
    with a_journal.engine.begin() as connection:
        signed = connection.scalar(select(journal_log.c.checkpoint))
        connection.execute(journal_entry.delete())
        connection.execute(journal_log.delete())
    a_journal.write(400)
    with a_journal.engine.begin() as connection:
        connection.execute(update(journal_log).values(checkpoint=signed))
    shutil.rmtree(a_journal.folder)
    with pytest.raises(JournalBroken, match="journal-forked"):
        a_journal.publish()


def test_a_rewritten_database_that_also_remembers_another_checkpoint_is_refused(a_journal) -> None:
    a_journal.write(300)
    a_journal.publish()
    published = _contents(a_journal.folder)
    with a_journal.engine.begin() as connection:
        connection.execute(journal_entry.delete())
        connection.execute(journal_log.delete())
    a_journal.write(300)
    with a_journal.engine.begin() as connection:
        state = connection.execute(select(journal_log)).one()
        said = note.Checkpoint(state.origin, state.size, merkle.fold(merkle.split(state.frontier)))
        forged = note.sign(str(said), state.origin, [Ed25519PrivateKey.generate()])
        connection.execute(update(journal_log).values(checkpoint=forged))
    with pytest.raises(JournalBroken, match="journal-forked"):
        a_journal.publish()
    assert _contents(a_journal.folder) == published


EDITS = (
    journal_entry.delete(),
    update(journal_entry).values(entry=b"{}"),
    update(journal_entry).values(subject="0" * 40),
    update(journal_entry).values(recipient="caf"),
)


@pytest.mark.parametrize("base", ["a_journal", "a_journal_on_postgresql"])
def test_what_only_the_database_lost_or_says_otherwise_is_told(base: str, request: pytest.FixtureRequest) -> None:
    """What the officer reads is the database's copy: files that verify do not make it whole."""
    log = request.getfixturevalue(base)
    log.write(300)
    log.write(10, retention="6m")
    log.publish()
    assert [report.ok for _, report in verify_own(log.engine, log.settings)] == [True, True]
    for rank, edit in enumerate(EDITS):
        with log.engine.connect() as connection:
            (kept,) = connection.execute(select(journal_entry).where(OLD)).all()
        with log.engine.begin() as connection:
            connection.execute(edit.where(OLD))
        log.publish()
        told = [(name, report.ok, report.first_bad) for name, report in verify_own(log.engine, log.settings)]
        assert told == [("", False, 20), ("6m", True, None)], rank
        with log.engine.begin() as connection:
            connection.execute(journal_entry.delete().where(OLD))
            connection.execute(journal_entry.insert().values(**kept._mapping))


OLD = (journal_entry.c.log == "12m") & (journal_entry.c.idx == 20)


def test_the_operator_is_told_of_an_entry_that_only_the_database_lost(operated: Gateway) -> None:
    app = typer.Typer()
    app.command()(proof.verify_)
    assert CliRunner().invoke(app, []).exit_code == 0
    with operated.engine.begin() as connection:
        connection.execute(journal_entry.delete().where(OLD))
    told = CliRunner().invoke(app, [])
    assert told.exit_code == 1
    assert told.stdout.startswith("bad index=20 ")


def test_an_empty_journal_has_a_checkpoint_too(a_journal) -> None:
    a_journal.publish()
    report = a_journal.verify()
    assert (report.ok, report.entries) == (True, 0)


@pytest.mark.postgres
def test_publishing_from_postgresql_gives_a_journal_that_verifies(a_journal_on_postgresql) -> None:
    made = a_journal_on_postgresql
    made.write(300)
    made.publish()
    made.write(300)
    made.publish()
    assert made.verify().entries == 600
    assert made.verify().ok


# Pruning


def _two_years(a_journal) -> None:
    for month in range(24):
        when = f"{2024 + month // 12}-{month % 12 + 1:02d}-10T08:00:00.000000Z"
        a_journal.write(100, at=when)


NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def _prune(a_journal, **options) -> dict[str, int]:
    return journal_upkeep.prune(a_journal.engine, a_journal.keys, a_journal.settings, moment=NOW, **options)


def test_pruning_below_an_index_leaves_the_rest_provable(a_journal) -> None:
    _two_years(a_journal)
    a_journal.publish()
    kept = (a_journal.folder / "checkpoint").read_bytes()
    # 31 January 2025 and before is out: the 13 oldest months, 1,300 entries, so 5 whole bundles.
    assert _prune(a_journal) == {"12m": 1280}
    report = a_journal.verify(since=[kept])
    assert (report.ok, report.entries, report.pruned) == (True, 2400, 1280)
    assert not (a_journal.folder / "tile/entries/004").exists()
    assert (a_journal.folder / "tile/0/004").exists()
    with a_journal.engine.connect() as connection:
        assert connection.scalar(select(func.min(journal_entry.c.idx))) == 1280
    a_journal.write(10)
    a_journal.publish()
    assert a_journal.verify(since=[kept]).ok


def test_a_pruned_folder_can_be_written_again_from_the_database(a_journal) -> None:
    _two_years(a_journal)
    _prune(a_journal)
    wanted = _contents(a_journal.folder)
    shutil.rmtree(a_journal.folder)
    a_journal.publish()
    assert _contents(a_journal.folder) == wanted


def test_bundles_removed_without_a_signed_retention_are_missed(a_journal) -> None:
    _two_years(a_journal)
    a_journal.publish()
    (a_journal.folder / "tile/entries/000").unlink()
    assert a_journal.verify().first_bad == 0
    forged = (a_journal.folder / "retention").read_text().replace("minimum-index 0", "minimum-index 256")
    (a_journal.folder / "retention").write_text(forged)
    assert not a_journal.verify().ok


def test_pruning_that_fails_at_any_step_is_finished_by_the_next_call(a_journal) -> None:
    _two_years(a_journal)
    a_journal.publish()
    a_journal.engine.dispose()
    shutil.copy(a_journal.home / "maillon.db", a_journal.home / "before.db")
    shutil.copytree(a_journal.folder, a_journal.home / "start")
    names = _steps(a_journal, lambda step: _prune(a_journal, step=step))
    for number in range(1, len(names) + 1):
        a_journal.engine.dispose()
        for leftover in a_journal.home.glob("maillon.db*"):
            leftover.unlink()
        shutil.copy(a_journal.home / "before.db", a_journal.home / "maillon.db")
        shutil.rmtree(a_journal.folder)
        shutil.copytree(a_journal.home / "start", a_journal.folder)
        with pytest.raises(MachineFailed):
            _prune(a_journal, step=_fail_at(number))
        assert a_journal.verify().ok, names[number - 1]
        assert _prune(a_journal) == {"12m": 1280}
        assert a_journal.verify().ok
        assert not (a_journal.folder / "tile/entries/000").exists()


# Keys


def test_after_a_key_change_readers_of_the_old_and_of_the_new_key_both_verify(a_journal) -> None:
    a_journal.write(10)
    a_journal.publish()
    old = a_journal.vkey
    assert journal_upkeep.rotate_key(a_journal.keys) == "journal-2"
    a_journal.publish()
    new = a_journal.vkey
    assert new != old
    assert verify.verify(a_journal.folder, old).ok
    assert verify.verify(a_journal.folder, new).ok
    assert (a_journal.folder / "vkeys").read_text().splitlines() == [old, new]
    kept = (a_journal.folder / "checkpoint").read_bytes()
    (a_journal.keys.folder / "journal.ed25519").unlink()
    a_journal.keys._secrets.clear()
    a_journal.write(10)
    a_journal.publish()
    assert not verify.verify(a_journal.folder, old).ok
    assert verify.verify(a_journal.folder, new, since=[kept]).ok
    with a_journal.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(journal_key)) == 2


# When exchanges must stop


def _refuses(a_journal, **later: float) -> bool:
    with a_journal.engine.connect() as connection:
        return bool(journal_files.unsealed(connection, a_journal.settings, clock.now() + timedelta(**later)))


def test_exchanges_stop_after_24_hours_without_a_checkpoint(a_journal) -> None:
    a_journal.write()
    a_journal.publish()
    assert not _refuses(a_journal, hours=23)
    assert _refuses(a_journal, hours=25)


def test_a_refused_exchange_is_told_to_come_back(a_journal) -> None:
    a_journal.write()
    with a_journal.engine.begin() as connection:
        connection.execute(update(journal_log).values(checkpoint_at="2020-01-01T00:00:00.000000Z"))
    with UnitOfWork(a_journal.engine) as work, pytest.raises(Unavailable, match="audit-unavailable") as refused:
        journal_files.require_available(work, a_journal.settings)
    assert refused.value.retry_after
    a_journal.publish()
    with UnitOfWork(a_journal.engine) as work:
        journal_files.require_available(work, a_journal.settings)


def test_exchanges_stop_after_24_hours_without_the_witnesses_asked_for(a_journal) -> None:
    a_journal.write()
    a_journal.publish()
    (a_journal.home / journal_files.WITNESS_POLICY).write_text("…")
    with a_journal.engine.begin() as connection:
        long_ago = clock.instant(clock.now() - timedelta(hours=30))
        connection.execute(update(journal_log).values(quorum_at=long_ago))
    a_journal.publish()
    assert _refuses(a_journal, hours=0)


@pytest.fixture
def said() -> Iterator[list[EventDict]]:
    with capture_logs() as lines:
        yield lines


@pytest.fixture
def failure() -> LastingFailure:
    return LastingFailure("journal.publish_failed", "journal.publish_resumed")


async def test_a_checkpoint_is_written_in_time_and_once_more_at_the_end(a_journal, failure, said) -> None:
    stopping = asyncio.Event()
    quick = a_journal.settings.model_copy(update={"checkpoint_every": 0.02})
    a_journal.write(3)
    running = asyncio.create_task(
        journal_upkeep.keep_publishing(a_journal.engine, a_journal.keys, quick, stopping, failure)
    )
    while not (a_journal.folder / "checkpoint").exists():  # noqa: ASYNC110 (a file says nothing when it appears)
        await asyncio.sleep(0.01)
    a_journal.write(4)
    stopping.set()
    await running
    assert said == []
    assert a_journal.verify().entries == 7


async def test_a_folder_that_cannot_be_written_is_tried_again_told_once_and_told_when_it_is_over(
    a_journal, failure, said
) -> None:
    a_journal.write(3)
    a_journal.folder.write_text("a file where the folder should be")
    stopping = asyncio.Event()
    quick = a_journal.settings.model_copy(update={"checkpoint_every": 0.01})
    running = asyncio.create_task(
        journal_upkeep.keep_publishing(a_journal.engine, a_journal.keys, quick, stopping, failure)
    )
    while failure.times < 10:  # noqa: ASYNC110 (nobody is told of a failure that lasts, which is the point)
        await asyncio.sleep(0.01)
    a_journal.folder.unlink()
    while failure.times:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    stopping.set()
    await running
    first, last = said
    assert (first["event"], first["kind"], first["times"]) == ("journal.publish_failed", "FileExistsError", 1)
    assert (last["event"], last["log_level"]) == ("journal.publish_resumed", "info")
    assert last["times"] >= 10
    assert a_journal.verify().entries == 3


def test_a_failure_that_lasts_is_told_at_growing_intervals_and_another_one_at_once(said) -> None:
    now = 1000.0
    failure = LastingFailure("it.failed", "it.resumed", lambda: now)
    for second in range(4 * 3600):
        now = 1000.0 + second
        failure.met(PermissionError("/a/path/that/no/log/says"))
    assert [one["seconds"] for one in said] == [0, 60, 180, 420, 900, 1860, 3780, 7380, 10980]
    assert "path" not in str(said)
    said.clear()
    failure.met(FileExistsError())
    failure.met(FileExistsError())
    failure.met(PermissionError())
    failure.over()
    failure.over()
    failure.met(PermissionError())
    lines = [(one["event"], one.get("kind"), one["times"], one["seconds"]) for one in said]
    assert lines == [
        ("it.failed", "FileExistsError", 14401, 14399),
        ("it.resumed", None, 14403, 14399),
        ("it.failed", "PermissionError", 1, 0),
    ]


def test_a_checkpoint_is_due_after_256_entries_or_a_while(a_journal) -> None:
    def due() -> bool:
        with a_journal.engine.connect() as connection:
            return journal_upkeep.due(connection, a_journal.settings)

    assert due(), "an empty journal is published too"
    a_journal.write(1)
    assert not due()
    a_journal.write(255)
    assert due()
    a_journal.publish()
    assert not due()
    a_journal.write(1)
    with a_journal.engine.begin() as connection:
        connection.execute(update(journal_log).values(checkpoint_at=clock.instant(clock.now() - timedelta(seconds=6))))
    assert due()


# Export, and serving


def test_export_writes_the_published_layout_one_folder_per_retention_class(a_journal, tmp_path: Path) -> None:
    a_journal.write(300)
    a_journal.write(2, retention="36m")
    target = tmp_path / "export"
    journal_files.export(a_journal.engine, a_journal.keys, a_journal.settings, target)
    assert sorted(path.name for path in target.iterdir()) == ["36m", "checkpoint", "retention", "tile", "vkey", "vkeys"]
    assert sorted(path.name for path in (target / "tile").iterdir()) == ["0", "1", "entries"]
    verdicts = list(verify.verify_all(target, (target / "vkey").read_text().strip()))
    assert [(log, report.ok, report.entries) for log, report in verdicts] == [("", True, 300), ("36m", True, 2)]
    assert (target / "36m/checkpoint").read_text().startswith("maillon.local/journal/36m\n2\n")


@pytest.mark.parametrize(
    "path", ["../maillon.db", "tile/../../keys/journal.ed25519", ".lock", "tile/0", "tile/64/000", "12m/checkpoint", ""]
)
def test_only_published_files_are_served(a_journal, path: str) -> None:
    a_journal.write(1)
    a_journal.write(1, retention="6m")
    a_journal.publish()
    assert journal_files.published_file(a_journal.settings, path) is None
    for served in ("checkpoint", "tile/0/000.p/1", "tile/entries/000.p/1", "6m/checkpoint", "retention"):
        assert journal_files.published_file(a_journal.settings, served) is not None


def test_the_signed_note_has_the_specified_bytes(a_journal) -> None:
    a_journal.write(1)
    (published,) = a_journal.publish()
    lines = (a_journal.folder / "checkpoint").read_text("utf-8").split("\n")
    key = note.verifier_key(a_journal.vkey)
    assert lines[0:2] == ["maillon.local/journal", "1"]
    assert lines[3] == lines[5] == ""
    assert lines[4].startswith(f"— {key.name} ")
    assert verify.decode_base64(lines[4].split(" ")[2])[:4] == key.id
    assert verify.decode_base64(lines[2]) == published.root
