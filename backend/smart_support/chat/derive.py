"""Keeps what is derived from the logs up to date, beside the conversation and never in its way."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from smart_support.events.consumer import EventConsumer
from smart_support.events.postgres import PostgresEventLog
from smart_support.events.records import Event, ThreadId
from smart_support.telemetry.handler import ERROR_HANDLER, ErrorContext, ErrorHandler

BATCH = 500
"""Events read at once."""

GATHER_SECONDS = 0.25
"""How long what is derived may lag behind, so that a turn is taken in as a whole."""


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
    ) -> None:
        self._errors = errors
        self._sleep = sleep
        self._log = event_log
        self._consumers = consumers
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

    async def sweep(self, limit: int = 1_000) -> None:
        """Bring every thread up to date that is behind, e.g. after a crash."""
        for consumer in self._consumers:
            behind: list[ThreadId] = []
            with self._errors.guarding(_context(consumer)):
                behind = await consumer.behind(limit)
            for thread_id in behind:
                await self._feed(consumer, thread_id)

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
                after = await consumer.applied(thread_id)
                if read is None or read.after != after:
                    events = await self._log.read(thread_id, after=after, limit=BATCH)
                    read = _Read(after, events)
                if read.events:
                    await consumer.apply(thread_id, read.events)
                if len(read.events) < BATCH:
                    return read


@dataclass(frozen=True, slots=True)
class _Read:
    """The events of a thread that come after one of them."""

    after: int
    events: Sequence[Event]


async def keep_settled(
    settle: Callable[[], Awaitable[int]],
    every: float,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    errors: ErrorHandler = ERROR_HANDLER,
) -> None:
    """Have what was counted added to the sums, every `every` seconds and until cancelled.

    `settle` does a part and says how much it was; after a failure the rest waits for next time.
    """
    context = ErrorContext(place="job", operation="settling of figures")
    while True:
        with errors.guarding(context):
            while await settle():
                pass
        await sleep(every)


def _context(consumer: EventConsumer, thread_id: ThreadId | None = None) -> ErrorContext:
    operation = f"derivation {type(consumer).__name__}"
    return ErrorContext(place="job", operation=operation, thread_id=thread_id)
