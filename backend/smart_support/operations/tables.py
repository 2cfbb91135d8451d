"""Imported documents, their operations, and every decision about them."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR

from smart_support.database import metadata

_uuid = sa.Uuid(as_uuid=False)
_instant = sa.DateTime(timezone=True)

specs = sa.Table(
    "specs",
    metadata,
    sa.Column("id", _uuid, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("version_text", sa.Text, nullable=False),
    sa.Column("dialect", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("base_url", sa.Text),
    # The operator's word on where the API is; it outlives a re-import of the document.
    sa.Column("address", sa.Text),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Column("skipped", JSONB, nullable=False),
    # Of the environment that is called; its URL is `address`, the others' stand here too.
    sa.Column("environment", sa.Text, nullable=False, server_default="live"),
    sa.Column("environments", JSONB, nullable=False, server_default="{}"),
    # Null if the document was imported before its security schemes were read.
    sa.Column("schemes", JSONB(none_as_null=True)),
    sa.Column("imported_by", sa.Text, nullable=False),
    sa.Column("imported_at", _instant, nullable=False, server_default=sa.func.now()),
)

# What an operation can be found by; `search.WEIGHTS` says what A to D count. Names and paths
# are taken apart first: `getOrder` and `/orders/{id}` hold words that the parser would not see.
SEARCH = r"""
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

operations = sa.Table(
    "operations",
    metadata,
    sa.Column("id", _uuid, primary_key=True),
    sa.Column("spec_id", _uuid, sa.ForeignKey("specs.id", ondelete="CASCADE"), nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("operation_id", sa.Text),
    sa.Column("tool_name", sa.Text, nullable=False),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("tags", JSONB, nullable=False),
    sa.Column("deprecated", sa.Boolean, nullable=False),
    sa.Column("pointer", sa.Text, nullable=False),
    sa.Column("schema", JSONB, nullable=False),
    sa.Column("schema_hash", sa.Text, nullable=False),
    sa.Column("request_plan", JSONB, nullable=False),
    sa.Column("hints", JSONB, nullable=False),
    sa.Column("suggestion", JSONB, nullable=False),
    sa.Column("classification", JSONB, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("decided_by", sa.Text),
    sa.Column("decided_at", _instant),
    sa.Column("decision_reason", sa.Text),
    sa.Column("version", sa.Integer, nullable=False, server_default="1"),
    sa.Column("security", JSONB, nullable=False, server_default="[]"),
    sa.Column("starts_at", sa.Integer),
    sa.Column("ends_at", sa.Integer),
    # What was decided on before the document changed it, and how it differs from that.
    sa.Column("previous", JSONB),
    sa.Column("changes", JSONB),
    sa.Column("search", TSVECTOR, sa.Computed(SEARCH, persisted=True)),
    sa.UniqueConstraint("spec_id", "key"),
    sa.CheckConstraint(
        "state in ('pending', 'approved', 'rejected', 'changed', 'removed')", name="state"
    ),
    sa.Index("ix_operations_approved", "spec_id", postgresql_where=sa.text("state = 'approved'")),
)

reviews = sa.Table(
    "reviews",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column(
        "operation_id",
        _uuid,
        sa.ForeignKey("operations.id", ondelete="CASCADE"),
        nullable=False,
    ),
    sa.Column("at", _instant, nullable=False, server_default=sa.func.now()),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("classification", JSONB, nullable=False),
    sa.Column("reason", sa.Text),
    # What was decided at once has one batch, and is undone at once.
    sa.Column("batch_id", _uuid, nullable=False, server_default=sa.func.gen_random_uuid()),
    # The operation's version that this decision made, and what stood before it.
    sa.Column("version", sa.Integer),
    sa.Column("before", JSONB),
    sa.Column("undoes", _uuid),
    sa.Index("ix_reviews_operation_id", "operation_id", "id"),
    sa.Index("ix_reviews_batch_id", "batch_id"),
)

catalogue = sa.Table(
    "catalogue",
    metadata,
    sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
    # The transaction that was the last to change what may be called; no two have one number.
    sa.Column("changed_by", sa.BigInteger, nullable=False),
    sa.CheckConstraint("id = 1", name="one"),
)

# Whatever changes an approved operation, or where its API is, leaves its number in `catalogue`,
# from which every process sees that what it remembers is old. It does so at its commit, so that
# nobody holds that row while waiting for another.
_NOTED = "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
_NOTE = "EXECUTE FUNCTION note_catalogue_change()"
NOTE_CHANGE = """
CREATE FUNCTION note_catalogue_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO catalogue AS known (id, changed_by)
  VALUES (1, pg_current_xact_id()::text::bigint)
  ON CONFLICT (id) DO UPDATE SET changed_by = excluded.changed_by
  WHERE known.changed_by <> excluded.changed_by;
  RETURN NULL;
END $$
"""
SPEC_RULES = (
    NOTE_CHANGE,
    f"""
    CREATE CONSTRAINT TRIGGER specs_moved AFTER UPDATE ON specs {_NOTED}
      WHEN (coalesce(OLD.address, OLD.base_url)
        IS DISTINCT FROM coalesce(NEW.address, NEW.base_url)) {_NOTE}
    """,
)
OPERATION_RULES = (
    f"""
    CREATE CONSTRAINT TRIGGER operations_added AFTER INSERT ON operations {_NOTED}
      WHEN (NEW.state = 'approved') {_NOTE}
    """,
    f"""
    CREATE CONSTRAINT TRIGGER operations_changed AFTER UPDATE ON operations {_NOTED}
      WHEN (OLD.state = 'approved' OR NEW.state = 'approved') {_NOTE}
    """,
    f"""
    CREATE CONSTRAINT TRIGGER operations_removed AFTER DELETE ON operations {_NOTED}
      WHEN (OLD.state = 'approved') {_NOTE}
    """,
)
for _table, _rules in ((specs, SPEC_RULES), (operations, OPERATION_RULES)):
    for _rule in _rules:
        _statement = sa.DDL(_rule.replace("%", "%%"))  # type: ignore[no-untyped-call]
        sa.event.listen(_table, "after_create", _statement)
