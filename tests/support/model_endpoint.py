"""A model endpoint whose answers the test has written: OpenAI's protocol over real HTTP.

    async with ModelEndpoint() as endpoint:
        endpoint.queue(calls(("getOrder", {"order_id": 1002})), says("It is on its way."))
        ...                       # the code under test talks to endpoint.base_url
        assert endpoint.requests[0].body["model"] == "test-model"

Replies are taken in the order they were queued, one per request; a request that finds none
is answered 500 and listed in `unexpected`. `respond=` answers by the request instead, for
tests with several threads at once.
"""

import asyncio
import contextlib
import json
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

Json = dict[str, Any]
Piece = bytes | asyncio.Event
"""What a streamed body is made of: bytes to send, or an event to wait for before going on."""


@dataclass(frozen=True)
class Script:
    """One reply: the streamed form as pieces, the same as one JSON body, and how it ends."""

    pieces: tuple[Piece, ...]
    body: Json = field(default_factory=dict)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    """Close the connection in the middle of the body, without its end."""


@dataclass
class Received:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client closed the connection before the reply was complete."""


def words(text: str) -> list[str]:
    """`text` as tokens of a word each, that join to the same text."""
    return re.findall(r"\s*\S+|\s+$", text)


def says(
    text: str | Sequence[str],
    *,
    usage: tuple[int, int] | None = (20, 7),
    finish_reason: str = "stop",
    refusal: str | None = None,
) -> Script:
    """A text answer, streamed word by word, or in the tokens given."""
    tokens = words(text) if isinstance(text, str) else list(text)
    deltas: list[Json] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": token} for token in tokens]
    if refusal is not None:
        deltas += [{"refusal": part} for part in words(refusal)]
    message = {"role": "assistant", "content": "".join(tokens) or None, "refusal": refusal}
    return _completion(deltas, message, usage=usage, finish_reason=finish_reason)


def calls(
    *requests: tuple[str, Mapping[str, Any] | str],
    text: str = "",
    ids: Sequence[str] = (),
    usage: tuple[int, int] | None = (20, 7),
    fragment: int = 7,
) -> Script:
    """Tool calls, their arguments streamed in fragments of `fragment` characters.

    Arguments may be a string, to send what is no JSON. Ids are `call_0`, `call_1`, ... unless
    given; tests that run several rounds in one thread should give their own.
    """
    deltas: list[Json] = [{"role": "assistant", "content": None}]
    deltas += [{"content": token} for token in words(text)]
    tool_calls: list[Json] = []
    for index, (name, arguments) in enumerate(requests):
        call_id = ids[index] if index < len(ids) else f"call_{index}"
        raw = arguments if isinstance(arguments, str) else json.dumps(arguments)
        tool_calls.append(
            {"id": call_id, "type": "function", "function": {"name": name, "arguments": raw}}
        )
        opening = {"index": index, "id": call_id, "type": "function"}
        deltas.append({"tool_calls": [opening | {"function": {"name": name, "arguments": ""}}]})
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": raw[at : at + fragment]}}]}
            for at in range(0, len(raw), fragment)
        ]
    message = {"role": "assistant", "content": text or None, "tool_calls": tool_calls}
    return _completion(deltas, message, usage=usage, finish_reason="tool_calls")


def fails(
    status: int,
    message: str = "the endpoint says no",
    *,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Script:
    """An HTTP error with OpenAI's error body, or with `body` as it is."""
    error = {"error": {"message": message, "type": "test_error", "code": code, "param": None}}
    content = json.dumps(error).encode() if body is None else body
    return Script(pieces=(content,), body=error, status=status, headers=dict(headers or {}))


def streams(*pieces: Piece, cut: bool = False) -> Script:
    """Exactly these bytes as an event stream: garbage, errors in mid-stream, odd line ends."""
    return Script(pieces=pieces, cut=cut)


def cut_after(script: Script, events: int) -> Script:
    """`script` with the connection closed after its first `events` events."""
    return replace(script, pieces=script.pieces[:events], cut=True)


def stalled(script: Script, until: asyncio.Event, *, after: int = 2) -> Script:
    """`script` that waits for `until` after its first `after` events."""
    return replace(script, pieces=(*script.pieces[:after], until, *script.pieces[after:]))


def split(script: Script, size: int) -> Script:
    """`script` with its bytes sent in pieces of `size`; events to wait for are dropped."""
    joined = b"".join(piece for piece in script.pieces if isinstance(piece, bytes))
    pieces = tuple(joined[at : at + size] for at in range(0, len(joined), size))
    return replace(script, pieces=pieces)


def sse(data: Json | str) -> bytes:
    """One server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data)
    return f"data: {text}\n\n".encode()


class ModelEndpoint:
    """Serves queued replies at `base_url` between entering and leaving the context."""

    def __init__(self, respond: Callable[[Received], Script] | None = None) -> None:
        self.requests: list[Received] = []
        self.unexpected: list[Received] = []
        self.connections = 0
        self._respond = respond
        self._replies: deque[Script] = deque()
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
        return f"http://127.0.0.1:{self.port}/v1"

    def queue(self, *scripts: Script) -> None:
        """Answer the next requests with these, in order."""
        self._replies.extend(scripts)

    async def received(self, count: int, *, within: float = 10.0) -> list[Received]:
        """The requests so far, once there are at least `count`; TimeoutError after `within` s."""
        async with asyncio.timeout(within), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            early: bytes | None = b""
            while early is not None and (request := await _read(reader, early)) is not None:
                self.requests.append(request)
                async with self._arrived:
                    self._arrived.notify_all()
                early = await self._reply(request, reader, writer)
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

    def _choose(self, request: Received) -> Script:
        if request.path.endswith("/models"):
            model = {"id": "test-model", "object": "model", "created": 0, "owned_by": "tests"}
            listing = {"object": "list", "data": [model]}
            return Script(pieces=(json.dumps(listing).encode(),), body=listing)
        if self._replies:
            return self._replies.popleft()
        if self._respond is not None:
            return self._respond(request)
        self.unexpected.append(request)
        return fails(500, "no reply is queued for this request")

    async def _reply(
        self, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes | None:
        """Send one reply; what came of the next request meanwhile, None once the client is gone."""
        script = self._choose(request)
        streamed = isinstance(request.body, dict) and request.body.get("stream") is True
        as_events = streamed and script.status == 200
        headers = {
            "content-type": "text/event-stream" if as_events else "application/json",
            "transfer-encoding": "chunked",
        } | dict(script.headers)
        head = f"HTTP/1.1 {script.status} -\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(head.encode() + b"\r\n")
        plain = script.status == 200 and not streamed
        pieces = (json.dumps(script.body).encode(),) if plain else script.pieces
        goodbye = asyncio.ensure_future(reader.read(1))
        try:
            for piece in pieces:
                if isinstance(piece, asyncio.Event):
                    waiting = asyncio.ensure_future(piece.wait())
                    try:
                        await asyncio.wait({waiting, goodbye}, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        waiting.cancel()
                elif piece:
                    writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                    await writer.drain()
                    await asyncio.sleep(0)  # lets a piece leave as a packet of its own
                if goodbye.done():
                    request.hung_up.set()
                    return None
            if script.cut:
                return None
            writer.write(b"0\r\n\r\n")
            await writer.drain()
            return (goodbye.result() or None) if goodbye.done() else b""
        except ConnectionError:
            request.hung_up.set()
            return None
        finally:
            goodbye.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await goodbye


async def _read(reader: asyncio.StreamReader, early: bytes) -> Received | None:
    if reader.at_eof():
        return None
    head = early + await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {
        name.strip().lower(): value.strip()
        for name, value in (line.split(":", 1) for line in lines)
    }
    raw = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, json.loads(raw) if raw else None)


def _completion(
    deltas: Sequence[Json],
    message: Json,
    *,
    usage: tuple[int, int] | None,
    finish_reason: str,
) -> Script:
    base: Json = {"id": "chatcmpl-test", "created": 1, "model": "test-model"}
    counted = usage and {
        "prompt_tokens": usage[0],
        "completion_tokens": usage[1],
        "total_tokens": sum(usage),
    }

    def chunk(choices: list[Json], **extra: Any) -> bytes:
        return sse(base | {"object": "chat.completion.chunk", "choices": choices} | extra)

    def choice(delta: Json, reason: str | None = None) -> list[Json]:
        return [{"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}]

    pieces = [chunk(choice(delta)) for delta in deltas]
    pieces.append(chunk(choice({}, finish_reason)))
    if counted:
        pieces.append(chunk([], usage=counted))
    pieces.append(sse("[DONE]"))
    whole = {"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}
    body = base | {"object": "chat.completion", "choices": [whole]}
    if counted:
        body["usage"] = counted
    return Script(pieces=tuple(pieces), body=body)
