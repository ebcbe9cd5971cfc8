"""The sheet a CCAS receives, in forms that its staff can open: a page, a workbook, a CSV.

Labels are French and come from one table (`schemas/partner/ccas/libelles.csv`); every cell is inert.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import Any

from jinja2 import Environment

from connectors.ccas.champs import labels
from connectors.table import XLSX, to_csv, to_xlsx
from schemas import nomenclatures
from schemas.normalisation import PARIS

FORMATS = {"csv": "text/csv; charset=utf-8", "xlsx": XLSX, "html": "text/html; charset=utf-8"}
_PAGE = """<!doctype html>
<html lang="fr">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{{ title }}</title>
<style>
body { font: 1rem/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; }
table { border-collapse: collapse; width: 100%; margin-bottom: 1.5rem; }
caption { text-align: left; font-weight: bold; font-size: 1.2rem; padding: .5rem 0; }
th, td { border: 1px solid #767676; padding: .35rem .6rem; text-align: left; vertical-align: top; }
@page { size: A4; margin: 15mm; }
@media print {
  body { font-size: 10pt; max-width: none; margin: 0; padding: 0; color: #000; }
  h1 { font-size: 14pt; margin: 0 0 4mm; }
  caption { font-size: 11pt; break-after: avoid; }
  thead { display: table-header-group; }
  tr { break-inside: avoid; }
  th, td { border-color: #000; overflow-wrap: anywhere; }
}
</style></head>
<body><main>
<h1>{{ title }}</h1>
{% for caption, headers, rows in tables %}
<table><caption>{{ caption }}</caption>
<thead><tr>{% for header in headers %}<th scope="col">{{ header }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell | jour }}</td>{% endfor %}</tr>{% endfor %}</tbody>
</table>
{% endfor %}
</main></body></html>
"""
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def _readable(cell: str) -> str:
    """A date as French writes it, a moment as Paris lives it; tables keep the form that can be sent back."""
    if _DAY.fullmatch(cell):
        return f"{cell[8:]}/{cell[5:7]}/{cell[:4]}"
    if _MOMENT.fullmatch(cell):
        return datetime.fromisoformat(cell).astimezone(PARIS).strftime("%d/%m/%Y à %H:%M")
    return cell


_ENVIRONMENT = Environment(autoescape=True)  # escaped always: the page holds other people's texts
_ENVIRONMENT.filters["jour"] = _readable
_TEMPLATE = _ENVIRONMENT.from_string(_PAGE)

Table = tuple[str, list[str], list[list[str]]]


@cache
def _labels() -> dict[tuple[str, str], str]:
    return {(kind, name): label for kind, name, label in labels()}


@cache
def _listed() -> dict[str, str]:
    """Situations and objectives in the words of their lists."""
    lists = ("crosswalk/freins_situations", "crosswalk/objectifs")
    return {code: one.libelle for name in lists for code, one in nomenclatures.codes(name).items()}


def label(name: str) -> str:
    """The French label of a field; the name itself when it has none."""
    return _labels().get(("champ", name), name)


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "Oui" if value else "Non"
    if isinstance(value, list):
        return ", ".join(_said(one) for one in value)
    text = str(value)
    return _labels().get(("valeur", text)) or _listed().get(text, text)


def tables(fiche: Mapping[str, Any]) -> list[Table]:
    """The sheet as captioned tables: the person first, then one table per kind of object."""
    simple = [[label(name), _said(value)] for name, value in fiche.items() if not _holds_objects(value)]
    found: list[Table] = [(label("personne"), [label("champ"), label("valeur")], simple)]
    for name, value in fiche.items():
        if isinstance(value, dict) and name != "sources":
            rows = [[label(field), _said(item)] for field, item in value.items()]
            found.append((label(name), [label("champ"), label("valeur")], rows))
        elif _holds_objects(value) and name != "sources":
            found += _objects(name, value)
    return found


def _holds_objects(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict) for one in value))


def _objects(name: str, items: Iterable[Mapping[str, Any]]) -> list[Table]:
    items = list(items)
    fields = list(dict.fromkeys(field for one in items for field, v in one.items() if not _holds_objects(v)))
    rows = [[_said(one[field]) if field in one else "" for field in fields] for one in items]
    found: list[Table] = [(label(name), [label(field) for field in fields], rows)]
    for inner in dict.fromkeys(field for one in items for field, v in one.items() if _holds_objects(v)):
        found += _objects(inner, [nested for one in items for nested in one.get(inner, [])])
    return found


def render(fiche: Mapping[str, Any], form: str) -> bytes:
    """The sheet as `csv`, `xlsx` or `html`. Raises `KeyError` for another form."""
    FORMATS[form]
    found = tables(fiche)
    if form == "html":
        return _TEMPLATE.render(title=label("fiche"), tables=found).encode("utf-8")
    if form == "xlsx":
        return to_xlsx({caption[:31]: (headers, rows) for caption, headers, rows in found})
    rows = [[caption, *cells] for caption, _, lines in found for cells in lines]
    width = max((len(row) for row in rows), default=1)
    head = [label("rubrique"), *[f"{label('valeur')} {n}" for n in range(1, width)]]
    return to_csv(head, [row + [""] * (width - len(row)) for row in rows])
