"""The keys that the database was written under."""

from __future__ import annotations

from sqlalchemy import Column, LargeBinary, String, Table

from gateway.storage.tables._base import Instant, metadata

key_mark = Table(
    "key_mark",
    metadata,
    Column("name", String(32), primary_key=True, comment="of the key's file, without its suffix"),
    Column("mark", LargeBinary(32), nullable=False, comment="HMAC of a fixed text under the key: tells nothing of it"),
    Column("since", Instant, nullable=False, comment="when the database was first opened with it"),
)
