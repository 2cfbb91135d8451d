"""A model that goes on answering while an endpoint does not: every fault over real HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import SecretStr
from tests.support.model_endpoint import (
    ModelEndpoint,
    Script,
    calls,
    cut_after,
    fails,
    says,
    sse,
    stalled,
    streams,
)
from tests.support.turns import Clock

from smart_support.agent.model import open_model
from smart_support.agent.model_chain import ModelChain, Patience, stand_bys
from smart_support.agent.model_check import check_any
from smart_support.agent.model_errors import (
    ModelAuth,
    ModelBrokenAnswer,
    ModelContextTooLong,
    ModelRefused,
    ModelUnavailable,
)
from smart_support.agent.reply import Reply, Restarted, Switched, Token
from smart_support.errors import SupportError
from smart_support.settings import Settings

HELLO = [{"role": "user", "content": "hello"}]
ANSWER = says("All is well.")


@dataclass
class Two:
    """A configured model and its stand-by, each an endpoint of its own."""

    primary: ModelEndpoint
    other: ModelEndpoint
    chain: ModelChain
    alone: ModelChain
    clock: Clock

    async def asked(self, chain: ModelChain | None = None) -> list[Any]:
        return [piece async for piece in (chain or self.chain).stream(HELLO)]


@pytest.fixture
async def two() -> AsyncIterator[Two]:
    async with AsyncExitStack() as stack:
        primary = await stack.enter_async_context(ModelEndpoint())
        other = await stack.enter_async_context(ModelEndpoint())
        models = []
        for endpoint, timeout in ((primary, 0.3), (other, 5.0)):
            settings = Settings(
                _env_file=None,
                openai_api_key=SecretStr("test-key-1234"),
                openai_base_url=endpoint.base_url,
                smart_support_model_timeout=timeout,
            )
            model = open_model(settings)
            stack.push_async_callback(model.close)
            models.append(model)
        clock = Clock()
        made: Any = {"sleep": clock.sleep, "monotonic": clock.monotonic, "chance": lambda: 0.5}
        patience = Patience(rest=30.0)
        yield Two(
            primary,
            other,
            ModelChain(models, patience, **made),
            ModelChain(models[:1], patience, **made),
            clock,
        )


def read(pieces: list[Any]) -> str:
    """What somebody reads who follows the stream."""
    text = ""
    for piece in pieces:
        if isinstance(piece, Token):
            text += piece.text
        elif isinstance(piece, Restarted):
            text = ""
    return text


async def note(chain: ModelChain, seen: list[Any]) -> None:
    """Put what comes into `seen`, also if it ends in a failure."""
    async for piece in chain.stream(HELLO):
        seen += [piece]


FAULTS = {
    "down": fails(503),
    "crashed": fails(500),
    "unauthorised": fails(401),
    "busy for long": fails(429, headers={"retry-after": "60"}),
    "unknown model": fails(404, "no such model"),
    "half a stream": cut_after(says("All is not"), 3),
    "garbage": streams(b"data: what is this?\n\n"),
    "an error in mid-stream": streams(sse({"error": {"message": "overloaded", "code": 503}})),
    "empty": says(""),
}


class TestWithAStandBy:
    @pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
    async def test_an_answer_comes_whole_and_once(self, two: Two, fault: Script) -> None:
        two.primary.queue(fault, fault, fault)
        two.other.queue(ANSWER)

        pieces = await two.asked()

        assert read(pieces) == "All is well."
        assert isinstance(pieces[-1], Reply)
        assert pieces[-1].text == "All is well."
        assert [type(piece) for piece in pieces].count(Switched) == 1

    async def test_a_dead_one_is_not_waited_for_each_time(self, two: Two) -> None:
        two.primary.queue(*[fails(503)] * 3)
        two.other.queue(ANSWER, ANSWER, ANSWER)
        await two.asked()
        assert two.chain.degraded == two.chain.replaced == "MODEL_UNAVAILABLE"

        for _ in range(2):
            assert [type(piece) for piece in await two.asked()].count(Switched) == 0

        assert len(two.primary.requests) == 3

    async def test_that_is_back_is_found_by_one_question(self, two: Two) -> None:
        two.primary.queue(*[fails(503)] * 3)
        two.other.queue(ANSWER, ANSWER)
        await two.asked()
        two.clock.pass_by(31)
        until = asyncio.Event()
        two.primary.queue(stalled(says("I am back."), until))

        probing = asyncio.create_task(two.asked())
        await two.primary.received(4)
        meanwhile = await two.asked()
        until.set()

        assert read(meanwhile) == "All is well."
        assert read(await probing) == "I am back."
        assert two.chain.degraded is two.chain.replaced is None
        two.primary.queue(ANSWER)
        assert read(await two.asked()) == "All is well."
        assert len(two.primary.requests) == 5

    async def test_one_that_asks_for_time_gets_it(self, two: Two) -> None:
        two.primary.queue(fails(429, headers={"retry-after": "120"}))
        two.other.queue(ANSWER, ANSWER)
        await two.asked()
        two.clock.pass_by(100)

        await two.asked()

        assert len(two.primary.requests) == 1
        assert two.clock.waits == []

    async def test_one_that_stalls_is_left_at_once(self, two: Two) -> None:
        two.primary.queue(stalled(says("All is not"), asyncio.Event(), after=3))
        two.other.queue(ANSWER)

        pieces = await two.asked()

        assert read(pieces) == "All is well."
        assert len(two.primary.requests) == 1

    @pytest.mark.parametrize(
        ("script", "error"),
        [
            (fails(400, code="context_length_exceeded"), ModelContextTooLong),
            (fails(400, code="content_filter"), ModelRefused),
            (says("All is", finish_reason="content_filter"), ModelRefused),
        ],
    )
    async def test_what_lies_in_the_question_is_not_asked_elsewhere(
        self, two: Two, script: Script, error: type[SupportError]
    ) -> None:
        two.primary.queue(script)

        with pytest.raises(error):
            await two.asked()

        assert two.other.requests == []
        assert two.chain.degraded is None

    async def test_a_refusal_is_an_answer(self, two: Two) -> None:
        two.primary.queue(says("", refusal="I may not."))

        assert (await two.asked())[-1].refusal == "I may not."

    async def test_when_none_answers_the_last_failure_is_told(self, two: Two) -> None:
        two.primary.queue(fails(401))
        two.other.queue(*[fails(503)] * 3)

        with pytest.raises(ModelUnavailable):
            await two.asked()

    async def test_those_that_rest_are_asked_when_no_other_is_left(self, two: Two) -> None:
        two.primary.queue(fails(401))
        two.other.queue(*[fails(503)] * 3)
        with pytest.raises(ModelUnavailable):
            await two.asked()
        two.primary.queue(ANSWER)

        assert read(await two.asked()) == "All is well."

    async def test_tool_calls_of_half_a_stream_are_not_made(self, two: Two) -> None:
        two.primary.queue(*[cut_after(calls(("getOrder", {"order_id": 1})), 3)] * 3)
        two.other.queue(calls(("getOrder", {"order_id": 2})))

        reply = (await two.asked())[-1]

        assert [call.arguments_json for call in reply.tool_calls] == ['{"order_id": 2}']

    async def test_stopping_early_lets_the_next_question_probe(self, two: Two) -> None:
        two.primary.queue(*[fails(503)] * 3)
        two.other.queue(ANSWER)
        await two.asked()
        two.clock.pass_by(31)
        two.primary.queue(ANSWER, ANSWER)
        stream = two.chain.stream(HELLO)
        await anext(stream)
        await stream.aclose()

        assert read(await two.asked()) == "All is well."
        assert two.chain.degraded is None


class TestAlone:
    @pytest.mark.parametrize("fault", [fails(500), FAULTS["garbage"], FAULTS["empty"]])
    async def test_what_may_pass_is_tried_again(self, two: Two, fault: Script) -> None:
        two.primary.queue(fault, fault, ANSWER)

        assert read(await two.asked(two.alone)) == "All is well."
        assert two.clock.waits == [0.25, 0.5]

    async def test_half_an_answer_is_taken_back_before_the_whole(self, two: Two) -> None:
        two.primary.queue(cut_after(says("All is not"), 3), ANSWER)

        pieces = await two.asked(two.alone)

        assert [type(piece) for piece in pieces].count(Restarted) == 1
        assert read(pieces) == "All is well."

    async def test_half_an_answer_stays_if_nothing_better_comes(self, two: Two) -> None:
        two.primary.queue(cut_after(says("All is not"), 3), fails(500), fails(500))
        seen: list[Any] = []

        with pytest.raises(SupportError):
            await note(two.alone, seen)

        assert read(seen) == "All is"

    async def test_a_short_pause_that_was_asked_for_is_made(self, two: Two) -> None:
        two.primary.queue(fails(429, headers={"retry-after": "2"}), ANSWER)

        assert read(await two.asked(two.alone)) == "All is well."
        assert two.clock.waits == [2.0]

    @pytest.mark.parametrize(
        ("script", "error"), [(fails(401), ModelAuth), (fails(402), SupportError)]
    )
    async def test_what_does_not_pass_is_not_tried_again(
        self, two: Two, script: Script, error: type[SupportError]
    ) -> None:
        two.primary.queue(script)

        with pytest.raises(error):
            await two.asked(two.alone)

        assert len(two.primary.requests) == 1

    async def test_it_gives_up(self, two: Two) -> None:
        two.primary.queue(*[FAULTS["garbage"]] * 3)

        with pytest.raises(ModelBrokenAnswer):
            await two.asked(two.alone)

        assert len(two.primary.requests) == 3

    async def test_of_one_alone_nobody_stands_in(self, two: Two) -> None:
        two.primary.queue(fails(401))

        with pytest.raises(ModelAuth):
            await two.asked(two.alone)

        assert (two.alone.degraded, two.alone.replaced) == ("MODEL_AUTH", None)


async def test_one_that_hangs_does_not_hide_that_another_is_there(two: Two) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the other side gives up
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        settings = Settings(_env_file=None, openai_api_key=SecretStr("test-key-1234"))
        port = server.sockets[0].getsockname()[1]
        hangs = open_model(settings, base_url_override=f"http://127.0.0.1:{port}/v1")

        await check_any([hangs, two.chain.primary], 1.0)
        with pytest.raises(ModelUnavailable, match="in time"):
            await check_any([hangs, hangs], 0.05)
        await hangs.close()


class TestConfigured:
    def settings(self, **more: Any) -> Settings:
        return Settings(_env_file=None, openai_api_key=SecretStr("test-key-1234"), **more)

    def test_by_default_nobody_stands_by(self) -> None:
        assert stand_bys(self.settings(), offline=False) == []

    async def test_another_model_of_the_same_endpoint(self) -> None:
        (model,) = stand_bys(self.settings(openai_fallback_model="small"), offline=False)

        assert model.model_name == "small"
        assert model.openai_api_key.get_secret_value() == "test-key-1234"  # type: ignore[union-attr]
        await model.close()

    async def test_another_endpoint_with_its_own_key(self) -> None:
        settings = self.settings(
            openai_fallback_base_url="http://127.0.0.1:1/v1",
            openai_fallback_api_key=SecretStr("other-key"),
        )
        (model,) = stand_bys(settings, offline=False)

        assert str(model.root_async_client.base_url) == "http://127.0.0.1:1/v1/"
        assert model.openai_api_key.get_secret_value() == "other-key"  # type: ignore[union-attr]
        await model.close()
