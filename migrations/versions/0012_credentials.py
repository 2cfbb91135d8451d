"""Sealed credentials per spec, environment and scheme; what each operation needs to be called.

Locks: specs and operations, exclusively, for an instant each.
Down: drops every credential and every customer's connection, which must then be given again, and
which environment was chosen; the chosen one's address stays.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_JSON = postgresql.JSONB(astext_type=sa.Text())


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column(
        "specs", sa.Column("environment", sa.Text(), server_default="live", nullable=False)
    )
    op.add_column("specs", sa.Column("environments", _JSON, server_default="{}", nullable=False))
    op.add_column("specs", sa.Column("schemes", _JSON, nullable=True))
    op.add_column("operations", sa.Column("security", _JSON, server_default="[]", nullable=False))
    op.create_table(
        "credentials",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("spec_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), server_default="", nullable=False),
        sa.Column("origins", _JSON, nullable=False),
        sa.Column("scheme_hash", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("shown", _JSON, nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column(
            "set_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("renewing_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind in ('scheme', 'header', 'token', 'pending')", name=op.f("ck_credentials_kind")
        ),
        sa.ForeignKeyConstraint(
            ["spec_id"],
            ["specs.id"],
            name=op.f("fk_credentials_spec_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credentials")),
        sa.UniqueConstraint(
            "spec_id",
            "environment",
            "name",
            "kind",
            "owner",
            name=op.f("uq_credentials_spec_id_environment_name_kind_owner"),
        ),
    )
    op.create_index("ix_credentials_owner", "credentials", ["owner"], unique=False)
    op.create_table(
        "credential_troubles",
        sa.Column("spec_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column(
            "since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "last_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("count", sa.Integer(), server_default="1", nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("correlation_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["spec_id"],
            ["specs.id"],
            name=op.f("fk_credential_troubles_spec_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("spec_id", name=op.f("pk_credential_troubles")),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("credential_troubles")
    op.drop_index("ix_credentials_owner", table_name="credentials")
    op.drop_table("credentials")
    op.drop_column("operations", "security")
    op.drop_column("specs", "schemes")
    op.drop_column("specs", "environments")
    op.drop_column("specs", "environment")
