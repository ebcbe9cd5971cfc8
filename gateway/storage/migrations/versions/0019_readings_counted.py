"""Days counted before readings of the dossier were are counted again, while the journal still holds them all"""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DELETE FROM journal_day WHERE NOT EXISTS (SELECT 1 FROM journal_log WHERE min_index > 0)")


def downgrade() -> None:
    """Counts of more than the older code counts are read by it as they are."""
