"""Two accounts and a reason, from a pseudonym back to a person"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reidentification",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("subject", sa.String(length=40), nullable=False, comment="the pseudonym asked about"),
        sa.Column(
            "reason", sa.Text(), nullable=False, comment="read by the second account; the journal has its digest"
        ),
        sa.Column("requested_by", sa.String(length=80), nullable=False, comment="client, or pseudonym of an agent"),
        sa.Column("requested_at", sa.String(length=27), nullable=False),
        sa.Column("approved_by", sa.String(length=80)),
        sa.Column("approved_at", sa.String(length=27)),
        sa.Column("expires_at", sa.String(length=27), nullable=False),
        sa.Column("used_at", sa.String(length=27)),
        sa.CheckConstraint("approved_by <> requested_by", name="ck_reidentification_two"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reidentification")),
    )


def downgrade() -> None:
    op.drop_table("reidentification")
