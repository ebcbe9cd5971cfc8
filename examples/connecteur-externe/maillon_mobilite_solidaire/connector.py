"""Mobilité solidaire: what it sends about a person, and the sheet it receives.

for record in connector.read("mobilite_solidaire.suivi", open("suivi.json", "rb")): …
written = connector.write("mobilite_solidaire.fiche", current)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import mappings
from connectors import kit, manifest
from connectors.contract import Acknowledgement, Contact, DocumentRefused, NotObtained, Outgoing, Reading
from connectors.failures import TransportError
from schemas.record import Current, Written

if TYPE_CHECKING:
    from connectors.transport import Transport

SUIVI, FICHE = "mobilite_solidaire.suivi", "mobilite_solidaire.fiche"
ASKED_BY = ("nom_naissance", "prenoms", "date_naissance")
MAX_PAGES = 100


class MobiliteSolidaire:
    """Mobilité solidaire. `api_url` and `cle` come from the settings."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.manifest = manifest.load(Path(__file__).parent)
        self._url = settings["api_url"].rstrip("/")
        self._key = settings["cle"]

    def read(self, document: str, source: BinaryIO, *, content_type: str = "") -> Reading:
        """Open a document of follow-up. Raises `DocumentRefused`."""
        if document != SUIVI:
            raise DocumentRefused("unknown-document", "mobilite_solidaire sends its follow-up only")
        return kit.RecordsReading(self.manifest.documents[SUIVI], source, "dossiers")

    def write(self, document: str, current: Current, **context: Any) -> Written:
        """The sheet of one person, from permitted facts."""
        if document != FICHE:
            raise DocumentRefused("unknown-document", "mobilite_solidaire receives its sheet only")
        return mappings.load(FICHE).write(current, context)

    async def send(self, outgoing: Outgoing, transport: Transport) -> Acknowledgement:
        """Put the sheet under the person's reference; the delivery's id makes a second sending harmless."""
        headers = {"Idempotency-Key": outgoing.delivery, "Content-Type": self._media(FICHE)}
        try:
            answer = await transport.request(
                "PUT",
                f"{self._url}/v1/fiches/{outgoing.reference}",
                headers=self._authorized(headers),
                content=kit.content(outgoing.written),
                repeatable=True,
            )
        except TransportError as error:
            return kit.unsent(error)
        return kit.acknowledged(answer, remote_id=outgoing.reference)

    async def contacts(self, transport: Transport) -> AsyncIterator[Contact]:
        """Ask about nobody: the partner lets us in and refuses the question, which changes nothing."""
        try:
            answer = await transport.request(
                "POST", f"{self._url}/v1/suivis/recherche", headers=self._authorized(), json={}, repeatable=True
            )
        except TransportError as error:
            yield Contact("api_url", error.code)
        else:
            yield kit.contacted("cle", answer)

    async def pull(
        self, document: str, identifiers: Mapping[str, str], transport: Transport
    ) -> AsyncIterator[tuple[str, bytes]]:
        """Ask about one person by her civil identity, page after page. Raises `NotObtained`."""
        if document != SUIVI:
            raise NotObtained("refused", "document-unknown")
        asked = {name: identifiers[name] for name in ASKED_BY if identifiers.get(name)}
        if len(asked) < len(ASKED_BY):
            raise NotObtained("waiting", "identity-incomplete")
        for page in range(1, MAX_PAGES + 1):
            try:
                answer = await transport.request(
                    "POST",
                    f"{self._url}/v1/suivis/recherche",
                    headers=self._authorized(),
                    json=asked | {"page": page},
                    repeatable=True,
                )
            except TransportError as error:
                raise kit.not_obtained(error) from None
            found = kit.obtained(answer)
            if found is None:
                return
            yield SUIVI, found
            if "page-suivante" not in answer.headers:
                return
        raise NotObtained("refused", "too-many-pages")

    def _authorized(self, headers: Mapping[str, str] | None = None) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}", "Accept": self._media(SUIVI), **(headers or {})}

    def _media(self, document: str) -> str:
        """The media type in which a document travels: the first that the manifest names."""
        return self.manifest.documents[document].content_type[0]


def create(settings: Mapping[str, str]) -> MobiliteSolidaire:
    """The connector, configured by the operator's settings (`manifest.toml`)."""
    return MobiliteSolidaire(settings)
