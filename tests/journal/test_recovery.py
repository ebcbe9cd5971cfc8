"""A backup older than the published journal is all there is: its missing entries come back from the published files."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update

from gateway import journal, journal_files, journal_recovery, journal_upkeep, verify
from gateway.journal_recovery import Recovered
from gateway.problems import JournalBroken
from gateway.storage import open_engine
from gateway.storage.tables.journal import journal_entry, journal_key, journal_log, journal_tile
from gateway.storage.tables.rights import erasure
from gateway.unit_of_work import UnitOfWork
from tests.journal.conftest import Journal

_TABLES = (journal_log, journal_entry, journal_tile, journal_key)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def restored(request: pytest.FixtureRequest) -> Journal:
    return request.getfixturevalue("a_journal" if request.param == "sqlite" else "a_journal_on_postgresql")


def _backup(one: Journal) -> dict[Any, list[dict[str, Any]]]:
    with one.engine.connect() as connection:
        return {table: [dict(row) for row in connection.execute(select(table)).mappings()] for table in _TABLES}


def _restore(one: Journal, backup: dict[Any, list[dict[str, Any]]]) -> None:
    with one.engine.begin() as connection:
        for table, rows in backup.items():
            connection.execute(delete(table))
            if rows:
                connection.execute(insert(table), rows)


def _recover(one: Journal, **options: Any) -> list[Recovered]:
    return journal_recovery.recover(one.engine, one.keys, one.settings, **options)


def _entries(one: Journal, log: str = "12m") -> list[bytes]:
    query = select(journal_entry.c.entry).where(journal_entry.c.log == log).order_by(journal_entry.c.idx)
    with one.engine.connect() as connection:
        return list(connection.scalars(query))


def _behind(one: Journal) -> bytes:
    """Published twice, then brought back as it was at the first; gives what was published last."""
    one.write(300)
    one.publish()
    one.write(20)  # in the backup, not yet signed when it was made
    old = _backup(one)
    one.write(400)
    one.write(3, retention="36m")
    one.publish()
    _restore(one, old)
    with pytest.raises(JournalBroken, match="journal-behind"):
        one.publish()
    return (one.folder / "checkpoint").read_bytes()


def test_the_log_goes_on_from_the_checkpoint_that_others_know(restored: Journal) -> None:
    known = _behind(restored)
    published = [entry for _, entry in verify.entries(restored.folder)]
    long, short = sorted(_recover(restored), key=lambda one: one.log, reverse=True)
    assert (long.log, long.restored, long.published, long.moved) == ("36m", 0, 3, 0)
    assert (short.log, short.restored, short.published, short.moved) == ("12m", 320, 720, 0)
    assert short.events == {"exchange.request": 400}
    assert short.first <= short.last
    restored.write(2)
    restored.publish()
    report = restored.verify(since=[known])
    assert (report.ok, report.entries) == (True, 720 + 2 + 2)
    assert verify.verify(restored.folder / "36m").ok
    assert _entries(restored)[:720] == published
    with restored.engine.connect() as connection:
        assert not journal_files.broken(connection)
        told = [one.fields for log in (720, 721) for one in journal.at(connection, "12m", log)]
    assert [(one["event"], one["object_ref"], one["n_records"], one["size"]) for one in told] == [
        ("admin.recover", "log-12m", 400, 320),
        ("admin.recover", "log-36m", 3, 0),
    ]


def test_entries_that_came_back_are_found_as_the_others_are(restored: Journal) -> None:
    restored.write(1)
    restored.publish()
    old = _backup(restored)
    restored.write(5, subject="ab" * 20, purpose="diagnostic_global")
    with restored.engine.connect() as connection:
        columns = select(*journal_entry.columns).order_by(journal_entry.c.idx)
        whole = connection.execute(columns).all()
    restored.publish()
    _restore(restored, old)
    _recover(restored)
    with restored.engine.connect() as connection:
        assert connection.execute(columns).all()[:6] == whole
        assert len(journal.history(connection, ["ab" * 20])) == 5


def test_what_was_written_since_the_restore_follows_what_was_signed(restored: Journal) -> None:
    known = _behind(restored)
    since = [entry.content for entry in restored.write(450)]  # as an erasure applied again when the gateway opens
    with restored.engine.begin() as connection:
        row = {"kind": "personne", "ground": "demande", "erased_at": "2026-01-01T00:00:00.000000Z", "log": "12m"}
        rows = [row | {"subject_id": "before", "idx": 12}, row | {"subject_id": "after", "idx": 321}]
        connection.execute(insert(erasure), rows)
    with pytest.raises(JournalBroken, match="journal-forked"):
        restored.publish()
    assert [one.moved for one in _recover(restored) if one.log == "12m"] == [450]
    restored.publish()
    assert restored.verify(since=[known]).ok
    assert _entries(restored)[720:1170] == since
    with restored.engine.connect() as connection:
        places = {row.subject_id: row.idx for row in connection.execute(select(erasure))}
        assert places == {"before": 12, "after": 721}
        assert journal.at(connection, "12m", 721)[0].content == since[1]


def test_a_rehearsal_says_the_same_and_changes_nothing(restored: Journal) -> None:
    _behind(restored)
    restored.write(4)
    before = _backup(restored)
    rehearsed = _recover(restored, rehearsal=True)
    assert _backup(restored) == before
    assert _recover(restored) == rehearsed


def test_nothing_is_done_when_nothing_is_missing(restored: Journal) -> None:
    restored.write(300)
    restored.publish()
    restored.write(3)
    before = _backup(restored)
    assert _recover(restored) == []
    assert _backup(restored) == before


def test_it_is_done_once(restored: Journal) -> None:
    _behind(restored)
    assert _recover(restored)
    assert _recover(restored) == []
    restored.publish()
    assert _recover(restored) == []


def test_a_database_that_was_rewritten_is_not_the_beginning_of_what_was_published(restored: Journal) -> None:
    _behind(restored)
    with restored.engine.begin() as connection:
        other = connection.execute(select(journal_entry.c.entry, journal_entry.c.leaf).where(journal_entry.c.idx == 8))
        connection.execute(update(journal_entry).where(journal_entry.c.idx == 7).values(**other.mappings().one()))
    before = _backup(restored)
    with pytest.raises(JournalBroken, match="journal-forked"):
        _recover(restored)
    assert _backup(restored) == before


@pytest.mark.parametrize("path", ["tile/entries/001", "tile/0/002.p/208", "checkpoint"])
def test_files_that_were_altered_are_not_believed(a_journal: Journal, path: str) -> None:
    _behind(a_journal)
    damaged = bytearray((a_journal.folder / path).read_bytes())
    damaged[-3] ^= 4
    (a_journal.folder / path).write_bytes(damaged)
    before = _backup(a_journal)
    with pytest.raises(JournalBroken, match="journal-altered"):
        _recover(a_journal)
    assert _backup(a_journal) == before


def test_a_journal_of_another_gateway_is_not_believed(a_journal: Journal, tmp_path_factory) -> None:
    _behind(a_journal)
    home = tmp_path_factory.mktemp("another")
    another = Journal(open_engine(f"sqlite:///{home / 'maillon.db'}"), home)
    another.write(900)
    another.publish()
    shutil.rmtree(a_journal.folder)
    shutil.copytree(another.folder, a_journal.folder)
    another.engine.dispose()
    with pytest.raises(JournalBroken, match="journal-altered"):
        _recover(a_journal)


def test_entries_whose_retention_is_over_are_in_no_file(a_journal: Journal) -> None:
    a_journal.write(10)
    a_journal.publish()
    old = _backup(a_journal)
    a_journal.write(600, at="2020-01-01T00:00:00.000000Z")
    a_journal.publish()
    with a_journal.engine.begin() as connection:
        connection.execute(update(journal_entry).where(journal_entry.c.idx < 10).values(ts="2020-01-01T00:00:00.000Z"))
    journal_upkeep.prune(a_journal.engine, a_journal.keys, a_journal.settings)
    _restore(a_journal, old)
    with pytest.raises(JournalBroken, match="journal-pruned"):
        _recover(a_journal)


def test_the_next_exchange_is_accepted(restored: Journal) -> None:
    _behind(restored)
    _recover(restored)
    restored.publish()
    with UnitOfWork(restored.engine) as work:
        journal_files.require_available(work, restored.settings)
