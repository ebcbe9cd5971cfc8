"""Documents whose records stand one after the other: a JSON array, repeated XML elements, the rows of a table.

The document is checked to its end before its first record is given, so that it is refused whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, BinaryIO

from lxml import etree

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

    def _raw(self) -> Iterator[tuple[Any, Callable[[], bytes]]]:
        """Each value to read, and what gives a document that holds it alone (before the next value is asked for)."""
        self._source.seek(0)
        if self._document.format == "xml":
            for element in xml.stream(self._source, self._container, self._mapping.file.partner.record):
                yield element, partial(_element_alone, self._container, element)
        elif self._document.format == "json":
            for value in self._values:
                yield value, partial(_array_of_one, self._container, value)
        else:
            sheet = table.sheets(self._source, max_bytes=self._document.max_bytes)[0]
            for row in sheet:
                yield row.cells, partial(table.alone, sheet.headers, row)

    def __iter__(self) -> Iterator[Record]:
        for value, original in self._raw():
            record = self._mapping.read(value, **self._context)
            if record.quarantined:
                record.original = partial(bytes, original())
            yield record


def _array_of_one(container: str, value: Any) -> bytes:
    return json.dumps({container: [value]} if container else [value], ensure_ascii=False).encode()


def _element_alone(container: str, element: etree._Element) -> bytes:
    return _enclosed(container, etree.tostring(element, with_tail=False))


def _enclosed(container: str, element: bytes) -> bytes:
    inside = f"<{container}>".encode() + element + f"</{container}>".encode() if container else element
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + inside


def content(written: Written, container: str = "") -> bytes:
    """The bytes of one written document: JSON and XML as they are, a table row under its headers.

    `container` is the XML root that encloses the record; none when the record is the root.
    """
    document = written.document
    if isinstance(document, bytes):
        return _enclosed(container, document)
    return json.dumps(document, ensure_ascii=False).encode()


def row(written: Written) -> bytes:
    """The bytes of one written table row, as CSV with its header."""
    return table.to_csv(list(written.document), [[str(cell) for cell in written.document.values()]])
