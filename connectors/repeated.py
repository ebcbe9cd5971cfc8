"""A record that one file tells twice, each time otherwise."""

from __future__ import annotations

from hashlib import blake2b

from schemas.record import Finding, Record


class Repeated:
    """Tells a whole record whose key stands earlier in the file with other words: both are kept, as nobody knows which
    one is right, and the second does not take away what the first said. A partial one adds to the first by itself."""

    def __init__(self) -> None:
        self._met: dict[bytes, bytes] = {}

    def tell(self, record: Record, at: str) -> None:
        if record.partial:
            return
        key = blake2b(record.key.encode(), digest_size=8).digest()
        if self._met.setdefault(key, record.digest[:8]) != record.digest[:8]:
            record.partial = True
            record.findings.append(Finding("repeated-record", at, detail="her key stands earlier in the file"))
