"""Readings of the double-entry meter, one a day"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "meter_reading",
        sa.Column("day", sa.String(length=10), nullable=False, comment="UTC; the last reading of a day stays"),
        sa.Column("read_at", sa.String(length=27), nullable=False, comment="when the reading began"),
        sa.Column(
            "counts", sa.Text(), nullable=False, comment="JSON: counts by recipient and document; nobody is named"
        ),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_meter_reading")),
    )


def downgrade() -> None:
    op.drop_table("meter_reading")
