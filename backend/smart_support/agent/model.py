"""The model client: ChatOpenAI whose streaming costs a third, and its one way to be asked."""

import asyncio
import contextlib
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import httpx
import httpx2
import openai
import orjson
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.messages import AIMessageChunk, BaseMessage, BaseMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_openai.chat_models.base import ChatOpenAI
from pydantic import PrivateAttr, SecretStr

from smart_support.agent.model_errors import (
    ModelBrokenAnswer,
    ModelUnavailable,
    error_of_answer,
    error_of_client,
)
from smart_support.agent.model_stream import MAX_EVENT_BYTES, Assembly, EventReader, complete
from smart_support.agent.reply import Reply, Token, ToolCallRequest, Usage
from smart_support.errors import ErrorCategory, SetupError, SupportError
from smart_support.resilience.transport import StackTransport
from smart_support.settings import Settings

Json = dict[str, Any]
Message = BaseMessage | Mapping[str, Any]
"""A LangChain message, or the same in OpenAI's wire form."""

_CONNECT_TIMEOUT = 10.0  # seconds
_DRAIN_TIMEOUT = 0.02  # seconds; what follows [DONE] has nearly always arrived with it
_MAX_ERROR_BYTES = 64 * 1024
_KEPT_CONNECTIONS = 64
_OFFLINE_KEY = "offline"  # the offline model reads no key, but the client wants one

# What the openai package takes as options of the call rather than as part of the body.
_CALL_OPTIONS = {"extra_headers", "extra_query", "extra_body", "timeout", "response_format"}


class _WireForms:
    """Each message's wire form, for as long as the message lives."""

    def __init__(self) -> None:
        self._forms: dict[int, tuple[weakref.ref[BaseMessage], object, Json]] = {}

    def of(
        self,
        messages: Sequence[Message],
        convert: Callable[[list[BaseMessage]], list[Json]],
    ) -> list[Mapping[str, Any]]:
        """The wire forms of `messages`; those that are new here go through `convert` at once."""
        new = [each for each in messages if isinstance(each, BaseMessage) and not self._known(each)]
        if new:
            for message, wire in zip(new, convert(new), strict=True):
                self._keep(message, wire)
        return [
            self._forms[id(each)][2] if isinstance(each, BaseMessage) else each for each in messages
        ]

    def _known(self, message: BaseMessage) -> bool:
        form = self._forms.get(id(message))
        # A message whose content was replaced since is converted again.
        return form is not None and form[0]() is message and form[1] is message.content

    def _keep(self, message: BaseMessage, wire: Json) -> None:
        key = id(message)
        alive = weakref.ref(message, lambda _: self._forms.pop(key, None) and None)
        self._forms[key] = (alive, message.content, wire)


class StreamingChatOpenAI(ChatOpenAI):
    """ChatOpenAI that reads its stream from one httpx client of ours.

    The parent validates every event against a model of its own and converts every message of
    the history for every call; for a conversation of 60 turns that is 42 ms of CPU per call.
    Here an event is read once, a message converted once. What this does not cover (structured
    output, the Responses API, options of single calls) is the parent's, unchanged.
    """

    _wire: _WireForms = PrivateAttr(default_factory=_WireForms)

    async def close(self) -> None:
        """Close the connections of this client; it cannot be used afterwards."""
        await self.root_async_client.close()
        self.root_client.close()

    async def read_events(
        self, messages: Sequence[Message], **kwargs: Any
    ) -> AsyncGenerator[list[Any], None]:
        """The events of one streamed completion, a list for each piece that comes of it.

        `kwargs` are further fields of the request, e.g. `tools`.

        Raises:
            SupportError: one of `model_errors`.
        """
        fields: Json = {"stream": True, "stream_options": {"include_usage": True}} | kwargs
        body = self._get_request_payload([], **fields)
        body["messages"] = self._wire.of(messages, self._convert)
        response = await self._send(body)
        try:
            if response.status_code != 200:
                raise await _error_of(response)
            reader = EventReader()
            if "json" in response.headers.get("content-type", ""):
                yield [await _whole(response)]
                return
            stream = response.aiter_bytes()
            async for events in self._read(stream, reader):
                yield events
            if reader.done:
                await _drain(stream)
        finally:
            await response.aclose()

    @cached_property
    def _completions(self) -> httpx.URL:
        return httpx.URL(f"{str(self.root_async_client.base_url).rstrip('/')}/chat/completions")

    @property
    def _client(self) -> httpx.AsyncClient:
        assert isinstance(self.http_async_client, httpx.AsyncClient)
        return self.http_async_client

    def streams_directly(self, **kwargs: Any) -> bool:
        """Whether `read_events` can send this request; else it is the parent's."""
        return (
            not _CALL_OPTIONS & (kwargs | self.model_kwargs).keys()
            and not self.extra_body
            and not self.default_query
            and not self.include_response_headers
            and isinstance(self.http_async_client, httpx.AsyncClient)
            and isinstance(self.openai_api_key, SecretStr)
            and not self._use_responses_api({**kwargs, **self.model_kwargs})
        )

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        *,
        stream_usage: bool | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        if not self.streams_directly(**kwargs):
            if stream_usage is not None:  # an option that the Responses API does not know
                kwargs["stream_usage"] = stream_usage
            theirs = super()._astream(messages, stop, run_manager, **kwargs)
            async for generation in theirs:
                yield generation
            return
        if stop is not None:
            kwargs["stop"] = stop
        if not self._should_stream_usage(stream_usage, **kwargs):
            kwargs["stream_options"] = None
        assembly = Assembly()
        kind: type[BaseMessageChunk] = AIMessageChunk
        async with contextlib.aclosing(self.read_events(messages, **kwargs)) as batches:
            async for events in batches:
                for event in events:
                    assembly.add(event)
                    chunk = self._convert_chunk_to_generation_chunk(event, kind, {})
                    if chunk is None:
                        continue
                    kind = type(chunk.message)
                    if run_manager:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk
        assembly.reply()  # raises for half an answer

    def _convert(self, messages: list[BaseMessage]) -> list[Json]:
        wire: list[Json] = self._get_request_payload(messages)["messages"]
        return wire

    async def _send(self, body: Json) -> httpx.Response:
        assert isinstance(self.openai_api_key, SecretStr)
        client = self._client
        request = client.build_request(
            "POST",
            self._completions,
            content=orjson.dumps({key: value for key, value in body.items() if value is not None}),
            headers={
                "accept": "text/event-stream",
                "authorization": f"Bearer {self.openai_api_key.get_secret_value()}",
                "content-type": "application/json",
                **(self.default_headers or {}),
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
        self, stream: AsyncIterator[bytes], reader: EventReader
    ) -> AsyncGenerator[list[Any], None]:
        clock = asyncio.get_running_loop().time
        patience = self._client.timeout.read
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


def open_model(settings: Settings, *, base_url_override: str | None = None) -> StreamingChatOpenAI:
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
    timeout = httpx.Timeout(
        settings.smart_support_model_timeout,
        connect=min(_CONNECT_TIMEOUT, settings.smart_support_model_timeout),
    )
    context = httpx.create_ssl_context(trust_env=False)  # 25 ms; one for both clients
    return StreamingChatOpenAI(
        model=settings.openai_model,
        api_key=key,
        base_url=base_url_override or settings.openai_base_url or "https://api.openai.com/v1",
        max_retries=0,
        stream_usage=True,
        timeout=settings.smart_support_model_timeout,
        http_client=httpx.Client(verify=context, trust_env=False, timeout=timeout),
        http_async_client=httpx.AsyncClient(
            transport=StackTransport(ssl_context=context, keep=_KEPT_CONNECTIONS),
            trust_env=False,
            timeout=timeout,
        ),
    )


async def stream_reply(
    model: ChatOpenAI, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
) -> AsyncGenerator[Token | Reply, None]:
    """Ask `model` once: its text in Tokens as it arrives, then, last, the whole as a Reply.

    `messages` are LangChain messages or OpenAI's wire forms, also mixed; `tools` are OpenAI
    function tools as JSON objects. What comes in one piece, an HTTP chunk at most, is one Token.
    A caller that may stop early wraps this in `contextlib.aclosing`, so that the connection is
    closed at once and not when the garbage collector comes by.

    Raises:
        SupportError: one of `model_errors`; Tokens may have come before.
    """
    asked: Json = {"tools": list(tools)} if tools else {}
    if not (isinstance(model, StreamingChatOpenAI) and model.streams_directly(**asked)):
        async with contextlib.aclosing(_stream_by_parent(model, messages, asked)) as pieces:
            async for piece in pieces:
                yield piece
        return
    assembly = Assembly()
    async with contextlib.aclosing(model.read_events(messages, **asked)) as batches:
        async for events in batches:
            if text := "".join([assembly.add(event) for event in events]):
                yield Token(text)
    yield assembly.reply()


async def _stream_by_parent(
    model: ChatOpenAI, messages: Sequence[Message], asked: Json
) -> AsyncGenerator[Token | Reply, None]:
    whole: AIMessageChunk | None = None
    try:
        async for chunk in model.astream(list[Any](messages), **asked):
            whole = chunk if whole is None else whole + chunk
            if chunk.text:
                yield Token(str(chunk.text))
    except openai.OpenAIError as error:
        raise error_of_client(error) from None
    except TimeoutError:
        raise ModelUnavailable("the model stalled", ErrorCategory.TIMEOUT) from None
    except (httpx.HTTPError, httpx2.HTTPError, ValueError) as error:
        raise ModelBrokenAnswer(f"the stream broke: {type(error).__name__}") from None
    assert whole is not None  # the parent raises ValueError for a stream without chunks
    yield complete(
        text=str(whole.text),
        refusal=whole.additional_kwargs.get("refusal"),
        calls=[
            ToolCallRequest(call["id"] or "", call["name"] or "", call["args"] or "{}")
            for call in whole.tool_call_chunks
        ],
        usage=whole.usage_metadata
        and Usage(whole.usage_metadata["input_tokens"], whole.usage_metadata["output_tokens"]),
        finish_reason=_finish_reason(whole.response_metadata),
    )


def _finish_reason(said: Mapping[str, Any]) -> str | None:
    """Why an answer ended, in the words of chat completions; None if it did not end.

    The Responses API has a status instead, and a reason only for what is incomplete.
    """
    if "finish_reason" in said:
        return str(said["finish_reason"])
    why = (said.get("incomplete_details") or {}).get("reason")
    match said.get("status"), why:
        case "completed", _:
            return "stop"
        case "incomplete", "max_output_tokens":
            return "length"
        case "incomplete", "content_filter":
            return "content_filter"
    return None


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
