"""One Département: its référentiel, its ALI flows both ways, its accompagnements and its tables.

connector = create({"departement": "40", "structure_ali": "7"})
connector.read("departement.referentiel", open("referentiel.xml", "rb"))   # first: nothing is read without it
for record in connector.read("departement.webrsa_ali", open("flux.xml", "rb")): …
"""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import mappings
from connectors import kit, manifest
from connectors.contract import Acknowledgement, DocumentRefused, Envelope, Outgoing, Reading, nothing_asked
from connectors.departement import ali
from connectors.departement.accompagnement import DOCUMENT as ACCOMPAGNEMENT
from connectors.departement.accompagnement import AccompagnementReading
from connectors.departement.depot import deposit, fetch
from connectors.departement.referentiel import Referentiels, read_referentiel
from connectors.departement.webrsa import WebrsaReading
from schemas.normalisation import departement_code
from schemas.record import Current, Record, Written

if TYPE_CHECKING:
    from connectors.transport import Transport

REFERENTIEL = "departement.referentiel"
MAX_REFERENTIEL = 64 * 1024 * 1024


class ReferentielReading:
    """A référentiel: no record in it. It replaces the one that is kept, unless that one is newer."""

    def __init__(self, source: BinaryIO, kept: Referentiels) -> None:
        data = source.read(MAX_REFERENTIEL + 1)
        if len(data) > MAX_REFERENTIEL:
            raise DocumentRefused("too-large", f"at most {MAX_REFERENTIEL} bytes")
        found = read_referentiel(data)
        held = kept.current(found.structure_ali)
        if held is not None and held.emitted_at > found.emitted_at:
            raise DocumentRefused("referentiel-older", "a more recent one is already kept")
        self._kept, self._data = kept, data
        self.envelope = Envelope(
            REFERENTIEL, "stock", found.emitted_at, organisme=found.structure_ali, declared=0, counted=0
        )

    def __iter__(self) -> Iterator[Record]:
        return iter(())

    def keep(self) -> None:
        self._kept.keep(self.envelope.organisme, self._data)


class Departement:
    """One Département. `departement` is its number on two or three characters (`40`, `2A`, `971`)."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.manifest = manifest.load(Path(__file__).parent)
        self.departement = departement_code(settings["departement"])
        self._structure_ali = settings.get("structure_ali", "")
        self._structure = settings.get("structure_referente", "")
        self._max_age = timedelta(days=int(settings.get("referentiel_jours") or 92))
        self._url = settings.get("url", "").rstrip("/")
        self._login = (settings.get("identifiant", ""), settings.get("secret", ""))
        home = Path(os.environ.get("MAILLON_HOME", "var")) / "departement" / self.departement
        self.kept = Referentiels(Path(settings.get("referentiels") or home))

    def read(self, document: str, source: BinaryIO, *, content_type: str = "") -> Reading:
        """Open what the Département sent. Raises `DocumentRefused` before the first record, or not at all."""
        if document == REFERENTIEL:
            return ReferentielReading(source, self.kept)
        if document == WebrsaReading.document:
            return WebrsaReading(source, self.kept, self.departement, self._max_age)
        if document == ACCOMPAGNEMENT:
            return AccompagnementReading(source, self.departement)
        if document in self.manifest.documents and mappings.load(document).file.table:
            return kit.TableReading(self.manifest.documents[document], source, departement=self.departement)
        raise DocumentRefused("unknown-document", f"a Département does not send {document}")

    def write(self, document: str, current: Current, **context: Any) -> Written:
        """An ALI-WebRSA file about one person. `context["complement"]`: what an agent typed (see `ali.write`)."""
        if document != ali.DOCUMENT:
            raise DocumentRefused("unknown-document", f"a Département does not receive {document}")
        held = self.kept.current(self._structure_ali) if self._structure_ali else self.kept.only()
        number = held.structure_ali if held else self._structure_ali or "1"
        return ali.write(current, self.departement, number, held, context.get("complement"), self._structure)

    def file(self, outgoing: Outgoing) -> bytes | Acknowledgement:
        """The file about this person, under the Département's own id of her; or why there is none."""
        written = outgoing.written
        id_personne = written.metadata.get("id_personne") or outgoing.identifiers.get(
            f"si_departement:{self.departement}", ""
        )
        if not id_personne:
            return Acknowledgement("waiting", "person-unknown-there", detail="the Département has not named her yet")
        if not written.metadata.get("blocks"):
            return Acknowledgement("delivered", "nothing-to-tell")
        return ali.addressed(written.document, id_personne)

    async def send(self, outgoing: Outgoing, transport: Transport) -> Acknowledgement:
        """Drop the file where the Département picks it up; its answer gives its own ids."""
        document = self.file(outgoing)
        if isinstance(document, Acknowledgement):
            return document
        ids = outgoing.written.metadata.get("ids", {})
        return await deposit(transport, self._url, self._headers(outgoing.delivery), document, ids)

    def pull(
        self, document: str, identifiers: Mapping[str, str], transport: Transport
    ) -> AsyncIterator[tuple[str, bytes]]:
        """A Département gives files, never one person on request: see `collect`."""
        return nothing_asked("files-only")

    async def collect(self, transport: Transport) -> AsyncIterator[tuple[str, bytes]]:
        """The files that wait at the drop: the référentiel, then each flow, oldest first. Raises `NotObtained`."""
        async for found in fetch(transport, self._url, self._headers()):
            yield found

    def _headers(self, delivery: str = "") -> dict[str, str]:
        headers = {"Idempotency-Key": delivery} if delivery else {}
        if self._login[0]:
            token = base64.b64encode(":".join(self._login).encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        return headers


def create(settings: Mapping[str, str]) -> Departement:
    """The connector, configured by the operator's settings (`manifest.toml`)."""
    return Departement(settings)
