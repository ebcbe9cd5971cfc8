"""Cutting a big CAF file into records without parsing it.

Records are found by their tags in the raw bytes, at the speed of `bytes.find`. That is only right once the file is
known to be well formed, with nothing but blanks between records: `connectors.caf.controle` proves it first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

CHUNK = 1 << 18
MAX_RECORD = 4 << 20
"""Largest record taken, in bytes; the largest household imaginable is a hundred times smaller."""
MAX_GAP = 1 << 16
"""Largest text outside records, in bytes: header, footer, blanks."""

_NAME_ENDS = b"> \t\r\n/"


class TooLong(Exception):
    """A record beyond `MAX_RECORD`, or more than `MAX_GAP` outside records: never seen in a real file."""


def raw_records(
    source: BinaryIO, record: str, start: int = 0, gap: bytearray | None = None
) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, bytes) of each record from `start` on; `source` must be seekable.

    What lies outside records is added to `gap`, which the caller empties as it goes. Raises `TooLong`.
    """
    opening, closing = f"<{record}".encode("ascii"), f"</{record}".encode("ascii")
    source.seek(start)
    buffer, base, position = b"", start, 0
    while True:
        first = _tag(buffer, opening, position)
        last = -1 if first < 0 else _last(buffer, closing, first)
        if last >= 0:
            if last - first > MAX_RECORD:
                raise TooLong
            if gap is not None:
                gap += buffer[position:first]
            yield base + first, buffer[first : last + 1]
            position = last + 1
            continue
        keep = first if first >= 0 else max(position, len(buffer) - len(opening))
        if gap is not None:
            gap += buffer[position:keep]
        if (first >= 0 and len(buffer) - first > MAX_RECORD) or (gap is not None and len(gap) > MAX_GAP):
            raise TooLong
        more = source.read(CHUNK)
        if not more:
            if gap is not None:
                gap += buffer[keep:]
            return
        buffer, base, position = buffer[keep:] + more, base + keep, 0


def _last(buffer: bytes, closing: bytes, first: int) -> int:
    """Index of the `>` that ends the record starting at `first`; -1 when it is not in the buffer."""
    opened = buffer.find(b">", first)
    if opened > 0 and buffer[opened - 1 : opened] == b"/":
        return opened
    stop = _tag(buffer, closing, first)
    return -1 if stop < 0 else buffer.find(b">", stop)


def _tag(buffer: bytes, tag: bytes, position: int) -> int:
    """Where this tag, and not a longer name that begins like it, starts; -1 when it is not whole in the buffer."""
    while True:
        found = buffer.find(tag, position)
        after = found + len(tag)
        if found < 0 or after >= len(buffer):
            return -1
        if buffer[after] in _NAME_ENDS:
            return found
        position = after


_HEAD = re.compile(
    rb"<Organisme>\s*<FONORG>([^<]*)</FONORG>\s*<NUMORG>([^<]*)</NUMORG>\s*<MATRICULE>([^<]*)</MATRICULE>\s*"
    rb"</Organisme>\s*<Partenaire>\s*<TYPEPARTE>([^<]*)</TYPEPARTE>\s*<IDEPARTE>([^<]*)</IDEPARTE>\s*</Partenaire>\s*"
    rb"<DemandeRSA>\s*<DTDEMRSA>[^<]*</DTDEMRSA>\s*<NUMDEMRSA>([^<]*)</NUMDEMRSA>"
)
HEAD_FIELDS = ("FONORG", "NUMORG", "MATRICULE", "TYPEPARTE", "IDEPARTE", "NUMDEMRSA")


def head(record: bytes) -> tuple[str, ...]:
    """FONORG, NUMORG, MATRICULE, TYPEPARTE, IDEPARTE, NUMDEMRSA of a raw record, blanks stripped, "" when absent."""
    if found := _HEAD.search(record, 0, 4096):
        return tuple(part.decode("ascii", "replace").strip() for part in found.groups())
    return tuple(_leaf(record, name) for name in HEAD_FIELDS)


def _leaf(record: bytes, name: str) -> str:
    found = re.search(rf"<{name}(?:\s[^<>]*)?>([^<]*)<".encode("ascii"), record)
    return found.group(1).decode("ascii", "replace").strip() if found else ""
