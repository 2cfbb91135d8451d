"""The hours of conversations without the index of their keys alone: that by the day serves (0023),
and whatever was counted had to be entered in both.

Locks: none that anybody waits for (the index is dropped concurrently). Servers of the release
before open the lists behind rare figures more slowly, for as long as they run beside ours.
Down: builds the index again, concurrently, a few seconds per million conversations.
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0025"
down_revision: str | None = "0024"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # It waits for whoever is in the middle of something, and keeps nobody waiting meanwhile.
        op.execute("SET lock_timeout = '10min'")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_conversation_hours_keys")
        op.execute("RESET lock_timeout")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '10min'")
        # What an attempt before left unfinished would be there, and never be used.
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_conversation_hours_keys")
        op.execute(
            "CREATE INDEX CONCURRENTLY ix_conversation_hours_keys ON conversation_hours"
            " USING gin (keys) WITH (fastupdate = off)"
        )
        op.execute("RESET lock_timeout")
