"""What a crash leaves of the calls that were on their way, and how each gets its end."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from smart_support.errors import InvalidInput, SupportError
from smart_support.events.postgres import PostgresEventLog
from smart_support.events.records import (
    CallResolved,
    Event,
    Fact,
    Resolution,
    ThreadId,
    ToolCalled,
    ToolReturned,
    TurnId,
)
from smart_support.identity.people import Person
from smart_support.ledger.departures import Departures
from smart_support.ledger.postgres import PostgresLedger
from smart_support.ledger.records import CallSettled, KnownCall
from smart_support.ledger.unknown_postgres import PostgresUnknownCalls
from smart_support.tools import words
from smart_support.tools.resolve import CallResolver, Found

log = structlog.get_logger()

AT_ONCE = 20
"""Calls that one sweep looks after."""

_NEWEST = 400


class CallRecovery:
    """Sees to it that no call is left without an end, and no unknown one without being looked at.

    `publish` is told of committed events.
    """

    def __init__(
        self,
        ledger: PostgresLedger,
        unknown: PostgresUnknownCalls,
        event_log: PostgresEventLog,
        resolver: CallResolver,
        publish: Callable[[ThreadId, Sequence[Event]], None],
        *,
        clock: Callable[[], datetime],
        departures: Departures | None = None,
    ) -> None:
        self._departures = departures
        self._ledger = ledger
        self._unknown = unknown
        self._log = event_log
        self._resolver = resolver
        self._publish = publish
        self._clock = clock
        self._due = asyncio.Event()

    async def run(self, every: float) -> None:
        """Look after the unknown calls, every `every` seconds and when there are new ones."""
        while True:
            self._due.clear()
            try:
                await self.look_after()
            except SupportError as error:
                log.warning("calls_not_looked_after", code=error.code)
            except Exception:
                log.exception("call_recovery_crashed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await self._due.wait()

    async def lose(self, thread_id: ThreadId, turn_id: TurnId) -> None:
        """What the turn has on its way is unknown from now on; `run` looks after it at once."""
        lost = await self._ledger.lose_sent(turn_id, words.interrupted(), now=self._clock())
        self._publish(thread_id, lost)
        if lost:
            self._due.set()

    async def find_lost(self, thread_id: ThreadId, turn_id: TurnId) -> None:
        """Before a turn of a process that is gone goes on: find out what became of its calls.

        What that process surely never let leave can still be made. What cannot be found out now is
        unknown, and looked after from then on.
        """
        if self._departures is not None:
            for call in await self._ledger.on_their_way(turn_id):
                if self._departures.never_left(call.sent_by, call.id):
                    await self._ledger.take_back(call.id, thread_id)
                    log.warning("unsent_call_taken_back", call=call.id)
        lost = await self._ledger.lose_sent(turn_id, words.interrupted(), now=self._clock())
        self._publish(thread_id, lost)
        if lost:
            await self.look_after(turn_id)

    async def close_unsent(self, thread_id: ThreadId, turn_id: TurnId) -> None:
        """When a turn is over before its end: what it had not sent has failed, surely."""
        now = self._clock()
        ended = await self._ledger.close_unsent(turn_id, words.never_sent(), now=now)
        self._publish(thread_id, ended)
        open_calls = await self._without_result(thread_id, turn_id)
        if open_calls:
            facts: list[Fact] = [
                ToolReturned(
                    turn_id=turn_id,
                    tool_call_id=call_id,
                    outcome="failed",
                    content=words.never_sent(),
                    code=words.NOT_SENT,
                )
                for call_id in open_calls
            ]
            self._publish(thread_id, await self._log.append(thread_id, facts))

    async def _without_result(self, thread_id: ThreadId, turn_id: TurnId) -> list[str]:
        """Calls of the turn that the log has no result of: reads, and what was only decided on."""
        events = await self._log.read_turns(
            thread_id, (ToolCalled.type, ToolReturned.type), last=_NEWEST
        )
        facts = [event.fact for event in events]
        returned = {fact.tool_call_id for fact in facts if isinstance(fact, ToolReturned)}
        return [
            fact.tool_call_id
            for fact in facts
            if isinstance(fact, ToolCalled)
            and fact.turn_id == turn_id
            and fact.tool_call_id not in returned
        ]

    async def look_after(self, turn_id: TurnId | None = None) -> None:
        """Find out what became of the unknown calls that are due, of one turn or of all."""
        due = await self._unknown.take_due(self._clock(), AT_ONCE, turn_id)
        # Beside each other: an API that does not answer keeps only its own calls waiting.
        async with asyncio.TaskGroup() as group:
            for call in due:
                group.create_task(self._look_at(call))

    async def _look_at(self, call: KnownCall) -> None:
        try:
            found = await self._resolver.find_out(call)
            if found is not None:
                await self._settle(call, found)
        except CallSettled:
            return  # a person was quicker
        except SupportError as error:
            log.warning("call_check_failed", call=call.id, code=error.code)

    async def resolve(
        self, person: Person, call_id: str, resolution: Resolution, remark: str
    ) -> KnownCall:
        """Write down what a person found out about a call.

        Raises:
            NotFound: there is no such call.
            CallSettled: its outcome is not unknown, or not any more.
            InvalidInput: they do not say how they know.
        """
        if not remark.strip():
            raise InvalidInput("Say how you know.")
        call = await self._ledger.call(call_id)
        content = words.not_done() if resolution == "not_done" else words.found_done()
        found = Found(resolution, "person", content, remark.strip())
        await self._settle(call, found, by=person.id)
        return await self._ledger.call(call_id)

    async def waiting(self, limit: int) -> tuple[KnownCall, ...]:
        """The calls whose outcome is unknown now, the one that waits longest first."""
        return await self._unknown.waiting(limit)

    async def _settle(self, call: KnownCall, found: Found, by: str = "system") -> None:
        resolved = CallResolved(
            turn_id=call.turn_id,
            tool_call_id=call.id,
            resolution=found.resolution,
            how=found.how,
            by=by,
            remark=found.remark,
            content=found.content,
        )
        events = await self._unknown.resolve(resolved, found.attempts, now=self._clock())
        log.info("call_resolved", call=call.id, resolution=found.resolution, how=found.how)
        self._publish(call.thread_id, events)
