"""Why a journal is not signed any more"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "journal_log",
        sa.Column("broken", sa.String(length=64), nullable=True, comment="code of why nothing is signed; null: it is"),
    )


def downgrade() -> None:
    with op.batch_alter_table("journal_log") as table:
        table.drop_column("broken")
