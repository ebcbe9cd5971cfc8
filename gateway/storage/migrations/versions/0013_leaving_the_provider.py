"""A console session keeps the ID token by which the provider's own session is ended too"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "console_session",
        sa.Column(
            "id_token", sa.Text(), comment="what the provider gave; it names the session there when the account leaves"
        ),
    )


def downgrade() -> None:
    op.drop_column("console_session", "id_token")
