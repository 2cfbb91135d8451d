"""LangGraph's saver on PostgreSQL, with a driver of its own; `checkpoints` loads it when needed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import psycopg
import structlog
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from smart_support.database.engine import GONE_CLIENT, GONE_CLIENT_EVERY
from smart_support.errors import DatabaseUnavailable

log = structlog.get_logger()

POOL_SIZE = 5


@asynccontextmanager
async def open_saver(dsn: str, serde: SerializerProtocol) -> AsyncIterator[AsyncPostgresSaver]:
    """A saver on its own small pool at `dsn` (as libpq reads it); its tables may be missing."""
    pool: AsyncConnectionPool[AsyncConnection[DictRow]] = AsyncConnectionPool(
        dsn,
        min_size=1,
        max_size=POOL_SIZE,
        timeout=5.0,
        open=False,
        kwargs={
            "autocommit": True,
            "prepare_threshold": 0,
            "row_factory": dict_row,
            "connect_timeout": 5,
            "options": "-c statement_timeout=5000",
        },
        check=AsyncConnectionPool.check_connection,
        configure=_notice_when_gone,
    )
    await pool.open(wait=True, timeout=10.0)
    try:
        saver = AsyncPostgresSaver(pool, serde=serde)
        # The saver guards one connection with one lock; with a pool that lock only queues.
        saver.lock = _Places(POOL_SIZE)  # type: ignore[assignment]
        yield saver
    finally:
        await pool.close(timeout=5.0)


async def _notice_when_gone(connection: AsyncConnection[DictRow]) -> None:
    """Have the server give back our locks soon when we are gone; see `GONE_CLIENT`."""
    try:
        await connection.execute(f"SET {GONE_CLIENT} = '{GONE_CLIENT_EVERY}'")
    except psycopg.errors.InvalidParameterValue as error:
        log.info("gone_clients_not_noticed", why=str(error))


class _Places(asyncio.Semaphore):
    """As many holders at once as the pool has connections, in the shape of the saver's lock."""


@contextlib.contextmanager
def errors_as_ours() -> Iterator[None]:
    """Raise what the driver raises as a DatabaseUnavailable."""
    try:
        yield
    except (psycopg.Error, TimeoutError) as error:
        raise DatabaseUnavailable(f"checkpoints: {str(error) or type(error).__name__}") from error
