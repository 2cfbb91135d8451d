"""What a process leaves behind when it is gone, and who finishes it."""

import asyncio
import contextlib
from datetime import timedelta

import sqlalchemy as sa
from tests.support.model_endpoint import calls, says, stalled
from tests.support.turns import ADA, NOTE, ORDER_1, REFUND, Desk, wire_problems
from tests.support.upstream import waits

from smart_support.chat.recovery import Recovery
from smart_support.conversations.records import TurnStatus
from smart_support.conversations.tables import turns
from smart_support.events.records import (
    ApprovalDecided,
    MessageReceived,
    ThreadAbandoned,
    ToolReturned,
    TurnClosed,
    TurnOpened,
)
from smart_support.ledger.tables import tool_calls

NEVER = asyncio.Event


class TestAfterAKill:
    async def test_open_turns_are_closed_with_honest_words(self, desk: Desk) -> None:
        desk.model.queue(stalled(says("Never."), NEVER(), after=0))
        accepted = await desk.send("Hello?")
        await desk.model.received(1)

        after = await desk.kill()
        await after.recovery.sweep()

        facts = await desk.facts()
        (closed,) = desk.of(facts, TurnClosed)
        assert (closed.status, closed.code) == ("failed", "REC_TURN_INTERRUPTED")
        assert "interrupted" in (closed.message or "")
        assert (await desk.turn(accepted.turn_id)).status is TurnStatus.FAILED

    async def test_writes_that_were_sent_are_unknown(self, desk: Desk) -> None:
        desk.model.queue(calls(NOTE), says("I have to check."))
        desk.api.queue(waits(NEVER()))
        await desk.send("Leave a note")
        await desk.api.received(1)

        after = await desk.kill()
        await after.recovery.sweep()

        facts = await desk.facts()
        (returned,) = desk.of(facts, ToolReturned)
        assert (returned.outcome, returned.code) == ("unknown", "TOOL_OUTCOME_UNKNOWN")
        assert await desk.calls() == [("POST /notes", "ambiguous")]
        await desk.say("Did you?")
        assert wire_problems(desk.told()) == []
        assert "must not be repeated" in desk.told()[2]["content"]

    async def test_reads_that_were_sent_are_no_matter(self, desk: Desk) -> None:
        desk.model.queue(calls(ORDER_1), says("Let me look again."))
        desk.api.queue(waits(NEVER()))
        await desk.send("Where is it?")
        await desk.api.received(1)

        after = await desk.kill()
        await after.recovery.sweep()
        await desk.say("Hello?")

        assert desk.said(await desk.facts()) == ["Let me look again."]
        assert wire_problems(desk.told()) == []

    async def test_queued_messages_are_answered_in_order(self, desk: Desk) -> None:
        desk.model.queue(stalled(says("Never."), NEVER(), after=0), says("Two."), says("Three."))
        for text in ("One", "Two", "Three"):
            await desk.send(text)
        await desk.model.received(1)

        after = await desk.kill()
        await after.recovery.sweep()
        await desk.settled()

        facts = await desk.facts()
        assert desk.said(facts) == ["Two.", "Three."]
        assert desk.closings(facts) == [
            ("failed", "REC_TURN_INTERRUPTED"),
            ("done", None),
            ("done", None),
        ]

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

    async def test_a_turn_that_went_on_leaves_no_checkpoint(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND), stalled(says("Never."), NEVER(), after=0))
        await desk.say("Refund order 1002")
        await desk.decide()
        await desk.model.received(2)

        after = await desk.kill()
        await after.recovery.sweep()

        assert desk.closings(await desk.facts()) == [("failed", "REC_TURN_INTERRUPTED")]
        assert await desk.checkpoints() == 0
        assert len(desk.api.requests) == 1

    async def test_questions_that_nobody_would_act_on_are_taken_back(self, desk: Desk) -> None:
        """The process died between asking and parking."""
        desk.model.queue(calls(REFUND))
        accepted = await desk.say("Refund order 1002")
        await set_turn(desk, accepted.turn_id, status="open", owner=1)

        after = await desk.kill()
        await after.recovery.sweep()

        assert await desk.questions() == ["expired"]
        (decided,) = desk.of(await desk.facts(), ApprovalDecided)
        assert (decided.decision, decided.by) == ("expired", "system")

    async def test_two_that_recover_at_once_close_each_turn_once(self, desk: Desk) -> None:
        desk.model.queue(stalled(says("Never."), NEVER(), after=0), says("Two."))
        await desk.send("One")
        await desk.send("Two")
        await desk.model.received(1)

        after, other = await desk.kill(), await desk.process()
        await asyncio.gather(*(each.recovery.sweep() for each in (after, other)))
        await asyncio.gather(after.runner.idle(), other.runner.idle())

        facts = await desk.facts()
        assert desk.closings(facts) == [("failed", "REC_TURN_INTERRUPTED"), ("done", None)]
        assert len(desk.of(facts, TurnOpened)) == 2

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
    async def test_are_closed_when_found_twice(self, desk: Desk) -> None:
        """The database was away when the turn should have been closed; the process lives on."""
        turn_id = await stored_without_task(desk)

        await desk.first.recovery.sweep()
        assert (await desk.turn(turn_id)).status is TurnStatus.OPEN
        await desk.first.recovery.sweep()

        assert (await desk.turn(turn_id)).status is TurnStatus.FAILED
        assert desk.closings(await desk.facts()) == [("failed", "REC_TURN_INTERRUPTED")]

    async def test_that_were_closed_meanwhile_are_no_matter(self, desk: Desk) -> None:
        turn_id = await stored_without_task(desk)
        (found,) = await desk.first.conversations.own_open()
        await desk.first.conversations.settle(turn_id, TurnStatus.DONE, [])

        await desk.first.recovery._close_orphan(found)

        assert (await desk.turn(turn_id)).status is TurnStatus.DONE
        assert desk.closings(await desk.facts()) == []


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
        desk.first.calls,
        abandon_after=3_600.0,
        clock=desk.clock,
    )
