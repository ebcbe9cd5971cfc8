"""Canonical paths: what each one is, which category it belongs to, and facts to dossier and back.

`field`, `shape`, `keys` come from `schemas.fields`, `check` from `schemas.checking`: this module is the one to import.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from schemas import nomenclatures
from schemas.champ import Niveau
from schemas.checking import check, check_value
from schemas.dossier import Dossier
from schemas.fields import FIELDS, Champ, Cle, Shapes, UnknownPath, by_shape, field, keys, shape
from schemas.normalisation import looks_like_nir
from schemas.record import Fact, Facts, Finding

__all__ = [
    "FIELDS", "Champ", "Cle", "InvalidFacts", "Shapes", "UnknownPath", "build", "by_shape", "categorie", "categories",
    "check", "check_value", "field", "flatten", "keys", "niveau", "shape",
]  # fmt: skip

# --- category of a concrete path ------------------------------------------------------------------------------------

_STRICTEST = ("sante", "justice", "finances", "logement")


@cache
def _open_categories() -> tuple[dict[str, str], dict[str, str]]:
    """T3 situations and objectives to their category, then theme to the category of its details."""
    said = {row["code"]: row["categorie"] for row in nomenclatures.crosswalk("categories_t3")}
    themes = {code.removeprefix("theme:"): kind for code, kind in said.items() if code.startswith("theme:")}
    closed: dict[str, str] = {}
    for bridge, column in (("freins_situations", "situation_canonique"), ("objectifs", "objectif_canonique")):
        for row in nomenclatures.crosswalk(bridge):
            if row["niveau_sensibilite"] == "T3":
                closed[row[column]] = said.get(row[column]) or themes[row["theme_canonique"]]
    return closed, themes


def _of_situation(path: str, champ: Champ) -> str:
    theme, code = keys(path)
    if code in nomenclatures.codes("crosswalk/freins_situations"):
        return _open_categories()[0].get(code, champ.categorie)
    return _open_categories()[1].get(theme, _STRICTEST[0])


def _of_objectif(path: str, champ: Champ) -> str:
    (code,) = keys(path)
    if code in nomenclatures.codes("crosswalk/objectifs"):
        return _open_categories()[0].get(code, champ.categorie)
    return _STRICTEST[0]


def _of_identifiant(path: str, champ: Champ) -> str:
    return "nir" if path.startswith(("identifiants[nir]", "identifiants[nir:")) else champ.categorie


_BY_KEY = {
    shape_: resolve
    for prefix, resolve in (
        ("freins[].situations[].", _of_situation),
        ("objectifs[].", _of_objectif),
        ("identifiants[].", _of_identifiant),
    )
    for shape_ in FIELDS
    if shape_.startswith(prefix)
}
_MAY_BE_NIR = frozenset({"foyer.matricule", "identifiants[].valeur", "identifiants[].valeur_normalisee"})
_REVEALING_LISTS = frozenset({"crosswalk/objectifs", "crosswalk/freins_situations"})


def categorie(path: str, value: Any = None) -> str:
    """The category that permission is asked for, of a concrete path. Raises `UnknownPath`.

    A T3 situation or objective takes the category of its theme; an unknown one takes the strictest. With the value,
    two more cases are seen: a number of another system that is a NIR, and a reference to a T3 objective.
    """
    champ = FIELDS.get(path) or field(path)
    resolve = _BY_KEY.get(champ.path)
    found = resolve(path, champ) if resolve and "[]" not in path else champ.categorie
    return found if value is None else _of_value(champ, found, value)


def categories(told: Shapes) -> set[str]:
    """The categories that permission is asked for, of all these paths. Raises `UnknownPath`."""
    return {
        category
        for shape_, its in told.items()
        for category in (map(categorie, its) if shape_ in _BY_KEY else (field(shape_).categorie,))
    }


def _of_value(champ: Champ, found: str, value: Any) -> str:
    if found != "nir" and champ.path in _MAY_BE_NIR and isinstance(value, str) and looks_like_nir(value):
        return "nir"
    if champ.liste in _REVEALING_LISTS:
        closed = _open_categories()[0]
        revealed = {closed[code] for code in (value if isinstance(value, list) else [value]) if code in closed}
        return next((kind for kind in _STRICTEST if kind in revealed), found)
    return found


def niveau(path: str, value: Any = None) -> Niveau:
    """The sensitivity level of a concrete path: T3 as soon as its category is a closed one. Raises `UnknownPath`."""
    champ = field(path)
    return champ.niveau if categorie(path, value) == champ.categorie else "T3"


# --- facts to dossier and back --------------------------------------------------------------------------------------


class InvalidFacts(ValueError):
    """Facts that no dossier can hold. `findings` says why, without any value."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__(", ".join(sorted({f"{finding.code} {finding.path}" for finding in findings})))
        self.findings = findings


def build(facts: Mapping[str, Any]) -> Dossier:
    """The dossier that these facts make, values plain or with their provenance, from any number of sources.

    A code outside its list is kept as it is (`check` names it). Raises `UnknownPath`, or `InvalidFacts` when a value
    has not the form of its field.
    """
    tree: dict[str, Any] = {}
    for path, value in facts.items():
        named, node, last = iter(keys(path)), tree, ""
        for name in field(path).path.split("."):
            node = node.setdefault(last, {}) if last else node
            last = name
            if name.endswith("[]"):
                node, last = node.setdefault(name[:-2], {}), next(named)
        node[last] = value.value if isinstance(value, Fact) else value
    try:
        return Dossier.model_validate(tree)
    except ValidationError:
        raise InvalidFacts(check(facts)) from None


def flatten(dossier: Dossier) -> Facts:
    """The facts of a dossier: `build`'s inverse. An item or a compound without any value leaves no fact."""
    return dict(_facts(dossier, ""))


def _facts(node: BaseModel, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in node:
        if isinstance(value, BaseModel):
            yield from _facts(value, f"{prefix}{name}.")
        elif isinstance(value, dict):
            for key, item in value.items():
                yield from _facts(item, f"{prefix}{name}[{key}].")
        elif value is not None:
            yield f"{prefix}{name}", value
