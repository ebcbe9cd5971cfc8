"""The data keys of persons and households: unwrapped on use, kept for a while in memory, destroyed by erasure.

A subject erased in this process is unreadable at once; one erased by another process, at most `NEWS` seconds later.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from pydantic_core import from_json, to_json
from sqlalchemy import select

from gateway import clock
from gateway.keys import Keyring, seal, unseal
from gateway.lookup import rows
from gateway.storage.tables.record import foyer, person
from gateway.storage.tables.rights import erasure
from gateway.unit_of_work import UnitOfWork

_KEPT = 8_192
"""Keys in memory: many times a batch, which is all that is met again soon."""
NEWS = 5.0
"""Seconds between two looks at what other processes erased."""
_LONGEST_TRANSACTION = timedelta(minutes=10)
"""An erasure is dated when its transaction begins: it may become visible this much later."""


class Erased(LookupError):
    """The key of this subject was destroyed: nothing of her can be read any more."""


class Vault:
    """Seals and opens what is stored about a subject. One per process; each use names the transaction it reads in."""

    def __init__(self, keys: Keyring, erased: Iterable[str] = ()) -> None:
        self._keys = keys
        self._open: OrderedDict[str, bytes] = OrderedDict()
        self._erased = set(erased)
        self._looked_at = float("-inf")
        self._since = ""

    def create(self, work: UnitOfWork, subject: str, kind: str, **columns: Any) -> None:
        """A new person (`personne`) or household (`foyer`), with a key of its own."""
        key, wrapped = self._keys.new_wrapped_key()
        table = person if kind == "personne" else foyer
        work.add(table, id=subject, created_at=work.now, wrapped_key=wrapped, **columns)
        # Kept for this transaction only until it commits: a rolled back subject never existed.
        work.scratch.setdefault("vault", {})[subject] = key

    def created(self, work: UnitOfWork, subject: str) -> bool:
        """Was this subject created by this very transaction? Nobody else can have written about it."""
        return subject in work.scratch.get("vault", ())

    def forget(self, subject: str) -> None:
        """This subject was erased: its key is not used again, even if an old copy of it comes back."""
        self._erased.add(subject)
        self._open.pop(subject, None)

    def _look(self, work: UnitOfWork) -> None:
        """Forget whom other processes erased since the last look."""
        if time.monotonic() - self._looked_at < NEWS:
            return
        self._looked_at = time.monotonic()
        since, self._since = self._since, clock.instant(clock.now() - _LONGEST_TRANSACTION)
        query = select(erasure.c.subject_id).where(erasure.c.erased_at >= since)
        for subject in work.connection.execute(query).scalars():
            self.forget(subject)

    def _key(self, work: UnitOfWork, subject: str) -> bytes:
        self._look(work)
        new: dict[str, bytes] = work.scratch.setdefault("vault", {})
        if key := new.get(subject) or self._open.get(subject):
            return key
        self.unwrap(work, [subject])
        if key := self._open.get(subject):
            return key
        raise Erased(subject)

    def unwrap(self, work: UnitOfWork, subjects: list[str]) -> None:
        """Bring the keys of many subjects into memory with one query per table."""
        self._look(work)
        new = work.scratch.get("vault", {})
        missing = [one for one in subjects if one not in self._open and one not in new and one not in self._erased]
        for table in (person, foyer):
            for subject, wrapped in rows(work.connection, table, ("id", "wrapped_key"), "id", missing):
                if wrapped is not None:
                    self._open[subject] = self._keys.unwrap(wrapped)
        while len(self._open) > _KEPT:
            self._open.popitem(last=False)

    def seal(self, work: UnitOfWork, subject: str, content: Any) -> bytes:
        return seal(self._key(work, subject), to_json(content), subject.encode())

    def open(self, work: UnitOfWork, subject: str, sealed: bytes) -> Any:
        """What `seal` sealed. Raises `Erased` when the subject's key is gone."""
        return from_json(unseal(self._key(work, subject), sealed, subject.encode()))

    def seal_bytes(self, work: UnitOfWork, subject: str, content: bytes) -> bytes:
        return seal(self._key(work, subject), content, subject.encode())

    def open_bytes(self, work: UnitOfWork, subject: str, sealed: bytes) -> bytes:
        return unseal(self._key(work, subject), sealed, subject.encode())


__all__ = ["Erased", "Vault"]
