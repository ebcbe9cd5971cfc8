"""The `digest` header of HubEE: SHA-256 of the bytes in Base64, bare or in the form of RFC 3230."""

from __future__ import annotations

import base64
import binascii
import hashlib


def text(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")


def sha256(content: bytes) -> str:
    """As the header carries it: 44 characters."""
    return text(hashlib.sha256(content).digest())


def announced(header: str) -> bytes | None:
    """The SHA-256 a header announces; None when it announces none. Raises `ValueError` on what is no digest."""
    if not header.strip():
        return None
    for part in header.split(","):
        name, separator, value = part.strip().partition("=")
        if separator and value.rstrip("=") and name.strip().lower() == "sha-256":
            return _decoded(value)
    return _decoded(header.strip())


def _decoded(value: str) -> bytes:
    try:
        digest = base64.b64decode(value, validate=True)
    except binascii.Error:
        raise ValueError("not Base64") from None
    if len(digest) != hashlib.sha256().digest_size:
        raise ValueError("not a SHA-256")
    return digest
