"""What a conversation counted is found by the day, so that a list of some days reads only those.

Locks: none that anybody waits for (the indexes are built concurrently, half a minute per million
conversations). Down: the lists behind rare figures take longer the more conversations there are.
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0023"
down_revision: str | None = "0022"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

DAY_KEYS = """
CREATE OR REPLACE FUNCTION day_keys(hour timestamptz, keys text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 1000 AS $$
  SELECT coalesce(array_agg(day || ' ' || key), '{}')
  FROM (SELECT (extract(epoch FROM $1)::bigint / 86400)::text) d (day), unnest($2) key
$$
"""
_BY_DAY = {
    "ix_conversation_hours_day_keys": (
        "conversation_hours USING gin (day_keys(hour, keys)) WITH (fastupdate = off)"
    ),
}
_BEFORE = {
    "ix_conversation_hours_keys": ("conversation_hours USING gin (keys) WITH (fastupdate = off)"),
    "ix_conversation_hours_hour": (
        "conversation_hours USING brin (hour) WITH (pages_per_range = 32)"
    ),
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # It waits for whoever is in the middle of something, and keeps nobody waiting meanwhile.
        op.execute("SET lock_timeout = '10min'")
        op.execute(DAY_KEYS)
        _replace(_BEFORE, _BY_DAY)
        op.execute("RESET lock_timeout")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '10min'")
        _replace(_BY_DAY, _BEFORE)
        op.execute("DROP FUNCTION IF EXISTS day_keys(timestamptz, text[])")
        op.execute("RESET lock_timeout")


def _replace(these: dict[str, str], those: dict[str, str]) -> None:
    for name, what in those.items():
        # What an attempt before left unfinished would be there, and never be used.
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {what}")
    for name in these:
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
