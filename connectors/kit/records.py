"""Documents whose records stand one after the other: a JSON array, repeated XML elements, the rows of a table.

The document is checked to its end before its first record is given, so that it is refused whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import mappings
from connectors import json as strict
from connectors import table, xml
from connectors.contract import DocumentRefused, Envelope
from connectors.manifest import Document
from connectors.source import rewindable
from schemas.record import Record, Written


class RecordsReading:
    """A `Reading` of one document.

    `container` is the key of the JSON array or the XML root; it is not used for tables. Every record goes through the
    document's first mapping, with `context`. Raises `DocumentRefused`: ``wrong-shape``, ``too-large``, and those of
    `connectors.json`, `connectors.xml` and `connectors.table`.
    """

    def __init__(self, document: Document, source: BinaryIO, container: str = "", **context: Any) -> None:
        self._document, self._container, self._context = document, container, context
        self._mapping = mappings.load(document.mapping[0])
        self._source = rewindable(source, document.max_bytes)
        self._values: list[Any] = []
        if document.format == "json":
            self._values = self._array(strict.read(self._source, max_bytes=document.max_bytes))
            counted = len(self._values)
        else:
            counted = sum(1 for _ in self._raw())
            if not counted:
                raise DocumentRefused("empty-document", "the document holds no record")
        self.envelope = Envelope(document.id, counted=counted)

    def _array(self, value: Any) -> list[Any]:
        found = value.get(self._container) if isinstance(value, dict) else value
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise DocumentRefused("wrong-shape", f"the records are an array of objects under {self._container}")
        if isinstance(value, dict) and (strangers := sorted(value.keys() - {self._container})):
            raise DocumentRefused("unknown-element", f"nothing but {self._container} is expected", path=strangers[0])
        return found

    def _raw(self) -> Iterator[Any]:
        self._source.seek(0)
        if self._document.format == "xml":
            yield from xml.stream(self._source, self._container, self._mapping.file.partner.record)
        elif self._document.format == "json":
            yield from self._values
        else:
            for row in table.sheets(self._source, max_bytes=self._document.max_bytes)[0]:
                yield row.cells

    def __iter__(self) -> Iterator[Record]:
        for value in self._raw():
            yield self._mapping.read(value, **self._context)


def content(written: Written, container: str = "") -> bytes:
    """The bytes of one written document: JSON and XML as they are, a table row under its headers.

    `container` is the XML root that encloses the record; none when the record is the root.
    """
    document = written.document
    if isinstance(document, bytes):
        inside = f"<{container}>".encode() + document + f"</{container}>".encode() if container else document
        return b'<?xml version="1.0" encoding="UTF-8"?>\n' + inside
    return json.dumps(document, ensure_ascii=False).encode()


def row(written: Written) -> bytes:
    """The bytes of one written table row, as CSV with its header."""
    return table.to_csv(list(written.document), [[str(cell) for cell in written.document.values()]])
