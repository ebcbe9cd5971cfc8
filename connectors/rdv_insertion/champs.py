"""The white list of rdv-insertion's objects: a field that is not in the table, or not to be read, goes no further."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from schemas.partner import tables
from schemas.record import Finding

_NAME = re.compile(r"^[a-z_][a-z0-9_]{0,60}$")
_JSON: dict[str, tuple[type, ...]] = {"booleen": (bool,), "entier": (int,), "identifiant": (int, str)}


@dataclass(frozen=True, slots=True)
class Champ:
    nom: str
    type: str
    lu: bool
    motif: str
    entetes: tuple[str, ...]

    @property
    def objet(self) -> str:
        """What it holds: one (`objet:`) or several (`objets:`)."""
        return self.type.partition(":")[2]

    @property
    def several(self) -> bool:
        return self.type.startswith("objets:")


@cache
def champs(objet: str) -> dict[str, Champ]:
    """The fields of one object, by name."""
    return {
        row["champ"]: Champ(
            row["champ"], row["type"], row["lu"] == "oui", row["motif"], tuple(filter(None, row["entetes"].split("|")))
        )
        for row in tables.rows("rdv_insertion/champs")
        if row["objet"] == objet
    }


@cache
def columns() -> dict[str, Champ]:
    """Column titles of the user table, reduced, to the field they name."""
    fields = champs("user").values()
    return {title: c for c in fields for title in c.entetes} | {c.nom.replace("_", " "): c for c in fields}


def allowed(value: Any, objet: str, path: str, findings: list[Finding]) -> dict[str, Any]:
    """`value` with only what is read. Unknown fields are told as notices: this sender adds some at each release."""
    if not isinstance(value, dict):
        findings.append(Finding("bad-type", path, "reject", detail="expected an object"))
        return {}
    kept: dict[str, Any] = {}
    for name, item in value.items():
        champ, where = champs(objet).get(name), f"{path}.{name}"
        if champ is None:
            told = where if _NAME.match(name) else f"{path}.?"
            findings.append(Finding("unknown-field", told, "notice"))
        elif champ.lu and item not in (None, ""):
            if not champ.objet:
                _scalar(kept, champ, item, where, findings)
            elif champ.several and not isinstance(item, list):
                findings.append(Finding("bad-type", where, "reject", detail="expected an array"))
            elif champ.several:
                kept[name] = [allowed(one, champ.objet, f"{where}[{n}]", findings) for n, one in enumerate(item)]
            else:
                kept[name] = allowed(item, champ.objet, where, findings)
    return kept


def _scalar(kept: dict[str, Any], champ: Champ, item: Any, path: str, findings: list[Finding]) -> None:
    expected = _JSON.get(champ.type, (str,))
    if not isinstance(item, expected) or (item.__class__ is bool and bool not in expected):
        findings.append(Finding("bad-type", path, "quarantine", detail=f"expected {champ.type}"))
    else:
        kept[champ.nom] = str(item) if champ.type == "identifiant" else item
