"""What in a migration's SQL hurts code of the release before, which runs beside it for a while.

`harms(sql)` names each statement that breaks such code or keeps it waiting; none for a migration
that only adds. It reads the SQL that Alembic prints, statement by statement.
"""

import re
from collections.abc import Iterator

LONGEST_WAIT = 2.0
"""Seconds that a migration may wait for a lock inside a transaction: whoever wants the table waits
behind it, and gives up after four."""

_TABLE = r'(?:IF EXISTS )?"?(?P<table>\w+)"?'
_ALTER = rf"ALTER TABLE {_TABLE} "

# Each is looked for in one statement; tables that the migration itself has made are free.
_RULES: tuple[tuple[str, str], ...] = (
    (rf"DROP TABLE {_TABLE}", "drops table {table}, which running code uses"),
    (rf"TRUNCATE (?:TABLE )?{_TABLE}", "empties {table} under an exclusive lock"),
    (_ALTER + r"RENAME (?:COLUMN )?(?P<rest>.*)", "renames in {table}: {rest}"),
    (_ALTER + r"DROP COLUMN (?P<rest>\w+)", "drops {table}.{rest}, which running code uses"),
    (_ALTER + r'ALTER COLUMN "?(?P<rest>\w+)"? (?:SET DATA )?TYPE', "rewrites {table}.{rest}"),
    (
        _ALTER + r'ALTER COLUMN "?(?P<rest>\w+)"? SET NOT NULL',
        "demands {table}.{rest}, which running code may not write",
    ),
    (
        _ALTER + r'ALTER COLUMN "?(?P<rest>\w+)"? DROP DEFAULT',
        "takes the default of {table}.{rest}, on which running code relies",
    ),
    (
        _ALTER + r"ADD COLUMN (?P<rest>\w+)(?!.*DEFAULT)(?!.*GENERATED).*NOT NULL",
        "demands {table}.{rest}, which running code does not write",
    ),
    (
        _ALTER + r"ADD COLUMN (?P<rest>\w+).*(?:DEFAULT [\w.]+\(|GENERATED)",
        "rewrites {table} for {rest}, which is not a constant",
    ),
    (
        _ALTER + r"ADD CONSTRAINT (?P<rest>\w+) (?:CHECK|FOREIGN KEY)(?!.*NOT VALID)",
        "reads all of {table} under an exclusive lock for {rest}",
    ),
    (
        _ALTER + r"ADD (?:CONSTRAINT (?P<rest>\w+) )?(?:UNIQUE|PRIMARY KEY)(?!.*USING INDEX)",
        "builds an index under an exclusive lock on {table}",
    ),
    (
        _ALTER + r"DROP CONSTRAINT (?P<rest>(?:uq|pk)_\w+)",
        "drops {rest} of {table}, by which running code decides who is first",
    ),
    (
        rf"CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY)(?P<rest>\w+) ON (?:ONLY )?{_TABLE}",
        "keeps writers of {table} waiting while it builds {rest}",
    ),
    (
        r"DROP INDEX (?!CONCURRENTLY)(?:IF EXISTS )?(?P<rest>\w+)",
        "drops index {rest} under an exclusive lock",
    ),
    (rf"(?:UPDATE|DELETE FROM) (?:ONLY )?{_TABLE}", "changes rows of {table} as it changes shape"),
)
_OF_ALEMBIC = {"alembic_version"}
_LOCKS = r"ALTER|CREATE (?!FUNCTION|OR REPLACE FUNCTION)|DROP|UPDATE|DELETE"
"""Statements that want a lock which others have, or wait for."""


def harms(sql: str) -> list[str]:
    """What this migration, in the SQL of its way up, does to code that does not know it."""
    found: list[str] = []
    made: set[str] = set(_OF_ALEMBIC)
    for transaction in re.split(r"^\s*COMMIT;\s*$", sql, flags=re.MULTILINE):
        statements = list(_statements(transaction))
        for statement in statements:
            if table := re.match(r"CREATE TABLE (?:IF NOT EXISTS )?\"?(\w+)", statement):
                made.add(table[1])
            found += _harms_of(statement, made)
        found += _waits(statements)
        added = {name for each in statements for name in re.findall(r"ADD CONSTRAINT (\w+)", each)}
        found += [
            f"reads a whole table for {name} while it is locked exclusively"
            for each in statements
            for name in re.findall(r"VALIDATE CONSTRAINT (\w+)", each)
            if name in added
        ]
    return found


def _harms_of(statement: str, made: set[str]) -> Iterator[str]:
    for pattern, words in _RULES:
        match = re.match(pattern, statement)
        if match is None:
            continue
        named = {key: value or "" for key, value in match.groupdict().items()}
        if named.get("table") not in made:
            yield words.format(**named)


def _waits(statements: list[str]) -> Iterator[str]:
    """Whether a transaction bounds its waits before it asks for the first lock."""
    locking = [each for each in statements if re.match(_LOCKS, each)]
    if not any("alembic_version" not in each and "CONCURRENTLY" not in each for each in locking):
        return
    bound = next(
        (
            (place, match)
            for place, each in enumerate(statements)
            if (match := re.match(r"SET LOCAL lock_timeout = '(\d+)(ms|s)'", each))
        ),
        None,
    )
    first = next(
        place
        for place, each in enumerate(statements)
        if "alembic_version" not in each and each in locking
    )
    if bound is None or bound[0] > first:
        yield "waits for locks without a bound"
        return
    number, unit = int(bound[1][1]), bound[1][2]
    seconds = number / (1_000 if unit == "ms" else 1)
    if seconds > LONGEST_WAIT:
        yield f"waits {seconds:g} s for a lock, while everybody waits behind it"


def _statements(sql: str) -> Iterator[str]:
    """The statements, each on one line and without comments; what is quoted by $$ stays whole."""
    text = re.sub(r"^\s*--.*$", "", sql, flags=re.MULTILINE)
    for piece in re.split(r";\s*$(?=(?:[^$]*\$\$[^$]*\$\$)*[^$]*\Z)", text, flags=re.MULTILINE):
        statement = " ".join(piece.split())
        if statement and statement != "BEGIN":
            yield statement
