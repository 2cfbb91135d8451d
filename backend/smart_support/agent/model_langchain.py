"""The same model as a LangChain model: ChatOpenAI whose streaming costs a third.

`model` loads it for what has no chat completions: it brings the openai package.
"""

import contextlib
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import httpx
import httpx2
import openai
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.messages import AIMessageChunk, BaseMessage, BaseMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_openai import ChatOpenAI
from pydantic import PrivateAttr, SecretStr

from smart_support.agent.model import Json, read_events
from smart_support.agent.model_errors import ModelBrokenAnswer, ModelUnavailable, error_of_answer
from smart_support.agent.model_stream import Assembly, complete
from smart_support.agent.reply import Reply, Token, ToolCallRequest, Usage
from smart_support.errors import ErrorCategory, SupportError

Message = BaseMessage | Mapping[str, Any]
"""A LangChain message, or the same in OpenAI's wire form."""

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

    async def read_events(
        self, messages: Sequence[Message], **kwargs: Any
    ) -> AsyncGenerator[list[Any], None]:
        """The events of one streamed completion, a list per read from the network.

        `kwargs` are further fields of the request, e.g. `tools`.

        Raises:
            SupportError: one of `model_errors`.
        """
        fields: Json = {"stream": True, "stream_options": {"include_usage": True}} | kwargs
        body = self._get_request_payload([], **fields)
        body["messages"] = self._wire.of(messages, self._convert)
        assert isinstance(self.http_async_client, httpx.AsyncClient)
        assert isinstance(self.openai_api_key, SecretStr)
        batches = read_events(
            self.http_async_client,
            self._completions,
            self.openai_api_key,
            body,
            self.default_headers,
        )
        async with contextlib.aclosing(batches):
            async for events in batches:
                yield events

    async def stream_reply(
        self, messages: Sequence[Message], asked: Json
    ) -> AsyncGenerator[Token | Reply, None]:
        """As `stream_reply` of `model`; `asked` are further fields of the request."""
        if not self.streams_directly(**asked):
            async with contextlib.aclosing(stream_by_parent(self, messages, asked)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        assembly = Assembly()
        async with contextlib.aclosing(self.read_events(messages, **asked)) as batches:
            async for events in batches:
                if text := "".join([assembly.add(event) for event in events]):
                    yield Token(text)
        yield assembly.reply()

    @cached_property
    def _completions(self) -> httpx.URL:
        return httpx.URL(f"{str(self.root_async_client.base_url).rstrip('/')}/chat/completions")

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


async def stream_by_parent(
    model: ChatOpenAI, messages: Sequence[Message], asked: Json
) -> AsyncGenerator[Token | Reply, None]:
    """The same of any ChatOpenAI, by its own stream."""
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
        finish_reason=whole.response_metadata.get("finish_reason"),
    )


def error_of_client(error: openai.OpenAIError) -> SupportError:
    """The failure that an exception of the openai package means."""
    match error:
        case openai.APITimeoutError():
            return ModelUnavailable("model endpoint timed out", ErrorCategory.TIMEOUT)
        case openai.APIConnectionError():
            return ModelUnavailable("model endpoint cannot be reached", ErrorCategory.NETWORK)
        case openai.APIStatusError(status_code=status, body=body, response=response):
            return error_of_answer(status, body, response.headers)
        case openai.APIError(body=body, message=message):
            return error_of_answer(None, body or message)
        case _:
            return ModelBrokenAnswer(f"the model client failed: {type(error).__name__}")
