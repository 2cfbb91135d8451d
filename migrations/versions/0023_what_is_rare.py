"""What a conversation counted is found by the day, and a title by its numbers: what is rare is read
alone, however much else there is.

Locks: none that anybody waits for (the indexes are built concurrently, half a minute per million
conversations). Down: the lists behind rare figures, and the search for a number, take longer the
more conversations there are.
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
NUMBERS = """
CREATE OR REPLACE FUNCTION numbers(words text) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 1000 AS $$
  SELECT coalesce(array_agg(DISTINCT substr(words, place, 4)), '{}')
  FROM generate_series(1, length(words) - 3) place
  WHERE substr(words, place, 4) ~ '^[0-9]{4}$'
$$
"""
_NEW = {
    "ix_thread_titles_numbers": (
        "thread_titles USING gin (numbers(title)) WHERE title ~ '[0-9]{4}'"
    ),
    "ix_conversation_hours_day_keys": (
        "conversation_hours USING gin (day_keys(hour, keys)) WITH (fastupdate = off)"
    ),
}
_OLD = {
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
        op.execute(NUMBERS)
        _replace(_OLD, _NEW)
        op.execute("RESET lock_timeout")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '10min'")
        _replace(_NEW, _OLD)
        op.execute("DROP FUNCTION IF EXISTS day_keys(timestamptz, text[])")
        op.execute("DROP FUNCTION IF EXISTS numbers(text)")
        op.execute("RESET lock_timeout")


def _replace(these: dict[str, str], those: dict[str, str]) -> None:
    for name, what in those.items():
        # What an attempt before left unfinished would be there, and never be used.
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {what}")
    for name in these:
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
