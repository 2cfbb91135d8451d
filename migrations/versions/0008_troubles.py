"""Troubles: one row per error of a conversation, derived from the log.

Locks: none held on existing tables (new tables). Down: drops both; all of it can be derived from
the log again.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "trouble_readings",
        sa.Column("thread_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("applied", sa.BigInteger(), nullable=False),
        sa.Column("reading", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.CheckConstraint("applied > 0", name=op.f("ck_trouble_readings_applied")),
        sa.PrimaryKeyConstraint("thread_id", name=op.f("pk_trouble_readings")),
    )
    op.create_table(
        "troubles",
        sa.Column("thread_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("turn_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text()),
        sa.Column("upstream", sa.Text()),
        sa.Column("agent", sa.Text()),
        sa.Column("correlation_id", sa.Text()),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("recovered_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("thread_id", "seq", name=op.f("pk_troubles")),
    )
    op.create_index("ix_troubles_at", "troubles", ["at"])
    op.create_index("ix_troubles_fingerprint", "troubles", ["fingerprint", "at"])


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("troubles")
    op.drop_table("trouble_readings")
