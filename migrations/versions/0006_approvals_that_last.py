"""Approvals: leads are asked too, edited questions, messages as answers, standing consent.

Locks: approvals, exclusively, for as long as its indexes take to build (a second per million).
Down: standing consents, what was asked of leads, and edited questions are dropped; a message
that was given as an answer counts as a no.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_BEFORE = "state in ('pending', 'approved', 'rejected', 'expired', 'used')"
_AFTER = "state in ('pending', 'approved', 'rejected', 'expired', 'used', 'answered', 'edited')"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column(
        "approvals", sa.Column("audience", sa.Text(), nullable=False, server_default="customer")
    )
    op.add_column("approvals", sa.Column("why", sa.Text()))
    op.add_column("approvals", sa.Column("arguments", postgresql.JSONB(astext_type=sa.Text())))
    op.add_column(
        "approvals", sa.Column("edited", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.create_check_constraint(
        op.f("ck_approvals_audience"), "approvals", "audience in ('customer', 'lead')"
    )
    op.drop_constraint(op.f("ck_approvals_state"), "approvals", type_="check")
    op.create_check_constraint(op.f("ck_approvals_state"), "approvals", _AFTER)
    op.drop_constraint(op.f("uq_approvals_tool_call_id"), "approvals", type_="unique")
    op.create_index(
        "uq_approvals_tool_call_id_audience",
        "approvals",
        ["tool_call_id", "audience"],
        unique=True,
        postgresql_where=sa.text("state <> 'edited'"),
    )
    op.create_index("ix_approvals_tool_call_id", "approvals", ["tool_call_id"], unique=False)
    op.create_index("ix_approvals_actor", "approvals", ["actor"], unique=False)
    op.create_table(
        "standing_consents",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("thread_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("operation_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("schema_hash", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_standing_consents")),
    )
    op.create_index(
        "uq_standing_consents_standing",
        "standing_consents",
        ["thread_id", "operation_id"],
        unique=True,
        postgresql_where=sa.text("revoked_at is null"),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_index("uq_standing_consents_standing", table_name="standing_consents")
    op.drop_table("standing_consents")
    op.execute("DELETE FROM approvals WHERE audience = 'lead' OR state = 'edited'")
    op.execute("UPDATE approvals SET state = 'rejected' WHERE state = 'answered'")
    op.drop_index("ix_approvals_actor", table_name="approvals")
    op.drop_index("ix_approvals_tool_call_id", table_name="approvals")
    op.drop_index("uq_approvals_tool_call_id_audience", table_name="approvals")
    op.create_unique_constraint(op.f("uq_approvals_tool_call_id"), "approvals", ["tool_call_id"])
    op.drop_constraint(op.f("ck_approvals_state"), "approvals", type_="check")
    op.create_check_constraint(op.f("ck_approvals_state"), "approvals", _BEFORE)
    op.drop_constraint(op.f("ck_approvals_audience"), "approvals", type_="check")
    for column in ("edited", "arguments", "why", "audience"):
        op.drop_column("approvals", column)
