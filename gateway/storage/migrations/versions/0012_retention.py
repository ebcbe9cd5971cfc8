"""When each statement was last said, from which its retention runs

A statement written before this has no record to look at: it counts from its receipt. If it is purged while its sender
still says it, the next sending of its record, once it differs, brings it back.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    origin = "source_record that it came with; empty when no sender restates it"
    heard = "when it was last said here, changed or not: its retention starts anew"
    op.add_column("assertion_set", sa.Column("origin_h", sa.LargeBinary(length=32), comment=origin))
    look = "when the purge should look at it again, if it did"
    op.add_column("assertion_set", sa.Column("look_at", sa.String(length=27), comment=look))
    op.add_column("source_record", sa.Column("received_at", sa.String(length=27), comment=heard))


def downgrade() -> None:
    op.drop_column("source_record", "received_at")
    op.drop_column("assertion_set", "look_at")
    op.drop_column("assertion_set", "origin_h")
