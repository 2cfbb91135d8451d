"""Figures as sums by the hour and the day, a conversation's part of an hour as one row; titles
that are found by any three letters.

Locks: episode_figures, figures_hourly and troubles, exclusively, while all of them are read and
written anew (a minute for a million turns).
Down: nothing is lost, the sums become rows again.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0018"
down_revision: str | None = "0017"
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
    FROM troubles t
), counted (kind, hour, figure, dimension, times, amount) AS (
    SELECT 'activity', hour, f.key, d.key, d.value::bigint, 0
    FROM episode_figures CROSS JOIN LATERAL jsonb_each(figures) f
    CROSS JOIN LATERAL jsonb_each(f.value) d
    UNION ALL
    SELECT 'cohort', date_trunc('hour', e.opened_at, 'UTC'), p.figure, p.dimension, 1, p.amount
    FROM episodes e CROSS JOIN LATERAL (VALUES
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


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    jsonb = postgresql.JSONB(astext_type=sa.Text())
    op.execute(_TRIGRAMS)
    op.create_table(
        "thread_titles",
        sa.Column("thread_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("thread_id", name=op.f("pk_thread_titles")),
    )
    op.execute(
        "INSERT INTO thread_titles"
        " SELECT thread_id, title FROM conversation_states WHERE title <> ''"
    )
    op.create_index(
        "ix_thread_titles_trigrams",
        "thread_titles",
        [sa.text("trigrams(title)")],
        unique=False,
        postgresql_using="gin",
    )
    op.add_column(
        "troubles", sa.Column("first", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.add_column("troubles", sa.Column("before", sa.DateTime(timezone=True), nullable=True))
    op.execute(
        """
        UPDATE troubles t SET first = l.last IS NULL,
            before = CASE WHEN date_trunc('hour', l.last, 'UTC') < date_trunc('hour', t.at, 'UTC')
                     THEN l.last END
        FROM (SELECT thread_id, seq, max(at) OVER (PARTITION BY thread_id, fingerprint
                  ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS last
              FROM troubles) l
        WHERE l.thread_id = t.thread_id AND l.seq = t.seq
        """
    )
    op.create_index(
        "ix_troubles_before",
        "troubles",
        ["fingerprint", "at", "before"],
        unique=False,
        postgresql_where=sa.text("before is not null"),
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
        sa.Column("start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("figures", jsonb, nullable=False),
        sa.CheckConstraint(
            "kind in ('activity', 'cohort', 'troubles')", name=op.f("ck_figure_sums_kind")
        ),
        sa.CheckConstraint("bucket in ('hour', 'day')", name=op.f("ck_figure_sums_bucket")),
        sa.PrimaryKeyConstraint("kind", "bucket", "start", name=op.f("pk_figure_sums")),
    )
    op.execute(
        """
        CREATE TEMP TABLE counted ON COMMIT DROP AS SELECT p.thread_id, p.hour, p.figures, k.keys
        FROM (
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
        """
    )
    op.drop_table("episode_figures")
    op.create_table(
        "episode_figures",
        sa.Column("thread_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("figures", jsonb, nullable=False),
        sa.Column("keys", sa.ARRAY(sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("thread_id", "hour", name=op.f("pk_episode_figures")),
    )
    op.execute(
        "INSERT INTO episode_figures (thread_id, hour, figures, keys)"
        " SELECT thread_id, hour, figures, keys FROM counted"
    )
    op.create_index(
        "ix_episode_figures_keys",
        "episode_figures",
        ["keys"],
        unique=False,
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )
    op.drop_table("figures_hourly")
    op.execute(SUMS)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(
        """
        CREATE TEMP TABLE counted ON COMMIT DROP AS
        SELECT thread_id, hour, regexp_replace(f.key, ' amount$', '') AS figure,
               d.key AS dimension,
               coalesce(sum(d.value::bigint) FILTER (WHERE f.key NOT LIKE '% amount'), 0) AS count,
               coalesce(sum(d.value::bigint) FILTER (WHERE f.key LIKE '% amount'), 0) AS total
        FROM episode_figures CROSS JOIN LATERAL jsonb_each(figures) f
        CROSS JOIN LATERAL jsonb_each(f.value) d GROUP BY 1, 2, 3, 4
        """
    )
    op.drop_index("ix_episode_figures_keys", table_name="episode_figures")
    op.drop_table("episode_figures")
    op.create_table(
        "episode_figures",
        sa.Column("thread_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("figure", sa.Text(), nullable=False),
        sa.Column("dimension", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "thread_id", "hour", "figure", "dimension", name=op.f("pk_episode_figures")
        ),
    )
    op.execute("INSERT INTO episode_figures SELECT * FROM counted")
    op.create_index(
        "ix_episode_figures_listing",
        "episode_figures",
        ["figure", "hour", "dimension"],
        unique=False,
        postgresql_include=["thread_id", "count", "total"],
    )
    op.create_table(
        "figures_hourly",
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("figure", sa.Text(), nullable=False),
        sa.Column("dimension", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hour", "figure", "dimension", name=op.f("pk_figures_hourly")),
    )
    op.execute(
        "INSERT INTO figures_hourly"
        " SELECT hour, figure, dimension, sum(count), sum(total) FROM episode_figures"
        " GROUP BY 1, 2, 3"
    )
    op.drop_table("figure_sums")
    op.drop_table("figure_changes")
    op.drop_index("ix_troubles_before", table_name="troubles")
    op.drop_column("troubles", "before")
    op.drop_column("troubles", "first")
    op.drop_table("thread_titles")
    op.execute("DROP FUNCTION trigrams(text)")
