"""Opening the documents of France Travail: one person's JSON, or a flat file with one line per person or action.

France Travail names no record: a person's document is one record under a constant key, and replaces what the same
document said before, unless a whole block of it is missing, in which case its silence says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import mappings
from connectors import json as strict_json
from connectors import table
from connectors.contract import DocumentRefused, Envelope
from connectors.france_travail import besoins
from connectors.repeated import Repeated
from schemas.nomenclatures.labels import repair
from schemas.record import Finding, Record

MAX_BYTES = 4 * 1024 * 1024
MAX_TABLE_BYTES = 2 * 1024 * 1024 * 1024
_MIDNIGHT = re.compile(r" 00:00:00\.0+$")

DOSSIER = "france_travail.dossier_diagnostic"
_BLOCKS = {
    4: frozenset({"thematiqueContrainte", "besoinsParDiagnostic", "pouvoirAgir", "autonomieNumerique"}),
    1: frozenset({"contraintesIndividusDto", "besoinsParDiagnosticIndividuDtos"}),
}
_LISTED = {4: "thematiqueContrainte", 1: "contraintesIndividusDto"}
"""Block that lists every contrainte, also those never explored: without any, it is silent."""


@dataclass(slots=True)
class Lecture:
    """A document being read: its envelope, then its records."""

    envelope: Envelope
    records: Iterable[Record]

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)


def read(document: str, source: BinaryIO) -> Lecture:
    """Open any document of this partner. Raises `DocumentRefused`."""
    if document in TABLES:
        return _table(document, source)
    content = source.read(MAX_BYTES + 1)
    repaired = False
    if document == DOSSIER and _decodes(content):
        # Damaged labels are repaired before control characters are dropped: some of them are half of a letter.
        text, repaired = repair(content.decode("utf-8"))
        content = text.encode()
    value = strict_json.parse(content, max_bytes=MAX_BYTES)
    record = _ONE[document](value, content)
    if repaired:
        record.findings.append(Finding("encoding-repaired", "", "notice", detail="UTF-8 read as Latin-1 by the sender"))
    return Lecture(Envelope(document), [record])


def _decodes(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DocumentRefused("wrong-root", "an object is expected")
    return value


def _dossier(value: Any, content: bytes) -> Record:
    """A diagnosis of either generation, told apart by its blocks."""
    told = _object(value)
    version = next((number for number, blocks in _BLOCKS.items() if not blocks.isdisjoint(told)), None)
    if version is None:
        raise DocumentRefused("wrong-root", "none of the blocks of a diagnosis is here")
    answered = besoins.settle(told)
    record = mappings.load(DOSSIER, version).read(told, raw=content)
    record.key = "dossier"
    record.findings += answered
    listed = told.get(_LISTED[version])
    contraintes = isinstance(listed, dict) and listed.get("contraintes")
    record.partial = not (contraintes and all(told.get(block) for block in _BLOCKS[version]))
    return record


def _orientations(value: Any, content: bytes) -> Record:
    items = value.get("orientations") if isinstance(value, dict) else value
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise DocumentRefused("wrong-root", "an array of orientations is expected")
    last: dict[str, Any] = max(items, key=_modified, default={})
    told = {"orientations": items, "derniers_criteres": last.get("criteres_orientation") or {}}
    record = mappings.load("france_travail.lecture_orientation").read(told, raw=content)
    record.key = "orientations"
    return record


def _modified(item: dict[str, Any]) -> str:
    return str(item.get("date_modification") or item.get("date_creation") or "")


def without_nir(value: Any) -> Any:
    """The same administrative file, its NIR taken out: it serves to find the person, never to be read."""
    if isinstance(value, dict) and isinstance(value.get("etatCivil"), dict):
        return value | {"etatCivil": {name: told for name, told in value["etatCivil"].items() if name != "nir"}}
    return value


def _informations(value: Any, content: bytes) -> Record:
    told = dict(_object(without_nir(value)))
    adresses = told.pop("adresses", None) or []
    if not isinstance(adresses, list):
        raise DocumentRefused("wrong-root", "an array of addresses is expected", "adresses")
    told |= {"adresse": adresses[0]} if adresses else {}
    record = mappings.load("france_travail.informations_administratives").read(told)
    record.key = "informations_administratives"
    if len(adresses) > 1:
        record.findings.append(Finding("several-addresses", "adresses", "quarantine", detail=f"{len(adresses)}"))
    return record


def _statut(value: Any, content: bytes) -> Record:
    """The date of effect is that of the status: of a status that nobody can read, it is no date of registration."""
    told, mapping = _object(value), mappings.load("france_travail.statut_usager")
    contrat = told.get("m_contrat")
    if isinstance(contrat, dict) and str(contrat.get("m_statut")) not in mapping.file.codes["statut"].values:
        told = told | {"m_contrat": {name: item for name, item in contrat.items() if name != "m_date_effet_statut"}}
    record = mapping.read(told, raw=content)
    record.key = "statut_usager"
    return record


def _plain(document: str) -> Callable[[Any, bytes], Record]:
    def read(value: Any, content: bytes) -> Record:
        record = mappings.load(document).read(_object(value), raw=content)
        record.key = document.partition(".")[2]
        return record

    return read


_ONE: dict[str, Callable[[Any, bytes], Record]] = {
    DOSSIER: _dossier,
    "france_travail.lecture_orientation": _orientations,
    "france_travail.informations_administratives": _informations,
    "france_travail.statut_usager": _statut,
    "france_travail.rqth": _plain("france_travail.rqth"),
}

# --- flat files -----------------------------------------------------------------------------------------------------

TABLES: Mapping[str, tuple[str, ...]] = {
    "france_travail.flux_spie": (
        "identifiant_unique_de", "civilite", "nom", "prenom", "lieu_naissance", "code_lieu_naissance",
        "date_naissance", "adresse_ligne2", "adresse_ligne3", "adresse_ligne4", "adresse_ligne5", "adresse_ligne6",
        "departement", "dr", "rome_1", "appelation_rome_1", "rome_2", "appelation_rome_2",
        "mrech.axetravailprincipal", "mrech.axetravailsecondaire", "der_entretien_ppae", "der_entretien",
        "inscription", "code_motif_inscription", "motif_inscription", "categorie_inscription", "struct_principale",
        "referent_civilite", "referent_nom", "referent_prenom", "referent_mail", "code_safir",
        "modalite_accompagnement", "struct_suivi", "suivi_debut", "suivi_fin_prev", "dif_financiere",
        "dif_admin_jur", "dif_sante", "dif_logement", "dif_transport", "dif_inser_com", "dif_familiale", "brsa",
    ),
    "france_travail.actions": (
        "identifiant_unique_de", "codeaction", "lblaction", "objectif_formation", "date_prescription",
        "date_realisation_action", "date_prev_debut", "date_debut", "date_fin", "formation", "adr.dc_commune_id",
    ),
}  # fmt: skip
"""Columns of each flat file, as France Travail writes them. All must be there; the order does not matter."""


def _table(document: str, source: BinaryIO) -> Lecture:
    sheet, *others = table.sheets(source, max_bytes=MAX_TABLE_BYTES)
    names = {table.header(column): column for column in TABLES[document]}
    if missing := [column for reduced, column in names.items() if reduced not in sheet.headers]:
        raise DocumentRefused("missing-column", f"column {missing[0]} is expected", path=missing[0])
    told = table.unread(sheet, others)
    return Lecture(Envelope(document, kind="stock", findings=told), _rows(document, sheet, names))


def _rows(document: str, sheet: table.Sheet, names: Mapping[str, str]) -> Iterator[Record]:
    mapping, repeated = mappings.load(document), Repeated()
    for row in sheet:
        cells = {names.get(name, name): _MIDNIGHT.sub("", text) for name, text in row.cells.items()}
        record = mapping.read(cells, raw=row.digest)
        if not record.key:
            record = replace(record, key=f"line {row.line}")
        if row.surplus:
            found = Finding("surplus-cells", f"line {row.line}", "reject", detail="cells beyond the last column")
            record.findings.append(found)
        repeated.tell(record, f"line {row.line}")
        yield record
