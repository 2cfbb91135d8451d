"""The model's endpoint, asked over one client of ours, and its one way to be asked."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import httpx
import orjson
from pydantic import SecretStr

from smart_support.agent.model_errors import (
    ModelBrokenAnswer,
    ModelUnavailable,
    error_of_answer,
)
from smart_support.agent.model_stream import MAX_EVENT_BYTES, Assembly, EventReader
from smart_support.agent.reply import Reply, Token
from smart_support.errors import ErrorCategory, SetupError, SupportError
from smart_support.resilience.transport import StackTransport
from smart_support.settings import Settings

if TYPE_CHECKING:
    from smart_support.agent.model_langchain import StreamingChatOpenAI

Json = dict[str, Any]
Message = Mapping[str, Any]
"""A message in OpenAI's wire form."""

_CONNECT_TIMEOUT = 10.0  # seconds
_DRAIN_TIMEOUT = 0.02  # seconds; what follows [DONE] has nearly always arrived with it
_MAX_ERROR_BYTES = 64 * 1024
_KEPT_CONNECTIONS = 64
_OFFLINE_KEY = "offline"  # the offline model reads no key, but the client wants one

RESPONSES_ONLY = ("gpt-5-pro", "gpt-5.2-pro", "gpt-5.4-pro", "gpt-5.5-pro", "gpt-5.6-sol")
"""How the names of models begin that have no chat completions, as langchain-openai knows them."""


class Model:
    """One model of one OpenAI-compatible endpoint.

    Its chat completions are read as they come: an event is read once, and validated by nothing
    that we do not use. The few models that have no chat completions are asked by LangChain's
    ChatOpenAI. That is loaded only then: with the openai package it takes half a second and
    twenty megabytes, which a process would else keep for nothing.
    """

    def __init__(
        self,
        name: str,
        key: SecretStr,
        base_url: str,
        timeout: httpx.Timeout,
        trust: ssl.SSLContext,
    ) -> None:
        self.model_name = name
        self.key = key
        self.base_url = base_url.rstrip("/")
        self.client = httpx.AsyncClient(
            transport=StackTransport(ssl_context=trust, keep=_KEPT_CONNECTIONS),
            trust_env=False,
            timeout=timeout,
        )
        self._trust = trust
        self._timeout = timeout
        self._langchain: StreamingChatOpenAI | None = None

    async def close(self) -> None:
        """Close the connections of this client; it cannot be used afterwards."""
        await self.client.aclose()
        if self._langchain is not None:
            self._langchain.root_client.close()

    def has_completions(self, tools: Sequence[Mapping[str, Any]]) -> bool:
        """Whether it can be asked for a chat completion; else the Responses API is all it has."""
        name = self.model_name
        return not (
            name.startswith(RESPONSES_ONLY)
            or "codex" in name
            or (name.lower().startswith("gpt-6") and tools)
        )

    def langchain(self) -> "StreamingChatOpenAI":
        """The same as a LangChain model. The first time it takes half a second: use a thread."""
        if self._langchain is None:
            from smart_support.agent.model_langchain import StreamingChatOpenAI

            self._langchain = StreamingChatOpenAI(
                model=self.model_name,
                api_key=self.key,
                base_url=self.base_url,
                max_retries=0,
                stream_usage=True,
                timeout=self._timeout.read,
                http_client=httpx.Client(
                    verify=self._trust, trust_env=False, timeout=self._timeout
                ),
                http_async_client=self.client,
            )
        return self._langchain


def open_model(settings: Settings, *, base_url_override: str | None = None) -> Model:
    """The model that `settings` name; `base_url_override` is the offline model's address.

    The caller closes it with `close()`.

    Raises:
        SetupError: neither a key nor an override is given.
    """
    key = settings.openai_api_key
    if base_url_override is not None:
        key = SecretStr(_OFFLINE_KEY)
    if key is None:
        raise SetupError("OPENAI_API_KEY is empty: set it, or let the offline model answer.")
    return Model(
        settings.openai_model,
        key,
        base_url_override or settings.openai_base_url or "https://api.openai.com/v1",
        httpx.Timeout(
            settings.smart_support_model_timeout,
            connect=min(_CONNECT_TIMEOUT, settings.smart_support_model_timeout),
        ),
        httpx.create_ssl_context(trust_env=False),
    )


async def stream_reply(
    model: Model, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
) -> AsyncGenerator[Token | Reply, None]:
    """Ask `model` once: its text in Tokens as it arrives, then, last, the whole as a Reply.

    `messages` have OpenAI's wire form; `tools` are OpenAI function tools as JSON objects. What
    arrives in one read from the network is one Token.
    A caller that may stop early wraps this in `contextlib.aclosing`, so that the connection is
    closed at once and not when the garbage collector comes by.

    Raises:
        SupportError: one of `model_errors`; Tokens may have come before.
    """
    asked: Json = {"tools": list(tools)} if tools else {}
    if not model.has_completions(tools):
        langchain = await asyncio.to_thread(model.langchain)
        async with contextlib.aclosing(langchain.stream_reply(messages, asked)) as pieces:
            async for piece in pieces:
                yield piece
        return
    body = {
        "model": model.model_name,
        "stream": True,
        "stream_options": {"include_usage": True},
        **asked,
        "messages": messages,
    }
    url = httpx.URL(f"{model.base_url}/chat/completions")
    assembly = Assembly()
    async with contextlib.aclosing(read_events(model.client, url, model.key, body)) as batches:
        async for events in batches:
            if text := "".join([assembly.add(event) for event in events]):
                yield Token(text)
    yield assembly.reply()


async def read_events(
    client: httpx.AsyncClient,
    url: httpx.URL,
    key: SecretStr,
    body: Json,
    headers: Mapping[str, str] | None = None,
) -> AsyncGenerator[list[Any], None]:
    """The events of one streamed completion, a list per read from the network.

    Raises:
        SupportError: one of `model_errors`.
    """
    response = await _send(client, url, key, body, headers or {})
    try:
        if response.status_code != 200:
            raise await _error_of(response)
        reader = EventReader()
        if "json" in response.headers.get("content-type", ""):
            yield [await _whole(response)]
            return
        stream = response.aiter_bytes()
        async for events in _read(stream, reader, client.timeout.read):
            yield events
        if reader.done:
            await _drain(stream)
    finally:
        await response.aclose()


async def _send(
    client: httpx.AsyncClient,
    url: httpx.URL,
    key: SecretStr,
    body: Json,
    headers: Mapping[str, str],
) -> httpx.Response:
    request = client.build_request(
        "POST",
        url,
        content=orjson.dumps({name: value for name, value in body.items() if value is not None}),
        headers={
            "accept": "text/event-stream",
            "authorization": f"Bearer {key.get_secret_value()}",
            "content-type": "application/json",
            **headers,
        },
    )
    try:
        return await client.send(request, stream=True)
    except httpx.TimeoutException:
        raise ModelUnavailable(
            "model endpoint did not answer in time", ErrorCategory.TIMEOUT
        ) from None
    except httpx.HTTPError as error:
        raise ModelUnavailable(
            f"model endpoint cannot be reached: {type(error).__name__}", ErrorCategory.NETWORK
        ) from None


async def _read(
    stream: AsyncIterator[bytes], reader: EventReader, patience: float | None
) -> AsyncGenerator[list[Any], None]:
    clock = asyncio.get_running_loop().time
    last = clock()
    while not reader.done:
        try:
            piece = await anext(stream, None)
        except httpx.TimeoutException:
            raise ModelUnavailable("the model stalled", ErrorCategory.TIMEOUT) from None
        except httpx.HTTPError:
            # Some servers cut the line after their last event. Whether it was the last, the
            # reply knows: it cannot be put together without an end.
            return
        events = reader.finish() if piece is None else reader.feed(piece)
        if events:
            last = clock()
            yield events
        elif patience is not None and clock() - last > patience:
            # Comments keep the line alive, not the answer.
            raise ModelUnavailable("the model stalled", ErrorCategory.TIMEOUT)
        if piece is None:
            return


async def _error_of(response: httpx.Response) -> SupportError:
    raw = await _bounded(response, _MAX_ERROR_BYTES)
    try:
        body: object = orjson.loads(raw)
    except orjson.JSONDecodeError:
        body = raw.decode(errors="replace")
    return error_of_answer(response.status_code, body, response.headers)


async def _whole(response: httpx.Response) -> Any:
    """The answer of an endpoint that does not stream."""
    try:
        return orjson.loads(await _bounded(response, MAX_EVENT_BYTES))
    except orjson.JSONDecodeError:
        raise ModelBrokenAnswer("the model's answer is no JSON") from None


async def _bounded(response: httpx.Response, limit: int) -> bytes:
    """The body as far as it comes, at most `limit` bytes and one read."""
    parts: list[bytes] = []
    with contextlib.suppress(httpx.HTTPError):
        async for part in response.aiter_bytes():
            parts.append(part)
            if sum(map(len, parts)) > limit:
                break
    return b"".join(parts)


async def _drain(stream: AsyncIterator[bytes]) -> None:
    """Read the end of the body, so that the connection can serve the next call."""
    with contextlib.suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(_DRAIN_TIMEOUT):
            async for _ in stream:
                pass
