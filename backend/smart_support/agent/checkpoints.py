"""Checkpoints in PostgreSQL: strictly plain data, and as many at once as there are connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

POOL_SIZE = 5


@asynccontextmanager
async def open_checkpoints(dsn: str) -> AsyncIterator[AsyncPostgresSaver]:
    """A saver on its own small pool at `dsn` (as libpq reads it), with its tables in place."""
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
    )
    await pool.open(wait=True, timeout=10.0)
    try:
        # Plain data only: the default would import and call what a crafted row names.
        saver = AsyncPostgresSaver(pool, serde=JsonPlusSerializer(allowed_msgpack_modules=None))
        # The saver guards one connection with one lock; with a pool that lock only queues.
        saver.lock = _Places(POOL_SIZE)  # type: ignore[assignment]
        yield saver
    finally:
        await pool.close(timeout=5.0)


class _Places(asyncio.Semaphore):
    """As many holders at once as the pool has connections, in the shape of the saver's lock."""


async def prepare_checkpoints(saver: AsyncPostgresSaver) -> None:
    """Make or update LangGraph's own tables. Two processes must not do it at once."""
    await saver.setup()


async def forget(saver: Any, turn_id: str) -> None:
    """Delete the checkpoints of a turn that is over: the log holds all that is worth keeping."""
    await saver.adelete_thread(turn_id)
