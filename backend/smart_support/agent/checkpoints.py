"""Checkpoints: strictly plain data, kept in PostgreSQL for the turns that wait for a yes."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from smart_support.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

log = structlog.get_logger()

TABLES_VERSION = 9
"""Of LangGraph's own tables: the last step that its saver takes to make them."""

Prepare: TypeAlias = "Callable[[AsyncPostgresSaver], Awaitable[None]]"


async def prepare_checkpoints(saver: "AsyncPostgresSaver") -> None:
    """Make or update LangGraph's own tables. Two processes must not do it at once."""
    await saver.setup()


@asynccontextmanager
async def stored_checkpoints(
    dsn: str, prepare: Prepare = prepare_checkpoints
) -> AsyncIterator["StoredCheckpoints"]:
    """Checkpoints at `dsn` (as libpq reads it); `prepare` has LangGraph's tables in place."""
    stored = StoredCheckpoints(dsn, prepare)
    try:
        yield stored
    finally:
        await stored.close()


class StoredCheckpoints(BaseCheckpointSaver[Any]):
    """LangGraph's saver, loaded and connected when a turn first waits for a yes, or by `open`.

    It brings a driver of its own beside ours: ten megabytes and a connection, which many a process
    never needs. What the driver raises is raised as DatabaseUnavailable.
    """

    def __init__(self, dsn: str, prepare: Prepare) -> None:
        # Plain data only: the default would import and call what a crafted row names.
        super().__init__(serde=JsonPlusSerializer(allowed_msgpack_modules=None))
        self._dsn = dsn
        self._prepare = prepare
        self._stack = AsyncExitStack()
        self._store: ModuleType | None = None
        self._opening: asyncio.Task[AsyncPostgresSaver] | None = None

    async def open(self) -> "AsyncPostgresSaver":
        """The saver itself, connected and with its tables.

        Raises:
            DatabaseUnavailable: it cannot be had now.
        """
        async with self._used() as saver:
            return saver

    async def close(self) -> None:
        """Close the connections, if there are any; it cannot be used afterwards."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        await self._stack.aclose()

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        async with self._used() as saver:
            return await saver.aget_tuple(config)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        async with self._used() as saver:
            return await saver.aput(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        async with self._used() as saver:
            await saver.aput_writes(config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        async with self._used() as saver:
            await saver.adelete_thread(thread_id)

    def get_next_version(self, current: Any, channel: None) -> str:  # noqa: ARG002
        """A number that grows, then chance: the form in which LangGraph's saver keeps versions."""
        number = 0 if current is None else int(str(current).partition(".")[0])
        return f"{number + 1:032}.{random.random():016}"  # noqa: S311 - tells apart, hides nothing

    @asynccontextmanager
    async def _used(self) -> AsyncIterator["AsyncPostgresSaver"]:
        if self._store is None:
            self._store = await asyncio.to_thread(_loaded)
        with self._store.errors_as_ours():
            yield await self._opened(self._store)

    async def _opened(self, store: ModuleType) -> "AsyncPostgresSaver":
        """The saver; all who ask while it is being opened wait for the same one."""
        opening = self._opening
        if opening is None or (opening.done() and (opening.cancelled() or opening.exception())):
            opening = self._opening = asyncio.create_task(self._open(store), name="checkpoints")
        return await asyncio.shield(opening)

    async def _open(self, store: ModuleType) -> "AsyncPostgresSaver":
        async with AsyncExitStack() as opening:
            saver: AsyncPostgresSaver = await opening.enter_async_context(
                store.open_saver(self._dsn, self.serde)
            )
            await self._prepare(saver)
            self._stack.push_async_exit(opening.pop_all())
        return saver


def _loaded() -> ModuleType:
    from smart_support.agent import checkpoint_store

    return checkpoint_store


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
        except DatabaseUnavailable as error:
            log.warning("checkpoint_not_read", turn_id=turn_id, error=str(error))
            return False

    async def keep(self, turn_id: str) -> None:
        """Store where the run of this turn has stopped."""
        try:
            if (at := self._at.get(turn_id)) is not None:
                await self._saver.aput(*at)
            for writes in self._writes.get(turn_id, ()):
                await self._saver.aput_writes(*writes)
        except DatabaseUnavailable as error:
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
    except DatabaseUnavailable as error:
        log.warning("checkpoint_not_deleted", turn_id=turn_id, error=str(error))
