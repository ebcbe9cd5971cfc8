"""A document that can be read twice: once to check it whole, once to take its records.

A document is refused before its first record or not at all, so a connector reads it through once before it yields
anything.
"""

from __future__ import annotations

import io
import math
import tempfile
from typing import BinaryIO, cast

from connectors.contract import DocumentRefused

SPOOL = 8 << 20
"""Bytes kept in memory of a source that cannot be read twice; beyond, an unnamed file."""


def rewindable(source: BinaryIO, max_bytes: float = math.inf) -> BinaryIO:
    """The source itself at its beginning when it can be read twice, else a copy of it.

    Raises `DocumentRefused` (``too-large``) beyond `max_bytes`.
    """
    if source.seekable():
        size = source.seek(0, io.SEEK_END)
        source.seek(0)
        if size > max_bytes:
            raise DocumentRefused("too-large", f"at most {max_bytes} bytes")
        return source
    spool = tempfile.SpooledTemporaryFile(max_size=SPOOL)  # noqa: SIM115 (closed with its last reader)
    while block := source.read(65_536):
        spool.write(block)
        if spool.tell() > max_bytes:
            raise DocumentRefused("too-large", f"at most {max_bytes} bytes")
    spool.seek(0)
    return cast(BinaryIO, spool)
