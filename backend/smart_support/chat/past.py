"""The events that turns begin with, read once: a log is only ever added to."""

from collections import OrderedDict

from smart_support.agent.history import HISTORY_TYPES, MAX_EVENTS
from smart_support.agent.work import WHO_TYPES
from smart_support.events.postgres import PostgresEventLog
from smart_support.events.records import Event, ThreadId

KEPT_EVENTS = 20_000
"""Events that are kept, of the threads that were asked for last; at most `MAX_EVENTS` of each."""

_TYPES = (*HISTORY_TYPES, *WHO_TYPES)


class PastEvents:
    """What was said and done in threads, as far as a turn looks back."""

    def __init__(self, log: PostgresEventLog, most: int = KEPT_EVENTS) -> None:
        """`most` events are kept, of all threads together."""
        self._log = log
        self._most = most
        self._kept: OrderedDict[ThreadId, tuple[Event, ...]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        """How many events are kept."""
        return self._count

    async def read(self, thread_id: ThreadId) -> tuple[Event, ...]:
        """The newest events of the thread as of now, oldest first; those not known are read."""
        known = self._kept.get(thread_id, ())
        new = await self._log.read_turns(
            thread_id, _TYPES, last=MAX_EVENTS, after=known[-1].seq if known else 0
        )
        found = (*known, *new)[-MAX_EVENTS:]
        self._keep(thread_id, found)
        return found

    def _keep(self, thread_id: ThreadId, events: tuple[Event, ...]) -> None:
        self._count += len(events) - len(self._kept.pop(thread_id, ()))
        self._kept[thread_id] = events
        while self._count > self._most:
            _, gone = self._kept.popitem(last=False)
            self._count -= len(gone)
