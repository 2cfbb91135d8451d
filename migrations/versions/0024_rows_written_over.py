"""What a conversation counts is written over where it stands: the pages of its hours keep room.

Locks: none that anybody waits for (a fill factor keeps nobody from reading or writing). Pages that
are full stay so. Down: each turn enters its conversation in all indexes anew.
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0024"
down_revision: str | None = "0023"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    op.execute("ALTER TABLE conversation_hours SET (fillfactor = 70)")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    op.execute("ALTER TABLE conversation_hours RESET (fillfactor)")
