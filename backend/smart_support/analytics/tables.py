"""What is counted: each conversation's part by the hour, and all parts added up."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from smart_support.database import metadata

episodes = sa.Table(
    "conversation_episodes",
    metadata,
    # No foreign key: all of it can be dropped and derived again from the log.
    sa.Column("thread_id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("applied", sa.BigInteger, nullable=False),
    sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("messages", sa.Integer, nullable=False),
    sa.Column("replies", sa.Integer, nullable=False),
    sa.Column("turns", sa.Integer, nullable=False),
    sa.Column("first_reply_ms", sa.BigInteger),
    sa.Column("handled", sa.Boolean, nullable=False),
    sa.Column("resolved_at", sa.DateTime(timezone=True)),
    sa.Column("resolved_by", sa.Text),
    sa.Column("resolved_alone", sa.Boolean, nullable=False),
    sa.Column("handoff_at", sa.DateTime(timezone=True)),
    sa.Column("handoff_reason", sa.Text),
    sa.Column("abandoned_at", sa.DateTime(timezone=True)),
    sa.Column("reopen_count", sa.Integer, nullable=False),
    # What the fold needs to go on: turns and calls in progress.
    sa.Column("answering", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("unanswered", JSONB, nullable=False),
    sa.Column("calls", JSONB, nullable=False),
    sa.CheckConstraint("applied > 0", name="applied"),
    sa.Index("ix_conversation_episodes_opened_at", "opened_at"),
    # The lists behind the figures, those opened last first; what few conversations have is found
    # without passing the others.
    sa.Index("ix_conversation_episodes_newest", "opened_at", "thread_id"),
    sa.Index(
        "ix_conversation_episodes_reopened",
        "opened_at",
        "thread_id",
        postgresql_where=sa.text("reopen_count > 0"),
    ),
    sa.Index(
        "ix_conversation_episodes_abandoned",
        "opened_at",
        "thread_id",
        postgresql_where=sa.text("abandoned_at is not null"),
    ),
    sa.Index(
        "ix_conversation_episodes_handed_off",
        "handoff_reason",
        "opened_at",
        "thread_id",
        postgresql_where=sa.text("handoff_at is not null"),
    ),
)

episode_figures = sa.Table(
    "conversation_hours",
    metadata,
    # What each conversation has added to each hour: the list behind every figure.
    sa.Column("thread_id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("hour", sa.DateTime(timezone=True), primary_key=True),
    sa.Column("figures", JSONB, nullable=False),
    # The figures that count something, alone and by their dimension (`sums.keys_of`).
    sa.Column("keys", sa.ARRAY(sa.Text), nullable=False),
    sa.Index(
        "ix_conversation_hours_hour",
        "hour",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32},
    ),
    # By the day, so that what has a key is found without that of all other days.
    sa.Index(
        "ix_conversation_hours_day_keys",
        sa.text("day_keys(hour, keys)"),
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},  # a list that waits to be sorted in slows readers
    ),
    # Room on each page for what the next turns of its conversations write over: then it stays
    # there, and its indexes as they are.
    postgresql_with={"fillfactor": "70"},
)

# Each key behind the number of its day of UTC since 1970. It is dear, so that whoever looks for
# some rows has it from the index.
DAY_KEYS = """
CREATE FUNCTION day_keys(hour timestamptz, keys text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 1000 AS $$
  SELECT coalesce(array_agg(day || ' ' || key), '{}')
  FROM (SELECT (extract(epoch FROM $1)::bigint / 86400)::text) d (day), unnest($2) key
$$
"""
sa.event.listen(episode_figures, "before_create", sa.DDL(DAY_KEYS))  # type: ignore[no-untyped-call]

figure_changes = sa.Table(
    "figure_changes",
    metadata,
    # What was counted since the sums were made: kind, hour, figure, dimension.
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("changes", JSONB, nullable=False),
)

figure_sums = sa.Table(
    "figure_sums",
    metadata,
    # Everything that one hour, or one day of UTC, has counted.
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("bucket", sa.Text, primary_key=True),
    sa.Column("start", sa.DateTime(timezone=True), primary_key=True),
    sa.Column("figures", JSONB, nullable=False),
    sa.CheckConstraint("kind in ('activity', 'cohort', 'troubles')", name="kind"),
    sa.CheckConstraint("bucket in ('hour', 'day')", name="bucket"),
)

trouble_readings = sa.Table(
    "conversation_trouble_readings",
    metadata,
    # How far each thread's troubles are read, and what the fold needs to go on.
    sa.Column("thread_id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("applied", sa.BigInteger, nullable=False),
    sa.Column("reading", JSONB, nullable=False),
    sa.CheckConstraint("applied > 0", name="applied"),
)

troubles = sa.Table(
    "conversation_troubles",
    metadata,
    # One row per error of a conversation; derived from the log, as the rest is.
    sa.Column("thread_id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("turn_id", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("operation", sa.Text),
    sa.Column("upstream", sa.Text),
    sa.Column("agent", sa.Text),
    sa.Column("correlation_id", sa.Text),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("recovered_at", sa.DateTime(timezone=True)),
    # For counting conversations: whether it is the first that looks like this in its thread, or
    # when the one before was, if that was in an earlier hour.
    sa.Column("first", sa.Boolean, nullable=False),
    sa.Column("before", sa.DateTime(timezone=True)),
    sa.Index("ix_conversation_troubles_at", "at"),
    sa.Index(
        "ix_conversation_troubles_before",
        "fingerprint",
        "at",
        "before",
        postgresql_where=sa.text("before is not null"),
    ),
    sa.Index("ix_conversation_troubles_fingerprint", "fingerprint", "at"),
    # The conversations that carry a trouble over a moment: few at any, whatever came before.
    sa.Index(
        "ix_conversation_troubles_carried",
        sa.text("tstzrange(before, at, '(]')"),
        postgresql_using="gist",
        postgresql_where=sa.text("before is not null"),
    ),
    sa.Index("ix_conversation_troubles_code", "code", "thread_id"),
)

outside_errors = sa.Table(
    "outside_errors",
    metadata,
    # How often an error came outside of conversations; counted as it is handled, no log has it.
    sa.Column("hour", sa.DateTime(timezone=True), primary_key=True),
    sa.Column("code", sa.Text, primary_key=True),
    sa.Column("place", sa.Text, primary_key=True),
    sa.Column("operation", sa.Text, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("last_correlation_id", sa.Text, nullable=False),
    sa.CheckConstraint("count > 0", name="count"),
)

conversation_tables = (episodes, episode_figures, trouble_readings, troubles)
"""What is kept of each conversation; the sums are made of it."""

# What the release before counts in. It is written by servers of that release alone, while they run
# beside ours, and goes with the next release.
sa.Table(
    "episodes",
    metadata,
    sa.Column("thread_id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("applied", sa.BigInteger, nullable=False),
    sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("messages", sa.Integer, nullable=False),
    sa.Column("replies", sa.Integer, nullable=False),
    sa.Column("turns", sa.Integer, nullable=False),
    sa.Column("first_reply_ms", sa.BigInteger),
    sa.Column("handled", sa.Boolean, nullable=False),
    sa.Column("resolved_at", sa.DateTime(timezone=True)),
    sa.Column("resolved_by", sa.Text),
    sa.Column("resolved_alone", sa.Boolean, nullable=False),
    sa.Column("handoff_at", sa.DateTime(timezone=True)),
    sa.Column("handoff_reason", sa.Text),
    sa.Column("abandoned_at", sa.DateTime(timezone=True)),
    sa.Column("reopen_count", sa.Integer, nullable=False),
    sa.Column("answering", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("unanswered", JSONB, nullable=False),
    sa.Column("calls", JSONB, nullable=False),
    sa.CheckConstraint("applied > 0", name="applied"),
    sa.Index("ix_episodes_opened_at", "opened_at"),
)

sa.Table(
    "episode_figures",
    metadata,
    sa.Column("thread_id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("hour", sa.DateTime(timezone=True), primary_key=True),
    sa.Column("figure", sa.Text, primary_key=True),
    sa.Column("dimension", sa.Text, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("total", sa.BigInteger, nullable=False),
    sa.Index(
        "ix_episode_figures_listing",
        "figure",
        "hour",
        "dimension",
        postgresql_include=["thread_id", "count", "total"],
    ),
)

sa.Table(
    "figures_hourly",
    metadata,
    sa.Column("hour", sa.DateTime(timezone=True), primary_key=True),
    sa.Column("figure", sa.Text, primary_key=True),
    sa.Column("dimension", sa.Text, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("total", sa.BigInteger, nullable=False),
)

sa.Table(
    "trouble_readings",
    metadata,
    sa.Column("thread_id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("applied", sa.BigInteger, nullable=False),
    sa.Column("reading", JSONB, nullable=False),
    sa.CheckConstraint("applied > 0", name="applied"),
)

sa.Table(
    "troubles",
    metadata,
    sa.Column("thread_id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("turn_id", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("operation", sa.Text),
    sa.Column("upstream", sa.Text),
    sa.Column("agent", sa.Text),
    sa.Column("correlation_id", sa.Text),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("recovered_at", sa.DateTime(timezone=True)),
    sa.Index("ix_troubles_at", "at"),
    sa.Index("ix_troubles_fingerprint", "fingerprint", "at"),
)
