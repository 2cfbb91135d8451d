"""The offline model over OpenAI's HTTP protocol, on loopback, inside this process."""

import asyncio
import itertools
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import asdict
from typing import Any

import orjson
import uvicorn

from smart_support.agent.offline.conversation import reply
from smart_support.agent.reply import Reply

MODEL = "smart-support-offline"
_MAX_REQUEST_BYTES = 16 * 1024 * 1024
_START_TIMEOUT = 10.0  # seconds

Json = dict[str, Any]
_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@asynccontextmanager
async def offline_endpoint(*, token_delay: float = 0.012) -> AsyncIterator[str]:
    """Serve the offline model; yields its base URL, ending in /v1.

    Speaks POST /chat/completions (streamed or not) and GET /models on a free loopback port.
    `token_delay` is the pause in seconds before each streamed word, so that a person sees it
    being written.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        _App(token_delay),
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve([listening]), name="offline-model")
    try:
        async with asyncio.timeout(_START_TIMEOUT):
            await server.ready.wait()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    """Signals stay with the program that this server is a guest of."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


class _BadRequest(Exception):
    """The request is not one of this protocol; its text is sent back."""


class _App:
    def __init__(self, token_delay: float) -> None:
        self._delay = token_delay
        self._numbers = itertools.count(1)

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        match scope["method"], scope["path"]:
            case "GET", "/v1/models":
                model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "smart-support"}
                await _send_json(send, 200, {"object": "list", "data": [model]})
            case "POST", "/v1/chat/completions":
                try:
                    request = _parse(await _body(receive))
                except _BadRequest as error:
                    await _send_json(send, 400, _error(str(error)))
                    return
                await self._complete(request, send)
            case _:
                await _send_json(send, 404, _error("There is nothing at this address."))

    async def _complete(self, request: Json, send: _Send) -> None:
        answer = reply(request["messages"], request.get("tools") or [])
        head = {
            "id": f"chatcmpl-offline-{next(self._numbers)}",
            "created": int(time.time()),
            "model": MODEL,
        }
        if not request.get("stream"):
            await _send_json(send, 200, head | _whole(answer))
            return
        options = request.get("stream_options") or {}
        await _start(send, 200, b"text/event-stream")
        for fields in _chunks(answer, with_usage=bool(options.get("include_usage"))):
            choices = fields["choices"]
            if self._delay and choices and choices[0]["delta"].get("content"):
                await asyncio.sleep(self._delay)
            event = orjson.dumps(head | {"object": "chat.completion.chunk"} | fields)
            await _send_part(send, b"data: " + event + b"\n\n")
        await _send_part(send, b"data: [DONE]\n\n")
        await send({"type": "http.response.body", "body": b""})


def _parse(raw: bytes) -> Json:
    try:
        request = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise _BadRequest("The body is no JSON.") from None
    messages = request.get("messages") if isinstance(request, dict) else None
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        raise _BadRequest("`messages` must be a list of objects.")
    tools = request.get("tools") or []
    if not isinstance(tools, list) or not all(isinstance(each, dict) for each in tools):
        raise _BadRequest("`tools` must be a list of objects.")
    return dict(request)


def _chunks(answer: Reply, *, with_usage: bool) -> Iterator[Json]:
    def chunk(delta: Json, finish_reason: str | None = None) -> Json:
        return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}

    yield chunk({"role": "assistant", "content": None if answer.tool_calls else ""})
    for word in re.findall(r"\s*\S+|\s+$", answer.text):
        yield chunk({"content": word})
    for index, call in enumerate(answer.tool_calls):
        function = {"name": call.name, "arguments": call.arguments_json}
        opened = {"index": index, "id": call.id, "type": "function", "function": function}
        yield chunk({"tool_calls": [opened]})
    yield chunk({}, answer.finish_reason)
    if with_usage:
        yield {"choices": [], "usage": _usage(answer)}


def _whole(answer: Reply) -> Json:
    message: Json = {"role": "assistant", "content": answer.text or None, "refusal": None}
    if answer.tool_calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments_json},
            }
            for call in answer.tool_calls
        ]
    choice = {"index": 0, "message": message, "finish_reason": answer.finish_reason}
    return {"object": "chat.completion", "choices": [choice], "usage": _usage(answer)}


def _usage(answer: Reply) -> Json | None:
    if answer.usage is None:
        return None
    counted = asdict(answer.usage)
    prompt, completion = counted["input_tokens"], counted["output_tokens"]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def _error(message: str) -> Json:
    return {"error": {"message": message, "type": "invalid_request_error", "code": None}}


async def _body(receive: _Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _BadRequest("The request ended early.")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > _MAX_REQUEST_BYTES:
            raise _BadRequest(f"The body is larger than {_MAX_REQUEST_BYTES} bytes.")
        if not message.get("more_body"):
            return b"".join(parts)


async def _start(send: _Send, status: int, content_type: bytes) -> None:
    headers = [(b"content-type", content_type)]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _send_part(send: _Send, part: bytes) -> None:
    await send({"type": "http.response.body", "body": part, "more_body": True})


async def _send_json(send: _Send, status: int, body: Json) -> None:
    await _start(send, status, b"application/json")
    await send({"type": "http.response.body", "body": orjson.dumps(body)})
