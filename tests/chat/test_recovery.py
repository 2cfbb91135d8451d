"""What a process leaves behind when it is gone, and who finishes it."""

import asyncio
import contextlib
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from tests.support.model_endpoint import calls, says, stalled
from tests.support.turns import ADA, NOTE, ORDER_1, REFUND, Desk, wire_problems
from tests.support.upstream import waits

from smart_support.chat.answering import MAX_RECOVERIES, RESUME_WITHIN
from smart_support.chat.recovery import Recovery
from smart_support.conversations.records import TurnNotOpen, TurnStatus
from smart_support.conversations.tables import turns
from smart_support.errors import DatabaseUnavailable
from smart_support.events.fence import Fence, WriterReplaced, fenced
from smart_support.events.records import (
    ApprovalDecided,
    MessageReceived,
    ThreadAbandoned,
    ToolCalled,
    ToolReturned,
    TurnClosed,
    TurnTakenOver,
)
from smart_support.ledger.tables import tool_calls
from smart_support.tools.call import plan_call

NEVER = asyncio.Event


class TestAfterAKill:
    async def test_open_turns_are_gone_on_with(self, desk: Desk) -> None:
        desk.model.queue(stalled(says("Never."), NEVER(), after=0), says("Here I am."))
        accepted = await desk.send("Hello?")
        await desk.model.received(1)

        after = await desk.kill()
        await after.recovery.sweep()
        await desk.settled()

        facts = await desk.facts()
        assert desk.said(facts) == ["Here I am."]
        assert desk.closings(facts) == [("done", None)]
        assert await desk.types() == [
            "message_received",
            "turn_opened",
            "turn_taken_over",
            "message_finished",
            "turn_closed",
        ]
        assert (await desk.turn(accepted.turn_id)).status is TurnStatus.DONE

    async def test_finished_calls_are_not_made_again(self, desk: Desk) -> None:
        desk.model.queue(
            calls(ORDER_1, NOTE, ids=("a", "b"), text="I do both."),
            stalled(says("Never."), NEVER(), after=0),
            says("Both are done."),
        )
        await desk.send("Look, and leave a note")
        await desk.model.received(2)

        after = await desk.kill()
        await after.recovery.sweep()
        await desk.settled()

        assert len(desk.api.requests) == 2
        assert desk.said(await desk.facts()) == ["I do both.", "Both are done."]
        again, before = (
            sorted(desk.told(request), key=lambda each: each.get("tool_call_id", ""))
            for request in (2, 1)
        )
        assert again == before
        assert wire_problems(desk.told()) == []

    async def test_calls_that_were_decided_on_but_not_made_are_made(self, desk: Desk) -> None:
        """The decision is in the log, and that is all: the process died right behind it."""
        desk.model.queue(says("It is on its way."))
        turn_id = await stored_without_task(desk)
        await desk.log.append(desk.thread_id, [called(desk, turn_id, "getOrder", order_id="1001")])

        after = await desk.kill()
        await after.recovery.sweep()
        await desk.settled()

        facts = await desk.facts()
        assert len(desk.api.requests) == 1
        assert [each.outcome for each in desk.of(facts, ToolReturned)] == ["done"]
        assert desk.said(facts) == ["It is on its way."]

    async def test_writes_that_were_sent_are_unknown_and_not_repeated(self, desk: Desk) -> None:
        desk.model.queue(calls(NOTE), says("I have to check."))
        desk.api.queue(waits(NEVER()))
        await desk.send("Leave a note")
        await desk.api.received(1)

        after = await desk.kill()
        await after.recovery.sweep()
        await desk.settled()

        facts = await desk.facts()
        (returned,) = desk.of(facts, ToolReturned)
        assert (returned.outcome, returned.code) == ("unknown", "TOOL_OUTCOME_UNKNOWN")
        assert await desk.calls() == [("POST /notes", "ambiguous")]
        assert len(desk.api.requests) == 1
        assert desk.said(facts) == ["I have to check."]
        assert wire_problems(desk.told()) == []
        assert "must not be repeated" in desk.told()[2]["content"]

    async def test_reads_that_were_sent_are_made_again(self, desk: Desk) -> None:
        desk.model.queue(calls(ORDER_1), says("It was sent."))
        desk.api.queue(waits(NEVER()))
        await desk.send("Where is it?")
        await desk.api.received(1)

        after = await desk.kill()
        await after.recovery.sweep()
        await desk.settled()

        assert desk.said(await desk.facts()) == ["It was sent."]
        assert len(desk.api.requests) == 2
        assert wire_problems(desk.told()) == []

    async def test_what_kills_whoever_answers_it_is_given_up_with_honest_words(
        self, desk: Desk
    ) -> None:
        desk.model.queue(*[stalled(says("Never."), NEVER(), after=0)] * (1 + MAX_RECOVERIES))
        desk.model.queue(says("Two."))
        accepted = await desk.send("Hello?")
        await desk.send("Still there?")
        for tries in range(MAX_RECOVERIES + 1):
            await desk.model.received(1 + tries)
            await (await desk.kill()).recovery.sweep()
        await desk.settled()

        facts = await desk.facts()
        first, _ = desk.of(facts, TurnClosed)
        assert (first.status, first.code) == ("failed", "REC_TURN_INTERRUPTED")
        assert "interrupted" in (first.message or "")
        assert (await desk.turn(accepted.turn_id)).status is TurnStatus.FAILED
        assert desk.said(facts) == ["Two."]

    async def test_what_is_too_old_is_closed_with_honest_words(self, desk: Desk) -> None:
        turn_id = await stored_without_task(desk)
        long_ago = sa.func.now() - timedelta(seconds=RESUME_WITHIN + 1)
        await set_turn(desk, turn_id, opened_at=long_ago)

        after = await desk.kill()
        await after.recovery.sweep()
        await desk.settled()

        assert desk.closings(await desk.facts()) == [("failed", "REC_TURN_INTERRUPTED")]
        assert desk.model.requests == []

    async def test_queued_messages_are_answered_in_order(self, desk: Desk) -> None:
        desk.model.queue(
            stalled(says("Never."), NEVER(), after=0), says("One."), says("Two."), says("Three.")
        )
        for text in ("One", "Two", "Three"):
            await desk.send(text)
        await desk.model.received(1)

        after = await desk.kill()
        await after.recovery.sweep()
        await desk.settled()

        facts = await desk.facts()
        assert desk.said(facts) == ["One.", "Two.", "Three."]
        assert desk.closings(facts) == [("done", None)] * 3

    async def test_parked_turns_that_were_decided_go_on(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND), says("Refunded."))
        accepted = await desk.say("Refund order 1002")
        approval = (await desk.ledger.approvals(actor=None, state=None, limit=1))[0]
        await desk.ledger.decide(
            approval.id, actor=ADA.id, approved=True, reason=None, now=desk.clock()
        )

        after = await desk.kill()
        await after.recovery.sweep()
        await desk.settled()

        assert desk.said(await desk.facts()) == ["Refunded."]
        assert len(desk.api.requests) == 1
        assert (await desk.turn(accepted.turn_id)).status is TurnStatus.DONE

    async def test_parked_turns_that_wait_go_on_waiting(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND), says("Refunded."))
        accepted = await desk.say("Refund order 1002")

        after = await desk.kill()
        await after.recovery.sweep()

        assert (await desk.turn(accepted.turn_id)).status is TurnStatus.PARKED
        await desk.decide()
        await desk.settled()
        assert desk.said(await desk.facts()) == ["Refunded."]

    async def test_a_turn_that_went_on_after_a_yes_sends_it_once(self, desk: Desk) -> None:
        desk.model.queue(
            calls(REFUND), stalled(says("Never."), NEVER(), after=0), says("Refunded.")
        )
        await desk.say("Refund order 1002")
        await desk.decide()
        await desk.model.received(2)

        after = await desk.kill()
        await after.recovery.sweep()
        await desk.settled()

        facts = await desk.facts()
        assert desk.said(facts) == ["Refunded."]
        assert desk.closings(facts) == [("done", None)]
        assert await desk.checkpoints() == 0
        assert len(desk.api.requests) == 1
        assert await desk.questions() == ["used"]

    async def test_a_yes_is_acted_on_without_the_checkpoint_that_it_was_asked_from(
        self, desk: Desk
    ) -> None:
        """It is a cache: writing it may have failed, or somebody has deleted it."""
        desk.model.queue(calls(ORDER_1, text="I look."), calls(REFUND), says("Refunded."))
        accepted = await desk.say("Refund order 1002")
        assert await desk.checkpoints() > 0
        await desk.saver.adelete_thread(accepted.turn_id)

        await desk.decide()
        await desk.settled()

        assert desk.said(await desk.facts()) == ["I look.", "Refunded."]
        assert len(desk.api.requests) == 2
        assert wire_problems(desk.told()) == []

    async def test_a_yes_that_nobody_acted_on_is_acted_on_without_asking_again(
        self, desk: Desk
    ) -> None:
        """The process died after opening the next run, before it sent anything."""
        desk.model.queue(calls(REFUND), says("Refunded."))
        accepted = await desk.say("Refund order 1002")
        (approval,) = await desk.ledger.approvals(actor=None, state=None, limit=1)
        await desk.ledger.decide(
            approval.id, actor=ADA.id, approved=True, reason=None, now=desk.clock()
        )
        await desk.first.conversations.unpark(accepted.turn_id)

        after = await desk.kill()
        await after.recovery.sweep()
        await desk.settled()

        assert desk.said(await desk.facts()) == ["Refunded."]
        assert len(desk.api.requests) == 1
        assert await desk.questions() == ["used"]

    async def test_a_question_that_was_asked_goes_on_waiting_for_its_answer(
        self, desk: Desk
    ) -> None:
        """The process died between asking and parking."""
        desk.model.queue(calls(REFUND), says("Refunded."))
        accepted = await desk.say("Refund order 1002")
        await set_turn(desk, accepted.turn_id, status="open", owner=1)

        after = await desk.kill()
        await after.recovery.sweep()
        await desk.settled()

        assert await desk.questions() == ["pending"]
        assert (await desk.turn(accepted.turn_id)).status is TurnStatus.PARKED
        await desk.decide()
        await desk.settled()
        assert desk.said(await desk.facts()) == ["Refunded."]
        assert len(desk.api.requests) == 1

    async def test_of_two_that_recover_at_once_one_goes_on(self, desk: Desk) -> None:
        desk.model.queue(stalled(says("Never."), NEVER(), after=0), says("One."), says("Two."))
        await desk.send("One")
        await desk.send("Two")
        await desk.model.received(1)

        after, other = await desk.kill(), await desk.process()
        await asyncio.gather(*(each.recovery.sweep() for each in (after, other)))
        await asyncio.gather(after.runner.idle(), other.runner.idle())

        facts = await desk.facts()
        assert desk.closings(facts) == [("done", None), ("done", None)]
        assert len(desk.of(facts, TurnTakenOver)) == 1

    async def test_right_after_a_restart_of_postgresql_nobody_counts_as_dead(
        self, desk: Desk
    ) -> None:
        await stored_without_task(desk)
        await desk.first.die()
        other = await desk.process()

        assert len(await other.conversations.orphans()) == 1
        assert await other.conversations.orphans(restart_grace=1e9) == ()

    async def test_the_turns_of_a_living_process_are_left_alone(self, desk: Desk) -> None:
        until = asyncio.Event()
        desk.model.queue(stalled(says("Here."), until, after=0))
        await desk.send("Hello?")
        await desk.model.received(1)
        other = await desk.process()

        for _ in range(3):
            await other.recovery.sweep()
            await desk.first.recovery.sweep()

        assert await other.conversations.orphans() == ()
        until.set()
        await desk.settled()
        assert desk.closings(await desk.facts()) == [("done", None)]


class TestForgottenTurns:
    async def test_are_gone_on_with_when_found_twice(self, desk: Desk) -> None:
        """The database was away when the turn should have been closed; the process lives on."""
        turn_id = await stored_without_task(desk)
        desk.model.queue(says("Here I am."))

        await desk.first.recovery.sweep()
        assert (await desk.turn(turn_id)).recoveries == 0
        await desk.first.recovery.sweep()
        await desk.settled()

        assert (await desk.turn(turn_id)).status is TurnStatus.DONE
        assert desk.said(await desk.facts()) == ["Here I am."]

    async def test_that_were_closed_meanwhile_are_no_matter(self, desk: Desk) -> None:
        turn_id = await stored_without_task(desk)
        (found,) = await desk.first.conversations.own_open()
        await desk.first.conversations.settle(desk.thread_id, turn_id, TurnStatus.DONE, [])

        with pytest.raises(TurnNotOpen):
            await desk.first.conversations.take_over(found)

        assert (await desk.turn(turn_id)).status is TurnStatus.DONE
        assert desk.closings(await desk.facts()) == []


class TestAProcessThatWasTakenForDead:
    """It wakes up after another one has gone on with its turn: what it does comes to nothing."""

    async def test_says_nothing_more(self, desk: Desk) -> None:
        until = asyncio.Event()
        desk.model.queue(stalled(says("From the grave."), until), says("From the living."))
        await desk.send("Hello?")
        await desk.model.received(1)
        zombie = desk.runner

        after = await desk.kill()
        await after.recovery.sweep()
        await desk.settled()
        until.set()
        await asyncio.wait_for(zombie.idle(), 20)

        facts = await desk.facts()
        assert desk.said(facts) == ["From the living."]
        assert desk.closings(facts) == [("done", None)]

    async def test_sends_nothing_more(self, desk: Desk) -> None:
        until = asyncio.Event()
        desk.model.queue(stalled(calls(NOTE), until, after=0), says("Nothing to do."))
        await desk.send("Leave a note")
        await desk.model.received(1)
        zombie = desk.runner

        after = await desk.kill()
        await after.recovery.sweep()
        await desk.settled()
        until.set()
        await asyncio.wait_for(zombie.idle(), 20)

        assert desk.api.requests == []
        assert await desk.calls() == []

    async def test_sends_nothing_either_between_writing_it_down_and_sending(
        self, desk: Desk
    ) -> None:
        """The log has the decision; the lock is what the ledger asks for before it says `sent`."""
        turn_id = await stored_without_task(desk)
        turn = (await desk.first.conversations.own_open())[0]
        planned = plan_call(
            await desk.tool("addNote"),
            {"body": {"text": "x"}},
            call_id=str(uuid4()),
            thread_id=desk.thread_id,
            turn_id=turn_id,
        )
        alive = True
        with fenced(Fence(desk.thread_id, turn.epoch or 0, lambda: alive)):
            alive = False
            with pytest.raises(DatabaseUnavailable):
                await desk.ledger.send_unasked(planned, now=desk.clock())
            alive = True
            await (await desk.process()).conversations.take_over(turn)
            with pytest.raises(WriterReplaced):
                await desk.ledger.send_unasked(planned, now=desk.clock())

        assert await desk.calls() == []


class TestExpiry:
    async def test_goes_on_with_the_turn_which_says_so(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND), says("You did not answer."))
        await desk.say("Refund order 1002")
        desk.clock.pass_by(86_400)

        await desk.first.recovery.sweep()
        await desk.settled()

        assert desk.api.requests == []
        assert await desk.questions() == ["expired"]
        (decided,) = desk.of(await desk.facts(), ApprovalDecided)
        assert (decided.decision, decided.by) == ("expired", "clock")
        assert desk.said(await desk.facts()) == ["You did not answer."]

    async def test_of_several_questions_goes_on_once(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND, REFUND, ids=("a", "b")), says("No answer."))
        await desk.say("Refund twice")
        desk.clock.pass_by(86_400)

        await asyncio.gather(*(desk.first.recovery.sweep() for _ in range(3)))
        await desk.settled()

        assert desk.said(await desk.facts()) == ["No answer."]
        assert await desk.questions() == ["expired", "expired"]

    async def test_does_not_come_early(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND))
        await desk.say("Refund order 1002")
        desk.clock.pass_by(86_399)

        await desk.first.recovery.sweep()

        assert await desk.questions() == ["pending"]


class TestSilence:
    async def test_marks_a_thread_that_waits_for_its_customer_once(self, desk: Desk) -> None:
        desk.model.queue(says("Anything else?"))
        await desk.say("Hello")
        recovery = with_tracker(desk)
        await recovery.sweep()
        desk.clock.now += timedelta(days=400_00)

        for _ in range(3):
            await recovery.sweep()

        (abandoned,) = desk.of(await desk.facts(), ThreadAbandoned)
        assert abandoned.idle_seconds == 3_600.0


class TestTheSweep:
    async def test_goes_on_after_a_step_that_fails(self, desk: Desk) -> None:
        """No ledger any more: the queue is looked after all the same."""
        turn_id = await stored_without_task(desk)
        await set_turn(desk, turn_id, status="queued", owner=None)
        desk.model.queue(says("Here I am."))
        async with desk.sessions.begin() as session:
            await session.execute(sa.text("ALTER TABLE approvals RENAME TO away"))
        try:
            await desk.first.recovery.sweep()
            await desk.settled()
        finally:
            async with desk.sessions.begin() as session:
                await session.execute(sa.text("ALTER TABLE away RENAME TO approvals"))

        assert desk.said(await desk.facts()) == ["Here I am."]

    async def test_goes_on_after_the_database_was_away(self, desk: Desk) -> None:
        slow = "SET LOCAL statement_timeout = 1"
        async with desk.sessions.begin() as session:
            await session.execute(sa.text("LOCK TABLE turns"))
            assert slow
            sweeping = asyncio.create_task(desk.first.recovery.sweep())
            await _cancel_others(desk)
        await sweeping

    async def test_comes_again_and_again_until_it_is_stopped(self, desk: Desk) -> None:
        pauses: list[float] = []

        async def sleep(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                raise asyncio.CancelledError

        with contextlib.suppress(asyncio.CancelledError):
            await desk.first.recovery.run(30.0, sleep)

        assert pauses == [30.0] * 3


async def _cancel_others(desk: Desk) -> None:
    """Have the server end the statements that wait for a lock, until there is one."""
    cancelled = 0
    while not cancelled:
        async with desk.sessions() as session:
            found = await session.scalars(
                sa.text(
                    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
                    " WHERE wait_event_type = 'Lock' AND datname = current_database()"
                )
            )
            cancelled = len(list(found))


async def stored_without_task(desk: Desk) -> str:
    """A message that was stored and opened by this process, and then forgotten."""
    turn_id = "01900000-0000-7000-8000-000000000001"
    received = await desk.first.conversations.receive(desk.thread_id, turn_id, "lost", "Hello?")
    assert received.turn.status is TurnStatus.OPEN
    assert [type(event.fact) for event in received.events] == [MessageReceived]
    return turn_id


def called(desk: Desk, turn_id: str, tool: str, **arguments: Any) -> ToolCalled:
    operation = desk.shop[tool]
    return ToolCalled(
        turn_id=turn_id,
        tool_call_id=str(uuid4()),
        tool=tool,
        operation_id=operation.id,
        operation=operation.key,
        title=tool,
        access=operation.classification.access.value,
        arguments=arguments,
    )


async def set_turn(desk: Desk, turn_id: str, **values: object) -> None:
    async with desk.sessions.begin() as session:
        await session.execute(sa.update(turns).where(turns.c.id == turn_id).values(**values))
        await session.execute(sa.select(tool_calls.c.id))


def with_tracker(desk: Desk) -> Recovery:
    """A recovery whose derivation feeds the tracker that it asks."""
    from smart_support.chat.derive import Derivation

    return Recovery(
        desk.runner,
        desk.first.conversations,
        desk.ledger,
        desk.tracker,
        Derivation(desk.log, [desk.tracker]),
        abandon_after=3_600.0,
        clock=desk.clock,
    )
