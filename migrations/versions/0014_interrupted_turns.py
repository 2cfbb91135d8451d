"""An index of the turns that failed after they were taken over, which a lead looks at.

Locks: turns, never against reads or writes: the index is built beside them.
Down: the index goes, which can be built again.
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # It waits for whoever is in the middle of something, and keeps nobody waiting meanwhile.
        op.execute("SET lock_timeout = '10min'")
        # What an attempt before left unfinished would be there, and never be used.
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_turns_interrupted")
        op.execute(
            "CREATE INDEX CONCURRENTLY ix_turns_interrupted ON turns (closed_at, id)"
            " WHERE status = 'failed' AND recoveries > 0"
        )
        op.execute("RESET lock_timeout")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    op.execute("DROP INDEX ix_turns_interrupted")
