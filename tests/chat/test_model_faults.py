"""A model that fails in the middle of a turn: what a customer sees, on whatever client."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from pydantic import SecretStr
from tests.support.chat_client import transcript_of
from tests.support.model_endpoint import ModelEndpoint, calls, cut_after, fails, says, streams
from tests.support.turns import ORDER_1, Desk

from smart_support.agent.model import open_model
from smart_support.agent.model_chain import ModelChain
from smart_support.api.agui import Speaker
from smart_support.chat.follow import Follower
from smart_support.chat.turn import TurnRunner
from smart_support.events.records import ModelSwitched, TurnClosed
from smart_support.settings import Settings


@dataclass
class Chained:
    desk: Desk
    other: ModelEndpoint


@pytest.fixture
async def chained(desk: Desk) -> AsyncIterator[Chained]:
    """A desk whose model has a stand-by."""
    async with ModelEndpoint() as other:
        settings = Settings(_env_file=None, openai_api_key=SecretStr("test-key"))
        stand_by = open_model(settings, base_url_override=other.base_url)
        clock = desk.clock
        chain = ModelChain(
            [desk.client, stand_by],
            sleep=clock.sleep,
            monotonic=clock.monotonic,
            chance=lambda: 0.5,
        )
        desk.first.runner = TurnRunner(replace(desk.first.runner._parts, model=chain))
        yield Chained(desk, other)
        await stand_by.close()


async def shown(desk: Desk, follower: Follower) -> list[dict[str, Any]]:
    """The frames of a client that has followed from the beginning."""
    speaker = Speaker(desk.thread_id)
    frames: list[dict[str, Any]] = []
    while not (frames and frames[-1]["event"]["type"] in {"RUN_FINISHED", "RUN_ERROR"}):
        item = await follower.next()
        assert not hasattr(item, "last_seq")
        frames += speaker.frames(item)  # type: ignore[arg-type]
    return frames


async def test_half_an_answer_is_replaced_never_doubled(chained: Chained) -> None:
    desk = chained.desk
    desk.model.queue(*[cut_after(says("Your order is lost."), 4)] * 3)
    chained.other.queue(says("Your order was sent on Monday."))
    with desk.first.followers.follow(desk.thread_id) as follower:
        await desk.say("Where is it?")
        frames = await shown(desk, follower)

    assert transcript_of(frames).texts == [
        ("user", "Where is it?"),
        ("assistant", "Your order was sent on Monday."),
    ]
    facts = await desk.facts()
    assert desk.said(facts) == ["Your order was sent on Monday."]
    (switched,) = desk.of(facts, ModelSwitched)
    assert switched.code == "MODEL_BROKEN_ANSWER"
    assert "model_switched" in [frame["event"].get("name") for frame in frames]


async def test_a_client_that_comes_late_sees_the_same(chained: Chained) -> None:
    desk = chained.desk
    desk.model.queue(*[cut_after(says("Your order is lost."), 4)] * 3)
    chained.other.queue(says("It was sent."))
    await desk.say("Where is it?")
    speaker = Speaker(desk.thread_id)

    frames = [
        frame for event in await desk.log.read(desk.thread_id) for frame in speaker.frames(event)
    ]

    assert transcript_of(frames).texts[-1] == ("assistant", "It was sent.")


async def test_a_tool_call_is_made_once_although_the_model_broke(chained: Chained) -> None:
    desk = chained.desk
    desk.model.queue(*[cut_after(calls(ORDER_1), 2)] * 3)
    chained.other.queue(calls(ORDER_1), says("It is on its way."))

    await desk.say("Where is it?")

    assert len(desk.api.requests) == 1
    assert desk.said(await desk.facts()) == ["It is on its way."]
    assert len(desk.model.requests) == 3  # not asked again for the second step


async def test_when_no_model_answers_a_person_is_offered(chained: Chained) -> None:
    desk = chained.desk
    desk.model.queue(fails(401))
    chained.other.queue(*[streams(b"data: nonsense\n\n")] * 3)

    await desk.say("Where is it?")

    (closed,) = desk.of(await desk.facts(), TurnClosed)
    assert (closed.status, closed.code) == ("failed", "MODEL_BROKEN_ANSWER")
    assert "a person" in (closed.message or "")


async def test_what_was_shown_when_all_fail_is_marked_and_kept(chained: Chained) -> None:
    desk = chained.desk
    desk.model.queue(cut_after(says("Your order is"), 4), *[fails(500)] * 2)
    chained.other.queue(*[fails(500)] * 3)
    with desk.first.followers.follow(desk.thread_id) as follower:
        await desk.say("Where is it?")
        frames = await shown(desk, follower)

    assert transcript_of(frames).texts[-1] == ("assistant", "Your order is")
    assert frames[-1]["event"]["type"] == "RUN_ERROR"
