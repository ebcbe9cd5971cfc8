"""What is few among many is found by an index of its own; what is past its retention is counted at intervals"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_FEW = {
    "ix_journal_entry_reads": sa.text("event IN ('log.read', 'input.reject', 'export')"),
    "ix_journal_entry_erased": sa.text("event = 'right.erase'"),
}
_MERGED = sa.text("merged_into IS NOT NULL")


def upgrade() -> None:
    op.drop_index("ix_journal_entry_reads", "journal_entry")
    for name, few in _FEW.items():
        op.create_index(name, "journal_entry", ["ts", "log", "idx"], sqlite_where=few, postgresql_where=few)
    op.drop_index("ix_person_merged_into", "person")
    op.create_index("ix_person_merged_into", "person", ["merged_into"], sqlite_where=_MERGED, postgresql_where=_MERGED)
    op.create_table(
        "retention_reading",
        sa.Column("read_at", sa.String(length=27), nullable=False),
        sa.Column("due", sa.Text(), nullable=False, comment="JSON: what was past its retention, counted by source"),
        sa.PrimaryKeyConstraint("read_at", name=op.f("pk_retention_reading")),
    )


def downgrade() -> None:
    op.drop_table("retention_reading")
    op.drop_index("ix_person_merged_into", "person")
    op.create_index("ix_person_merged_into", "person", ["merged_into"])
    for name in _FEW:
        op.drop_index(name, "journal_entry")
    reads = _FEW["ix_journal_entry_reads"]
    op.create_index("ix_journal_entry_reads", "journal_entry", ["ts"], sqlite_where=reads, postgresql_where=reads)
