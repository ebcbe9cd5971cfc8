"""Which elements of a partner's document are read or written, which are declared not shared, and where a row stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mappings.grammar import MappingFile, Row, Section, Step, steps
from mappings.partner_schema import listed_record
from mappings.writing import dotted
from schemas.partner import tables

if TYPE_CHECKING:
    from mappings.engine import Mapping


@dataclass(slots=True)
class Covered:
    """One leaf of the partner's schema."""

    path: str
    libelle: str
    canonical: list[str] = field(default_factory=list)
    """Canonical paths that it feeds or is filled from; `(clé)`, `(constante)` for what only serves the document."""
    reason: str = ""
    """Why it is not shared, in French."""


def leaves(mapping: Mapping) -> list[Covered]:
    """Every leaf of the partner's schema, in document order, with what becomes of it. Empty without a schema."""
    record = listed_record(mapping.file)
    if record is None:
        return []
    mapped = _mapped(mapping.file)
    found = []
    for element in _schema(mapping.file).walk():
        if element.children:
            continue
        inside = element.path.removeprefix(f"{record.path}/") if element.path.startswith(f"{record.path}/") else None
        covered = Covered(element.path, element.libelle)
        covered.canonical = mapped.get(inside, []) if inside is not None else []
        covered.reason = _reason(mapping.file, element.path, inside)
        found.append(covered)
    return found


def unknown(mapping: Mapping) -> list[str]:
    """Partner paths of the mapping that the schema does not know."""
    record = listed_record(mapping.file)
    if record is None:
        return []
    known = {element.path for element in _schema(mapping.file).walk()}
    named = [f"{record.path}/{path}" for path in _mapped(mapping.file)]
    declared = [(_absolute(path, record.path), path) for one in mapping.file.not_shared for path in one.paths]
    missing = [path.removeprefix(f"{record.path}/") for path in named if path not in known]
    return missing + [path for whole, path in declared if whole not in known]


def columns(file: MappingFile) -> list[str]:
    """The columns of a table that rows name, in the order they are first named."""
    return list(_mapped(file))


def _schema(file: MappingFile) -> tables.Element:
    table = file.partner.schema_ or file.partner.elements
    assert table is not None
    return tables.load(table).root


def _absolute(path: str, record: str) -> str:
    return path[1:] if path.startswith("/") else f"{record}/{path}"


def _reason(file: MappingFile, path: str, inside: str | None) -> str:
    for declared in file.not_shared:
        for one in declared.paths:
            whole = path if one.startswith("/") else inside
            asked = one.removeprefix("/")
            if whole is not None and (whole == asked or whole.startswith(f"{asked}/")):
                return declared.reason
    return ""


def _mapped(file: MappingFile) -> dict[str, list[str]]:
    """Partner leaves that rows name, by path from the record, to their canonical paths."""
    found: dict[str, list[str]] = {}
    for path, canonical in _named(file):
        known = found.setdefault(path, [])
        if canonical not in known:
            known.append(canonical)
    return found


def _named(file: MappingFile) -> Iterator[tuple[str, str]]:
    for row in file.record.key:
        yield from _row(file, (), row, "(clé de l'enregistrement)")
    if file.record.asserted_at is not None:
        yield from _row(file, (), file.record.asserted_at, "(date de la déclaration)")
    if (words := file.record.personne) is not None:
        base = steps(words.path, file.partner.format)
        for row in words.key:
            yield from _row(file, base, row, "(clé de la personne)")
        if words.only is not None:
            yield from _row(file, base, words.only, "(choix des personnes)")
    for section in file.section:
        yield from _section(file, section, (), "")


def _section(file: MappingFile, section: Section, base: tuple[Step, ...], prefix: str) -> Iterator[tuple[str, str]]:
    base = (*base, *steps(section.partner, file.partner.format))
    inside = dotted(prefix, section.canonical)
    yield from _conditions(base)
    for row in section.key:
        yield from _row(file, base, row, "(clé)")
    for row in section.fields:
        told = dotted(inside, row.canonical) if row.canonical is not None else "(constante ou contexte)"
        yield from _row(file, base, row, told)
    for inner in section.section:
        yield from _section(file, inner, base, inside)


def _row(file: MappingFile, base: tuple[Step, ...], row: Row, canonical: str) -> Iterator[tuple[str, str]]:
    for partner in (*row.partners, *((row.label,) if row.label else ())):
        path = (*base, *steps(partner, file.partner.format))
        yield "/".join(step.name for step in path), canonical
        yield from _conditions(path)


def _conditions(path: tuple[Step, ...]) -> Iterator[tuple[str, str]]:
    for position, step in enumerate(path):
        if step.where:
            names = [one.name for one in path[: position + 1]]
            yield "/".join((*names, *step.where)), "(choix de l'élément)"


class Places:
    """Line numbers of a mapping file, for messages: TOML readers give none."""

    def __init__(self, text: str) -> None:
        self.lines = text.splitlines()
        headers = re.compile(r"\s*\[\[section(\.section)*\]\]")
        self._sections = [number for number, line in enumerate(self.lines, 1) if headers.match(line)]
        self._heads = [number for number, line in enumerate(self.lines, 1) if line.lstrip().startswith("[")]

    def section(self, rank: int) -> int:
        return self._sections[rank] if rank < len(self._sections) else 1

    def row(self, rank: int, row: Row) -> int:
        """The line that says this row, inside its section; the section's own when it cannot be told apart."""
        start = self.section(rank)
        end = next((number for number in self._heads if number > start), len(self.lines) + 1)
        words = [f'"{word}"' for word in (row.canonical, *row.partners, row.codes) if word is not None]
        for number in range(start, end):
            if all(word in self.lines[number - 1] for word in words):
                return number
        return start

    def table(self, name: str) -> int:
        return self.quoted(f"[codes.{name}]", quotes=False)

    def quoted(self, text: str, *, quotes: bool = True) -> int:
        """The first line that says this text."""
        wanted = f'"{text}"' if quotes else text
        return next((number for number, line in enumerate(self.lines, 1) if wanted in line), 1)

    @staticmethod
    def told(message: str) -> int:
        """The line that a TOML error names."""
        found = re.search(r"line (\d+)", message)
        return int(found[1]) if found else 1
