"""The examples kept beside a mapping, run: what a test, `maillon lint` and a connector's contract suite all call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lxml import etree

from mappings.engine import Mapping
from mappings.grammar import Example
from schemas import paths
from schemas.record import Fact, Facts, Record

_PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_blank_text=True)


def run(mapping: Mapping, example: Example) -> list[str]:
    """What the mapping does otherwise than its example says; empty when all is well."""
    problems: list[str] = []
    if _reads(mapping, example):
        problems += _run_read(mapping, example)
    if _writes(mapping, example):
        problems += _run_write(mapping, example)
    return problems or ([] if _reads(mapping, example) or _writes(mapping, example) else ["the example tests nothing"])


def _reads(mapping: Mapping, example: Example) -> bool:
    return example.partner is not None and "write" not in (mapping.file.direction, example.direction)


def _writes(mapping: Mapping, example: Example) -> bool:
    return example.canonical is not None and "read" not in (mapping.file.direction, example.direction)


def document(mapping: Mapping, name: str) -> Any:
    """The partner's document of an example: an element, or what its JSON holds."""
    path = mapping.path.parent / name
    if mapping.file.partner.format != "xml":
        return json.loads(path.read_text(encoding="utf-8"))
    root = etree.parse(str(path), _PARSER).getroot()
    wanted = mapping.file.partner.record.rpartition("/")[2]
    return root if root.tag == wanted else next(root.iter(wanted))


def canonical(mapping: Mapping, name: str) -> tuple[list[Facts], Facts]:
    """(facts of each person, facts of the household) that an example tells."""
    told = json.loads((mapping.path.parent / name).read_text(encoding="utf-8"))
    if "personnes" in told:
        return told["personnes"], told.get("foyer", {})
    return [told], {}


def _run_read(mapping: Mapping, example: Example) -> list[str]:
    assert example.partner is not None
    context: dict[str, Any] = dict(example.context)
    record = mapping.read(document(mapping, example.partner), **context)
    problems = _codes(example, {finding.code for finding in record.findings if finding.severity != "notice"})
    if example.canonical is not None:
        problems += _facts(record, *canonical(mapping, example.canonical))
    for facts in (*(person.facts for person in record.personnes), record.foyer):
        problems += [f"{found.code} {found.path}: not a canonical fact" for found in paths.check(facts)]
    return problems


def _codes(example: Example, told: set[str]) -> list[str]:
    missing = [f"no finding {code}" for code in example.errors if code not in told]
    return missing + [f"unexpected finding {code}" for code in sorted(told - set(example.errors))]


def _facts(record: Record, persons: list[Facts], foyer: Facts) -> list[str]:
    found = [person.facts for person in record.personnes]
    problems = [] if len(found) == len(persons) else [f"{len(found)} persons instead of {len(persons)}"]
    for rank, (got, wanted) in enumerate(zip(found, persons, strict=False), 1):
        # A household fact of a one-person example may stand among hers.
        told = got | (record.foyer if len(persons) == 1 and not foyer else {})
        problems += _differences(told, wanted, f"person {rank}")
    return problems + (_differences(record.foyer, foyer, "household") if foyer else [])


def _differences(got: Facts, wanted: Facts, who: str) -> list[str]:
    names = sorted(path for path in {*got, *wanted} if got.get(path) != wanted.get(path))
    return [f"{who}: {path} is {got.get(path)!r} instead of {wanted.get(path)!r}" for path in names]


def _run_write(mapping: Mapping, example: Example) -> list[str]:
    assert example.canonical is not None
    persons, foyer = canonical(mapping, example.canonical)
    facts = {**foyer, **(persons[0] if persons else {})}
    current = {path: Fact(value, "departement", "example", "2026-11-01T00:00:00Z") for path, value in facts.items()}
    written = mapping.write(current, example.context)
    problems = _codes(example, {finding.code for finding in written.findings if finding.severity != "notice"})
    if example.partner is None:
        return problems
    wanted = document(mapping, example.partner)
    if mapping.file.partner.format == "xml":
        same = _stable(etree.fromstring(written.document)) == _stable(wanted)
    else:
        same = written.document == wanted
    return problems if same else [*problems, f"written otherwise than {Path(example.partner).name}"]


def _stable(element: Any) -> bytes:
    return etree.tostring(element, method="c14n", with_comments=False)
