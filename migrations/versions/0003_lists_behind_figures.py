"""What each conversation has counted becomes rows of its own: the list behind every figure.

Locks: episodes, exclusively, while its lists are written as rows (seconds for 100,000).
Down: nothing is lost, the rows become lists again.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
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
    # An entry is [hour, figure, dimension, count, total].
    op.execute(
        """
        INSERT INTO episode_figures (thread_id, hour, figure, dimension, count, total)
        SELECT e.thread_id, (c.entry->>0)::timestamptz, c.entry->>1, c.entry->>2,
               (c.entry->>3)::bigint, (c.entry->>4)::bigint
        FROM episodes e CROSS JOIN LATERAL jsonb_array_elements(
            CASE jsonb_typeof(e.counted) WHEN 'array' THEN e.counted ELSE '[]' END
        ) c(entry)
        """
    )
    op.create_index(
        "ix_episode_figures_listing",
        "episode_figures",
        ["figure", "hour", "dimension"],
        unique=False,
        postgresql_include=["thread_id", "count", "total"],
    )
    op.drop_column("episodes", "counted")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column(
        "episodes",
        sa.Column(
            "counted",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            server_default=sa.text("'[]'"),
        ),
    )
    op.execute(
        """
        UPDATE episodes e SET counted = f.counted FROM (
            SELECT thread_id, jsonb_agg(jsonb_build_array(
                to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'),
                figure, dimension, count, total)) AS counted
            FROM episode_figures GROUP BY thread_id
        ) f WHERE f.thread_id = e.thread_id
        """
    )
    op.alter_column("episodes", "counted", server_default=None)
    op.drop_index("ix_episode_figures_listing", table_name="episode_figures")
    op.drop_table("episode_figures")
