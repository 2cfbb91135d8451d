"""Tool calls, attempts and approvals, each a row that is only ever moved forward."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from smart_support.database import metadata

_uuid = sa.Uuid(as_uuid=False)
_instant = sa.DateTime(timezone=True)

tool_calls = sa.Table(
    "tool_calls",
    metadata,
    sa.Column("id", _uuid, primary_key=True),
    sa.Column("thread_id", _uuid, nullable=False),
    sa.Column("turn_id", _uuid, nullable=False),
    sa.Column("operation_id", _uuid, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("access", sa.Text, nullable=False),
    sa.Column("arguments", JSONB, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("content", sa.Text),
    sa.Column("code", sa.Text),
    sa.Column("planned_at", _instant, nullable=False, server_default=sa.func.now()),
    sa.Column("sent_at", _instant),
    # The process that noted it as sent, by the number of its lock.
    sa.Column("sent_by", sa.BigInteger),
    sa.Column("finished_at", _instant),
    sa.Column("api_id", _uuid),
    # One per effect that was asked for: what is sent as the idempotency key, where one is taken.
    sa.Column("effect_key", _uuid),
    # Until when the API keeps that key; null: it takes none.
    sa.Column("keyed_until", _instant),
    sa.Column("url", sa.Text),
    sa.Column("etag", sa.Text),
    # What the API said when it accepted the call without having done it (202).
    sa.Column("accepted", JSONB(none_as_null=True)),
    sa.Column("check_at", _instant),
    sa.Column("checks", sa.Integer, nullable=False, server_default="0"),
    sa.Column("resolved_by", sa.Text),
    sa.Column("resolved_at", _instant),
    sa.Column("resolution", sa.Text),
    sa.Column("remark", sa.Text),
    sa.CheckConstraint("access in ('read', 'write')", name="access"),
    sa.CheckConstraint(
        "state in ('planned', 'awaiting_approval', 'approved', 'rejected', 'expired',"
        " 'sent', 'done', 'failed', 'ambiguous', 'resolved_done', 'resolved_not_done')",
        name="state",
    ),
    sa.CheckConstraint("resolution in ('key', 'lookup', 'status', 'person')", name="resolution"),
    sa.Index("ix_tool_calls_turn_id", "turn_id"),
    # The database decides that no effect is asked for twice.
    sa.Index(
        "uq_tool_calls_effect_key",
        "effect_key",
        unique=True,
        postgresql_where=sa.text("state in ('sent', 'done', 'ambiguous', 'resolved_done')"),
    ),
    sa.Index("ix_tool_calls_ambiguous", "id", postgresql_where=sa.text("state = 'ambiguous'")),
    sa.Index(
        "ix_tool_calls_etag",
        "thread_id",
        "url",
        "finished_at",
        postgresql_where=sa.text("etag is not null"),
    ),
    sa.Index(
        "ix_tool_calls_writes",
        "thread_id",
        "planned_at",
        postgresql_where=sa.text("access = 'write'"),
    ),
    sa.Index("ix_tool_calls_sent", "turn_id", postgresql_where=sa.text("state = 'sent'")),
)

tool_attempts = sa.Table(
    "tool_attempts",
    metadata,
    sa.Column(
        "tool_call_id",
        _uuid,
        sa.ForeignKey("tool_calls.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("started_at", _instant, nullable=False),
    sa.Column("duration_ms", sa.Float, nullable=False),
    sa.Column("waited_ms", sa.Float, nullable=False),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("category", sa.Text),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("error", sa.Text),
    sa.CheckConstraint("outcome in ('done', 'not_sent', 'rejected', 'unknown')", name="outcome"),
    sa.CheckConstraint("number > 0", name="number"),
)

approvals = sa.Table(
    "approvals",
    metadata,
    sa.Column("id", _uuid, primary_key=True),
    sa.Column(
        "tool_call_id",
        _uuid,
        sa.ForeignKey("tool_calls.id", ondelete="CASCADE"),
        nullable=False,
    ),
    sa.Column("thread_id", _uuid, nullable=False),
    sa.Column("turn_id", _uuid, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("fields", JSONB, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("asked_at", _instant, nullable=False, server_default=sa.func.now()),
    sa.Column("expires_at", _instant, nullable=False),
    sa.Column("decided_by", sa.Text),
    sa.Column("decided_at", _instant),
    sa.Column("reason", sa.Text),
    sa.Column("audience", sa.Text, nullable=False, server_default="customer"),
    sa.Column("why", sa.Text),
    sa.Column("arguments", JSONB),
    sa.Column("edited", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.CheckConstraint(
        "state in ('pending', 'approved', 'rejected', 'expired', 'used', 'answered', 'edited')",
        name="state",
    ),
    sa.CheckConstraint("audience in ('customer', 'lead')", name="audience"),
    # Each person is asked once about a call; an edited question leaves its place to another.
    sa.Index(
        "uq_approvals_tool_call_id_audience",
        "tool_call_id",
        "audience",
        unique=True,
        postgresql_where=sa.text("state <> 'edited'"),
    ),
    sa.Index("ix_approvals_tool_call_id", "tool_call_id"),
    sa.Index("ix_approvals_actor", "actor"),
    sa.Index("ix_approvals_turn_id", "turn_id"),
    sa.Index("ix_approvals_pending", "actor", "id", postgresql_where=sa.text("state = 'pending'")),
)

stops = sa.Table(
    "stops",
    metadata,
    sa.Column("id", _uuid, primary_key=True),
    sa.Column("scope", sa.Text, nullable=False),
    # The spec or the operation; null: everything.
    sa.Column("target", _uuid),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("stopped_by", sa.Text, nullable=False),
    sa.Column("stopped_at", _instant, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("lifted_by", sa.Text),
    sa.Column("lifted_at", _instant),
    sa.Column("lifted_reason", sa.Text),
    sa.CheckConstraint(
        "scope = 'everything' and target is null"
        " or scope in ('api', 'operation') and target is not null",
        name="scope",
    ),
    # One standing stop of each thing; asked at every call, so that it holds those only.
    sa.Index(
        "uq_stops_standing",
        "scope",
        "target",
        unique=True,
        postgresql_where=sa.text("lifted_at is null"),
        postgresql_nulls_not_distinct=True,
    ),
)

standing_consents = sa.Table(
    "standing_consents",
    metadata,
    sa.Column("id", _uuid, primary_key=True),
    sa.Column("thread_id", _uuid, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("operation_id", _uuid, nullable=False),
    # As reviewed: once the operation changes, the consent was to something else.
    sa.Column("schema_hash", sa.Text, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("given_at", _instant, nullable=False),
    sa.Column("expires_at", _instant, nullable=False),
    sa.Column("revoked_at", _instant),
    sa.Index(
        "uq_standing_consents_standing",
        "thread_id",
        "operation_id",
        unique=True,
        postgresql_where=sa.text("revoked_at is null"),
    ),
)
