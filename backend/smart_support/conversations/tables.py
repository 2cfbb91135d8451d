"""Threads and turns. The index on open turns is what keeps a thread to one answer at a time."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from smart_support.database import metadata

threads = sa.Table(
    "threads",
    metadata,
    sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("customer_id", sa.Text, nullable=False),
    sa.Column("customer_name", sa.Text, nullable=False),
    sa.Column("customer_email", sa.Text),
    # A person answers, and nobody else, from the handoff on until it is given back.
    sa.Column("with_person", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("assigned_to", sa.Text),
    sa.Column("assigned_name", sa.Text),
    sa.Column(
        "opened_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
    ),
    sa.Index("ix_threads_customer_id_id", "customer_id", "id"),
)

turns = sa.Table(
    "turns",
    metadata,
    sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column(
        "thread_id",
        sa.Uuid(as_uuid=False),
        sa.ForeignKey("threads.id", ondelete="CASCADE"),
        nullable=False,
    ),
    sa.Column("message_id", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("run", sa.Integer, nullable=False, server_default="1"),
    # The process that answers; its advisory lock is free once it is gone.
    sa.Column("owner", sa.BigInteger),
    # The thread's epoch in which its owner got it; in a later one that owner writes no more.
    sa.Column("epoch", sa.BigInteger),
    sa.Column("recoveries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("opened_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()")),
    # What the limit of messages counts. Unlike queued_at it never changes.
    sa.Column(
        "received_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()")
    ),
    sa.Column(
        "queued_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
    ),
    sa.Column("closed_at", sa.DateTime(timezone=True)),
    sa.UniqueConstraint("thread_id", "message_id"),
    sa.CheckConstraint(
        "status in ('queued', 'open', 'parked', 'done', 'failed', 'cancelled')", name="status"
    ),
    sa.CheckConstraint("run > 0", name="run"),
    sa.Index(
        "one_open_turn_per_thread",
        "thread_id",
        unique=True,
        postgresql_where=sa.text("status = 'open'"),
    ),
    sa.Index(
        "ix_turns_unfinished",
        "thread_id",
        "queued_at",
        postgresql_where=sa.text("status in ('queued', 'open', 'parked')"),
    ),
    sa.Index(
        "ix_turns_interrupted",
        "closed_at",
        "id",
        postgresql_where=sa.text("status = 'failed' and recoveries > 0"),
    ),
)

conversation_states = sa.Table(
    "conversation_states",
    metadata,
    # No foreign key: all of it can be dropped and derived again from the log.
    sa.Column("thread_id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("applied", sa.BigInteger, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("answering", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("last_event_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("closed_at", sa.DateTime(timezone=True)),
    sa.Column("agent", sa.Text),
    sa.Column("handoff_reason", sa.Text),
    sa.Column("turns", sa.Integer, nullable=False),
    sa.Column("tool_calls", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("errors", sa.Integer, nullable=False),
    sa.Column("approvals_asked", sa.Integer, nullable=False),
    sa.Column("approvals_approved", sa.Integer, nullable=False),
    sa.Column("approvals_rejected", sa.Integer, nullable=False),
    sa.CheckConstraint("applied > 0", name="applied"),
    sa.CheckConstraint(
        "status in ('opened', 'waiting', 'handed_off', 'resolved', 'abandoned')", name="status"
    ),
    sa.Index("ix_conversation_states_newest", "opened_at", "thread_id"),
    sa.Index("ix_conversation_states_status_newest", "status", "opened_at", "thread_id"),
    sa.Index(
        "ix_conversation_states_silent",
        "last_event_at",
        postgresql_where=sa.text("status = 'waiting'"),
    ),
)

thread_memories = sa.Table(
    "thread_memories",
    metadata,
    # No foreign key: it can be dropped and made again from the log.
    sa.Column("thread_id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("covers", sa.BigInteger, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("facts", JSONB, nullable=False),
    sa.Column("made_by", sa.Text, nullable=False),
    sa.Column("made_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
)

webhook_deliveries = sa.Table(
    "webhook_deliveries",
    metadata,
    sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("thread_id", sa.Uuid(as_uuid=False), nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("payload", JSONB, nullable=False),
    sa.Column(
        "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
    ),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    # Also the lease of who is delivering it: a process that dies leaves it to the next.
    sa.Column("due_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("delivered_at", sa.DateTime(timezone=True)),
    sa.Column("given_up_at", sa.DateTime(timezone=True)),
    sa.Column("last_error", sa.Text),
    sa.Index(
        "ix_webhook_deliveries_due",
        "due_at",
        postgresql_where=sa.text("delivered_at is null and given_up_at is null"),
    ),
)
