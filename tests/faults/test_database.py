"""The database is cut off, stalls, restarts, is full, read-only, exhausted: said, and outlived."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import psycopg
import pytest
import sqlalchemy as sa
from tests.support.chat_client import ChatClient, transcript_of
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.model_endpoint import says, stalled
from tests.support.server import Server, logged, running

from smart_support.app.parts import Seams
from smart_support.conversations.tables import turns
from smart_support.database import Session
from smart_support.events.records import MessageFinished

HASTY = Seams(offline_token_delay=0.0, act_seconds=0.5, sweep_sleep=lambda _: asyncio.sleep(0.05))


@pytest.fixture
def url(migrated_database: Callable[[], str]) -> str:
    return migrated_database()


@pytest.fixture
async def proxy(url: str) -> AsyncIterator[FaultProxy]:
    async with fault_proxy(url) as opened:
        yield opened


@pytest.fixture
async def server(proxy: FaultProxy) -> AsyncIterator[Server]:
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(running(proxy.url, seams=HASTY))
        proxy.mend()  # so that it can stop properly


async def write(chat: ChatClient, thread: str, text: str, message_id: str) -> dict[str, object]:
    """Send a message; what comes back for it, `ack` or `error`."""
    await chat.write(thread, text, message_id)
    frames = await chat.until(lambda frame: "ack" in frame or "error" in frame)
    return frames[-1]


async def stored(chat: ChatClient, thread: str, text: str, message_id: str) -> int:
    """Send a message until it is stored, as a client does; how often it was refused before."""
    refusals = 0
    while "ack" not in (answer := await write(chat, thread, text, message_id)):
        assert answer["error"]["code"] == "DB_UNAVAILABLE"  # type: ignore[index]
        refusals += 1
        assert refusals < 100
        await asyncio.sleep(0.1)
    return refusals


async def answered_once(server: Server, thread: str, texts: list[str]) -> None:
    """Wait until everything is answered; fail unless each message was answered exactly once."""
    async with asyncio.timeout(20):
        while True:
            facts = [event.fact for event in await server.parts.log.read(thread)]
            received = [fact for fact in facts if fact.type == "message_received"]
            closed = [fact for fact in facts if fact.type == "turn_closed"]
            if len(closed) >= len(received) == len(texts):
                break
            await asyncio.sleep(0.05)
    assert [fact.text for fact in received] == texts  # type: ignore[union-attr]
    assert [fact.status for fact in closed] == ["done"] * len(texts)  # type: ignore[union-attr]
    said = [fact.text for fact in facts if isinstance(fact, MessageFinished)]
    assert said == [f"You said: {text}" for text in texts]


async def ready(server: Server) -> tuple[int, str]:
    answer = await server.http().get("/api/health")
    return answer.status_code, answer.json()["status"]


async def until_ready(server: Server) -> None:
    async with asyncio.timeout(20):
        while await ready(server) != (200, "ready"):
            await asyncio.sleep(0.05)


async def test_connections_that_were_cut_while_idle_cost_at_most_one_try(
    server: Server, proxy: FaultProxy
) -> None:
    thread = await server.thread()
    async with server.chat() as chat:
        for number in range(3):
            proxy.cut()
            assert await stored(chat, thread, f"{number}", f"m{number}") <= 1
        await answered_once(server, thread, ["0", "1", "2"])
    await until_ready(server)


async def test_a_black_hole_is_said_in_time_and_what_was_refused_can_be_sent_again(
    server: Server, proxy: FaultProxy
) -> None:
    thread = await server.thread()
    async with server.chat() as chat:
        await stored(chat, thread, "one", "m1")
        await answered_once(server, thread, ["one"])
        proxy.stall()
        answer = await write(chat, thread, "two", "m2")
        assert answer["error"]["code"] == "DB_UNAVAILABLE"  # type: ignore[index]
        assert answer["error"]["ref"] == "m2"  # type: ignore[index]
        assert await chat.alive()
        assert await ready(server) == (503, "not_ready")
        proxy.mend()
        await stored(chat, thread, "two", "m2")
        await answered_once(server, thread, ["one", "two"])
    await until_ready(server)


async def test_a_server_that_is_down_is_said_and_comes_back_without_a_restart_of_ours(
    server: Server, proxy: FaultProxy
) -> None:
    thread = await server.thread()
    async with server.chat() as chat:
        proxy.refuse()
        for _ in range(3):
            answer = await write(chat, thread, "one", "m1")
            assert answer["error"]["code"] == "DB_UNAVAILABLE"  # type: ignore[index]
        assert await ready(server) == (503, "not_ready")
        proxy.mend()
        await stored(chat, thread, "one", "m1")
        await answered_once(server, thread, ["one"])


async def test_a_turn_that_the_database_left_alone_is_gone_on_with_when_it_is_back(
    server: Server, proxy: FaultProxy
) -> None:
    thread, go = await server.thread(), asyncio.Event()
    server.model.queue(stalled(says("You said: one"), go, after=2))
    async with server.chat() as chat:
        await chat.follow(thread)
        await stored(chat, thread, "one", "m1")
        await chat.until(lambda frame: "offset" in frame)
        proxy.refuse()
        go.set()
        async with asyncio.timeout(20):
            while server.parts.runner._tasks:
                await asyncio.sleep(0.02)
        proxy.mend()
        await answered_once(server, thread, ["one"])
    async with server.chat() as again:
        shown = transcript_of(await again.follow(thread))
    assert shown.texts == [("user", "one"), ("assistant", "You said: one")]


async def test_a_reply_that_was_lost_after_the_commit_stores_nothing_twice(
    server: Server, proxy: FaultProxy
) -> None:
    thread = await server.thread()
    async with server.chat() as chat:
        await stored(chat, thread, "one", "m1")
        await answered_once(server, thread, ["one"])
        proxy.lose_reply_to(lambda piece: b'"m2"' in piece)  # storing is one statement
        await stored(chat, thread, "two", "m2")
        await answered_once(server, thread, ["one", "two"])
    assert proxy.lost == 1


async def test_a_slow_database_slows_down_and_nothing_more(
    server: Server, proxy: FaultProxy
) -> None:
    thread = await server.thread()
    proxy.slow_down(0.02)
    async with server.chat() as chat:
        await stored(chat, thread, "one", "m1")
        await answered_once(server, thread, ["one"])


async def test_many_at_once_in_one_thread_do_not_wait_for_each_others_round_trips(
    url: str, proxy: FaultProxy
) -> None:
    """A process that is busy, or far from its database, holds a thread's lock no longer."""
    many = 20
    async with running(proxy.url, smart_support_message_limit=1_000) as server:
        thread = await server.thread()

        async def one(number: int) -> dict[str, object]:
            async with server.chat() as chat:
                return await write(chat, thread, f"{number}", f"m{number}")

        proxy.slow_down(0.1)
        answers = await asyncio.gather(*(one(number) for number in range(many)))
        proxy.mend()
        await server.settled()

    assert [sorted(answer) for answer in answers] == [["ack"]] * many


FULL = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
END $$;
CREATE TRIGGER full_turns BEFORE INSERT OR UPDATE ON turns
    FOR EACH STATEMENT EXECUTE FUNCTION full_disk();
CREATE TRIGGER full_readiness BEFORE INSERT OR UPDATE ON readiness
    FOR EACH STATEMENT EXECUTE FUNCTION full_disk();
"""
EMPTIED = "DROP FUNCTION full_disk() CASCADE"


async def test_a_full_disk_takes_nothing_in_and_readiness_says_so(server: Server, url: str) -> None:
    thread = await server.thread()
    async with server.chat() as chat:
        await execute(url, FULL)
        answer = await write(chat, thread, "one", "m1")
        assert answer["error"]["code"] == "DB_UNAVAILABLE"  # type: ignore[index]
        assert await ready(server) == (503, "not_ready")
        assert len(await server.parts.log.read(thread)) == 0
        await execute(url, EMPTIED)
        await stored(chat, thread, "one", "m1")
        await answered_once(server, thread, ["one"])
    await until_ready(server)


async def test_a_disk_that_fills_in_the_middle_of_a_turn_loses_nothing(
    server: Server, url: str
) -> None:
    thread, go = await server.thread(), asyncio.Event()
    server.model.queue(stalled(says("You said: one"), go, after=2))
    async with server.chat() as chat:
        await stored(chat, thread, "one", "m1")
        await server.model.received(1)
        await execute(url, FULL)
        go.set()
        async with asyncio.timeout(20):
            while server.parts.runner._tasks:
                await asyncio.sleep(0.02)
        await execute(url, EMPTIED)
        await answered_once(server, thread, ["one"])


async def test_a_read_only_database_takes_nothing_in_and_readiness_says_so(
    server: Server, proxy: FaultProxy, url: str
) -> None:
    thread = await server.thread()
    async with server.chat() as chat:
        await execute(url, "ALTER DATABASE {} SET default_transaction_read_only = on")
        proxy.cut()
        answer = await write(chat, thread, "one", "m1")
        assert answer["error"]["code"] == "DB_UNAVAILABLE"  # type: ignore[index]
        assert await ready(server) == (503, "not_ready")
        await execute(url, "ALTER DATABASE {} RESET default_transaction_read_only")
        proxy.cut()
        await stored(chat, thread, "one", "m1")
        await answered_once(server, thread, ["one"])


async def test_when_every_connection_is_in_use_it_is_said_in_time(server: Server) -> None:
    thread = await server.thread()
    async with AsyncExitStack() as held, server.chat() as chat:
        sessions = server.parts.log._sessions
        for _ in range(20):
            await held.enter_async_context(sessions.begin())
        answer = await write(chat, thread, "one", "m1")
        assert answer["error"]["code"] == "DB_UNAVAILABLE"  # type: ignore[index]
        assert await chat.alive()
        assert (await ready(server))[0] == 503
        await held.aclose()
        await stored(chat, thread, "one", "m1")
        await answered_once(server, thread, ["one"])


async def test_when_the_database_answers_others_meanwhile_it_is_the_process_that_is_busy(
    server: Server,
) -> None:
    thread = await server.thread()
    async with AsyncExitStack() as held, server.chat() as chat:
        sessions = server.parts.log._sessions
        others = [await held.enter_async_context(sessions.begin()) for _ in range(20)]
        await chat.write(thread, "one", "m1")
        answered = asyncio.create_task(ask_again_and_again(others[0]))
        error = await chat.only("error")
        answered.cancel()
        await asyncio.wait([answered])
        assert (error["code"], error["ref"], error["action"]) == ("SYS_BUSY", "m1", "wait")
        assert error["retry_after"] >= 1.0
        kept = sa.select(turns.c.id).where(turns.c.thread_id == thread)
        assert await others[1].scalars(kept) == []
        await held.aclose()
        await stored(chat, thread, "one", "m1")
        await answered_once(server, thread, ["one"])


async def ask_again_and_again(session: Session) -> None:
    while True:
        await session.scalar(sa.select(1))
        await asyncio.sleep(0.01)


async def test_a_turn_that_finds_every_connection_in_use_is_gone_on_with(server: Server) -> None:
    thread, go = await server.thread(), asyncio.Event()
    server.model.queue(stalled(says("You said: one"), go, after=2))
    async with AsyncExitStack() as held, server.chat() as chat:
        await stored(chat, thread, "one", "m1")
        await server.model.received(1)
        for _ in range(20):
            await held.enter_async_context(server.parts.log._sessions.begin())
        with logged() as lines:
            go.set()
            async with asyncio.timeout(20):
                while "turn_failed" not in [line["event"] for line in lines]:
                    await asyncio.sleep(0.02)
        # Free again at once, so that it could be written down that the turn has failed.
        await held.aclose()
        await answered_once(server, thread, ["one"])


async def execute(url: str, statement: str) -> None:
    """Do something to the database behind everybody's back."""
    name = url.split("?", maxsplit=1)[0].rpartition("/")[2]
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute(statement.replace("{}", name).encode())
