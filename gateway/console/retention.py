"""What ends, and when: how long each regime keeps, what is past its retention, and what was purged of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import islice, takewhile
from typing import Any

from sqlalchemy import func, select

from gateway import clock, convention, journal, retention
from gateway.clock import day_of
from gateway.console import law_words
from gateway.console.blocks import (
    Badge,
    Code,
    Lines,
    Notice,
    Num,
    Page,
    Quiet,
    Table,
    Text,
    Title,
    When,
)
from gateway.console.common import PAGE, Place, View
from gateway.convention_checks import parse
from gateway.storage.tables.basis import basis_record
from gateway.storage.tables.basis import convention as convention_table
from gateway.storage.tables.journal import journal_entry, journal_log
from gateway.words import day, many, moment, period, say, says, word

_SINCE = timedelta(days=366)


def places() -> list[Place]:
    """The page of retention."""
    return [Place("/console/conservation", conservation, ("dpo",))]


def conservation(view: View) -> Page:
    """What ends, and when; how long each regime and each class of the journal is kept."""
    law = view.gateway.policy.table
    regimes = [
        [
            regime.id,
            law_words.regime(law, regime.id),
            period(regime.retention),
            period(regime.archive) if regime.archive else "–",
            period(regime.traces),
            Lines(regime.articles),
            word("verifie", law.source["regimes"][regime.id].get("checked", "")),
        ]
        for regime in law.regimes.values()
    ]
    heads = says("conservation", "regime", "nom", "donnees", "archives", "traces", "articles", "verifie")
    asked = view.asked("echeances")
    start = int(asked) if asked.isdecimal() else 0
    due = sorted(_deadlines(view))[start:]
    rows = [[day(when), what, about] for when, what, about in due[:PAGE]]
    older = view.further("echeances", echeances=str(start + PAGE)) if len(due) > PAGE else ""
    return Page(
        say("conservation.titre"),
        [
            Text(say("conservation.intro"), lead=True),
            Title(say("conservation.echeances")),
            Table(
                "echeances",
                say("conservation.echeances_legende"),
                [say("conservation.date"), say("conservation.quoi"), say("conservation.detail")],
                rows,
                say("conservation.vide"),
                older=older,
            ),
            *purges(view),
            Title(say("conservation.regimes")),
            Table("regimes", say("conservation.regimes_legende"), heads, regimes),
        ],
    )


def _deadlines(view: View) -> Iterator[tuple[str, str, str]]:
    today = convention.today(view.work)
    for one in convention.list_(view.work):
        if today <= date.fromisoformat(one["fin"]):
            yield one["fin"], say("conservation.fin_convention"), one["titre"]
    for row in view.connection.execute(select(convention_table.c.content).distinct()):
        for review in parse(bytes(row.content)).dates_revue:
            if review >= today:
                yield review.isoformat(), say("conservation.revue"), parse(bytes(row.content)).titre
    hour = func.substr(basis_record.c.valid_until, 1, 13)  # few enough, and of one day each
    ending: Counter[str] = Counter()
    for until, times in view.connection.execute(
        select(hour, func.count())
        .where(basis_record.c.valid_until > clock.instant(), basis_record.c.kind == "consent")
        .group_by(hour)
    ):
        ending[day_of(f"{until}:00Z" if "T" in until else until)] += times
    for day_, times in ending.items():
        yield day_, say("conservation.fin_consentement"), many("conservation.personnes", times)
    for log in view.connection.execute(select(journal_log).order_by(journal_log.c.log)).all():
        oldest = select(journal_entry.c.ts).where(journal_entry.c.log == log.log).order_by(journal_entry.c.idx).limit(1)
        first = view.connection.scalar(oldest)
        if first:
            months = journal.RETENTION_MONTHS[log.log]
            ends = clock.same_day(date.fromisoformat(first[:10]).replace(day=1), months)
            yield ends.isoformat(), say("conservation.fin_journal"), say("conservation.classe", mois=months)


# --- purges ------------------------------------------------------------


def purges(view: View) -> list[Any]:
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
