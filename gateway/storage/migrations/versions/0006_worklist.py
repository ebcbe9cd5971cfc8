"""What partners ask our side to do"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "worklist_item",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("body", sa.String(length=64), nullable=False, comment="whose worklist it is in"),
        sa.Column("family", sa.String(length=40), nullable=False),
        sa.Column(
            "item_h",
            sa.LargeBinary(length=32),
            nullable=False,
            comment="blind index of the body and its own id of the item",
        ),
        sa.Column("code", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("person_id", sa.String(length=36), comment="empty while nobody here is known by the number it gives"),
        sa.Column(
            "state",
            sa.String(length=16),
            nullable=False,
            comment="pending, open, transmitting, transmitted, absent",
        ),
        sa.Column("reason", sa.String(length=64)),
        sa.Column("content", sa.LargeBinary(), nullable=False, comment="the item as it was read"),
        sa.Column("due_at", sa.String(length=40), server_default="", nullable=False, comment="as the body writes it"),
        sa.Column("opened_at", sa.String(length=27), nullable=False),
        sa.Column("seen_at", sa.String(length=27), nullable=False),
        sa.Column("settled_at", sa.String(length=27)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worklist_item")),
        sa.UniqueConstraint("item_h", name=op.f("uq_worklist_item_item_h")),
    )
    op.create_index("ix_worklist_item_state", "worklist_item", ["body", "state"])
    op.create_index("ix_worklist_item_person", "worklist_item", ["person_id"])


def downgrade() -> None:
    op.drop_table("worklist_item")
