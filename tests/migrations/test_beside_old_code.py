"""Code of the release before runs beside a migration, and must not notice (decision 14)."""

import asyncio
import io
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from tests.migrations.beside import harms
from tests.migrations.test_migrations import move, scripts
from tests.support.server import Server, running

from smart_support.database.schema import current_revision, migrate, migrations_folder
from smart_support.events.records import TurnClosed

LAST_BEFORE_THE_RULE = "0017"
"""Up to this one they are those of the first release: no earlier server can run beside them."""

ALLOWED: dict[str, dict[str, str]] = {}
"""Revision -> what it does all the same -> why that hurts nobody."""


def sql_of(script: Script, folder: Path) -> str:
    """The SQL of a migration's way up."""
    printed = io.StringIO()
    config = Config(output_buffer=printed)
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, f"{script.down_revision or 'base'}:{script.revision}", sql=True)
    return printed.getvalue()


ORDER = [script.revision for script in scripts(migrations_folder())]
SINCE = scripts(migrations_folder())[ORDER.index(LAST_BEFORE_THE_RULE) + 1 :]


@pytest.mark.parametrize("script", SINCE, ids=lambda script: script.revision)
def test_a_migration_does_no_harm_or_says_why(script: Script) -> None:
    found = harms(sql_of(script, migrations_folder()))

    assert set(found) == set(ALLOWED.get(script.revision, {}))


def test_what_is_allowed_belongs_to_a_migration() -> None:
    assert {script.revision for script in SINCE} >= set(ALLOWED)


class TestTheRule:
    BOUND = "SET LOCAL lock_timeout = '2s'; "

    @pytest.mark.parametrize(
        ("up", "harm"),
        [
            ("DROP TABLE turns", "drops table turns"),
            ("TRUNCATE turns", "empties turns"),
            ("ALTER TABLE turns RENAME COLUMN text TO words", "renames in turns"),
            ("ALTER TABLE turns RENAME TO messages", "renames in turns"),
            ("ALTER TABLE turns DROP COLUMN text", "drops turns.text"),
            ("ALTER TABLE turns ALTER COLUMN run TYPE bigint", "rewrites turns.run"),
            ("ALTER TABLE turns ALTER COLUMN epoch SET NOT NULL", "demands turns.epoch"),
            ("ALTER TABLE turns ALTER COLUMN run DROP DEFAULT", "takes the default of turns.run"),
            ("ALTER TABLE turns ADD COLUMN n INTEGER NOT NULL", "demands turns.n"),
            ("ALTER TABLE turns ADD COLUMN n UUID DEFAULT gen_random_uuid()", "rewrites turns"),
            ("ALTER TABLE turns ADD COLUMN n INT GENERATED ALWAYS AS (1) STORED", "rewrites turns"),
            ("ALTER TABLE turns ADD CONSTRAINT c CHECK (run > 0)", "reads all of turns"),
            (
                (
                    "ALTER TABLE turns ADD CONSTRAINT c CHECK (run > 0) NOT VALID;"
                    " ALTER TABLE turns VALIDATE CONSTRAINT c"
                ),
                "reads a whole table for c",
            ),
            ("ALTER TABLE turns ADD CONSTRAINT c UNIQUE (text)", "builds an index"),
            ("ALTER TABLE turns DROP CONSTRAINT uq_turns_thread_id", "decides who is first"),
            ("CREATE INDEX i ON turns (text)", "keeps writers of turns waiting"),
            ("CREATE UNIQUE INDEX i ON turns (text)", "keeps writers of turns waiting"),
            ("DROP INDEX one_open_turn_per_thread", "drops index"),
            ("UPDATE turns SET run = 1", "changes rows of turns"),
            ("DELETE FROM turns", "changes rows of turns"),
        ],
    )
    def test_finds_what_hurts(self, up: str, harm: str, tmp_path: Path) -> None:
        (found,) = self.found(tmp_path, self.BOUND + up)

        assert harm in found

    @pytest.mark.parametrize(
        "up",
        [
            "ALTER TABLE turns ADD COLUMN n INTEGER",
            "ALTER TABLE turns ADD COLUMN n INTEGER DEFAULT 0 NOT NULL",
            "ALTER TABLE turns ADD CONSTRAINT c CHECK (run > 0) NOT VALID",
            "ALTER TABLE turns DROP CONSTRAINT ck_turns_status",
            "CREATE TABLE n (id INTEGER NOT NULL); CREATE INDEX i ON n (id); UPDATE n SET id = 1",
            "CREATE INDEX CONCURRENTLY i ON turns (text)",
            "DROP INDEX CONCURRENTLY IF EXISTS i",
            "INSERT INTO turns SELECT * FROM turns WHERE false",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$",
        ],
    )
    def test_lets_what_only_adds_pass(self, up: str, tmp_path: Path) -> None:
        assert self.found(tmp_path, self.BOUND + up) == []

    @pytest.mark.parametrize(
        ("up", "harm"),
        [
            ("ALTER TABLE turns ADD COLUMN n INTEGER", "without a bound"),
            ("ALTER TABLE turns ADD COLUMN n INTEGER; " + BOUND, "without a bound"),
            ("SET LOCAL lock_timeout = '5s'; ALTER TABLE turns ADD COLUMN n INTEGER", "waits 5 s"),
        ],
    )
    def test_wants_waits_to_be_bounded(self, up: str, harm: str, tmp_path: Path) -> None:
        (found,) = self.found(tmp_path, up)

        assert harm in found

    @pytest.mark.parametrize(
        ("revision", "harm"),
        [
            ("0002", "rewrites reviews for batch_id, which is not a constant"),
            ("0003", "drops episodes.counted, which running code uses"),
            ("0006", "keeps writers of approvals waiting while it builds ix_approvals_actor"),
            ("0009", "reads all of tool_calls under an exclusive lock for ck_tool_calls_state"),
        ],
    )
    def test_reads_what_alembic_really_prints(self, revision: str, harm: str) -> None:
        folder = migrations_folder()
        script = ScriptDirectory(str(folder)).get_revision(revision)
        assert script is not None

        assert harm in harms(sql_of(script, folder))

    def found(self, tmp_path: Path, up: str) -> list[str]:
        """What is found in a migration that does this, as Alembic prints it."""
        folder = tmp_path / "migrations"
        (folder / "versions").mkdir(parents=True)
        (folder / "env.py").write_text((migrations_folder() / "env.py").read_text())
        lines = "".join(f"    op.execute({each!r})\n" for each in up.split("; "))
        (folder / "versions" / "one.py").write_text(
            "from alembic import op\nrevision = 'one'\ndown_revision = None\n"
            f"def upgrade():\n{lines}"
        )
        return harms(sql_of(scripts(folder)[0], folder))


STEP = """
from alembic import op

revision = "additive"
down_revision = "{before}"


def upgrade():
    op.execute("SET LOCAL lock_timeout = '200ms'")
    op.execute("ALTER TABLE turns ADD COLUMN mood TEXT")
    op.execute("ALTER TABLE threads ADD COLUMN stars INTEGER DEFAULT 0 NOT NULL")
    op.execute("ALTER TABLE turns ADD CONSTRAINT mood CHECK (mood <> '') NOT VALID")
    op.execute("CREATE TABLE moods (name TEXT PRIMARY KEY)")
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE turns VALIDATE CONSTRAINT mood")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS by_type")
        op.execute("CREATE INDEX CONCURRENTLY by_type ON events (type)")


def downgrade():
    op.execute("SET LOCAL lock_timeout = '200ms'")
    op.execute("DROP INDEX by_type")
    op.execute("DROP TABLE moods")
    op.execute("ALTER TABLE threads DROP COLUMN stars")
    op.execute("ALTER TABLE turns DROP COLUMN mood")
"""


def with_a_step(tmp_path: Path) -> Path:
    """Our migrations and one more, as the next release may have it."""
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    for file in ("env.py", *(f"versions/{each.name}" for each in _versions())):
        (folder / file).write_text((migrations_folder() / file).read_text())
    newest = scripts(migrations_folder())[-1].revision
    (folder / "versions" / "additive.py").write_text(STEP.format(before=newest))
    return folder


def _versions() -> list[Path]:
    return sorted((migrations_folder() / "versions").glob("*.py"))


class Talk:
    """Customers who write one message after the other, each when the one before is answered."""

    def __init__(self, server: Server, customers: int) -> None:
        self._server = server
        self._over = asyncio.Event()
        self._customers = customers
        self.answered = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._customers):
                group.create_task(self._talk())

    def stop(self) -> None:
        self._over.set()

    async def more(self, turns: int) -> None:
        """Wait until so many more turns have been answered."""
        until = self.answered + turns
        async with asyncio.timeout(60):
            while self.answered < until:
                await asyncio.sleep(0.01)

    async def _talk(self) -> None:
        thread = await self._server.thread()
        number = 0
        async with self._server.chat() as chat:
            await chat.follow(thread)
            while not self._over.is_set():
                number += 1
                await chat.write(thread, f"{number}", f"m{number}")
                frames = await chat.turn()
                assert not [frame for frame in frames if "error" in frame]
                self.answered += 1
        facts = [event.fact for event in await self._server.parts.log.read(thread)]
        closings = [fact.status for fact in facts if isinstance(fact, TurnClosed)]
        assert closings == ["done"] * number


async def test_no_turn_fails_while_the_schema_goes_up_down_and_up_under_a_server(
    migrated_database: Callable[[], str], tmp_path: Path
) -> None:
    url, folder = migrated_database(), with_a_step(tmp_path)
    newest = scripts(migrations_folder())[-1].revision
    tries: list[float] = []

    def pause(_: float) -> None:
        tries.append(0.0)
        time.sleep(0.3)

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            running(url, smart_support_message_limit=1_000, smart_support_sockets_per_person=100)
        )
        talk = Talk(server, customers=6)
        talking = asyncio.create_task(talk.run())
        await talk.more(6)

        # Somebody reads everything, as a back-up does, and holds the tables meanwhile.
        with psycopg.connect(url) as reader:
            reader.execute("SELECT count(*) FROM turns")
            going_up = asyncio.create_task(migrate(url, folder=folder, sleep=pause))
            while len(tries) < 2:
                await talk.more(1)
            reader.rollback()
        await going_up
        assert await current_revision(url) == "additive"
        await talk.more(6)
        await _down(url, folder, newest)
        await talk.more(6)
        await migrate(url, folder=folder, sleep=pause)
        await talk.more(6)

        talk.stop()
        await talking
        assert (await server.http().get("/api/health")).status_code == 200


async def _down(url: str, folder: Path, revision: str) -> None:
    """Go back, as an operator does, again where the locks are not to be had."""
    for _ in range(50):
        try:
            await asyncio.to_thread(move, url, folder, revision)
        except Exception as error:
            if "lock timeout" not in str(error):
                raise
            await asyncio.sleep(0.1)
        else:
            return
    raise AssertionError("no lock")
