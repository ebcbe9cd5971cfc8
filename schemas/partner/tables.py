"""Partner documents as tables: one CSV row per block or element, in document order, and the XSD made from it.

The tables are this project's own; the caisses' schemas are not copied. Columns: `path`, `type` (`bloc`, `string`,
`integer`, `decimal`, `date`, `time`, `boolean`, `gYear`), `size` (characters, digits, or `digits.decimals`), `min`,
`max` (`n`: unbounded), `libelle`, `categorie`, `origine` (where the row comes from when it was not published).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from lxml import etree

FOLDER = Path(__file__).parent
_XSD = "http://www.w3.org/2001/XMLSchema"
TYPES = frozenset({"string", "integer", "decimal", "date", "time", "boolean", "gYear"})


class UnknownTable(KeyError):
    """No document of that name is described."""


@dataclass(frozen=True, slots=True)
class Element:
    """A block (it has children) or an element (it has a type) of a partner's document."""

    path: str
    type: str
    digits: int | None
    """Most characters of a text, most digits of a number."""
    decimals: int | None
    min: int
    max: int | None
    """None: any number."""
    libelle: str
    categorie: str
    origine: str
    children: tuple[Element, ...] = ()

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    def walk(self) -> Iterator[Element]:
        """Itself and everything under it, in document order."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True, slots=True)
class Table:
    """One document of one partner. `id` is `caf/vrsb0801`."""

    id: str
    root: Element

    def elements(self) -> Mapping[str, Element]:
        """Every block and element by its path from the root."""
        return MappingProxyType({element.path: element for element in self.root.walk()})


def rows(name: str) -> list[dict[str, str]]:
    """The rows of the table `partner/document`, whatever its columns. Raises `UnknownTable`."""
    path = FOLDER / f"{name}.csv"
    if not path.resolve().is_relative_to(FOLDER) or not path.is_file():
        raise UnknownTable(name)
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


@cache
def load(name: str) -> Table:
    """The table `partner/document`. Raises `UnknownTable`; `ValueError` names the row of a table that is wrong."""
    first, *others = rows(name)
    children: dict[str, list[dict[str, str]]] = {}
    known = {first["path"]}
    for row in others:
        parent = row["path"].rpartition("/")[0]
        if parent not in known or row["path"] in known or (row["type"] != "bloc" and row["type"] not in TYPES):
            raise ValueError(f"{name}: row {row['path']} is out of place, repeated or of unknown type")
        known.add(row["path"])
        children.setdefault(parent, []).append(row)
    return Table(name, _element(first, children))


def _element(row: dict[str, str], children: dict[str, list[dict[str, str]]]) -> Element:
    digits, _, decimals = row["size"].partition(".")
    return Element(
        path=row["path"],
        type=row["type"],
        digits=int(digits) if digits else None,
        decimals=int(decimals) if decimals else None,
        min=int(row["min"]),
        max=None if row["max"] == "n" else int(row["max"]),
        libelle=row["libelle"],
        categorie=row["categorie"],
        origine=row["origine"],
        children=tuple(_element(child, children) for child in children.get(row["path"], ())),
    )


@cache
def xsd(name: str) -> bytes:
    """An XML Schema 1.0 of the document, without target namespace, blocks as strict sequences."""
    schema = etree.Element(f"{{{_XSD}}}schema", nsmap={"xsd": _XSD})
    _declare(schema, load(name).root, at_root=True)
    return bytes(etree.tostring(schema, xml_declaration=True, encoding="UTF-8", pretty_print=True))


def _add(parent: etree._Element, tag: str, **attributes: str) -> etree._Element:
    return etree.SubElement(parent, f"{{{_XSD}}}{tag}", attributes)


def _declare(parent: etree._Element, element: Element, *, at_root: bool = False) -> None:
    node = _add(parent, "element", name=element.name)
    if not at_root and element.min != 1:
        node.set("minOccurs", str(element.min))
    if not at_root and element.max != 1:
        node.set("maxOccurs", "unbounded" if element.max is None else str(element.max))
    if element.children:
        sequence = _add(_add(node, "complexType"), "sequence")
        for child in element.children:
            _declare(sequence, child)
        return
    restriction = _add(_add(node, "simpleType"), "restriction", base=f"xsd:{element.type}")
    if element.digits is not None and element.type in ("string", "integer", "decimal"):
        facet = "maxLength" if element.type == "string" else "totalDigits"
        _add(restriction, facet, value=str(element.digits))
    if element.decimals is not None:
        _add(restriction, "fractionDigits", value=str(element.decimals))


@cache
def validator(name: str) -> etree.XMLSchema:
    """The compiled schema of the document."""
    return etree.XMLSchema(etree.fromstring(xsd(name)))
