"""A message and its answer."""

import asyncio
import gc
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
import sqlalchemy as sa
from tests.support.model_endpoint import calls, fails, says, stalled
from tests.support.server import logged
from tests.support.turns import (
    ADA,
    BOB,
    LEAD,
    ORDER_1,
    REFUND,
    START,
    Desk,
    open_desk,
    wire_problems,
)

from smart_support.agent.arguments import parse_arguments
from smart_support.agent.prompts import HANDOFF, PROMPT_VERSION
from smart_support.chat import answering
from smart_support.chat.answering import TurnLimits
from smart_support.conversations.postgres import QUEUE_LIMIT
from smart_support.conversations.records import QueueFull, TurnStatus
from smart_support.conversations.tables import threads
from smart_support.database import Sessions
from smart_support.errors import NotAllowed, NotFound, RateLimited
from smart_support.events.fence import WriterReplaced
from smart_support.events.postgres import PostgresEventLog
from smart_support.events.records import (
    Event,
    Fact,
    HandoffAsked,
    MessageFinished,
    MessageReceived,
    ToolCalled,
    ToolReturned,
    TurnClosed,
    TurnOpened,
)


async def test_answers_with_what_the_api_says(desk: Desk) -> None:
    desk.model.queue(calls(ORDER_1), says("It was sent yesterday."))

    accepted = await desk.say("Where is order 1001?")

    facts = await desk.facts()
    assert accepted.status == "open"
    assert [fact.type for fact in facts] == [
        "message_received",
        "turn_opened",
        "tool_called",
        "attempt_made",
        "tool_returned",
        "message_finished",
        "turn_closed",
    ]
    assert desk.said(facts) == ["It was sent yesterday."]
    assert (await desk.turn(accepted.turn_id)).status is TurnStatus.DONE
    assert await desk.calls() == [("GET /orders/{order_id}", "done")]


async def test_a_turn_says_with_what_it_ran_and_what_it_cost(desk: Desk) -> None:
    desk.model.queue(calls(ORDER_1, usage=(20, 7)), says("Sent.", usage=(50, 3)))

    accepted = await desk.say("Where is it?")

    facts = await desk.facts()
    (opened,) = desk.of(facts, TurnOpened)
    (closed,) = desk.of(facts, TurnClosed)
    assert (opened.turn_id, opened.run, opened.agent) == (accepted.turn_id, 1, "support")
    assert opened.versions.keys() == {"prompt", "model", "agents"}
    assert opened.versions["prompt"] == PROMPT_VERSION
    assert opened.versions["model"] == "gpt-4.1-mini"
    assert (closed.model_calls, closed.input_tokens, closed.output_tokens) == (2, 70, 10)
    assert closed.correlation_id == opened.correlation_id
    assert (closed.status, closed.code, closed.message) == ("done", None, None)


async def test_the_first_token_is_timed_from_the_beginning_of_the_turn(desk: Desk) -> None:
    until = asyncio.Event()
    desk.model.queue(stalled(says("One moment."), until, after=0))

    await desk.send("Hello?")
    await desk.model.received(1)
    desk.clock.pass_by(1.5)
    until.set()
    await desk.settled()

    (closed,) = desk.of(await desk.facts(), TurnClosed)
    assert (closed.first_token_ms, closed.duration_ms) == (1500.0, 1500.0)


@contextmanager
def beginning_held() -> Iterator[asyncio.Event]:
    """Nobody's beginning is written down before the event is set."""
    held, real = asyncio.Event(), PostgresEventLog.append

    async def append(log: PostgresEventLog, thread_id: str, facts: Sequence[Fact]) -> Any:
        if isinstance(facts[0], TurnOpened):
            await held.wait()
        return await real(log, thread_id, facts)

    with patch.object(PostgresEventLog, "append", append):
        yield held


class TestItsBeginning:
    """It is being written down while the model is asked already."""

    @pytest.fixture
    def waited_for(self) -> Iterator[asyncio.Event]:
        """Set once the run waits for its beginning, or has nothing left but that."""
        waits, real = asyncio.Event(), answering._beside

        @asynccontextmanager
        async def beside(
            work: Coroutine[Any, Any, None],
        ) -> AsyncIterator[Callable[[], Awaitable[None]]]:
            async with real(work) as done:

                async def opened() -> None:
                    waits.set()
                    await done()

                try:
                    yield opened
                finally:
                    waits.set()

        with patch.object(answering, "_beside", beside):
            yield waits

    async def test_is_given_up_with_the_run_and_leaves_no_task(self) -> None:
        begun, undone = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            try:
                begun.set()
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)  # a connection is given back
                undone.set()

        async def run() -> None:
            async with answering._beside(work()) as opened:
                await opened()

        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            running = tasks.create_task(run())
            await begun.wait()
            for _ in range(2):  # it waits for its beginning, even when cancelled, but not twice
                running.cancel()
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert not running.done()
            with pytest.raises(asyncio.CancelledError):
                await running
        assert undone.is_set()

    async def test_is_written_down_and_shown_before_anything_else(
        self, desk: Desk, waited_for: asyncio.Event
    ) -> None:
        desk.model.queue(calls(ORDER_1), says("Sent."))
        with beginning_held() as held, desk.first.followers.follow(desk.thread_id) as follower:
            accepted = await desk.runner.send(ADA, desk.thread_id, "m1", "Where is it?")
            async with asyncio.timeout(10):
                await waited_for.wait()  # for the model has answered
            early = [await follower.next() for _ in range(follower.waiting)]
            held.set()
            await desk.settled()
            later = [await follower.next() for _ in range(follower.waiting)]

        assert accepted.status == "open"
        assert [item.fact.type for item in early if isinstance(item, Event)] == ["message_received"]
        assert len(early) == 1
        assert isinstance(later[0], Event)
        assert isinstance(later[0].fact, TurnOpened)
        types = [fact.type for fact in await desk.facts()]
        assert types[:3] == ["message_received", "turn_opened", "tool_called"]
        assert desk.said(await desk.facts()) == ["Sent."]

    async def test_comes_before_its_end_when_the_model_fails_at_once(
        self, desk: Desk, waited_for: asyncio.Event
    ) -> None:
        desk.model.queue(fails(400))
        with beginning_held() as held:
            await desk.runner.send(ADA, desk.thread_id, "m1", "Where is it?")
            async with asyncio.timeout(10):
                await waited_for.wait()
            held.set()
            await desk.settled()

        types = [fact.type for fact in await desk.facts()]
        assert types == ["message_received", "turn_opened", "turn_closed"]

    async def test_comes_before_the_call_that_got_its_yes(
        self, desk: Desk, waited_for: asyncio.Event
    ) -> None:
        desk.model.queue(calls(REFUND))
        await desk.say("Refund order 1002")
        desk.model.queue(says("Refunded."))
        waited_for.clear()

        with beginning_held() as held:
            await desk.decide()
            async with asyncio.timeout(10):
                await waited_for.wait()
            sent = len(desk.api.requests)
            held.set()
            await desk.settled()

        assert (sent, len(desk.api.requests)) == (0, 1)
        assert desk.said(await desk.facts()) == ["Refunded."]

    async def test_comes_before_a_person_is_asked_for_at_a_cap(
        self, sessions: Sessions, database_url: str, waited_for: asyncio.Event
    ) -> None:
        limits = TurnLimits(max_model_calls=1)
        async with open_desk(sessions, database_url, limits=limits) as desk:
            desk.model.queue(calls(ORDER_1))
            with beginning_held() as held:
                await desk.runner.send(ADA, desk.thread_id, "m1", "Where is it?")
                async with asyncio.timeout(10):
                    await waited_for.wait()
                early = await desk.types()
                held.set()
                await desk.settled()

            assert early == ["message_received"]
            assert (await desk.types())[1:3] == ["turn_opened", "handoff_asked"]

    async def test_that_cannot_be_written_down_shows_nothing(self, desk: Desk) -> None:
        desk.model.queue(says("Hello."))
        real = PostgresEventLog.append

        async def append(log: PostgresEventLog, thread_id: str, facts: Sequence[Fact]) -> Any:
            if isinstance(facts[0], TurnOpened):
                raise WriterReplaced("another process has it")
            return await real(log, thread_id, facts)

        with (
            patch.object(PostgresEventLog, "append", append),
            desk.first.followers.follow(desk.thread_id) as follower,
        ):
            await desk.runner.send(ADA, desk.thread_id, "m1", "Where is it?")
            await desk.settled()
            shown = [await follower.next() for _ in range(follower.waiting)]

        assert [type(item.fact) for item in shown if isinstance(item, Event)] == [MessageReceived]
        assert len(shown) == 1
        assert [fact.type for fact in await desk.facts()] == ["message_received"]


async def test_a_turn_without_a_word_has_no_first_token(desk: Desk) -> None:
    desk.model.queue(fails(500))

    await desk.say("Hello?")

    (closed,) = desk.of(await desk.facts(), TurnClosed)
    assert closed.first_token_ms is None


async def test_the_model_is_told_who_is_there_and_what_day_it_is(desk: Desk) -> None:
    desk.model.queue(says("Hello Ada."))

    await desk.say("Hello?")

    system = desk.model.requests[0].body["messages"][0]["content"]
    assert "Ada Quist" in system
    assert START.date().isoformat() in system
    assert ADA.id not in system


async def test_the_model_reads_what_was_said_before(desk: Desk) -> None:
    desk.model.queue(calls(ORDER_1, text="Let me look."), says("Sent."), says("Yesterday."))
    await desk.say("Where is order 1001?")

    await desk.say("When?")

    messages = desk.told()
    assert wire_problems(messages) == []
    assert [message["role"] for message in messages] == [
        "user",
        "assistant",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    assert messages[-1]["content"] == "When?"
    assert messages[3]["content"] == '{"ok":true}'


async def test_only_reviewed_operations_are_offered(desk: Desk) -> None:
    desk.model.queue(says("Hello."))

    await desk.say("Hello?")

    offered = {tool["function"]["name"] for tool in desk.model.requests[0].body["tools"]}
    assert offered == {"getOrder", "createRefund", "addNote", "listMails", HANDOFF}


async def test_what_needs_an_unknown_claim_is_not_offered(desk: Desk) -> None:
    thread = await desk.runner.open_thread(BOB)
    desk.model.queue(says("Hello."))

    await desk.runner.send(BOB, thread.id, "m1", "Hello?")
    await desk.settled()

    offered = {tool["function"]["name"] for tool in desk.model.requests[0].body["tools"]}
    assert "getOrder" in offered
    assert "listMails" not in offered


async def test_bound_arguments_come_from_who_is_signed_in(desk: Desk) -> None:
    desk.model.queue(calls(ORDER_1, ("listMails", {})), says("Here."))

    await desk.say("Where is order 1001?")

    for request in desk.api.requests:
        assert request.query in ({"customer_id": ["cus_ada"]}, {"email": ["ada@example.org"]})
    assert len(desk.api.requests) == 2
    shown = desk.model.requests[0].body["tools"]
    assert "customer_id" not in str(shown)


async def test_the_model_cannot_name_another_customer(desk: Desk) -> None:
    desk.model.queue(
        calls(("getOrder", {"order_id": "1001", "customer_id": "cus_bob"})), says("I cannot.")
    )

    await desk.say("Where is Bob's order?")

    assert desk.api.requests == []
    (returned,) = desk.of(await desk.facts(), ToolReturned)
    assert (returned.outcome, returned.code) == ("failed", "TOOL_ARGUMENTS_INVALID")


class TestWhatTheModelGetsWrong:
    @pytest.mark.parametrize(
        ("name", "arguments", "code"),
        [
            ("sendRocket", "{}", "TOOL_UNKNOWN"),
            ("listSecrets", "{}", "TOOL_UNKNOWN"),
            ("getOrder", '{"order_id": ', "TOOL_BROKEN_ARGUMENTS"),
            ("getOrder", "[1]", "TOOL_BROKEN_ARGUMENTS"),
            ("getOrder", '{"order_id": 5}', "TOOL_ARGUMENTS_INVALID"),
            ("getOrder", "", "TOOL_ARGUMENTS_INVALID"),
            ("getOrder", '{"order_id": ".."}', "TOOL_ARGUMENTS_INVALID"),
            ("getOrder", '{"order_id": "\\ud800"}', "TOOL_BROKEN_ARGUMENTS"),
            ("getOrder", '{"order_id": "a\\u0000"}', "TOOL_BROKEN_ARGUMENTS"),
            ("createRefund", '{"order_id": "1", "body": {"amount": NaN}}', "TOOL_BROKEN_ARGUMENTS"),
            ("createRefund", '{"order_id": "1", "body": {}}', "TOOL_ARGUMENTS_INVALID"),
            ("createRefund", "{", "TOOL_BROKEN_ARGUMENTS"),
            (
                "createRefund",
                '{"order_id": "1", "body": {"amount": 1%s}}' % ("0" * 30),
                "TOOL_BROKEN_ARGUMENTS",
            ),
            ("addNote", '{"body": ' + "[" * 100_000, "TOOL_BROKEN_ARGUMENTS"),
        ],
    )
    async def test_is_told_to_it_and_the_turn_goes_on(
        self, desk: Desk, name: str, arguments: str, code: str
    ) -> None:
        desk.model.queue(calls((name, arguments), fragment=50_000), says("Let me ask otherwise."))

        await desk.say("Do it")

        facts = await desk.facts()
        (returned,) = desk.of(facts, ToolReturned)
        assert (returned.outcome, returned.code) == ("failed", code)
        assert desk.said(facts) == ["Let me ask otherwise."]
        assert desk.closings(facts) == [("done", None)]
        assert desk.told()[-1] == {
            "role": "tool",
            "tool_call_id": returned.tool_call_id,
            "content": returned.content,
        }
        assert desk.api.requests == []

    async def test_is_in_the_log_as_it_was_written(self, desk: Desk) -> None:
        desk.model.queue(calls(("getOrder", "{oops")), says("Sorry."))

        await desk.say("Where?")

        (called,) = desk.of(await desk.facts(), ToolCalled)
        assert called.arguments == {"unreadable": "{oops"}
        assert (called.title, called.access) == ("Look up an order", "read")

    async def test_an_unknown_tool_has_no_operation(self, desk: Desk) -> None:
        desk.model.queue(calls(("sendRocket", {})), says("Sorry."))

        await desk.say("Send it")

        (called,) = desk.of(await desk.facts(), ToolCalled)
        assert (called.tool, called.title) == ("sendRocket", "sendRocket")
        assert (called.operation_id, called.operation, called.access) == (None, None, None)

    def test_whole_numbers_and_text_of_any_language_are_fine(self) -> None:
        given = '{"a": 9007199254740993, "b": "żółw 🐢", "c": [1.5, null, true], "d\\\\u0000": 1}'

        assert parse_arguments(given) == {
            "a": 9007199254740993,
            "b": "żółw 🐢",
            "c": [1.5, None, True],
            "d\\u0000": 1,
        }


class TestHandoff:
    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            ({"reason": "tool_failure", "note": "Call back"}, "tool_failure"),
            ({"reason": "boredom"}, "customer_request"),
            ({"reason": ["odd"]}, "customer_request"),
            ({}, "customer_request"),
        ],
    )
    async def test_asks_for_a_person_with_a_reason_of_the_list(
        self, desk: Desk, arguments: dict[str, object], reason: str
    ) -> None:
        desk.model.queue(calls((HANDOFF, arguments)), says("Somebody will call you."))

        await desk.say("I want a human")

        facts = await desk.facts()
        (asked,) = desk.of(facts, HandoffAsked)
        assert (asked.reason, asked.note) == (reason, str(arguments.get("note", "")))
        (returned,) = desk.of(facts, ToolReturned)
        assert (returned.outcome, returned.code) == ("done", None)
        assert desk.said(facts) == ["Somebody will call you."]

    async def test_a_note_has_an_end(self, desk: Desk) -> None:
        desk.model.queue(calls((HANDOFF, {"note": "x" * 3_000}), fragment=500), says("Fine."))

        await desk.say("I want a human")

        assert len(desk.of(await desk.facts(), HandoffAsked)[0].note) == 1_000


class TestOneAtATime:
    async def test_many_messages_at_once_open_one_turn(self, desk: Desk) -> None:
        desk.model.queue(*[says(f"Answer {number}.") for number in range(12)])

        accepted = await asyncio.gather(*(desk.send(f"Message {n}") for n in range(12)))
        await desk.settled()

        assert sorted(each.status for each in accepted) == ["open"] + ["queued"] * 11
        facts = await desk.facts()
        open_now = 0
        for fact in facts:
            open_now += isinstance(fact, TurnOpened) - isinstance(fact, TurnClosed)
            assert open_now in (0, 1)
        assert len(desk.said(facts)) == 12

    async def test_messages_are_answered_in_the_order_they_were_stored(self, desk: Desk) -> None:
        desk.model.queue(*[says("Yes.") for _ in range(15)])

        await asyncio.gather(*(desk.send(f"Message {n}") for n in range(15)))
        await desk.settled()

        facts = await desk.facts()
        stored = [fact.turn_id for fact in desk.of(facts, MessageReceived)]
        assert [fact.turn_id for fact in desk.of(facts, TurnOpened)] == stored
        for number, request in enumerate(desk.model.requests):
            last = request.body["messages"][-1]
            assert last["content"] == desk.of(facts, MessageReceived)[number].text
            assert wire_problems(request.body["messages"][1:]) == []

    async def test_two_threads_do_not_wait_for_each_other(self, desk: Desk) -> None:
        until = asyncio.Event()
        other = await desk.runner.open_thread(ADA)
        desk.model.queue(stalled(says("Slow."), until), says("Quick."))
        await desk.send("First thread")
        await desk.model.received(1)

        accepted = await desk.runner.send(ADA, other.id, "m1", "Second thread")
        while TurnStatus.DONE is not (await desk.turn(accepted.turn_id)).status:
            await asyncio.sleep(0)

        assert desk.said(await desk.facts(other.id)) == ["Quick."]
        assert desk.said(await desk.facts()) == []
        until.set()
        await desk.settled()

    async def test_a_message_id_counts_once(self, desk: Desk) -> None:
        desk.model.queue(says("Hello."))
        first = await desk.send("Hello?", "same")
        await desk.settled()

        again = await desk.send("Something else", "same")
        await desk.settled()

        assert (again.status, again.turn_id) == ("duplicate", first.turn_id)
        assert len(desk.of(await desk.facts(), MessageReceived)) == 1

    async def test_the_same_message_many_times_at_once_counts_once(self, desk: Desk) -> None:
        desk.model.queue(says("Hello."))

        accepted = await asyncio.gather(*(desk.send("Hello?", "same") for _ in range(10)))
        await desk.settled()

        assert sorted(each.status for each in accepted) == ["duplicate"] * 9 + ["open"]
        assert len({each.turn_id for each in accepted}) == 1
        assert desk.said(await desk.facts()) == ["Hello."]

    async def test_a_full_queue_says_so_and_stores_nothing(self, desk: Desk) -> None:
        until = asyncio.Event()
        desk.model.queue(stalled(says("Done."), until))
        desk.model.queue(*[says("Done.") for _ in range(QUEUE_LIMIT)])
        for number in range(QUEUE_LIMIT + 1):
            await desk.send(f"Message {number}")

        with pytest.raises(QueueFull):
            await desk.send("One too many")

        until.set()
        await desk.settled()
        facts = await desk.facts()
        assert "One too many" not in [fact.text for fact in desk.of(facts, MessageReceived)]
        assert len(desk.said(facts)) == QUEUE_LIMIT + 1


class TestWhoMay:
    async def test_only_customers_open_threads(self, desk: Desk) -> None:
        with pytest.raises(NotAllowed):
            await desk.runner.open_thread(LEAD)

    async def test_a_thread_is_its_customers(self, desk: Desk) -> None:
        with pytest.raises(NotFound):
            await desk.runner.send(BOB, desk.thread_id, "m1", "Hello?")
        with pytest.raises(NotFound):
            await desk.runner.cancel(BOB, desk.thread_id)

        assert await desk.facts() == []

    async def test_a_stranger_does_not_use_up_the_limit(self, desk: Desk) -> None:
        for _ in range(3):
            with pytest.raises(NotFound):
                await desk.runner.send(BOB, desk.thread_id, "m1", "Hello?")

        assert len(desk.first.limiter) == 0


class TestLimits:
    async def test_a_refused_message_is_not_stored(self, desk: Desk) -> None:
        for _ in range(1_000):
            desk.first.limiter.admit(desk.thread_id)

        with pytest.raises(RateLimited):
            await desk.send("Too fast")

        assert await desk.facts() == []

    async def test_a_duplicate_does_not_count(self, desk: Desk) -> None:
        desk.model.queue(says("Hello."))
        await desk.say("Hello?")
        for _ in range(998):
            desk.first.limiter.admit(desk.thread_id)

        await desk.send("Hello?", "m1")
        desk.first.limiter.admit(desk.thread_id)

        with pytest.raises(RateLimited):
            desk.first.limiter.admit(desk.thread_id)

    async def test_what_could_not_be_stored_does_not_count(self, desk: Desk) -> None:
        for _ in range(999):
            desk.first.limiter.admit(desk.thread_id)
        until = asyncio.Event()
        desk.model.queue(stalled(says("Done."), until), *[says("Done.")] * QUEUE_LIMIT)
        for _ in range(QUEUE_LIMIT + 1):
            desk.clock.pass_by(11)
            await desk.send("Hello?")
        desk.clock.pass_by(11)
        for _ in range(999):
            desk.first.limiter.admit(desk.thread_id)

        with pytest.raises(QueueFull):
            await desk.send("One too many")

        desk.first.limiter.admit(desk.thread_id)
        until.set()
        await desk.settled()


class TestStoringAlone:
    """Who sent it is gone, or was told that it takes too long."""

    async def test_what_goes_wrong_then_is_heard_of(self, desk: Desk) -> None:
        unheard: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: unheard.append(told))
        with logged() as lines:
            async with desk.sessions.begin() as session:
                await session.execute(
                    sa.select(threads.c.id).where(threads.c.id == desk.thread_id).with_for_update()
                )
                sending = asyncio.create_task(desk.send("Hello?"))
                async with asyncio.timeout(5):
                    while not await session.scalar(sa.text(_WHO_WAITS)):
                        await asyncio.sleep(0.01)
                    sending.cancel()
                    await session.execute(sa.text(_END_WHO_WAITS))
                await asyncio.gather(sending, return_exceptions=True)
                await desk.runner.idle()
            gc.collect()  # a task that nobody asked says so when it goes

        assert ("job_failed", "DB_UNAVAILABLE") in [
            (line["event"], line.get("code")) for line in lines
        ]
        assert unheard == []
        desk.model.queue(says("Hello."))
        await desk.say("Hello?")


_WHO_WAITS = "SELECT count(*) FROM pg_locks WHERE NOT granted"
_END_WHO_WAITS = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted"


class TestWhatIsLeftBehind:
    async def test_no_checkpoints_of_a_turn_that_is_over(self, desk: Desk) -> None:
        desk.model.queue(calls(ORDER_1), says("Sent."))
        await desk.say("Where?")

        assert await desk.checkpoints() == 0

    async def test_derivation_is_told_of_every_thread_with_news(self, desk: Desk) -> None:
        desk.model.queue(says("Hello."))

        await desk.say("Hello?")

        assert set(desk.first.noticed) == {desk.thread_id}

    async def test_a_duration_is_never_negative_and_the_past_is_kept(self, desk: Desk) -> None:
        desk.model.queue(says("One."), says("Two."))
        await desk.say("First")
        desk.clock.now -= timedelta(days=1)

        await desk.say("Second")

        closings = desk.of(await desk.facts(), TurnClosed)
        assert all(fact.duration_ms >= 0 for fact in closings)
        assert [fact.text for fact in desk.of(await desk.facts(), MessageFinished)] == [
            "One.",
            "Two.",
        ]
