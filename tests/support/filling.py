"""A row for every table of a database, made from nothing but its definitions."""

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
from psycopg import sql

MOST_TRIES = 3000

_TABLES = """
SELECT oid::regclass::text, oid FROM pg_class
WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace
  AND relname <> 'alembic_version' AND relname NOT LIKE 'checkpoint%'
"""
_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, NULL), a.attnotnull, t.typtype = 'e', a.attnum
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
  AND a.attidentity <> 'a' AND a.attgenerated = ''
ORDER BY a.attnum
"""
_CHECKS = (
    "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s AND contype = 'c'"
)
_REFERENCES = """
SELECT k.confrelid::regclass::text, k.conkey,
  (SELECT array_agg(a.attname::text ORDER BY p.place)
   FROM unnest(k.confkey) WITH ORDINALITY p(number, place)
   JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = p.number)
FROM pg_constraint k WHERE k.conrelid = %s AND k.contype = 'f'
"""
_BY_TYPE: dict[str, tuple[str, ...]] = {
    "text": ("x", "GET", "a" * 64, "x@y.test", "https://x.test/"),
    "character varying": ("x", "GET", "a" * 64),
    "jsonb": ("{}", "[]", "1"),
    "json": ("{}", "[]"),
    "boolean": ("false", "true"),
    "bytea": ("\\x00", "\\x" + "00" * 32),
    "uuid": ("01936b5e-0000-7000-8000-000000000001",),
    "timestamp with time zone": ("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"),
    "date": ("2026-01-01",),
    "interval": ("1 hour",),
    "inet": ("127.0.0.1",),
}
_NUMBERS = ("1", "0", "200")


def fill(url: str, given: Mapping[str, str]) -> None:
    """Put a row into every empty table.

    Args:
        url: of the database.
        given: an INSERT per table, for those whose rules are too hard to guess.

    Raises:
        LookupError: no row was found for a table; it must be given.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        missing = dict(connection.execute(_TABLES).fetchall())
        while missing:
            done = [name for name, oid in missing.items() if _filled(connection, name, oid, given)]
            if not done:
                raise LookupError(f"no row could be guessed for {sorted(missing)}; give one")
            for name in done:
                del missing[name]


def _filled(
    connection: psycopg.Connection[Any], name: str, oid: int, given: Mapping[str, str]
) -> bool:
    if connection.execute(f"SELECT FROM {name} LIMIT 1".encode()).fetchone() is not None:
        return True
    if name in given:
        connection.execute(given[name].encode())
        return True
    for row in itertools.islice(_candidates(connection, name, oid), MOST_TRIES):
        statement = sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})").format(
            sql.SQL(name),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(map(sql.Literal, row.values())),
        )
        try:
            connection.execute(statement)
        except psycopg.Error:
            continue
        return True
    return False


def _candidates(
    connection: psycopg.Connection[Any], name: str, oid: int
) -> Iterator[dict[str, str | None]]:
    """Rows that might be allowed: first with as little as possible, then with every column."""
    columns = connection.execute(_COLUMNS, [oid]).fetchall()
    checks = " ".join(text for (text,) in connection.execute(_CHECKS, [oid]))
    by_number = {number: column for column, *_, number in columns}
    known: dict[str, tuple[str | None, ...]] = {}
    for table, numbers, keys in connection.execute(_REFERENCES, [oid]).fetchall():
        if table == name:
            continue
        picked = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(key)) for key in keys)
        row = connection.execute(
            sql.SQL("SELECT {} FROM {}").format(picked, sql.SQL(table))
        ).fetchone()
        if row is None:
            return  # its turn comes when that table has a row
        known.update({by_number[n]: (value,) for n, value in zip(numbers, row, strict=True)})
    for all_columns in (False, True):
        choices: dict[str, tuple[str | None, ...]] = {}
        for column, kind, needed, is_enum, _ in columns:
            if column in known:
                choices[column] = known[column]
            elif is_enum:
                labels = connection.execute(
                    "SELECT enumlabel FROM pg_enum WHERE enumtypid = %s::regtype", [kind]
                )
                choices[column] = tuple(label for (label,) in labels)
            elif needed or all_columns:
                guesses = _BY_TYPE.get(kind, _NUMBERS)
                if kind.endswith("[]"):
                    guesses = ("{}",)
                named = tuple(re.findall(r"'([^']*)'::", checks)) if column in checks else ()
                guesses = (*named, *guesses) if kind in {"text", "character varying"} else guesses
                choices[column] = guesses if needed else (*guesses, None)
        for values in itertools.product(*choices.values()):
            yield dict(zip(choices, values, strict=True))
