"""Which elements of a partner's document are read or written, which are declared not shared, and where a row stands."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mappings.grammar import MappingFile, Row, Section, Step, dotted, steps
from mappings.partner_schema import listed_record
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


def keys(file: MappingFile) -> dict[str, list[str]]:
    """Partner leaves that tell records, persons and items apart, from the record, to what each serves for."""
    served = {path: [one for one in told if one.startswith(_KEYS)] for path, told in _mapped(file).items()}
    return {path: told for path, told in served.items() if told}


_KEYS = ("(clé", "(date", "(choix")
"""What a leaf is for, besides the facts that it tells (`_named`)."""


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

    def refused(self, code: str, message: str) -> int:
        """The line of what a `MappingError` names: a number, a place of the file, a code table, a word in quotes."""
        if found := re.search(r"line (\d+)", message):
            return int(found[1])
        place = message.partition(":")[0]
        if code == "mapping-grammar":
            return self._place(place.split("."))
        if code == "mapping-codes" and (line := self.table(place)) > 1:
            return line
        quoted = (self.quoted(word) for word in re.findall(r"'([^']+)'", message))
        return next((line for line in quoted if line > 1), 1)

    def at(self, place: str) -> int:
        """The line of a place of the parsed file, `annexe.0.flux.2.document`; of its table when it is not written."""
        return self._place(place.split("."))

    def _place(self, parts: list[str]) -> int:
        start, end, inside = self._block(parts)
        words = [part for part in inside if not part.isdecimal()]
        if not words:
            return start
        outer = self._saying(words[0], start, end)
        lines = self._saying(words[-1], outer[0] if outer else start, end)
        rows = [number for number in range(start, end) if self.lines[number - 1].lstrip().startswith("{")]
        rank = int(inside[1]) if inside[:1] == ["fields"] and inside[1:2] and inside[1].isdecimal() else None
        if rank is not None and rank < len(rows) and (rows[rank] in lines or not lines):
            return rows[rank]
        return (lines or outer or [start])[0]

    def _saying(self, word: str, start: int, end: int) -> list[int]:
        """The lines that give this word a value."""
        wanted = re.compile(rf'(^|[\s{{,"]){re.escape(word)}"?\s*=')
        return [number for number in range(start, end) if wanted.search(self.lines[number - 1])]

    def _block(self, parts: list[str]) -> tuple[int, int, list[str]]:
        """First line and the line after the last of the table that a place is in, and the place inside it."""
        tables = self._tables()
        inner = next((rank for rank in range(len(parts), 0, -1) if tuple(parts[:rank]) in tables), 0)
        start = tables.get(tuple(parts[:inner]), 1)
        end = next((number for number in sorted(tables.values()) if number > (start if inner else 0)), None)
        return start, end or len(self.lines) + 1, parts[inner:]

    def _tables(self) -> dict[tuple[str, ...], int]:
        """Each table with the line of its header; `[[section]]` is ("section",) and ("section", "0")."""
        header = re.compile(r"\s*(\[\[?)([^\]]+)\]")
        found: dict[tuple[str, ...], int] = {}
        ranks: Counter[tuple[str, ...]] = Counter()
        for number in self._heads:
            if (told := header.match(self.lines[number - 1])) is None:
                continue
            path: tuple[str, ...] = ()
            for name in told[2].split("."):
                path = (*path, name.strip(' "'))
                if ranks[path]:
                    path = (*path, str(ranks[path] - 1))
            if told[1] == "[[":
                path = path[:-1] if path[-1].isdecimal() else path
                found.setdefault(path, number)
                ranks[path] += 1
                path = (*path, str(ranks[path] - 1))
            found.setdefault(path, number)
        return found
