"""What may change while a token lives: clients, their purposes and revocations, as one worker last read them.

Read again after five seconds, so a suspension, a revocation or the end of a convention holds everywhere well within the
minute. When the database cannot be read, nobody is let in.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

from gateway.access.details import Allowed
from gateway.access.partners import Client, load_all
from gateway.problems import Unavailable
from gateway.storage.tables.access import revoked_token

MAX_AGE = 5.0


@dataclass(frozen=True, slots=True)
class View:
    """The registry at one moment."""

    clients: dict[str, Client]
    revoked: frozenset[str]
    allowed: dict[str, Allowed]
    """Purposes the conventions in force allow, per body."""
    read_at: float


class Live:
    """The last view, read again when it is too old."""

    def __init__(self, engine: Engine, allowed_purposes: Callable[[str], Allowed]) -> None:
        self._engine = engine
        self._allowed_purposes = allowed_purposes
        self._view: View | None = None

    async def view(self) -> View:
        view = self._view
        if view is None or time.monotonic() - view.read_at > MAX_AGE:
            view = await asyncio.to_thread(self._read)
        return view

    def forget(self) -> None:
        """Something changed in this process: read again on the next call."""
        self._view = None

    def _read(self) -> View:
        read_at = time.monotonic()
        try:
            with self._engine.connect().execution_options(read_only=True) as connection:
                clients = load_all(connection)
                now = int(time.time())
                live = select(revoked_token.c.jti).where(revoked_token.c.expires_at >= now)
                revoked = frozenset(connection.execute(live).scalars())
        except SQLAlchemyError as error:
            raise Unavailable("registry-unavailable", "The registry of partners cannot be read.") from error
        allowed = {body: self._allowed_purposes(body) for body in {client.body for client in clients.values()}}
        self._view = View(clients, revoked, allowed, read_at)
        return self._view
