"""What is outside, as cheap as it gets: a model endpoint and a company's API on raw sockets.

    python -m tests.bench.fakes model       # OpenAI's protocol, streamed
    python -m tests.bench.fakes company     # orders and notes

Each prints `{"port": n}` and ends when its standard input closes. The model answers a customer's
message with one streamed tool call, and the tool's result with `ANSWER`, a token per event. What is
asked for in the customer's words (`PACES`) says how long it takes to begin, and for each token.
"""

import asyncio
import itertools
import json
import sys
from typing import Any, cast

import orjson
import uvloop

PACED = "Take your time."
REAL = "Think it over."
PACES = {PACED: (0.0, 0.005), REAL: (0.3, 0.015)}
"""Words -> seconds to the first event, and between two."""

TOKENS = [
    "Your ", "order ", "was ", "sent ", "on ", "Monday ", "by ", "mail, ", "is ", "now ",
    "in ", "Utrecht, ", "and ", "should ", "be ", "at ", "your ", "door ", "on ", "Friday.",
]  # fmt: skip
ANSWER = "".join(TOKENS)
TOOL = "getOrder"
ORDER = {"order_id": "1001", "status": "in transit", "carrier": "mail", "place": "Utrecht"}


def document(base_url: str) -> dict[str, Any]:
    """The company's OpenAPI document."""
    answer = {"description": "It.", "content": {"application/json": {"schema": {}}}}
    order = {"name": "order_id", "in": "path", "required": True, "schema": {"type": "string"}}
    note = {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Bench company", "version": "1"},
        "servers": [{"url": base_url}],
        "paths": {
            "/orders/{order_id}": {
                "parameters": [order],
                "get": {
                    "operationId": TOOL,
                    "summary": "Look up an order",
                    "responses": {"200": answer},
                },
            },
            "/orders/{order_id}/notes": {
                "parameters": [order],
                "post": {
                    "operationId": "addNote",
                    "summary": "Leave a note on an order",
                    "requestBody": {
                        "required": True,
                        "content": {"application/json": {"schema": note}},
                    },
                    "responses": {"201": answer},
                },
            },
        },
    }


class _Http(asyncio.Protocol):
    """As much of HTTP/1.1 as our clients speak: one request at a time, length given."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        place = head.lower().find(b"content-length:")
        length = int(head[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
        if len(rest) >= length:
            self._buffer = rest[length:]
            self.answer(head, rest[:length])

    def answer(self, head: bytes, body: bytes) -> None:
        raise NotImplementedError

    def write(self, data: bytes) -> bool:
        """Whether somebody is still there to read it."""
        if self._transport is None or self._transport.is_closing():
            return False
        self._transport.write(data)
        return True


class Company(_Http):
    """The same order whoever asks, and a receipt for every note."""

    _ORDER = json.dumps(ORDER).encode()
    _NOTE = b'{"note_id": "n1", "stored": true}'

    def answer(self, head: bytes, body: bytes) -> None:
        status, content = (
            (b"201 Created", self._NOTE) if head.startswith(b"POST ") else (b"200 OK", self._ORDER)
        )
        self.write(
            b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (status, len(content), content)
        )


class Model(_Http):
    """One streamed tool call, then one streamed answer; every event leaves by itself."""

    _HEAD = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    _numbers = itertools.count(1)

    def answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET "):  # whether it is there at all
            self.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            return
        messages = orjson.loads(body)["messages"]
        said = [
            each["content"]
            for each in messages
            if each["role"] == "user" and isinstance(each["content"], str)
        ]
        calls = messages[-1]["role"] != "tool"
        pieces = _call(next(self._numbers)) if calls else _TEXT
        first, pause = next((PACES[words] for words in PACES if words in said[-1]), (0.0, 0.0))
        self.write(self._HEAD)
        if first:
            asyncio.get_running_loop().call_later(first, self._go_on, pieces, 0, pause)
        else:
            self._go_on(pieces, 0, pause)

    def _go_on(self, pieces: list[bytes], place: int, pause: float) -> None:
        # A turn of the loop between two events, so that no write joins them.
        if not self.write(pieces[place]) or place + 1 == len(pieces):
            return
        loop = asyncio.get_running_loop()
        loop.call_later(pause, self._go_on, pieces, place + 1, pause)


def _chunk(data: bytes) -> bytes:
    event = b"data: " + data + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


def _event(delta: dict[str, Any] | None, reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
    return _chunk(
        orjson.dumps(
            {
                "id": "chatcmpl-bench",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "bench",
                "choices": [] if delta is None else [choice],
                **more,
            }
        )
    )


_END = [
    _event(None, usage={"prompt_tokens": 200, "completion_tokens": 20, "total_tokens": 220}),
    _chunk(b"[DONE]") + b"0\r\n\r\n",
]
_TEXT = [
    _event({"role": "assistant", "content": ""}),
    *(_event({"content": token}) for token in TOKENS),
    _event({}, "stop"),
    *_END,
]


def _call(number: int) -> list[bytes]:
    opening = {
        "index": 0,
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": TOOL, "arguments": ""},
    }
    arguments = json.dumps({"order_id": "1001"})
    parts = [arguments[at : at + 7] for at in range(0, len(arguments), 7)]
    return [
        _event({"role": "assistant", "content": None, "tool_calls": [opening]}),
        *(
            _event({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
            for part in parts
        ),
        _event({}, "tool_calls"),
        *_END,
    ]


async def serve(kind: type[_Http]) -> None:
    """Serve until standard input closes."""
    server = await asyncio.get_running_loop().create_server(kind, "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)  # noqa: T201
    await asyncio.to_thread(sys.stdin.buffer.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(serve({"model": Model, "company": Company}[sys.argv[1]]))
