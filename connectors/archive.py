"""Zip containers of others: looked at before anything opens them, never unpacked to disk."""

from __future__ import annotations

import struct
import unicodedata
import zipfile
import zlib
from itertools import pairwise
from typing import BinaryIO

from connectors.contract import DocumentRefused

MAX_UNPACKED = 256 * 1024 * 1024
MAX_RATIO = 100
MAX_ENTRIES = 2_000
FREE = 4 * 1024 * 1024
"""Below this size the ratio says nothing: a small repetitive workbook packs very well."""
_DIRECTORY = b"PK\x01\x02"
"""What each entry of a central directory begins with (APPNOTE 4.3.12)."""
BROKEN = (
    zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError,
)  # fmt: skip
"""What the library raises, according to where an archive is damaged."""


def refuse_archive(head: bytes) -> None:
    """Refuse a zip where another form is expected. Raises `DocumentRefused` (``archive-unopened``)."""
    if head.startswith(b"PK\x03\x04"):
        raise DocumentRefused(
            "archive-unopened", "this is a zip archive or a workbook, not the announced form: send the file it holds"
        )


def check_archive(source: BinaryIO, max_unpacked: int = MAX_UNPACKED) -> None:
    """Refuse a zip that would hurt: bombs, overlaps, nested archives, names that leave a folder.

    Sizes are counted by inflating, never believed. Raises `DocumentRefused` with ``archive-…``.
    """
    try:
        if _directory_signatures(source) > MAX_ENTRIES:
            raise DocumentRefused("archive-too-large", f"more than {MAX_ENTRIES} entries")
        with zipfile.ZipFile(source) as archive:
            entries = archive.infolist()
            _check_entries(entries)
            _inflate(archive, entries, max_unpacked)
    except BROKEN:
        raise DocumentRefused("archive-broken", "the archive cannot be read") from None
    finally:
        source.seek(0)


def _directory_signatures(source: BinaryIO) -> int:
    """How many entries a directory in these bytes can have at most: the library would read all of them first, and a
    million takes it hundreds of megabytes."""
    found, last = 0, b""
    source.seek(0)
    while block := source.read(1024 * 1024):
        found += (last + block).count(_DIRECTORY)
        last = block[1 - len(_DIRECTORY) :]
    source.seek(0)
    return found


def _inflate(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], max_unpacked: int) -> None:
    packed = sum(entry.compress_size for entry in entries) or 1
    total = 0
    for entry in entries:
        with archive.open(entry) as member:
            while block := member.read(1024 * 1024):
                total += len(block)
                if total > max_unpacked or (total > FREE and total / packed > MAX_RATIO):
                    raise DocumentRefused("archive-too-large", "the archive unpacks to far more than it weighs")


def _check_entries(entries: list[zipfile.ZipInfo]) -> None:
    # As written, before the library cuts it at a NUL; other readers also take ‥ or ．． for two dots.
    names = [unicodedata.normalize("NFKC", entry.orig_filename).replace("\\", "/") for entry in entries]
    if len({name.casefold() for name in names}) < len(names):
        raise DocumentRefused("archive-name", "two entries have one name")
    for entry, name in zip(entries, names, strict=True):
        if name.startswith("/") or ".." in name.split("/") or ":" in name or "\x00" in name:
            raise DocumentRefused("archive-name", "an entry's name leaves the archive")
        if entry.external_attr >> 28 == 0xA:
            raise DocumentRefused("archive-name", "an entry is a symbolic link")
        if entry.flag_bits & 0x1:
            raise DocumentRefused("archive-broken", "an entry is encrypted")
        if name.lower().endswith((".zip", ".xlsx", ".xlsm", ".ods", ".gz", ".7z", ".rar", ".docx")):
            raise DocumentRefused("archive-nested", "an archive inside the archive")
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    for before, after in pairwise(ordered):
        if before.header_offset + before.compress_size > after.header_offset:
            raise DocumentRefused("archive-broken", "two entries overlap")
