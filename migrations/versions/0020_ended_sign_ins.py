"""Sign-ins that were ended before their tokens would have: whose, and up to when they were issued.

Locks: none held on existing tables (new table).
Down: drops what was ended; those tokens are good again until they end by themselves.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0020"
down_revision: str | None = "0019"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    op.create_table(
        "ended_sign_ins",
        sa.Column("whose", sa.Text, nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("forget_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "noted_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.PrimaryKeyConstraint("whose", name=op.f("pk_ended_sign_ins")),
        sa.CheckConstraint("forget_at >= ended_at", name=op.f("ck_ended_sign_ins_forget_at")),
    )
    op.create_index("ix_ended_sign_ins_noted_at", "ended_sign_ins", ["noted_at"])


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    op.drop_table("ended_sign_ins")
