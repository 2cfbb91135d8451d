"""Connections to PostgreSQL: every wait bounded, dead ones replaced, failures in our own words."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any

import asyncpg
import orjson
import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.pool import QueuePool

from smart_support.database import Sessions
from smart_support.database.errors import map_database_error
from smart_support.database.tables import readiness
from smart_support.errors import DatabaseUnavailable, SetupError
from smart_support.telemetry.tracing import begin_span, tracing

POOL_SIZE = 10
POOL_OVERFLOW = 10


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

    async def connect(*_: Any, **__: Any) -> asyncpg.Connection:
        try:
            return await asyncpg.connect(
                dsn,
                timeout=connect_timeout,
                command_timeout=statement_timeout,
                server_settings={
                    "application_name": "smart-support",
                    "timezone": "UTC",
                    "jit": "off",  # costs more than it saves on statements as short as ours
                    "statement_timeout": f"{statement_timeout * 900:.0f}ms",
                    "idle_in_transaction_session_timeout": "30s",
                },
            )
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
        json_deserializer=orjson.loads,
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_timeout=pool_timeout,
        pool_use_lifo=True,
        hide_parameters=True,
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    event.listen(engine.sync_engine, "handle_error", _raise_ours)
    if tracing():  # nothing is hung on the engine otherwise
        event.listen(engine.sync_engine, "before_cursor_execute", _begin_span)
        event.listen(engine.sync_engine, "after_cursor_execute", _end_span)
        event.listen(engine.sync_engine, "handle_error", _end_span_failed)
    return engine


def sessions(engine: AsyncEngine) -> Sessions:
    """Sessions on `engine` that keep what they loaded after a commit.

    `begin()` gives one with a transaction. Called, it gives one to read with: each statement
    stands for itself, without the two more that would begin and end a transaction.
    """
    return _Sessions(engine, expire_on_commit=False)


class _Session(AsyncSession):
    """Says in our words that no connection was free: no event of the engine tells of that."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await super().__aexit__(kind, error, traceback)
        if isinstance(error, exc.TimeoutError) and (ours := map_database_error(error)) is not None:
            raise ours from error


class _Sessions(async_sessionmaker[AsyncSession]):
    def __init__(self, engine: AsyncEngine, **options: Any) -> None:
        super().__init__(engine, class_=_Session, **options)
        self._reading: AsyncEngine = engine.execution_options(isolation_level="AUTOCOMMIT")

    def __call__(self, **options: Any) -> AsyncSession:
        return super().__call__(**{"bind": self._reading, **options})

    def begin(self) -> AbstractAsyncContextManager[AsyncSession]:  # type: ignore[override]
        return self._transaction()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncSession]:
        async with super().__call__() as session, session.begin():
            yield session


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


def _begin_span(_connection: Any, _cursor: Any, statement: str, *rest: Any) -> None:
    context = rest[1]
    # The word alone: a statement may hold values that somebody wrote.
    word = statement.lstrip().partition(" ")[0].upper()[:20]
    attributes = {"db.system.name": "postgresql", "db.operation.name": word}
    context.our_span = begin_span("sql", attributes)


def _end_span(_connection: Any, _cursor: Any, _statement: str, *rest: Any) -> None:
    rest[1].our_span.end()


def _end_span_failed(failed: ExceptionContext) -> None:
    running = getattr(failed.execution_context, "our_span", None)
    if running is not None:
        running.fail(type(failed.original_exception).__name__)
        running.end()


def _raise_ours(context: ExceptionContext) -> BaseException | None:
    return map_database_error(context.sqlalchemy_exception or context.original_exception)
