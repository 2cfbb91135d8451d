"""What one turn may use up: at a cap it ends with words and with a person, never in silence."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from tests.support.model_endpoint import calls, fails, says
from tests.support.turns import NOTE, ORDER_1, Desk, open_desk, wire_problems
from tests.support.upstream import answers, waits

from smart_support.agent.caps import Caps, Prices
from smart_support.agent.prompts import AT_A_CAP, HANDOFF
from smart_support.chat.answering import TurnLimits
from smart_support.database import Sessions
from smart_support.events.records import HandoffAsked, ToolReturned

Open = Callable[..., AbstractAsyncContextManager[Desk]]


@pytest.fixture
def capped(sessions: Sessions, database_url: str) -> Open:
    """Opens a desk whose turns have these caps."""

    def opened(**caps: Any) -> AbstractAsyncContextManager[Desk]:
        limits = TurnLimits(max_model_calls=8, caps=Caps(**caps))
        return open_desk(sessions, database_url, limits=limits)

    return opened


def orders(*numbers: int) -> list[tuple[str, dict[str, str]]]:
    return [("getOrder", {"order_id": str(number)}) for number in numbers]


async def check_stopped(desk: Desk, cap: str) -> None:
    """The turn ended with words, a person was asked for, and the thread is usable."""
    facts = await desk.facts()
    assert desk.said(facts)[-1] == AT_A_CAP
    (asked,) = desk.of(facts, HandoffAsked)
    assert (asked.reason, asked.by) == ("usage_limit", "agent")
    assert cap in asked.note
    assert desk.closings(facts) == [("done", None)]


async def test_on_tool_calls(capped: Open) -> None:
    async with capped(tool_calls=3) as desk:
        desk.model.queue(calls(*orders(1, 2)), calls(*orders(3, 4)))

        await desk.say("Look at everything")

        assert len(desk.model.requests) == 2
        await check_stopped(desk, "3 tool calls")


async def test_on_tokens(capped: Open) -> None:
    async with capped(tokens=100) as desk:
        desk.model.queue(calls(*orders(1), usage=(40, 20)), calls(*orders(2), usage=(40, 20)))

        await desk.say("Look at everything")

        assert len(desk.model.requests) == 2
        await check_stopped(desk, "100 tokens")


async def test_on_tokens_of_an_endpoint_that_does_not_count_them(capped: Open) -> None:
    async with capped(tokens=30) as desk:
        desk.model.queue(calls(*orders(1), usage=None), calls(*orders(2), usage=None))

        await desk.say("Look at everything, please. " * 10)

        assert len(desk.model.requests) == 1
        await check_stopped(desk, "30 tokens")


async def test_on_cost(capped: Open) -> None:
    async with capped(cost=0.05, prices=Prices(input=1_000, output=2_000)) as desk:
        # 10 × 0.001 + 20 × 0.002
        desk.model.queue(calls(*orders(1), usage=(10, 20)))

        await desk.say("Look at everything")

        assert len(desk.model.requests) == 1
        await check_stopped(desk, "a cost of 0.05")


async def test_on_seconds(capped: Open) -> None:
    until = asyncio.Event()
    async with capped(seconds=60.0) as desk:
        desk.api.queue(waits(until, answers({"status": "sent"})))
        desk.model.queue(calls(*orders(1)))
        await desk.send("Look at everything")
        await desk.api.received(1)
        desk.clock.pass_by(61)
        until.set()
        await desk.settled()

        assert len(desk.model.requests) == 1
        await check_stopped(desk, "60 seconds")


class TestParallel:
    async def test_of_fifty_calls_ten_are_made_and_the_others_told_of(self, desk: Desk) -> None:
        desk.model.queue(calls(*orders(*range(50))), says("That was a lot."))

        await desk.say("Look at fifty orders")

        assert len(desk.api.requests) == 10
        returned = desk.of(await desk.facts(), ToolReturned)
        assert [each.code for each in returned].count("TOOL_TOO_MANY") == 40
        assert len(returned) == 50
        assert wire_problems(desk.told()) == []
        assert desk.said(await desk.facts()) == ["That was a lot."]

    async def test_what_the_model_gets_wrong_is_told_beside_what_works(self, desk: Desk) -> None:
        desk.model.queue(
            calls(
                ("unknown", {}),
                ("getOrder", {"order_id": 7}),
                ("getOrder", "{no json"),
                ORDER_1,
                ids=("a", "b", "c", "d"),
            ),
            says("One worked."),
        )

        await desk.say("Try things")

        codes = [each.code for each in desk.of(await desk.facts(), ToolReturned)]
        assert sorted(filter(None, codes)) == [
            "TOOL_ARGUMENTS_INVALID",
            "TOOL_BROKEN_ARGUMENTS",
            "TOOL_UNKNOWN",
        ]
        assert len(desk.api.requests) == 1
        assert wire_problems(desk.told()) == []


class TestRepeating:
    async def test_the_third_time_the_same_read_is_not_made(self, desk: Desk) -> None:
        desk.model.queue(*[calls(ORDER_1)] * 3, says("I have looked enough."))

        await desk.say("Look again and again")

        assert len(desk.api.requests) == 2
        returned = desk.of(await desk.facts(), ToolReturned)
        assert [each.code for each in returned] == [None, None, "TOOL_REPEATED"]
        assert "already" in desk.told()[-1]["content"]

    async def test_a_write_that_nobody_looks_at_is_made_once(self, desk: Desk) -> None:
        desk.model.queue(calls(NOTE), calls(NOTE), says("Noted."))

        await desk.say("Leave it at the door")

        assert len(desk.api.requests) == 1

    async def test_a_write_that_surely_failed_may_be_tried_again(self, desk: Desk) -> None:
        desk.api.queue(answers({"error": "too long"}, status=422))
        desk.model.queue(calls(NOTE), calls(NOTE), says("Noted."))

        await desk.say("Leave it at the door")

        assert len(desk.api.requests) == 2

    async def test_a_write_of_unknown_outcome_is_not(self, desk: Desk) -> None:
        desk.api.queue(answers({}, status=503))
        desk.model.queue(calls(NOTE), calls(NOTE), says("I do not know."))

        await desk.say("Leave it at the door")

        assert len(desk.api.requests) == 1
        assert await desk.calls() == [("POST /notes", "ambiguous")]


class TestAConversationThatIsTooLong:
    @pytest.fixture
    async def long(self, desk: Desk) -> Desk:
        for number in range(6):
            desk.model.queue(says(f"Answer {number} " + "with many words " * 40))
            await desk.say(f"Question {number}")
        return desk

    async def test_is_shortened_and_tried_once_more(self, long: Desk) -> None:
        long.model.queue(fails(400, code="context_length_exceeded"), says("Now it fits."))

        await long.say("And now?")

        assert long.said(await long.facts())[-1] == "Now it fits."
        before, after = long.told(-2), long.told(-1)
        assert len(after) < len(before) / 2
        assert after[-1] == before[-1] == {"role": "user", "content": "And now?"}
        assert wire_problems(after) == []

    async def test_twice_is_told(self, long: Desk) -> None:
        long.model.queue(*[fails(400, code="context_length_exceeded")] * 2)

        await long.say("And now?")

        assert long.closings(await long.facts())[-1] == ("failed", "MODEL_CONTEXT_TOO_LONG")


async def test_after_a_handoff_nothing_else_can_be_called(desk: Desk) -> None:
    desk.model.queue(
        calls((HANDOFF, {"reason": "missing_knowledge", "note": "?"})), says("A person comes.")
    )

    await desk.say("What is the meaning of it all?")

    assert "tools" not in desk.model.requests[-1].body
    assert desk.said(await desk.facts()) == ["A person comes."]
