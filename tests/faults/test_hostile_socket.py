"""Whatever is written on a socket, the others go on, memory stays bounded, nothing leaks."""

import asyncio
import contextlib
import json
import os
import re
import zlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psutil
import pytest
from tests.support.chat_client import ChatClient
from tests.support.database import Databases
from tests.support.raw_socket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    HANDSHAKE,
    PING,
    PONG,
    RawSocket,
    close_code,
    frame,
    raw_socket,
)
from tests.support.server import ADA, Server, running

from smart_support.app.parts import Seams
from smart_support.events.records import PersonAnswered

WAITING = 100
MEMORY = 64 * 1024 * 1024
"""By how much the process may grow, in bytes."""


@pytest.fixture(scope="module")
async def server(databases: Databases, template: str) -> AsyncIterator[Server]:
    seams = Seams(offline_token_delay=0.0, hello_seconds=1.0)
    with databases.one(template) as url:
        async with running(url, seams=seams, smart_support_message_limit=10_000) as opened:
            yield opened


def text(value: Any) -> bytes:
    return frame(json.dumps(value).encode())


async def friendly(server: Server) -> None:
    """A well-behaved client has a chat."""
    thread = await server.thread()
    async with server.chat() as chat:
        await chat.follow(thread)
        await chat.write(thread, "Hello.")
        await chat.turn()
        assert await chat.alive()


# What is sent after a good handshake, and how the server may close it. None: without a code.
BEFORE_HELLO: dict[str, tuple[bytes, set[int | None]]] = {
    "nothing": (b"", {4401}),
    "not masked": (frame(b"{}", masked=False), {1002}),
    "a reserved bit": (frame(b"{}", reserved=4), {1002}),
    "all reserved bits": (frame(b"{}", reserved=7), {1002}),
    "an unknown opcode": (frame(b"x", 0x3), {1002}),
    "an unknown control opcode": (frame(b"x", 0xB), {1002}),
    "a ping in pieces": (frame(b"x", PING, fin=False), {1002}),
    "a ping that is too long": (frame(b"x" * 126, PING), {1002}),
    "a pong that nobody asked for": (frame(b"x", PONG), {4401}),
    "a continuation of nothing": (frame(b"x", CONTINUATION), {1002}),
    "a text within a text": (frame(b"x", fin=False) + frame(b"y"), {1002}),
    "bad utf-8": (frame(b"\xff\xfe"), {1007}),
    "half a character": (frame("ü".encode()[:1]), {1007}),
    "a surrogate": (frame(b"\xed\xa0\x80"), {1007}),
    "bad utf-8 in pieces": (frame(b"a", fin=False) + frame(b"\xff", CONTINUATION), {1007}),
    "a huge length": (frame(b"", length=1 << 40), {1009}),
    "a negative length": (frame(b"", length=(1 << 64) - 1), {1002, 1009}),
    "a length in too many bits": (frame(b"{}", wide=64), {1002, 4401}),
    # What is left unread resets the connection, which can overtake the code.
    "a frame of 300 KiB": (frame(b"x" * 300_000), {1009, None}),
    "pieces of 300 KiB": (
        frame(b"x" * 60_000, fin=False) + frame(b"x" * 60_000, CONTINUATION, fin=False) * 5,
        {1009},
    ),
    "a close of one byte": (frame(b"x", CLOSE), {1002}),
    "a close with a forbidden code": (frame(b"\x03\xed", CLOSE), {1002}),
    "a close with code 0": (frame(b"\x00\x00", CLOSE), {1002}),
    "a close with bad utf-8": (frame(b"\x03\xe8\xff", CLOSE), {1002, 1007}),
    "a proper close": (frame(b"\x03\xe8", CLOSE), {1000}),
    "an empty close": (frame(b"", CLOSE), {None}),
    "compressed without having agreed": (frame(zlib.compress(b"{}"), reserved=4), {1002}),
    "a bomb": (frame(zlib.compress(b"x" * 50_000_000), reserved=4), {1002, 1009}),
    "an empty text": (frame(b""), {4401}),
    "no json": (frame(b"{"), {4401}),
    "deep json": (frame(b"[" * 60_000), {4401}),
    "a number for a frame": (frame(b"1"), {4401}),
    "null": (frame(b"null"), {4401}),
    "a list": (frame(b"[]"), {4401}),
    "no type": (text({}), {4401}),
    "a strange type": (text({"type": "exec"}), {4401}),
    "a type that is no text": (text({"type": {"$gt": ""}}), {4401}),
    "a send before hello": (text({"type": "send", "text": "x"}), {4401}),
    "a ping frame before hello": (text({"type": "ping"}), {4401}),
    "a bad token": (text({"type": "hello", "token": "x"}), {4401}),
    "no token": (text({"type": "hello"}), {4401}),
    "a token of no text": (text({"type": "hello", "token": 7}), {4401}),
    "a long token": (text({"type": "hello", "token": "x" * 60_000}), {4401}),
    "an unsigned token": (text({"type": "hello", "token": "eyJhbGciOiJub25lIn0.e30."}), {4401}),
    "binary": (frame(b"\x00\x01", BINARY), {4401}),
    "http": (b"GET / HTTP/1.1\r\n\r\n", {1002}),
    "noise": (os.urandom(4_096), {1002, 1007, 1009, 4401}),
}


@pytest.mark.parametrize("name", BEFORE_HELLO)
async def test_a_stranger_gets_a_code_and_no_more(server: Server, name: str) -> None:
    raw, codes = BEFORE_HELLO[name]
    async with raw_socket(server.address) as hostile:
        status = await hostile.upgrade(urlsplit(server.address).netloc)
        assert b"101" in status
        await hostile.send(raw)
        code = close_code(await hostile.ended())

    assert code in codes
    assert await still_serves(server)


async def still_serves(server: Server) -> bool:
    return (await server.http().get("/api/health")).status_code == 200


HANDSHAKES: dict[str, bytes] = {
    "no upgrade": b"GET /api/chat HTTP/1.1\r\nHost: x\r\n\r\n",
    "a short key": HANDSHAKE.format(host="x", more="")
    .encode()
    .replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"x"),
    "no key": HANDSHAKE.format(host="x", more="")
    .encode()
    .replace(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""),
    "an old version": HANDSHAKE.format(host="x", more="").encode().replace(b"13\r\n", b"8\r\n"),
    "a post": HANDSHAKE.format(host="x", more="").encode().replace(b"GET", b"POST"),
    "another path": HANDSHAKE.format(host="x", more="").encode().replace(b"/api/chat", b"/api/no"),
    "another site": HANDSHAKE.format(host="x", more="Origin: https://evil.example\r\n").encode(),
    "no site": HANDSHAKE.format(host="x", more="Origin: null\r\n").encode(),
    "a site that looks like ours": HANDSHAKE.format(
        host="x", more="Origin: http://x.evil.example\r\n"
    ).encode(),
    "a site with a user": HANDSHAKE.format(host="x", more="Origin: http://x@evil/\r\n").encode(),
    "a broken site": HANDSHAKE.format(host="x", more="Origin: http://[\r\n").encode(),
    "a file": HANDSHAKE.format(host="x", more="Origin: file://x\r\n").encode(),
    "a header without an end": b"GET /api/chat HTTP/1.1\r\nX: " + b"x" * 200_000,
    "no http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


@pytest.mark.parametrize("name", HANDSHAKES)
async def test_a_bad_handshake_gets_no_socket(server: Server, name: str) -> None:
    async with raw_socket(server.address) as hostile:
        await hostile.send(HANDSHAKES[name])
        async with asyncio.timeout(15):
            answer = await hostile.reader.read(4_096)

    assert b" 101 " not in answer.split(b"\r\n", 1)[0]
    assert await still_serves(server)


LONG = b"x" * 60_000
HEADS: dict[str, list[bytes]] = {
    "a header without an end": [b"GET /api/health HTTP/1.1\r\nX: ", *[LONG] * 20],
    "headers without an end": [b"GET /api/health HTTP/1.1\r\n", *[b"X: " + LONG + b"\r\n"] * 20],
    "an address without an end": [b"GET /", *[LONG] * 20],
    "a long header": [b"GET /api/health HTTP/1.1\r\nX: " + LONG + LONG + b"\r\n\r\n"],
    "many headers": [b"GET /api/health HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n"],
    "a long address": [b"GET /" + LONG + LONG + b" HTTP/1.1\r\n\r\n"],
    "headers behind a body": [
        b"POST /api/threads HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        *[b"X: " + LONG + b"\r\n"] * 20,
    ],
    "two lengths": [b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"],
    "a length and pieces": [
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ],
    "a length below zero": [b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"],
    "a header in two lines": [b"GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n"],
    "a name with a space": [b"GET / HTTP/1.1\r\nX : a\r\n\r\n"],
    "a header with a NUL": [b"GET / HTTP/1.1\r\nX: a\0b\r\n\r\n"],
    "an address with a NUL": [b"GET /\0 HTTP/1.1\r\n\r\n"],
    "an address of no ASCII": [b"GET /\xff HTTP/1.1\r\n\r\n"],
    "no address": [b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n"],
    "an unknown method": [b"FROB / HTTP/1.1\r\nHost: x\r\n\r\n"],
    "another protocol": [b"GET / HTTP/3.0\r\nHost: x\r\n\r\n"],
}


@pytest.mark.parametrize("name", HEADS)
async def test_a_bad_request_is_refused_and_its_connection_closed(
    server: Server, name: str
) -> None:
    async with raw_socket(server.address) as hostile:
        for piece in HEADS[name]:
            with contextlib.suppress(ConnectionError):
                await hostile.send(piece)
        async with asyncio.timeout(15):
            # What is left unread resets the connection, which can overtake the answer.
            answer = b""
            with contextlib.suppress(ConnectionError):
                answer = await hostile.reader.read()

    assert answer[:13] in {b"HTTP/1.1 400 ", b"HTTP/1.1 404 ", b""}
    assert await still_serves(server)


async def test_requests_one_behind_the_other_are_answered_in_turn(server: Server) -> None:
    """Also where one begins in the middle of what was read with a long body before it."""
    body = b"x" * 150_000
    long = b"POST /api/threads HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
    live = b"GET /api/health/live HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 40_000 + b"\r\n"
    async with raw_socket(server.address) as client:
        await client.send(long % (len(body), body) + live)
        await client.send(b"Connection: close\r\n\r\n")
        async with asyncio.timeout(15):
            answers = await client.reader.read()

    assert re.findall(rb"HTTP/1.1 (\d+) ", answers) == [b"401", b"200"]


THREAD = "01900000-0000-7000-8000-000000000000"
DEEP = (
    '{"type":"decide","approval_id":"' + THREAD + '","decision":"edit","arguments":' + "[" * 30_000
)

# What somebody who is signed in may write on one line, and the code of what comes back.
SIGNED_IN: dict[str, tuple[str, str]] = {
    "hello again": ('{"type":"hello","token":"x"}', "VAL_INVALID_INPUT"),
    "a type twice": ('{"type":"ping","type":"exec"}', "VAL_INVALID_INPUT"),
    "a type in capitals": ('{"type":"PING"}', "VAL_INVALID_INPUT"),
    "not a number": ('{"type":"resume","thread_id":"%s","last_seq":NaN}', "VAL_INVALID_INPUT"),
    "infinity": ('{"type":"resume","thread_id":"%s","last_seq":1e999}', "VAL_INVALID_INPUT"),
    "a place below zero": ('{"type":"resume","thread_id":"%s","last_seq":-1}', "VAL_INVALID_INPUT"),
    "half a place": ('{"type":"resume","thread_id":"%s","last_seq":0.5}', "VAL_INVALID_INPUT"),
    "a huge place": (
        '{"type":"resume","thread_id":"%s","last_seq":9223372036854775808}',
        "VAL_INVALID_INPUT",
    ),
    "a thread of nobody's": ('{"type":"resume","thread_id":"%s"}', "VAL_NOT_FOUND"),
    "a thread that is a path": ('{"type":"resume","thread_id":"../%s"}', "VAL_INVALID_INPUT"),
    "a thread that is a list": ('{"type":"cancel","thread_id":["%s"]}', "VAL_INVALID_INPUT"),
    "a thread of nobody's, stopped": ('{"type":"cancel","thread_id":"%s"}', "VAL_NOT_FOUND"),
    "a message to nobody": (
        '{"type":"send","thread_id":"%s","message_id":"m","text":"x"}',
        "VAL_NOT_FOUND",
    ),
    "an id with a line break": (
        r'{"type":"send","thread_id":"%s","message_id":"m\n","text":"x"}',
        "VAL_INVALID_INPUT",
    ),
    "an id that looks like one": (
        '{"type":"send","thread_id":"%s","message_id":"\uff4d","text":"x"}',
        "VAL_INVALID_INPUT",
    ),
    "a text that is a number": (
        '{"type":"send","thread_id":"%s","message_id":"m","text":1}',
        "VAL_INVALID_INPUT",
    ),
    "half a character": (r'{"type":"ping","x":"\ud83d"}', "VAL_INVALID_INPUT"),
    "a yes to nothing": (
        '{"type":"decide","approval_id":"%s","decision":"approve"}',
        "VAL_NOT_FOUND",
    ),
    "a yes that is none": (
        '{"type":"decide","approval_id":"%s","decision":"approve","standing":"perhaps"}',
        "VAL_INVALID_INPUT",
    ),
    "an edit of nothing": (
        '{"type":"decide","approval_id":"%s","decision":"edit"}',
        "VAL_INVALID_INPUT",
    ),
    "deep arguments": (DEEP, "VAL_INVALID_INPUT"),
    "two frames in one": ('{"type":"ping"}{"type":"ping"}', "VAL_INVALID_INPUT"),
    "one byte too many": ('{"type":"ping"}'.ljust(64 * 1024 + 1), "CONN_FRAME_TOO_LARGE"),
    "too many bytes in few characters": (
        '{"type":"ping"}' + "\u2003" * 40_000,
        "CONN_FRAME_TOO_LARGE",
    ),
}


@pytest.mark.parametrize("name", SIGNED_IN)
async def test_what_is_wrong_costs_an_error_frame_and_the_socket_goes_on(
    server: Server, name: str
) -> None:
    line, code = SIGNED_IN[name]
    async with server.chat() as chat:
        await chat.socket.send(line.replace("%s", THREAD))
        error = await chat.only("error")
        assert await chat.alive()

    assert error["code"] == code
    assert THREAD not in error["message"]


async def test_a_frame_as_large_as_may_be_is_read(server: Server) -> None:
    async with server.chat() as chat:
        await chat.socket.send('{"type":"ping"}'.ljust(64 * 1024))
        assert await chat.only("pong") == {}


async def flood(server: Server, hostile: RawSocket, thread: str) -> None:
    """Somebody who is signed in, and means no good."""
    await hostile.send(text({"type": "hello", "token": server.token(ADA)}))
    strange = [
        {"type": "hello", "token": "again"},
        {"type": "send", "thread_id": str(uuid4()), "message_id": "m", "text": "x"},
        {"type": "send", "thread_id": thread, "message_id": "a b", "text": "x"},
        {"type": "send", "thread_id": thread, "message_id": "m", "text": " "},
        {"type": "send", "thread_id": thread, "message_id": "m", "text": "x" * 9_000},
        {"type": "resume", "thread_id": thread, "last_seq": -1},
        {"type": "resume", "thread_id": thread, "last_seq": 2**70},
        {"type": "resume", "thread_id": "../../etc", "last_seq": 0},
        {"type": "cancel", "thread_id": str(uuid4())},
        {"type": "decide", "approval_id": str(uuid4()), "decision": "approve"},
        {"type": "decide", "approval_id": str(uuid4()), "decision": "perhaps"},
        {"type": "send", "thread_id": thread, "message_id": "m", "text": "\x00\ud83d"},
    ]
    for _ in range(3):
        await hostile.send(*(text(each) for each in strange))
        await hostile.send(*[frame(b"x", PING)] * 50, *[text({"type": "ping"})] * 50)
        await hostile.send(*[frame(b"", fin=False), *[frame(b"", CONTINUATION, fin=False)] * 50])
        await hostile.send(frame(b"{}", CONTINUATION))
        await hostile.send(*[text({"type": "resume", "thread_id": thread})] * 20)


async def test_floods_leave_a_well_behaved_client_its_chat_and_leak_nothing(
    server: Server,
) -> None:
    await friendly(server)
    process = psutil.Process()
    descriptors, memory = descriptors_of(process), process.memory_info().rss
    thread = await server.thread()
    async with server.chat() as chat:
        await chat.follow(thread)
        for number in range(2):
            hostile = [asyncio.create_task(one_flood(server)) for _ in range(3)]
            await said(chat, thread, f"message {number}")
            await asyncio.gather(*hostile)
    async with asyncio.timeout(20):
        while len(server.parts.sockets) or descriptors_of(process) > descriptors + 3:
            await asyncio.sleep(0.05)

    assert process.memory_info().rss - memory < MEMORY
    assert len(server.parts.followers.followed()) == 0


def descriptors_of(process: psutil.Process) -> int:
    """All but those of the database, whose pool grows as it is used: it is on a Unix socket."""
    return process.num_fds() - len(process.net_connections("unix"))


async def said(chat: ChatClient, thread: str, words: str) -> None:
    await chat.write(thread, words)
    await chat.turn()


async def one_flood(server: Server) -> None:
    thread = await server.thread()
    async with raw_socket(server.address) as hostile:
        await hostile.upgrade(urlsplit(server.address).netloc)
        reading = asyncio.create_task(_throw_away(hostile))
        await flood(server, hostile, thread)
        reading.cancel()


async def _throw_away(hostile: RawSocket) -> None:
    while await hostile.reader.read(65_536):
        pass


async def test_one_that_does_not_read_is_left_behind_and_keeps_nobody_waiting(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets what fits into the buffers and then no more; the others get everything."""
    monkeypatch.setattr(server.parts.followers, "_max_waiting", WAITING)
    thread = await server.thread()
    async with raw_socket(server.address) as lazy, server.chat() as chat:
        await lazy.upgrade(urlsplit(server.address).netloc)
        await lazy.send(text({"type": "hello", "token": server.token(ADA)}))
        await lazy.send(text({"type": "resume", "thread_id": thread}))
        await chat.follow(thread)
        async with asyncio.timeout(10):
            while len(server.parts.followers._of[thread]) < 2:
                await asyncio.sleep(0.01)
        for number in range(60):
            answers = [
                PersonAnswered(message_id=f"p{number}.{n}", text="x" * 16_000, by="lead", name="L")
                for n in range(20)
            ]
            await server.parts.runner.record(thread, answers)
            await chat.until(lambda frame, last=answers[-1]: last.message_id in str(frame))
        await said(chat, thread, "Still there?")
        followers = list(server.parts.followers._of[thread])

    assert all(one.waiting <= WAITING for one in followers)
    assert any(one._dropped for one in followers)


assert len(BEFORE_HELLO) + len(HANDSHAKES) + len(SIGNED_IN) >= 80
