"""Rights of the person"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "breach",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False, comment="draft, open, closed"),
        sa.Column("detected_at", sa.String(length=27), nullable=False),
        sa.Column("aware_at", sa.String(length=27), nullable=False, comment="the 72 hours start here (GDPR 33(1))"),
        sa.Column("content", sa.Text(), nullable=False, comment="the other fields of the list, canonical JSON"),
        sa.Column("cnil_notified_at", sa.String(length=27), nullable=True),
        sa.Column("persons_notified_at", sa.String(length=27), nullable=True),
        sa.Column("closed_at", sa.String(length=27), nullable=True),
        sa.CheckConstraint("state in ('draft', 'open', 'closed')", name="ck_breach_state"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_breach")),
    )
    op.create_table(
        "erasure",
        sa.Column(
            "subject_id",
            sa.String(length=36),
            nullable=False,
            comment="a person or a household whose key was destroyed",
        ),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("ground", sa.String(length=32), nullable=False),
        sa.Column("erased_at", sa.String(length=27), nullable=False),
        sa.Column("log", sa.String(length=8), nullable=True),
        sa.Column("idx", sa.BigInteger(), nullable=True, comment="journal entry of the erasure"),
        sa.PrimaryKeyConstraint("subject_id", name=op.f("pk_erasure")),
    )
    with op.batch_alter_table("erasure", schema=None) as batch_op:
        batch_op.create_index("ix_erasure_at", ["erased_at"], unique=False)

    op.create_table(
        "rights_request",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=16), nullable=False, comment="the right that is exercised"),
        sa.Column("body", sa.String(length=64), nullable=False, comment="where the person asked"),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("received_at", sa.String(length=27), nullable=False),
        sa.Column("due_at", sa.String(length=27), nullable=False),
        sa.Column("paused_at", sa.String(length=27), nullable=True, comment="identity being checked since"),
        sa.Column(
            "extended_at", sa.String(length=27), nullable=True, comment="when the person was told of two more months"
        ),
        sa.Column("answered_at", sa.String(length=27), nullable=True),
        sa.Column("reason", sa.String(length=64), nullable=True, comment="code of the refusal or of the extension"),
        sa.Column("article", sa.String(length=200), nullable=True),
        sa.Column("reason_hash", sa.String(length=64), nullable=True, comment="digest of the written reason"),
        sa.CheckConstraint(
            "name in ('access', 'rectification', 'erasure', 'limitation', 'objection', 'portability', 'withdrawal')",
            name="ck_rights_request_name",
        ),
        sa.CheckConstraint("state in ('open', 'identity', 'done', 'refused')", name="ck_rights_request_state"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rights_request")),
    )
    with op.batch_alter_table("rights_request", schema=None) as batch_op:
        batch_op.create_index("ix_rights_request_due", ["state", "due_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_rights_request_person_id"), ["person_id"], unique=False)

    op.create_table(
        "statement",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("path", sa.String(length=200), nullable=False, comment="the contested appreciation"),
        sa.Column("content", sa.LargeBinary(), nullable=False, comment="what the person says of it"),
        sa.Column("written_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_statement")),
    )
    with op.batch_alter_table("statement", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_statement_person_id"), ["person_id"], unique=False)

    with op.batch_alter_table("basis_notification", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_basis_notification_record_id"), type_="foreignkey")
        batch_op.drop_constraint("ck_basis_notification_action", type_="check")
        batch_op.create_check_constraint(
            "ck_basis_notification_action", "action in ('stop', 'erase', 'limit', 'resume', 'rectify')"
        )


def downgrade() -> None:
    with op.batch_alter_table("basis_notification", schema=None) as batch_op:
        batch_op.drop_constraint("ck_basis_notification_action", type_="check")
        batch_op.create_check_constraint("ck_basis_notification_action", "action in ('stop', 'erase', 'limit')")
        batch_op.create_foreign_key(
            batch_op.f("fk_basis_notification_record_id"), "basis_record", ["record_id"], ["id"]
        )

    with op.batch_alter_table("statement", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_statement_person_id"))

    op.drop_table("statement")
    with op.batch_alter_table("rights_request", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_rights_request_person_id"))
        batch_op.drop_index("ix_rights_request_due")

    op.drop_table("rights_request")
    with op.batch_alter_table("erasure", schema=None) as batch_op:
        batch_op.drop_index("ix_erasure_at")

    op.drop_table("erasure")
    op.drop_table("breach")
