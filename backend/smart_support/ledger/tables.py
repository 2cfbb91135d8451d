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
    sa.Column("finished_at", _instant),
    sa.CheckConstraint("access in ('read', 'write')", name="access"),
    sa.CheckConstraint(
        "state in ('planned', 'awaiting_approval', 'approved', 'rejected', 'expired',"
        " 'sent', 'done', 'failed', 'ambiguous')",
        name="state",
    ),
    sa.Index("ix_tool_calls_turn_id", "turn_id"),
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
