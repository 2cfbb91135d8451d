"""Connections to PostgreSQL: every wait bounded, dead ones replaced, failures in our own words."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import sqlalchemy as sa
import structlog
from sqlalchemy import event, exc
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.ext.asyncio.engine import AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool

from smart_support.database.errors import map_database_error
from smart_support.database.session import Sessions
from smart_support.database.tables import readiness
from smart_support.errors import DatabaseUnavailable, SetupError

log = structlog.get_logger()

POOL_SIZE = 20
"""Connections of one process. None beyond: one that is opened for a moment costs PostgreSQL a
process, and each statement a plan, which is more than what it is opened for."""

GONE_CLIENT = "client_connection_check_interval"
GONE_CLIENT_EVERY = "250ms"
"""How often a server looks, while a statement of ours runs or waits, whether we are still there. It
gives back the locks of who is not, instead of keeping them until the statement has its answer. A
server whose system cannot tell (Windows), or a pooler that does not know the setting, refuses a
connection that asks for it; then we do without."""


def open_engine(
    url: str,
    *,
    statement_timeout: float = 4.0,
    connect_timeout: float = 4.0,
    pool_timeout: float = 3.0,
) -> AsyncEngine:
    """An engine for the PostgreSQL at `url`; nothing is connected yet. Dispose of it when done.

    Whatever fails on its connections is raised as `map_database_error` says.

    Args:
        url: postgres://, postgresql:// or postgresql+asyncpg://, with the parameters of libpq;
            a Unix socket is `?host=/folder`.
        statement_timeout: seconds one statement may take, counted by us; the server gives up
            a tenth earlier, so that it says why.
        connect_timeout: seconds until a new connection must stand.
        pool_timeout: seconds to wait for a free connection of the pool.

    Raises:
        SetupError: `url` is not the address of a PostgreSQL.
    """
    dsn = _plain(url)
    wanted = {
        "application_name": "smart-support",
        "timezone": "UTC",
        # Both cost more than they save on statements as short as ours.
        "jit": "off",
        "max_parallel_workers_per_gather": "0",
        "statement_timeout": f"{statement_timeout * 900:.0f}ms",
        "idle_in_transaction_session_timeout": "30s",
        GONE_CLIENT: GONE_CLIENT_EVERY,
    }

    async def connect(*_: Any, **__: Any) -> asyncpg.Connection:
        limits = {"timeout": connect_timeout, "command_timeout": statement_timeout}
        try:
            try:
                return await asyncpg.connect(dsn, server_settings=wanted, **limits)
            except asyncpg.PostgresError as error:
                if GONE_CLIENT not in str(error):
                    raise
                log.info("gone_clients_not_noticed", why=str(error))
                wanted.pop(GONE_CLIENT, None)  # nor ask for it again
                return await asyncpg.connect(dsn, server_settings=wanted, **limits)
        except TimeoutError as error:
            raise DatabaseUnavailable(
                f"no connection to PostgreSQL within {connect_timeout:g} s"
            ) from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise DatabaseUnavailable(f"no connection to PostgreSQL: {error}") from error

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        json_serializer=_to_json,
        json_deserializer=_as_it_is,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=pool_timeout,
        pool_use_lifo=True,
        pool_reset_on_return=None,  # `Sessions` gives back nothing that would have to be reset
        hide_parameters=True,
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    event.listen(engine.sync_engine, "handle_error", _raise_ours)
    event.listen(engine.sync_engine, "connect", _read_as_ours)
    return engine


def sessions(engine: AsyncEngine) -> Sessions:
    """Sessions on `engine`, which alone read and write in this program."""
    return Sessions(engine)


def pool_in_use(engine: AsyncEngine) -> int:
    """How many connections of the pool are in use now."""
    pool = engine.pool
    return pool.checkedout() if isinstance(pool, QueuePool) else 0


async def check_writable(engine: AsyncEngine, within: float = 2.0) -> None:
    """Readiness: return if a row could be written and committed within `within` seconds.

    Reading proves nothing: a read-only or full database answers `select 1`.

    Raises:
        DatabaseUnavailable: it could not; the text says why.
    """
    row = {"checked_at": sa.func.now()}
    statement = (
        postgresql.insert(readiness)
        .values(id=1, **row)
        .on_conflict_do_update(index_elements=[readiness.c.id], set_=row)
    )
    try:
        async with asyncio.timeout(within), engine.begin() as connection:
            await connection.execute(statement)
    except (exc.SQLAlchemyError, OSError) as error:
        mapped = map_database_error(error)
        if isinstance(mapped, DatabaseUnavailable):
            raise mapped from error
        raise DatabaseUnavailable(f"the readiness check failed: {error}") from error


def psycopg_dsn(url: str) -> str:
    """`url` as psycopg and libpq understand it (LangGraph's saver speaks psycopg).

    Raises:
        SetupError: `url` is not the address of a PostgreSQL.
    """
    return _plain(url)


def _plain(url: str) -> str:
    scheme, separator, rest = url.strip().partition("://")
    if not separator or scheme not in {
        "postgres",
        "postgresql",
        "postgresql+asyncpg",
        "postgresql+psycopg",
    }:
        # The text must not repeat the address: it may hold a password.
        raise SetupError(
            "DATABASE_URL must be the address of a PostgreSQL,"
            " such as postgresql://user:password@host:5432/database."
        )
    return f"postgresql://{rest}"


def _to_json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _refuse_closed(connection: Any, _record: Any, _fairy: Any) -> None:
    """Replace connections that died while idle; costs no round trip, as asyncpg saw it happen."""
    if connection.driver_connection.is_closed():
        raise exc.InvalidatePoolError


def _read_as_ours(connection: Any, _record: Any) -> None:
    """Have the driver itself read what we store: JSON as what it holds, an id as text."""
    connection.run_async(_set_codecs)


async def _set_codecs(driver: asyncpg.Connection) -> None:
    await driver.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda text: b"\x01" + text.encode(),  # the version of its form
        decoder=lambda stored: orjson.loads(stored[1:]),
    )
    await driver.set_type_codec(
        "json", schema="pg_catalog", format="text", encoder=_as_it_is, decoder=orjson.loads
    )
    await driver.set_type_codec(
        "uuid",
        schema="pg_catalog",
        format="binary",
        encoder=lambda id_: UUID(str(id_)).bytes,
        decoder=_id_of,
    )


def _id_of(stored: bytes) -> str:
    """As `str(UUID(bytes=stored))` has it, in a quarter of the time."""
    digits = stored.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _as_it_is(value: Any) -> Any:
    return value


def _raise_ours(context: ExceptionContext) -> BaseException | None:
    return map_database_error(context.sqlalchemy_exception or context.original_exception)
