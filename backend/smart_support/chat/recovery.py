"""What a crash or a deadline leaves behind is found and finished, at start and ever after."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from smart_support.chat.derive import Derivation
from smart_support.chat.turn import TurnRunner
from smart_support.conversations.lifecycle import ConversationTracker
from smart_support.conversations.postgres import PostgresConversations
from smart_support.conversations.records import Turn, TurnNotOpen
from smart_support.events.records import ThreadAbandoned, TurnId
from smart_support.ledger.postgres import PostgresLedger
from smart_support.telemetry.handler import ERROR_HANDLER, ErrorContext, ErrorHandler

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
        *,
        abandon_after: float,
        clock: Callable[[], datetime],
        errors: ErrorHandler = ERROR_HANDLER,
        restart_grace: float = 0.0,
    ) -> None:
        """`abandon_after`: seconds of silence; `restart_grace`: as for `orphans`."""
        self._runner = runner
        self._conversations = conversations
        self._ledger = ledger
        self._tracker = tracker
        self._derivation = derivation
        self._abandon_after = abandon_after
        self._clock = clock
        self._restart_grace = restart_grace
        self._errors = errors
        self._suspected: set[TurnId] = set()

    async def run(
        self, every: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Sweep every `every` seconds until cancelled, what reads much at every sixth time."""
        for number in itertools.count():
            await self.sweep(thoroughly=number % 6 == 0)
            await sleep(every)

    async def sweep(self, *, thoroughly: bool = True) -> None:
        """Do every step once."""
        steps: list[Callable[[], Awaitable[None]]] = [
            self.take_up_orphans,
            self.take_up_forgotten,
            self.expire_approvals,
            self.unpark_decided,
            self.open_queued,
        ]
        if thoroughly:
            steps += [self._derivation.sweep, self.mark_abandoned]
        for step in steps:
            name = getattr(step, "__name__", "")
            with self._errors.guarding(ErrorContext(place="job", operation=f"recovery {name}")):
                await step()

    async def take_up_orphans(self) -> None:
        """Go on with the turns of processes that are gone."""
        for turn in await self._conversations.orphans(self._restart_grace):
            await self._take_up(turn)

    async def take_up_forgotten(self) -> None:
        """Go on with turns of this process that no task answers, e.g. since a write failed.

        Unless the process knows that it set the turn aside, two sweeps must find it so: between
        being stored and being answered, every turn is without a task for a moment.

        What the process knows of their calls comes first: once a turn is taken over, whatever the
        ledger says was sent counts as sent.
        """
        await self._runner.take_back_unsent()
        found = {
            turn.id: turn
            for turn in await self._conversations.own_open()
            if not self._runner.answers(turn.id)
        }
        certain = {turn_id for turn_id in found if self._runner.was_set_aside(turn_id)}
        for turn_id in certain | (self._suspected & found.keys()):
            await self._take_up(found.pop(turn_id))
        self._suspected = set(found)

    async def _take_up(self, turn: Turn) -> None:
        try:
            taken, after = await self._conversations.take_over(turn)
        except TurnNotOpen:
            return  # somebody else was quicker
        self._runner.take_up(taken, after)

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
