"""The contact file (`coordonnees-allocataire.txt`): twelve columns of delimited text, one row per person of a dossier.

The whole table is read once before its first record: a column that is missing or a broken quote refuses the file, so
that an import never « does nothing » without a word.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

import mappings
from connectors import table
from connectors.contract import DocumentRefused, Envelope
from connectors.repeated import Repeated
from schemas.record import Finding, Record

DOCUMENT = "caf.contacts_allocataires"
MAX_BYTES = 268_435_456
COLONNES = (
    "matricule", "role personne", "type personne", "nir", "numero demande rsa", "date demande rsa",
    "date debut droits devoirs", "nom responsable dossier", "prenom responsable dossier", "numero telephone dossier",
    "numero telephone 2 dossier", "adresse electronique dossier",
)  # fmt: skip


class Contacts:
    """The `Reading` of a contact file."""

    def __init__(self, source: BinaryIO) -> None:
        """Check the whole file. Raises `DocumentRefused` (``wrong-columns``, ``table-*``, ``too-large``)."""
        self._source = source
        self._mapping = mappings.load(DOCUMENT)
        self.sha256 = _sha256(source)
        sheet, *others = self._sheets()
        missing = [name for name in COLONNES if name not in sheet.headers]
        if missing:
            raise DocumentRefused("wrong-columns", f"these columns are missing: {', '.join(missing)}", "line 1")
        more = len([name for name in sheet.headers if name not in COLONNES])
        findings = table.unread(sheet, others)
        if more:
            findings += (Finding("unknown-column", "line 1", "notice", detail=str(more)),)
        self.envelope = Envelope(
            document=DOCUMENT,
            kind="delta",
            key=f"contacts|{self.sha256}",
            organisme="CAF",
            counted=sum(1 for _ in sheet),
            findings=findings,
        )

    def _sheets(self) -> list[table.Sheet]:
        self._source.seek(0)
        return table.sheets(self._source, max_bytes=MAX_BYTES)

    def __iter__(self) -> Iterator[Record]:
        repeated = Repeated()
        for row in self._sheets()[0]:
            record = self._mapping.read({name: row.cells.get(name, "") for name in COLONNES})
            record.digest = row.digest
            if row.surplus:
                record.findings.append(
                    Finding("surplus-cells", "row", "quarantine", detail=f"{row.surplus} more cells")
                )
            at = f"line {row.line}"
            record.findings = [replace(one, path=f"{at}: {one.path}") for one in record.findings]
            repeated.tell(record, at)
            yield record


def _sha256(source: BinaryIO) -> str:
    source.seek(0)
    return hashlib.file_digest(source, "sha256").hexdigest()  # type: ignore[arg-type]
