"""The first tables: threads and turns, their log, the ledger, the catalogue, what is derived.

Locks: none on existing tables (all are new).
Down: drops everything; export first.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "conversation_states",
        sa.Column("thread_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("applied", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("answering", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_event_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("agent", sa.Text(), nullable=True),
        sa.Column("handoff_reason", sa.Text(), nullable=True),
        sa.Column("turns", sa.Integer(), nullable=False),
        sa.Column("tool_calls", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("errors", sa.Integer(), nullable=False),
        sa.Column("approvals_asked", sa.Integer(), nullable=False),
        sa.Column("approvals_approved", sa.Integer(), nullable=False),
        sa.Column("approvals_rejected", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "status in ('opened', 'waiting', 'handed_off', 'resolved', 'abandoned')",
            name=op.f("ck_conversation_states_status"),
        ),
        sa.CheckConstraint("applied > 0", name=op.f("ck_conversation_states_applied")),
        sa.PrimaryKeyConstraint("thread_id", name=op.f("pk_conversation_states")),
    )
    op.create_index(
        "ix_conversation_states_newest",
        "conversation_states",
        ["opened_at", "thread_id"],
        unique=False,
    )
    op.create_index(
        "ix_conversation_states_silent",
        "conversation_states",
        ["last_event_at"],
        unique=False,
        postgresql_where=sa.text("status = 'waiting'"),
    )
    op.create_index(
        "ix_conversation_states_status_newest",
        "conversation_states",
        ["status", "opened_at", "thread_id"],
        unique=False,
    )
    op.create_table(
        "episodes",
        sa.Column("thread_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("applied", sa.BigInteger(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("messages", sa.Integer(), nullable=False),
        sa.Column("replies", sa.Integer(), nullable=False),
        sa.Column("turns", sa.Integer(), nullable=False),
        sa.Column("first_reply_ms", sa.BigInteger(), nullable=True),
        sa.Column("handled", sa.Boolean(), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolved_by", sa.Text(), nullable=True),
        sa.Column("resolved_alone", sa.Boolean(), nullable=False),
        sa.Column("handoff_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("handoff_reason", sa.Text(), nullable=True),
        sa.Column("abandoned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reopen_count", sa.Integer(), nullable=False),
        sa.Column("answering", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("unanswered", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("calls", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("counted", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.CheckConstraint("applied > 0", name=op.f("ck_episodes_applied")),
        sa.PrimaryKeyConstraint("thread_id", name=op.f("pk_episodes")),
    )
    op.create_index("ix_episodes_opened_at", "episodes", ["opened_at"], unique=False)
    op.create_table(
        "event_logs",
        sa.Column("thread_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("last_seq >= 0", name=op.f("ck_event_logs_last_seq")),
        sa.PrimaryKeyConstraint("thread_id", name=op.f("pk_event_logs")),
    )
    op.create_table(
        "events",
        sa.Column("thread_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column(
            "at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.CheckConstraint("seq > 0", name=op.f("ck_events_seq")),
        sa.PrimaryKeyConstraint("thread_id", "seq", name=op.f("pk_events")),
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
    op.create_table(
        "readiness",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_readiness_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_readiness")),
        comment="Overwritten by each readiness check: only a write shows that writes work.",
    )
    op.create_table(
        "specs",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("version_text", sa.Text(), nullable=False),
        sa.Column("dialect", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("base_url", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("skipped", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("imported_by", sa.Text(), nullable=False),
        sa.Column(
            "imported_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_specs")),
        sa.UniqueConstraint("name", name=op.f("uq_specs_name")),
    )
    op.create_table(
        "threads",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("customer_name", sa.Text(), nullable=False),
        sa.Column("customer_email", sa.Text(), nullable=True),
        sa.Column("with_person", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("assigned_to", sa.Text(), nullable=True),
        sa.Column("assigned_name", sa.Text(), nullable=True),
        sa.Column(
            "opened_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_threads")),
    )
    op.create_index("ix_threads_customer_id_id", "threads", ["customer_id", "id"], unique=False)
    op.create_table(
        "tool_calls",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("thread_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("turn_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("operation_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("access", sa.Text(), nullable=False),
        sa.Column("arguments", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column(
            "planned_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("access in ('read', 'write')", name=op.f("ck_tool_calls_access")),
        sa.CheckConstraint(
            "state in ('planned', 'awaiting_approval', 'approved', 'rejected', 'expired',"
            " 'sent', 'done', 'failed', 'ambiguous')",
            name=op.f("ck_tool_calls_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tool_calls")),
    )
    op.create_index(
        "ix_tool_calls_sent",
        "tool_calls",
        ["turn_id"],
        unique=False,
        postgresql_where=sa.text("state = 'sent'"),
    )
    op.create_index("ix_tool_calls_turn_id", "tool_calls", ["turn_id"], unique=False)
    op.create_table(
        "approvals",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("tool_call_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("thread_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("turn_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("fields", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column(
            "asked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state in ('pending', 'approved', 'rejected', 'expired', 'used')",
            name=op.f("ck_approvals_state"),
        ),
        sa.ForeignKeyConstraint(
            ["tool_call_id"],
            ["tool_calls.id"],
            name=op.f("fk_approvals_tool_call_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
        sa.UniqueConstraint("tool_call_id", name=op.f("uq_approvals_tool_call_id")),
    )
    op.create_index(
        "ix_approvals_pending",
        "approvals",
        ["actor", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index("ix_approvals_turn_id", "approvals", ["turn_id"], unique=False)
    op.create_table(
        "operations",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("spec_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("operation_id", sa.Text(), nullable=True),
        sa.Column("tool_name", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("tags", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("deprecated", sa.Boolean(), nullable=False),
        sa.Column("pointer", sa.Text(), nullable=False),
        sa.Column("schema", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("schema_hash", sa.Text(), nullable=False),
        sa.Column("request_plan", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("hints", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("suggestion", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("classification", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decision_reason", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint(
            "state in ('pending', 'approved', 'rejected', 'changed')",
            name=op.f("ck_operations_state"),
        ),
        sa.ForeignKeyConstraint(
            ["spec_id"], ["specs.id"], name=op.f("fk_operations_spec_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operations")),
        sa.UniqueConstraint("spec_id", "key", name=op.f("uq_operations_spec_id_key")),
    )
    op.create_index(
        "ix_operations_approved",
        "operations",
        ["spec_id"],
        unique=False,
        postgresql_where=sa.text("state = 'approved'"),
    )
    op.create_table(
        "tool_attempts",
        sa.Column("tool_call_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("duration_ms", sa.Float(), nullable=False),
        sa.Column("waited_ms", sa.Float(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "outcome in ('done', 'not_sent', 'rejected', 'unknown')",
            name=op.f("ck_tool_attempts_outcome"),
        ),
        sa.CheckConstraint("number > 0", name=op.f("ck_tool_attempts_number")),
        sa.ForeignKeyConstraint(
            ["tool_call_id"],
            ["tool_calls.id"],
            name=op.f("fk_tool_attempts_tool_call_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tool_call_id", "number", name=op.f("pk_tool_attempts")),
    )
    op.create_table(
        "turns",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("thread_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("run", sa.Integer(), server_default="1", nullable=False),
        sa.Column("owner", sa.BigInteger(), nullable=True),
        sa.Column(
            "queued_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status in ('queued', 'open', 'parked', 'done', 'failed', 'cancelled')",
            name=op.f("ck_turns_status"),
        ),
        sa.CheckConstraint("run > 0", name=op.f("ck_turns_run")),
        sa.ForeignKeyConstraint(
            ["thread_id"], ["threads.id"], name=op.f("fk_turns_thread_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_turns")),
        sa.UniqueConstraint("thread_id", "message_id", name=op.f("uq_turns_thread_id_message_id")),
    )
    op.create_index(
        "ix_turns_unfinished",
        "turns",
        ["thread_id", "queued_at"],
        unique=False,
        postgresql_where=sa.text("status in ('queued', 'open', 'parked')"),
    )
    op.create_index(
        "one_open_turn_per_thread",
        "turns",
        ["thread_id"],
        unique=True,
        postgresql_where=sa.text("status = 'open'"),
    )
    op.create_table(
        "reviews",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("operation_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column(
            "at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("classification", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["operation_id"],
            ["operations.id"],
            name=op.f("fk_reviews_operation_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
    )
    op.create_index("ix_reviews_operation_id", "reviews", ["operation_id", "id"], unique=False)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_index("ix_reviews_operation_id", table_name="reviews")
    op.drop_table("reviews")
    op.drop_index(
        "one_open_turn_per_thread", table_name="turns", postgresql_where=sa.text("status = 'open'")
    )
    op.drop_index(
        "ix_turns_unfinished",
        table_name="turns",
        postgresql_where=sa.text("status in ('queued', 'open', 'parked')"),
    )
    op.drop_table("turns")
    op.drop_table("tool_attempts")
    op.drop_index(
        "ix_operations_approved",
        table_name="operations",
        postgresql_where=sa.text("state = 'approved'"),
    )
    op.drop_table("operations")
    op.drop_index("ix_approvals_turn_id", table_name="approvals")
    op.drop_index(
        "ix_approvals_pending",
        table_name="approvals",
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.drop_table("approvals")
    op.drop_index("ix_tool_calls_turn_id", table_name="tool_calls")
    op.drop_index(
        "ix_tool_calls_sent", table_name="tool_calls", postgresql_where=sa.text("state = 'sent'")
    )
    op.drop_table("tool_calls")
    op.drop_index("ix_threads_customer_id_id", table_name="threads")
    op.drop_table("threads")
    op.drop_table("specs")
    op.drop_table("readiness")
    op.drop_table("figures_hourly")
    op.drop_table("events")
    op.drop_table("event_logs")
    op.drop_index("ix_episodes_opened_at", table_name="episodes")
    op.drop_table("episodes")
    op.drop_index("ix_conversation_states_status_newest", table_name="conversation_states")
    op.drop_index(
        "ix_conversation_states_silent",
        table_name="conversation_states",
        postgresql_where=sa.text("status = 'waiting'"),
    )
    op.drop_index("ix_conversation_states_newest", table_name="conversation_states")
    op.drop_table("conversation_states")
