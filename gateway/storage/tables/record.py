"""The shared record: persons, households, identifiers, what each body said, and what waits for a human."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, String, Table, Text, text

from gateway.storage.tables._base import Blind, Id, Instant, Sealed, metadata, partial_index

person = Table(
    "person",
    metadata,
    Column("id", Id, primary_key=True),
    Column("created_at", Instant, nullable=False),
    Column("wrapped_key", LargeBinary, nullable=True, comment="destroyed by erasure"),
    Column("erased_at", Instant),
    Column("merged_into", Id, ForeignKey("person.id"), comment="reversible: cleared by an un-merge"),
    Column("provisional", Integer, nullable=False, server_default="0", comment="1 while its identity is reviewed"),
)
# Partial: hardly anybody is merged, and a walk of everybody who is not must not be led to it.
partial_index("ix_person_merged_into", person.c.merged_into, where=text("merged_into IS NOT NULL"))

foyer = Table(
    "foyer",
    metadata,
    Column("id", Id, primary_key=True),
    Column("created_at", Instant, nullable=False),
    Column("wrapped_key", LargeBinary, nullable=True),
    Column("erased_at", Instant),
)

membership = Table(
    "membership",
    metadata,
    Column("foyer_id", Id, ForeignKey("foyer.id"), primary_key=True),
    Column("person_id", Id, ForeignKey("person.id"), primary_key=True),
    Column("source", String(64), primary_key=True),
    Column("since", Instant, nullable=False),
    Column("until", Instant, comment="empty while she lives there"),
    Column("asserted_at", Instant, comment="last statement of the household that names her"),
    Column("said_in", Blind, comment="record_h of her own set there"),
    Column("named", Integer, nullable=False, server_default="1", comment="0 once the household omits her"),
)
Index("ix_membership_person", membership.c.person_id)

identifier = Table(
    "identifier",
    metadata,
    Column("index_h", Blind, primary_key=True, comment="keyed blind index of one identifier or combination"),
    Column("subject_id", Id, primary_key=True),
    Column("system", String(40), nullable=False),
    Column("source", String(64), nullable=False),
    Column("first_seen", Instant, nullable=False),
    sqlite_with_rowid=False,
)
Index("ix_identifier_subject", identifier.c.subject_id)

assertion_set = Table(
    "assertion_set",
    metadata,
    Column("id", Id, primary_key=True),
    Column("subject_id", Id, nullable=False, comment="a person or a foyer"),
    Column("source", String(64), nullable=False),
    Column("document", String(64), nullable=False),
    Column("record_h", Blind, nullable=False, comment="blind index of the sender's record key"),
    Column("exchange_id", Id, nullable=False),
    Column("asserted_at", Instant, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("superseded_at", Instant, comment="empty while live; nothing is ever overwritten"),
    Column("superseded_by", Id),
    Column("payload", Sealed, nullable=False, comment="path → value, sealed under the subject's key"),
    Column("origin_h", Blind, comment="source_record that it came with; empty when no sender restates it"),
    Column("look_at", Instant, comment="when the purge should look at it again, if it did"),
)
Index("ix_assertion_set_live", assertion_set.c.subject_id, assertion_set.c.superseded_at)
Index("ix_assertion_set_exchange", assertion_set.c.exchange_id)

source_record = Table(
    "source_record",
    metadata,
    Column("record_h", Blind, primary_key=True, comment="blind index of sender, document and record key"),
    Column("digest", LargeBinary(32), nullable=False),
    Column("asserted_at", Instant, nullable=False),
    Column("exchange_id", Id, nullable=False),
    Column("scope", String(160), comment="sender, document and caisse: what one full file covers"),
    Column("persons", Integer, nullable=False, server_default="0"),
    Column("received_at", Instant, comment="when it was last said here, changed or not: its retention starts anew"),
    sqlite_with_rowid=False,
)
Index("ix_source_record_scope", source_record.c.scope, source_record.c.asserted_at)

exchange = Table(
    "exchange",
    metadata,
    Column("id", Id, primary_key=True),
    Column("sender", String(64), nullable=False),
    Column("client_id", String(64)),
    Column("document", String(64), nullable=False),
    Column("purpose", String(64), nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("request_h", Blind, comment="keyed digest of the body: the same key with another body is a conflict"),
    Column("idempotency_h", Blind, unique=True, comment="keyed digest of client and idempotency key"),
    Column("records", Integer, nullable=False, server_default="0"),
    Column("response", Text, comment="the answer given, replayed as it was"),
)
Index("ix_exchange_sender", exchange.c.sender, exchange.c.id)

batch = Table(
    "batch",
    metadata,
    Column("id", Id, primary_key=True, comment="id of its exchange"),
    Column("sender", String(64), nullable=False),
    Column("document", String(64), nullable=False),
    Column("envelope_h", Blind, nullable=False, comment="keyed digest of the sender's own key of the file"),
    Column("file_digest", LargeBinary(32), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("emitted_at", Instant),
    Column("state", String(16), nullable=False, comment="running, done, held"),
    Column("held", String(64)),
    Column("done", Integer, nullable=False, server_default="0", comment="records committed so far"),
    Column("counts", Text, nullable=False, server_default="{}"),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
)
Index("uq_batch_envelope", batch.c.sender, batch.c.document, batch.c.envelope_h, unique=True)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Id, primary_key=True),
    Column("exchange_id", Id, nullable=False),
    Column("sender", String(64), nullable=False),
    Column("document", String(64), nullable=False),
    Column("position", Integer, nullable=False, comment="rank of the record in its document, from 1"),
    Column("code", String(64), nullable=False),
    Column("path", String(200), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("detail", Text, nullable=False, server_default=""),
    Column("raw", Sealed, comment="the unknown code or label, verbatim"),
    Column("record", Sealed, comment="the record as sent, to be replayed once the table is fixed"),
    Column("state", String(16), nullable=False, comment="open, replayed, dismissed"),
    Column("created_at", Instant, nullable=False),
    Column("settled_at", Instant),
)
Index("ix_quarantine_state", quarantine.c.state, quarantine.c.code)
Index("ix_quarantine_exchange", quarantine.c.exchange_id)

identity_case = Table(
    "identity_case",
    metadata,
    Column("id", Id, primary_key=True),
    Column("person_id", Id, nullable=False, comment="the provisional person"),
    Column("candidate_id", Id, nullable=False),
    Column("rung", Integer, nullable=False, comment="rung of the match ladder, 0 for a contradiction"),
    Column("reason", String(64), nullable=False),
    Column("exchange_id", Id, nullable=False),
    Column("state", String(16), nullable=False, comment="open, same, different, reversed"),
    Column("created_at", Instant, nullable=False),
    Column("decided_at", Instant),
    Column("decided_by", String(64)),
)
Index("ix_identity_case_state", identity_case.c.state)
Index("ix_identity_case_person", identity_case.c.person_id)

task = Table(
    "task",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", String(40), nullable=False, comment="absent-from-stock"),
    Column("subject_id", Id, nullable=False, comment="a person or a foyer"),
    Column("record_h", Blind, comment="the sender's record it is about"),
    Column("sender", String(64), nullable=False),
    Column("document", String(64), nullable=False),
    Column("exchange_id", Id, nullable=False),
    Column("since", Instant, nullable=False, comment="when the sender's file was made"),
    Column("state", String(16), nullable=False, comment="open, settled, dismissed"),
    Column("opened_at", Instant, nullable=False),
    Column("settled_at", Instant),
)
Index("ix_task_state", task.c.state, task.c.kind)
Index("ix_task_subject", task.c.subject_id)

reference = Table(
    "reference",
    metadata,
    Column("reference", String(64), primary_key=True, comment="pairwise: a body's own name for a person"),
    Column("body", String(64), nullable=False),
    Column("person_id", Id, nullable=False),
    Column("given_at", Instant, nullable=False),
)
