"""Errors outside of conversations: how often each came in an hour, and where.

Locks: none held on existing tables (new table). Down: drops these counts; they are in no log.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    op.create_table(
        "outside_errors",
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_correlation_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint(
            "hour", "code", "place", "operation", name=op.f("pk_outside_errors")
        ),
        sa.CheckConstraint("count > 0", name=op.f("ck_outside_errors_count")),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    op.drop_table("outside_errors")
