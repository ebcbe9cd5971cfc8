"""Bringing the entries that a restored database lacks back from the published files.

When the only backup left is older than what was published, the published folder still holds every entry up to its
signed checkpoint, and the database the beginning of the same log. `recover` writes the missing entries back: the log
goes on from the checkpoint that partners, witnesses and time stamps know, under the same origin, and nothing that was
signed is moved or left out. What the database wrote since it was restored was never signed, and follows; then an
`admin.recover` entry says how many entries came back, and at which size the database had been restored.

Only the journal comes back. What its entries tell of (records, choices of persons, deliveries) is in no published file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, insert, select, update

from gateway import journal, merkle, note, verify
from gateway.journal_entry import COLUMNS
from gateway.journal_files import alone, bundles, folder_of, known_keys, last_checkpoint
from gateway.keys import Keyring
from gateway.merkle import WIDTH
from gateway.problems import JournalBroken
from gateway.settings import Settings
from gateway.storage.tables.journal import journal_entry, journal_log
from gateway.storage.tables.rights import erasure
from gateway.unit_of_work import UnitOfWork

_REPEATED = tuple(column.name for column in journal_entry.columns)[4:-2]
"""The columns that repeat the fields of `journal_entry.COLUMNS`, in their order."""


@dataclass(slots=True)
class Recovered:
    """What came back to one log."""

    log: str
    restored: int
    """Entries of the database that are the published ones: the size it was restored at."""
    published: int
    moved: int
    """Entries written since, never signed, that now follow."""
    first: str = ""
    """When the first entry that was missing was written (RFC 3339); `last`: the last one."""
    last: str = ""
    events: dict[str, int] = field(default_factory=dict)
    """How many entries of each kind came back; this database does not hold what they did."""


def recover(engine: Engine, keys: Keyring, settings: Settings, *, rehearsal: bool = False) -> list[Recovered]:
    """Write back what each log lacks, in one transaction; nothing when none lacks anything. `rehearsal` undoes it all.

    To be followed by a publication. Raises `JournalBroken`: `journal-forked` when the database is not the beginning of
    what was published, `journal-altered` when the files are not what was signed, `journal-pruned` when they no longer
    hold what is missing.
    """
    places = {log: folder_of(settings, log) for log in sorted(journal.RETENTION_MONTHS)}
    places = {log: place for log, place in places.items() if (place / "checkpoint").exists()}
    with ExitStack() as stack:
        for place in places.values():  # before any lock of the database, as a publication does
            stack.enter_context(alone(place))
        work = stack.enter_context(UnitOfWork(engine))
        found = (_recover_log(work.connection, keys, log, place) for log, place in places.items())
        done = [one for one in found if one is not None]
        for one in done:
            came = one.published - one.restored
            journal.append(work, "admin.recover", object_ref=f"log-{one.log}", n_records=came, size=one.restored)
        if rehearsal or not done:
            work.abandon()
    return done


def _recover_log(connection: Connection, keys: Keyring, log: str, place: Path) -> Recovered | None:
    state = _locked(connection, log)
    known = known_keys(connection, keys, log, state.origin)
    published = last_checkpoint(place, known, state.origin)
    if published is None:
        raise JournalBroken("journal-altered", "The published checkpoint is not signed by a key of this gateway.")
    checkpoint = published[0]
    try:
        entries = verify.entries(place, [str(key) for key in known])
        found = _write_back(connection, log, checkpoint.size, _missing(connection, state, checkpoint.size, entries))
    except verify.Bad as bad:
        raise JournalBroken("journal-altered", f"The published files do not verify: {bad}.") from None
    if found is not None:
        _grow_again(connection, log, checkpoint)
    return found


def _locked(connection: Connection, log: str) -> Row[Any]:
    query = select(journal_log).where(journal_log.c.log == log).with_for_update()
    if (state := connection.execute(query).one_or_none()) is None:
        journal.open_log(connection, log)
        state = connection.execute(query).one()
    return state


def _missing(
    connection: Connection, state: Row[Any], size: int, published: Iterator[tuple[int, bytes]]
) -> Iterator[tuple[int, bytes]]:
    """The published entries from the first that the database does not hold. What it signed itself is not looked at
    here: `_grow_again` refuses a log that begins otherwise."""
    signed = note.checkpoint(note.parse(state.checkpoint.encode()).text).size if state.checkpoint else 0
    query = select(journal_entry.c.idx, journal_entry.c.leaf)
    mine = connection.execute(query.where(journal_entry.c.log == state.log, journal_entry.c.idx >= signed))
    leaves = {row.idx: row.leaf for row in mine}
    following, same = signed, True
    for idx, entry in published:
        if idx < signed:
            continue
        if idx > following:
            break
        following += 1
        same = same and leaves.get(idx) == merkle.leaf_hash(entry)
        if not same:
            yield idx, entry
    if following < size:
        raise JournalBroken("journal-pruned", "The published files no longer hold the entries that are missing.")


def _write_back(connection: Connection, log: str, size: int, missing: Iterator[tuple[int, bytes]]) -> Recovered | None:
    """Insert these entries, and after them what the database wrote instead; None when nothing is missing."""
    if (first := next(missing, None)) is None:
        return None
    restored = first[0]
    here = (journal_entry.c.log == log) & (journal_entry.c.idx >= restored)
    aside = [dict(row) for row in connection.execute(select(journal_entry).where(here)).mappings()]
    connection.execute(delete(journal_entry).where(here))
    found = Recovered(log, restored, size, len(aside))
    after = size - restored
    rows = chain((_row(log, *one, found) for one in chain([first], missing)), (_later(row, after) for row in aside))
    while batch := list(islice(rows, WIDTH)):
        connection.execute(insert(journal_entry), batch)
    told = (erasure.c.log == log) & (erasure.c.idx >= restored)
    connection.execute(update(erasure).where(told).values(idx=erasure.c.idx + after))
    connection.execute(update(journal_log).where(journal_log.c.log == log).values(size=size + len(aside)))
    return found


def _row(log: str, idx: int, entry: bytes, found: Recovered) -> dict[str, Any]:
    fields = json.loads(entry)
    found.first, found.last = found.first or fields["ts"], fields["ts"]
    found.events[fields["event"]] = found.events.get(fields["event"], 0) + 1
    row = {"log": log, "idx": idx, "ts": fields["ts"], "event": fields["event"]}
    row |= {column: fields.get(name) for column, name in zip(_REPEATED, COLUMNS, strict=True)}
    return row | {"entry": entry, "leaf": merkle.leaf_hash(entry)}


def _later(row: dict[str, Any], after: int) -> dict[str, Any]:
    return row | {"idx": row["idx"] + after}


def _grow_again(connection: Connection, log: str, checkpoint: note.Checkpoint) -> None:
    """Hash the whole log from its first entry: it must give the signed root where it was signed."""
    state = connection.execute(select(journal_log).where(journal_log.c.log == log)).one()
    frontier: list[bytes] = []
    size = 0
    for _, leaves, _ in bundles(connection, state, 0):
        signed = max(0, checkpoint.size - size)
        size = merkle.grow(frontier, size, leaves[:signed])
        if size == checkpoint.size and signed and merkle.fold(frontier) != checkpoint.root:
            raise JournalBroken(
                "journal-forked", "The database is not the beginning of the published journal: it was rewritten."
            )
        size = merkle.grow(frontier, size, leaves[signed:])
    connection.execute(update(journal_log).where(journal_log.c.log == log).values(frontier=b"".join(frontier)))
