"""The examples kept beside a mapping, run: what a test, `maillon lint` and a connector's contract suite all call."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lxml import etree

from mappings.engine import Mapping
from mappings.grammar import Example
from schemas import paths
from schemas.record import Fact, Facts, Finding, Record

_PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_blank_text=True)


def run(mapping: Mapping, example: Example) -> list[str]:
    """What the mapping does otherwise than its example says; empty when all is well."""
    try:
        return _run(mapping, example)
    except Unreadable as error:
        return [str(error)]


class Unreadable(Exception):
    """A file of an example that is neither JSON nor XML: `file:line: why`."""


def _run(mapping: Mapping, example: Example) -> list[str]:
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
        return _json(path)
    try:
        root = etree.parse(str(path), _PARSER).getroot()
    except etree.XMLSyntaxError as error:
        raise Unreadable(f"{path.name}:{error.lineno}: not XML: {error.msg}") from None
    wanted = mapping.file.partner.record.rpartition("/")[2]
    return root if root.tag == wanted else next(root.iter(wanted))


def canonical(mapping: Mapping, name: str) -> tuple[list[Facts], Facts]:
    """(facts of each person, facts of the household) that an example tells."""
    told = _json(mapping.path.parent / name)
    if "personnes" in told:
        return told["personnes"], told.get("foyer", {})
    return [told], {}


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise Unreadable(f"{path.name}:{error.lineno}: not JSON: {error.msg}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise Unreadable(f"{path.name}:{line}: save it as UTF-8") from None


def _run_read(mapping: Mapping, example: Example) -> list[str]:
    assert example.partner is not None
    context: dict[str, Any] = dict(example.context)
    record = mapping.read(document(mapping, example.partner), **context)
    problems = _findings(example, record.findings)
    if example.canonical is not None:
        problems += _facts(record, *canonical(mapping, example.canonical), mapping.path.parent / example.canonical)
    for facts in (*(person.facts for person in record.personnes), record.foyer):
        problems += [f"{found.code} {found.path}: not a canonical fact" for found in paths.check(facts)]
    return problems


def _findings(example: Example, findings: Iterable[Finding]) -> list[str]:
    told = {(one.code, one.path) for one in findings if one.severity != "notice"}
    missing = [f"no finding {code}" for code in example.errors if code not in dict(told)]
    unexpected = sorted(one for one in told if one[0] not in example.errors)
    return missing + [f"unexpected finding {code} at {path}" for code, path in unexpected]


def _facts(record: Record, persons: list[Facts], foyer: Facts, path: Path) -> list[str]:
    found = [person.facts for person in record.personnes]
    problems = [] if len(found) == len(persons) else [f"{len(found)} persons instead of {len(persons)}"]
    for rank, (got, wanted) in enumerate(zip(found, persons, strict=False), 1):
        # A household fact of a one-person example may stand among hers.
        told = got | (record.foyer if len(persons) == 1 and not foyer else {})
        before = persons[: rank - 1]
        problems += _differences(told, wanted, f"person {rank}", path, before)
    return problems + (_differences(record.foyer, foyer, "household", path, persons) if foyer else [])


def _differences(got: Facts, wanted: Facts, who: str, path: Path, before: list[Facts]) -> list[str]:
    """Each fact that differs, at its line of the example (`before`: the objects written above it there)."""
    lines = _key_lines(path)
    told = []
    for name in sorted(one for one in {*got, *wanted} if got.get(one) != wanted.get(one)):
        place = lines.get(name, [])[sum(name in one for one in before) :][:1] if name in wanted else []
        where = f"{path.name}:{place[0]}" if place else path.name
        told.append(f"{where}: {who}: {name} is {got.get(name)!r} instead of {wanted.get(name)!r}")
    return told


_KEY = re.compile(r'"((?:[^"\\]|\\.)*)"\s*:')


def _key_lines(path: Path) -> dict[str, list[int]]:
    """Key → the lines of a JSON file where it is written, in order."""
    found: dict[str, list[int]] = defaultdict(list)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        for key in _KEY.findall(line):
            found[json.loads(f'"{key}"')].append(number)
    return found


def _run_write(mapping: Mapping, example: Example) -> list[str]:
    assert example.canonical is not None
    persons, foyer = canonical(mapping, example.canonical)
    facts = {**foyer, **(persons[0] if persons else {})}
    current = {path: Fact(value, "departement", "example", "2026-11-01T00:00:00Z") for path, value in facts.items()}
    written = mapping.write(current, example.context)
    problems = _findings(example, written.findings)
    if example.partner is None:
        return problems
    wanted = document(mapping, example.partner)
    path = mapping.path.parent / example.partner
    if mapping.file.partner.format == "xml":
        got = etree.fromstring(written.document, _PARSER)
        unlike = [] if _stable(got) == _stable(wanted) else list(_elements(got, wanted))
    else:
        lines, seen = _key_lines(path), Counter[str]()
        unlike = list(_values(written.document, wanted, "", 1, lines, seen))
    return problems + [f"{path.name}:{line}: {what}" for line, what in unlike]


def _stable(element: Any) -> bytes:
    return etree.tostring(element, method="c14n", with_comments=False)


def _elements(got: Any, wanted: Any) -> Iterator[tuple[int, str]]:
    """(line of the example, what is written otherwise) of two elements."""
    line, name = wanted.sourceline or 1, etree.QName(wanted).localname
    inside, expected = (
        [one for one in got if isinstance(one.tag, str)],
        [one for one in wanted if isinstance(one.tag, str)],
    )
    if got.tag != wanted.tag:
        yield line, f"<{etree.QName(got).localname}> instead of <{name}>"
    elif dict(got.attrib) != dict(wanted.attrib):
        yield line, f"<{name}> has {dict(got.attrib)} instead of {dict(wanted.attrib)}"
    elif [one.tag for one in inside] != [one.tag for one in expected]:
        tags = [[etree.QName(one).localname for one in each] for each in (inside, expected)]
        yield line, f"<{name}> holds {' '.join(tags[0]) or 'nothing'} instead of {' '.join(tags[1]) or 'nothing'}"
    elif not expected and (got.text or "") != (wanted.text or ""):
        yield line, f"<{name}> is {got.text!r} instead of {wanted.text!r}"
    else:
        for one, other in zip(inside, expected, strict=True):
            yield from _elements(one, other)


def _values(
    got: Any, wanted: Any, at: str, line: int, lines: dict[str, list[int]], seen: Counter[str]
) -> Iterator[tuple[int, str]]:
    """(line of the example, what is written otherwise) of two JSON values; `seen` counts the keys met above."""
    if isinstance(got, dict) and isinstance(wanted, dict):
        for key in wanted:
            here = lines.get(key, [])[seen[key] :][:1] or [line]
            seen[key] += 1
            if key not in got:
                yield here[0], f"{at}{key} is not written"
            else:
                yield from _values(got[key], wanted[key], f"{at}{key}.", here[0], lines, seen)
        for key in got.keys() - wanted.keys():
            yield line, f"{at}{key} is written, and not expected"
    elif isinstance(got, list) and isinstance(wanted, list) and len(got) == len(wanted):
        for rank, (one, other) in enumerate(zip(got, wanted, strict=True)):
            yield from _values(one, other, f"{at.removesuffix('.')}[{rank}].", line, lines, seen)
    elif got != wanted:
        yield line, f"{at.removesuffix('.')} is {got!r} instead of {wanted!r}"
