"""What the gateway notices by itself is written down once"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    signal = sa.Column("signal", sa.String(length=160), comment="what the gateway noticed by itself, once a day each")
    op.add_column("breach", signal)
    op.create_index("uq_breach_signal", "breach", ["signal"], unique=True)


def downgrade() -> None:
    op.drop_index("uq_breach_signal", "breach")
    op.drop_column("breach", "signal")
