"""Checkpoints hold plain data, are written side by side, and go when their turn goes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import ormsgpack
import psycopg
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.jsonplus import EXT_CONSTRUCTOR_SINGLE_ARG
from tests.support.database import Databases

from smart_support.agent.checkpoint_store import POOL_SIZE
from smart_support.agent.checkpoints import (
    TABLES_VERSION,
    StoredCheckpoints,
    forget,
    prepare_checkpoints,
    stored_checkpoints,
)
from smart_support.database import Sessions
from smart_support.database.engine import psycopg_dsn
from smart_support.errors import DatabaseUnavailable

RAN: list[str] = []


def run(what: str) -> str:
    """What a crafted row would have called."""
    RAN.append(what)
    return what


@pytest.fixture
async def saver(sessions: Sessions, database_url: str) -> AsyncIterator[StoredCheckpoints]:
    async with stored_checkpoints(psycopg_dsn(database_url)) as stored:
        yield stored


def of(turn_id: str) -> Any:
    return {"configurable": {"thread_id": turn_id, "checkpoint_ns": ""}}


async def put(saver: StoredCheckpoints, turn_id: str) -> None:
    await saver.aput(of(turn_id), empty_checkpoint(), {}, {})


async def test_a_crafted_row_runs_nothing(saver: StoredCheckpoints) -> None:
    crafted = ormsgpack.packb(
        ormsgpack.Ext(
            EXT_CONSTRUCTOR_SINGLE_ARG,
            ormsgpack.packb((__name__, "run", "anything at all")),
        )
    )

    loaded = saver.serde.loads_typed(("msgpack", crafted))

    assert RAN == []
    assert loaded != "anything at all" or isinstance(loaded, str)


async def test_plain_data_comes_back_as_it_was(saver: StoredCheckpoints) -> None:
    state = {"messages": [{"role": "user", "content": "żółw", "n": [1, None, 2.5, True]}]}

    assert saver.serde.loads_typed(saver.serde.dumps_typed(state)) == state


async def test_forgetting_a_turn_leaves_the_others(saver: StoredCheckpoints) -> None:
    await put(saver, "one")
    await put(saver, "two")

    await forget(saver, "one")

    assert await saver.aget_tuple(of("one")) is None
    assert await saver.aget_tuple(of("two")) is not None


async def test_as_many_work_at_once_as_there_are_connections(saver: StoredCheckpoints) -> None:
    lock = (await saver.open()).lock
    for _ in range(POOL_SIZE):
        assert not lock.locked()
        await lock.acquire()
    assert lock.locked()
    for _ in range(POOL_SIZE):
        lock.release()

    await asyncio.gather(*(put(saver, f"turn {number}") for number in range(3 * POOL_SIZE)))

    for number in range(3 * POOL_SIZE):
        assert await saver.aget_tuple(of(f"turn {number}")) is not None


async def test_preparing_twice_changes_nothing(saver: StoredCheckpoints) -> None:
    await put(saver, "one")

    await prepare_checkpoints(await saver.open())

    assert await saver.aget_tuple(of("one")) is not None


async def test_the_connections_are_closed_with_it(databases: Databases) -> None:
    async with stored_checkpoints(psycopg_dsn(databases.url)) as stored:
        pool: Any = (await stored.open()).conn
        assert not pool.closed

    assert pool.closed


async def test_nothing_is_connected_before_it_is_needed(
    saver: StoredCheckpoints, database_url: str
) -> None:
    async with stored_checkpoints("postgresql://nobody@127.0.0.1:1/nowhere") as stored:
        assert stored.get_next_version(None, None)

    async with asyncio.timeout(20):
        await asyncio.gather(*(put(saver, f"turn {number}") for number in range(5)))
    pools = {id((await saver.open()).conn) for _ in range(3)}
    assert len(pools) == 1


async def test_what_the_driver_raises_is_ours_and_it_is_opened_anew_then(
    sessions: Sessions, database_url: str
) -> None:
    tries = 0

    async def prepare(saver: AsyncPostgresSaver) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise psycopg.OperationalError("the connection is lost")
        await prepare_checkpoints(saver)

    async with stored_checkpoints(psycopg_dsn(database_url), prepare) as stored:
        refused = await asyncio.gather(
            put(stored, "one"), put(stored, "two"), return_exceptions=True
        )
        assert [type(each) for each in refused] == [DatabaseUnavailable] * 2
        await put(stored, "three")
        assert await stored.aget_tuple(of("three")) is not None
    assert tries == 2


def test_versions_have_the_form_of_langgraphs_own(databases: Databases) -> None:
    stored = StoredCheckpoints(psycopg_dsn(databases.url), prepare_checkpoints)
    theirs = AsyncPostgresSaver.get_next_version

    for current in (None, 7, "00000000000000000000000000000041.0.5"):
        ours = stored.get_next_version(current, None)
        expected = theirs(object.__new__(AsyncPostgresSaver), current, None)  # type: ignore[arg-type]
        assert ours.partition(".")[0] == expected.partition(".")[0]
        assert len(ours.partition(".")[2]) >= 16
    assert theirs(object.__new__(AsyncPostgresSaver), ours, None) > ours


def test_the_tables_are_as_new_as_langgraph_makes_them() -> None:
    assert len(AsyncPostgresSaver.MIGRATIONS) - 1 == TABLES_VERSION
