"""One CCAS: what its follow-up software sends, and the sheet its delegated référent receives in the mailbox.

connector = create({"organisme": "ccas", "departement": "62"})
for record in connector.read("ccas.suivi", open("suivi.json", "rb")): …
written = connector.write("ccas.beneficiaires", current)      # a JSON sheet; `fiche.render` makes the readable forms
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import mappings
from connectors import kit, manifest
from connectors.ccas.lecture import CcasReading, Context
from connectors.contract import Acknowledgement, DocumentRefused, Outgoing, Reading
from schemas.normalisation import departement_code
from schemas.record import Current, Written

if TYPE_CHECKING:
    from connectors.transport import Transport

BENEFICIAIRES, SUIVI, FICHE = "ccas.beneficiaires", "ccas.suivi", "ccas.fiche"


class Ccas:
    """One CCAS. `organisme` is its id in the gateway (`ccas`, `ccas_carvin`…)."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.manifest = manifest.load(Path(__file__).parent)
        self._context = Context(
            settings.get("organisme") or "ccas",
            departement_code(settings.get("departement") or "00"),
            settings.get("nom_structure", ""),
        )

    def read(self, document: str, source: BinaryIO, *, content_type: str = "") -> Reading:
        """Open a sending: what is announced as JSON is; a file is what it looks like. Raises `DocumentRefused`."""
        if document in self.manifest.documents and mappings.load(document).file.table:
            words = {"organisme": self._context.organisme, "departement": self._context.departement}
            return kit.TableReading(self.manifest.documents[document], source, **words)
        if document not in (BENEFICIAIRES, SUIVI):
            raise DocumentRefused("unknown-document", f"a CCAS does not send {document}")
        return CcasReading(document, source, self._context, content_type)

    def write(self, document: str, current: Current, **context: Any) -> Written:
        """The sheet of one person, as a JSON-ready dict. `sources` names who said each field."""
        if document != BENEFICIAIRES:
            raise DocumentRefused("unknown-document", f"a CCAS does not receive {document}")
        words = {"organisme": self._context.organisme, "departement": self._context.departement}
        written = mappings.load(FICHE).write(current, words)
        written.document["sources"] = dict(sorted(written.sources.items()))
        return written

    async def send(self, outgoing: Outgoing, transport: Transport) -> Acknowledgement:
        """A CCAS has no server: the sheet waits in its mailbox until it is fetched and acknowledged."""
        return Acknowledgement("retry", "mailbox-only", detail="kept in the mailbox, to be fetched")

    async def pull(
        self, document: str, identifiers: Mapping[str, str], transport: Transport
    ) -> AsyncIterator[tuple[str, bytes]]:
        """Nothing is fetched from a CCAS: it sends."""
        nothing: tuple[tuple[str, bytes], ...] = ()
        for document_and_bytes in nothing:
            yield document_and_bytes


def create(settings: Mapping[str, str]) -> Ccas:
    """The connector, configured by the operator's settings (`manifest.toml`)."""
    return Ccas(settings)
