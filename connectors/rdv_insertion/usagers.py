"""rdv-insertion's users: the same person whether she comes in a table or inside a webhook."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, BinaryIO

import mappings
from connectors.contract import DocumentRefused, Envelope
from connectors.json import digest
from connectors.rdv_insertion.champs import allowed, columns
from connectors.source import rewindable
from connectors.table import MAX_BYTES, Row, Sheet, alone, day, is_scientific, sheets, unread
from schemas.normalisation import is_erased_email, nir, phones
from schemas.record import Finding, Record

DOCUMENT = "rdv_insertion.usagers"
ANONYMISED = "[valeur anonymisée]"
ERASED = "erased-person"
REQUIRED = ("first_name", "last_name")


def user_record(
    value: Any, departement: str, path: str, *, checked: bool = False, key: str = "", told: Iterable[Finding] = ()
) -> Record:
    """The record of one user. `checked`: the white list was applied already, and `told` says what it left out. Erased
    users have no facts."""
    findings = list(told)
    user = value if checked else allowed(value, "user", path, findings)
    if is_erased_email(str(user.get("email", ""))) or ANONYMISED in user.values():
        findings.append(Finding(ERASED, path, "notice", detail="the source erased this person"))
        return Record(str(user.get("id", key)), [], findings=findings, digest=digest(["erased", key]))
    if not user.get("first_name") or not (user.get("last_name") or user.get("birth_name")):
        findings.append(Finding("identity-missing", path, "reject", detail="a name and a first name"))
    said = digest(user, findings)
    shaped = dict(user)
    if "phone_number" in shaped:
        found = phones(str(shaped.pop("phone_number")))
        if found.illisibles:
            findings.append(Finding("bad-phone", f"{path}.phone_number"))
        if found.numeros:
            shaped["telephones"] = list(found.numeros)
    if "birth_date" in shaped and (iso := day(str(shaped["birth_date"]))):
        shaped["birth_date"] = iso
    record: Record = mappings.load(DOCUMENT).read(
        shaped | {"cle": str(user.get("id") or key or "-")}, departement=departement
    )
    record.findings = findings + [replace(one, path=f"{path}.{one.path}") for one in record.findings]
    record.digest = said
    return record


def is_erased(record: Record) -> bool:
    """Whether the source replaced this person's data by marks of erasure."""
    return any(finding.code == ERASED for finding in record.findings)


class UsagersReading:
    """A table of users: checked to its last line, then read row by row."""

    def __init__(self, source: BinaryIO, departement: str) -> None:
        self._source = rewindable(source, MAX_BYTES)
        self._departement = departement
        sheet, *others = self._sheets()
        known = columns()
        named = [known[title].nom for title in sheet.headers if title in known]
        if missing := [name for name in REQUIRED if name not in named]:
            raise DocumentRefused("missing-header", "a mandatory column is missing", path=missing[0])
        if twice := [name for name in named if named.count(name) > 1]:
            raise DocumentRefused("table-duplicate-header", "two columns mean the same field", path=twice[0])
        unknown = [title for title in sheet.headers if title and title not in known]
        told = tuple(Finding("unknown-column", f"colonne {title}", "notice") for title in unknown)
        self.envelope = Envelope(DOCUMENT, counted=sum(1 for _ in sheet), findings=(*told, *unread(sheet, others)))

    def _sheets(self) -> list[Sheet]:
        self._source.seek(0)
        return sheets(self._source)

    def __iter__(self) -> Iterator[Record]:
        sheet = self._sheets()[0]
        for row in sheet:
            record = self._record(row)
            record.original = partial(alone, sheet.headers, row)
            yield record

    def _record(self, row: Row) -> Record:
        at, findings = f"ligne {row.line}", list[Finding]()
        user: dict[str, Any] = {}
        for title, text in row.cells.items():
            champ = columns().get(title)
            if champ is None or not champ.lu:
                continue
            where = f"{at}, colonne {title}"
            lost = champ.type == "nir" and title in row.numeric and nir(text).controle != "valide"
            if champ.type in {"nir", "identifiant"} and (is_scientific(text) or lost):
                findings.append(Finding("number-lost-digits", where, raw=text))
            elif champ.type == "date":
                if iso := day(text):
                    user[champ.nom] = iso
                else:
                    findings.append(Finding("bad-date", where, raw=text))
            else:
                user[champ.nom] = text
        if row.surplus:
            findings.append(Finding("surplus-cells", at, detail="cells beyond the last title"))
        identifier = user.get("department_internal_id") or user.get("id") or at.replace(" ", "-")
        if not {"nir", "department_internal_id", "email", "phone_number"} & user.keys():
            told = "a NIR, an internal id, an e-mail or a telephone"
            findings.append(Finding("identifier-missing", at, "reject", detail=told))
        record = user_record(user, self._departement, at, checked=True, key=str(identifier), told=findings)
        record.key = str(identifier)
        return record
