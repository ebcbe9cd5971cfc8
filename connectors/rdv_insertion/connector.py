"""rdv-insertion: webhooks received, user tables read. Nothing is written to it.

connector = create({"departement": "26", "secret": "…"})
webhook = connector.webhook(headers, body, now)             # proved, or DocumentRefused
for record in connector.read(webhook.document, io.BytesIO(webhook.body)): …
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from connectors import manifest
from connectors.contract import Acknowledgement, DocumentRefused, Outgoing, Reading, nothing_asked
from connectors.rdv_insertion import usagers, webhook
from schemas.normalisation import departement_code
from schemas.record import Current, Written

if TYPE_CHECKING:
    from connectors.transport import Transport


class RdvInsertion:
    """One organisation's endpoint at rdv-insertion, inside one Département."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.manifest = manifest.load(Path(__file__).parent)
        self._departement = departement_code(settings["departement"])
        self._secret = settings.get("secret", "")
        self._window = timedelta(hours=int(settings.get("fenetre_heures") or 24))

    def announced(self, headers: Mapping[str, str]) -> None:
        """Refuse a webhook that bears no signature before its body is read. Raises `DocumentRefused`."""
        webhook.signature(headers, self._secret)

    def webhook(self, headers: Mapping[str, str], body: bytes, now: datetime) -> webhook.Webhook:
        """Prove a webhook before anything parses it. Raises `DocumentRefused` (see `webhook.open_webhook`)."""
        return webhook.open_webhook(headers, body, self._secret, now, self._window)

    def read(self, document: str, source: BinaryIO, *, content_type: str = "") -> Reading:
        """Open a proved webhook's body or a table of users. Raises `DocumentRefused`."""
        if document == webhook.DOCUMENT:
            return webhook.WebhookReading(source.read(webhook.MAX_BYTES + 1), self._departement)
        if document == usagers.DOCUMENT:
            return usagers.UsagersReading(source, self._departement)
        raise DocumentRefused("unknown-document", f"rdv-insertion does not send {document}")

    def write(self, document: str, current: Current, **context: Any) -> Written:
        raise DocumentRefused("unknown-document", "nothing is written to rdv-insertion")

    async def send(self, outgoing: Outgoing, transport: Transport) -> Acknowledgement:
        return Acknowledgement("refused", "read-only", detail="nothing is written to rdv-insertion")

    def pull(
        self, document: str, identifiers: Mapping[str, str], transport: Transport
    ) -> AsyncIterator[tuple[str, bytes]]:
        """rdv-insertion pushes; nothing is fetched."""
        return nothing_asked("pushes-only")


def create(settings: Mapping[str, str]) -> RdvInsertion:
    """The connector, configured by the operator's settings (`manifest.toml`)."""
    return RdvInsertion(settings)
