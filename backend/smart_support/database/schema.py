"""The shape of the database: seen to be the newest, or brought there by `migrating`."""

import importlib
import pkgutil
import re
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import sqlalchemy as sa

import smart_support
from smart_support.database import metadata
from smart_support.database.engine import psycopg_dsn
from smart_support.database.threads import run_to_the_end
from smart_support.errors import SetupError

OLDEST_POSTGRES = 14

LOCK_TRIES = 60
"""How often a migration tries to get the locks that it needs. It waits for them for as long as its
own `lock_timeout` says, since everybody who wants the same table waits behind it meanwhile."""

_LOOK_SECONDS = 10.0


async def migrate(
    url: str,
    *,
    folder: Path | None = None,
    oldest: int = OLDEST_POSTGRES,
    lock_timeout: float = 300.0,
    lock_tries: int = LOCK_TRIES,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Bring the database at `url` to the newest revision; nothing happens if it is there already.

    Of several processes at once one migrates while the others wait. Works beside the event loop.
    Servers may go on meanwhile: a migration that cannot have its locks at once lets them pass and
    tries again.

    Args:
        url: as for `open_engine`.
        folder: where the migrations are; ours if None.
        oldest: least major version of PostgreSQL.
        lock_timeout: seconds another process may take to migrate.
        lock_tries: how often a migration tries to get its locks.
        sleep: waits between two tries, in a thread.

    Raises:
        SetupError: it cannot be reached, is older than PostgreSQL `oldest`, has a schema newer
            than this release, or a migration failed (which then is undone).
    """
    chosen = folder or migrations_folder()
    if await _is_newest(url, chosen, oldest):
        return

    def work() -> None:
        # Alembic is heavy, and hardly any start has something to migrate.
        from smart_support.database.migrating import run_migrations

        run_migrations(url, chosen, oldest, lock_timeout, lock_tries, sleep)

    await run_to_the_end(work)


async def current_revision(url: str) -> str | None:
    """The revision of the database at `url`; None if it was never migrated.

    Raises:
        SetupError: it cannot be reached.
    """
    try:
        _, revision = await _look(url)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise SetupError(
            f"The database of DATABASE_URL cannot be used: {str(error) or type(error).__name__}\n"
            "Check the address, the user's rights, and that PostgreSQL runs there."
        ) from error
    return revision


def migrations_folder(package: Path = Path(smart_support.__file__).parent) -> Path:
    """Where the migrations are: in the installed package, or in the source tree.

    Raises:
        SetupError: in neither.
    """
    for folder in (package / "_migrations", package.parents[1] / "migrations"):
        if (folder / "env.py").exists():
            return folder
    raise SetupError("The migrations are missing from this installation. Install it again.")


def newest_revision(folder: Path | None = None) -> str | None:
    """The revision that this release brings a database to; None if that takes Alembic to say.

    It stands in the migrations' files, which need not be loaded for it.
    """
    revisions, before = set[str](), set[str | None]()
    for file in ((folder or migrations_folder()) / "versions").glob("*.py"):
        found = dict(_REVISIONS.findall(file.read_text()))
        if found.keys() != {"revision", "down_revision"}:
            return None
        revisions.add(found["revision"])
        before.add(found["down_revision"])
    newest = revisions - before
    return newest.pop() if len(newest) == 1 else None


_REVISIONS = re.compile(
    r"""^(revision|down_revision)(?:: [^=\n]+)? = (?:["']([^"'\n]+)["']|None)$""", re.MULTILINE
)


def all_tables() -> sa.MetaData:
    """`metadata` with the tables of every package on it: what all migrations together must make."""
    for module in pkgutil.walk_packages(smart_support.__path__, "smart_support."):
        if module.name.endswith(".tables"):
            importlib.import_module(module.name)
    return metadata


async def _is_newest(url: str, folder: Path, oldest: int) -> bool:
    """Whether there is nothing to migrate; False as well if it cannot be seen from here."""
    try:
        major, revision = await _look(url)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False  # `migrating` says what is wrong
    return major >= oldest and revision is not None and revision == newest_revision(folder)


async def _look(url: str) -> tuple[int, str | None]:
    """The major version of the server, and the revision of its database."""
    connection = await asyncpg.connect(
        psycopg_dsn(url),
        timeout=_LOOK_SECONDS,
        command_timeout=_LOOK_SECONDS,
        statement_cache_size=0,
        server_settings={"application_name": "smart-support migrate"},
    )
    try:
        major: int = connection.get_server_version().major
        made = await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL")
        revision = made and await connection.fetchval("SELECT version_num FROM alembic_version")
        return major, revision or None
    finally:
        await connection.close(timeout=_LOOK_SECONDS)
