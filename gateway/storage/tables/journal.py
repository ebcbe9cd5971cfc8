"""The journal: entries in dense order, one log per retention class, and what must outlive a pruned entry."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, PrimaryKeyConstraint, String, Table, Text, text

from gateway.storage.tables._base import Blind, Hashed, Id, Instant, metadata, partial_index

journal_log = Table(
    "journal_log",
    metadata,
    Column("log", String(8), primary_key=True, comment="retention class: 6m, 12m, 36m"),
    Column("origin", String(200), nullable=False, comment="checkpoint origin line; never changes"),
    Column("size", BigInteger, nullable=False, server_default="0"),
    Column("frontier", Hashed(), nullable=False, comment="roots of the perfect subtrees, largest first, 32 B each"),
    Column("min_index", BigInteger, nullable=False, server_default="0", comment="entries below it were pruned"),
    Column("checkpoint", Text, comment="the signed note last published"),
    Column("checkpoint_at", Instant, nullable=False, comment="last successful publication; creation before the first"),
    Column("quorum_at", Instant, nullable=False, comment="last time the witness policy was satisfied; as above"),
    Column("broken", String(64), comment="code of why nothing is signed; null: it is"),
)

journal_entry = Table(
    "journal_entry",
    metadata,
    Column("log", String(8), nullable=False),
    Column("idx", BigInteger, nullable=False, comment="dense, from 0"),
    Column("ts", String(24), nullable=False, comment="RFC 3339 UTC, milliseconds"),
    Column("event", String(40), nullable=False),
    Column("exchange_id", Id),
    Column("subject", String(64), comment="pairwise pseudonym"),
    Column("sender", String(64)),
    Column("recipient", String(64)),
    Column("purpose", String(40)),
    Column("decision", String(8)),
    Column("entry", Hashed(), nullable=False, comment="RFC 8785 canonical JSON: the bytes that were hashed"),
    Column("leaf", Hashed(32), nullable=False, comment="SHA-256(0x00, entry), RFC 6962"),
    PrimaryKeyConstraint("log", "idx"),
)
Index("ix_journal_entry_subject", journal_entry.c.subject, journal_entry.c.ts, journal_entry.c.log, journal_entry.c.idx)
Index("ix_journal_entry_exchange", journal_entry.c.exchange_id)
Index("ix_journal_entry_ts", journal_entry.c.ts, journal_entry.c.log, journal_entry.c.idx)

LOOKED_AT = text("event IN ('log.read', 'input.reject', 'export')")
# Partial: exchanges, almost everything, cost it nothing. A query repeats the condition, word for word.
_ORDER = journal_entry.c.ts, journal_entry.c.log, journal_entry.c.idx
partial_index("ix_journal_entry_reads", *_ORDER, where=LOOKED_AT)
ERASED = text("event = 'right.erase'")
partial_index("ix_journal_entry_erased", *_ORDER, where=ERASED)
FEW = {"log.read": LOOKED_AT, "input.reject": LOOKED_AT, "export": LOOKED_AT, "right.erase": ERASED}
"""Events that are few, each with the condition of its index."""

journal_day = Table(
    "journal_day",
    metadata,
    Column("day", String(10), primary_key=True, comment="that of Paris; one that is over never changes"),
    Column("counts", Text, nullable=False, comment="JSON: what happened, how many times; nobody is named"),
)

decision_record = Table(
    "decision_record",
    metadata,
    Column(
        "digest", Blind, primary_key=True, comment="SHA-256 of the content; `decision_h` of the entries it explains"
    ),
    Column("content", LargeBinary, nullable=False, comment="what was asked and answered, RFC 8785; of nobody"),
)
"""Few rows: persons in the same situation share one. The entries prove them, since they hold the digest."""

journal_tile = Table(
    "journal_tile",
    metadata,
    Column("log", String(8), nullable=False),
    Column("n", Integer, nullable=False),
    Column("hashes", Hashed(), nullable=False, comment="256 leaf hashes whose entries were pruned"),
    PrimaryKeyConstraint("log", "n"),
)
"""Level-0 tiles of pruned entries: with them the published folder can be rebuilt from the database alone."""

journal_key = Table(
    "journal_key",
    metadata,
    Column("log", String(8), nullable=False),
    Column("vkey", String(300), nullable=False, comment="C2SP verifier key line"),
    Column("first_size", BigInteger, nullable=False, comment="size of the first checkpoint it signed"),
    Column("since", Instant, nullable=False),
    PrimaryKeyConstraint("log", "vkey"),
)
