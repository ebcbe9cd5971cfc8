"""What was asked and answered of each decision, sealed"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "decision_record",
        sa.Column(
            "digest",
            sa.LargeBinary(length=32),
            nullable=False,
            comment="SHA-256 of the content; `decision_h` of the entries it explains",
        ),
        sa.Column(
            "content", sa.LargeBinary(), nullable=False, comment="what was asked and answered, RFC 8785; of nobody"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_decision_record")),
    )


def downgrade() -> None:
    op.drop_table("decision_record")
