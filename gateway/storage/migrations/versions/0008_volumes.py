"""Counts of the days that are over; what the console reads is found by an index"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_READS = sa.text("event IN ('log.read', 'input.reject', 'export')")


def upgrade() -> None:
    op.create_table(
        "journal_day",
        sa.Column("day", sa.String(length=10), nullable=False, comment="UTC; a day that is over never changes"),
        sa.Column("counts", sa.Text(), nullable=False, comment="JSON: what happened, how many times; nobody is named"),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_journal_day")),
    )
    op.create_index("ix_journal_entry_reads", "journal_entry", ["ts"], sqlite_where=_READS, postgresql_where=_READS)
    op.create_index("ix_basis_event_name", "basis_event", ["name", "recorded_at"])
    op.create_index("ix_basis_record_until", "basis_record", ["kind", "valid_until"])


def downgrade() -> None:
    op.drop_index("ix_basis_record_until", "basis_record")
    op.drop_index("ix_basis_event_name", "basis_event")
    op.drop_index("ix_journal_entry_reads", "journal_entry")
    op.drop_table("journal_day")
