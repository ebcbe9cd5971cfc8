"""data·inclusion: the catalogue of structures and services, and the orientation of a person towards one of them.

for refused in connector.read("data_inclusion.services", open("services.json", "rb")): …   # the others are kept
written = connector.write("data_inclusion.orientation", current, item="departement:P-7")
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import mappings
from connectors import kit, manifest
from connectors.contract import Acknowledgement, DocumentRefused, Outgoing, Reading, nothing_asked
from connectors.data_inclusion.champs import schema
from schemas.record import Current, Finding, Written

if TYPE_CHECKING:
    from connectors.transport import Transport

ORIENTATION = "data_inclusion.orientation"
LISTS = {"data_inclusion.structures": "structure", "data_inclusion.services": "service"}
"""Documents of the catalogue, and what their entries are (`champs.py`)."""
FROM_SERVICE = ("nom", "commune", "telephone", "courriel", "lien_mobilisation", "modes_mobilisation", "date_maj")
FROM_STRUCTURE = ("nom", "siret", "commune", "telephone", "courriel")


class DataInclusion:
    """The catalogue of one territory."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.manifest = manifest.load(Path(__file__).parent)
        folder = Path(settings["catalogue"])
        self._lists = {
            document: kit.Catalogue(folder / f"{name}s.json", schema(name)) for document, name in LISTS.items()
        }

    def read(self, document: str, source: BinaryIO, *, content_type: str = "") -> Reading:
        """Open a list of the catalogue: a JSON array, as data·inclusion publishes it. Raises `DocumentRefused`."""
        if document not in LISTS:
            raise DocumentRefused("unknown-document", "data·inclusion sends structures and services only")
        return kit.CatalogueReading(self.manifest.documents[document], source, self._lists[document])

    def write(self, document: str, current: Current, **context: Any) -> Written:
        """One prescription, with what the catalogue says of its service; `context["item"]` names the prescription.

        A service that the catalogue does not hold is told (``unknown-code``), and its name is not guessed.
        """
        if document != ORIENTATION:
            raise DocumentRefused("unknown-document", "data·inclusion receives orientations only")
        item, shown = kit.entry(current, "prescriptions", str(context.get("item") or ""))
        written = mappings.load(ORIENTATION).write(shown, context)
        named = shown.get(f"prescriptions[{item}].vers_service")
        service = self._lists["data_inclusion.services"].get(str(named.value)) if named else None
        if service is not None:
            written.document["service"] = _some(service, FROM_SERVICE)
            offered_by = self._lists["data_inclusion.structures"].get(service["structure_id"])
            written.document["structure"] = _some(offered_by or {}, FROM_STRUCTURE)
        elif named:
            written.findings.append(Finding("unknown-code", "di_service_id", "quarantine"))
        return written

    async def send(self, outgoing: Outgoing, transport: Transport) -> Acknowledgement:
        """The structure has no server of ours to call: the orientation waits in its mailbox."""
        return Acknowledgement("retry", "mailbox-only", detail="kept in the mailbox, to be fetched")

    def pull(
        self, document: str, identifiers: Mapping[str, str], transport: Transport
    ) -> AsyncIterator[tuple[str, bytes]]:
        """A catalogue answers no question about a person. Raises `NotObtained`."""
        return nothing_asked("catalogue-only")


def _some(entry: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: entry[name] for name in names if entry.get(name) is not None}


def create(settings: Mapping[str, str]) -> DataInclusion:
    """The connector, configured by the operator's settings (`manifest.toml`)."""
    return DataInclusion(settings)
