"""The metadata every table registers on, and the column kinds the tables share."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, LargeBinary, MetaData, String

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
Sequence = BigInteger().with_variant(Integer, "sqlite")
