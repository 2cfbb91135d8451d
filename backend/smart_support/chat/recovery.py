"""What a crash or a deadline leaves behind is found and finished, at start and ever after."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from smart_support.chat.calls import CallRecovery
from smart_support.chat.derive import Derivation
from smart_support.chat.turn import TurnInterrupted, TurnRunner
from smart_support.conversations.lifecycle import ConversationTracker
from smart_support.conversations.postgres import PostgresConversations
from smart_support.conversations.records import Turn, TurnNotOpen, TurnStatus
from smart_support.errors import SupportError
from smart_support.events.records import ThreadAbandoned, TurnClosed, TurnId
from smart_support.ledger.postgres import PostgresLedger
from smart_support.telemetry.logs import new_correlation_id

log = structlog.get_logger()


class Recovery:
    """Looks for what nobody works on any more. Each step may fail without hurting the others."""

    def __init__(
        self,
        runner: TurnRunner,
        conversations: PostgresConversations,
        ledger: PostgresLedger,
        tracker: ConversationTracker,
        derivation: Derivation,
        calls: CallRecovery,
        *,
        abandon_after: float,
        clock: Callable[[], datetime],
    ) -> None:
        """`abandon_after`: seconds of silence."""
        self._runner = runner
        self._conversations = conversations
        self._ledger = ledger
        self._tracker = tracker
        self._derivation = derivation
        self._calls = calls
        self._abandon_after = abandon_after
        self._clock = clock
        self._suspected: set[TurnId] = set()

    async def run(
        self, every: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Sweep every `every` seconds until cancelled."""
        while True:
            await self.sweep()
            await sleep(every)

    async def sweep(self) -> None:
        """Do every step once."""
        for step in (
            self.close_orphans,
            self.close_forgotten,
            self.expire_approvals,
            self.unpark_decided,
            self.open_queued,
            self._derivation.sweep,
            self.mark_abandoned,
        ):
            try:
                await step()
            except SupportError as error:
                log.warning("recovery_step_failed", step=step.__name__, code=error.code)
            except Exception:
                log.exception("recovery_step_crashed", step=step.__name__)

    async def close_orphans(self) -> None:
        """Close the turns of processes that are gone, with honest words."""
        for turn in await self._conversations.orphans():
            await self._close_orphan(turn)

    async def close_forgotten(self) -> None:
        """Close turns of this process that no task answers, e.g. since a write failed at the end.

        A turn counts as forgotten when two sweeps find it so: between being stored and being
        answered, every turn is without a task for a moment.
        """
        found = {
            turn.id: turn
            for turn in await self._conversations.own_open()
            if not self._runner.answers(turn.id)
        }
        for turn_id in self._suspected & found.keys():
            await self._close_orphan(found.pop(turn_id))
        self._suspected = set(found)

    async def _close_orphan(self, turn: Turn) -> None:
        await self._calls.settle_sent(turn.thread_id, turn.id)
        withdrawn = await self._ledger.withdraw(turn.id, now=self._clock())
        if withdrawn:
            self._runner.publish(turn.thread_id, withdrawn)
        await self._calls.close_unsent(turn.thread_id, turn.id)
        error = TurnInterrupted("the process that answered is gone")
        closed = TurnClosed(
            turn_id=turn.id,
            run=turn.run,
            status="failed",
            duration_ms=0.0,
            first_token_ms=None,
            model_calls=0,
            input_tokens=0,
            output_tokens=0,
            code=error.code,
            message=error.user_message,
            correlation_id=new_correlation_id(),
        )
        try:
            events, following = await self._conversations.settle(
                turn.id, TurnStatus.FAILED, [closed]
            )
        except TurnNotOpen:
            return  # somebody else was quicker
        log.warning("turn_recovered", thread_id=turn.thread_id, turn_id=turn.id)
        self._runner.publish(turn.thread_id, events)
        if following is not None:
            self._runner.resume(following)
        await self._runner.forget(turn.id)

    async def expire_approvals(self) -> None:
        """Answer questions whose time is over; their turns go on and say so."""
        for decided in await self._ledger.expire(self._clock()):
            await self._runner.go_on(decided)

    async def unpark_decided(self) -> None:
        """Go on with parked turns that were decided just before a crash."""
        for turn in await self._conversations.parked():
            states = await self._ledger.decisions(turn.id)
            if "pending" not in states.values():
                await self._runner.unpark(turn.id)

    async def open_queued(self) -> None:
        """Answer messages that wait although nothing of their thread is being answered."""
        for thread_id in await self._conversations.queued_without_open():
            turn = await self._conversations.open_next(thread_id)
            if turn is not None:
                self._runner.resume(turn)

    async def mark_abandoned(self) -> None:
        """Note which customers have not come back."""
        before = self._clock() - timedelta(seconds=self._abandon_after)
        for thread_id in await self._tracker.idle_since(before, limit=100):
            await self._runner.record(
                thread_id, [ThreadAbandoned(idle_seconds=self._abandon_after)]
            )
