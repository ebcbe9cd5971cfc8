"""Restatements of records, stays in households, and tasks for a human"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "source_record",
        sa.Column("scope", sa.String(length=160), comment="sender, document and caisse: what one full file covers"),
    )
    op.add_column("source_record", sa.Column("persons", sa.Integer(), server_default="0", nullable=False))
    op.create_index("ix_source_record_scope", "source_record", ["scope", "asserted_at"])
    op.add_column(
        "membership",
        sa.Column("asserted_at", sa.String(length=27), comment="last statement of the household that names her"),
    )
    op.add_column(
        "membership", sa.Column("said_in", sa.LargeBinary(length=32), comment="record_h of her own set there")
    )
    op.add_column(
        "membership",
        sa.Column("named", sa.Integer(), server_default="1", nullable=False, comment="0 once the household omits her"),
    )
    op.create_table(
        "task",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False, comment="absent-from-stock"),
        sa.Column("subject_id", sa.String(length=36), nullable=False, comment="a person or a foyer"),
        sa.Column("record_h", sa.LargeBinary(length=32), comment="the sender's record it is about"),
        sa.Column("sender", sa.String(length=64), nullable=False),
        sa.Column("document", sa.String(length=64), nullable=False),
        sa.Column("exchange_id", sa.String(length=36), nullable=False),
        sa.Column("since", sa.String(length=27), nullable=False, comment="when the sender's file was made"),
        sa.Column("state", sa.String(length=16), nullable=False, comment="open, settled, dismissed"),
        sa.Column("opened_at", sa.String(length=27), nullable=False),
        sa.Column("settled_at", sa.String(length=27)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task")),
    )
    op.create_index("ix_task_state", "task", ["state", "kind"])
    op.create_index("ix_task_subject", "task", ["subject_id"])


def downgrade() -> None:
    op.drop_table("task")
    op.drop_index("ix_source_record_scope", "source_record")
    for table, columns in (
        ("membership", ("named", "said_in", "asserted_at")),
        ("source_record", ("persons", "scope")),
    ):
        with op.batch_alter_table(table) as changed:
            for column in columns:
                changed.drop_column(column)
