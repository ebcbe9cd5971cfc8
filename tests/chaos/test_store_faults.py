"""F-9 to F-12, F-15, F-17, F-21 to F-23, F-27: two writers, a full or failing disk, clocks, restores, altered bytes.

Where a tool of the operating system would be needed (a full volume, a failing fsync, another clock), its in-process
equivalent is used and named in the test.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import select, text

from gateway import basis, clock, verify
from gateway.keys import Keyring
from gateway.problems import Problem
from gateway.registry import Gateway
from gateway.storage import open_engine
from gateway.storage.migrate import config, is_current, migrate
from gateway.storage.tables.delivery import outbox as table
from gateway.storage.tables.journal import journal_entry
from gateway.storage.tables.record import assertion_set, person
from gateway.worker import Worker
from tests.chaos.conftest import SEED
from tests.dates import passed
from tests.faults import invariants
from tests.faults.history import Operation, Recorder, explains
from tests.faults.house import ROOT, House, declaration, eventually

Houses = Callable[..., House]


def declare_at_once(house: House, writers: int, versions: int) -> list[BaseException]:
    """Several writers, each a gateway with connections of its own, declare the same person."""
    ready, errors = threading.Barrier(writers), []

    def declare(rank: int) -> None:
        other = House(house.home, house.database_url, key=house.key)
        try:
            ready.wait(60)
            for version in range(versions):
                other.says([declaration(1, rank * versions + version)])
        except BaseException as error:
            errors.append(error)
        finally:
            other.close()

    threads = [threading.Thread(target=declare, args=(rank,)) for rank in range(writers)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    return errors


async def test_f_9_writers_that_race_on_one_person_make_one_person(house: House) -> None:
    house.says([declaration(1, 9_999)])
    assert declare_at_once(house, 4, 3) == []
    assert house.count(person) == 1
    await Worker(house.gateway).drain()
    invariants.drained(house)
    with house.gateway.engine.connect() as connection:
        rows = list(connection.execute(select(table).order_by(table.c.id)))
    taken = [key for _, key in house.partner.order]
    assert taken == sorted(taken), "the recipient got the versions in their order"
    assert 1 < len(rows) <= 13, "what was said before another's statement, and arrived after it, is history only"
    invariants.one_effect_each(house)
    invariants.journal_verifies(house)


def test_f_10_a_full_database_refuses_and_resumes_alone(house_at: Houses) -> None:
    """In-process equivalent of ENOSPC on the database's volume: SQLite's own limit of pages."""
    house = house_at()
    house.says([declaration(0)])
    engine = house.gateway.engine
    with engine.connect().execution_options(read_only=True) as connection:
        pages = connection.execute(text("pragma page_count")).scalar_one()
        connection.execute(text(f"pragma max_page_count = {pages + 1}"))
    refused = 0
    for number in range(1, 40):
        try:
            house.says([declaration(number)])
        except Exception:
            refused += 1
    assert refused, "the volume never filled"
    kept = house.count(assertion_set)
    engine.dispose()  # the limit is each connection's own
    invariants.journal_verifies(house)
    house.says([declaration(number) for number in range(100, 110)])
    assert house.count(assertion_set) > kept


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_f_11_a_disk_that_fails_under_the_journal_signs_nothing_and_resumes(
    house_at: Houses, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """In-process equivalent of `strace --inject`: fsync fails, at every place it is called, one after the other."""
    house = house_at()
    house.gateway.publish_journal()
    house.says([declaration(number) for number in range(3)])
    real, place, ours = os.fsync, 1, threading.get_ident()
    while True:
        left = [place]

        def failing(descriptor: int, left: list[int] = left) -> None:
            if threading.get_ident() == ours:  # other servers of this process publish their own journals meanwhile
                left[0] -= 1
                if left[0] == 0:
                    raise OSError(code, os.strerror(code))
            real(descriptor)

        monkeypatch.setattr(os, "fsync", failing)
        try:
            house.gateway.publish_journal()
        except OSError:
            monkeypatch.setattr(os, "fsync", real)
            assert verify.verify(house.gateway.journal_folder).ok, f"torn at fsync {place}"
            house.says([declaration(100 + place)])
            place += 1
            continue
        finally:
            monkeypatch.setattr(os, "fsync", real)
        break
    assert place > 3, "no fsync was made to fail"
    invariants.journal_verifies(house)


def test_f_10_11_a_key_that_could_not_be_written_is_made_by_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", failing)
        for make in (Keyring(tmp_path).secret, Keyring(tmp_path).es256):
            with pytest.raises(OSError, match="No space"):
                make("exchange")
    assert not list(tmp_path.iterdir()), "nothing is left that the next attempt would stumble over"
    assert Keyring(tmp_path).secret("exchange") == Keyring(tmp_path).secret("exchange")
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600]


def test_f_11_when_the_journal_cannot_be_written_nothing_is_accepted(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gateway import journal

    def failing(*_: Any) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(journal, "_extend", failing)
    with pytest.raises(Problem) as refused:
        house.says([declaration(1)])
    assert refused.value.status == 503
    monkeypatch.undo()
    assert house.count(table) == 0
    assert house.count(assertion_set) == 0


@pytest.mark.parametrize("shift", [timedelta(hours=1), timedelta(hours=-1), timedelta(days=400)])
async def test_f_12_processes_that_began_under_other_dates_lose_nothing(house: House, shift: timedelta) -> None:
    """Moved while a process runs, the date stops it: tests/delivery/test_moved_date.py."""
    house.says([declaration(0)])
    with passed(clock.now() + shift):
        house.gateway.publish_journal()
        house.says([declaration(1)])
        await Worker(house.gateway).drain()
    with passed(clock.now(), tick=False):  # frozen
        house.says([declaration(2)])
        await Worker(house.gateway).drain()
    with passed("2026-10-25T00:59:59Z"):  # the hour that Paris lives twice
        house.says([declaration(3)])
    with passed(clock.now() + abs(shift) + timedelta(hours=2)):
        house.gateway.publish_journal()
        await Worker(house.gateway).drain()
        # What the jump made too old to be kept is refused for that, and told so; the rest arrives.
        too_old = house.count(table, table.c.state == "withheld", table.c.reason == "expired-record")
        assert (len(house.partner.effects), too_old) == ((2, 2) if shift > timedelta(days=365) else (4, 0))
        invariants.drained(house)
        invariants.one_effect_each(house)
        invariants.one_entry_each(house)
        invariants.permitted_first(house)
        house.gateway.publish_journal()
    with house.gateway.engine.connect() as connection:
        indexes = list(connection.execute(select(journal_entry.c.idx).order_by(journal_entry.c.idx)).scalars())
    assert indexes == list(range(len(indexes))), "the order of the journal is its index, whatever the clock says"


@pytest.mark.parametrize("database_kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def test_f_15_a_migration_keeps_what_is_promised_and_in_flight(
    request: pytest.FixtureRequest, tmp_path: Path, database_kind: str
) -> None:
    """From the schema before deliveries were indexed apart to today's, with rows in every state."""
    url = (
        request.getfixturevalue("empty_postgres_database")
        if database_kind == "postgresql"
        else f"sqlite:///{tmp_path / 'old.db'}"
    )
    engine = open_engine(url)
    with engine.connect() as connection:
        connection.begin()
        command.upgrade(config(connection), "0002")
        connection.commit()
    states = ("queued", "claimed", "delivered", "withheld", "waiting", "dead")
    with engine.connect() as connection:
        connection.begin()
        for rank, state in enumerate(states):
            lease = "2026-11-21T10:00:25.000000Z" if state == "claimed" else None
            connection.execute(
                text(
                    "insert into outbox (id, recipient, person_id, sender, document, flow, exchange_id, state, next_at,"
                    " lease_until, created_at) values (:id, 'ccas', :id, 'caf', 'd', 'f', :id, :state,"
                    " '2026-11-21T10:00:00.000000Z', :lease, '2026-11-21T09:00:00.000000Z')"
                ),
                {"id": f"0000-{rank}", "state": state, "lease": lease},
            )
        connection.commit()
    migrate(engine)
    assert is_current(engine)
    with engine.connect() as connection:
        rows = {row.state: row for row in connection.execute(select(table))}
        connection.rollback()
    assert set(rows) == set(states)
    assert rows["claimed"].next_at == rows["claimed"].lease_until
    engine.dispose()


@pytest.mark.parametrize("seed", [SEED, SEED + 1])
def test_f_17_a_withdrawal_is_one_moment_for_all_who_race_it(house: House, seed: int, tmp_path: Path) -> None:
    """Consent as a register: every decision read it at one moment between its start and its end."""
    receipt = house.says([declaration(1)])[0]
    subject = receipt.persons[0]
    with house.gateway.unit_of_work() as work:
        consent = basis.record(work, _consent(house, subject), decision="given").id
    history, draw = Recorder(), random.Random(seed)
    pauses = [[draw.uniform(0, 0.01) for _ in range(25)] for _ in range(4)]
    ready = threading.Barrier(5)

    def decide(rank: int) -> None:
        ready.wait(60)
        for pause in pauses[rank]:
            began = time.monotonic()
            with house.gateway.unit_of_work() as work:
                state = basis.states(work, [subject])[subject].for_flow(
                    "CONSENT_6_1_a", "aide_facultative_ccas", "guichet", work.now
                )
                given = state.consent_state == "given"
                from gateway import journal

                journal.append(work, "exchange.permit" if given else "exchange.deny", consent_ref=consent)
            history.ok(rank, "read", subject, given, began)
            time.sleep(pause)

    def withdraw() -> None:
        ready.wait(60)
        eventually(lambda: len(history.operations) > 20, every=0.001)
        began = time.monotonic()
        with house.gateway.unit_of_work() as work:
            basis.withdraw(work, consent)
        history.ok(9, "write", subject, False, began)

    threads = [threading.Thread(target=decide, args=(rank,)) for rank in range(4)]
    threads.append(threading.Thread(target=withdraw))
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    explained = explains(history.operations, True)
    if not explained:
        history.keep(ROOT / "tests" / "output" / "chaos" / f"f17-{seed}.jsonl", seed)
    assert explained
    assert len(history.operations) == 101
    with house.gateway.engine.connect() as connection:
        events = list(connection.execute(select(journal_entry.c.event).order_by(journal_entry.c.idx)).scalars())
    place = events.index("consent.withdraw")
    assert "exchange.permit" not in events[place:]


def _consent(house: House, subject: str) -> dict[str, Any]:
    return {
        "kind": "consent", "person_id": subject, "subject_ref": house.gateway.keys.pseudonym("guichet", subject),
        "notice_id": "essai", "notice_version": 1, "regime": "CONSENT_6_1_a", "purpose": "aide_facultative_ccas",
        "purpose_text": "Une aide facultative", "legal_basis": "a", "article": ["RGPD 6(1)(a)"],
        "categories": ["C1", "C2"], "recipients": ["guichet"],
        "valid_until": clock.instant(clock.now() + timedelta(days=180)),
        "retention": "P12M", "channel": "face_to_face", "collection_method": "entretien",
        "storage_location": "France", "withdrawal_method": "dire non", "rights": ["acces"],
        "controllers": [{"nom": "Essai", "adresse": "1 rue", "contact": "dpo@exemple.invalid",
                         "siren": "000000000", "role": "departement"}],
        "evidence": {"kind": "oral_attested", "agent": "cd" * 20, "witnessed_at": "2026-11-20T08:59:00Z"},
    }  # fmt: skip


def test_the_history_checker_tells_right_from_wrong() -> None:
    def op(kind: Any, value: Any, began: float, ended: float, outcome: Any = "ok") -> Operation:
        return Operation(0, kind, "k", value, began, ended, outcome)

    write = op("write", False, 1, 3)
    assert explains([write, op("read", True, 2, 4), op("read", False, 5, 6)], True)
    assert not explains([write, op("read", True, 4, 5)], True), "a stale read after the write"
    assert not explains([write, op("read", False, 1, 2), op("read", True, 2.5, 4)], True), "back in time"
    unknown = op("write", False, 1, float("inf"), "info")
    assert explains([unknown, op("read", True, 4, 5)], True)
    assert explains([unknown, op("read", False, 4, 5)], True)


def test_f_21_a_backup_comes_back_elsewhere(house: House, tmp_path: Path) -> None:
    """The drill of docs/operations.md, with its own scripts: backup, another home, restore, go on."""
    told = [declaration(number) for number in range(6)]
    house.says(told)
    house.gateway.publish_journal()
    beside = ("referentiels/departement/referentiel-7.xml", "witness.logs")
    for name in beside:
        path = house.gateway.settings.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    backup = _backup(house, tmp_path / "backups")
    house.says([declaration(7)])  # after the backup: its sender will send it again
    restored = _restored(house, backup, tmp_path / "elsewhere")
    for name in beside:
        assert (restored.gateway.settings.home / name).read_text() == name
    assert restored.count(person) == 6
    restored.says([declaration(7), *told[:2]])
    assert restored.count(person) == 7, "what is sent again is recognised"
    invariants.journal_verifies(restored)
    restored.close()


def test_a_backup_is_made_while_the_journal_is_published_and_a_failed_one_leaves_nothing(
    house: House, tmp_path: Path
) -> None:
    """Between two blocks that tar writes, the journal's folder changes as each publication changes it."""
    house.says([declaration(0)])
    house.gateway.publish_journal()
    growing = tmp_path / "growing"
    growing.write_text(f"#!/bin/sh\ncd {house.gateway.journal_folder}/tile/entries && : > .new && rm .new\n")
    growing.chmod(0o755)
    meanwhile = {"TAR_OPTIONS": f"--record-size=512 --checkpoint=1 --checkpoint-action=exec={growing}"}
    done = _run_backup(house, tmp_path / "backups", **meanwhile)
    assert (done.returncode, done.stderr) == (0, "")
    with tarfile.open(Path(done.stdout.strip(), "journal.tar")) as kept:
        names = kept.getnames()
    assert names.index("journal/checkpoint") < names.index("journal/tile"), "tiles are as new as what needs them"
    kept_before = list((tmp_path / "backups").iterdir())
    assert _run_backup(house, tmp_path / "backups", MAILLON_DATABASE_URL="sqlite:////nowhere/maillon.db").returncode
    assert list((tmp_path / "backups").iterdir()) == kept_before
    restored = _restored(house, kept_before[0], tmp_path / "elsewhere")
    invariants.journal_verifies(restored)
    restored.close()


def test_old_backups_go_once_a_new_one_is_whole(house: House, tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    kept = backups / "autre", backups / clock.now().strftime("%Y%m%dT000000Z")
    old = backups / "20200101T000000Z", backups / "20200102T000000Z.part"
    for one in (*kept, *old):
        one.mkdir(parents=True)
    house.says([declaration(0)])
    assert _run_backup(house, backups, "30", MAILLON_DATABASE_URL="sqlite:////nowhere/maillon.db").returncode
    assert all(one.exists() for one in old), "nothing replaces them"
    before = sorted(backups.iterdir())
    assert _run_backup(house, backups, "soon").returncode
    assert sorted(backups.iterdir()) == before, "a length that is none is told before anything is made"
    assert _backup(house, backups).exists()
    assert all(one.exists() for one in old), "without a number of days"
    done = _run_backup(house, backups, "30")
    assert (done.returncode, done.stderr) == (0, "")
    assert not any(one.exists() for one in old)
    assert all(one.exists() for one in (*kept, Path(done.stdout.strip())))


def test_a_backup_taken_while_all_is_busy_comes_back_whole(house: House, tmp_path: Path) -> None:
    """Exchanges are accepted, delivered and published meanwhile, on both sides of the instant of the copy."""
    house.says([declaration(0)])
    house.gateway.publish_journal()
    ended, failed = threading.Event(), []

    def busy() -> None:
        number = 1
        try:
            while not ended.is_set():
                house.says([declaration(number)])
                asyncio.run(_delivered(house))
                house.gateway.publish_journal()
                number += 1
        except Exception as error:
            failed.append(error)

    working = threading.Thread(target=busy)
    working.start()
    try:
        eventually(lambda: house.count(person) > 3 or failed, timeout=60)
        before = house.count(person)
        backup = _backup(house, tmp_path / "backups")
        after = house.count(person)
        eventually(lambda: house.count(person) > after + 1 or failed, timeout=60)
    finally:
        ended.set()
        working.join()
    assert not failed
    restored = _restored(house, backup, tmp_path / "elsewhere")
    assert before <= restored.count(person) <= after
    invariants.journal_verifies(restored)
    known = (restored.gateway.journal_folder / "checkpoint").read_bytes()
    assert verify.verify(house.gateway.journal_folder, since=[known]).ok
    asyncio.run(_delivered(restored))
    restored.close()


async def _delivered(house: House) -> None:
    await Worker(house.gateway).drain()
    await house.gateway.close_transports()


def test_f_21_the_only_backup_is_older_than_what_was_published(house: House, tmp_path: Path) -> None:
    """The same drill, with the newest published files: the journal goes on from what others know of it."""
    house.says([declaration(number) for number in range(6)])
    house.gateway.publish_journal()
    backup = _backup(house, tmp_path / "backups")
    house.says([declaration(number) for number in range(6, 9)])
    house.gateway.publish_journal()
    newest = shutil.copytree(house.gateway.journal_folder, tmp_path / "newest")
    known, entries = (newest / "checkpoint").read_bytes(), house.count(journal_entry)
    restored = _restored(house, backup, tmp_path / "elsewhere")
    shutil.rmtree(restored.gateway.journal_folder)
    shutil.copytree(newest, restored.gateway.journal_folder)
    older = restored.count(journal_entry)
    (told,) = [one for one in json.loads(_maillon(restored, "doctor").stdout)["checks"] if one["check"] == "journal"]
    assert told["detail"].startswith("journal-behind"), "before anything is published"
    assert _maillon(restored, "journal", "checkpoint").stderr.startswith("journal-behind")

    said = _maillon(restored, "journal", "recover")
    assert (said.returncode, said.stderr.split(":")[0]) == (1, "not-confirmed")
    (told,) = map(json.loads, said.stdout.splitlines())
    assert (told["log"], told["restored"], told["published"], told["moved"]) == ("12m", older, entries, 0)
    assert sum(told["events"].values()) == entries - older
    done = _maillon(restored, "journal", "recover", "--confirm")
    assert (done.returncode, done.stdout) == (0, said.stdout), done.stderr
    assert _maillon(restored, "journal", "recover", "--confirm").stderr.startswith("journal-whole")

    folder = restored.gateway.journal_folder
    assert verify.verify(folder, since=[known]).ok
    restored.says([declaration(7)])
    assert restored.count(person) == 7, "what its entries tell of did not come back: its sender sends it again"
    invariants.journal_verifies(restored)
    assert verify.verify(folder, since=[known]).ok
    restored.close()


def _maillon(house: House, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *words], env=_environment(house), cwd=ROOT, capture_output=True, text=True
    )


def _environment(house: House) -> dict[str, str]:
    environment = house.environment | _client_programs() | {"PYTHON": sys.executable}
    if not house.database_url:
        environment["MAILLON_DATABASE_URL"] = f"sqlite:///{house.home / 'maillon.db'}"
    return environment


def _run_backup(house: House, folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [ROOT / "deploy" / "backup", folder, *words]
    return subprocess.run(command, env=_environment(house) | more, capture_output=True, text=True)


def _backup(house: House, folder: Path) -> Path:
    done = _run_backup(house, folder)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def _restored(house: House, backup: Path, elsewhere: Path) -> House:
    """The gateway of this backup in another home, with the keys of today."""
    home, environment = house.home, _environment(house)
    elsewhere.mkdir()
    shutil.copytree(home / "keys", elsewhere / "keys")
    if (home / "erased.list").exists():
        shutil.copy(home / "erased.list", elsewhere / "erased.list")
    url = house.database_url
    house.gateway.engine.dispose()
    if url:
        engine = open_engine(url)
        with engine.connect() as connection:
            connection.execute(text("drop schema public cascade"))
            connection.execute(text("create schema public"))
            connection.commit()
        engine.dispose()
    environment |= {"MAILLON_HOME": str(elsewhere)}
    environment["MAILLON_DATABASE_URL"] = url or f"sqlite:///{elsewhere / 'maillon.db'}"
    done = subprocess.run([ROOT / "deploy" / "restore", backup], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return House(elsewhere, url, key=house.key)


def _client_programs() -> dict[str, str]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"), key=lambda path: int(path.parts[4]))
    if not found:
        return {}
    return {"PG_DUMP": str(found[-1]), "PG_RESTORE": str(found[-1].with_name("pg_restore"))}


def test_f_22_a_flipped_bit_is_found_wherever_it_is(house: House) -> None:
    house.says([declaration(number) for number in range(3)])
    invariants.journal_verifies(house)
    folder = house.gateway.journal_folder
    for path in [path for path in folder.rglob("*") if path.is_file() and "tile" in path.parts]:
        content = path.read_bytes()
        path.write_bytes(content[:5] + bytes([content[5] ^ 1]) + content[6:])
        assert not verify.verify(folder).ok, path
        path.write_bytes(content)
    assert verify.verify(folder).ok
    with house.gateway.engine.connect() as connection:
        connection.begin()
        row = connection.execute(select(assertion_set.c.id, assertion_set.c.payload)).first()
        assert row is not None
        flipped = row.payload[:-1] + bytes([row.payload[-1] ^ 1])
        connection.execute(assertion_set.update().where(assertion_set.c.id == row.id).values(payload=flipped))
        connection.commit()
    fresh = Gateway.open(house.gateway.settings, create=False)
    with fresh.engine.connect().execution_options(read_only=True) as connection:
        subject = connection.execute(
            select(assertion_set.c.subject_id).where(assertion_set.c.id == row.id)
        ).scalar_one()
    with pytest.raises(Exception) as found, fresh.unit_of_work() as work:
        fresh.dossiers.current(work, subject)
    assert "CANARI" not in str(found.value)
    fresh.engine.dispose()


def test_f_27_the_history_replayed_gives_the_same_state(database: str, house_at: Houses) -> None:
    draw = random.Random(SEED)
    live, rebuilt = house_at(database), house_at()
    history = [(draw.randrange(12), version) for version in range(30)]
    for number, version in history:
        live.says([declaration(number, version)])
    for number, version in history:
        rebuilt.says([declaration(number, version)])
    assert _state(live) == _state(rebuilt)
    assert len(_state(live)) == len({number for number, _ in history})


def _state(house: House) -> dict[str, dict[str, Any]]:
    """Every person's current record, without what depends on when it was told, under her name."""
    state = {}
    with house.gateway.unit_of_work() as work:
        for subject in list(work.connection.execute(select(person.c.id)).scalars()):
            current = house.gateway.dossiers.current(work, subject)
            values = {path: (fact.value, fact.source) for path, fact in current.items()}
            state[str(values["personne.nom_naissance"][0])] = values
    return state
