"""One attachment from HubEE to this disk: whole, checked against its size and its digest, durable before it counts."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from connectors.hubee import digest
from connectors.hubee.client import Client, Stopped
from connectors.hubee.demarches import Demarche
from connectors.hubee.modele import Attachment
from connectors.hubee.registre import fsync_folder

ATTEMPTS = 3
"""A file is not resumed: each attempt begins a new temporary file."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file on this disk. `digest` is in hexadecimal; `verified`: HubEE announced the same."""

    path: Path
    digest: str
    verified: bool


class _Partial:
    """A temporary file of ours being filled and hashed, begun anew each time it is asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: BinaryIO | None = None

    def start(self) -> Callable[[bytes], object]:
        self.drop()
        descriptor, name = tempfile.mkstemp(suffix=".partiel", dir=self._folder)  # readable by its owner only
        self.path = Path(name)
        self._file = os.fdopen(descriptor, "wb")
        self.hash, self.size = hashlib.sha256(), 0
        return self.take

    def take(self, chunk: bytes) -> None:
        assert self._file
        self._file.write(chunk)
        self.hash.update(chunk)
        self.size += len(chunk)

    def keep(self, path: Path) -> None:
        """On disk, then under its final name, then the name on disk."""
        assert self._file
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self.path.rename(path)
        fsync_folder(path.parent)
        self._file = None

    def drop(self) -> None:
        """Forget what was not kept."""
        if self._file:
            with suppress(OSError):
                self._file.close()
            self.path.unlink(missing_ok=True)
            self._file = None


async def fetch(
    client: Client,
    demarche: Demarche,
    path: str,
    attachment: Attachment,
    folder: Path,
    step: Callable[[str], None],
) -> Fetched:
    """Download one attachment. Raises `Stopped`: `not-found` when HubEE no longer has it, `retry` for all that may
    be right another time (`answer-too-large`, `size-mismatch`, `digest-mismatch`, a cut, a full disk)."""
    partial = _Partial(folder)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            answer = await client.download(demarche, path, attachment.size, partial.start)
            verified = _check(partial, attachment, answer.headers.get("digest", ""))
            step("downloaded")
            found = partial.hash.hexdigest()
            name = hashlib.sha256(f"{path}\n{found}".encode()).hexdigest()
            final = folder / f"{name}.fichier"
            await asyncio.to_thread(partial.keep, final)
            step("renamed")
            return Fetched(final, found, verified)
        except OSError:
            raise Stopped("retry", "storage-failed", retry_after=300.0) from None
        except Stopped as stopped:
            if attempt == ATTEMPTS or stopped.outcome != "retry" or stopped.retry_after:
                raise
        finally:
            partial.drop()
    raise AssertionError("unreachable")


def _check(partial: _Partial, attachment: Attachment, header: str) -> bool:
    """Is the digest confirmed at its source? Raises `Stopped` when the bytes are not those announced."""
    if partial.size != attachment.size:
        raise Stopped("retry", "size-mismatch")
    try:
        announced = digest.announced(header)
    except ValueError:
        raise Stopped("retry", "digest-unreadable") from None
    if announced is not None and announced != partial.hash.digest():
        raise Stopped("retry", "digest-mismatch")
    return announced is not None
