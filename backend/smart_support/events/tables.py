"""The log of every thread, and how long each is."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from smart_support.database import metadata

event_logs = sa.Table(
    "event_logs",
    metadata,
    sa.Column("thread_id", sa.Uuid(as_uuid=False), primary_key=True),
    # The row that every append updates, so that appends to one thread take turns.
    sa.Column("last_seq", sa.BigInteger, nullable=False, server_default="0"),
    # Counts how often the thread's turns were taken over from whoever answered them.
    sa.Column("epoch", sa.BigInteger, nullable=False, server_default="0"),
    sa.CheckConstraint("last_seq >= 0", name="last_seq"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("thread_id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("payload", JSONB, nullable=False),
    sa.CheckConstraint("seq > 0", name="seq"),
)
