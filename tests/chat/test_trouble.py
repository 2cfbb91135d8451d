"""Turns that do not go as they should: failing models, stops, deadlines, senders that go away."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from tests.support.model_endpoint import Script, calls, cut_after, fails, says, stalled, streams
from tests.support.turns import ADA, NOTE, ORDER_1, REFUND, Desk, open_desk, wire_problems
from tests.support.upstream import answers, waits

from smart_support.agent.prompts import AT_A_CAP
from smart_support.agent.state import LiveText
from smart_support.chat.answering import TurnLimits
from smart_support.conversations.records import TurnStatus
from smart_support.database import Sessions
from smart_support.events.records import Event, HandoffAsked, ToolReturned, TurnClosed, TurnOpened
from smart_support.operations.tables import operations


@pytest.fixture
async def hasty(sessions: Sessions, database_url: str) -> AsyncIterator[Desk]:
    """A desk where a turn may take less than half a second."""
    limits = TurnLimits(timeout=0.4, max_model_calls=3)
    async with open_desk(sessions, database_url, limits=limits) as opened:
        yield opened


class TestAFailingModel:
    @pytest.mark.parametrize(
        ("script", "code"),
        [
            (fails(500), "MODEL_UNAVAILABLE"),
            (fails(401, "bad key sk-test-123456"), "MODEL_AUTH"),
            (fails(429), "MODEL_RATE_LIMITED"),
            (fails(404, "no such model"), "MODEL_REJECTED"),
            (streams(b"what is this?\n\n"), "MODEL_BROKEN_ANSWER"),
        ],
    )
    async def test_ends_the_turn_with_words_for_the_customer(
        self, desk: Desk, script: Script, code: str
    ) -> None:
        desk.model.queue(script)

        accepted = await desk.say("Hello?")

        facts = await desk.facts()
        (closed,) = desk.of(facts, TurnClosed)
        assert (closed.status, closed.code) == ("failed", code)
        assert closed.message
        assert "sk-test" not in closed.message
        assert desk.said(facts) == []
        assert (await desk.turn(accepted.turn_id)).status is TurnStatus.FAILED

    async def test_keeps_what_the_customer_has_read_already(self, desk: Desk) -> None:
        desk.model.queue(cut_after(says("Your order was sent on Monday."), 4))

        await desk.say("Where is it?")

        facts = await desk.facts()
        assert desk.said(facts) == ["Your order was"]
        assert desk.closings(facts) == [("failed", "MODEL_BROKEN_ANSWER")]
        assert desk.first.followers.written(desk.thread_id) is None

    async def test_does_not_stop_the_next_message(self, desk: Desk) -> None:
        desk.model.queue(fails(500), says("Here I am."))
        await desk.say("Hello?")

        await desk.say("Hello??")

        assert desk.said(await desk.facts()) == ["Here I am."]
        assert wire_problems(desk.told()) == []

    async def test_leaves_finished_calls_in_the_history(self, desk: Desk) -> None:
        desk.model.queue(calls(ORDER_1), fails(500), says("It was sent."))
        await desk.say("Where is it?")

        await desk.say("And now?")

        messages = desk.told()
        assert wire_problems(messages) == []
        assert messages[2] == {
            "role": "tool",
            "tool_call_id": messages[1]["tool_calls"][0]["id"],
            "content": '{"ok":true}',
        }

    async def test_a_refusal_is_its_answer(self, desk: Desk) -> None:
        desk.model.queue(says("", refusal="I will not help with that."))

        await desk.say("Something bad")

        assert desk.said(await desk.facts()) == ["I will not help with that."]


class TestStopping:
    async def test_in_the_middle_of_a_word_keeps_what_was_said(self, desk: Desk) -> None:
        until = asyncio.Event()
        desk.model.queue(stalled(says("One moment, please."), until, after=3), says("Yes?"))
        with desk.first.followers.follow(desk.thread_id) as follower:
            accepted = await desk.send("Hello?")
            while not isinstance(await follower.next(), LiveText):
                pass
            while (desk.first.followers.written(desk.thread_id) or ZERO).text != "One moment,":
                await follower.next()

        assert await desk.runner.cancel(ADA, desk.thread_id) is True
        await desk.settled()

        facts = await desk.facts()
        assert desk.said(facts) == ["One moment,"]
        assert desk.closings(facts) == [("cancelled", None)]
        assert (await desk.turn(accepted.turn_id)).status is TurnStatus.CANCELLED
        await asyncio.wait_for(desk.model.requests[0].hung_up.wait(), 10)
        await desk.say("Still there?")
        assert desk.said(await desk.facts())[-1] == "Yes?"
        assert wire_problems(desk.told()) == []

    async def test_in_the_middle_of_a_read_leaves_no_loose_end(self, desk: Desk) -> None:
        desk.model.queue(calls(ORDER_1), says("Yes?"))
        desk.api.queue(waits(asyncio.Event()))
        await desk.send("Where is it?")
        await desk.api.received(1)

        await desk.runner.cancel(ADA, desk.thread_id)
        await desk.settled()

        (returned,) = desk.of(await desk.facts(), ToolReturned)
        assert (returned.outcome, returned.code) == ("failed", "TOOL_CANCELLED")
        assert await desk.calls() == [("GET /orders/{order_id}", "failed")]
        await asyncio.wait_for(desk.api.requests[0].hung_up.wait(), 10)
        await desk.say("Still there?")
        assert wire_problems(desk.told()) == []

    async def test_one_of_two_calls_keeps_the_finished_one(self, desk: Desk) -> None:
        desk.model.queue(calls(ORDER_1, NOTE, ids=("a", "b")), says("Yes?"))
        desk.api.queue(waits(asyncio.Event()), path="/notes")
        await desk.send("Do both")
        await desk.api.received(2)
        while len(desk.of(await desk.facts(), ToolReturned)) < 1:
            await asyncio.sleep(0)

        await desk.runner.cancel(ADA, desk.thread_id)
        await desk.settled()

        assert sorted(await desk.calls()) == [
            ("GET /orders/{order_id}", "done"),
            ("POST /notes", "ambiguous"),
        ]
        await desk.say("Still there?")
        assert wire_problems(desk.told()) == []

    async def test_lets_the_next_message_in(self, desk: Desk) -> None:
        desk.model.queue(stalled(says("Never."), asyncio.Event(), after=0), says("Second."))
        await desk.send("First")
        await desk.send("Second")
        await desk.model.received(1)

        await desk.runner.cancel(ADA, desk.thread_id)
        await desk.settled()

        facts = await desk.facts()
        assert desk.closings(facts) == [("cancelled", None), ("done", None)]
        assert desk.said(facts) == ["Second."]

    async def test_before_answering_has_begun_stops_it_too(self, desk: Desk) -> None:
        sending = asyncio.create_task(desk.send("Never mind"))
        while not desk.runner._tasks:
            await asyncio.sleep(0)

        assert desk.runner.stop(desk.thread_id) is True
        await sending
        await desk.settled()

        assert desk.closings(await desk.facts()) == [("cancelled", None)]
        assert desk.model.requests == []

    async def test_of_an_answer_may_be_what_the_next_message_does(
        self, sessions: Sessions, database_url: str
    ) -> None:
        async with open_desk(sessions, database_url, limits=TurnLimits(interrupt=True)) as eager:
            eager.model.queue(stalled(says("Never."), asyncio.Event(), after=0), says("Second."))
            await eager.send("First")
            await eager.model.received(1)
            await eager.say("No, rather this")

            facts = await eager.facts()

        assert eager.closings(facts) == [("cancelled", None), ("done", None)]
        assert eager.said(facts) == ["Second."]

    async def test_nothing_is_no_error(self, desk: Desk) -> None:
        assert await desk.runner.cancel(ADA, desk.thread_id) is False

        desk.model.queue(says("Hello."))
        await desk.say("Hello?")
        assert await desk.runner.cancel(ADA, desk.thread_id) is False

    async def test_twice_is_once(self, desk: Desk) -> None:
        desk.model.queue(stalled(says("Never."), asyncio.Event(), after=0))
        await desk.send("First")
        await desk.model.received(1)

        await asyncio.gather(*(desk.runner.cancel(ADA, desk.thread_id) for _ in range(3)))
        await desk.settled()

        assert desk.closings(await desk.facts()) == [("cancelled", None)]


class TestBounds:
    async def test_a_turn_ends_when_its_time_is_over(self, hasty: Desk) -> None:
        hasty.model.queue(stalled(says("Never."), asyncio.Event(), after=0))

        await hasty.say("Hello?")

        facts = await hasty.facts()
        (closed,) = hasty.of(facts, TurnClosed)
        assert (closed.status, closed.code) == ("failed", "CONV_TURN_TIMEOUT")
        assert "Somebody of our team has been asked" in (closed.message or "")
        assert [fact.reason for fact in hasty.of(facts, HandoffAsked)] == ["usage_limit"]

    async def test_a_write_that_was_on_its_way_then_is_unknown(self, hasty: Desk) -> None:
        hasty.model.queue(calls(NOTE))
        hasty.api.queue(waits(asyncio.Event()))

        await hasty.say("Leave a note")

        assert hasty.closings(await hasty.facts()) == [("failed", "CONV_TURN_TIMEOUT")]
        assert await hasty.calls() == [("POST /notes", "ambiguous")]


@pytest.fixture
async def terse(sessions: Sessions, database_url: str) -> AsyncIterator[Desk]:
    """A desk where a turn may ask the model three times."""
    async with open_desk(sessions, database_url, limits=TurnLimits(max_model_calls=3)) as opened:
        yield opened


class TestTheModelsCalls:
    async def test_the_last_one_gets_no_tools(self, terse: Desk) -> None:
        terse.model.queue(calls(ORDER_1), calls(ORDER_1), says("That is what I know."))

        await terse.say("Look again and again")

        assert [("tools" in request.body) for request in terse.model.requests] == [
            True,
            True,
            False,
        ]
        assert terse.said(await terse.facts()) == ["That is what I know."]

    async def test_a_stubborn_model_comes_to_an_end(self, terse: Desk) -> None:
        terse.model.queue(*[calls(ORDER_1) for _ in range(5)])

        await terse.say("Look again and again")

        assert len(terse.model.requests) == 3
        facts = await terse.facts()
        assert terse.closings(facts) == [("done", None)]
        assert terse.said(facts) == [AT_A_CAP]
        (asked,) = terse.of(facts, HandoffAsked)
        assert (asked.reason, asked.by) == ("usage_limit", "agent")
        assert "3 steps" in asked.note

    async def test_are_counted_over_an_approval(self, terse: Desk) -> None:
        terse.model.queue(calls(ORDER_1), calls(REFUND), says("Refunded."))
        await terse.say("Look and refund")
        await terse.decide()
        await terse.settled()

        assert "tools" not in terse.model.requests[2].body


class TestASenderThatGoesAway:
    async def test_does_not_take_the_answer_along(self, desk: Desk) -> None:
        """Starlette cancels a handler's own tasks when its socket drops, wherever they are."""
        desk.model.queue(*[says("Hello.") for _ in range(20)])
        for steps in range(20):
            sending = asyncio.create_task(desk.send("Hello?", f"s{steps}"))
            for _ in range(steps):
                await asyncio.sleep(0)
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending
        await desk.settled()

        assert await desk.first.conversations.own_open() == ()
        facts = await desk.facts()
        assert {status for status, _ in desk.closings(facts)} <= {"done"}
        assert len(desk.of(facts, TurnOpened)) == len(desk.said(facts))

    async def test_does_not_take_its_yes_along(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND), says("Refunded."))
        await desk.say("Refund order 1002")

        deciding = asyncio.create_task(desk.decide())
        while await desk.questions() == ["pending"]:
            await asyncio.sleep(0)
        deciding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await deciding
        await desk.settled()

        assert desk.said(await desk.facts()) == ["Refunded."]
        assert len(desk.api.requests) == 1


class TestClosing:
    async def test_lets_turns_finish(self, desk: Desk) -> None:
        until = asyncio.Event()
        desk.model.queue(stalled(says("Done."), until))
        await desk.send("Hello?")
        await desk.model.received(1)

        closing = asyncio.create_task(desk.runner.close(grace=10))
        await asyncio.sleep(0)
        until.set()
        await closing

        assert desk.closings(await desk.facts()) == [("done", None)]

    async def test_leaves_what_takes_too_long_to_the_next_process(self, desk: Desk) -> None:
        desk.model.queue(stalled(says("Never ever."), asyncio.Event(), after=2), says("Here."))
        accepted = await desk.send("Hello?")
        await desk.model.received(1)

        await desk.runner.close(grace=0)

        assert (await desk.turn(accepted.turn_id)).status is TurnStatus.OPEN
        after = await desk.kill()
        await after.recovery.sweep()
        await desk.settled()
        facts = await desk.facts()
        assert desk.said(facts) == ["Here."]
        assert desk.closings(facts) == [("done", None)]

    async def test_leaves_queued_messages_to_the_next_process(self, desk: Desk) -> None:
        desk.model.queue(
            stalled(says("Never."), asyncio.Event(), after=0), says("First."), says("Second.")
        )
        await desk.send("First")
        second = await desk.send("Second")
        await desk.model.received(1)

        await desk.runner.close(grace=0)

        assert (await desk.turn(second.turn_id)).status is TurnStatus.QUEUED
        after = await desk.kill()
        await after.recovery.sweep()
        await desk.settled()
        assert desk.said(await desk.facts()) == ["First.", "Second."]

    async def test_waits_for_what_is_being_let_in(self, desk: Desk) -> None:
        desk.model.queue(says("Hello."))
        sending = asyncio.create_task(desk.send("Hello?"))
        while not desk.runner._admitting:
            await asyncio.sleep(0)

        await desk.runner.close(grace=10)

        assert (await sending).status == "open"
        assert desk.closings(await desk.facts()) == [("done", None)]

    async def test_with_nothing_to_do_is_done(self, desk: Desk) -> None:
        await desk.runner.close(grace=10)


class TestWhatIsNotForeseen:
    async def test_a_crash_ends_the_turn_without_its_words(self, desk: Desk) -> None:
        """A row that no version of ours has written: nobody has thought of that."""
        async with desk.sessions.begin() as session:
            await session.execute(sa.update(operations).values(request_plan={}))
        desk.model.queue(calls(ORDER_1))

        await desk.say("Where is it?")

        (closed,) = desk.of(await desk.facts(), TurnClosed)
        assert (closed.status, closed.code) == ("failed", "SYS_INTERNAL")
        assert "parameters" not in (closed.message or "")

    async def test_an_api_that_answers_text_that_nothing_can_hold(self, desk: Desk) -> None:
        desk.model.queue(calls(ORDER_1, NOTE, ids=("a", "b")), says("Odd."))
        desk.api.queue(*[answers(b'{"name": "\\ud83d \\u0000"}')] * 2)

        await desk.say("Both")

        facts = await desk.facts()
        assert desk.said(facts) == ["Odd."]
        assert sorted(await desk.calls()) == [
            ("GET /orders/{order_id}", "done"),
            ("POST /notes", "done"),
        ]

    async def test_a_message_that_nothing_can_hold(self, desk: Desk) -> None:
        desk.model.queue(says("Hello."))

        await desk.say("Hi \x00 \ud83d!")

        assert desk.told()[-1]["content"] == "Hi \ufffd \ufffd!"


async def test_followers_hear_of_every_event_in_order(desk: Desk) -> None:
    desk.model.queue(calls(ORDER_1), calls(REFUND), says("Refunded."))
    with desk.first.followers.follow(desk.thread_id) as follower:
        await desk.say("Look and refund")
        await desk.decide()
        await desk.settled()
        log = await desk.log.read(desk.thread_id)
        heard = []
        while len(heard) < len(log):
            item = await follower.next()
            if isinstance(item, Event):
                heard.append(item)

    assert heard == list(log)


ZERO = LiveText("", 0, "")
