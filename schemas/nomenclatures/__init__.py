"""Code lists as data, one CSV per list, and the bridges between them.

`codes("cnaf/ETATDOSRSA")` is one list; `codes("dsp")` joins the lists of a folder under `LIST:code`, because DSP codes
repeat from one list to another. `crosswalk("freins")` gives the rows of a bridge. A label is kept to be compared,
never to be looked up: the code decides, and a label that contradicts it is a reason to stop.
Sources: column `source` of each list, `SOURCES` for the lists that have none.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from schemas.nomenclatures.labels import clean_label

__all__ = ["SOURCES", "Code", "UnknownList", "codes", "crosswalk", "excluded_codes", "lists"]

_FOLDER = Path(__file__).parent
SOURCES = {
    "cnaf": "WebRSA, listes de codes CNAF (CeCILL v2)",
    "crosswalk": "Maillon, correspondances relues",
    "data_inclusion": "data·inclusion v1 (Licence Ouverte 2.0)",
    "dsp": "WebRSA, données socio-professionnelles (CeCILL v2)",
    "france_travail": "France Travail, exemples publics des API partenaires",
}
_NOT_CODE_LISTS = frozenset(
    {"cnaf/INDEX", "cnaf/sensitive_codes", "dsp/index"}
    | {"crosswalk/categories", "crosswalk/categories_t3", "crosswalk/exclus", "crosswalk/libelles_departement"}
    | {"crosswalk/anciens_noms"}
)
_CLOSED_LIST = "liste fermée : "


class UnknownList(KeyError):
    """No code list of that name."""


@dataclass(frozen=True, slots=True)
class Code:
    """One code. What its source does not give is empty."""

    code: str
    libelle: str
    definition: str = ""
    source: str = ""
    parent: str = ""


@cache
def lists() -> tuple[str, ...]:
    """Names of all code lists, `folder/LIST`."""
    files = {f"{path.parent.name}/{path.stem}" for path in _FOLDER.glob("*/*.csv")} - _NOT_CODE_LISTS
    files = {f"dsp/{name.removeprefix('dsp/').upper()}" if name.startswith("dsp/") else name for name in files}
    return tuple(sorted(files | {f"dsp/{name}" for name in _closed_dsp_lists()}))


@cache
def codes(name: str) -> Mapping[str, Code]:
    """The codes of a list, in the order of the source; several lists joined by `|`; a folder under `LIST:code`.

    A list that repeats its codes is keyed by `parent:code`. Raises `UnknownList`.
    """
    if "|" in name:
        return MappingProxyType({code: entry for part in name.split("|") for code, entry in codes(part).items()})
    if "/" not in name:
        return _folder(name)
    folder, _, short = name.partition("/")
    if folder == "dsp" and short in _closed_dsp_lists():
        return _closed_dsp_lists()[short]
    if name not in lists():
        raise UnknownList(name)
    rows = list(_entries(_FOLDER / folder / f"{short.lower() if folder == 'dsp' else short}.csv", SOURCES[folder]))
    repeated = any(count > 1 for count in Counter(entry.code for entry in rows).values())
    return MappingProxyType({f"{entry.parent}:{entry.code}" if repeated else entry.code: entry for entry in rows})


def _folder(folder: str) -> Mapping[str, Code]:
    members = [name for name in lists() if name.startswith(f"{folder}/")]
    if not members:
        raise UnknownList(folder)
    return MappingProxyType(
        {f"{name.partition('/')[2]}:{code}": entry for name in members for code, entry in codes(name).items()}
    )


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, strict=True)


def _entries(path: Path, source: str) -> Iterator[Code]:
    for row in _rows(path):
        first = next(iter(row.values()))
        label = row.get("label") or row.get("libelle") or row.get("ft_libelle") or row.get("carnet_libelle") or first
        yield Code(
            code=row.get("code", first),
            libelle=clean_label(label),
            definition=row.get("description") or row.get("note") or "",
            source=row.get("source") or source,
            parent=row.get("parent") or row.get("theme_canonique") or row.get("categorie") or "",
        )


@cache
def _closed_dsp_lists() -> Mapping[str, Mapping[str, Code]]:
    """The DSP answers that have no file of their own: their values are in the index (`N=Non | O=Oui`)."""
    found = {}
    for row in _rows(_FOLDER / "dsp" / "index.csv"):
        if not row["fichier"] and row["objet"].startswith(_CLOSED_LIST):
            pairs = (pair.split("=") for pair in row["objet"].removeprefix(_CLOSED_LIST).split(" | "))
            values = {code: Code(code, label, source=SOURCES["dsp"], parent=row["liste"]) for code, label in pairs}
            found[row["liste"]] = MappingProxyType(values)
    return MappingProxyType(found)


@cache
def crosswalk(name: str) -> tuple[Mapping[str, str], ...]:
    """The rows of a bridge, columns by name; a cell may hold several values joined by `|`. Raises `UnknownList`."""
    path = _FOLDER / "crosswalk" / f"{name}.csv"
    if not name.isidentifier() or not path.is_file():
        raise UnknownList(f"crosswalk/{name}")
    return tuple(MappingProxyType(row) for row in _rows(path))


@cache
def sensitive_codes() -> Mapping[str, str]:
    """CNAF codes that reveal health or a suspicion of fraud: `LIST:code` to its nature."""
    rows = _rows(_FOLDER / "cnaf" / "sensitive_codes.csv")
    return MappingProxyType({f"{row['list']}:{row['code']}": row["nature"] for row in rows})


@cache
def excluded_codes(name: str) -> frozenset[str]:
    """Codes of a list that are never read into the record (child protection, protection of adults), `|` accepted."""
    return frozenset(row["code"] for row in crosswalk("exclus") if row["liste"] in name.split("|"))
