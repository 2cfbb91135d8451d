"""Operations can be searched by their words, and keep what a new document changed of them.

Locks: operations, exclusively, while each row gets its vector of words (about a second for 10,000)
and the index over them is built.
Down: the words go, which can be made again; what the latest import changed is forgotten, and
operations that documents do not have any more are deleted with their reviews.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_SEARCH = r"""
setweight(to_tsvector('english', regexp_replace(regexp_replace(
    tool_name, '([a-z0-9])([A-Z])', '\1 \2', 'g'), '[-_./]+', ' ', 'g')), 'A')
|| setweight(to_tsvector('english', regexp_replace(summary, '[-_./]+', ' ', 'g')), 'A')
|| setweight(to_tsvector('english', regexp_replace(regexp_replace(regexp_replace(
    path, '[{][^}]*[}]', ' ', 'g'), '([a-z0-9])([A-Z])', '\1 \2', 'g'),
    '[-_./]+', ' ', 'g')), 'B')
|| setweight(to_tsvector('english', CASE method
    WHEN 'GET' THEN 'get list show' WHEN 'POST' THEN 'create add' WHEN 'PUT' THEN 'set update'
    WHEN 'PATCH' THEN 'update change' WHEN 'DELETE' THEN 'delete remove' ELSE '' END), 'B')
|| setweight(to_tsvector('english', tags), 'C')
|| setweight(to_tsvector('english', description), 'D')
""".strip()


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    jsonb = postgresql.JSONB(astext_type=sa.Text())
    op.add_column("operations", sa.Column("previous", jsonb, nullable=True))
    op.add_column("operations", sa.Column("changes", jsonb, nullable=True))
    op.add_column(
        "operations",
        sa.Column("search", postgresql.TSVECTOR(), sa.Computed(_SEARCH, persisted=True)),
    )
    op.create_index("ix_operations_search", "operations", ["search"], postgresql_using="gin")
    _states("'pending', 'approved', 'rejected', 'changed', 'removed'")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DELETE FROM operations WHERE state = 'removed'")
    _states("'pending', 'approved', 'rejected', 'changed'")
    op.drop_index("ix_operations_search", table_name="operations")
    op.drop_column("operations", "search")
    op.drop_column("operations", "changes")
    op.drop_column("operations", "previous")


def _states(known: str) -> None:
    op.drop_constraint(op.f("ck_operations_state"), "operations", type_="check")
    op.create_check_constraint(op.f("ck_operations_state"), "operations", f"state in ({known})")
