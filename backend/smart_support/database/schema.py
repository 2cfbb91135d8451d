"""The shape of the database: brought up to date by Alembic, by one process at a time."""

import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import exc

import smart_support
from smart_support.database import metadata
from smart_support.database.engine import psycopg_dsn
from smart_support.database.threads import run_to_the_end
from smart_support.errors import SetupError

OLDEST_POSTGRES = 14
LOCK_SECONDS = 300  # how long another process may take to migrate
_LOCK = 0x534D_5350  # "SMSP": any number, the same in every release


async def migrate(url: str, *, oldest: int = OLDEST_POSTGRES) -> None:
    """Bring the database at `url` to the newest revision; nothing happens if it is there already.

    Of several processes at once one migrates while the others wait. Works beside the event loop.

    Raises:
        SetupError: it cannot be reached, is older than PostgreSQL `oldest`, has a schema newer
            than this release, or a migration failed (which then is undone).
    """
    await run_to_the_end(lambda: _migrate(url, oldest))


async def current_revision(url: str) -> str | None:
    """The revision of the database at `url`; None if it was never migrated.

    Raises:
        SetupError: it cannot be reached.
    """

    def read() -> str | None:
        with _connected(url) as connection:
            return _revision(connection)

    return await run_to_the_end(read)


def alembic_config(connection: sa.Connection | None = None) -> Config:
    """Alembic's settings at run time; migrations run on `connection`, whose commit is env.py's."""
    config = Config()
    # A percent sign begins a placeholder there.
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def migrations_folder() -> Path:
    """Where the migrations are: in the installed package, or in the source tree.

    Raises:
        SetupError: in neither.
    """
    package = Path(smart_support.__file__).parent
    for folder in (package / "_migrations", package.parents[1] / "migrations"):
        if (folder / "env.py").exists():
            return folder
    raise SetupError("The migrations are missing from this installation. Install it again.")


def all_tables() -> sa.MetaData:
    """`metadata` with the tables of every package on it: what all migrations together must make."""
    for module in pkgutil.walk_packages(smart_support.__path__, "smart_support."):
        if module.name.endswith(".tables"):
            importlib.import_module(module.name)
    return metadata


def _migrate(url: str, oldest: int) -> None:
    with _connected(url) as connection:
        _refuse_old(connection, oldest)
        config = alembic_config(connection)
        scripts = ScriptDirectory.from_config(config)
        if _is_current(connection, scripts):
            return
        connection.execute(sa.text(f"SET lock_timeout = '{LOCK_SECONDS}s'"))
        connection.execute(sa.text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
        connection.execute(sa.text("RESET lock_timeout"))
        connection.commit()
        try:
            if not _is_current(connection, scripts):
                command.upgrade(config, "head")
        finally:
            connection.rollback()
            connection.execute(sa.text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
            connection.commit()


def _is_current(connection: sa.Connection, scripts: ScriptDirectory) -> bool:
    revision = _revision(connection)
    known = {script.revision for script in scripts.walk_revisions()}
    if revision is not None and revision not in known:
        raise SetupError(
            f"The database was made by a newer release (its revision {revision} is unknown here)."
            " Install that release, or restore a backup from before it was upgraded."
        )
    return revision == scripts.get_current_head()


def _revision(connection: sa.Connection) -> str | None:
    revision = MigrationContext.configure(connection).get_current_revision()
    connection.rollback()
    return revision


def _refuse_old(connection: sa.Connection, oldest: int) -> None:
    number = int(connection.execute(sa.text("SHOW server_version_num")).scalar_one())
    connection.rollback()
    if number // 10_000 < oldest:
        raise SetupError(
            f"PostgreSQL {number // 10_000} is too old. Set DATABASE_URL to a PostgreSQL {oldest}"
            " or newer, or leave it empty to use the embedded one."
        )


@contextmanager
def _connected(url: str) -> Iterator[sa.Connection]:
    """A connection of its own, closed at the end; what PostgreSQL refuses becomes a SetupError."""
    engine = sa.create_engine(
        sa.make_url(psycopg_dsn(url)).set(drivername="postgresql+psycopg"),
        poolclass=sa.NullPool,
        connect_args={"connect_timeout": 10, "application_name": "smart-support migrate"},
    )
    try:
        with engine.connect() as connection:
            yield connection
    except exc.DBAPIError as error:
        raise SetupError(
            f"The database of DATABASE_URL cannot be used: {str(error.orig).strip()}\n"
            "Check the address, the user's rights, and that PostgreSQL runs there."
        ) from error
    finally:
        engine.dispose()
