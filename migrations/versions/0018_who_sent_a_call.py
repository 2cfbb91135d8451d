"""Calls keep which process has noted them as sent, so that its file can be asked what left it.

Locks: tool_calls, exclusively, for an instant.
Down: of calls that are on their way it is lost who has sent them; they are unknown if it dies.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0018"
down_revision: str | None = "0017"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    op.add_column("tool_calls", sa.Column("sent_by", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    op.drop_column("tool_calls", "sent_by")
