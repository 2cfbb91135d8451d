"""Reviews that were decided together and can be undone; where operations stand in their document.

Locks: reviews, exclusively, while its rows get a batch each (milliseconds for 100,000);
operations, exclusively, for an instant.
Down: drops which decisions were made together and what stood before them, so that none can be
undone; every decision itself stays.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column(
        "reviews",
        sa.Column(
            "batch_id",
            sa.Uuid(as_uuid=False),
            server_default=sa.text("gen_random_uuid()"),
            nullable=False,
        ),
    )
    op.add_column("reviews", sa.Column("version", sa.Integer(), nullable=True))
    op.add_column(
        "reviews", sa.Column("before", postgresql.JSONB(astext_type=sa.Text()), nullable=True)
    )
    op.add_column("reviews", sa.Column("undoes", sa.Uuid(as_uuid=False), nullable=True))
    op.create_index("ix_reviews_batch_id", "reviews", ["batch_id"], unique=False)
    op.add_column("operations", sa.Column("starts_at", sa.Integer(), nullable=True))
    op.add_column("operations", sa.Column("ends_at", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("operations", "ends_at")
    op.drop_column("operations", "starts_at")
    op.drop_index("ix_reviews_batch_id", table_name="reviews")
    op.drop_column("reviews", "undoes")
    op.drop_column("reviews", "before")
    op.drop_column("reviews", "version")
    op.drop_column("reviews", "batch_id")
