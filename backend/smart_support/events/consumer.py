"""Reading the log into something else, exactly once."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, TypeAlias

from smart_support.errors import Severity, SupportError
from smart_support.events.records import Event, ThreadId

News: TypeAlias = Mapping[ThreadId, Sequence[Event]]
"""What happened in threads."""


class EventGap(SupportError):
    """Facts between what a consumer has taken in and what it was given are missing.

    Nothing was taken in. Read the log from `applied` on and apply again.
    """

    code = "CONV_EVENT_GAP"
    severity = Severity.MEDIUM

    def __init__(self, thread_id: ThreadId, expected: int, found: int) -> None:
        super().__init__(f"thread {thread_id}: expected event {expected}, was given {found}")
        self.thread_id = thread_id
        self.expected = expected
        self.found = found


class EventConsumer(Protocol):
    """Derives something from the log and remembers, per thread, how far it has read.

    What was derived and how far it reaches are kept in one transaction, so that each event
    counts once, however often it is given, and after a failure nothing is half counted.
    """

    async def applied(self, thread_ids: Collection[ThreadId]) -> dict[ThreadId, int]:
        """The `seq` of the last event taken in of each of these threads; 0 if none was."""
        ...

    async def apply(self, news: News) -> None:
        """Take in the events of each thread, in order; those taken in before change nothing.

        All of it is taken in, or nothing.

        Raises:
            EventGap: an event is missing before or between those of a thread.
            ValueError: one of them belongs to another thread.
        """
        ...

    async def behind(self, limit: int) -> list[ThreadId]:
        """At most `limit` threads whose log goes on after what was taken in, oldest first."""
        ...

    async def rebuild(self, thread_id: ThreadId) -> None:
        """Forget what was derived from the thread and derive it again from its whole log."""
        ...


def unseen(thread_id: ThreadId, events: Sequence[Event], applied: int) -> list[Event]:
    """Those of `events` that come after `applied`, checked to go on without a gap.

    Raises:
        EventGap: an event is missing before or between them.
        ValueError: one of them belongs to another thread.
    """
    fresh: list[Event] = []
    for event in events:
        if event.thread_id != thread_id:
            raise ValueError(f"event {event.seq} is of thread {event.thread_id}, not {thread_id}")
        if event.seq <= applied:
            continue
        expected = applied + len(fresh) + 1
        if event.seq > expected:
            raise EventGap(thread_id, expected, event.seq)
        if event.seq == expected:
            fresh.append(event)
    return fresh
