"""The catalogue's version: which transaction was the last to change what may be called.

Locks: specs and operations, against writing, for an instant each.
Down: drops the version; nothing is lost, it says only that something has changed.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NOTED = "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
_NOTE = "EXECUTE FUNCTION note_catalogue_change()"
_RULES = (
    """
CREATE FUNCTION note_catalogue_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO catalogue AS known (id, changed_by)
  VALUES (1, pg_current_xact_id()::text::bigint)
  ON CONFLICT (id) DO UPDATE SET changed_by = excluded.changed_by
  WHERE known.changed_by <> excluded.changed_by;
  RETURN NULL;
END $$
""",
    f"""
    CREATE CONSTRAINT TRIGGER specs_moved AFTER UPDATE ON specs {_NOTED}
      WHEN (coalesce(OLD.address, OLD.base_url)
        IS DISTINCT FROM coalesce(NEW.address, NEW.base_url)) {_NOTE}
    """,
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


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    op.create_table(
        "catalogue",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("changed_by", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_catalogue_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_catalogue")),
    )
    for rule in _RULES:
        op.execute(rule)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    op.execute("DROP TRIGGER specs_moved ON specs")
    for trigger in ("operations_added", "operations_changed", "operations_removed"):
        op.execute(f"DROP TRIGGER {trigger} ON operations")
    op.execute("DROP FUNCTION note_catalogue_change()")
    op.drop_table("catalogue")
