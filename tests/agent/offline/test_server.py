import asyncio
import json
import signal
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from smart_support.agent.model import open_model, stream_reply
from smart_support.agent.offline import MODEL, offline_endpoint, reply
from smart_support.agent.reply import Reply, Token
from smart_support.settings import Settings

HELLO = [{"role": "user", "content": "hello"}]
CANCEL = {
    "type": "function",
    "function": {
        "name": "cancelOrder",
        "description": "Cancel an order",
        "parameters": {
            "type": "object",
            "properties": {"order_id": {"type": "string"}},
            "required": ["order_id"],
        },
    },
}


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with (
        offline_endpoint(token_delay=0) as base_url,
        httpx.AsyncClient(base_url=base_url, trust_env=False, verify=False) as client,
    ):
        yield client


async def complete(http: httpx.AsyncClient, **body: Any) -> Any:
    return (await http.post("/chat/completions", json=body)).json()


async def test_names_its_one_model(http: httpx.AsyncClient) -> None:
    listed = (await http.get("/models")).json()
    assert [model["id"] for model in listed["data"]] == [MODEL] == ["smart-support-offline"]


async def test_answers_in_one_piece(http: httpx.AsyncClient) -> None:
    answer = await complete(http, messages=HELLO)
    assert answer["model"] == MODEL
    assert answer["choices"][0]["message"]["content"] == reply(HELLO, []).text
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["total_tokens"] == sum(
        answer["usage"][name] for name in ("prompt_tokens", "completion_tokens")
    )


async def test_calls_tools_in_one_piece(http: httpx.AsyncClient) -> None:
    wish = [{"role": "user", "content": "cancel order 1002"}]
    message = (await complete(http, messages=wish, tools=[CANCEL]))["choices"][0]["message"]
    assert message["content"] is None
    function = message["tool_calls"][0]["function"]
    assert (function["name"], json.loads(function["arguments"])) == (
        "cancelOrder",
        {"order_id": "1002"},
    )


async def test_usage_is_streamed_only_if_asked_for(http: httpx.AsyncClient) -> None:
    asked = {"include_usage": True}
    without = await http.post("/chat/completions", json={"messages": HELLO, "stream": True})
    with_usage = await http.post(
        "/chat/completions", json={"messages": HELLO, "stream": True, "stream_options": asked}
    )
    assert "usage" not in without.text
    assert "prompt_tokens" in with_usage.text
    assert with_usage.headers["content-type"] == "text/event-stream"
    assert with_usage.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("text", ["hello", "cancel order 1002"])
async def test_the_model_client_reads_the_same_reply(text: str) -> None:
    messages = [{"role": "user", "content": text}]
    async with offline_endpoint(token_delay=0) as base_url:
        model = open_model(
            Settings(_env_file=None, openai_api_key=None), base_url_override=base_url
        )
        pieces = [piece async for piece in stream_reply(model, messages, [CANCEL])]
        await model.close()

    *tokens, last = pieces
    assert last == reply(messages, [CANCEL])
    assert isinstance(last, Reply)
    assert "".join(token.text for token in tokens if isinstance(token, Token)) == last.text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "no JSON"),
        (b"[]", "`messages`"),
        (b"{}", "`messages`"),
        (b'{"messages": ["x"]}', "`messages`"),
        (b'{"messages": [], "tools": 3}', "`tools`"),
        (b'{"messages": [], "tools": ["x"]}', "`tools`"),
        (b" " * (16 * 1024 * 1024 + 1), "larger than"),
    ],
)
async def test_a_wrong_request_is_told_what_is_wrong(
    http: httpx.AsyncClient, content: bytes, says: str
) -> None:
    answer = await http.post("/chat/completions", content=content)
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]


async def test_other_addresses_do_not_exist(http: httpx.AsyncClient) -> None:
    assert (await http.get("/chat/completions")).status_code == 404


async def test_a_client_that_leaves_disturbs_nobody(http: httpx.AsyncClient) -> None:
    url = http.base_url
    _, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await http.get("/models")).status_code == 200


async def test_words_are_delayed_and_signals_left_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with offline_endpoint(token_delay=0.001) as base_url:
        assert signal.getsignal(signal.SIGTERM) is before
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            body = {"messages": [{"role": "user", "content": "thanks"}], "stream": True}
            answer = await client.post(f"{base_url}/chat/completions", json=body)
    assert answer.text.count('"content"') > 5
    with pytest.raises(OSError, match=r"."):
        await asyncio.open_connection("127.0.0.1", httpx.URL(base_url).port)
