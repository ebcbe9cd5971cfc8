"""May a process begin under this machine's date? Asked of what else tells the time, when a gateway is opened.

Afterwards `clock.steady` sees whether the date is moved. What neither sees: on SQLite, a machine that starts with a
date ahead of all that it wrote before; the witnesses and the time stamps of the journal show that one.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Engine, func, select

from gateway import clock
from gateway.problems import Misconfigured
from gateway.storage.tables.journal import journal_log

_NEAR = timedelta(seconds=clock.STEADY)


def doubt(engine: Engine, *, but_the_journal: bool = False) -> str:
    """Why this machine's date is not one to begin under, and what to do; "" when nothing contradicts it.

    PostgreSQL's server has a clock of its own, which all machines of the gateway share. The journal was sealed for the
    last time at a date that is past; `but_the_journal` does not ask it.
    """
    with engine.connect().execution_options(read_only=True) as connection:
        if engine.dialect.name == "postgresql":
            apart = abs(connection.execute(select(func.clock_timestamp())).scalar_one() - clock.now())
            if apart > _NEAR:
                return f"The dates of this machine and of the database's are {_long(apart)} apart: set them right."
        sealed = connection.execute(select(func.max(journal_log.c.checkpoint_at))).scalar_one()
    ahead = datetime.fromisoformat(sealed) - clock.now() if sealed else timedelta()
    if ahead > _NEAR and not but_the_journal:
        return (
            f"The journal was sealed {_long(ahead)} after this machine's date: set the date right, then start again."
            " If it is right, and the journal was sealed under a wrong one, run `maillon journal checkpoint` first."
        )
    return ""


def require(engine: Engine, *, but_the_journal: bool = False) -> None:
    """Raises `Misconfigured("clock-doubtful")`."""
    if why := doubt(engine, but_the_journal=but_the_journal):
        raise Misconfigured("clock-doubtful", why)


def _long(duration: timedelta) -> str:
    days = round(duration / timedelta(days=1))
    return f"{days} days" if days > 1 else f"{round(duration / timedelta(minutes=1))} minutes"
