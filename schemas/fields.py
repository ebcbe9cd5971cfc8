"""The index of the canonical fields, built once from the models.

Afterwards a path without brackets costs one dict lookup, a path with brackets a few string cuts more. No concrete
path is ever cached: keys may hold a telephone number.
"""

from __future__ import annotations

import re
import types
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import filterfalse
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from schemas import nomenclatures
from schemas.champ import Niveau, Sujet
from schemas.dossier import Dossier
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
_NAMES = frozenset(FIELDS)
_KEY = re.compile(r"\[[^\[\]\0]*\]")


def shape(path: str) -> str:
    """The path without the keys: `freins[].situations[].valeur`."""
    head, bracket, rest = path.partition("[")
    return f"{head}[]{shape(rest.partition(']')[2])}" if bracket else path


Shapes = Mapping[str, list[str]]
"""Some paths, under the shape of each."""


def by_shape(told: Collection[str]) -> Shapes:
    """These paths under their shapes, which are cut in one go: most of what is asked of many paths depends on their
    shapes alone, which are few."""
    shapes = _KEY.sub("[]", "\0".join(told)).split("\0")
    if len(shapes) != len(told):  # a key holds what stands between them
        shapes = list(map(shape, told))
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path, its in zip(told, shapes, strict=True):
        found[its].append(path)
    return found


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


def of_today(facts: dict[str, Any]) -> dict[str, Any]:
    """Those of these facts whose field the model still has; looked at in one go, since every set that is read is."""
    keyed = "\0".join(filterfalse(_NAMES.__contains__, facts))
    if not keyed or _NAMES.issuperset(_KEY.sub("[]", keyed).split("\0")):
        return facts
    return {path: value for path, value in facts.items() if shape(path) in _NAMES}
