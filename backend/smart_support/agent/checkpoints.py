"""Checkpoints in PostgreSQL: strictly plain data, and as many at once as there are connections."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import structlog
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from smart_support.database.engine import GONE_CLIENT, GONE_CLIENT_EVERY

log = structlog.get_logger()

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
        configure=_notice_when_gone,
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


async def _notice_when_gone(connection: AsyncConnection[DictRow]) -> None:
    """Have the server give back our locks soon when we are gone; see `GONE_CLIENT`."""
    try:
        await connection.execute(f"SET {GONE_CLIENT} = '{GONE_CLIENT_EVERY}'")
    except psycopg.errors.InvalidParameterValue as error:
        log.info("gone_clients_not_noticed", why=str(error))


class _Places(asyncio.Semaphore):
    """As many holders at once as the pool has connections, in the shape of the saver's lock."""


async def prepare_checkpoints(saver: AsyncPostgresSaver) -> None:
    """Make or update LangGraph's own tables. Two processes must not do it at once."""
    await saver.setup()


class TurnCheckpoints(BaseCheckpointSaver[Any]):
    """Keeps the checkpoint of a turn that waits for a yes, and of no other.

    What a run is at lies in memory until it ends. A checkpoint is a cache: the log can give its
    state again, so that nothing here may fail a turn.
    """

    def __init__(self, saver: BaseCheckpointSaver[Any]) -> None:
        super().__init__(serde=saver.serde)
        self._saver = saver
        self._at: dict[str, _Put] = {}
        self._writes: dict[str, list[_Writes]] = {}

    async def kept(self, turn_id: str) -> bool:
        """Whether there is a checkpoint to go on from."""
        try:
            return await self._saver.aget_tuple(_config(turn_id)) is not None
        except psycopg.Error as error:
            log.warning("checkpoint_not_read", turn_id=turn_id, error=str(error))
            return False

    async def keep(self, turn_id: str) -> None:
        """Store where the run of this turn has stopped."""
        try:
            if (at := self._at.get(turn_id)) is not None:
                await self._saver.aput(*at)
            for writes in self._writes.get(turn_id, ()):
                await self._saver.aput_writes(*writes)
        except psycopg.Error as error:
            log.warning("checkpoint_not_kept", turn_id=turn_id, error=str(error))

    def let_go(self, turn_id: str) -> None:
        """The run has ended."""
        self._at.pop(turn_id, None)
        self._writes.pop(turn_id, None)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await self._saver.aget_tuple(config) if config["configurable"].get(GO_ON) else None

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        turn_id = config["configurable"]["thread_id"]
        self._at[turn_id] = (config, checkpoint, metadata, new_versions)
        stored = {
            "thread_id": turn_id,
            "checkpoint_ns": config["configurable"].get("checkpoint_ns", ""),
            "checkpoint_id": checkpoint["id"],
        }
        return {"configurable": stored}

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        turn_id = config["configurable"]["thread_id"]
        self._writes.setdefault(turn_id, []).append((config, writes, task_id, task_path))

    def get_next_version(self, current: Any, channel: None) -> Any:
        return self._saver.get_next_version(current, channel)


_Put = tuple[RunnableConfig, Checkpoint, CheckpointMetadata, ChannelVersions]
_Writes = tuple[RunnableConfig, Sequence[tuple[str, Any]], str, str]

GO_ON = "go_on"
"""In a run's configuration: begin where the turn's checkpoint is."""


def _config(turn_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": turn_id, "checkpoint_ns": ""}}


async def forget(saver: Any, turn_id: str) -> None:
    """Delete the checkpoints of a turn that is over: the log holds all that is worth keeping."""
    try:
        await saver.adelete_thread(turn_id)
    except psycopg.Error as error:
        log.warning("checkpoint_not_deleted", turn_id=turn_id, error=str(error))
