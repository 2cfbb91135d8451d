"""Who watches which thread: committed events and live tokens, handed on in order."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from smart_support.agent.state import LiveText
from smart_support.errors import ClientAction, RetryStrategy, Severity, SupportError
from smart_support.events.records import Event, MessageFinished, ThreadId, TurnId


@dataclass(frozen=True, slots=True)
class Moved:
    """The log of the thread has at least this many events; another process wrote them."""

    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A turn has to wait until it can be answered; `before`: so many others come first."""

    turn_id: TurnId
    run: int
    before: int


Live: TypeAlias = LiveText | Waiting
"""What is told to whoever is there, and not written down."""

Item: TypeAlias = Event | Live | Moved

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
    """One watcher's queue of what happens in a thread; one task reads it.

    Most sockets wait for most of their life, so that what one takes then counts: a queue of
    asyncio holds four empty ones of another kind.
    """

    __slots__ = ("_arrived", "_dropped", "_items", "_max_waiting")

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._items: list[Item] = []
        self._arrived: asyncio.Future[None] | None = None
        self._dropped = False

    @property
    def waiting(self) -> int:
        """How many items it has not taken yet."""
        return len(self._items)

    def put(self, item: Item) -> None:
        """Hand an item on, or drop the follower if it is too far behind.

        Words that it has not come to yet are handed on together with those before them.
        """
        if self._items and isinstance(item, LiveText):
            joined = _joined(self._items[-1], item)
            if joined is not None:
                self._items[-1] = joined
                return
        if len(self._items) >= self._max_waiting:
            self._dropped = True
            return
        self._items.append(item)
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    async def next(self) -> Item:
        """Wait for the next item.

        Raises:
            TooSlow: something was dropped; what is left would have a gap.
        """
        if self._dropped:
            raise TooSlow(f"more than {self._max_waiting} items waited")
        while not self._items:
            self._arrived = asyncio.get_running_loop().create_future()
            try:
                await self._arrived
            finally:
                self._arrived = None
        return self._items.pop(0)


def _joined(before: Item, item: LiveText) -> LiveText | None:
    """Both in one, if `item` goes on where the words before it end."""
    if (
        not isinstance(before, LiveText)
        or item.message_id != before.message_id
        or item.offset != before.offset + len(before.text)
        or item.restart
    ):
        return None
    return LiveText(item.message_id, before.offset, before.text + item.text, before.restart)


class Followers:
    """All followers of this process."""

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        self._of: defaultdict[ThreadId, set[Follower]] = defaultdict(set)
        self._writing: dict[ThreadId, LiveText] = {}
        self._writes_here: set[ThreadId] = set()
        self._followed: Callable[[ThreadId], None] = lambda _: None
        self._published: Callable[[ThreadId, Iterable[Item]], None] = lambda *_: None

    def when_followed(self, act: Callable[[ThreadId], None]) -> None:
        """Have `act` called whenever somebody begins to follow a thread."""
        self._followed = act

    def when_published(self, act: Callable[[ThreadId, Iterable[Item]], None]) -> None:
        """Have `act` called with whatever this process says in a thread."""
        self._published = act

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
        self._followed(thread_id)
        try:
            yield follower
        finally:
            self._of[thread_id].discard(follower)
            if not self._of[thread_id]:
                del self._of[thread_id]
                if thread_id not in self._writes_here:
                    self._writing.pop(thread_id, None)

    def followed(self) -> list[ThreadId]:
        """The threads that somebody follows here."""
        return list(self._of)

    def publish(self, thread_id: ThreadId, items: Iterable[Event | Live]) -> None:
        """Tell everybody who follows the thread what this process did in it."""
        said = list(items)
        for item in said:
            self._note(thread_id, item)
            self._put(thread_id, item)
        self._published(thread_id, said)

    def overhear(self, thread_id: ThreadId, item: Live) -> None:
        """Tell those who follow the thread what another process writes in it."""
        if thread_id not in self._of or thread_id in self._writes_here:
            return
        if isinstance(item, Waiting):
            self._put(thread_id, item)
            return
        before = self._writing.get(thread_id)
        known = len(before.text) if before and before.message_id == item.message_id else 0
        if item.offset <= known:  # else its beginning is not known yet
            self._remember(thread_id, item)
        self._put(thread_id, item)

    def hint(self, thread_id: ThreadId, seq: int) -> None:
        """Tell those who follow the thread that its log goes up to `seq`."""
        if thread_id not in self._of:
            return
        if thread_id not in self._writes_here:
            self._writing.pop(thread_id, None)  # it may be finished
        self._put(thread_id, Moved(seq))

    def writes_here(self, thread_id: ThreadId) -> bool:
        """Whether the unfinished answer is one of this process."""
        return thread_id in self._writes_here

    def written(self, thread_id: ThreadId) -> LiveText | None:
        """The answer that is being written, from its beginning; None if none is."""
        return self._writing.get(thread_id)

    def stop_writing(self, thread_id: ThreadId) -> None:
        """Forget the unfinished answer: its turn is over."""
        self._writing.pop(thread_id, None)
        self._writes_here.discard(thread_id)

    def _put(self, thread_id: ThreadId, item: Item) -> None:
        for follower in self._of.get(thread_id, ()):
            follower.put(item)

    def _note(self, thread_id: ThreadId, item: Event | Live) -> None:
        if isinstance(item, LiveText):
            self._writes_here.add(thread_id)
            self._remember(thread_id, item)
        elif isinstance(item, Event) and isinstance(item.fact, MessageFinished):
            self.stop_writing(thread_id)

    def _remember(self, thread_id: ThreadId, item: LiveText) -> None:
        before = self._writing.get(thread_id)
        text = item.text
        if before is not None and before.message_id == item.message_id and not item.restart:
            if before.text.startswith(item.text, item.offset):
                return  # said before
            text = before.text[: item.offset] + item.text
        self._writing[thread_id] = LiveText(item.message_id, 0, text)
