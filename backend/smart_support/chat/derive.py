"""Keeps what is derived from the logs up to date, beside the conversation and never in its way."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from smart_support.events.consumer import EventConsumer
from smart_support.events.postgres import PostgresEventLog
from smart_support.events.records import Event, ThreadId
from smart_support.telemetry.handler import ERROR_HANDLER, ErrorContext, ErrorHandler

BATCH = 500
"""Events read at once."""
SETTLE_SECONDS = 5.0
"""Between two times that what was counted is added to the sums."""

REMEMBERED = 10_000
"""Consumers and threads of which it is remembered where they stood, those fed last."""

GATHER_SECONDS = 1.0
"""How long what is derived may lag behind, so that turns are taken in as a whole."""


class Derivation:
    """Feeds each thread's events to its consumers; what fails is tried again at the next sweep.

    Consumers keep their own place in each log, so nothing is lost or counted twice, whatever
    fails in between. Their failures are logged and go no further.
    """

    def __init__(
        self,
        event_log: PostgresEventLog,
        consumers: Sequence[EventConsumer],
        errors: ErrorHandler = ERROR_HANDLER,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        *,
        settle: Callable[[], Awaitable[int]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`settle` adds a part of what was counted to the sums, and says how much it was."""
        self._settle = settle
        self._clock = clock
        self._settled_at = clock()
        self._errors = errors
        self._sleep = sleep
        self._log = event_log
        self._consumers = consumers
        self._at: OrderedDict[tuple[EventConsumer, ThreadId], int] = OrderedDict()
        """Where consumers stood when they were fed last. They know better, and refuse a gap."""
        self._waiting: set[ThreadId] = set()
        self._wake = asyncio.Event()

    def notice(self, thread_id: ThreadId) -> None:
        """Say that the thread has new events."""
        self._waiting.add(thread_id)
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            # A turn writes several times within a moment; that is one piece of work here.
            await self._sleep(GATHER_SECONDS)
            while self._waiting:
                await self.catch_up(self._waiting.pop())
                if self._clock() - self._settled_at >= SETTLE_SECONDS:
                    await self._settle_some()

    async def sweep(self, limit: int = 1_000) -> None:
        """Bring every thread up to date that is behind, e.g. after a crash."""
        for consumer in self._consumers:
            behind: list[ThreadId] = []
            with self._errors.guarding(_context(consumer)):
                behind = await consumer.behind(limit)
            for thread_id in behind:
                await self._feed(consumer, thread_id)
        while await self._settle_some():
            pass

    async def _settle_some(self) -> int:
        """What it did not come to stays for the next time."""
        settled = 0
        self._settled_at = self._clock()
        if self._settle is not None:
            with self._errors.guarding(ErrorContext(place="job", operation="settling of figures")):
                settled = await self._settle()
        return settled

    async def catch_up(self, thread_id: ThreadId) -> None:
        """Bring one thread up to date, each consumer by itself."""
        read: _Read | None = None
        for consumer in self._consumers:
            read = await self._feed(consumer, thread_id, read)

    async def _feed(
        self, consumer: EventConsumer, thread_id: ThreadId, read: "_Read | None" = None
    ) -> "_Read | None":
        """Bring one consumer up to date; `read` is what was read of the log just before, if it was.

        Consumers mostly stand at the same place, and then the log is read once for all.
        """
        with self._errors.guarding(_context(consumer, thread_id)):
            while True:
                after = self._at.pop((consumer, thread_id), None)
                if after is None:
                    after = await consumer.applied(thread_id)
                if read is None or read.after != after:
                    events = await self._log.read(thread_id, after=after, limit=BATCH)
                    read = _Read(after, events)
                if read.events:
                    await consumer.apply(thread_id, read.events)
                self._at[consumer, thread_id] = read.events[-1].seq if read.events else after
                if len(self._at) > REMEMBERED:
                    self._at.popitem(last=False)
                if len(read.events) < BATCH:
                    return read


@dataclass(frozen=True, slots=True)
class _Read:
    """The events of a thread that come after one of them."""

    after: int
    events: Sequence[Event]


def _context(consumer: EventConsumer, thread_id: ThreadId | None = None) -> ErrorContext:
    operation = f"derivation {type(consumer).__name__}"
    return ErrorContext(place="job", operation=operation, thread_id=thread_id)
