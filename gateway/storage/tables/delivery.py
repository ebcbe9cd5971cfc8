"""Deliveries: the outbox, what each recipient already holds, and the mailbox of bodies without a server."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, LargeBinary, String, Table, Text, UniqueConstraint, text

from gateway.storage.tables._base import Id, Instant, Sealed, metadata, partial_index

outbox = Table(
    "outbox",
    metadata,
    Column("id", Id, primary_key=True, comment="UUIDv7: order of acceptance; idempotency key towards the recipient"),
    Column("recipient", String(64), nullable=False),
    Column("person_id", Id, nullable=False),
    Column("sender", String(64), nullable=False),
    Column("document", String(64), nullable=False),
    Column("item", String(120), nullable=False, server_default="", comment="key of the object, for one-object forms"),
    Column("flow", String(120), nullable=False, comment="convention and rank of the flow that permits it"),
    Column("exchange_id", Id, nullable=False),
    Column("state", String(16), nullable=False, comment="queued, claimed, delivered, withheld, waiting, dead"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_at", Instant, nullable=False, comment="when it may be claimed: its next attempt, or its lease's end"),
    Column("lease_until", Instant, comment="set while a worker holds it"),
    Column("fence", Integer, nullable=False, server_default="0", comment="a settled claim must carry the last fence"),
    Column("reason", String(64)),
    Column("article", Text),
    Column("categories", Text, comment="C-codes sent"),
    Column("withheld", Text, comment="C-codes withheld, with the rule of each, as JSON"),
    Column("created_at", Instant, nullable=False),
    Column("settled_at", Instant),
)
OPEN = text("state IN ('queued', 'claimed')")
STUCK = text("state IN ('waiting', 'dead')")
# Partial: what is settled, almost everything, costs them nothing.
partial_index("ix_outbox_due", outbox.c.recipient, outbox.c.next_at, outbox.c.id, where=OPEN)
partial_index("ix_outbox_stuck", outbox.c.recipient, outbox.c.state, where=STUCK)
Index("ix_outbox_person", outbox.c.person_id, outbox.c.recipient, outbox.c.state, outbox.c.id)
Index("ix_outbox_exchange", outbox.c.exchange_id)

held_by_recipient = Table(
    "held_by_recipient",
    metadata,
    Column("recipient", String(64), primary_key=True),
    Column("person_id", Id, primary_key=True),
    Column("document", String(64), primary_key=True),
    Column("item", String(120), primary_key=True),
    Column("digest", LargeBinary(32), nullable=False, comment="keyed digest of the last document delivered"),
    Column("remote_id", Sealed, comment="the recipient's own id of the object"),
    Column("categories", Text, nullable=False),
    Column("delivered_at", Instant, nullable=False),
)

mailbox = Table(
    "mailbox",
    metadata,
    Column("id", Id, primary_key=True),
    Column("body", String(64), nullable=False),
    Column("person_id", Id, nullable=False),
    Column("document", String(64), nullable=False),
    Column("content_type", String(80), nullable=False),
    Column("content", Sealed, nullable=False),
    Column("delivery_id", Id, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("fetched_at", Instant),
    Column("acknowledged_at", Instant),
    UniqueConstraint("delivery_id"),
)
Index("ix_mailbox_body", mailbox.c.body, mailbox.c.acknowledged_at, mailbox.c.id)

recipient_state = Table(
    "recipient_state",
    metadata,
    Column("recipient", String(64), primary_key=True),
    Column("paused", Integer, nullable=False, server_default="0"),
    Column("retry_at", Instant, comment="no attempt before: Retry-After or an open circuit"),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("rate_at", Instant, comment="up to when its rate is used, by all workers together"),
)
