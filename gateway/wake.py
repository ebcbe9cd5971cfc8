"""What wakes a worker up on PostgreSQL: a notification sent by the transaction that promises the delivery.

It is only ever a hint. Delivery state lives in the outbox, workers look there by themselves every few seconds, and a
notification lost with its connection costs that delay and nothing else. On SQLite, one process does everything: its
worker is woken in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from sqlalchemy import Engine

from gateway.logs import LastingFailure
from gateway.unit_of_work import UnitOfWork

CHANNEL = "maillon_outbox"
_AGAIN = 1.0
"""Seconds before connecting again, doubled up to `_LONGEST`."""
_LONGEST = 15.0


def announce(work: UnitOfWork, recipient: str) -> None:
    """When this transaction commits, tell every listening worker that there is something for this recipient."""
    if work.connection.dialect.name != "postgresql":
        return
    told: set[str] = work.scratch.setdefault("wake", set())
    if not told:
        work.before_commit(_notify)
    told.add(recipient)


def _notify(work: UnitOfWork) -> None:
    for recipient in sorted(work.scratch.pop("wake", ())):
        work.connection.exec_driver_sql("SELECT pg_notify(%s, %s)", (CHANNEL, recipient))


async def listen(engine: Engine, told: Callable[[str], None], stopping: asyncio.Event) -> None:
    """Call `told` with each recipient announced, until `stopping` is set; connects again when the connection is lost,
    and then says "" once, because something may have been missed."""
    import psycopg  # an embedded database never listens

    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    pause, failure = _AGAIN, LastingFailure("wake.connection_lost", "wake.connection_back")
    while not stopping.is_set():
        try:
            async with await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=5) as connection:
                await connection.execute(f"LISTEN {CHANNEL}")
                told("")
                failure.over()
                pause = _AGAIN
                while not stopping.is_set():
                    async for note in connection.notifies(timeout=1.0):
                        told(note.payload)
                    await connection.execute("SELECT 1")  # a dead connection is silent: ask it
        except (psycopg.Error, OSError) as error:
            failure.met(error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), pause)
            pause = min(_LONGEST, pause * 2)
