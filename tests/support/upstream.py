"""A company's API whose answers the test has written: real HTTP on loopback.

    async with Upstream() as upstream:
        upstream.queue(answers({"status": "sent"}), answers({}, status=503), drops())
        ...                       # the code under test talks to upstream.base_url
        assert upstream.requests[0].path == "/orders/1001"

Answers are taken in the order they were queued, one per request; those queued for a path go
before the others. A request that finds none is answered with 200 and `{"ok": true}`.
"""

import asyncio
import contextlib
import json
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

Piece = bytes | asyncio.Event
"""What is sent as it is, or waited for before going on."""


@dataclass(frozen=True)
class Answer:
    """Bytes to send and events to wait for; then the connection is closed."""

    pieces: tuple[Piece, ...]


@dataclass
class Request:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client closed the connection while it was waiting for its answer."""


def answers(
    body: Any = None,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    content_type: str = "application/json",
) -> Answer:
    """A whole answer; `body` is sent as JSON unless it is bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"content-type": content_type, "content-length": str(len(content))}
    head = f"HTTP/1.1 {status} -\r\nconnection: close\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in (lines | dict(headers or {})).items())
    return Answer((head.encode() + b"\r\n" + content,))


def drops() -> Answer:
    """Close the connection without a word."""
    return Answer(())


def breaks_off() -> Answer:
    """Promise more than is sent."""
    return Answer((b"HTTP/1.1 200 -\r\ncontent-length: 100\r\n\r\n{",))


def garbage() -> Answer:
    """Something that is no HTTP."""
    return Answer((b"\xff\xfe no such protocol\r\n\r\n",))


def waits(until: asyncio.Event, answer: Answer | None = None) -> Answer:
    """Nothing until the test says so; then `answer`, or else a dropped connection."""
    return Answer((until, *(answer.pieces if answer else ())))


class Upstream:
    """Serves queued answers at `base_url` between entering and leaving the context."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._answers: defaultdict[str | None, deque[Answer]] = defaultdict(deque)
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def queue(self, *found: Answer, path: str | None = None) -> None:
        """Answer the next requests (to `path`, or to any) with these, in order."""
        self._answers[path].extend(found)

    def forget(self) -> None:
        """Take back everything that is queued."""
        self._answers.clear()

    def sent(self, method: str) -> list[Request]:
        """The requests with this method, in the order they came."""
        return [request for request in self.requests if request.method == method]

    async def received(self, count: int, *, within: float = 10.0) -> list[Request]:
        """The requests so far, once there are at least `count`; TimeoutError after `within` s."""
        async with asyncio.timeout(within), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            request = await _read(reader)
            self.requests.append(request)
            async with self._arrived:
                self._arrived.notify_all()
            await self._answer(request, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client is gone, which some tests are about
        except asyncio.CancelledError:
            # Swallowed: this task is the server's own, and asyncio's stream protocol would
            # report a cancelled one as unhandled while the loop goes on.
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    def _choose(self, path: str) -> Answer:
        for key in (path, None):
            if self._answers[key]:
                return self._answers[key].popleft()
        return answers({"ok": True})

    async def _answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        goodbye = asyncio.ensure_future(reader.read(1))
        try:
            for piece in self._choose(request.path).pieces:
                if isinstance(piece, bytes):
                    writer.write(piece)
                    await writer.drain()
                    continue
                waiting = asyncio.ensure_future(piece.wait())
                try:
                    await asyncio.wait({waiting, goodbye}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    waiting.cancel()
                if not piece.is_set():
                    request.hung_up.set()
                    return
        finally:
            goodbye.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await goodbye


async def _read(reader: asyncio.StreamReader) -> Request:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {
        name.strip().lower(): value.strip()
        for name, value in (line.split(":", 1) for line in lines)
    }
    raw = await reader.readexactly(int(headers.get("content-length", "0")))
    url = urlsplit(target)
    return Request(method, url.path, parse_qs(url.query), headers, json.loads(raw) if raw else None)
