"""Figures as sums by the hour and the day, a conversation's part of an hour as one row; titles
that are found by any three letters.

All of it in new tables: servers of the release before go on counting in theirs, and what they have
taken in of a log the new ones read once more for themselves.

Locks: none held on existing tables (new tables), which are read once (a minute per million turns).
Down: drops the new tables; the old ones are brought up to date from the logs.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_TRIGRAMS = """
CREATE FUNCTION trigrams(words text) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT coalesce(array_agg(DISTINCT substr(l.words, place, 3)), '{}')
  FROM (SELECT lower(words)) l (words), generate_series(1, length(l.words) - 2) place
$$
"""

SUMS = """
WITH told AS (
    SELECT t.*, date_trunc('hour', t.at, 'UTC') AS hour,
           (extract(epoch FROM t.recovered_at - t.at) * 1000000)::bigint AS took
    FROM conversation_troubles t
), counted (kind, hour, figure, dimension, times, amount) AS (
    SELECT 'activity', hour, f.key, d.key, d.value::bigint, 0
    FROM conversation_hours CROSS JOIN LATERAL jsonb_each(figures) f
    CROSS JOIN LATERAL jsonb_each(f.value) d
    UNION ALL
    SELECT 'cohort', date_trunc('hour', e.opened_at, 'UTC'), p.figure, p.dimension, 1, p.amount
    FROM conversation_episodes e CROSS JOIN LATERAL (VALUES
        ('conversations', true, '', 0::bigint),
        ('handled', e.handled, '', 0),
        ('answered', e.first_reply_ms IS NOT NULL, '', 0),
        ('resolved', e.resolved_at IS NOT NULL, '', 0),
        ('resolved_alone', e.resolved_alone, '', 0),
        ('abandoned', e.abandoned_at IS NOT NULL, '', 0),
        ('reopened', e.reopen_count > 0, '', 0),
        ('handed_off', e.handoff_at IS NOT NULL, coalesce(e.handoff_reason, ''), 0),
        ('first_reply_ms', e.first_reply_ms IS NOT NULL, CASE WHEN e.first_reply_ms <= 1 THEN '0'
            ELSE ceil(ln(e.first_reply_ms::float8) / ln(1.025::float8 / 0.975::float8))::int::text
            END, coalesce(e.first_reply_ms, 0))
    ) p (figure, counts, dimension, amount)
    WHERE p.counts
    UNION ALL
    SELECT 'troubles', t.hour, p.figure, p.dimension, 1, p.amount
    FROM told t CROSS JOIN LATERAL (VALUES
        ('pattern', t.fingerprint, 0::bigint),
        ('hour of day', to_char(t.hour AT TIME ZONE 'UTC', 'HH24'), 0),
        ('pattern conversations', CASE WHEN t.first THEN t.fingerprint END, 0),
        ('all', '', 0), ('code', t.code, 0), ('operation', t.operation, 0),
        ('upstream', t.upstream, 0), ('agent', t.agent, 0),
        ('all recovered', CASE WHEN t.took IS NOT NULL THEN '' END, t.took),
        ('code recovered', CASE WHEN t.took IS NOT NULL THEN t.code END, t.took),
        ('operation recovered', CASE WHEN t.took IS NOT NULL THEN t.operation END, t.took),
        ('upstream recovered', CASE WHEN t.took IS NOT NULL THEN t.upstream END, t.took),
        ('agent recovered', CASE WHEN t.took IS NOT NULL THEN t.agent END, t.took)
    ) p (figure, dimension, amount)
    WHERE p.dimension IS NOT NULL
), hourly AS MATERIALIZED (
    SELECT kind, hour, figure, dimension, sum(times) AS times, sum(amount) AS amount
    FROM counted GROUP BY 1, 2, 3, 4
), summed AS (
    SELECT kind, 'hour' AS bucket, hour AS start, figure, dimension, times, amount FROM hourly
    UNION ALL
    SELECT kind, 'day', date_trunc('day', hour, 'UTC'), figure, dimension, sum(times), sum(amount)
    FROM hourly GROUP BY 1, 2, 3, 4, 5
), numbers AS (
    SELECT kind, bucket, start, figure, dimension, times AS number FROM summed WHERE times <> 0
    UNION ALL
    SELECT kind, bucket, start, figure || ' amount', dimension, amount FROM summed
    WHERE amount <> 0
)
INSERT INTO figure_sums (kind, bucket, start, figures)
SELECT kind, bucket, start, jsonb_object_agg(figure, dimensions) FROM (
    SELECT kind, bucket, start, figure, jsonb_object_agg(dimension, number) AS dimensions
    FROM numbers GROUP BY 1, 2, 3, 4
) f GROUP BY 1, 2, 3
"""
"""Everything that was counted, from the conversations' own rows."""


_COPY = """
WITH episode AS (
    INSERT INTO conversation_episodes (
        thread_id, applied, opened_at, status, messages, replies, turns, first_reply_ms, handled,
        resolved_at, resolved_by, resolved_alone, handoff_at, handoff_reason, abandoned_at,
        reopen_count, answering, unanswered, calls)
    SELECT thread_id, applied, opened_at, status, messages, replies, turns, first_reply_ms, handled,
        resolved_at, resolved_by, resolved_alone, handoff_at, handoff_reason, abandoned_at,
        reopen_count, answering, unanswered, calls FROM episodes
), hour AS (
    INSERT INTO conversation_hours (thread_id, hour, figures, keys)
    SELECT p.thread_id, p.hour, p.figures, k.keys FROM (
        SELECT thread_id, hour, jsonb_object_agg(figure, dimensions) AS figures FROM (
            SELECT thread_id, hour, n.name AS figure,
                   jsonb_object_agg(dimension, n.number) AS dimensions
            FROM episode_figures CROSS JOIN LATERAL
                (VALUES (figure, count), (figure || ' amount', total)) n (name, number)
            WHERE n.number <> 0 GROUP BY 1, 2, 3
        ) f GROUP BY 1, 2
    ) p JOIN (
        SELECT thread_id, hour, coalesce(array_agg(DISTINCT n.name COLLATE "C") FILTER (
            WHERE CASE WHEN figure IN ('input_tokens', 'output_tokens')
                       THEN total ELSE count END > 0), '{}') AS keys
        FROM episode_figures CROSS JOIN LATERAL
            (VALUES (figure), (figure || '/' || dimension)) n (name)
        GROUP BY 1, 2
    ) k USING (thread_id, hour)
), reading AS (
    INSERT INTO conversation_trouble_readings (thread_id, applied, reading)
    SELECT thread_id, applied, reading FROM trouble_readings
), trouble AS (
    INSERT INTO conversation_troubles (
        thread_id, seq, at, turn_id, kind, code, operation, upstream, agent, correlation_id,
        fingerprint, recovered_at, first, before)
    SELECT thread_id, seq, at, turn_id, kind, code, operation, upstream, agent, correlation_id,
        fingerprint, recovered_at, last IS NULL,
        CASE WHEN date_trunc('hour', last, 'UTC') < date_trunc('hour', at, 'UTC') THEN last END
    FROM (SELECT t.*, max(at) OVER (PARTITION BY thread_id, fingerprint
              ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS last
          FROM troubles t) l
)
INSERT INTO thread_titles (thread_id, title)
SELECT thread_id, title FROM conversation_states WHERE title <> ''
"""
"""One statement, and thus one moment: how far a log was read, and what was counted until there."""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    jsonb = postgresql.JSONB(astext_type=sa.Text())
    instant = sa.DateTime(timezone=True)
    op.execute(_TRIGRAMS)
    op.create_table(
        "thread_titles",
        sa.Column("thread_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("thread_id", name=op.f("pk_thread_titles")),
    )
    op.create_table(
        "conversation_episodes",
        sa.Column("thread_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("applied", sa.BigInteger(), nullable=False),
        sa.Column("opened_at", instant, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("messages", sa.Integer(), nullable=False),
        sa.Column("replies", sa.Integer(), nullable=False),
        sa.Column("turns", sa.Integer(), nullable=False),
        sa.Column("first_reply_ms", sa.BigInteger(), nullable=True),
        sa.Column("handled", sa.Boolean(), nullable=False),
        sa.Column("resolved_at", instant, nullable=True),
        sa.Column("resolved_by", sa.Text(), nullable=True),
        sa.Column("resolved_alone", sa.Boolean(), nullable=False),
        sa.Column("handoff_at", instant, nullable=True),
        sa.Column("handoff_reason", sa.Text(), nullable=True),
        sa.Column("abandoned_at", instant, nullable=True),
        sa.Column("reopen_count", sa.Integer(), nullable=False),
        sa.Column("answering", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("unanswered", jsonb, nullable=False),
        sa.Column("calls", jsonb, nullable=False),
        sa.CheckConstraint("applied > 0", name=op.f("ck_conversation_episodes_applied")),
        sa.PrimaryKeyConstraint("thread_id", name=op.f("pk_conversation_episodes")),
    )
    op.create_table(
        "conversation_hours",
        sa.Column("thread_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("hour", instant, nullable=False),
        sa.Column("figures", jsonb, nullable=False),
        sa.Column("keys", sa.ARRAY(sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("thread_id", "hour", name=op.f("pk_conversation_hours")),
    )
    op.create_table(
        "conversation_trouble_readings",
        sa.Column("thread_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("applied", sa.BigInteger(), nullable=False),
        sa.Column("reading", jsonb, nullable=False),
        sa.CheckConstraint("applied > 0", name=op.f("ck_conversation_trouble_readings_applied")),
        sa.PrimaryKeyConstraint("thread_id", name=op.f("pk_conversation_trouble_readings")),
    )
    op.create_table(
        "conversation_troubles",
        sa.Column("thread_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", instant, nullable=False),
        sa.Column("turn_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=True),
        sa.Column("upstream", sa.Text(), nullable=True),
        sa.Column("agent", sa.Text(), nullable=True),
        sa.Column("correlation_id", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("recovered_at", instant, nullable=True),
        sa.Column("first", sa.Boolean(), nullable=False),
        sa.Column("before", instant, nullable=True),
        sa.PrimaryKeyConstraint("thread_id", "seq", name=op.f("pk_conversation_troubles")),
    )
    op.create_table(
        "figure_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("changes", jsonb, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_figure_changes")),
    )
    op.create_table(
        "figure_sums",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("bucket", sa.Text(), nullable=False),
        sa.Column("start", instant, nullable=False),
        sa.Column("figures", jsonb, nullable=False),
        sa.CheckConstraint(
            "kind in ('activity', 'cohort', 'troubles')", name=op.f("ck_figure_sums_kind")
        ),
        sa.CheckConstraint("bucket in ('hour', 'day')", name=op.f("ck_figure_sums_bucket")),
        sa.PrimaryKeyConstraint("kind", "bucket", "start", name=op.f("pk_figure_sums")),
    )
    op.execute(_COPY)
    op.execute(SUMS)
    op.create_index(
        "ix_thread_titles_trigrams",
        "thread_titles",
        [sa.text("trigrams(title)")],
        unique=False,
        postgresql_using="gin",
    )
    op.create_index("ix_conversation_episodes_opened_at", "conversation_episodes", ["opened_at"])
    op.create_index(
        "ix_conversation_hours_keys",
        "conversation_hours",
        ["keys"],
        unique=False,
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )
    op.create_index("ix_conversation_troubles_at", "conversation_troubles", ["at"])
    op.create_index(
        "ix_conversation_troubles_fingerprint", "conversation_troubles", ["fingerprint", "at"]
    )
    op.create_index(
        "ix_conversation_troubles_before",
        "conversation_troubles",
        ["fingerprint", "at", "before"],
        unique=False,
        postgresql_where=sa.text("before is not null"),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    for name in (
        "figure_sums",
        "figure_changes",
        "conversation_troubles",
        "conversation_trouble_readings",
        "conversation_hours",
        "conversation_episodes",
        "thread_titles",
    ):
        op.drop_table(name)
    op.execute("DROP FUNCTION trigrams(text)")
