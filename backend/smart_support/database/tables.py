"""The one table that belongs to the database itself."""

import sqlalchemy as sa

from smart_support.database import metadata

readiness = sa.Table(
    "readiness",
    metadata,
    sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("id = 1", name="one_row"),
    comment="Overwritten by each readiness check: only a write shows that writes work.",
)
