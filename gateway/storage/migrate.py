"""Bringing a database to the current schema, and telling whether it is there."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import OperationalError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from gateway.problems import Unavailable

if TYPE_CHECKING:
    from alembic.config import Config

_FOLDER = Path(__file__).parent / "migrations"
_LOCK = 7_305_808_869  # one migration at a time on PostgreSQL, whichever process comes first
_STANDS = 500
"""Milliseconds for which a table may be waited for: whoever asks for it meanwhile waits behind. Less than PostgreSQL's
`deadlock_timeout`, so that of two that wait for each other it is the migration that lets go."""
_HELD = ("55P03", "40P01")
"""SQLSTATE: a lock not had in time, a deadlock."""


def config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, without any file to edit."""
    from alembic.config import Config

    configured = Config()
    configured.set_main_option("script_location", str(_FOLDER))
    configured.set_main_option("path_separator", "os")
    if connection is not None:
        configured.attributes["connection"] = connection
    return configured


def migrate(engine: Engine) -> None:
    """Upgrade to the current schema; does nothing when it is current. Safe to call from several processes at once, also
    beside those of the former version: what they hold is waited for by trying again, never by standing in their way.

    Raises `Unavailable` (`tables-held`) when something held the tables all the time.
    """
    if is_current(engine):
        return
    try:
        _patient(_upgrade, engine)
    except OperationalError as error:
        if not _held(error):
            raise
        raise Unavailable(
            "tables-held",
            "The schema is not changed yet: something holds its tables (a backup, a big file being read). Begin again "
            "when it is over.",
        ) from None


def _upgrade(engine: Engine) -> None:
    from alembic import command  # a database that is current, nearly always, needs none of it

    with engine.connect() as connection:
        connection.begin()
        if connection.dialect.name == "postgresql":
            connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            connection.execute(text(f"set local lock_timeout = '{_STANDS}ms'"))
        command.upgrade(config(connection), "head")
        connection.commit()


def _held(error: BaseException) -> bool:
    return isinstance(error, OperationalError) and getattr(error.orig, "sqlstate", None) in _HELD


_patient = Retrying(
    retry=retry_if_exception(_held), wait=wait_random(0.2, 2), stop=stop_after_delay(120), reraise=True
)  # fmt: skip


def is_current(engine: Engine) -> bool:
    """Whether the schema is this version's, or a later one's: in a rolling upgrade the first new process migrates while
    older ones still run, and may start again, beside it; what it adds does not disturb them."""
    with engine.connect().execution_options(read_only=True) as connection:
        if not inspect(connection).has_table("alembic_version"):
            return False
        return (connection.execute(text("select version_num from alembic_version")).scalar() or "") >= head()


@cache
def head() -> str:
    """The last revision of this version: the number its file begins with."""
    return max(path.name.partition("_")[0] for path in (_FOLDER / "versions").glob("[0-9]*.py"))
