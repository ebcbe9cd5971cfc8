"""What is past its retention, and what was purged of it: two tables of the retention page."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice, takewhile
from typing import Any

from gateway import clock, journal, retention
from gateway.console import law_words
from gateway.console.blocks import Badge, Code, Notice, Num, Quiet, Table, Text, Title, When
from gateway.console.common import PAGE, View
from gateway.words import moment, say, says, word

_SINCE = timedelta(days=366)


def blocks(view: View) -> list[Any]:
    """What was due when it was last counted, by source; the certificates of the last year, newest first."""
    reading = retention.last(view.work)
    return [
        Title(say("purge.due")),
        Text(say("purge.due_intro")),
        *([Notice(say("purge.jamais"))] if reading is None else [_due(view, reading)]),
        Title(say("purge.faite")),
        Text(say("purge.faite_intro")),
        _done(view),
    ]


def _due(view: View, reading: retention.Reading) -> Table:
    rows = [
        [
            view.body(one["source"]),
            Num(one["statements"]),
            Num(one["subjects"]),
            When(one["oldest"]),
            ", ".join(one["regimes"]) if one["regime_known"] else Badge(say("purge.sans_regime"), "bad"),
        ]
        for one in reading.due
    ]
    heads = says("purge", "source", "dires", "dossiers", "plus_ancien", "regimes")
    counted = say("purge.compte", quand=moment(reading.read_at))
    return Table("purge-due", say("purge.due_legende"), heads, rows, say("purge.due_vide"), frozenset({1, 2}), counted)


def _done(view: View) -> Table:
    since = clock.instant(clock.now() - _SINCE)
    ts, _, place = view.asked("purges").partition("_")
    log, _, idx = place.rpartition("_")
    before = (ts, log, int(idx)) if idx.isdecimal() and len(idx) < 19 else None
    erased = takewhile(lambda entry: entry.ts >= since, journal.newest(view.connection, "right.erase", before=before))
    purged = [*islice((entry for entry in erased if entry.fields.get("reason_code") == "elapsed"), PAGE)]
    rows = []
    for entry in purged:
        said = entry.fields
        about = view.body(said.get("recipient_org", "") or said.get("sender_org", ""))
        rows.append([
            When(entry.ts),
            word("purge", "personne" if said["outcome"] == "erased" else "partie" if said.get("subject") else "autre"),
            law_words.categories(said.get("categories_redacted", [])) or Quiet(about or "–"),
            Num(said.get("n_records", 0)),
            Code(said.get("object_ref", "")),
            Code(f"{entry.log}:{entry.idx}"),
        ])  # fmt: skip
    heads = says("purge", "quand", "quoi", "categories", "lignes", "certificat", "journal")
    older = ""
    if len(purged) == PAGE:
        older = view.further("purge-faite", purges=f"{purged[-1].ts}_{purged[-1].log}_{purged[-1].idx}")
    return Table(
        "purge-faite", say("purge.faite_legende"), heads, rows, say("purge.faite_vide"), frozenset({3}), older=older
    )
