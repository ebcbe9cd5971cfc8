"""Holding one record against the partner's schema.

A broken structure or an unreadable value rejects the record with its place; an element that the schema does not know
only quarantines it, for every version of these files has added some.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from functools import cache

from lxml import etree

from schemas.partner import tables
from schemas.record import Finding

_XSD = "{http://www.w3.org/2001/XMLSchema}"
SCHEMAS = {"caf.flux_beneficiaire": ("caf/vrsb0801", "InfosFoyerRSA")}
"""Documents whose schema is published. The application files' exact cardinalities are unknown: their mapping judges."""
MAX_ERRORS = 5
_MISPLACED = frozenset({"SCHEMAV_ELEMENT_CONTENT", "SCHEMAV_CVC_ELT_1", "SCHEMAV_CVC_COMPLEX_TYPE_2_4"})


LOT = "lot"
"""Element that holds a few records parsed together; never in a partner's file."""


@cache
def schema(document: str) -> etree.XMLSchema:
    """The schema of one record of this document, or of several under `LOT`: the table's, with the record apart."""
    table, record = SCHEMAS[document]
    whole = etree.fromstring(tables.xsd(table))
    element = next(one for one in whole.iter(f"{_XSD}element") if one.get("name") == record)
    for occurs in ("minOccurs", "maxOccurs"):
        if occurs in element.attrib:
            del element.attrib[occurs]
    together = etree.Element(f"{_XSD}element", name=LOT)
    sequence = etree.SubElement(etree.SubElement(together, f"{_XSD}complexType"), f"{_XSD}sequence")
    etree.SubElement(sequence, f"{_XSD}element", ref=record, maxOccurs="unbounded")
    whole[:] = [element, together]
    return etree.XMLSchema(whole)


def valid(document: str, lot: etree._Element) -> bool:
    """Whether every record of this batch is right: one call is cheaper than one per record."""
    return document in SCHEMAS and schema(document).validate(lot)


@cache
def _children(document: str) -> dict[str, frozenset[str]]:
    """Names that each block may hold, by path from the record."""
    table, record = SCHEMAS[document]
    root = next(e for e in tables.load(table).root.walk() if e.name == record)
    cut = len(root.path) - len(root.name)
    return {e.path[cut:]: frozenset(child.name for child in e.children) for e in root.walk()}


def check(document: str, element: etree._Element, at: str) -> list[Finding]:
    """What is wrong with this record; `at` is its place in the file. Unknown elements are taken out of it."""
    if document not in SCHEMAS:
        return []
    held = schema(document)
    if held.validate(element):
        return []
    unknown = list(_unknown(element, element.tag, _children(document)))
    found = [Finding("unknown-element", _place(one, element, at), "quarantine") for one in unknown]
    for one in unknown:
        parent = one.getparent()
        if parent is not None:
            parent.remove(one)
    if unknown and held.validate(element):
        return found
    return [*found, *_errors(held, at)]


def _unknown(element: etree._Element, path: str, known: dict[str, frozenset[str]]) -> Iterator[etree._Element]:
    allowed = known.get(path, frozenset())
    for child in element:
        if child.tag not in allowed:
            yield child
        else:
            yield from _unknown(child, f"{path}/{child.tag}", known)


_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,60}")


def _place(one: etree._Element, record: etree._Element, at: str) -> str:
    """Path of an unknown element; a name that could carry a value is not repeated."""
    steps = [one.tag if isinstance(one.tag, str) and _NAME.fullmatch(one.tag) else "?"]
    parent = one.getparent()
    while parent is not None and parent is not record:
        steps.append(str(parent.tag))
        parent = parent.getparent()
    return "/".join([at, *reversed(steps)])


_EXPECTED = re.compile(r"Expected is (?:one of )?\( ([A-Za-z0-9, -]+) \)")


def _errors(held: etree.XMLSchema, at: str) -> list[Finding]:
    """The schema's complaints by place and kind; only the expected names are kept of their wording."""
    found: list[Finding] = []
    for error in itertools.islice(held.error_log, MAX_ERRORS):  # type: ignore[call-overload]
        inside = (error.path or "").partition("InfosFoyerRSA")[2].partition("/")[2]
        place = f"{at}/{inside}" if inside else at
        detail = "value out of form"
        if error.type_name in _MISPLACED:
            expected = _EXPECTED.search(error.message)
            detail = f"expected here: {expected.group(1)}" if expected else "element missing, repeated or out of order"
        if not found or found[-1].path != place:
            found.append(Finding("schema-invalid", place, "reject", detail=detail))
    return found
