"""Reading what a CCAS sends: JSON, or a CSV or workbook with the same fields.

Each beneficiary is first cut down to the fields that are read (`champs.py`), then shaped for the two mappings: who she
is (`ccas.beneficiaires`) and what was done with her (`ccas.suivi`). Either document may carry both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, partial
from hashlib import blake2b
from typing import Any, BinaryIO, NamedTuple

import mappings
from connectors.ccas.champs import TAKEN_BACK, Bad, champs, columns, from_json, from_row, instant, without_unread
from connectors.contract import DocumentRefused, Envelope
from connectors.json import digest, parse
from connectors.source import rewindable
from connectors.table import Row, Sheet, alone, header, is_workbook, sheets, unread
from schemas import nomenclatures
from schemas.normalisation import SENTINEL_DATES, ft_numero, name_key
from schemas.record import Finding, Record

MAX_JSON = 64 * 1024 * 1024
MAX_TABLE = 64 * 1024 * 1024
IDENTITY = ("firstName", "birthDate")
NESTED = {"followups": ("suivis", "followup"), "helpRequests": ("demandes", "helpRequest"),
          "freins": ("freins", "frein"), "rendezVous": ("rendez vous", "rendezVous"),
          "resultats": ("resultats", "resultat"),
          "demandesReorientation": ("reorientations", "demandeReorientation"),
          "objectifsConvenus": ("objectifs convenus", "objectif"), "actionsConvenues": ("actions convenues", "action"),
          "contratsPrepares": ("contrats prepares", "contrat"),
          "prescriptionsFaites": ("prescriptions faites", "prescription")}  # fmt: skip
"""Nested list of a beneficiary: the sheet that holds it in a workbook, and the object of its rows."""


class Kept(NamedTuple):
    """One beneficiary reduced to what is read, what was wrong with her, and where she stands."""

    value: dict[str, Any]
    findings: list[Finding]
    where: str
    original: Callable[[], bytes] | None = None
    """Gives a sending that holds her alone, when one can be made."""


class Context(NamedTuple):
    """What the operator says of this CCAS: its id in the gateway, its Département, its name."""

    organisme: str
    departement: str
    nom_structure: str


class CcasReading:
    """One sending of a CCAS, checked whole, then read beneficiary by beneficiary."""

    def __init__(self, document: str, source: BinaryIO, context: Context, announced: str = "") -> None:
        self._source = rewindable(source, max(MAX_JSON, MAX_TABLE))
        self._context = context
        head = self._source.read(64)
        self._source.seek(0)
        looks_json = head.lstrip()[:1] in (b"{", b"[") or head.startswith(b"\xef\xbb\xbf{")
        looks_json = looks_json or announced == "application/json"
        findings: tuple[Finding, ...] = ()
        self._items: list[Any] | None = None
        self._generated: datetime | None = None
        if looks_json and not is_workbook(head):
            structure, generated, self._items = _json(self._source.read(MAX_JSON + 1))
            counted = len(self._items)
            name = structure.get("name") if isinstance(structure.get("name"), str) else ""
            self._generated = generated
            self._context = Context(context.organisme, context.departement, str(name) or context.nom_structure)
        else:
            counted, findings = _survey(self._source)
        self.envelope = Envelope(document, emitted_at=self._generated, counted=counted, findings=findings)

    def __iter__(self) -> Iterator[Record]:
        for kept in self._json_kept() if self._items is not None else self._table_kept():
            read = record(kept, self._context)
            read.original, read.asserted_at = kept.original, self._generated
            yield read

    def _json_kept(self) -> Iterator[Kept]:
        assert self._items is not None
        for position, item in enumerate(self._items):
            findings: list[Finding] = []
            where = f"beneficiaries[{position}]"
            original = partial(self._alone, position)
            yield Kept(from_json(item, "beneficiary", where, findings), findings, where, original)

    def _alone(self, position: int) -> bytes:
        assert self._items is not None
        item = without_unread(self._items[position], "beneficiary")
        told = {"structure": {"name": self._context.nom_structure}, "beneficiaries": [item]}
        return json.dumps(told, ensure_ascii=False).encode()

    def _table_kept(self) -> Iterator[Kept]:
        self._source.seek(0)
        found = _named(self._source)
        main = _main(found)
        nested = {name: _by_file(found.get(sheet), objet) for name, (sheet, objet) in NESTED.items()}
        known = columns("beneficiary")
        unknown = frozenset(main.headers) - known.keys()
        kept = [title for title in main.headers if title not in known or known[title].lu]
        for row in main:
            findings: list[Finding] = []
            value = from_row(row, "beneficiary", findings, unknown)
            number = value.get("fileNumber", "")
            for name, rows in nested.items():
                for item, told in rows.pop(number, []) if number else []:
                    value.setdefault(name, []).append(item)
                    findings += told
            # Rows of other sheets would be left out of a table of one row: her sender sends her again.
            original = None if value.keys() & nested.keys() else partial(alone, kept, _only(row, kept))
            yield Kept(value, findings, f"ligne {row.line}", original)
        yield from _orphans(nested)


def _json(data: bytes) -> tuple[dict[str, Any], datetime | None, list[Any]]:
    """(structure, when it was made, beneficiaries) of a JSON sending: an object with `beneficiaries`, an array, or one
    beneficiary."""
    value = parse(data, max_bytes=MAX_JSON)
    if isinstance(value, list):
        return {}, None, value
    if not isinstance(value, dict):
        raise DocumentRefused("schema-invalid", "an object or an array is expected")
    for name in ("beneficiaries", "beneficiaires"):
        if name in value:
            strangers = value.keys() - {name, "structure", "generatedAt"}
            if strangers or not isinstance(value[name], list):
                raise DocumentRefused("schema-invalid", "an array, beside structure and generatedAt only", path=name)
            structure = value.get("structure")
            return (structure if isinstance(structure, dict) else {}), _made(value.get("generatedAt")), value[name]
    return {}, None, [value]


def _made(said: Any) -> datetime | None:
    """When the sending was made: what it says was true then, not on the day it came."""
    if said in (None, ""):
        return None
    try:
        return instant(str(said), UTC)
    except Bad:
        raise DocumentRefused("schema-invalid", "an instant (RFC 3339)", path="generatedAt") from None


def _survey(source: BinaryIO) -> tuple[int, tuple[Finding, ...]]:
    """Rows of the main sheet, and its unknown columns. Raises `DocumentRefused` for a table that breaks anywhere."""
    found = _named(source)
    main = _main(found)
    known = columns("beneficiary")
    named = {known[title].nom for title in main.headers if title in known}
    if missing := [name for name in IDENTITY if name not in named]:
        raise DocumentRefused("missing-header", "a mandatory column is missing", path=missing[0])
    unknown = [title for title in main.headers if title and title not in known]
    for name in named:
        titles = [title for title in main.headers if title in known and known[title].nom == name]
        if len(titles) > 1:
            raise DocumentRefused("table-duplicate-header", "two columns mean the same field", path=" / ".join(titles))
    counts = {name: sum(1 for _ in sheet) for name, sheet in found.items()}
    told = tuple(Finding("unknown-column", f"colonne {title}", "notice") for title in unknown)
    told += unread(main, [sheet for name, sheet in found.items() if sheet is not main and name not in _READ])
    return counts[header(main.name)], told


_READ = {sheet for sheet, _ in NESTED.values()}


def _main(found: Mapping[str, Sheet]) -> Sheet:
    return found.get("beneficiaires") or next(iter(found.values()))


def _named(source: BinaryIO) -> dict[str, Sheet]:
    """The sheets by their names reduced as titles are: « Rendez-vous » is `rendez vous`.

    Raises `DocumentRefused` (``table-in-two-sheets``) for two sheets under one name.
    """
    found: dict[str, Sheet] = {}
    for sheet in sheets(source, taken="JSON, CSV or XLSX"):
        if found.setdefault(header(sheet.name), sheet) is not sheet:
            told = "put the rows of both sheets in one, or send two files"
            raise DocumentRefused("table-in-two-sheets", told, path=f"feuille {sheet.rank}")
    return found


def _only(row: Row, titles: Sequence[str]) -> Row:
    return replace(row, cells={title: row.cells[title] for title in titles if title in row.cells})


Rows = dict[str, list[tuple[dict[str, Any], list[Finding]]]]


def _by_file(sheet: Sheet | None, objet: str) -> Rows:
    """Rows of a secondary sheet, by the file number of their beneficiary."""
    found: Rows = {}
    if sheet is None:
        return found
    titles = {"filenumber", *champs("beneficiary")["fileNumber"].entetes} - columns(objet).keys()
    for row in sheet:
        number = next((row.cells[title] for title in titles if title in row.cells), "")
        told: list[Finding] = []
        value = from_row(row, objet, told, frozenset(titles))
        told = [replace(one, path=f"{sheet.name}, {one.path}") for one in told]
        found.setdefault(number, []).append((value, told))
    return found


def _orphans(nested: Mapping[str, Rows]) -> Iterator[Kept]:
    """Rows of secondary sheets whose beneficiary is not in the main one: told, never dropped."""
    for name, rows in nested.items():
        for items in rows.values():
            for _ in items:
                yield Kept({}, [Finding("unknown-beneficiary", name, "reject")], name)


# --- one beneficiary --------------------------------------------------------------------------------------------------


def record(kept: Kept, context: Context) -> Record:
    """The record of one beneficiary. Its digest and its facts come only from the fields that are read, its digest also
    from what of them could not be."""
    value, findings = kept.value, list(kept.findings)
    named = value.get("birthName") or value.get("usualName")
    if value.get("birthDate") in SENTINEL_DATES:  # written for want of a date
        value = {name: said for name, said in value.items() if name != "birthDate"}
    if lacking := [name for name in IDENTITY if not value.get(name)] or ([] if named else ["birthName"]):
        if not any(finding.severity == "reject" for finding in findings):
            findings.append(Finding("identity-missing", f"{kept.where}.{lacking[0]}", "reject"))
        return Record(str(value.get("fileNumber", kept.where)), [], findings=findings, digest=digest(value))
    if (status := value.pop("status", "")) and status not in champs("beneficiary")["status"].valeurs:
        findings.append(Finding("unknown-code", f"{kept.where}.status", "notice", detail="how the file is kept"))
    if status == "Deceased" and not value.get("deathDate"):
        told = "the file says that she died: send the date, or reopen the file"
        findings.append(Finding("missing-required", f"{kept.where}.deathDate", detail=told))
    who, done = _shaped(value, kept.where, findings)
    words: dict[str, Any] = {name: said for name, said in context._asdict().items() if said}
    words["digest"] = digest(value, findings)
    read: Record = mappings.load("ccas.beneficiaires").read(who, **words)
    read.personnes[0].taken_back = tuple(path for name, path in TAKEN_BACK.items() if value.get(name, "") is None)
    if done:
        more: Record = mappings.load("ccas.suivi").read(done | {"fileNumber": who.get("fileNumber", "-")}, **words)
        _merge(read.personnes[0].facts, more.personnes[0].facts, findings, kept.where)
        read.findings += more.findings
    read.key = str(who.get("fileNumber") or _who(value))
    read.findings = findings + [replace(one, path=f"{kept.where}.{one.path}") for one in read.findings]
    return read


def _merge(facts: dict[str, Any], more: Mapping[str, Any], findings: list[Finding], where: str) -> None:
    if facts.keys().isdisjoint(more):
        facts |= more
        return
    for path, value in more.items():
        if facts.setdefault(path, value) != value:
            findings.append(Finding("contradiction", where, "quarantine"))


def _who(value: Mapping[str, Any]) -> str:
    """A record key for a beneficiary without file number: stable, and saying nothing of her."""
    text = "|".join(
        (
            name_key(str(value.get("birthName") or value.get("usualName"))),
            name_key(value["firstName"]),
            value["birthDate"],
        )
    )
    return blake2b(text.encode(), digest_size=8).hexdigest()


def _shaped(value: Mapping[str, Any], where: str, findings: list[Finding]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(who she is, what was done with her), in the words of the two mappings."""
    who = {name: item for name, item in value.items() if name not in NESTED}
    numbers = [*who.pop("phone1", []), *who.pop("phone2", [])]
    if numbers:
        who["telephones"] = list(dict.fromkeys(numbers))
    if number := who.pop("unemploymentNumber", ""):
        who["ftNumero" if ft_numero(number) else "ftIdassedic"] = number
    if established := _established(who, where, findings):
        who["etablis"] = established
    done = {name: [dict(item) for item in value[name]] for name in NESTED if value.get(name)}
    prefix = str(value.get("fileNumber") or _who(value))
    for name, stamp in (("followups", "date"), ("helpRequests", "openingDate"), ("rendezVous", "debut"),
                        ("resultats", "date"), ("demandesReorientation", "demandeeLe"),
                        ("actionsConvenues", "echeance"), ("contratsPrepares", "debut"),
                        ("prescriptionsFaites", "envoyeeLe")):  # fmt: skip
        for item in done.get(name, []):
            if "id" not in item:
                item["id"] = f"{prefix}-{item.get(stamp, '')}"
    for item in done.get("followups", []):
        if not item.pop("redirected", True):
            item.pop("structureName", None)
    for item in done.get("rendezVous", []):
        if item.get("modalite") == "domicile":
            item.pop("lieu", None)
    return who, done


@cache
def _mobility() -> dict[str, tuple[str, ...]]:
    """Situations that each value of the mobility field establishes, through the labels both lists share."""
    labels = {row["carnet_libelle"]: row["situation_canonique"] for row in nomenclatures.crosswalk("freins_situations")}
    return {
        row["mss_mobility"]: tuple(labels[label] for label in row["carnet_situation"].split("|"))
        for row in nomenclatures.crosswalk("mobilite_mss")
    }


def _established(who: dict[str, Any], where: str, findings: list[Finding]) -> list[dict[str, Any]]:
    """Situations that a field of the file establishes by itself."""
    found: dict[str, Iterable[str]] = {}
    mobility = who.pop("mobility", None)
    if mobility in _mobility():
        found["mobilite"] = _mobility()[mobility]
    elif mobility:
        findings.append(Finding("unknown-code", f"{where}.mobility", "quarantine", mobility, "mobility"))
    if who.get("accomodationMode") == "Substandard":
        del who["accomodationMode"]  # the state of the housing, not how it is occupied
        found["logement"] = ("logement_insalubre",)
    return [
        {"theme": theme, "situations": [{"code": code, "valeur": "oui"} for code in codes]}
        for theme, codes in found.items()
    ]
