import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_openai import ChatOpenAI
from pydantic import SecretStr
from tests.support.model_endpoint import (
    ModelEndpoint,
    Script,
    calls,
    cut_after,
    fails,
    says,
    split,
    sse,
    stalled,
    streams,
    words,
)

from smart_support.agent.model import StreamingChatOpenAI, open_model, stream_reply
from smart_support.agent.model_errors import (
    ModelAuth,
    ModelBrokenAnswer,
    ModelContextTooLong,
    ModelRateLimited,
    ModelRefused,
    ModelRejected,
    ModelUnavailable,
)
from smart_support.agent.reply import Reply, Token, ToolCallRequest, Usage
from smart_support.errors import ErrorCategory, SetupError, SupportError
from smart_support.settings import Settings

TOOL = {"type": "function", "function": {"name": "getOrder", "parameters": {"type": "object"}}}
HELLO = [{"role": "user", "content": "hello"}]


def settings(**changes: Any) -> Settings:
    return Settings(_env_file=None, openai_api_key=SecretStr("test-key-1234"), **changes)


@asynccontextmanager
async def opened(endpoint: ModelEndpoint, **changes: Any) -> AsyncIterator[StreamingChatOpenAI]:
    model = open_model(settings(openai_base_url=endpoint.base_url, **changes))
    try:
        yield model
    finally:
        await model.close()


@asynccontextmanager
async def parent(endpoint: ModelEndpoint) -> AsyncIterator[ChatOpenAI]:
    """The class that ours derives from, on clients of its own."""
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        with httpx.Client(trust_env=False, verify=False) as blocking:
            yield ChatOpenAI(
                model="test-model",
                api_key=SecretStr("test-key-1234"),
                base_url=endpoint.base_url,
                max_retries=0,
                stream_usage=True,
                http_async_client=client,
                http_client=blocking,
            )


@pytest.fixture
async def endpoint() -> AsyncIterator[ModelEndpoint]:
    async with ModelEndpoint() as started:
        yield started
        assert started.unexpected == []


async def ask(model: ChatOpenAI, *tools: Any, messages: Any = HELLO) -> tuple[list[str], Reply]:
    *tokens, last = [piece async for piece in stream_reply(model, messages, tools)]
    assert isinstance(last, Reply)
    assert all(isinstance(token, Token) for token in tokens)
    return [token.text for token in tokens if isinstance(token, Token)], last


ANSWERS = {
    "text": says("It is on its way, and will be there tomorrow."),
    "unicode": says(["Gr", "üße ", "🙂", "\n\n", "…"]),
    "no usage": says("Short.", usage=None),
    "length": says("Cut off at", finish_reason="length"),
    "one call": calls(("getOrder", {"order_id": "1002"})),
    "two calls": calls(
        ("getOrder", {"order_id": "1002"}), ("listOrders", {}), ids=("a", "b"), text="Let me see."
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_streams_what_the_parent_streams(endpoint: ModelEndpoint, name: str) -> None:
    endpoint.queue(ANSWERS[name], ANSWERS[name])

    async with opened(endpoint) as ours, parent(endpoint) as theirs:
        tokens, reply = await ask(ours, TOOL)
        _, same = await ask(theirs, TOOL)

    assert reply == same
    assert "".join(tokens) == reply.text
    mine, yours = (request.body for request in endpoint.requests)
    assert mine["messages"] == yours["messages"]
    assert mine["tools"] == yours["tools"] == [TOOL]
    assert mine["stream_options"] == yours["stream_options"] == {"include_usage": True}


async def test_gives_every_part_of_the_reply(endpoint: ModelEndpoint) -> None:
    endpoint.queue(calls(("getOrder", {"order_id": 7}), text="One moment.", ids=("c1",)))

    async with opened(endpoint) as model:
        _, reply = await ask(model)

    assert reply == Reply(
        text="One moment.",
        tool_calls=(ToolCallRequest("c1", "getOrder", '{"order_id": 7}'),),
        usage=Usage(20, 7),
        finish_reason="tool_calls",
    )


async def test_a_refusal_is_a_reply(endpoint: ModelEndpoint) -> None:
    """The parent drops refusals while it streams; of it, nothing is left but an empty answer."""
    endpoint.queue(*[says("", refusal="I will not do that.")] * 2)

    async with opened(endpoint) as ours, parent(endpoint) as theirs:
        tokens, reply = await ask(ours)
        with pytest.raises(ModelBrokenAnswer):
            await ask(theirs)

    assert (tokens, reply.text, reply.refusal) == ([], "", "I will not do that.")


async def test_sends_the_key_the_model_and_no_empty_tools(endpoint: ModelEndpoint) -> None:
    endpoint.queue(says("hi"))

    async with opened(endpoint, openai_model="some-model") as model:
        await ask(model)

    request = endpoint.requests[0]
    assert request.headers["authorization"] == "Bearer test-key-1234"
    assert request.body["model"] == "some-model"
    assert "tools" not in request.body


async def test_tokens_come_before_the_answer_is_complete(endpoint: ModelEndpoint) -> None:
    rest = asyncio.Event()
    endpoint.queue(stalled(says("one two three"), rest, after=2))

    async with (
        opened(endpoint) as model,
        contextlib.aclosing(stream_reply(model, HELLO)) as pieces,
    ):
        assert await anext(pieces) == Token("one")
        rest.set()
        assert [piece async for piece in pieces][-1].text == "one two three"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
async def test_bytes_may_be_cut_anywhere(endpoint: ModelEndpoint, size: int) -> None:
    whole = calls(("getOrder", {"note": "Grüße 🙂"}), text="Grüße 🙂 ja")
    endpoint.queue(whole, split(whole, size))

    async with opened(endpoint) as model:
        assert (await ask(model))[1] == (await ask(model))[1]


async def test_one_connection_serves_many_calls(endpoint: ModelEndpoint) -> None:
    endpoint.queue(*[says("hi there")] * 5)

    async with opened(endpoint) as model:
        for _ in range(5):
            await ask(model)

    assert endpoint.connections == 1


async def test_does_not_wait_for_the_end_of_the_body(endpoint: ModelEndpoint) -> None:
    never = asyncio.Event()
    done = says("hi")
    endpoint.queue(stalled(done, never, after=len(done.pieces)))

    async with opened(endpoint) as model, asyncio.timeout(5):
        _, reply = await ask(model)

    assert reply.text == "hi"


async def test_an_endpoint_that_does_not_stream_is_read_too(endpoint: ModelEndpoint) -> None:
    whole = calls(("getOrder", {"order_id": 1}), text="See:")
    as_json = Script(
        pieces=(httpx.Response(200, json=whole.body).content,),
        headers={"content-type": "application/json"},
    )
    broken = Script(pieces=(b"{",), headers={"content-type": "application/json"})
    endpoint.queue(as_json, broken)

    async with opened(endpoint) as model:
        tokens, reply = await ask(model)
        with pytest.raises(ModelBrokenAnswer, match="no JSON"):
            await ask(model)

    assert tokens == ["See:"]
    assert reply.tool_calls[0].arguments_json == '{"order_id": 1}'


FAILURES: dict[str, tuple[Script, type[SupportError]]] = {
    "key": (fails(401), ModelAuth),
    "forbidden": (fails(403), ModelAuth),
    "busy": (fails(429, headers={"retry-after": "3"}), ModelRateLimited),
    "filter": (fails(400, code="content_filter"), ModelRefused),
    "long": (fails(400, code="context_length_exceeded"), ModelContextTooLong),
    "unknown model": (fails(404), ModelRejected),
    "server": (fails(500), ModelUnavailable),
    "gateway page": (fails(502, body=b"<html>bad gateway</html>"), ModelUnavailable),
    "filtered answer": (says("so", finish_reason="content_filter"), ModelRefused),
    "mid-stream": (
        streams(says("so").pieces[0], sse({"error": {"code": "rate_limit_exceeded"}})),
        ModelRateLimited,
    ),
    "garbage": (streams(b"data: {no json\n\n"), ModelBrokenAnswer),
    "page": (streams(b"<html>hello</html>"), ModelBrokenAnswer),
    "nothing": (streams(), ModelBrokenAnswer),
    "empty": (says(""), ModelBrokenAnswer),
}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("which", [opened, parent])
async def test_failures_are_named_for_both_classes(
    endpoint: ModelEndpoint, name: str, which: Any
) -> None:
    script, expected = FAILURES[name]
    endpoint.queue(script, says("fine again"))

    async with which(endpoint) as model:
        with pytest.raises(expected) as caught:
            await ask(model)
        assert (await ask(model))[1].text == "fine again"

    assert "test-key" not in str(caught.value)
    if isinstance(caught.value, ModelRateLimited) and name == "busy":
        assert caught.value.retry_after == 3.0


@pytest.mark.parametrize("events", range(5))
async def test_half_an_answer_is_no_answer(endpoint: ModelEndpoint, events: int) -> None:
    endpoint.queue(cut_after(says("a b c d"), events))

    async with opened(endpoint) as model:
        with pytest.raises(ModelBrokenAnswer):
            await ask(model)


async def test_a_line_cut_after_the_last_event_loses_nothing(endpoint: ModelEndpoint) -> None:
    whole = says("a b c d", usage=None)
    endpoint.queue(cut_after(whole, len(whole.pieces) - 1))

    async with opened(endpoint) as model:
        assert (await ask(model))[1].text == "a b c d"


async def test_a_cut_error_body_still_says_which_error_it_is(endpoint: ModelEndpoint) -> None:
    endpoint.queue(Script(pieces=(b'{"error":',), status=401, cut=True))

    async with opened(endpoint) as model:
        with pytest.raises(ModelAuth):
            await ask(model)


async def test_of_a_huge_error_body_only_the_beginning_is_read(endpoint: ModelEndpoint) -> None:
    endpoint.queue(fails(500, body=b"x" * 4_000_000))

    async with opened(endpoint) as model:
        with pytest.raises(ModelUnavailable) as caught:
            await ask(model)

    assert len(str(caught.value)) < 400


async def test_an_endpoint_that_is_not_there_is_a_network_error() -> None:
    async with ModelEndpoint() as gone:
        pass
    async with opened(gone) as ours, parent(gone) as theirs:
        for model in (ours, theirs):
            with pytest.raises(ModelUnavailable) as caught:
                await ask(model)
            assert caught.value.category is ErrorCategory.NETWORK


async def test_silence_before_the_answer_times_out(endpoint: ModelEndpoint) -> None:
    # The reply's head is held back: a second server that takes the request and says nothing.
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/v1"
    model = open_model(settings(smart_support_model_timeout=0.05), base_url_override=address)
    with pytest.raises(ModelUnavailable) as caught:
        await ask(model)
    await model.close()
    silent.close()

    assert caught.value.category is ErrorCategory.TIMEOUT


async def test_a_stall_in_the_middle_times_out(endpoint: ModelEndpoint) -> None:
    endpoint.queue(stalled(says("one two"), asyncio.Event(), after=2))

    async with opened(endpoint, smart_support_model_timeout=0.05) as model:
        with pytest.raises(ModelUnavailable) as caught:
            await ask(model)

    assert caught.value.category is ErrorCategory.TIMEOUT
    async with asyncio.timeout(5):
        await endpoint.requests[0].hung_up.wait()


async def test_a_stall_of_the_parent_times_out_too(endpoint: ModelEndpoint) -> None:
    endpoint.queue(stalled(says("one two"), asyncio.Event(), after=2))

    async with parent(endpoint) as model:
        model.stream_chunk_timeout = 0.05
        with pytest.raises(ModelUnavailable, match="stalled") as caught:
            await ask(model)

    assert caught.value.category is ErrorCategory.TIMEOUT


async def test_comments_do_not_count_as_an_answer() -> None:
    """A server that sends keep-alive comments for ever has still stalled."""

    async def murmur(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b": still here\n\n")
                await writer.drain()
                await asyncio.sleep(0.01)

    server = await asyncio.start_server(murmur, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    model = open_model(settings(smart_support_model_timeout=0.1), base_url_override=address)
    async with asyncio.timeout(5):
        with pytest.raises(ModelUnavailable, match="stalled"):
            await ask(model)
    await model.close()
    server.close()


async def test_a_cancelled_reader_closes_its_connection(endpoint: ModelEndpoint) -> None:
    endpoint.queue(stalled(says("one two"), asyncio.Event(), after=2))

    async with opened(endpoint) as model:
        reading = asyncio.create_task(ask(model))
        await endpoint.received(1)
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        async with asyncio.timeout(5):
            await endpoint.requests[0].hung_up.wait()


@pytest.mark.parametrize("which", [opened, parent])
async def test_a_reader_that_stops_early_closes_its_connection(
    endpoint: ModelEndpoint, which: Any
) -> None:
    endpoint.queue(stalled(says("one two"), asyncio.Event(), after=2))

    async with which(endpoint) as model:
        async with contextlib.aclosing(stream_reply(model, HELLO)) as pieces:
            await anext(pieces)
        async with asyncio.timeout(5):
            await endpoint.requests[0].hung_up.wait()


HISTORY = [
    SystemMessage("You help."),
    HumanMessage([{"type": "text", "text": "where is it?"}]),
    AIMessage("", tool_calls=[{"id": "c1", "name": "getOrder", "args": {"order_id": 1}}]),
    ToolMessage("found", tool_call_id="c1"),
    AIMessage("It is here."),
]


async def test_messages_have_the_wire_form_of_the_parent(endpoint: ModelEndpoint) -> None:
    endpoint.queue(says("a"), says("b"))

    async with opened(endpoint) as ours, parent(endpoint) as theirs:
        await ask(ours, messages=[*HISTORY, *HELLO])
        await ask(theirs, messages=[*HISTORY, *HELLO])

    mine, yours = (request.body["messages"] for request in endpoint.requests)
    assert mine == yours
    assert mine[-1] == HELLO[0]


async def test_the_model_is_langchains_from_the_start(endpoint: ModelEndpoint) -> None:
    """docs/decisions/0021: one client, whatever it costs to load."""
    async with opened(endpoint) as model:
        assert isinstance(model, ChatOpenAI)


async def test_a_message_is_converted_once_and_forgotten_with_it(endpoint: ModelEndpoint) -> None:
    endpoint.queue(*[says("a")] * 3)
    history = [HumanMessage("one"), AIMessage("two")]
    converted: list[int] = []

    class Counting(StreamingChatOpenAI):
        def _get_request_payload(self, input_: Any, **kwargs: Any) -> Any:
            converted.append(len(input_))
            return super()._get_request_payload(input_, **kwargs)

    async with opened(endpoint) as opened_model:
        fields = {
            name: getattr(opened_model, name) for name in ("http_client", "http_async_client")
        }
        model = Counting(model="m", api_key=SecretStr("k"), base_url=endpoint.base_url, **fields)
        await ask(model, messages=history)
        await ask(model, messages=history)
        history[0].content = "changed"
        await ask(model, messages=history)
        assert len(model._wire._forms) == 2
        history.clear()
        gc.collect()
        assert not model._wire._forms

    assert [count for count in converted if count] == [2, 1]
    assert endpoint.requests[2].body["messages"][0]["content"] == "changed"


def responds(*texts: str, cut: str | None = None) -> Script:
    """A text answer of the Responses API; `cut` is why it is not complete."""
    made: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "created_at": 0,
        "model": "my-codex",
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "status": "in_progress",
    }
    part = {"output_index": 0, "content_index": 0, "item_id": "msg_1", "logprobs": []}
    item = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "".join(texts), "annotations": []}],
    }
    usage = {
        "input_tokens": 20,
        "output_tokens": 7,
        "total_tokens": 27,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    ended = (
        {"status": "completed"}
        if cut is None
        else {"status": "incomplete", "incomplete_details": {"reason": cut}}
    )
    whole = made | ended | {"output": [item], "usage": usage}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": made},
        *({"type": "response.output_text.delta", "delta": text} | part for text in texts),
        {"type": f"response.{ended['status']}", "response": whole},
    ]
    return streams(*(sse(event | {"sequence_number": at}) for at, event in enumerate(events)))


async def test_a_model_without_chat_completions_is_asked_by_the_parent(
    endpoint: ModelEndpoint,
) -> None:
    endpoint.queue(
        responds("It is ", "here."),
        responds("It is ", cut="max_output_tokens"),
        responds("It ", cut="content_filter"),
        responds("It ", cut="something else"),
        fails(429, code="rate_limit_exceeded"),
    )

    async with opened(endpoint, openai_model="my-codex") as model:
        tokens, reply = await ask(model)
        assert (await ask(model))[1].finish_reason == "length"
        for failure in (ModelRefused, ModelBrokenAnswer, ModelRateLimited):
            with pytest.raises(failure):
                await ask(model)

    assert endpoint.requests[0].path.endswith("/responses")
    assert tokens == ["It is ", "here."]
    assert (reply.text, reply.usage) == ("It is here.", Usage(20, 7))


class TestAsALangChainModel:
    """The same class through LangChain's own methods."""

    async def test_astream_gives_the_chunks_of_the_parent(self, endpoint: ModelEndpoint) -> None:
        script = calls(("getOrder", {"order_id": "1002"}), text="Let me see.", ids=("c1",))
        endpoint.queue(script, script)

        async with opened(endpoint) as ours, parent(endpoint) as theirs:
            wholes = []
            for model in (ours, theirs):
                whole = AIMessageChunk("")
                async for chunk in model.bind_tools([TOOL]).astream("hello", stop=["END"]):
                    whole += chunk
                wholes.append(whole)

        mine, yours = wholes
        assert mine.content == yours.content == "Let me see."
        assert mine.tool_calls == yours.tool_calls
        assert mine.usage_metadata == yours.usage_metadata
        assert mine.response_metadata == yours.response_metadata
        sent, expected = (request.body for request in endpoint.requests)
        assert sent | {"model": ""} == expected | {"model": ""}

    async def test_callbacks_see_each_token(self, endpoint: ModelEndpoint) -> None:
        endpoint.queue(says("one two"))

        async with opened(endpoint) as model:
            events = [event async for event in model.astream_events("hello", version="v2")]

        streamed = [e["data"]["chunk"].text for e in events if e["event"] == "on_chat_model_stream"]
        assert "".join(streamed) == "one two"

    async def test_half_an_answer_raises_here_too(self, endpoint: ModelEndpoint) -> None:
        endpoint.queue(cut_after(says("a b c d"), 3))

        async with opened(endpoint) as model:
            with pytest.raises(ModelBrokenAnswer):
                [chunk async for chunk in model.astream("hello")]

    async def test_usage_can_be_left_out(self, endpoint: ModelEndpoint) -> None:
        endpoint.queue(says("a", usage=None))

        async with opened(endpoint) as model:
            [chunk async for chunk in model.astream("hello", stream_usage=False)]

        assert "stream_options" not in endpoint.requests[0].body

    async def test_what_is_not_streamed_is_the_parents(self, endpoint: ModelEndpoint) -> None:
        endpoint.queue(says("whole"), says('{"ok": true}'))

        async with opened(endpoint) as model:
            assert (await model.ainvoke("hello")).content == "whole"
            json_mode = {"type": "json_object"}
            chunks = [c async for c in model.astream("hello", response_format=json_mode)]

        assert "".join(chunk.text for chunk in chunks) == '{"ok": true}'
        assert endpoint.requests[1].body["response_format"] == json_mode


def test_words_join_to_the_same_text() -> None:
    assert "".join(words(" a  b\n\nc ")) == " a  b\n\nc "


class TestOpening:
    async def test_without_a_key_there_is_no_model(self) -> None:
        with pytest.raises(SetupError, match="OPENAI_API_KEY"):
            open_model(Settings(_env_file=None, openai_api_key=None))

    async def test_the_offline_address_never_gets_the_key(self, endpoint: ModelEndpoint) -> None:
        endpoint.queue(says("hi"))
        model = open_model(settings(), base_url_override=endpoint.base_url)
        await ask(model)
        await model.close()

        assert "test-key" not in endpoint.requests[0].headers["authorization"]

    async def test_the_public_endpoint_is_the_default(self) -> None:
        model = open_model(settings())
        assert str(model.root_async_client.base_url) == "https://api.openai.com/v1/"
        assert model.max_retries == 0
        await model.close()

    async def test_the_key_is_not_shown(self) -> None:
        model = open_model(settings())
        assert "test-key" not in repr(model)
        await model.close()
