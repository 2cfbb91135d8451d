"""Checkpoints hold plain data, are written side by side, and go when their turn goes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import ormsgpack
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.jsonplus import EXT_CONSTRUCTOR_SINGLE_ARG
from psycopg_pool import PoolTimeout
from tests.support.database import Databases

from smart_support.agent.checkpoints import (
    POOL_SIZE,
    forget,
    open_checkpoints,
    prepare_checkpoints,
)
from smart_support.database import Sessions
from smart_support.database.engine import psycopg_dsn

RAN: list[str] = []


def run(what: str) -> str:
    """What a crafted row would have called."""
    RAN.append(what)
    return what


@pytest.fixture
async def saver(sessions: Sessions, database_url: str) -> AsyncIterator[AsyncPostgresSaver]:
    async with open_checkpoints(psycopg_dsn(database_url)) as opened:
        await prepare_checkpoints(opened)
        yield opened


def of(turn_id: str) -> Any:
    return {"configurable": {"thread_id": turn_id, "checkpoint_ns": ""}}


async def put(saver: AsyncPostgresSaver, turn_id: str) -> None:
    await saver.aput(of(turn_id), empty_checkpoint(), {}, {})


async def test_a_crafted_row_runs_nothing(saver: AsyncPostgresSaver) -> None:
    crafted = ormsgpack.packb(
        ormsgpack.Ext(
            EXT_CONSTRUCTOR_SINGLE_ARG,
            ormsgpack.packb((__name__, "run", "anything at all")),
        )
    )

    loaded = saver.serde.loads_typed(("msgpack", crafted))

    assert RAN == []
    assert loaded != "anything at all" or isinstance(loaded, str)


async def test_plain_data_comes_back_as_it_was(saver: AsyncPostgresSaver) -> None:
    state = {"messages": [{"role": "user", "content": "żółw", "n": [1, None, 2.5, True]}]}

    assert saver.serde.loads_typed(saver.serde.dumps_typed(state)) == state


async def test_forgetting_a_turn_leaves_the_others(saver: AsyncPostgresSaver) -> None:
    await put(saver, "one")
    await put(saver, "two")

    await forget(saver, "one")

    assert await saver.aget_tuple(of("one")) is None
    assert await saver.aget_tuple(of("two")) is not None


async def test_as_many_work_at_once_as_there_are_connections(saver: AsyncPostgresSaver) -> None:
    for _ in range(POOL_SIZE):
        assert not saver.lock.locked()
        await saver.lock.acquire()
    assert saver.lock.locked()
    for _ in range(POOL_SIZE):
        saver.lock.release()

    await asyncio.gather(*(put(saver, f"turn {number}") for number in range(3 * POOL_SIZE)))

    for number in range(3 * POOL_SIZE):
        assert await saver.aget_tuple(of(f"turn {number}")) is not None


async def test_preparing_twice_changes_nothing(saver: AsyncPostgresSaver) -> None:
    await put(saver, "one")

    await prepare_checkpoints(saver)

    assert await saver.aget_tuple(of("one")) is not None


async def test_the_connections_are_closed_with_it(databases: Databases) -> None:
    async with open_checkpoints(psycopg_dsn(databases.url)) as opened:
        pool: Any = opened.conn
        assert not pool.closed

    assert pool.closed
    assert issubclass(PoolTimeout, Exception)
