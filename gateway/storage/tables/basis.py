"""Tables of what exchanges rest on: conventions, notices, the records of information, consent and objection."""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, ForeignKey, Index, Integer, LargeBinary, String, Table, Text

from gateway.storage.tables._base import Id, Instant, metadata

convention = Table(
    "convention",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("content", LargeBinary, nullable=False, comment="the TOML file, byte for byte"),
    Column("sha256", String(64), nullable=False),
    Column("added_at", Instant, nullable=False),
)

notice = Table(
    "notice",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("language", String(8), primary_key=True),
    Column("falc", Boolean, primary_key=True, comment="easy-to-read variant"),
    Column("content", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("published_at", Instant, nullable=False),
)

basis_record = Table(
    "basis_record",
    metadata,
    Column("id", Id, primary_key=True),
    Column("person_id", Id, nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("regime", String(24), nullable=False),
    Column("purpose", String(40), nullable=False, comment="empty: every purpose of the regime"),
    Column("content", Text, nullable=False, comment="the record as it was made, RFC 8785 canonical JSON"),
    Column("valid_from", Instant, nullable=False),
    Column("valid_until", Instant),
    Column("created_at", Instant, nullable=False),
    CheckConstraint(
        "kind in ('information', 'consent', 'objection', 'limitation', 'protection', 'validation')",
        name="ck_basis_record_kind",
    ),
)

Index("ix_basis_record_until", basis_record.c.kind, basis_record.c.valid_until)

basis_event = Table(
    "basis_event",
    metadata,
    Column("id", Id, primary_key=True),
    Column("record_id", Id, ForeignKey("basis_record.id"), nullable=False, index=True),
    Column("name", String(16), nullable=False),
    Column("occurred_at", Instant, nullable=False, comment="when it was said, a paper may be older than its entry"),
    Column("recorded_at", Instant, nullable=False, comment="server clock: nothing counts before it"),
    Column("actor", String(80), nullable=False, comment="kind of actor, or an agent's pseudonym"),
    Column("reason_hash", String(64), nullable=False, server_default=""),
    Column("reference", String(80), nullable=False, server_default="", comment="superseding record, article"),
)

Index("ix_basis_event_name", basis_event.c.name, basis_event.c.recorded_at)

basis_notification = Table(
    "basis_notification",
    metadata,
    Column("id", Id, primary_key=True),
    Column("record_id", Id, nullable=False, index=True, comment="a basis record, or what else must be told (GDPR 19)"),
    Column("recipient", String(64), nullable=False),
    Column("action", String(8), nullable=False),
    Column("content", Text, nullable=False, comment="what the recipient is told, canonical JSON"),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_at", Instant, nullable=False),
    Column("give_up_at", Instant, nullable=False),
    Column("answer", Text),
    Column("created_at", Instant, nullable=False),
    Column("answered_at", Instant),
    CheckConstraint("action in ('stop', 'erase', 'limit', 'resume', 'rectify')", name="ck_basis_notification_action"),
    CheckConstraint("state in ('queued', 'done', 'refused', 'dpo_task')", name="ck_basis_notification_state"),
)
Index("ix_basis_notification_due", basis_notification.c.state, basis_notification.c.next_at)
