"""Who answers a turn: the epoch of its owner, when it was opened, how often it was taken over.

Also when each message was received, which is what the limit of messages counts.

Locks: event_logs and turns, exclusively, for the moment it takes to add columns (no rewrite).
Down: which epoch a thread is in and how often turns were taken over is lost; nothing else.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column(
        "event_logs", sa.Column("epoch", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.add_column("turns", sa.Column("epoch", sa.BigInteger(), nullable=True))
    op.add_column(
        "turns", sa.Column("recoveries", sa.Integer(), server_default="0", nullable=False)
    )
    # A default that is no constant would write the whole table anew; rows from before have none.
    for name in ("opened_at", "received_at"):
        op.add_column("turns", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
        op.alter_column("turns", name, server_default=sa.text("clock_timestamp()"))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for name in ("received_at", "opened_at", "recoveries", "epoch"):
        op.drop_column("turns", name)
    op.drop_column("event_logs", "epoch")
