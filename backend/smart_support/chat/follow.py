"""Who watches which thread: committed events and live tokens, handed on in order."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from smart_support.agent.state import LiveText
from smart_support.errors import ClientAction, RetryStrategy, Severity, SupportError
from smart_support.events.records import Event, MessageFinished, ThreadId

Item: TypeAlias = Event | LiveText

MAX_WAITING = 1_000
"""Items that one follower may be behind before it is dropped."""


class TooSlow(SupportError):
    """The follower reads more slowly than the thread speaks; it may resume from its last seq."""

    code = "CONN_TOO_SLOW"
    status = 503
    severity = Severity.LOW
    user_message = "The connection was too slow. Reconnecting…"
    close_code = 1013
    retry = RetryStrategy.BACKOFF
    action = ClientAction.RECONNECT


class Follower:
    """One watcher's queue of what happens in a thread."""

    def __init__(self, max_waiting: int) -> None:
        self._items: asyncio.Queue[Item] = asyncio.Queue(max_waiting)
        self._dropped = False

    def put(self, item: Item) -> None:
        """Hand an item on, or drop the follower if it is too far behind."""
        try:
            self._items.put_nowait(item)
        except asyncio.QueueFull:
            self._dropped = True

    async def next(self) -> Item:
        """Wait for the next item.

        Raises:
            TooSlow: something was dropped; what is left would have a gap.
        """
        if self._dropped:
            raise TooSlow(f"more than {self._items.maxsize} items waited")
        return await self._items.get()


class Followers:
    """All followers of this process."""

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        self._of: defaultdict[ThreadId, set[Follower]] = defaultdict(set)
        self._writing: dict[ThreadId, LiveText] = {}

    @property
    def threads(self) -> int:
        """How many threads somebody follows."""
        return len(self._of)

    @contextmanager
    def follow(self, thread_id: ThreadId) -> Iterator[Follower]:
        """Watch a thread from now on; the answer being written comes first, as far as it is."""
        follower = Follower(self._max_waiting)
        if (writing := self._writing.get(thread_id)) is not None:
            follower.put(writing)
        self._of[thread_id].add(follower)
        try:
            yield follower
        finally:
            self._of[thread_id].discard(follower)
            if not self._of[thread_id]:
                del self._of[thread_id]

    def publish(self, thread_id: ThreadId, items: Iterable[Item]) -> None:
        """Tell everybody who follows the thread."""
        for item in items:
            self._note(thread_id, item)
            for follower in self._of.get(thread_id, ()):
                follower.put(item)

    def written(self, thread_id: ThreadId) -> LiveText | None:
        """The answer that is being written, from its beginning; None if none is."""
        return self._writing.get(thread_id)

    def stop_writing(self, thread_id: ThreadId) -> None:
        """Forget the unfinished answer: its turn is over."""
        self._writing.pop(thread_id, None)

    def _note(self, thread_id: ThreadId, item: Item) -> None:
        if isinstance(item, LiveText):
            before = self._writing.get(thread_id)
            same = before is not None and before.message_id == item.message_id
            text = before.text[: item.offset] + item.text if before and same else item.text
            self._writing[thread_id] = LiveText(item.message_id, 0, text)
        elif isinstance(item.fact, MessageFinished):
            self._writing.pop(thread_id, None)
