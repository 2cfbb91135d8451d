"""Operations without the index of their words: each process ranks them in its memory since it
keeps the whole catalogue there, and an import had to keep the index up to date for nobody.

Locks: none that anybody waits for (the index is dropped concurrently).
Down: builds the index again, concurrently.
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0021"
down_revision: str | None = "0020"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # It waits for whoever is in the middle of something, and keeps nobody waiting meanwhile.
        op.execute("SET lock_timeout = '10min'")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_operations_search")
        op.execute("RESET lock_timeout")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '10min'")
        # What an attempt before left unfinished would be there, and never be used.
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_operations_search")
        op.execute(
            "CREATE INDEX CONCURRENTLY ix_operations_search ON operations USING gin (search)"
        )
        op.execute("RESET lock_timeout")
