"""Which keys the database was written under"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "key_mark",
        sa.Column("name", sa.String(length=32), nullable=False, comment="of the key's file, without its suffix"),
        sa.Column(
            "mark",
            sa.LargeBinary(length=32),
            nullable=False,
            comment="HMAC of a fixed text under the key: tells nothing of it",
        ),
        sa.Column("since", sa.String(length=27), nullable=False, comment="when the database was first opened with it"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_key_mark")),
    )


def downgrade() -> None:
    op.drop_table("key_mark")
