"""The Département's tables: the orientation export, and the beneficiary table of software without public format.

Cells are first repaired (dates of any dialect, several telephones in one cell, labels of orientation types), then a
mapping reads the row. A row that names a person already met in the file under another id waits for a human.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Any, BinaryIO

import mappings
from connectors.contract import DocumentRefused, Envelope
from connectors.departement.referentiel import concept_of
from connectors.source import rewindable
from connectors.table import MAX_BYTES, Row, Sheet, alone, day, is_scientific, sheets
from schemas.normalisation import name_key, phones
from schemas.record import Finding, Record


@dataclass(frozen=True, slots=True)
class Layout:
    """One table: its columns as the mapping names them, what must be there, and how cells are repaired."""

    document: str
    required: tuple[str, ...]
    dates: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    identity: tuple[str, str, str, str] = ("", "", "", "")
    """Columns of the sender's id, name, first name and birth date."""
    name: Callable[[str], str] = str
    """From a reduced title to the mapping's column."""
    numbers: tuple[str, ...] = ()
    """Columns whose digits a spreadsheet may have destroyed."""
    derived: tuple[str, ...] = ()
    """Columns that `derive` makes."""
    derive: Callable[[dict[str, str], list[Finding], str], None] = field(default=lambda cells, findings, at: None)


def _upper(title: str) -> str:
    return title.upper().replace(" ", "_")


def _orientation_nature(cells: dict[str, str], findings: list[Finding], at: str) -> None:
    label = cells.get("NATURE_ORIENTATION", "")
    if concept := concept_of("typesorients", label):
        cells["CATEGORIE"] = concept
    elif label:
        findings.append(Finding("unknown-label", f"{at}, NATURE_ORIENTATION", "quarantine", label, "typesorients"))


def _rome(cells: dict[str, str], findings: list[Finding], at: str) -> None:
    text = cells.get("emploi recherche code rome", "")
    if match := re.search(r"\(([A-N]\d{4})\)\s*$", text):
        cells["rome"] = match[1]
        cells["emploi recherche code rome"] = text[: match.start()].strip()


ORIENTATION = Layout(
    "departement.orientation_csv",
    required=("ID_CD", "PRENOM", "DTNAI", "NATURE_ORIENTATION", "DATE_DEBUT_ORIENTATION"),
    dates=("DTNAI", "DATE_DEBUT_ORIENTATION"),
    phones=("TELEPHONE_FIXE", "TELEPHONE_PORTABLE"),
    identity=("ID_CD", "NOM", "PRENOM", "DTNAI"),
    name=_upper,
    numbers=("MATRICULE", "ID_CD"),
    derived=("CATEGORIE",),
    derive=_orientation_nature,
)
BENEFICIAIRES = Layout(
    "departement.beneficiaires_csv",
    required=("identifiant dans le si", "prenom", "nom", "date de naissance"),
    dates=("date de naissance",),
    phones=("telephone",),
    identity=("identifiant dans le si", "nom", "prenom", "date de naissance"),
    numbers=("nir", "numero allocataire caf msa", "identifiant dans le si"),
    derived=("rome",),
    derive=_rome,
)
LAYOUTS = {layout.document: layout for layout in (ORIENTATION, BENEFICIAIRES)}


class TableReading:
    """One table of the Département: checked to its last line, then read row by row."""

    def __init__(self, source: BinaryIO, layout: Layout, departement: str) -> None:
        self._source = rewindable(source, MAX_BYTES)
        self._layout = layout
        self._departement = departement
        sheet = self._sheet()
        names = {layout.name(title) for title in sheet.headers}
        if missing := [name for name in layout.required if name not in names]:
            raise DocumentRefused("missing-header", "a mandatory column is missing", path=missing[0])
        findings = tuple(_columns(sheet, layout))
        self.envelope = Envelope(layout.document, counted=sum(1 for _ in sheet), findings=findings)

    def _sheet(self) -> Sheet:
        self._source.seek(0)
        return sheets(self._source, titles=self._layout.required)[0]

    def __iter__(self) -> Iterator[Record]:
        mapping = mappings.load(self._layout.document)
        met: dict[bytes, str] = {}
        sheet = self._sheet()
        for row in sheet:
            record = self._record(mapping, row, met)
            record.original = partial(alone, sheet.headers, row)
            yield record

    def _record(self, mapping: Any, row: Row, met: dict[bytes, str]) -> Record:
        layout, at = self._layout, f"ligne {row.line}"
        findings: list[Finding] = []
        cells = {layout.name(title): text for title, text in row.cells.items()}
        numeric = {layout.name(title) for title in row.numeric}
        _repair(cells, layout, numeric, findings, at)
        layout.derive(cells, findings, at)
        if row.surplus:
            findings.append(Finding("surplus-cells", at, detail="cells beyond the last title"))
        findings += _met_before(cells, layout, met, at)
        record: Record = mapping.read(cells, departement=self._departement)
        record.findings = findings + [_located(finding, at) for finding in record.findings]
        if absent := [name for name in layout.required if name in layout.identity and name not in cells]:
            record.findings.append(Finding("identity-missing", f"{at}, {absent[0]}", "reject"))
        record.digest = row.digest
        return record


def _columns(sheet: Sheet, layout: Layout) -> Iterator[Finding]:
    """What the columns of this table are to its mapping: those it does not read, those it would read."""
    mapping = mappings.load(layout.document)
    here = {layout.name(title) for title in sheet.headers if title}
    read = {name for _, row, section in mapping.rows() for one in (row, *section.key) for name in one.partners}
    declared = {path for one in mapping.file.not_shared for path in one.paths}
    if sheet.above:
        yield Finding("lines-above-headers", f"{sheet.above}", "notice")
    for name in sorted(here - read - declared):
        yield Finding("unread-column", name[:80], "notice", detail="no row of the mapping reads it")
    for name in sorted(read - here - set(layout.derived)):
        yield Finding("absent-column", name, "notice", detail="the mapping would read it")


def _repair(cells: dict[str, str], layout: Layout, numeric: set[str], findings: list[Finding], at: str) -> None:
    for name in layout.dates:
        if name in cells:
            found = day(cells[name])
            if found is None:
                findings.append(Finding("bad-date", f"{at}, {name}"))
                del cells[name]
            else:
                cells[name] = found
    for name in layout.phones:
        if name in cells:
            read = phones(cells.pop(name))
            if read.numeros:
                cells[name] = " / ".join(read.numeros)
            if read.illisibles:
                findings.append(Finding("bad-phone", f"{at}, {name}"))
    for name in layout.numbers:
        if name in cells and (is_scientific(cells[name]) or (name == "nir" and name in numeric)):
            findings.append(Finding("number-lost-digits", f"{at}, {name}", raw=cells.pop(name)))


def _met_before(cells: dict[str, str], layout: Layout, met: dict[bytes, str], at: str) -> list[Finding]:
    """Whether this person stands earlier in the file under another id: case and accents apart, same birth date."""
    number, *who = (cells.get(name, "") for name in layout.identity)
    if not all(who):
        return []
    key = blake2b("|".join((name_key(who[0]), name_key(who[1]), who[2])).encode(), digest_size=8).digest()
    earlier = met.setdefault(key, number)
    return [] if earlier == number else [Finding("same-person-other-id", at, detail="decide which id is hers")]


def _located(finding: Finding, at: str) -> Finding:
    return Finding(finding.code, f"{at}, {finding.path}", finding.severity, finding.raw, finding.detail)
