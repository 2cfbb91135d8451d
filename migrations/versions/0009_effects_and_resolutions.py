"""Each effect is asked for once; a call whose outcome was unknown can be resolved.

Locks: tool_calls, exclusively, while its constraint is checked and two small indexes are built
(seconds for a million calls).
Down: a call that was resolved is ambiguous again, and who resolved it is lost, as are the keys
that were sent, with which a call could be asked for again.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_BEFORE = "'planned', 'awaiting_approval', 'approved', 'rejected', 'expired', 'sent', 'done', "
_BEFORE += "'failed', 'ambiguous'"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("tool_calls", sa.Column("api_id", sa.Uuid(as_uuid=False), nullable=True))
    op.add_column("tool_calls", sa.Column("effect_key", sa.Uuid(as_uuid=False), nullable=True))
    for name in ("keyed_until", "check_at", "resolved_at"):
        op.add_column("tool_calls", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    for name in ("url", "etag", "resolved_by", "resolution", "remark"):
        op.add_column("tool_calls", sa.Column(name, sa.Text(), nullable=True))
    op.add_column(
        "tool_calls",
        sa.Column("accepted", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    )
    op.add_column(
        "tool_calls",
        sa.Column("checks", sa.Integer(), server_default=sa.text("0"), nullable=False),
    )
    op.drop_constraint(op.f("ck_tool_calls_state"), "tool_calls", type_="check")
    op.create_check_constraint(
        op.f("ck_tool_calls_state"),
        "tool_calls",
        f"state in ({_BEFORE}, 'resolved_done', 'resolved_not_done')",
    )
    op.create_check_constraint(
        op.f("ck_tool_calls_resolution"),
        "tool_calls",
        "resolution in ('key', 'lookup', 'status', 'person')",
    )
    op.create_index(
        "uq_tool_calls_effect_key",
        "tool_calls",
        ["effect_key"],
        unique=True,
        postgresql_where=sa.text("state in ('sent', 'done', 'ambiguous', 'resolved_done')"),
    )
    op.create_index(
        "ix_tool_calls_ambiguous",
        "tool_calls",
        ["id"],
        postgresql_where=sa.text("state = 'ambiguous'"),
    )
    op.create_index(
        "ix_tool_calls_etag",
        "tool_calls",
        ["thread_id", "url", "finished_at"],
        postgresql_where=sa.text("etag is not null"),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for name in ("ix_tool_calls_etag", "ix_tool_calls_ambiguous", "uq_tool_calls_effect_key"):
        op.drop_index(name, table_name="tool_calls")
    op.drop_constraint(op.f("ck_tool_calls_resolution"), "tool_calls", type_="check")
    op.drop_constraint(op.f("ck_tool_calls_state"), "tool_calls", type_="check")
    op.execute("UPDATE tool_calls SET state = 'ambiguous' WHERE state LIKE 'resolved%'")
    op.create_check_constraint(op.f("ck_tool_calls_state"), "tool_calls", f"state in ({_BEFORE})")
    for name in (
        "remark",
        "resolution",
        "resolved_at",
        "resolved_by",
        "checks",
        "check_at",
        "accepted",
        "etag",
        "url",
        "keyed_until",
        "effect_key",
        "api_id",
    ):
        op.drop_column("tool_calls", name)
