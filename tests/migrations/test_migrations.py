"""Every migration goes up, down and up on a database with rows, and ends where the models are."""

import re
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from tests.migrations.rows import ROWS
from tests.support.database import create_all
from tests.support.definitions import definitions
from tests.support.filling import fill

from smart_support.database.migrating import alembic_config
from smart_support.database.schema import migrations_folder


def scripts(folder: Path) -> list[Script]:
    """The migrations of `folder`, oldest first."""
    found = ScriptDirectory(str(folder)).walk_revisions()
    return list(reversed(list(found)))


def move(url: str, folder: Path, revision: str) -> None:
    """Bring the database to `revision`, up or down."""
    engine = sa.create_engine(
        url.replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.NullPool
    )
    with engine.connect() as connection:
        config = alembic_config(connection, folder)
        current = MigrationContext.configure(connection).get_current_revision()
        connection.rollback()
        order = ["base", *(script.revision for script in scripts(folder))]
        down = current is not None and order.index(revision) < order.index(current)
        (command.downgrade if down else command.upgrade)(config, revision)
    engine.dispose()


def rows(url: str, tables: set[str]) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        return {
            table: len(connection.execute(f"SELECT * FROM {table}".encode()).fetchall())
            for table in tables
        }


def check_up_down_up(url: str, folder: Path, script: Script) -> None:
    """Fail unless going back from `script` restores what was, and going on gives the same again."""
    before = str(script.down_revision or "base")
    if before != "base":
        move(url, folder, before)
    fill(url, ROWS)
    old = definitions(url)
    kept = {name for kind, name in old if kind == "table" and not name.endswith("_seq")}
    old_rows = rows(url, kept)

    move(url, folder, script.revision)
    new = definitions(url)
    fill(url, ROWS)
    move(url, folder, before)
    assert definitions(url) == old
    assert rows(url, kept) == old_rows

    move(url, folder, script.revision)
    assert definitions(url) == new


@pytest.mark.parametrize("script", scripts(migrations_folder()), ids=lambda script: script.revision)
class TestEach:
    def test_goes_up_down_and_up_with_rows(
        self, script: Script, fresh_database: Callable[[], str]
    ) -> None:
        check_up_down_up(fresh_database(), migrations_folder(), script)

    def test_says_what_it_locks_and_loses_and_does_not_wait_for_locks(self, script: Script) -> None:
        source = Path(script.path).read_text()

        assert "Locks: " in script.doc + script.longdoc
        assert "Down: " in script.doc + script.longdoc
        # Up and down each; what runs outside of a transaction sets it for the connection.
        assert len(re.findall(r"\bSET (?:LOCAL )?lock_timeout", source)) == 2


def test_all_migrations_together_make_what_the_models_say(
    fresh_database: Callable[[], str],
) -> None:
    migrated, modelled = fresh_database(), fresh_database()

    move(migrated, migrations_folder(), scripts(migrations_folder())[-1].revision)
    create_all(modelled)

    assert definitions(migrated) == definitions(modelled)


def test_there_is_one_newest_migration() -> None:
    assert len(ScriptDirectory(str(migrations_folder())).get_heads()) == 1


class TestTheComparison:
    """What the tests above compare by must notice what they are for."""

    TABLES = """
    CREATE TYPE mood AS ENUM ('calm', 'cross');
    CREATE TABLE people (id uuid PRIMARY KEY, name text NOT NULL DEFAULT 'x', mood mood);
    CREATE TABLE turns (id bigint GENERATED ALWAYS AS IDENTITY, person uuid REFERENCES people,
        status text NOT NULL, CONSTRAINT known CHECK (status IN ('open', 'done')));
    CREATE UNIQUE INDEX one_open ON turns (person) WHERE status = 'open';
    """

    @pytest.mark.parametrize(
        ("change", "kinds"),
        [
            (
                (
                    "ALTER TABLE turns DROP CONSTRAINT known,"
                    " ADD CONSTRAINT known CHECK (status IN ('open', 'gone'))"
                ),
                {"constraint"},
            ),
            (
                (
                    "DROP INDEX one_open;"
                    " CREATE UNIQUE INDEX one_open ON turns (person) WHERE status = 'done'"
                ),
                {"index"},
            ),
            ("ALTER TABLE people ALTER name SET DEFAULT 'y'", {"column"}),
            ("ALTER TABLE people ALTER name DROP NOT NULL", {"column"}),
            ("ALTER TABLE people ALTER name TYPE varchar(9)", {"column"}),
            ('ALTER TABLE people ALTER name TYPE text COLLATE "C"', {"column"}),
            ("ALTER TABLE turns ALTER id SET GENERATED BY DEFAULT", {"column"}),
            ("ALTER TYPE mood ADD VALUE 'glad'", {"enum"}),
            ("COMMENT ON TABLE people IS 'y'", {"table"}),
            (
                (
                    "ALTER TABLE turns DROP CONSTRAINT turns_person_fkey, ADD CONSTRAINT"
                    " turns_person_fkey FOREIGN KEY (person) REFERENCES people ON DELETE CASCADE"
                ),
                {"constraint"},
            ),
            (
                (
                    "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql"
                    " AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER t"
                    " BEFORE DELETE ON turns FOR EACH ROW EXECUTE FUNCTION no()"
                ),
                {"function", "trigger"},
            ),
        ],
    )
    def test_notices(self, change: str, kinds: set[str], fresh_database: Callable[[], str]) -> None:
        url = fresh_database()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(self.TABLES.encode())
            before, again = definitions(url), definitions(url)
            connection.execute(change.encode())
        after = definitions(url)

        assert before == again
        assert {kind for kind, _ in dict(before.items() ^ after.items())} == kinds

    def test_does_not_mind_the_order_of_columns(self, fresh_database: Callable[[], str]) -> None:
        one, other = fresh_database(), fresh_database()
        for url, columns in ((one, "a int, b text"), (other, "b text, a int")):
            with psycopg.connect(url) as connection:
                connection.execute(f"CREATE TABLE t ({columns})".encode())

        assert definitions(one) == definitions(other)

    def test_every_table_gets_a_row(self, fresh_database: Callable[[], str]) -> None:
        url = fresh_database()
        with psycopg.connect(url) as connection:
            connection.execute(self.TABLES.encode())

        fill(url, {})

        assert rows(url, {"people", "turns"}) == {"people": 1, "turns": 1}

    def test_a_table_that_cannot_be_guessed_needs_a_row_that_is_given(
        self, fresh_database: Callable[[], str]
    ) -> None:
        url = fresh_database()
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE odd (n int NOT NULL CHECK (n * n = 1369))")

        with pytest.raises(LookupError, match="odd"):
            fill(url, {})
        fill(url, {"odd": "INSERT INTO odd VALUES (37)"})

        assert rows(url, {"odd"}) == {"odd": 1}


class TestUpDownUp:
    """A migration that does not go back properly must be found."""

    @pytest.mark.parametrize(
        ("up", "down"),
        [
            ("CREATE TABLE b (n int); CREATE TYPE left_over AS ENUM ('x')", "DROP TABLE b"),
            ("ALTER TABLE a ADD m int", "ALTER TABLE a DROP m; DELETE FROM a"),
            ("ALTER TABLE a ALTER n DROP NOT NULL", "SELECT 1"),
            ("ALTER TABLE a RENAME n TO m", "ALTER TABLE a RENAME m TO o"),
        ],
    )
    def test_finds_it(
        self, up: str, down: str, tmp_path: Path, fresh_database: Callable[[], str]
    ) -> None:
        folder = self.written(tmp_path, up, down)

        with pytest.raises(AssertionError):
            check_up_down_up(fresh_database(), folder, scripts(folder)[1])

    def test_lets_a_good_one_pass(self, tmp_path: Path, fresh_database: Callable[[], str]) -> None:
        folder = self.written(
            tmp_path, "ALTER TABLE a ADD m int NOT NULL DEFAULT 1", "ALTER TABLE a DROP m"
        )

        for script in scripts(folder):
            check_up_down_up(fresh_database(), folder, script)

    def written(self, tmp_path: Path, up: str, down: str) -> Path:
        """Our env.py with a first migration that makes `a`, and a second as given."""
        (tmp_path / "versions").mkdir()
        (tmp_path / "env.py").write_text((migrations_folder() / "env.py").read_text())
        steps = [
            ("one", None, "CREATE TABLE a (n int NOT NULL)", "DROP TABLE a"),
            ("two", "one", up, down),
        ]
        for revision, before, upgrade, downgrade in steps:
            (tmp_path / "versions" / f"{revision}.py").write_text(
                f"from alembic import op\nrevision = {revision!r}\ndown_revision = {before!r}\n"
                f"def upgrade():\n    op.execute({upgrade!r})\n"
                f"def downgrade():\n    op.execute({downgrade!r})\n"
            )
        return tmp_path
