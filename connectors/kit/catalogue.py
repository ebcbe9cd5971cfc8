"""Lists that a partner publishes and that speak of nobody: services, structures, offices. Checked, kept, looked up.

kept = Catalogue(folder / "services.json", schema)
reading = CatalogueReading(document, source, kept)  # `reading.keep()` replaces the list
kept.get("dora--42")
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import jsonschema_rs

from connectors import json as strict
from connectors.contract import DocumentRefused, Envelope
from connectors.kit.records import array
from connectors.manifest import Document
from connectors.source import rewindable
from schemas.record import Finding, Record


class Catalogue:
    """One list of the partner in a file, replaced whole; read again when the file changed.

    `schema` is the JSON Schema of one entry, `key` the property that names it.
    """

    def __init__(self, file: Path, schema: Mapping[str, Any], key: str = "id") -> None:
        self.file, self.key = file, key
        self._validator = jsonschema_rs.validator_for(dict(schema), validate_formats=True)
        self._read: tuple[int, dict[str, dict[str, Any]]] = (0, {})

    def findings(self, entry: Mapping[str, Any]) -> list[Finding]:
        """Where an entry departs from the schema: ``unknown-code`` waits for a human, ``schema-invalid`` is refused."""
        found = []
        for error in self._validator.iter_errors(entry):
            path = ".".join(map(str, error.instance_path)) or self.key
            if (code := _unknown_code(error)) is None:
                found.append(Finding("schema-invalid", path, "reject", detail=error.kind.name))
            else:
                found.append(Finding("unknown-code", path, "quarantine", raw=code))
        return found

    def keep(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Replace the list; a crash leaves the former one or the new one."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=self.file.parent, delete=False) as fresh:
            json.dump(list(entries), fresh, ensure_ascii=False)
            fresh.flush()
            os.fsync(fresh.fileno())
        Path(fresh.name).replace(self.file)

    def get(self, key: str) -> dict[str, Any] | None:
        """The entry of this name; None when the list has none, or was never received."""
        try:
            stamp = self.file.stat().st_mtime_ns
        except FileNotFoundError:
            return None
        if self._read[0] != stamp:
            entries = json.loads(self.file.read_bytes())
            self._read = stamp, {one[self.key]: one for one in entries}
        return self._read[1].get(key)


def _unknown_code(error: Any) -> str | None:
    """The value that only a closed list refuses; None for any other fault."""
    if error.kind.name == "enum":
        return str(error.instance)
    for branch in getattr(error.kind, "context", ()):
        if branch and all(one.kind.name == "enum" for one in branch):
            return str(branch[0].instance)
    return None


class CatalogueReading:
    """A list being read. It speaks of nobody: its records are only the entries that cannot be kept, with the reason.

    `keep` replaces the list by the others; an entry that was left out comes with the next sending. Raises
    `DocumentRefused` as `RecordsReading` does, ``empty-document``, ``duplicate-key`` (two entries of one name).
    """

    def __init__(self, document: Document, source: BinaryIO, catalogue: Catalogue, container: str = "") -> None:
        whole = strict.read(rewindable(source, document.max_bytes), max_bytes=document.max_bytes)
        self._entries, self._catalogue = array(whole, container), catalogue
        if not self._entries:
            raise DocumentRefused("empty-document", "a list without an entry replaces nothing")
        named = [one.get(catalogue.key) for one in self._entries if isinstance(one.get(catalogue.key), str)]
        if len(set(named)) != len(named):
            raise DocumentRefused("duplicate-key", f"each entry has its own {catalogue.key}", path=catalogue.key)
        self.envelope = Envelope(document.id, "stock", counted=len(self._entries))

    def __iter__(self) -> Iterator[Record]:
        for entry in self._entries:
            if findings := self._catalogue.findings(entry):
                name = str(entry.get(self._catalogue.key) or "")
                yield Record(name, [], findings=findings, digest=strict.digest(entry))

    def keep(self) -> None:
        self._catalogue.keep(entry for entry in self._entries if not self._catalogue.findings(entry))
