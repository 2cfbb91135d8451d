"""The events that turns begin with, read once: a log is only ever added to."""

from collections import OrderedDict

from smart_support.agent.history import HISTORY_TYPES, MAX_EVENTS
from smart_support.agent.work import WHO_TYPES
from smart_support.events.postgres import PostgresEventLog
from smart_support.events.records import Event, ThreadId

KEPT_THREADS = 500
"""Threads whose events are kept, those that were asked for last; at most `MAX_EVENTS` of each."""

_TYPES = (*HISTORY_TYPES, *WHO_TYPES)


class PastEvents:
    """What was said and done in threads, as far as a turn looks back."""

    def __init__(self, log: PostgresEventLog, kept_threads: int = KEPT_THREADS) -> None:
        self._log = log
        self._most = kept_threads
        self._kept: OrderedDict[ThreadId, tuple[Event, ...]] = OrderedDict()

    async def read(self, thread_id: ThreadId) -> tuple[Event, ...]:
        """The newest events of the thread as of now, oldest first; those not known are read."""
        known = self._kept.get(thread_id, ())
        new = await self._log.read_turns(
            thread_id, _TYPES, last=MAX_EVENTS, after=known[-1].seq if known else 0
        )
        found = (*known, *new)[-MAX_EVENTS:]
        self._kept[thread_id] = found
        self._kept.move_to_end(thread_id)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return found
