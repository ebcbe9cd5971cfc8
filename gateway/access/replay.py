"""What was used once: identifiers of assertions, proofs and webhooks, shared by all workers and kept over restarts.

A digest of kind, owner and identifier is the primary key of `seen_jti`; the database refuses the second insert, so two
workers that race on one value cannot both win. This process's own memory refuses sooner, and covers proofs whose row
is written later, in the transaction of the exchange they authorise.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection, Engine, delete

from gateway.lookup import rows
from gateway.storage.inserts import write_rows
from gateway.storage.tables.access import seen_jti

PRUNE_EVERY = 60.0


class Used(NamedTuple):
    """One use of one identifier, to remember until the epoch second `expires_at`."""

    digest: bytes
    expires_at: int

    @classmethod
    def of(cls, kind: str, owner: str, identifier: str, expires_at: float) -> Used:
        """`owner` and `identifier` are printable, so NUL separates them without doubt."""
        return cls(hashlib.sha256(f"{kind}\0{owner}\0{identifier}".encode()).digest(), int(expires_at) + 1)


def record(connection: Connection, uses: Iterable[Used]) -> set[bytes]:
    """Insert these uses in the caller's transaction; the digests of those that were not there already.

    On PostgreSQL in the order of their digests, so that two transactions never wait for each other both ways; on SQLite
    this transaction is the only writer. Driver SQL: it runs for each call of every partner, and building the statement
    would cost ten times the insert.
    """
    wanted = dict(sorted(uses))
    if not wanted:
        return set()
    if connection.dialect.name == "postgresql":
        found = connection.exec_driver_sql(_UNLESS_THERE, (list(wanted), list(wanted.values())))
        return {digest for (digest,) in found}
    fresh = wanted.keys() - {digest for (digest,) in rows(connection, seen_jti, ("digest",), "digest", wanted)}
    if fresh:
        write_rows(connection, _INSERT, [(digest, wanted[digest]) for digest in fresh])
    return fresh


_INSERT = "INSERT INTO seen_jti (digest, expires_at) VALUES (?, ?)"
_UNLESS_THERE = (
    "INSERT INTO seen_jti (digest, expires_at) SELECT * FROM unnest(%s::bytea[], %s::bigint[])"
    " ON CONFLICT DO NOTHING RETURNING digest"
)


class ReplayMemory:
    """The memory of one process over the shared table."""

    def __init__(self, engine: Engine, generation: float = 100.0) -> None:
        self._engine = engine
        self._generation = generation
        self._current: set[bytes] = set()
        self._previous: set[bytes] = set()
        self._turned = time.monotonic()
        self._pruned = 0.0
        self._waiting: list[tuple[Used, asyncio.Future[bool]]] = []
        self._writer: asyncio.Task[None] | None = None

    def first_here(self, use: Used) -> bool:
        """Whether this process never saw it; remembers it for at least `generation` seconds."""
        now = time.monotonic()
        if now - self._turned > self._generation:
            self._previous, self._current, self._turned = self._current, set(), now
        if use.digest in self._current or use.digest in self._previous:
            return False
        self._current.add(use.digest)
        return True

    def burn(self, use: Used) -> bool:
        """Record one use durably; False if it was used before. Blocks: call it off the event loop."""
        return self._write([use])[0]

    async def burn_soon(self, use: Used) -> bool:
        """The same from the event loop: uses that arrive together are recorded in one transaction."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[bool] = loop.create_future()
        self._waiting.append((use, outcome))
        if self._writer is None or self._writer.done() or self._writer.get_loop() is not loop:
            self._writer = loop.create_task(self._drain())
        return await outcome

    async def _drain(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:500], self._waiting[500:]
            try:
                fresh = await asyncio.to_thread(self._write, [use for use, _ in batch])
            except Exception as error:
                for _, outcome in batch:
                    if not outcome.done():
                        outcome.set_exception(error)
                continue
            for (_, outcome), first in zip(batch, fresh, strict=True):
                if not outcome.done():
                    outcome.set_result(first)

    def _write(self, uses: list[Used]) -> list[bool]:
        with self._engine.begin() as connection:
            now = time.time()
            if now - self._pruned > PRUNE_EVERY:
                self._pruned = now
                connection.execute(delete(seen_jti).where(seen_jti.c.expires_at < int(now)))
            fresh = record(connection, uses)
        first = {use.digest: rank for rank, use in reversed(list(enumerate(uses))) if use.digest in fresh}
        return [first.get(use.digest) == rank for rank, use in enumerate(uses)]
