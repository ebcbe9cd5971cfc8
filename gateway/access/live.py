"""What may change while a token lives: clients, their purposes and revocations, as one worker last read them.

Read again after five to ten seconds, so a suspension, a revocation or the end of a convention holds everywhere well
within the minute. When the database cannot be read, nobody is let in.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

from gateway.access.details import Allowed
from gateway.access.partners import Client, load_all
from gateway.problems import Unavailable
from gateway.storage.tables.access import revoked_token

MAX_AGE = 5.0


Granted = tuple[frozenset[str], tuple[dict[str, Any], ...]]
"""Purposes of a token, and its details that name them."""


@dataclass(frozen=True, slots=True)
class View:
    """The registry at one moment."""

    clients: dict[str, Client]
    revoked: frozenset[str]
    allowed: dict[str, Allowed]
    """Purposes the conventions in force allow, per body."""
    read_at: float
    since: float
    """Unix seconds: a token issued before this moment knows nothing that this view does not."""
    granted: dict[tuple[str, str], Granted] = field(default_factory=dict)
    """Purposes and details of the tokens met since, by their `jti` and what is being done: the same as long as nothing
    is read again."""


class Live:
    """The last view, read again when it is too old."""

    def __init__(self, engine: Engine, allowed_purposes: Callable[[str], Allowed]) -> None:
        self._engine = engine
        self._allowed_purposes = allowed_purposes
        self._view: View | None = None
        self._reading = False

    async def view(self, since: float = 0) -> View:
        """The last view, or a new one: when it is too old, or older than this moment (Unix seconds)."""
        view = self._view
        if view is not None and view.since < since:
            view = None
        age = time.monotonic() - view.read_at if view else 0.0
        # While one caller reads, the others go on with what is known, for as long again at most.
        if view is not None and age <= (2 * MAX_AGE if self._reading else MAX_AGE):
            return view
        self._reading = True
        try:
            return await asyncio.to_thread(self._read)
        finally:
            self._reading = False

    def forget(self) -> None:
        """Something changed in this process: read again on the next call."""
        self._view = None

    def _read(self) -> View:
        read_at, since = time.monotonic(), time.time()
        try:
            with self._engine.connect().execution_options(read_only=True) as connection:
                clients = load_all(connection)
                now = int(time.time())
                live = select(revoked_token.c.jti).where(revoked_token.c.expires_at >= now)
                revoked = frozenset(connection.execute(live).scalars())
        except SQLAlchemyError as error:
            raise Unavailable("registry-unavailable", "The registry of partners cannot be read.") from error
        allowed = {body: self._allowed_purposes(body) for body in {client.body for client in clients.values()}}
        self._view = View(clients, revoked, allowed, read_at, since)
        return self._view
