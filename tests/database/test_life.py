"""A process's lock: held while it lives, free when it is gone, taken again when it was lost."""

import asyncio

import psycopg
import pytest
from tests.support.fault_proxy import fault_proxy

from smart_support.database.life import Life, living
from smart_support.errors import DatabaseUnavailable


async def holders(url: str, owner: int) -> int:
    """How many connections hold the lock."""
    statement = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND (classid::bigint << 32) | objid::bigint = %s"
    )
    async with await psycopg.AsyncConnection.connect(url) as connection:
        row = await (await connection.execute(statement, (owner,))).fetchone()
    assert row is not None
    return int(row[0])


async def until(held: bool, life: Life) -> None:
    async with asyncio.timeout(10):
        while life.held is not held:
            await asyncio.sleep(0.01)


async def test_the_lock_is_held_as_long_as_the_process_lives(database_url: str) -> None:
    async with living(database_url) as life:
        assert life.held
        assert await holders(database_url, life.owner) == 1

    assert not life.held
    assert await holders(database_url, life.owner) == 0


async def test_a_lock_that_was_lost_is_taken_again_at_once(database_url: str) -> None:
    regained = asyncio.Event()
    async with fault_proxy(database_url) as proxy, living(proxy.url) as life:
        life.when_regained(regained.set)
        proxy.cut()
        await asyncio.wait_for(regained.wait(), 10)

        assert life.held
        assert await holders(database_url, life.owner) == 1


async def test_it_is_known_not_to_be_held_while_the_database_is_away(database_url: str) -> None:
    async with fault_proxy(database_url) as proxy, living(proxy.url) as life:
        proxy.refuse()
        await until(False, life)
        assert await life.notify(["x"]) is False
        proxy.mend()
        await until(True, life)

        assert await holders(database_url, life.owner) == 1


async def test_silence_is_noticed_and_the_lock_taken_from_the_dead_connection(
    database_url: str,
) -> None:
    """The server still believes in the connection before, and in its lock."""
    async with fault_proxy(database_url) as proxy:
        life = Life(proxy.url, beat=0.05, patience=0.3)
        await life.take()
        keeping = asyncio.create_task(life.keep())
        try:
            proxy.stall()
            await until(False, life)
            proxy.mend()
            await until(True, life)
            async with asyncio.timeout(10):
                while await holders(database_url, life.owner) != 1:
                    await asyncio.sleep(0.01)
        finally:
            keeping.cancel()
            await life.end()


async def test_no_database_is_said(database_url: str) -> None:
    async with fault_proxy(database_url) as proxy:
        proxy.refuse()
        with pytest.raises(DatabaseUnavailable):
            await Life(proxy.url).take()


async def test_everybody_hears_what_one_tells(database_url: str) -> None:
    heard: dict[str, list[str]] = {"a": [], "b": []}
    async with living(database_url) as one, living(database_url) as other:
        one.when_told(heard["a"].append)
        other.when_told(heard["b"].append)
        assert await one.notify(["x", "ü" * 3_000])
        async with asyncio.timeout(10):
            while len(heard["a"]) < 2 or len(heard["b"]) < 2:
                await asyncio.sleep(0.01)

    assert heard["a"] == heard["b"] == ["x", "ü" * 3_000]
