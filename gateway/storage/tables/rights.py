"""Tables of persons' rights: requests and their deadlines, erasures, statements, and the list of breaches."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, String, Table, Text

from gateway.storage.tables._base import Id, Instant, Sealed, metadata

rights_request = Table(
    "rights_request",
    metadata,
    Column("id", Id, primary_key=True),
    Column("person_id", Id, nullable=False, index=True),
    Column("name", String(16), nullable=False, comment="the right that is exercised"),
    Column("body", String(64), nullable=False, comment="where the person asked"),
    Column("state", String(16), nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("paused_at", Instant, comment="identity being checked since"),
    Column("extended_at", Instant, comment="when the person was told of two more months"),
    Column("answered_at", Instant),
    Column("reason", String(64), comment="code of the refusal or of the extension"),
    Column("article", String(200)),
    Column("reason_hash", String(64), comment="digest of the written reason"),
    CheckConstraint(
        "name in ('access', 'rectification', 'erasure', 'limitation', 'objection', 'portability', 'withdrawal')",
        name="ck_rights_request_name",
    ),
    CheckConstraint("state in ('open', 'identity', 'done', 'refused')", name="ck_rights_request_state"),
)
Index("ix_rights_request_due", rights_request.c.state, rights_request.c.due_at)

erasure = Table(
    "erasure",
    metadata,
    Column("subject_id", Id, primary_key=True, comment="a person or a household whose key was destroyed"),
    Column("kind", String(16), nullable=False),
    Column("ground", String(32), nullable=False),
    Column("erased_at", Instant, nullable=False),
    Column("log", String(8)),
    Column("idx", BigInteger, comment="journal entry of the erasure"),
)
Index("ix_erasure_at", erasure.c.erased_at)

statement = Table(
    "statement",
    metadata,
    Column("id", Id, primary_key=True),
    Column("person_id", Id, nullable=False, index=True),
    Column("path", String(200), nullable=False, comment="the contested appreciation"),
    Column("content", Sealed, nullable=False, comment="what the person says of it"),
    Column("written_at", Instant, nullable=False),
)

breach = Table(
    "breach",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("state", String(16), nullable=False, comment="draft, open, closed"),
    Column("detected_at", Instant, nullable=False),
    Column("aware_at", Instant, nullable=False, comment="the 72 hours start here (GDPR 33(1))"),
    Column("content", Text, nullable=False, comment="the other fields of the list, canonical JSON"),
    Column("cnil_notified_at", Instant),
    Column("persons_notified_at", Instant),
    Column("closed_at", Instant),
    Column("signal", String(160), comment="what the gateway noticed by itself, once a day each"),
    CheckConstraint("state in ('draft', 'open', 'closed')", name="ck_breach_state"),
)
Index("uq_breach_signal", breach.c.signal, unique=True)

reidentification = Table(
    "reidentification",
    metadata,
    Column("id", Id, primary_key=True),
    Column("subject", String(40), nullable=False, comment="the pseudonym asked about"),
    Column("reason", Text, nullable=False, comment="read by the second account; the journal has its digest"),
    Column("requested_by", String(80), nullable=False, comment="client, or pseudonym of an agent"),
    Column("requested_at", Instant, nullable=False),
    Column("approved_by", String(80)),
    Column("approved_at", Instant),
    Column("expires_at", Instant, nullable=False),
    Column("used_at", Instant),
    CheckConstraint("approved_by <> requested_by", name="ck_reidentification_two"),
)

retention_reading = Table(
    "retention_reading",
    metadata,
    Column("read_at", Instant, primary_key=True),
    Column("due", Text, nullable=False, comment="JSON: what was past its retention, counted by source"),
)
"""The last count alone is kept: it reads every statement."""
