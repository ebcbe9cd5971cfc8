"""What a data protection officer watches: anomalies of reading and volume, and data sent or agreed for nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from statistics import median
from typing import Any

from pydantic_core import from_json
from sqlalchemy import select

from gateway import clock, volumes
from gateway.clock import local, today
from gateway.console import law_words
from gateway.console.blocks import Badge, Form, Lines, Num, Page, Quiet, Table, Text, Title, When
from gateway.console.common import Place, View
from gateway.console.register import days_of, period
from gateway.convention import flows_from
from gateway.convention_model import Flow, codes_of
from gateway.policy_question import in_order
from gateway.storage.tables.journal import LOOKED_AT, journal_entry
from gateway.words import day as day_of
from gateway.words import number, say, says, word
from mappings import load

THRESHOLDS = {
    "nuit": 1,
    "volume": 3,
    "volume_plancher": 200,
    "repetition": 5,
    "enumeration": 20,
    "refus_entree": 20,
}
"""Night: events between 22 h and 6 h (Paris). Volume: times the median day, above a floor. Repetition: readings of one
person by one reader in a day. Enumeration: searches that found nobody in an hour. Input refusals in an hour."""
_READ = 20_000
"""Events examined at most; beyond, the page says so."""


def places() -> list[Place]:
    """The pages of the watch."""
    return [
        Place("/console/anomalies", anomalies, ("dpo",)),
        Place("/console/minimisation", minimisation, ("dpo",)),
    ]


def anomalies(view: View) -> Page:
    """Readings and volumes out of the ordinary over a few days."""
    days = min(days_of(view), 30) if view.asked("jours") else 7
    since = clock.instant(clock.now() - timedelta(days=days))
    found = sorted(_found(view, since, days), key=lambda row: row[3], reverse=True)
    rows = [
        [Badge(word("anomalie", kind), tone), who, what, When(when) if "T" in when else day_of(when), Num(times)]
        for kind, who, what, when, times, tone in found
    ]
    heads = says("anomalies", "nature", "qui", "quoi", "quand", "combien")
    filter_ = Form("/console/anomalies", say("formulaire.filtrer"), [period(days, ("7", "30"))], "get")
    thresholds = [
        [
            word("anomalie", name),
            say(
                f"anomalies.seuil_{name}",
                n=number(THRESHOLDS.get(name, 0)),
                plancher=number(THRESHOLDS["volume_plancher"]),
            ),
        ]
        for name in ("nuit", "volume", "repetition", "enumeration", "refus_entree", "sensible")
    ]
    return Page(
        say("anomalies.titre"),
        [
            Text(say("anomalies.intro"), lead=True),
            filter_,
            Table("anomalies", say("anomalies.legende"), heads, rows, say("anomalies.vide"), frozenset({4})),
            Title(say("anomalies.seuils")),
            Table(
                "seuils", say("anomalies.seuils_legende"), [say("anomalies.nature"), say("anomalies.seuil")], thresholds
            ),
        ],
    )


Found = tuple[str, str, str, str, int, str]
"""(kind, who, what, last time or the day of it, how many, tone)."""


def _found(view: View, since: str, days: int) -> Iterator[Found]:
    yield from _readings(view, since)
    yield from _volumes(view, days)
    yield from _sensitive(view, days)


def _readings(view: View, since: str) -> Iterator[Found]:
    c = journal_entry.c
    query = (
        select(c.ts, c.event, c.sender, c.subject, c.entry)
        .where(c.ts >= since[:23] + "Z", LOOKED_AT)
        .order_by(c.ts.desc())
        .limit(_READ)
    )
    night: dict[str, list[str]] = defaultdict(list)
    repeated: dict[tuple[str, str, int], list[str]] = defaultdict(list)
    unknown: dict[tuple[str, str], list[str]] = defaultdict(list)
    refused: dict[tuple[str, str], list[str]] = defaultdict(list)
    for ts, event, sender, subject, entry in view.connection.execute(query):
        told = from_json(entry)  # once, rather than once per member in the database
        result, why = told.get("outcome"), told.get("reason_code")
        name = _reader(view, sender, told.get("agent"), told.get("agent_role"))
        moment = _moment(ts[:13])
        if event == "log.read" and (moment.hour >= 22 or moment.hour < 6):
            night[name].append(ts)
        if event == "log.read" and subject:
            repeated[name, subject, moment.toordinal()].append(ts)
        if event == "log.read" and result in ("search", "person-search") and why in ("inconnu", "unknown"):
            unknown[name, ts[:13]].append(ts)
        if event == "input.reject":
            refused[name, ts[:13]].append(ts)
    for name, times in night.items():
        yield "nuit", name, say("anomalies.lectures_nuit"), max(times), len(times), "wait"
    for (name, subject, _), times in repeated.items():
        if len(times) >= THRESHOLDS["repetition"]:
            yield "repetition", name, say("anomalies.meme_personne", n=subject[:8]), max(times), len(times), "bad"
    for (name, _), times in unknown.items():
        if len(times) >= THRESHOLDS["enumeration"]:
            yield "enumeration", name, say("anomalies.recherches_vaines"), max(times), len(times), "bad"
    for (name, _), times in refused.items():
        if len(times) >= THRESHOLDS["refus_entree"]:
            yield "refus_entree", name, say("anomalies.entrees_refusees"), max(times), len(times), "wait"


@lru_cache(2_000)
def _moment(prefix: str) -> datetime:
    """The hour of Paris that `2026-11-21T08` is."""
    return local(f"{prefix}:00:00Z")


def _reader(view: View, sender: str | None, agent: str | None, role: str | None) -> str:
    if agent:
        return say("anomalies.agent", role=word("role", role), n=agent[:8])
    return view.body(sender) if sender else say("anomalies.inconnu")


def _volumes(view: View, days: int) -> Iterator[Found]:
    """A body's day far above its median day."""
    by_body: dict[str, dict[str, int]] = defaultdict(dict)
    for day, seen in volumes.by_day(view.gateway.engine, view.connection, max(days, 14)):
        for row, times in seen.items():
            if row.event in ("exchange.request", "log.read") and row.sender:
                by_body[row.sender][day] = by_body[row.sender].get(day, 0) + times
    oldest = today(clock.instant(clock.now() - timedelta(days=days)))
    for body, per_day in by_body.items():
        usual = median(per_day.values()) if len(per_day) > 2 else 0
        for day, times in per_day.items():
            if usual and day >= oldest and times > max(THRESHOLDS["volume"] * usual, THRESHOLDS["volume_plancher"]):
                yield "volume", view.body(body), say("anomalies.jour", usuel=number(int(usual))), day, times, "wait"


def _sensitive(view: View, days: int) -> Iterator[Found]:
    """Sensitive categories that really left."""
    law = view.gateway.policy.table
    watched = {code for code, row in law.categories.items() if row["sensitivity"] in ("art9", "art10", "cercle_ferme")}
    seen: Counter[tuple[str, str, str]] = Counter()
    last: dict[tuple[str, str, str], str] = {}
    for day, counts in volumes.by_day(view.gateway.engine, view.connection, days):
        for row, times in counts.items():
            if row.gave:
                for code in watched.intersection(row.sent.split(",")):
                    seen[row.sender, row.recipient, code] += times
                    last[row.sender, row.recipient, code] = day
    for (sender, recipient, code), times in seen.items():
        who = say("personne.de_vers", de=view.body(sender), vers=view.body(recipient))
        yield "sensible", who, law_words.category(code), last[sender, recipient, code], times, "bad"


# --- minimisation ------------------------------------------------------------


def minimisation(view: View) -> Page:
    """For each flow: what its document could carry, what is agreed, what was really sent."""
    days = days_of(view) if view.asked("jours") else 90
    sent = _sent(view, days)
    flows = [flow for body in sorted(view.gateway.bodies) for flow in flows_from(view.work, body)]
    rows = [_carried(view, flow, sent[flow.de, flow.vers, flow.purpose]) for flow in flows]
    heads = says("minimisation", "flux", "document", "champs", "demande", "convenu", "envoye", "jamais")
    filter_ = Form("/console/minimisation", say("formulaire.filtrer"), [period(days)], "get")
    return Page(
        say("minimisation.titre"),
        [
            Text(say("minimisation.intro"), lead=True),
            filter_,
            Table(
                "minimisation",
                say("minimisation.legende"),
                heads,
                rows,
                say("minimisation.vide"),
                frozenset({2}),
                say("minimisation.note"),
            ),
        ],
    )


def _sent(view: View, days: int) -> Mapping[tuple[str, str, str], set[str]]:
    """The C-codes that really left in these days, by sender, recipient and purpose."""
    sent: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for row in volumes.counts(view.gateway.engine, view.connection, days):
        if row.gave:
            sent[row.sender, row.recipient, row.purpose].update(code for code in row.sent.split(",") if code)
    return sent


def _carried(view: View, flow: Flow, gone: set[str]) -> list[Any]:
    """One row: what the document asks for, what law and convention allow of it, what left, what never did."""
    law, document = view.gateway.policy.table, view.gateway.document(flow.vers, flow.document)
    asked = codes_of(view.gateway.categories(document))
    agreed = flow.may_carry(law) & asked
    never = agreed - gone
    return [
        Lines(
            [
                say("personne.de_vers", de=view.body(flow.de), vers=view.body(flow.vers)),
                Quiet(law_words.purpose(law, flow.purpose)),
            ]
        ),
        view.document(flow.document),
        _fields(document.mapping),
        ", ".join(in_order(asked)) or "–",
        law_words.categories(agreed),
        law_words.categories(gone & asked),
        Lines([law_words.category(code) for code in in_order(never)])
        if gone and never
        else Quiet(say("minimisation.tout_sert" if gone else "minimisation.rien_envoye")),
    ]


def _fields(written: tuple[str, ...]) -> Any:
    """Fields of the recipient's form that the mapping fills."""
    rows = {
        path
        for one in written
        for mapping in [load(one)]
        if mapping.file.direction != "read"
        for path, row, _ in mapping.rows()
        if row.writes
    }
    return Num(len(rows)) if rows else "–"
