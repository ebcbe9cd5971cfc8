"""Readings of the double-entry meter: one a day is kept."""

from __future__ import annotations

from sqlalchemy import Column, String, Table, Text

from gateway.storage.tables._base import Instant, metadata

meter_reading = Table(
    "meter_reading",
    metadata,
    Column("day", String(10), primary_key=True, comment="UTC; the last reading of a day stays"),
    Column("read_at", Instant, nullable=False, comment="when the reading began"),
    Column("counts", Text, nullable=False, comment="JSON: counts by recipient and document; nobody is named"),
)
