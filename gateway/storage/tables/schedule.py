"""What the gateway does by itself at intervals: one row per job, so that one process at a time does it."""

from __future__ import annotations

from sqlalchemy import Column, Integer, String, Table

from gateway.storage.tables._base import Instant, metadata

schedule = Table(
    "schedule",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("since", Instant, nullable=False, comment="when the job was first seen"),
    Column(
        "fence", Integer, nullable=False, server_default="0", comment="one more at each run: a late end changes nothing"
    ),
    Column("lease_until", Instant, comment="set while a process runs it; left behind by one that died"),
    Column("started_at", Instant),
    Column("done_at", Instant, comment="last success"),
    Column("failures", Integer, nullable=False, server_default="0", comment="in a row"),
    Column("reason", String(64), comment="code of the last failure; empty after a success"),
)
