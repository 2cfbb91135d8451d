"""What PostgreSQL itself says a database consists of."""

import psycopg

# Each statement gives (kind, name, definition); the order of columns does not matter.
_STATEMENTS = (
    """
    SELECT 'table', c.relname, concat_ws(' | ', c.relkind, c.relpersistence,
        pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid),
        obj_description(c.oid, 'pg_class'),
        CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END)
    FROM pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND {ours}
    """,
    """
    SELECT 'column', c.relname || '.' || a.attname, concat_ws(' | ',
        format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'not null' END,
        pg_get_expr(d.adbin, d.adrelid), nullif(a.attidentity, ''), nullif(a.attgenerated, ''),
        nullif(a.attcollation, t.typcollation)::regcollation::text,
        col_description(c.oid, a.attnum))
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE c.relkind IN ('r', 'p', 'v', 'm') AND a.attnum > 0 AND NOT a.attisdropped AND {ours}
    """,
    # The not-null constraints of PostgreSQL 18 say what the column says already.
    """
    SELECT 'constraint', c.relname || '.' || k.conname, pg_get_constraintdef(k.oid)
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
    WHERE k.contype <> 'n' AND {ours}
    """,
    """
    SELECT 'index', c.relname, pg_get_indexdef(c.oid)
    FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
    JOIN pg_class r ON r.oid = i.indrelid AND r.relname <> 'alembic_version' WHERE {ours}
    """,
    """
    SELECT 'enum', c.typname, string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder)
    FROM pg_enum e JOIN pg_type c ON c.oid = e.enumtypid
    WHERE c.typnamespace = 'public'::regnamespace GROUP BY c.typname
    """,
    """
    SELECT 'trigger', c.relname || '.' || t.tgname, pg_get_triggerdef(t.oid)
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal AND {ours}
    """,
    """
    SELECT 'function', c.oid::regprocedure::text, pg_get_functiondef(c.oid)
    FROM pg_proc c WHERE c.prokind IN ('f', 'p') AND c.pronamespace = 'public'::regnamespace
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
    """,
    "SELECT 'extension', extname, '' FROM pg_extension",
)
_OURS = "c.relnamespace = 'public'::regnamespace AND c.relname <> 'alembic_version'"

Definitions = dict[tuple[str, str], str]


def definitions(url: str) -> Definitions:
    """Everything that is defined in the database at `url`, by kind and name; Alembic's own not."""
    found: Definitions = {}
    with psycopg.connect(url) as connection:
        for statement in _STATEMENTS:
            for kind, name, text in connection.execute(statement.format(ours=_OURS).encode()):
                found[kind, name] = text
    return found
