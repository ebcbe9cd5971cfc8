"""When what a partner last authenticated with stops counting"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("client", sa.Column("credential_ends", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("client") as table:
        table.drop_column("credential_ends")
