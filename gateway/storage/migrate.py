"""Bringing a database to the current schema, and telling whether it is there."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

if TYPE_CHECKING:
    from alembic.config import Config

_FOLDER = Path(__file__).parent / "migrations"
_LOCK = 7_305_808_869  # one migration at a time on PostgreSQL, whichever process comes first


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
    """Upgrade to the current schema; does nothing when it is current. Safe to call from several processes at once."""
    if is_current(engine):
        return
    from alembic import command  # a database that is current, nearly always, needs none of it

    with engine.connect() as connection:
        connection.begin()
        if connection.dialect.name == "postgresql":
            connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        command.upgrade(config(connection), "head")
        connection.commit()


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
