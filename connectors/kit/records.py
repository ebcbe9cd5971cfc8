"""Documents whose records stand one after the other: a JSON array, repeated XML elements. Tables: `TableReading`.

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
from schemas.record import Current, Record, Written


class RecordsReading:
    """A `Reading` of one JSON or XML document.

    `container` is the key of the JSON array or the XML root. Every record goes through the document's first mapping,
    with `context`. Raises `DocumentRefused`: ``wrong-shape``, ``too-large``, and those of `connectors.json` and
    `connectors.xml`.
    """

    def __init__(self, document: Document, source: BinaryIO, container: str = "", **context: Any) -> None:
        if document.format not in ("json", "xml"):
            raise ValueError(f"{document.id} is {document.format}: kit.TableReading reads tables")
        self._document, self._container, self._context = document, container, context
        self._mapping = mappings.load(document.mapping[0])
        self._source = rewindable(source, document.max_bytes)
        self._values: list[Any] = []
        if document.format == "json":
            self._values = array(strict.read(self._source, max_bytes=document.max_bytes), container)
            counted = len(self._values)
        else:
            counted = sum(1 for _ in self._raw())
            if not counted:
                raise DocumentRefused("empty-document", "the document holds no record")
        self.envelope = Envelope(document.id, counted=counted)

    def _raw(self) -> Iterator[tuple[Any, Callable[[], bytes]]]:
        """Each value to read, and what gives a document that holds it alone (before the next value is asked for)."""
        self._source.seek(0)
        if self._document.format == "xml":
            for element in xml.stream(self._source, self._container, self._mapping.file.partner.record):
                yield element, partial(_element_alone, self._container, element)
        else:
            for value in self._values:
                yield value, partial(array_of_one, self._container, value)

    def __iter__(self) -> Iterator[Record]:
        for value, original in self._raw():
            record = self._mapping.read(value, **self._context)
            if record.quarantined:
                record.original = partial(bytes, original())
            yield record


def array(value: Any, container: str) -> list[dict[str, Any]]:
    """The objects of a JSON array, bare or alone under `container`. Raises `DocumentRefused`."""
    found = value.get(container) if isinstance(value, dict) else value
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise DocumentRefused("wrong-shape", f"the records are an array of objects under {container}")
    if isinstance(value, dict) and (strangers := sorted(value.keys() - {container})):
        raise DocumentRefused("unknown-element", f"nothing but {container} is expected", path=strangers[0])
    return found


def array_of_one(container: str, value: Any) -> bytes:
    """A document that holds this object alone."""
    return json.dumps({container: [value]} if container else [value], ensure_ascii=False).encode()


def _element_alone(container: str, element: etree._Element) -> bytes:
    return _enclosed(container, etree.tostring(element, with_tail=False))


def _enclosed(container: str, element: bytes) -> bytes:
    inside = f"<{container}>".encode() + element + f"</{container}>".encode() if container else element
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + inside


def entry(current: Current, name: str, item: str = "") -> tuple[str, Current]:
    """The key of the one entry of a canonical list that a form carries, and the facts without the other entries.

    `item` is what the gateway says of it (`context["item"]`); the first told when it says nothing.
    """
    start = f"{name}["
    item = item or next((path[len(start) :].partition("]")[0] for path in current if path.startswith(start)), "")
    kept = {
        path: fact for path, fact in current.items() if not path.startswith(start) or path.startswith(f"{start}{item}]")
    }
    return item, kept


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
    return table.one_row(written.document)
