"""The metadata every table registers on, and the column kinds the tables share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Column, Connection, Dialect, Index, LargeBinary, MetaData, String, TextClause, event

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id = String(36)
"""UUIDv7 as text."""
Instant = String(27)
"""RFC 3339 UTC with microseconds and `Z`, as text: sorts as time on both databases."""
Blind = LargeBinary(32)
Sealed = LargeBinary()


class Hashed(LargeBinary):
    """Bytes that a digest elsewhere vouches for. SQLite holds whatever is written, text or number, in any column: what
    somebody put there by hand is given as bytes too, for its reader to find altered."""

    def result_processor(self, dialect: Dialect, _type: Any) -> Callable[[Any], Any] | None:
        return _as_bytes if dialect.name == "sqlite" else None


def _as_bytes(value: Any) -> bytes | None:
    return value if value is None or isinstance(value, bytes) else str(value).encode()


def partial_index(name: str, *columns: Column[Any], where: TextClause) -> None:
    """An index of the rows that `where` keeps, on either database. Told to the index once the database is known:
    `sqlite_where` beside `postgresql_where` would load both of SQLAlchemy's dialects in every process."""
    index = Index(name, *columns)

    @event.listens_for(index, "before_create")
    def _keep(_index: Index, connection: Connection, **_: Any) -> None:
        index.dialect_options[connection.dialect.name]["where"] = where
