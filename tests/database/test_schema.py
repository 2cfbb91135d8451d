"""Migrating: by one process at a time, and never what is newer or too old."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from alembic.script import ScriptDirectory

from smart_support.database import migrating
from smart_support.database.schema import (
    all_tables,
    current_revision,
    migrate,
    migrations_folder,
    newest_revision,
)
from smart_support.errors import SetupError


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def is_migrating(url: str) -> bool:
    with psycopg.connect(url) as connection:
        held = connection.execute(
            "SELECT FROM pg_locks JOIN pg_database ON database = pg_database.oid"
            " WHERE datname = current_database() AND locktype = 'advisory' AND granted"
        )
        return held.fetchone() is not None


def written_folder(tmp_path: Path, **migrations: str) -> Path:
    """A folder with the real env.py and the given upgrades, each after the one before."""
    folder = tmp_path / "100% mine"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text((migrations_folder() / "env.py").read_text())
    before = None
    for revision, upgrade in migrations.items():
        (folder / "versions" / f"{revision}.py").write_text(
            f"from alembic import op\nrevision = {revision!r}\ndown_revision = {before!r}\n"
            f"def upgrade():\n    op.execute({upgrade!r})\n"
        )
        before = revision
    return folder


def written_first(tmp_path: Path, folder: Path) -> Path:
    """A copy of the folder with its first migration alone."""
    first = tmp_path / "first"
    (first / "versions").mkdir(parents=True)
    for file in ("env.py", "versions/a.py"):
        (first / file).write_text((folder / file).read_text())
    return first


async def test_brings_a_fresh_database_to_the_newest_revision(
    fresh_database: Callable[[], str], tmp_path: Path
) -> None:
    url = fresh_database()
    folder = written_folder(tmp_path, a="CREATE TABLE a ()", b="CREATE TABLE b ()")

    before = await current_revision(url)
    await migrate(url, folder=folder)
    await migrate(url, folder=folder)

    assert before is None
    assert await current_revision(url) == "b"
    execute(url, "SELECT * FROM a, b")


async def test_of_several_at_once_one_migrates_and_the_others_wait(
    fresh_database: Callable[[], str], tmp_path: Path
) -> None:
    url = fresh_database()
    folder = written_folder(tmp_path, a="CREATE TABLE a AS SELECT 1 FROM pg_sleep(0.2)")

    await asyncio.gather(*(migrate(url, folder=folder) for _ in range(4)))

    assert await current_revision(url) == "a"


async def test_a_migration_that_hangs_elsewhere_is_not_waited_for_for_ever(
    fresh_database: Callable[[], str], tmp_path: Path
) -> None:
    url = fresh_database()
    folder = written_folder(tmp_path, a="CREATE TABLE a ()")

    with psycopg.connect(url) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [migrating.MIGRATION_LOCK])
        with pytest.raises(SetupError, match="Another process"):
            await migrate(url, folder=folder, lock_timeout=0.05)


NEEDS_LOCK = "SET LOCAL lock_timeout = '50ms'; ALTER TABLE busy ADD n int"


async def test_a_table_that_is_in_use_is_let_go_and_tried_again(
    fresh_database: Callable[[], str], tmp_path: Path
) -> None:
    url = fresh_database()
    folder = written_folder(tmp_path, a="CREATE TABLE busy ()", b=NEEDS_LOCK)
    pauses: list[float] = []

    with psycopg.connect(url) as reader:
        await migrate(url, folder=written_first(tmp_path, folder))
        reader.execute("SELECT * FROM busy")

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            execute(url, "SELECT * FROM busy")  # who waited behind it is not kept waiting
            if len(pauses) == 3:
                reader.rollback()

        await migrate(url, folder=folder, sleep=pause)

    assert pauses == [migrating.LOCK_PAUSE] * 3
    assert await current_revision(url) == "b"


async def test_a_table_that_stays_in_use_is_said_and_nothing_is_half_done(
    fresh_database: Callable[[], str], tmp_path: Path
) -> None:
    url = fresh_database()
    folder = written_folder(tmp_path, a="CREATE TABLE busy ()", b=NEEDS_LOCK)
    await migrate(url, folder=written_first(tmp_path, folder))

    with psycopg.connect(url) as reader:
        reader.execute("SELECT * FROM busy")
        with pytest.raises(SetupError, match="lock timeout"):
            await migrate(url, folder=folder, lock_tries=2, sleep=lambda _: None)

    assert await current_revision(url) == "a"
    await migrate(url, folder=folder)
    assert await current_revision(url) == "b"


async def test_an_index_is_built_beside_others_who_want_to_migrate(
    fresh_database: Callable[[], str], tmp_path: Path
) -> None:
    url = fresh_database()
    folder = written_folder(tmp_path, a="CREATE TABLE t (n int)")
    (folder / "versions" / "b.py").write_text(
        "from alembic import op\nrevision = 'b'\ndown_revision = 'a'\n"
        "def upgrade():\n    with op.get_context().autocommit_block():\n"
        "        op.execute('SELECT pg_sleep(0.2)')\n"
        "        op.execute('CREATE INDEX CONCURRENTLY i ON t (n)')\n"
    )

    await asyncio.gather(*(migrate(url, folder=folder) for _ in range(4)))

    assert await current_revision(url) == "b"


async def test_a_failing_migration_is_undone_and_named_and_frees_the_lock(
    fresh_database: Callable[[], str], tmp_path: Path
) -> None:
    url = fresh_database()
    folder = written_folder(tmp_path, a="CREATE TABLE a ()", b="CREATE TABLE b (); SELECT 1/0")

    with pytest.raises(SetupError, match="division by zero"):
        await migrate(url, folder=folder)

    assert await current_revision(url) == "a"
    with psycopg.connect(url) as connection:
        free = connection.execute("SELECT pg_try_advisory_lock(%s)", [migrating.MIGRATION_LOCK])
        assert free.fetchone() == (True,)
        assert connection.execute("SELECT to_regclass('b')").fetchone() == (None,)


async def test_a_database_of_a_newer_release_is_refused_and_kept(
    fresh_database: Callable[[], str], tmp_path: Path
) -> None:
    url = fresh_database()
    folder = written_folder(tmp_path, a="CREATE TABLE a ()")
    await migrate(url, folder=folder)
    execute(url, "UPDATE alembic_version SET version_num = 'from_the_future'")

    with pytest.raises(SetupError, match=r"newer release.*from_the_future.*Install that release"):
        await migrate(url, folder=folder)
    assert await current_revision(url) == "from_the_future"


async def test_a_postgresql_that_is_too_old_is_refused(fresh_database: Callable[[], str]) -> None:
    url = fresh_database()

    with pytest.raises(SetupError, match=r"PostgreSQL 18 is too old.*PostgreSQL 99 or newer"):
        await migrate(url, oldest=99)


async def test_a_database_that_does_not_answer_is_said_without_its_password(
    unused_tcp_port: int,
) -> None:
    url = f"postgresql://ada:hunter2@127.0.0.1:{unused_tcp_port}/support"

    with pytest.raises(SetupError, match=r"(?s)DATABASE_URL.*refused.*Check the address") as failed:
        await migrate(url)

    assert "hunter2" not in str(failed.value)


async def test_rights_that_are_missing_are_said(
    fresh_database: Callable[[], str], tmp_path: Path
) -> None:
    url = fresh_database()
    execute(url, "DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN")
    folder = written_folder(tmp_path, a="CREATE TABLE a ()")

    with pytest.raises(SetupError, match="permission denied"):
        await migrate(url.replace("postgres@", "reader@"), folder=folder)


async def test_a_cancelled_migration_has_ended_when_the_cancellation_passes(
    fresh_database: Callable[[], str], tmp_path: Path
) -> None:
    url = fresh_database()
    folder = written_folder(tmp_path, a="CREATE TABLE a AS SELECT 1 FROM pg_sleep(0.2)")
    task = asyncio.create_task(migrate(url, folder=folder))
    while not is_migrating(url):
        await asyncio.sleep(0.01)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert await current_revision(url) == "a"


def test_the_migrations_are_found_in_the_installed_package_and_in_the_source_tree(
    tmp_path: Path,
) -> None:
    installed, source = tmp_path / "site" / "smart_support", tmp_path / "backend" / "smart_support"
    for env in (installed / "_migrations" / "env.py", tmp_path / "migrations" / "env.py"):
        env.parent.mkdir(parents=True)
        env.touch()

    assert migrations_folder(installed) == installed / "_migrations"
    assert migrations_folder(source) == tmp_path / "migrations"


def test_an_installation_without_migrations_says_so(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="Install it again"):
        migrations_folder(tmp_path / "a" / "b")


@pytest.mark.parametrize(
    ("files", "newest"),
    [
        ({}, None),
        ({"a": "revision = 'a'\ndown_revision = None\n"}, "a"),
        (
            {
                "a": 'revision: str = "a"\ndown_revision: str | None = None\n',
                "b": 'revision: str = "b"\ndown_revision: str | None = "a"\n',
            },
            "b",
        ),
        (
            {
                "a": "revision = 'a'\ndown_revision = None\n",
                "b": "revision = 'b'\ndown_revision = None\n",
            },
            None,
        ),
        ({"a": "revision = 'a'\ndown_revision = ('x', 'y')\n"}, None),
        ({"a": "revision = name()\ndown_revision = None\n"}, None),
    ],
)
def test_the_newest_revision_is_read_off_the_files_or_left_to_alembic(
    files: dict[str, str], newest: str | None, tmp_path: Path
) -> None:
    (tmp_path / "versions").mkdir()
    for name, text in files.items():
        (tmp_path / "versions" / f"{name}.py").write_text(text)

    assert newest_revision(tmp_path) == newest


def test_our_newest_revision_is_the_one_that_alembic_finds() -> None:
    scripts = ScriptDirectory(str(migrations_folder()))

    assert newest_revision() == scripts.get_current_head()


def test_all_tables_of_all_packages_are_known() -> None:
    assert "readiness" in all_tables().tables


async def test_a_developer_migrates_what_database_url_names(
    fresh_database: Callable[[], str],
) -> None:
    url = fresh_database()
    command = [sys.executable, "-m", "alembic"]
    root = Path(__file__).parents[2]

    for arguments in (["upgrade", "head"], ["check"], ["upgrade", "head", "--sql"]):
        done = subprocess.run(
            [*command, *arguments],
            cwd=root,
            env={**os.environ, "DATABASE_URL": url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
