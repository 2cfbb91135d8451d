"""The limits of the socket: exact over two processes, counted per person and address, signed out.

`HYPOTHESIS_PROFILE=soak` opens 10,000 idle sockets; a normal run 300.
"""

import asyncio
import gc
import resource
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import sqlalchemy as sa
from hypothesis import settings
from tests.support.chat_client import ChatClient, connected
from tests.support.raw_socket import raw_socket
from tests.support.server import ADA, BOB, Server, running
from websockets.exceptions import InvalidStatus

from smart_support.conversations.tables import turns

SOAK = settings.get_current_profile_name() == "soak"
IDLE, MOST_BYTES = (10_000, 40 * 1024) if SOAK else (300, 64 * 1024)
"""With few of them, what is made once weighs more."""
LIMIT, WINDOW = 10, 1.0
SENDERS, EACH = 20, 25


@asynccontextmanager
async def two(url: str, limit: int, window: float) -> AsyncIterator[list[Server]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                running(
                    url,
                    smart_support_workers=2,
                    smart_support_message_limit=limit,
                    smart_support_message_window=window,
                )
            )
            for _ in range(2)
        ]


@pytest.fixture
async def pair(migrated_database: Callable[[], str]) -> AsyncIterator[list[Server]]:
    async with two(migrated_database(), LIMIT, WINDOW) as opened:
        yield opened


async def test_500_over_two_processes_are_let_in_exactly_as_allowed(
    pair: list[Server],
) -> None:
    """By the time stamps of the database: in no window more, and when ten are due, ten."""
    thread = await pair[0].thread()
    refusals: list[float] = []
    stored = 0

    async def one(server: Server, number: int) -> None:
        nonlocal stored
        async with server.chat() as chat:
            for again in range(EACH):
                await chat.write(thread, "x", f"m{number}-{again}")
                frames = await chat.until(lambda frame: "ack" in frame or "error" in frame)
                if "ack" in frames[-1]:
                    stored += 1
                    continue
                error = frames[-1]["error"]
                assert error["code"] in {"RATE_LIMITED", "CONV_QUEUE_FULL"}
                assert error["ref"] == f"m{number}-{again}"
                if error["code"] == "RATE_LIMITED":
                    refusals.append(error["retry_after"])

    await asyncio.gather(*(one(pair[number % 2], number) for number in range(SENDERS)))

    async with pair[0].parts.log._sessions() as session:
        stamps = sorted(await session.scalars(sa.select(turns.c.received_at)))
    gaps = [
        (later - earlier).total_seconds()
        for earlier, later in zip(stamps, stamps[LIMIT:], strict=False)
    ]
    assert len(stamps) == stored
    assert min(gaps, default=WINDOW) >= WINDOW
    assert stored >= LIMIT
    assert refusals
    assert all(0 < seconds <= WINDOW for seconds in refusals)


async def test_after_the_time_that_a_refusal_names_there_is_room(
    migrated_database: Callable[[], str],
) -> None:
    async with two(migrated_database(), 2, 3.0) as (here, there):
        thread = await here.thread()
        async with here.chat() as one, there.chat() as other:
            for number in range(2):
                await one.write(thread, "x", f"m{number}")
                await one.only("ack")
            for _ in range(3):  # asking too early does not make it longer
                await other.write(thread, "x", "late")
                wait = (await other.only("error"))["retry_after"]
            await asyncio.sleep(wait + 0.02)
            await other.write(thread, "x", "late")
            assert (await other.only("ack"))["message_id"] == "late"


async def test_a_person_may_have_so_many_sockets_and_others_have_their_own(
    migrated_database: Callable[[], str],
) -> None:
    async with running(migrated_database(), smart_support_sockets_per_person=2) as server:
        async with server.chat(), server.chat():
            async with connected(server.address) as third:
                await third.send("hello", token=server.token(ADA))
                frames, code = await third.closed()
            async with server.chat(BOB) as other:
                assert await other.alive()
        async with server.chat() as again:
            assert await again.alive()

    assert frames[-1]["error"]["code"] == "CONN_TOO_MANY_SOCKETS"
    assert code == 4429


async def test_an_address_may_have_so_many_sockets(migrated_database: Callable[[], str]) -> None:
    async with running(migrated_database(), smart_support_sockets_per_address=2) as server:
        async with connected(server.address), connected(server.address):
            with pytest.raises(InvalidStatus) as refusal:
                async with connected(server.address):
                    pass
        assert refusal.value.response.status_code == 429


async def test_who_is_not_signed_in_any_more_is_told_and_closed(
    migrated_database: Callable[[], str],
) -> None:
    async with running(migrated_database()) as server:
        soon = datetime.now(UTC) - timedelta(seconds=594)
        async with connected(server.address) as chat, server.chat(BOB) as other:
            await chat.hello(server.token(ADA, now=soon, ttl=600))
            frames, code = await chat.closed()
            assert await other.alive()

    assert frames[-1]["error"]["code"] == "AUTH_NOT_SIGNED_IN"
    assert code == 4401


@pytest.mark.parametrize(
    ("origin", "fine"),
    [
        ("https://shop.example", True),
        ("https://www.example:8443", True),
        ("https://shop.example.evil.example", False),
        ("http://shop.example", False),
        ("https://shop.example:444", False),
        ("null", False),
    ],
)
async def test_only_named_sites_may_open_it(
    migrated_database: Callable[[], str], origin: str, fine: bool
) -> None:
    allowed = "https://shop.example, https://www.example:8443/"
    async with (
        running(migrated_database(), smart_support_allowed_origins=allowed) as server,
        raw_socket(server.address) as socket,
    ):
        status = await socket.upgrade(urlsplit(server.address).netloc, f"Origin: {origin}\r\n")

    assert (b" 101 " in status) is fine


async def test_idle_sockets_cost_little_and_keep_nobody_from_their_chat(
    migrated_database: Callable[[], str],
) -> None:
    """Their other ends are in a process of their own, so that all that grows here is ours."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < IDLE + 1_000:
        pytest.skip(f"at most {hard} descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    many = 1_000_000
    async with (
        running(
            migrated_database(),
            smart_support_sockets_per_person=many,
            smart_support_sockets_per_address=many,
        ) as server,
        server.chat() as chat,
    ):
        thread, process = await server.thread(), psutil.Process()
        await chat.follow(thread)
        await said(chat, thread, "Hello.")
        gc.collect()
        before = process.memory_info().rss
        async with idle_sockets(server, IDLE):
            assert len(server.parts.sockets) == IDLE + 1
            gc.collect()
            each = (process.memory_info().rss - before) / IDLE
            await said(chat, thread, "Still there?")
            assert len(server.parts.sockets) == IDLE + 1
        async with asyncio.timeout(60):
            while len(server.parts.sockets) > 1:
                await asyncio.sleep(0.05)

    print(f"{IDLE} idle sockets: {each / 1024:.1f} KiB each")  # noqa: T201
    assert each < MOST_BYTES


async def said(chat: ChatClient, thread: str, words: str) -> None:
    await chat.write(thread, words)
    await chat.turn()


@asynccontextmanager
async def idle_sockets(server: Server, many: int) -> AsyncIterator[None]:
    """So many sockets of Ada's, signed in, that say nothing but answer pings."""
    port = server.address.rsplit(":", 1)[1]
    crowd = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.support.idle_crowd", port, str(many)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert crowd.stdin is not None
    assert crowd.stdout is not None
    try:
        crowd.stdin.write(server.token(ADA, ttl=3_600).encode() + b"\n")
        assert await crowd.stdout.readline() == b"ready\n"
        yield
    finally:
        crowd.stdin.close()
        await crowd.wait()
