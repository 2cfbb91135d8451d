"""Alembic at work: the migrations that a database is missing, run by one process at a time.

It is loaded only where there is something to migrate, since it takes a tenth of a second and ten
megabytes, which a process that serves would then keep for nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import exc

from smart_support.database.engine import psycopg_dsn
from smart_support.errors import SetupError

log = structlog.get_logger()

MIGRATION_LOCK = 0x534D_5350  # "SMSP": any number, the same in every release

LOCK_PAUSE = 2.0
"""Seconds between two tries, in which those who waited behind it go on."""

_POLL_SECONDS = 0.1
_LOCK_NOT_AVAILABLE = "55P03"
_DEADLOCK = "40P01"


def alembic_config(connection: sa.Connection, folder: Path) -> Config:
    """Alembic's settings to run the migrations of `folder` on `connection`."""
    config = Config()
    # A percent sign begins a placeholder there.
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def run_migrations(
    url: str,
    folder: Path,
    oldest: int,
    lock_timeout: float,
    lock_tries: int,
    sleep: Callable[[float], None],
) -> None:
    with _connected(url) as connection:
        _refuse_old(connection, oldest)
        config = alembic_config(connection, folder)
        scripts = ScriptDirectory.from_config(config)
        if _is_current(connection, scripts):
            return
        _take_lock(connection, lock_timeout, sleep)
        try:
            if not _is_current(connection, scripts):
                _upgrade(connection, config, lock_tries, sleep)
        finally:
            connection.rollback()
            connection.execute(
                sa.text("SELECT pg_advisory_unlock(:lock)"), {"lock": MIGRATION_LOCK}
            )
            connection.commit()


def _take_lock(connection: sa.Connection, patience: float, sleep: Callable[[float], None]) -> None:
    """Be the one who migrates.

    Asked for again and again: an index that is built concurrently waits for every statement that
    runs, and so for one that would wait here for whoever builds it.
    """
    taken = sa.text("SELECT pg_try_advisory_lock(:lock)")
    waited = 0.0
    while True:
        found = connection.execute(taken, {"lock": MIGRATION_LOCK}).scalar_one()
        connection.commit()
        if found:
            return
        if waited >= patience:
            raise SetupError(
                f"Another process has been migrating the database for {patience:g} seconds. See"
                " what it waits for, or end it, and start again."
            )
        sleep(_POLL_SECONDS)
        waited += _POLL_SECONDS


def _upgrade(
    connection: sa.Connection, config: Config, tries: int, sleep: Callable[[float], None]
) -> None:
    """Run the migrations that are missing; one whose locks are not to be had is tried again."""
    for number in range(1, tries + 1):
        try:
            command.upgrade(config, "head")
            return
        except exc.DBAPIError as error:
            connection.rollback()
            state = getattr(error.orig, "sqlstate", None)
            if state not in {_LOCK_NOT_AVAILABLE, _DEADLOCK} or number == tries:
                raise
            log.warning("migration_waits_for_locks", tries=number)
            sleep(LOCK_PAUSE)


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
