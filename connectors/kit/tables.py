"""Tables: any CSV or workbook that a mapping describes, whatever software wrote it.

Titles are compared reduced (case, accents, punctuation and line breaks apart). Cells are first repaired as the types of
the rows that read them ask (dates of any dialect, several telephones, digits that a spreadsheet lost), then the mapping
reads the row. A row that names a person already met in the file under another id waits for a human.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from typing import Any, BinaryIO

import mappings
from connectors.contract import DocumentRefused, Envelope
from connectors.manifest import Document
from connectors.source import rewindable
from connectors.table import Row, Sheet, alone, day, header, is_scientific, moment, sheets, unread
from mappings import Mapping
from mappings.coverage import columns
from mappings.grammar import Row as Field
from mappings.grammar import Table
from schemas import paths
from schemas.normalisation import name_key, nir, phones
from schemas.record import Finding, Record

_NUMBERS = frozenset({
    "nir", "identifier", "matricule_caf", "matricule_msa", "numero_demande", "ft_numero", "idassedic", "siret",
})  # fmt: skip
_NAMES = ("personne.nom_usage", "personne.nom_naissance")


@dataclass(frozen=True, slots=True)
class Layout:
    """What a mapping asks of a table: its columns by reduced title, and which of them hold what."""

    titles: dict[str, str]
    required: tuple[str, ...]
    types: dict[str, frozenset[str]]
    """Column to the types of the rows that read it."""
    identity: tuple[str, ...]
    """Columns of the record's key, name, first name and birth date; empty where no row reads one."""
    person: str
    """Column of the sender's id of the person: the key, unless a row is one of several things told of her."""

    @classmethod
    def of(cls, mapping: Mapping) -> Layout:
        table = mapping.file.table or Table()
        declared = [path for one in mapping.file.not_shared for path in one.paths]
        titles = {header(column): column for column in (*columns(mapping.file), *declared)}
        titles |= {header(alias): column for column, aliases in table.aliases.items() for alias in aliases}
        types: dict[str, set[str]] = {}
        read: dict[str, str] = {}
        words = mapping.file.record
        apart = words.key if words.asserted_at is None else (*words.key, words.asserted_at)
        for path, row, section in mapping.rows():
            read.setdefault(paths.shape(path), _first(row))
            for one in (row, *section.key, *apart):
                for column in one.partners:
                    types.setdefault(column, set()).add(one.type)
        name = next((read[path] for path in _NAMES if path in read), "")
        told = (name, read.get("personne.prenoms", ""), read.get("personne.date_naissance", ""))
        key = next(map(_first, mapping.file.record.key), "")
        own = (_first(row) for path, row, _ in mapping.rows() if path.startswith("identifiants[si_departement"))
        held = {one: frozenset(kinds) for one, kinds in types.items()}
        return cls(titles, table.required, held, (key, *told), next(own, key))

    def column(self, title: str) -> str:
        """The mapping's column of a reduced title; the title itself when no row reads it."""
        return self.titles.get(title, title)

    def holding(self, *kinds: str) -> Iterator[str]:
        return (column for column, types in self.types.items() if types & set(kinds))


def _first(row: Field) -> str:
    return next(iter(row.partners), "")


class TableReading:
    """A `Reading` of one table: checked to its last line, then read row by row.

    Every row goes through the document's first mapping, with `context`. Raises
    `DocumentRefused`: ``missing-header``, ``table-duplicate-header``, and those of `connectors.table`.
    """

    def __init__(self, document: Document, source: BinaryIO, **context: Any) -> None:
        self._max_bytes, self._context = document.max_bytes, context
        self._source = rewindable(source, document.max_bytes)
        self._mapping = mappings.load(document.mapping[0])
        self._layout = Layout.of(self._mapping)
        sheet, *others = self._sheets()
        here = [self._layout.column(title) for title in sheet.headers if title]
        if missing := [name for name in self._layout.required if name not in here]:
            raise DocumentRefused("missing-header", "a mandatory column is missing", path=missing[0])
        if twice := [name for name in here if here.count(name) > 1]:
            raise DocumentRefused("table-duplicate-header", "two columns mean the same", path=twice[0])
        findings = (*self._columns(sheet, set(here)), *unread(sheet, others))
        self.envelope = Envelope(document.id, counted=sum(1 for _ in sheet), findings=findings)

    def _sheets(self) -> list[Sheet]:
        self._source.seek(0)
        layout = self._layout
        titles = layout.required or layout.types
        return sheets(self._source, max_bytes=self._max_bytes, titles=titles, aliases=layout.titles)

    def _columns(self, sheet: Sheet, here: set[str]) -> Iterator[Finding]:
        """What the columns of this table are to its mapping: those it does not read, those it would read."""
        if sheet.above:
            yield Finding("lines-above-headers", f"{sheet.above}", "notice")
        for name in sorted(here - set(self._layout.titles.values())):
            yield Finding("unread-column", name[:80], "notice", detail="no row of the mapping reads it")
        for name in sorted(set(columns(self._mapping.file)) - here):
            yield Finding("absent-column", name, "notice", detail="the mapping would read it")

    def __iter__(self) -> Iterator[Record]:
        met: dict[bytes, str] = {}
        sheet = self._sheets()[0]
        for row in sheet:
            record = self._record(row, met)
            record.original = partial(alone, sheet.headers, row)
            yield record

    def _record(self, row: Row, met: dict[bytes, str]) -> Record:
        layout, at = self._layout, f"ligne {row.line}"
        findings: list[Finding] = []
        cells = {layout.column(title): text for title, text in row.cells.items()}
        _repair(cells, layout, {layout.column(title) for title in row.numeric}, findings, at)
        if row.surplus:
            findings.append(Finding("surplus-cells", at, detail="cells beyond the last title"))
        findings += _met_before(cells, layout, met, at)
        record = self._mapping.read(cells, **self._context)
        record.findings = findings + [replace(one, path=f"{at}, {one.path}") for one in record.findings]
        if absent := [name for name in layout.required if name in layout.identity and name not in cells]:
            record.findings.append(Finding("identity-missing", f"{at}, {absent[0]}", "reject"))
        if not record.key:  # nothing tells this row from another one: the next would take its place
            record.findings.append(Finding("missing-required", f"{at}, {layout.identity[0]}"))
        record.digest = row.digest
        return record


def _repair(cells: dict[str, str], layout: Layout, numeric: set[str], findings: list[Finding], at: str) -> None:
    for kind, read, code in (("date", day, "bad-date"), ("instant_local", moment, "bad-instant")):
        for name in cells.keys() & set(layout.holding(kind)):
            if (found := read(cells[name])) is None:
                findings.append(Finding(code, f"{at}, {name}"))
                del cells[name]
            else:
                cells[name] = found
    for name in cells.keys() & set(layout.holding("instant")):  # a day is enough: whoever needs the hour asks for it
        cells[name] = moment(cells[name]) or day(cells[name]) or cells[name]
    for name in cells.keys() & set(layout.holding("phones")):
        told = phones(cells.pop(name))
        if told.numeros:
            cells[name] = " / ".join(told.numeros)
        if told.illisibles:
            findings.append(Finding("bad-phone", f"{at}, {name}"))
    for name in cells.keys() & set(layout.holding(*_NUMBERS)):
        doubtful = name in numeric and "nir" in layout.types[name] and nir(cells[name]).controle != "valide"
        if is_scientific(cells[name]) or doubtful:
            findings.append(Finding("number-lost-digits", f"{at}, {name}", raw=cells.pop(name)))


def _met_before(cells: dict[str, str], layout: Layout, met: dict[bytes, str], at: str) -> list[Finding]:
    """Whether this person stands earlier in the file under another id: case and accents apart, same birth date."""
    number, who = cells.get(layout.person, ""), [cells.get(name, "") for name in layout.identity[1:]]
    if not all(who):
        return []
    key = blake2b("|".join((name_key(who[0]), name_key(who[1]), who[2])).encode(), digest_size=8).digest()
    earlier = met.setdefault(key, number)
    return [] if earlier == number else [Finding("same-person-other-id", at, detail="decide which id is hers")]
