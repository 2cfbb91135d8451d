"""The audit log: who did what, only ever added to, each entry chained to the one before.

Locks: none held on existing tables (new table).
Down: drops the audit log; export it first.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_RULES = (
    """
    CREATE FUNCTION audit_hash(before text, entry audit) RETURNS text LANGUAGE sql STABLE AS $$
      SELECT encode(sha256(convert_to(before || jsonb_build_array(entry.number,
        extract(epoch from entry.at), entry.actor, entry.role, entry.act, entry.subject,
        entry.details, entry.correlation_id)::text, 'UTF8')), 'hex')
    $$
    """,
    """
    CREATE FUNCTION audit_chain() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE last audit;
    BEGIN
      PERFORM pg_advisory_xact_lock(1397576513);
      SELECT * INTO last FROM audit ORDER BY number DESC LIMIT 1;
      NEW.number := coalesce(last.number, 0) + 1;
      NEW.hash := audit_hash(coalesce(last.hash, ''), NEW);
      RETURN NEW;
    END $$
    """,
    """
    CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      RAISE EXCEPTION 'the audit log is only ever added to' USING ERRCODE = '42501';
    END $$
    """,
    """
    CREATE TRIGGER audit_chained BEFORE INSERT ON audit
      FOR EACH ROW EXECUTE FUNCTION audit_chain()
    """,
    """
    CREATE TRIGGER audit_kept BEFORE UPDATE OR DELETE ON audit
      FOR EACH ROW EXECUTE FUNCTION audit_refuse()
    """,
    """
    CREATE TRIGGER audit_kept_whole BEFORE TRUNCATE ON audit
      FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()
    """,
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "audit",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("correlation_id", sa.Text(), nullable=True),
        sa.Column("hash", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_act", "audit", ["act", "number"], unique=False)
    op.create_index("ix_audit_actor", "audit", ["actor", "number"], unique=False)
    for rule in _RULES:
        op.execute(sa.DDL(rule.replace("%", "%%")))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for trigger in ("audit_chained", "audit_kept", "audit_kept_whole"):
        op.execute(f"DROP TRIGGER {trigger} ON audit")
    op.execute("DROP FUNCTION audit_chain(), audit_refuse(), audit_hash(text, audit)")
    op.drop_table("audit")
