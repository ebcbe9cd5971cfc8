"""What the gateway does by itself at intervals"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "schedule",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("since", sa.String(length=27), nullable=False, comment="when the job was first seen"),
        sa.Column(
            "fence",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="one more at each run: a late end changes nothing",
        ),
        sa.Column(
            "lease_until", sa.String(length=27), comment="set while a process runs it; left behind by one that died"
        ),
        sa.Column("started_at", sa.String(length=27)),
        sa.Column("done_at", sa.String(length=27), comment="last success"),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False, comment="in a row"),
        sa.Column("reason", sa.String(length=64), comment="code of the last failure; empty after a success"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_schedule")),
    )


def downgrade() -> None:
    op.drop_table("schedule")
