"""An upstream that lies: raw TCP on loopback, scripted per path, with what it did counted.

    async with FaultServer() as server:
        server.script("/a", status(503, retry_after="1"), ok())
        ...                      # two requests to server.url("/a")
        assert server.seen("/a").attempts == 2

The last step of a script is repeated. A request with an `Idempotency-Key` that was seen takes
effect only once. Connections are kept open where HTTP/1.1 keeps them.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
import zlib
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import cache
from typing import Self


@dataclass
class Seen:
    """What arrived at one path."""

    attempts: int = 0
    effects: int = 0
    connections: set[int] = field(default_factory=set)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    hung_up: int = 0
    running: int = 0
    most_running: int = 0
    _keys: set[str] = field(default_factory=set)

    def take_effect(self, headers: dict[str, str]) -> None:
        key = headers.get("idempotency-key")
        if key is None or key not in self._keys:
            self.effects += 1
        self._keys.add(key or "")


@dataclass
class Exchange:
    """One request, being answered."""

    method: str
    headers: dict[str, str]
    seen: Seen
    nth_on_connection: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def silence(self) -> None:
        """Say nothing until the client goes away."""
        with contextlib.suppress(ConnectionError):
            await self.reader.read(1)
        self.seen.hung_up += 1

    def reset(self) -> None:
        """End the connection so that the client sees a reset instead of an end."""
        found = self.writer.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Step = Callable[[Exchange], Awaitable[bool]]
"""Answers one request, and says whether the connection stays open."""


def head(status: int, *lines: str, length: int | None = None) -> bytes:
    every = [f"HTTP/1.1 {status} -", f"Date: {formatdate(usegmt=True)}", *lines]
    if length is not None:
        every.append(f"Content-Length: {length}")
    return "\r\n".join([*every, "", ""]).encode()


def ok(body: bytes = b'{"ok":true}', *lines: str) -> Step:
    """A whole success, which takes effect if it is a write."""

    async def step(exchange: Exchange) -> bool:
        if exchange.method not in {"GET", "HEAD"}:
            exchange.seen.take_effect(exchange.headers)
        await exchange.send(head(200, *lines, length=len(body)) + body)
        return True

    return step


def status(
    code: int, *lines: str, retry_after: str | None = None, body: bytes = b'{"title":"no"}'
) -> Step:
    """A whole failure."""
    asked = [] if retry_after is None else [f"Retry-After: {retry_after}"]

    async def step(exchange: Exchange) -> bool:
        await exchange.send(head(code, *lines, *asked, length=len(body)) + body)
        return True

    return step


def raw(data: bytes) -> Step:
    """These bytes, then the end."""

    async def step(exchange: Exchange) -> bool:
        await exchange.send(data)
        return False

    return step


def says(data: bytes) -> Step:
    """These bytes; the connection stays open."""

    async def step(exchange: Exchange) -> bool:
        await exchange.send(data)
        return True

    return step


def reset() -> Step:
    """A reset instead of an answer."""

    async def step(exchange: Exchange) -> bool:
        exchange.reset()
        return False

    return step


def half(code: int = 200, *, with_reset: bool = False) -> Step:
    """Half of the body that was announced."""

    async def step(exchange: Exchange) -> bool:
        await exchange.send(head(code, length=4_000) + b"x" * 2_000)
        if with_reset:
            await asyncio.sleep(0.02)
            exchange.reset()
        return False

    return step


def hang(after: bytes = b"") -> Step:
    """`after`, and then nothing."""

    async def step(exchange: Exchange) -> bool:
        await exchange.send(after)
        await exchange.silence()
        return False

    return step


def wait_for(event: asyncio.Event, answer: Step | None = None) -> Step:
    """Nothing until the test says so."""

    async def step(exchange: Exchange) -> bool:
        await event.wait()
        return await (answer or ok())(exchange)

    return step


def drip(begin: bytes, piece: bytes = b" ") -> Step:
    """`begin`, and then a byte now and then without end, so that no read ever times out."""

    async def step(exchange: Exchange) -> bool:
        await exchange.send(begin)
        while True:
            await exchange.send(piece)
            await asyncio.sleep(0.01)

    return step


def flood(begin: bytes, piece: bytes) -> Step:
    """`begin`, and then `piece` without end, as fast as it is taken."""

    async def step(exchange: Exchange) -> bool:
        await exchange.send(begin)
        while True:
            await exchange.send(piece)

    return step


def stale() -> Step:
    """Answers the first request of a connection; resets it at the second, without reading it."""

    async def step(exchange: Exchange) -> bool:
        if exchange.nth_on_connection > 1:
            exchange.reset()
            return False
        return await ok()(exchange)

    return step


def after_effect(then: Step) -> Step:
    """What was asked is done; then this."""

    async def step(exchange: Exchange) -> bool:
        exchange.seen.take_effect(exchange.headers)
        return await then(exchange)

    return step


@cache
def gzip_bomb(mebibytes: int) -> bytes:
    """That much white space, as a gzip file of a thousandth of it (its checksum is wrong)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    start = packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush the same mebibyte is the same bytes, so it is packed only once.
    block = packer.compress(b" " * (1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + block * mebibytes + packer.flush()


def free_port() -> int:
    """A port of loopback on which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
    return port


class FaultServer:
    """Serves scripts between entering and leaving the context, on a port that was free."""

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.host = host
        self.port = port
        self.connections = 0
        self._tls = tls
        self._scripts: dict[str, list[Step]] = defaultdict(lambda: [ok()])
        self._seen: dict[str, Seen] = defaultdict(Seen)
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def origin(self) -> str:
        return f"http{'s' if self._tls else ''}://{self.host}:{self.port}"

    def url(self, path: str = "/") -> str:
        return self.origin + path

    def script(self, path: str, *steps: Step) -> None:
        self._scripts[path] = list(steps)

    def seen(self, path: str = "/") -> Seen:
        return self._seen[path]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        number, nth = self.connections, 0
        try:
            kept = True
            while kept:
                nth += 1
                kept = await self._answer(reader, writer, number, nth)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client is gone, which some tests are about
        except asyncio.CancelledError:
            # Swallowed: this task is the server's own, and asyncio's stream protocol would
            # report a cancelled one as unhandled while the loop goes on.
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int, nth: int
    ) -> bool:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        path = target.partition("?")[0]
        seen, steps = self._seen[path], self._scripts[path]
        step = steps[min(seen.attempts, len(steps) - 1)]
        seen.attempts += 1
        seen.connections.add(number)
        seen.headers.append(headers)
        seen.bodies.append(body)
        seen.running += 1
        seen.most_running = max(seen.most_running, seen.running)
        try:
            return await step(Exchange(method, headers, seen, nth, reader, writer))
        finally:
            seen.running -= 1
