"""The caisses (CAF and MSA) as the Département meets them: RSA files of several kinds, read only.

connector = create({"departement": "040"})
reading = connector.read("caf.flux_beneficiaire", open("RSABEM.xml", "rb"))
reading.envelope.held, [record.key for record in reading]
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from connectors import manifest
from connectors.caf import contacts, controle, lecture
from connectors.caf.flux import GENRES
from connectors.caf.lecture import Lecture
from connectors.contract import Acknowledgement, DocumentRefused, Outgoing, Reading
from connectors.source import rewindable
from schemas.record import Current, Written

if TYPE_CHECKING:
    from connectors.transport import Transport


class Caf:
    """One Département's caisses. `departement` is on three positions (`040`); files for another one are refused.

    Without one, a file is taken for whichever Département it names, and says so in a notice: for trying files only.
    """

    def __init__(self, departement: str) -> None:
        self.manifest = manifest.load(Path(__file__).parent)
        self.departement = departement

    def read(
        self,
        document: str,
        source: BinaryIO,
        *,
        content_type: str = "",
    ) -> Reading:
        """Control the whole document, then read it. Raises `DocumentRefused` before the first record, or not at all."""
        if document == contacts.DOCUMENT:
            return contacts.Contacts(rewindable(source))
        if document not in GENRES:
            raise DocumentRefused("unknown-document", f"the caisses do not send {document}")
        seekable = rewindable(source)
        plan = controle.preflight(GENRES[document], seekable, self.departement)
        return Lecture(seekable, plan, lecture.reader(plan))

    def write(self, document: str, current: Current, **context: Any) -> Written:
        raise DocumentRefused("unknown-document", "nothing is written to the caisses: they are read only")

    async def send(self, outgoing: Outgoing, transport: Transport) -> Acknowledgement:
        return Acknowledgement("refused", "read-only", detail="nothing is sent to the caisses")

    async def pull(
        self, document: str, identifiers: Mapping[str, str], transport: Transport
    ) -> AsyncIterator[tuple[str, bytes]]:
        """The caisses give nothing on request here: their API is another connector (`api_particulier`)."""
        return
        yield


def recognise(head: bytes) -> str:
    """Which document a file seems to be, from its first bytes; reading it then says whether it really is."""
    if b"<NATFLUX>R<" in head:
        return "caf.instruction"
    if all(title in head.upper() for title in (b"MATRICULE", b"ROLE PERSONNE")) and b"<Racine" not in head:
        return "caf.contacts_allocataires"
    return "caf.flux_beneficiaire"


def create(settings: Mapping[str, str]) -> Caf:
    """The connector from its settings (`departement`)."""
    return Caf(settings.get("departement", ""))
