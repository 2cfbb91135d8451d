"""Indexes for the lists behind figures and for errors, so that years of data take no longer.

Locks: none that anybody waits for (the indexes are built concurrently, a few seconds per million
conversations). Down: the lists take longer the more conversations there are.
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0022"
down_revision: str | None = "0021"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_INDEXES = {
    "ix_conversation_episodes_newest": "conversation_episodes (opened_at, thread_id)",
    "ix_conversation_episodes_reopened": (
        "conversation_episodes (opened_at, thread_id) WHERE reopen_count > 0"
    ),
    "ix_conversation_episodes_abandoned": (
        "conversation_episodes (opened_at, thread_id) WHERE abandoned_at IS NOT NULL"
    ),
    "ix_conversation_episodes_handed_off": (
        "conversation_episodes (handoff_reason, opened_at, thread_id) WHERE handoff_at IS NOT NULL"
    ),
    "ix_conversation_hours_hour": (
        "conversation_hours USING brin (hour) WITH (pages_per_range = 32)"
    ),
    "ix_conversation_troubles_carried": (
        "conversation_troubles USING gist (tstzrange(before, at, '(]')) WHERE before IS NOT NULL"
    ),
    "ix_conversation_troubles_code": "conversation_troubles (code, thread_id)",
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # It waits for whoever is in the middle of something, and keeps nobody waiting meanwhile.
        op.execute("SET lock_timeout = '10min'")
        for name, what in _INDEXES.items():
            # What an attempt before left unfinished would be there, and never be used.
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {what}")
        op.execute("RESET lock_timeout")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    for name in _INDEXES:
        op.execute(f"DROP INDEX {name}")
