"""What each body need not type, types again all the same, or contradicts: the last reading of the meter."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from connectors.table import to_csv
from gateway import canonical, clock, meter_readings
from gateway.console.blocks import Facts, Figures, Lines, Link, Notice, Num, Page, Table, Text, Title, When
from gateway.console.common import Answer, Download, Place, View
from gateway.meter import Count
from gateway.meter_readings import Reading
from gateway.problems import Unknown
from gateway.words import many, number, say, says, seconds

FILES = ("double-saisie.csv", "double-saisie.json")
_EXPLAINED = ("champs", "remplis", "part", "propres", "vides", "retapes", "contredits")


def places() -> list[Place]:
    """The page and its files; counts of bodies and documents, of nobody."""
    roles = ("dpo", "integration")
    return [
        Place("/console/double-saisie", double_entry, roles),
        Place("/console/double-saisie/{name}", download, roles),
    ]


def double_entry(view: View) -> Page:
    """The last reading, by recipient and document; how each count is made; the months before."""
    reading, every = meter_readings.last(view.work), view.gateway.settings.meter_every
    page = Page(say("double_saisie.titre"), [Text(say("double_saisie.intro"), lead=True)])
    if not every:
        page.blocks.append(Notice(say("double_saisie.arrete")))
    elif reading is None:
        page.blocks.append(Notice(say("double_saisie.jamais")))
    elif clock.now() - datetime.fromisoformat(reading.read_at) > timedelta(seconds=2 * every):
        page.blocks.append(Notice(say("double_saisie.ancien")))
    if reading is not None:
        page.blocks += [*_told(reading, every), _table(view, reading)]
    page.blocks.append(Title(say("double_saisie.comment")))
    page.blocks.append(Facts([(say(f"double_saisie.{one}"), say(f"double_saisie.{one}_sens")) for one in _EXPLAINED]))
    if reading is not None:
        page.blocks += [Title(say("double_saisie.mois_titre")), _months(view)]
    return page


def _told(reading: Reading, every: float) -> list[Any]:
    again, conflict, lost = (reading.total(one) for one in ("typed_again", "in_conflict", "not_written"))
    told: list[Any] = [
        Figures(
            [
                (say("double_saisie.remplis"), Num(reading.total("filled")), "good"),
                (say("double_saisie.part"), _share(reading.counts), "good"),
                (say("double_saisie.retapes"), Num(again), "wait" if again else ""),
                (say("double_saisie.contredits"), Num(conflict), "wait" if conflict else ""),
            ]
        ),
        Facts(
            [
                (say("double_saisie.releve_du"), When(reading.read_at)),
                *([(say("double_saisie.rythme"), seconds(every))] if every else []),
                (
                    say("double_saisie.emporter"),
                    Lines([Link(name, f"/console/double-saisie/{name}") for name in FILES]),
                ),
            ]
        ),
    ]
    return [Notice(many("double_saisie.non_ecrits", lost), "bad"), *told] if lost else told


def _table(view: View, reading: Reading) -> Table:
    rows = [
        [
            view.body(one.recipient),
            view.document(one.document),
            Num(one.persons),
            Num(one.fields_total),
            Num(one.filled),
            _share([one]),
            Num(one.own),
            Num(one.empty),
            Num(one.typed_again),
            Num(one.in_conflict),
        ]
        for one in reading.counts
    ]
    heads = says("double_saisie", "organisme", "document", "personnes", *_EXPLAINED)
    numbers = frozenset(range(2, len(heads)))
    return Table("releve", say("double_saisie.legende"), heads, rows, say("double_saisie.vide"), numbers)


def _months(view: View) -> Table:
    rows = [
        [
            When(one.read_at),
            Num(one.total("fields_total")),
            Num(one.total("filled")),
            _share(one.counts),
            Num(one.total("typed_again")),
            Num(one.total("in_conflict")),
        ]
        for one in meter_readings.monthly(view.work)
    ]
    keys = ("releve_du", "champs", "remplis", "part", "retapes", "contredits")
    heads = says("double_saisie", *keys)
    return Table("mois", say("double_saisie.mois_legende"), heads, rows, numbers=frozenset(range(1, len(heads))))


def _share(counts: Iterable[Count]) -> str:
    """Of the fields of forms, those that nobody has to type; rounded down, so that 100 % is all of them. The shared
    record itself is no form: it has no field but those it carries."""
    forms = [one for one in counts if one.document != canonical.ID]
    filled, fields_total = sum(one.filled for one in forms), sum(one.fields_total for one in forms)
    return f"{number(100 * filled // fields_total)}\u202f%" if fields_total else "–"


def download(view: View) -> Answer:
    """The last reading as a table or as JSON."""
    name, reading = view.at("name"), meter_readings.last(view.work)
    if name not in FILES or reading is None:
        raise Unknown("reading-unknown", "Choose one of the files of the page.")
    lines = [one.line() for one in reading.counts]
    if name.endswith(".json"):
        content = json.dumps({"read_at": reading.read_at, "counts": lines}, ensure_ascii=False, indent=1).encode()
        return Download(content, "application/json", name)
    columns = [*(one.name for one in fields(Count)), "fields_total"]
    rows = [[*(str(one[column]) for column in columns), reading.read_at] for one in lines]
    return Download(to_csv([*columns, "read_at"], rows), "text/csv; charset=utf-8", name)
