"""Keeps what is derived from the logs up to date, beside the conversation and never in its way."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

import structlog

from smart_support.events.consumer import EventConsumer, News
from smart_support.events.postgres import PostgresEventLog
from smart_support.events.records import Event, ThreadId
from smart_support.telemetry.handler import ERROR_HANDLER, ErrorContext, ErrorHandler

log = structlog.get_logger()

BATCH = 500
"""Events of a thread read at once."""

TOGETHER = 16
"""Threads that are brought up to date in one go: each alone costs several times as much."""

SETTLE_SECONDS = 5.0
"""Between two times that what was counted is added to the sums."""

REMEMBERED = 10_000
"""Consumers and threads of which it is remembered where they stood, those fed last."""

GATHER_SECONDS = 1.0
"""How long what is derived may lag behind, so that turns are taken in as a whole."""

GATHER_LATE_SECONDS = 5.0
"""The same while the event loop is late: several turns of a thread cost little more than one."""


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
        late: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`settle` adds a part of what was counted to the sums, and says how much it was.

        `late` says whether the process has more to do than it has time for.
        """
        self._settle = settle
        self._late = late
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
            await self._gather()
            gathered, self._waiting = list(self._waiting), set()
            for place in range(0, len(gathered), TOGETHER):
                await self.catch_up(gathered[place : place + TOGETHER])
                if self._clock() - self._settled_at >= SETTLE_SECONDS:
                    await self._settle_some()

    async def _gather(self) -> None:
        """A turn writes several times within a moment; that is one piece of work here."""
        gathered = 0.0
        while gathered < (GATHER_LATE_SECONDS if self._late() else GATHER_SECONDS):
            await self._sleep(GATHER_SECONDS)
            gathered += GATHER_SECONDS

    async def sweep(self, limit: int = 1_000) -> None:
        """Bring every thread up to date that is behind, e.g. after a crash."""
        for consumer in self._consumers:
            behind: list[ThreadId] = []
            with self._errors.guarding(_context(consumer)):
                behind = await consumer.behind(limit)
            for place in range(0, len(behind), TOGETHER):
                await self._feed_all(consumer, behind[place : place + TOGETHER], {})
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

    async def catch_up(self, thread_ids: Collection[ThreadId]) -> None:
        """Bring a few threads up to date, each consumer by itself."""
        logs: dict[ThreadId, _Read] = {}
        for consumer in self._consumers:
            await self._feed_all(consumer, thread_ids, logs)

    async def _feed_all(
        self,
        consumer: EventConsumer,
        thread_ids: Collection[ThreadId],
        logs: "dict[ThreadId, _Read]",
    ) -> None:
        """Bring one consumer up to date with all of these threads.

        `logs` is what was read just before: consumers mostly stand at the same place, and then a
        log is read once for all. What cannot be done together is done thread by thread, so that
        none holds up the others.
        """
        if not await self._fed_together(consumer, thread_ids, logs):
            for thread_id in thread_ids:
                with self._errors.guarding(_context(consumer, thread_id)):
                    more = True
                    while more:
                        news = await self._feed(consumer, [thread_id], {})
                        more = len(news.get(thread_id, ())) == BATCH

    async def _fed_together(
        self,
        consumer: EventConsumer,
        thread_ids: Collection[ThreadId],
        logs: "dict[ThreadId, _Read]",
    ) -> bool:
        """Whether the consumer is up to date with all of them now."""
        try:
            news = await self._feed(consumer, thread_ids, logs)
        except Exception as error:  # noqa: BLE001 - whatever it is, it comes again and is told then
            log.info("derived_one_by_one", threads=len(thread_ids), reason=type(error).__name__)
            return False
        return all(len(events) < BATCH for events in news.values())

    async def _feed(
        self,
        consumer: EventConsumer,
        thread_ids: Collection[ThreadId],
        logs: "dict[ThreadId, _Read]",
    ) -> News:
        """Have the consumer take in what is next of each thread, `BATCH` at most; what that was."""
        places = await self._places(consumer, thread_ids)
        unread = {
            thread_id: after
            for thread_id, after in places.items()
            if (read := logs.get(thread_id)) is None or read.after != after
        }
        if unread:
            found = await self._log.read_several(unread, limit=BATCH)
            logs.update({name: _Read(after, found[name]) for name, after in unread.items()})
        news = {name: events for name in places if (events := logs[name].events)}
        if news:
            await consumer.apply(news)
        for thread_id, after in places.items():
            events = news.get(thread_id, ())
            self._at[consumer, thread_id] = events[-1].seq if events else after
        while len(self._at) > REMEMBERED:
            self._at.popitem(last=False)
        return news

    async def _places(
        self, consumer: EventConsumer, thread_ids: Collection[ThreadId]
    ) -> dict[ThreadId, int]:
        """Where the consumer stands, as it is remembered, until it is fed."""
        known = {name: self._at.pop((consumer, name), None) for name in thread_ids}
        places = {name: at for name, at in known.items() if at is not None}
        if len(places) < len(known):
            unknown = [name for name in known if name not in places]
            places |= await consumer.applied(unknown)
        return places


@dataclass(frozen=True, slots=True)
class _Read:
    """The events of a thread that come after one of them."""

    after: int
    events: Sequence[Event]


def _context(consumer: EventConsumer, thread_id: ThreadId | None = None) -> ErrorContext:
    operation = f"derivation {type(consumer).__name__}"
    return ErrorContext(place="job", operation=operation, thread_id=thread_id)
