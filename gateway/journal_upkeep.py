"""Keeping the journal alive: when to publish, when to refuse exchanges, when to forget, and the change of keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, delete, insert, select, update

from gateway import clock, merkle, note
from gateway.journal import RETENTION_MONTHS
from gateway.journal_files import (
    Files,
    Published,
    Step,
    alone,
    folder_of,
    publish,
    reading,
    retention_note,
    signing_keys,
)
from gateway.keys import Keyring
from gateway.logs import LastingFailure
from gateway.merkle import WIDTH
from gateway.settings import Settings
from gateway.storage.tables.journal import journal_entry, journal_log, journal_tile


async def publish_now(engine: Engine, keys: Keyring, settings: Settings, failure: LastingFailure) -> None:
    """Publish before exchanges are taken: a journal that is not the published one is found before, not after."""
    await _try(lambda: publish(engine, keys, settings), failure)


async def _try(publishing: Callable[[], Sequence[Published]], failure: LastingFailure) -> None:
    try:
        published = await asyncio.to_thread(publishing)
    except Exception as error:  # whatever it is, nothing would ever be published by this process again
        failure.met(error)
    else:
        if published:
            failure.over()


async def keep_publishing(
    engine: Engine, keys: Keyring, settings: Settings, stopping: asyncio.Event, failure: LastingFailure
) -> None:
    """Publish whenever `due`, until `stopping` is set, and once more then. What fails is tried again:
    `require_available` closes the gateway when it lasts."""

    def turn() -> Sequence[Published]:
        with reading(engine) as connection:
            wanted = due(connection, settings)
        return publish(engine, keys, settings) if wanted else ()

    while not stopping.is_set():
        await _try(turn, failure)
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), timeout=min(1.0, settings.checkpoint_every))
    await publish_now(engine, keys, settings, failure)


def due(connection: Connection, settings: Settings) -> bool:
    """Whether a checkpoint should be written now: 256 new entries, or any for `checkpoint_every` seconds, or nothing
    for a minute (an idle journal shows that it is alive), or there is no log yet."""
    now = clock.now()
    logs = connection.execute(select(journal_log.c.size, journal_log.c.checkpoint, journal_log.c.checkpoint_at)).all()
    for row in logs:
        published = note.checkpoint(note.parse(row.checkpoint.encode()).text).size if row.checkpoint else 0
        waited = (now - datetime.fromisoformat(row.checkpoint_at)).total_seconds()
        idle = min(60.0, settings.audit_tolerance / 4)
        if row.size - published >= WIDTH or waited >= (settings.checkpoint_every if row.size > published else idle):
            return True
    return not logs


def prune(
    engine: Engine,
    keys: Keyring,
    settings: Settings,
    *,
    moment: datetime | None = None,
    step: Step = lambda _: None,
) -> dict[str, int]:
    """Delete the entries whose retention has elapsed, by whole bundles and in index order; gives the minimum index of
    each log. Hash tiles stay, so that proofs of later entries stay valid.

    The retention is published (`retention`) before any bundle goes; a crash at any step is repaired by the next call.
    """
    pruned = {}
    for published in publish(engine, keys, settings):
        with alone(folder_of(settings, published.log)) as place:
            cutoff = months_before(moment or clock.now(), RETENTION_MONTHS[published.log])
            while _prune_bundle(engine, published.log, cutoff, published.size):
                step("bundle pruned from the database")
            with reading(engine) as connection:
                state = connection.execute(select(journal_log).where(journal_log.c.log == published.log)).one()
            files = Files(place, step)
            files.write("retention", retention_note(state, signing_keys(keys)))
            files.flush_folders()
            step("retention published")
            for n in range(state.min_index // WIDTH):
                (place / merkle.tile_path("entries", n)).unlink(missing_ok=True)
            pruned[published.log] = state.min_index
    return pruned


def _prune_bundle(engine: Engine, log: str, cutoff: str, published: int) -> bool:
    """Move one full, published, elapsed bundle out of the database, keeping its leaf hashes."""
    with engine.begin() as connection:
        first = connection.scalars(
            select(journal_log.c.min_index).where(journal_log.c.log == log).with_for_update()
        ).one()
        entries = (journal_entry.c.log == log) & journal_entry.c.idx.between(first, first + WIDTH - 1)
        query = select(journal_entry.c.ts, journal_entry.c.leaf).where(entries).order_by(journal_entry.c.idx)
        rows = connection.execute(query).all() if first + WIDTH <= published else []
        if len(rows) < WIDTH or max(row.ts for row in rows) >= cutoff:
            return False
        hashes = b"".join(row.leaf for row in rows)
        connection.execute(insert(journal_tile).values(log=log, n=first // WIDTH, hashes=hashes))
        connection.execute(delete(journal_entry).where(entries))
        connection.execute(update(journal_log).where(journal_log.c.log == log).values(min_index=first + WIDTH))
    return True


def months_before(moment: datetime, months: int) -> str:
    moment = moment.astimezone(UTC)
    return clock.instant(datetime.combine(clock.same_day(moment.date(), -months), moment.timetz()))


def rotate_key(keys: Keyring) -> str:
    """Add the next signing key; the next `publish` uses it. Gives its name."""
    signing_keys(keys)
    numbers = [int(path.stem.rpartition("-")[2]) for path in keys.folder.glob("journal-*.ed25519")]
    name = f"journal-{max(numbers, default=1) + 1}"
    keys.ed25519(name)
    return name
