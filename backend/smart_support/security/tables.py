"""Sealed credentials, what went wrong with them, ended sign-ins, and the audit log."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from smart_support.database import metadata

_uuid = sa.Uuid(as_uuid=False)
_instant = sa.DateTime(timezone=True)

credentials = sa.Table(
    "credentials",
    metadata,
    sa.Column("id", _uuid, primary_key=True),
    sa.Column("spec_id", _uuid, sa.ForeignKey("specs.id", ondelete="CASCADE"), nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    # The name of a security scheme in the document; of a header, its name in lower case.
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    # The customer that it belongs to; empty: the company.
    sa.Column("owner", sa.Text, nullable=False, server_default=""),
    sa.Column("origins", JSONB, nullable=False),
    # What it was given for: SHA-256 of the scheme as the document had it then.
    sa.Column("scheme_hash", sa.Text, nullable=False),
    sa.Column("sealed", sa.Text, nullable=False),
    # What may be shown of it.
    sa.Column("shown", JSONB, nullable=False),
    sa.Column("set_by", sa.Text, nullable=False),
    sa.Column("set_at", _instant, nullable=False, server_default=sa.func.now()),
    sa.Column("version", sa.Integer, nullable=False, server_default="1"),
    # Until then one process asks for a new token, and the others wait for it.
    sa.Column("renewing_until", _instant),
    sa.UniqueConstraint("spec_id", "environment", "name", "kind", "owner"),
    sa.CheckConstraint("kind in ('scheme', 'header', 'token', 'pending')", name="kind"),
    sa.Index("ix_credentials_owner", "owner"),
)

credential_troubles = sa.Table(
    "credential_troubles",
    metadata,
    sa.Column("spec_id", _uuid, sa.ForeignKey("specs.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("since", _instant, nullable=False, server_default=sa.func.now()),
    sa.Column("last_at", _instant, nullable=False, server_default=sa.func.now()),
    sa.Column("count", sa.Integer, nullable=False, server_default="1"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("correlation_id", sa.Text, nullable=False),
)

ended_sign_ins = sa.Table(
    "ended_sign_ins",
    metadata,
    # A role and the id of a person, or the word "token" and the id of one.
    sa.Column("whose", sa.Text, primary_key=True),
    # Tokens that were issued then or before hold no more.
    sa.Column("ended_at", _instant, nullable=False),
    # From then on no such token can be valid, and the row may go.
    sa.Column("forget_at", _instant, nullable=False),
    sa.Column("noted_at", _instant, nullable=False, server_default=sa.func.now()),
    sa.CheckConstraint("forget_at >= ended_at", name="forget_at"),
    sa.Index("ix_ended_sign_ins_noted_at", "noted_at"),
)

audit = sa.Table(
    "audit",
    metadata,
    # Given by the trigger, in the order of commits and without gaps.
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", _instant, nullable=False, server_default=sa.func.now()),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("act", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("details", JSONB, nullable=False),
    sa.Column("correlation_id", sa.Text),
    sa.Column("hash", sa.Text, nullable=False, server_default=""),
    sa.Index("ix_audit_act", "act", "number"),
    sa.Index("ix_audit_actor", "actor", "number"),
)

# The hash is SHA-256 over the hash before and the row as JSON, in PostgreSQL's own spelling of
# jsonb, which is the same for the same values. The lock (a number that nothing else of ours
# locks, "SMSA") is held until the transaction ends, so that entries are numbered in the order in
# which they are committed.
AUDIT_RULES = (
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
for _rule in AUDIT_RULES:
    _statement = sa.DDL(_rule.replace("%", "%%"))  # type: ignore[no-untyped-call]
    sa.event.listen(audit, "after_create", _statement)
