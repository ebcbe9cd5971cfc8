"""The shape of WebRSA's three ALI documents, from their tables in `schemas/partner/departement/`.

A table has one row per element: path, type, least and most occurrences, and the local code list its integer points
to. The same table checks what arrives, turns it into plain JSON, and puts what leaves in the order of the contract.
Children of a block come in any order (the contract uses `xs:all`): they are found by name, never by position.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, time
from functools import cache
from typing import Any

from lxml import etree

from schemas.partner import tables
from schemas.record import Finding

_INTEGER = re.compile(r"^[+-]?\d{1,18}$")
_INSTANT = re.compile(r"^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}(\.\d{1,3})?$")


def _is_day(text: str) -> bool:
    return _calendar(date.fromisoformat, text) and len(text) == 10


def _is_instant(text: str) -> bool:
    return bool(_INSTANT.match(text)) and _is_day(text[:10]) and _calendar(time.fromisoformat, text[11:19])


def _calendar(read: Callable[[str], Any], text: str) -> bool:
    try:
        read(text)
    except ValueError:
        return False
    return True


TYPES: dict[str, Callable[[str], bool]] = {
    "entier": lambda text: bool(_INTEGER.match(text)),
    "entier_positif": lambda text: bool(_INTEGER.match(text)) and int(text) > 0,
    "texte": lambda text: True,
    "date": _is_day,
    "heure": lambda text: bool(re.match(r"^\d{2}:\d{2}:\d{2}$", text)) and _calendar(time.fromisoformat, text),
    "annee": lambda text: bool(re.match(r"^\d{4}$", text)),
    "annee_mois": lambda text: bool(re.match(r"^\d{4}-(0[1-9]|1[0-2])$", text)),
    "instant": _is_instant,
    "drapeau": lambda text: text in {"0", "1"},
    "booleen": lambda text: text in {"0", "1", "true", "false"},
}
"""Simple types and what they accept. `instant` has a space and no zone; `drapeau` is 0 or 1, `booleen` also words."""


_ATTRIBUTES = frozenset({"referentiel"})
"""The only attribute of the three contracts: the list that an entry is of, which its element names already."""


@dataclass(frozen=True, slots=True)
class Node:
    """One element of a document. `most` is None when it may repeat without bound."""

    name: str
    path: str
    type: str
    least: int
    most: int | None
    liste: str
    children: dict[str, Node] = field(default_factory=dict)

    @property
    def repeats(self) -> bool:
        return self.most is None

    def under(self, *names: str) -> Node:
        node = self
        for name in names:
            node = node.children[name]
        return node

    def walk(self) -> Iterator[Node]:
        yield self
        for child in self.children.values():
            yield from child.walk()


@cache
def structure(table: str) -> Node:
    """The root of a document: `webrsa_ali`, `ali_webrsa` or `referentiel`."""
    nodes: dict[str, Node] = {}
    for row in tables.rows(f"departement/{table}"):
        path = row["path"]
        parent, _, name = path.rpartition("/")
        most = None if row["max"] == "n" else int(row["max"])
        nodes[path] = Node(name, path.partition("/")[2], row["type"], int(row["min"]), most, row["liste"])
        if parent:
            nodes[parent].children[name] = nodes[path]
    return next(iter(nodes.values()))


def check(element: etree._Element, node: Node) -> list[Finding]:
    """What in `element` departs from the contract: every finding rejects, and names the path, never the value."""
    found: list[Finding] = []
    _check(element, node, found)
    return found


def _check(element: etree._Element, node: Node, found: list[Finding]) -> None:
    if any(name not in _ATTRIBUTES for name in element.attrib):
        found.append(Finding("unknown-attribute", node.path, "reject"))
    if node.type != "bloc":
        text = (element.text or "").strip()
        if len(element) or not TYPES[node.type](text) or (node.type != "texte" and not text):
            found.append(Finding("bad-type", node.path, "reject", detail=f"expected {node.type}"))
        return
    if (element.text and not element.text.isspace()) or any(one.tail and not one.tail.isspace() for one in element):
        found.append(Finding("bad-type", node.path, "reject", detail="expected elements alone"))
    counts: dict[str, int] = {}
    for child in element:
        name = str(child.tag)
        counts[name] = counts.get(name, 0) + 1
        if name not in node.children:
            found.append(Finding("unknown-element", f"{node.path}/{name[:80]}", "reject"))
        else:
            _check(child, node.children[name], found)
    for name, child_node in node.children.items():
        count = counts.get(name, 0)
        if count < child_node.least:
            found.append(Finding("missing-element", child_node.path, "reject"))
        elif child_node.most is not None and count > child_node.most:
            found.append(Finding("repeated-element", child_node.path, "reject"))


def to_json(element: etree._Element, node: Node) -> dict[str, Any]:
    """A checked block as plain JSON: text leaves, lists where the contract repeats, empty texts left out."""
    found: dict[str, Any] = {}
    for child in element:
        inner = node.children[str(child.tag)]
        value: Any = to_json(child, inner) if inner.type == "bloc" else (child.text or "").strip()
        if value == "":
            continue
        if inner.repeats:
            found.setdefault(inner.name, []).append(value)
        else:
            found[inner.name] = value
    return found


def to_xml(value: dict[str, Any], node: Node) -> etree._Element:
    """A block as XML, children in the order of the table. `value` must already satisfy the contract."""
    element = etree.Element(node.name)
    for name, child in node.children.items():
        if name not in value:
            continue
        for item in value[name] if child.repeats else [value[name]]:
            if child.type == "bloc":
                element.append(to_xml(item, child))
            else:
                etree.SubElement(element, name).text = str(item)
    return element


def prune(value: dict[str, Any], node: Node) -> tuple[dict[str, Any] | None, list[str]]:
    """`value` without the blocks that the contract would refuse, and the paths of the mandatory fields they lack.

    Only blocks that hold something are spoken of: a form nobody filled is not a finding.
    """
    kept: dict[str, Any] = {}
    lacking: list[str] = []
    for name, child in node.children.items():
        if name not in value:
            continue
        items = value[name] if child.repeats else [value[name]]
        if child.type == "bloc":
            pruned = [prune(item, child) for item in items if item]
            lacking += [path for _, paths in pruned for path in paths]
            items = [item for item, _ in pruned if item is not None]
        if items:
            kept[name] = items if child.repeats else items[0]
    missing = [child.path for child in node.children.values() if child.least and child.name not in kept]
    if missing:
        blamed = [path for path in missing if not any(path in done or done.startswith(path) for done in lacking)]
        return None, lacking + blamed
    return (kept if kept else None), lacking


def serialize(root: etree._Element) -> bytes:
    """The bytes of a document, indented, in UTF-8."""
    etree.indent(root)
    data: bytes = etree.tostring(root, xml_declaration=True, encoding="UTF-8")
    return data + b"\n"
