"""A socket that floods is bounded and closed; one that is dead is found; one that lives is kept."""

import asyncio
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from tests.support.raw_socket import (
    CONTINUATION,
    PING,
    PONG,
    RawSocket,
    close_code,
    frame,
    raw_socket,
)
from tests.support.server import ADA, BOB, Server, running

from smart_support.chat.limits import FrameBucket
from smart_support.cli import wire
from smart_support.events.records import PersonAnswered

BEAT = 0.3
RATE = 5


class TestTheBucket:
    def test_lets_a_burst_in_and_then_so_many_a_second(self) -> None:
        now = 0.0
        bucket = FrameBucket(2.0, 4, clock=lambda: now)

        assert [bucket.take() for _ in range(4)] == [0.0] * 4
        assert bucket.take() == 1.0
        now += 1.0
        assert bucket.take() == 0.0
        assert not bucket.flooding

    def test_a_refused_frame_counts_too(self) -> None:
        bucket = FrameBucket(2.0, 4, clock=lambda: 0.0)

        waits = [bucket.take() for _ in range(7)]

        assert waits == [0.0] * 4 + [1.0, 1.5, 2.0]
        assert not bucket.flooding
        bucket.take()
        assert bucket.flooding

    def test_who_waits_long_has_a_burst_again_and_no_more(self) -> None:
        now = 0.0
        bucket = FrameBucket(2.0, 4, clock=lambda: now)
        for _ in range(7):
            bucket.take()
        now += 1_000.0

        assert [bool(bucket.take()) for _ in range(5)] == [False] * 4 + [True]


async def test_who_sends_too_much_is_told_when_there_is_room_again(
    migrated_database: Callable[[], str],
) -> None:
    async with running(migrated_database(), smart_support_frames_per_second=RATE) as server:
        thread = await server.thread()
        async with server.chat() as chat:
            for _ in range(10 * RATE):
                await chat.send("ping")
            await chat.write(thread, "x", "late")
            error = await chat.only("error")
            assert 0 < error["retry_after"] <= 2 / RATE
            await asyncio.sleep(error["retry_after"])
            await chat.write(thread, "x", "late")
            ack = await chat.only("ack")

    assert (error["code"], error["ref"], error["action"]) == (
        "RATE_TOO_MANY_FRAMES",
        "late",
        "wait",
    )
    assert ack["message_id"] == "late"


@pytest.mark.parametrize(
    "flood",
    [
        {"type": "ping"},
        {"type": "resume", "thread_id": "01900000-0000-7000-8000-000000000000"},
        {"type": "cancel", "thread_id": "01900000-0000-7000-8000-000000000000"},
        {"type": "exec"},
    ],
    ids=lambda each: each["type"],
)
async def test_who_goes_on_flooding_is_closed_and_nobody_else(
    migrated_database: Callable[[], str], flood: dict[str, Any]
) -> None:
    async with (
        running(migrated_database(), smart_support_frames_per_second=RATE) as server,
        server.chat(BOB) as other,
        server.chat() as chat,
    ):
        for _ in range(100 * RATE):
            await chat.socket.send(json.dumps(flood))
        frames, code = await chat.closed()
        assert await other.alive()
        async with server.chat() as again:  # it may come back
            assert await again.alive()

    refused = [
        said for said in frames if said.get("error", {}).get("code") == "RATE_TOO_MANY_FRAMES"
    ]
    assert code == 4429
    # As many as were let in may be refused, each with a word; a little came in meanwhile.
    assert 10 * RATE <= len(refused) < 30 * RATE
    assert len(frames) < 60 * RATE


@pytest.mark.parametrize(
    "one",
    [frame(b"x", PING), frame(b"x", PONG), frame(b"", CONTINUATION, fin=False)],
    ids=["pings", "pongs", "empty pieces"],
)
async def test_floods_below_the_protocol_are_closed_too(
    migrated_database: Callable[[], str], one: bytes
) -> None:
    async with running(migrated_database()) as server, raw_socket(server.address) as hostile:
        await hello(server, hostile)
        await hostile.send(frame(b"", fin=False) if one[0] & 0xF == CONTINUATION else b"")
        await hostile.send(one * (wire.BURST // 2))
        assert close_code(await said(hostile)) is None
        await hostile.send(one * wire.BURST)
        assert close_code(await hostile.ended()) == 4429
        await gone(server)


async def hello(server: Server, hostile: RawSocket, *, ttl: float = 600.0) -> None:
    """Sign in, byte by byte; from here on nothing answers a ping."""
    await hostile.upgrade(urlsplit(server.address).netloc)
    greeting = {"type": "hello", "token": server.token(ADA, ttl=ttl)}
    await hostile.send(frame(json.dumps(greeting).encode()))
    assert b"ready" in await said(hostile)


async def said(hostile: RawSocket) -> bytes:
    """What came within a moment."""
    heard = b""
    try:
        async with asyncio.timeout(0.3):
            while piece := await hostile.reader.read(65_536):
                heard += piece
    except TimeoutError:
        pass
    return heard


async def gone(server: Server, within: float = 20.0) -> None:
    """Wait until nothing of any socket is left: no place taken, nobody followed."""
    async with asyncio.timeout(within):
        while len(server.parts.sockets) or server.parts.followers.followed():
            await asyncio.sleep(0.02)


async def follow(server: Server, hostile: RawSocket, thread: str) -> None:
    await hostile.send(frame(json.dumps({"type": "resume", "thread_id": thread}).encode()))
    async with asyncio.timeout(10):
        while thread not in server.parts.followers.followed():
            await asyncio.sleep(0.01)


async def say_much(server: Server, lazy: RawSocket, thread: str) -> None:
    """Have far more said in the thread than the way to one that reads no more can hold."""
    lazy.writer.transport.pause_reading()  # type: ignore[attr-defined]
    for number in range(8):
        answers = [
            PersonAnswered(message_id=f"p{number}.{n}", text="x" * 16_000, by="lead", name="L")
            for n in range(50)
        ]
        await server.parts.runner.record(thread, answers)


def connections(server: Server) -> int:
    """How many the server has; those whose clients hung up are not counted."""
    port = urlsplit(server.address).port
    found = psutil.Process().net_connections("tcp4")
    return sum(each.laddr[1] == port and each.status == "ESTABLISHED" for each in found)


async def test_a_dead_peer_is_found_and_leaves_nothing_behind(
    migrated_database: Callable[[], str],
) -> None:
    async with (
        running(migrated_database(), smart_support_heartbeat=BEAT) as server,
        raw_socket(server.address) as dead,
    ):
        await hello(server, dead)
        await follow(server, dead, await server.thread())
        await gone(server)


async def test_a_dead_peer_with_much_on_its_way_to_it_is_let_go_too(
    migrated_database: Callable[[], str],
) -> None:
    """What was written to it is never read: waiting for that would take for ever."""
    async with (
        running(migrated_database(), smart_support_heartbeat=1.0) as server,
        server.chat(BOB) as other,
    ):
        thread = await server.thread()
        async with raw_socket(server.address, buffer=4_096) as dead:
            await hello(server, dead)
            await follow(server, dead, thread)
            await say_much(server, dead, thread)
            async with asyncio.timeout(20):
                while len(server.parts.sockets) > 1:
                    await asyncio.sleep(0.02)
                while connections(server) > 1:
                    await asyncio.sleep(0.05)
        assert server.parts.followers.followed() == []
        assert await other.alive()


async def test_who_does_not_read_that_they_are_signed_out_is_put_out_all_the_same(
    migrated_database: Callable[[], str],
) -> None:
    """Long before it would count as dead, or as too slow."""
    async with (
        running(migrated_database(), smart_support_heartbeat=3_600.0) as server,
        raw_socket(server.address, buffer=4_096) as lazy,
    ):
        thread = await server.thread()
        await hello(server, lazy, ttl=3.0)
        await follow(server, lazy, thread)
        await say_much(server, lazy, thread)
        await gone(server, within=15.0)


async def test_a_client_that_lives_is_kept_however_long_it_says_nothing(
    migrated_database: Callable[[], str],
) -> None:
    async with (
        running(migrated_database(), smart_support_heartbeat=BEAT) as server,
        server.chat(ping_interval=None) as chat,
    ):
        await asyncio.sleep(5 * BEAT)
        assert len(server.parts.sockets) == 1
        assert await chat.alive()
