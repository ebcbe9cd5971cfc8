"""Delivery: indexes of what is open only, rate shared by all workers"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OPEN = sa.text("state IN ('queued', 'claimed')")
STUCK = sa.text("state IN ('waiting', 'dead')")


def upgrade() -> None:
    op.add_column("recipient_state", sa.Column("rate_at", sa.String(length=27), nullable=True))
    # What a worker of the version before holds keeps its lease.
    op.execute("UPDATE outbox SET next_at = lease_until WHERE state = 'claimed' AND lease_until IS NOT NULL")
    op.drop_index("ix_outbox_ready", table_name="outbox")
    op.drop_index("ix_outbox_order", table_name="outbox")
    op.create_index("ix_outbox_due", "outbox", ["recipient", "next_at", "id"], sqlite_where=OPEN, postgresql_where=OPEN)
    op.create_index("ix_outbox_stuck", "outbox", ["recipient", "state"], sqlite_where=STUCK, postgresql_where=STUCK)
    op.create_index("ix_outbox_person", "outbox", ["person_id", "recipient", "state", "id"])


def downgrade() -> None:
    for name in ("ix_outbox_person", "ix_outbox_stuck", "ix_outbox_due"):
        op.drop_index(name, table_name="outbox")
    op.create_index("ix_outbox_order", "outbox", ["recipient", "person_id", "state", "id"])
    op.create_index("ix_outbox_ready", "outbox", ["state", "next_at", "id"])
    op.drop_column("recipient_state", "rate_at")
