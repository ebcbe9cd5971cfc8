"""Canonical paths: what each one is, which category it belongs to, and facts to dossier and back.

The index is built once from the models; afterwards a path without brackets costs one dict lookup, a path with
brackets one substitution more. No concrete path is ever cached: keys may hold a telephone number.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from schemas import nomenclatures
from schemas.champ import Niveau, Sujet
from schemas.dossier import Dossier
from schemas.normalisation import looks_like_nir
from schemas.record import NON_PARTAGE, Fact, Facts, Finding
from schemas.types import Nature


class UnknownPath(KeyError):
    """No canonical field has this path. The message gives its shape, never a key."""

    def __init__(self, path: str) -> None:
        super().__init__(f"unknown canonical path {shape(path)}")


@dataclass(frozen=True, slots=True)
class Cle:
    """What names an item of a list: its form, and the code list it belongs to."""

    nom: str
    motif: re.Pattern[str]
    liste: str | None
    personnelle: bool

    def accepts(self, key: str) -> bool:
        return bool(self.motif.fullmatch(key)) and key.isprintable()

    def knows(self, key: str) -> bool:
        return self.liste is None or key in nomenclatures.codes(self.liste)


@dataclass(frozen=True, slots=True)
class Champ:
    """A canonical field, all items of its lists together."""

    path: str
    """Shape: `freins[].situations[].valeur`."""
    categorie: str
    niveau: Niveau
    autorite: str
    """One letter per authority, strongest first."""
    sujet: Sujet
    type: str
    """`texte`, `entier`, `booleen`, `date`, `date_partielle`, `instant`, `decimal`, `code` or `ref`."""
    multiple: bool
    """The value is a list of text."""
    liste: str | None
    valeurs: tuple[str, ...]
    """The closed list of values, when it is part of the model."""
    description: str
    repete_cle: bool
    """The value must be the key of its item."""
    cles: tuple[Cle, ...]
    annotation: Any
    """The Python type of the value, constraints included."""

    def codes(self) -> frozenset[str] | None:
        """The codes that the field may hold; None when it is not coded."""
        if self.valeurs:
            return frozenset(self.valeurs)
        return frozenset(nomenclatures.codes(self.liste)) if self.liste else None


# --- the index ------------------------------------------------------------------------------------------------------


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The members of `X | None` but None, `Annotated` kept."""
    if get_origin(annotation) in (Union, types.UnionType):
        yield from (member for member in get_args(annotation) if member is not type(None))
    else:
        yield annotation


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if hasattr(annotation, "__metadata__") else annotation


def _model(annotation: Any) -> type[BaseModel] | None:
    inner = _bare(next(_alternatives(annotation)))
    return inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None


def _extra(info: FieldInfo) -> dict[str, Any]:
    return dict(info.json_schema_extra) if isinstance(info.json_schema_extra, dict) else {}


def _type(annotation: Any) -> tuple[str, bool, tuple[str, ...]]:
    """Name of the value type, whether it is a list, and its closed values."""
    inner = next(_alternatives(annotation))
    if get_origin(inner) is list:
        name, _, values = _type(get_args(inner)[0])
        return name, True, values
    for mark in getattr(inner, "__metadata__", ()):
        if isinstance(mark, Nature):
            return mark.nom, False, ()
    if get_origin(inner) is Literal:
        return "code", False, tuple(map(str, get_args(inner)))
    return {bool: "booleen", int: "entier", str: "texte"}[_bare(inner)], False, ()


def _leaf(path: str, info: FieldInfo, said: dict[str, Any], cles: tuple[Cle, ...]) -> Champ:
    name, multiple, values = _type(info.annotation)
    annotation: Any = next(_alternatives(info.annotation))
    if info.metadata:
        annotation = Annotated[(annotation, *info.metadata)]
    return Champ(
        path=path,
        categorie=said["categorie"],
        niveau=said["niveau"],
        autorite=said["autorite"],
        sujet=said["sujet"],
        type=name,
        multiple=multiple,
        liste=said.get("liste"),
        valeurs=values,
        description=info.description or "",
        repete_cle=said.get("cle") == "oui",
        cles=cles,
        annotation=annotation,
    )


def _walk(model: type[BaseModel], prefix: str, inherited: dict[str, Any], cles: tuple[Cle, ...]) -> Iterator[Champ]:
    for name, info in model.model_fields.items():
        path, said = f"{prefix}{name}", _extra(info)
        if "categorie" not in said:
            said = {**inherited, **said}
        if get_origin(info.annotation) is dict:
            cle = Cle(said["nom_cle"], re.compile(said["motif"]), said.get("liste"), "personnelle" in said)
            yield from _walk(get_args(info.annotation)[1], f"{path}[].", {}, (*cles, cle))
        elif nested := _model(info.annotation):
            yield from _walk(nested, f"{path}.", said, cles)
        else:
            yield _leaf(path, info, said, cles)


FIELDS: Mapping[str, Champ] = types.MappingProxyType({champ.path: champ for champ in _walk(Dossier, "", {}, ())})
"""Every canonical field by its shape."""


def shape(path: str) -> str:
    """The path without the keys: `freins[].situations[].valeur`."""
    head, bracket, rest = path.partition("[")
    return f"{head}[]{shape(rest.partition(']')[2])}" if bracket else path


def keys(path: str) -> list[str]:
    """The keys of a concrete path, outermost first."""
    found, (_, bracket, rest) = [], path.partition("[")
    while bracket:
        key, _, rest = rest.partition("]")
        found.append(key)
        _, bracket, rest = rest.partition("[")
    return found


def field(path: str) -> Champ:
    """The field of a concrete path or of a shape. Raises `UnknownPath`."""
    found = FIELDS.get(path) or FIELDS.get(shape(path))
    if found is None:
        raise UnknownPath(path)
    return found


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


def _of_value(champ: Champ, found: str, value: Any) -> str:
    if champ.path in _MAY_BE_NIR and isinstance(value, str) and looks_like_nir(value):
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


# --- checking -------------------------------------------------------------------------------------------------------

_BAD = {
    "date": "bad-date", "date_partielle": "bad-date", "instant": "bad-instant", "decimal": "bad-number",
    "entier": "bad-number", "booleen": "bad-boolean", "code": "unknown-code",
}  # fmt: skip


@cache
def _adapter(shape_: str) -> TypeAdapter[Any]:
    return TypeAdapter(FIELDS[shape_].annotation, config={"strict": True, "hide_input_in_errors": True})


def check(facts: Mapping[str, Any]) -> list[Finding]:
    """What is wrong in these facts: unknown paths and keys, values of the wrong type, codes outside their list."""
    findings: list[Finding] = []
    for path, value in facts.items():
        value = value.value if isinstance(value, Fact) else value
        champ = FIELDS.get(shape(path))
        if champ is None or len(champ.cles) != len(keys(path)):
            findings.append(Finding("unknown-path", shape(path)))
        elif bad_key := _check_keys(path, champ):
            findings.append(bad_key)
        elif bad_value := _check_value(path, champ, value):
            findings.append(bad_value)
    return findings


def _public(path: str, champ: Champ) -> str:
    """The path with the keys that are codes of a list, without those that may identify someone."""
    named = _named_keys(path, champ)
    kept = [key if cle.liste and cle.knows(key) else "" for cle, key in named]
    return "".join(
        f"{piece}[{key}]" for piece, key in zip(champ.path.split("[]"), [*kept, ""], strict=True)
    ).removesuffix("[]")


def _named_keys(path: str, champ: Champ) -> list[tuple[Cle, str]]:
    return list(zip(champ.cles, keys(path), strict=True)) if champ.cles else []


def _check_keys(path: str, champ: Champ) -> Finding | None:
    for cle, key in _named_keys(path, champ):
        if not cle.accepts(key):
            return Finding("bad-key", champ.path, raw=key, detail=f"expected: {cle.nom}")
        if not cle.knows(key):
            return Finding("unknown-code", champ.path, raw=key, detail=f"list {cle.liste}")
    if champ.path.startswith("freins[].situations[]."):
        theme, situation = (key for _, key in _named_keys(path, champ))
        if nomenclatures.codes("crosswalk/freins_situations")[situation].parent != theme:
            return Finding("wrong-theme", _public(path, champ), raw=situation, detail="situation of another theme")
    return None


def _check_value(path: str, champ: Champ, value: Any) -> Finding | None:
    try:
        _adapter(champ.path).validate_python(value)
    except ValidationError:
        return Finding(_BAD.get(champ.type, "bad-text"), _public(path, champ), raw=str(value), detail=_expected(champ))
    if value == []:
        return Finding("empty-value", _public(path, champ), detail="absent is absent")
    if champ.repete_cle and value != _named_keys(path, champ)[-1][1]:
        return Finding("key-mismatch", champ.path, raw=str(value), detail="the value must be the key of its item")
    if champ.liste:
        known = nomenclatures.codes(champ.liste)
        for code in value if champ.multiple else [value]:
            if code not in known and code != NON_PARTAGE:
                return Finding("unknown-code", _public(path, champ), raw=str(code), detail=f"list {champ.liste}")
    return None


def _expected(champ: Champ) -> str:
    kind = " | ".join(champ.valeurs) or champ.type
    return f"expected: list of {kind}" if champ.multiple else f"expected: {kind}"


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
