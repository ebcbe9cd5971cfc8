"""What partners ask our side to do, and what became of it."""

from __future__ import annotations

from sqlalchemy import Column, Index, String, Table

from gateway.storage.tables._base import Blind, Id, Instant, Sealed, metadata

worklist_item = Table(
    "worklist_item",
    metadata,
    Column("id", Id, primary_key=True),
    Column("body", String(64), nullable=False, comment="whose worklist it is in"),
    Column("family", String(40), nullable=False),
    Column("item_h", Blind, nullable=False, unique=True, comment="blind index of the body and its own id of the item"),
    Column("code", String(40), nullable=False),
    Column("kind", String(24), nullable=False),
    Column("person_id", Id, comment="empty while nobody here is known by the number it gives"),
    Column("state", String(16), nullable=False, comment="pending, open, transmitting, transmitted, absent"),
    Column("reason", String(64)),
    Column("content", Sealed, nullable=False, comment="the item as it was read"),
    Column("due_at", String(40), nullable=False, server_default="", comment="as the body writes it"),
    Column("opened_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("settled_at", Instant),
)
Index("ix_worklist_item_state", worklist_item.c.body, worklist_item.c.state)
Index("ix_worklist_item_person", worklist_item.c.person_id)
