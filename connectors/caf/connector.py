"""The caisses (CAF and MSA) as the Département meets them: RSA files of several kinds, read only.

connector = create(Settings(departement="040"))
reading = connector.read("caf.flux_beneficiaire", open("RSABEM.xml", "rb"))
reading.envelope.held, [record.key for record in reading]
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from connectors import manifest
from connectors.caf import contacts, controle, lecture
from connectors.caf.flux import GENRES
from connectors.caf.lecture import Lecture, Part
from connectors.contract import Acknowledgement, DocumentRefused, Outgoing, Reading
from schemas.record import Current, Written

if TYPE_CHECKING:
    from connectors.transport import Transport

SPOOL = 8 << 20
"""Bytes kept in memory of a source that cannot be read twice; beyond, a temporary file."""


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
        tick: Callable[[int], None] | None = None,
    ) -> Reading:
        """Control the whole document, then read it. Raises `DocumentRefused` before the first record, or not at all.

        `tick` hears the byte position while a big file is being controlled.
        """
        if document == contacts.DOCUMENT:
            return contacts.Contacts(rewindable(source))
        if document not in GENRES:
            raise DocumentRefused("unknown-document", f"the caisses do not send {document}")
        seekable = rewindable(source)
        plan = controle.preflight(GENRES[document], seekable, self.departement, tick)
        return Lecture(seekable, plan, lecture.reader(plan))

    def preview(self, document: str, source: BinaryIO) -> Reading:
        """The same records without the control of the whole file: to look at a file, never to publish it.

        What breaks in the middle is told only there, as a rejected record; totals are not compared.
        """
        if document not in GENRES:
            return self.read(document, source)
        seekable = rewindable(source)
        plan = controle.glance(GENRES[document], seekable, self.departement)
        return Lecture(seekable, plan, lecture.reader(plan))

    def read_part(self, part: Part, source: BinaryIO) -> Lecture:
        """Read one part of a file controlled elsewhere; `source` is the same file, seekable."""
        return Lecture(source, part.plan, lecture.reader(part.plan), part)

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


def rewindable(source: BinaryIO) -> BinaryIO:
    """The same source when it can be read twice, else a copy of it: in memory when small, else an unnamed file."""
    if source.seekable():
        return source
    spool = tempfile.SpooledTemporaryFile(max_size=SPOOL)  # noqa: SIM115 - lives as long as the reading
    while chunk := source.read(1 << 20):
        spool.write(chunk)
    return cast(BinaryIO, spool)


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
