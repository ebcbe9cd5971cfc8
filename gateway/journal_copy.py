"""This gateway's own journal: the published files, and the database's copy of them, which the officer's pages read.

Files that verify prove nothing of that copy: an entry taken out of the database alone, or written under another body,
would be missing from « who received what », and the journal be whole. What is pruned is in neither.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from sqlalchemy import Engine, select

from gateway import verify
from gateway.journal import DEFAULT_LOG
from gateway.journal_entry import COLUMNS
from gateway.journal_files import folder_of, reading
from gateway.merkle import WIDTH, tile_path
from gateway.settings import Settings
from gateway.storage.tables.journal import journal_entry, journal_log

ALTERED = "the database does not hold this entry as it was published"
_SAID = ("ts", "event", *COLUMNS)
_BESIDE = ("ts", "event", "exchange_id", "subject", "sender", "recipient", "purpose", "decision")
"""Columns that repeat what the entry says, in the order of `_SAID`."""


def verify_own(
    engine: Engine, settings: Settings, vkey: str | Sequence[str] | None = None
) -> Iterator[tuple[str, verify.Report]]:
    """What `verify.verify_all` says of each log published here, and of its copy."""
    for log, report in verify.verify_all(folder_of(settings), vkey):
        yield log, compared(engine, settings, log, report)


def compared(engine: Engine, settings: Settings, log: str, report: verify.Report) -> verify.Report:
    """The report of a log that was published here, which the database's copy may still belie."""
    altered = _altered(engine, settings, log or DEFAULT_LOG, report) if report.ok else None
    return report if altered is None else replace(report, ok=False, first_bad=altered, reason=ALTERED)


def _altered(engine: Engine, settings: Settings, log: str, report: verify.Report) -> int | None:
    """Index of the first entry that the database does not hold as it was published, if there is one."""
    place, size = folder_of(settings, log), report.entries
    columns = (journal_entry.c.idx, journal_entry.c.entry, *(journal_entry.c[name] for name in _BESIDE))
    with reading(engine) as connection:
        pruned = connection.execute(select(journal_log.c.min_index).where(journal_log.c.log == log)).scalar() or 0
        expected = max(report.pruned, pruned)
        query = select(*columns).where(journal_entry.c.log == log, journal_entry.c.idx < size)
        query = query.where(journal_entry.c.idx >= expected).order_by(journal_entry.c.idx)
        with connection.execute(query.execution_options(yield_per=16 * WIDTH)) as streamed:
            for n, rows in groupby(streamed, key=lambda row: row.idx // WIDTH):
                width = min(WIDTH, size - n * WIDTH)
                path = place / tile_path("entries", n, width)
                # The last bundle may have grown since: publishing it compares it.
                published = verify.split_bundle(path.read_bytes(), width) if path.is_file() else None
                for idx, entry, *beside in rows:
                    if idx != expected or (published and entry != published[idx % WIDTH]):
                        return expected
                    said = json.loads(entry)
                    if [said.get(name) for name in _SAID] != beside:
                        return expected
                    expected += 1
    return None if expected == size else expected
