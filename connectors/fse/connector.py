"""FSE+: the statement of the participants of a co-financed operation, one row per participation.

written = connector.write("fse.participant", current, item="departement:1")
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import mappings
from connectors import kit, manifest
from connectors.contract import Acknowledgement, DocumentRefused, Outgoing, Reading, nothing_asked
from schemas.record import Current, Written

if TYPE_CHECKING:
    from connectors.transport import Transport

PARTICIPANT = "fse.participant"


class Fse:
    """Whoever holds the operation in the Département, and takes its statement to Ma démarche FSE+."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.manifest = manifest.load(Path(__file__).parent)

    def read(self, document: str, source: BinaryIO, *, content_type: str = "") -> Reading:
        """The managing authority sends nothing about a participant. Raises `DocumentRefused`."""
        raise DocumentRefused("unknown-document", "the FSE+ sends nothing")

    def write(self, document: str, current: Current, **context: Any) -> Written:
        """The row of one participation; `context["item"]` names it."""
        if document != PARTICIPANT:
            raise DocumentRefused("unknown-document", "the FSE+ receives participants only")
        item, shown = kit.entry(current, "participations", str(context.get("item") or ""))
        return mappings.load(PARTICIPANT).write(shown, {"participation": item})

    async def send(self, outgoing: Outgoing, transport: Transport) -> Acknowledgement:
        """No import interface is published: the row waits in the mailbox of whoever holds the operation."""
        return Acknowledgement("retry", "mailbox-only", detail="kept in the mailbox, to be fetched")

    def pull(
        self, document: str, identifiers: Mapping[str, str], transport: Transport
    ) -> AsyncIterator[tuple[str, bytes]]:
        """Nothing is asked of the managing authority. Raises `NotObtained`."""
        return nothing_asked("nothing-to-ask")


def create(settings: Mapping[str, str]) -> Fse:
    """The connector, configured by the operator's settings (`manifest.toml`)."""
    return Fse(settings)
