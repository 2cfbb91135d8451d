"""How many turns a process answers at once. The others wait, in the order in which they came."""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import takewhile

from smart_support.chat.pace import LATE, Pace, Throughput
from smart_support.chat.returning import Returning
from smart_support.errors import ClientAction, ErrorCategory, RetryStrategy, Severity, SupportError

TELL_AFTER = 1.0
"""Seconds that a turn waits before its customer is told so: a shorter wait is none."""

TELL_EVERY = 5.0
"""Seconds after which they are told anew. Each time costs a frame for each one that waits."""

WAIT_SECONDS = 10.0
"""Seconds that nobody should wait in line: who would is refused instead."""

BUSY_SECONDS = 5.0
"""Soonest time in which somebody who was refused should come again, as long as nobody knows how
fast the line moves; the latest is twice that."""

BACK_SOONEST, BACK_LATEST = 1.0, 60.0
"""Seconds, the same, once it is known."""

AGAIN_SOONEST = 3.0
"""Seconds, the same, for who came again and found no room: the line moves in fits and starts."""

MOMENT = 0.05
"""Seconds after which the lateness of the event loop is measured again, while turns are at work."""

MOMENTS = 8
"""As many of them decide together whether the process is late."""


class Busy(SupportError):
    """More turns wait than are answered soon; the message was not stored."""

    code = "SYS_BUSY"
    status = 503
    category = ErrorCategory.RETRYABLE
    severity = Severity.MEDIUM
    user_message = (
        "Many people are writing at the moment, so I could not take in your message. Please try "
        "again in a moment."
    )
    close_code = 1013
    retry = RetryStrategy.BACKOFF
    action = ClientAction.WAIT
    hint = (
        "More messages than this installation answers. More workers, or, if the processor has "
        "time left, a higher SMART_SUPPORT_TURNS_AT_ONCE; see turns_waiting and turns_at_once "
        "in the metrics."
    )

    def __init__(self, reason: str, retry_after: float) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Place:
    """One turn's claim to be answered: waited for, then had, until it is given up."""

    def __init__(self, places: "Places", asked: float) -> None:
        self._places = places
        self._come = asyncio.Event()
        self.asked = asked
        """When it was asked for, by the clock of `Places`."""

    async def wait(self, tell: Callable[[int], None]) -> float:
        """Wait until it is this turn's time; the seconds from when it was asked for.

        `tell` is called with how many wait before it, once that takes longer than a moment, and
        now and then from there on.
        """
        delay = self._places.tell_after
        while not self.had:
            try:
                async with asyncio.timeout(delay):
                    await self._come.wait()
            except TimeoutError:
                tell(self._places.before(self))
                delay = self._places.tell_every
        return max(0.0, self._places.monotonic() - self.asked)

    @property
    def had(self) -> bool:
        """Whether it is this turn's time."""
        return self._come.is_set()

    def have(self) -> None:
        """Let whoever waits for it begin."""
        self._come.set()


class Places:
    """The places of a process, and who waits for one. First come, first served.

    A thread has one open turn at most, so that nobody gets in twice before somebody else. How many
    places there are follows what the process can do, while `watch` runs.
    """

    def __init__(
        self,
        at_once: int,
        waiting: int,
        *,
        wait: float = WAIT_SECONDS,
        tell_after: float = TELL_AFTER,
        tell_every: float = TELL_EVERY,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """There are never more places than `at_once`.

        `waiting`, and `wait` in seconds, bound what is taken in anew; turns that are there already
        always may wait.
        """
        self._always = at_once
        self._most = at_once + waiting
        self._most_wait = wait
        self._pace = Pace(at_once)
        self._chance = chance
        self._taken: set[Place] = set()
        self._queue: dict[Place, None] = {}
        self._promised = 0
        self._at_work = asyncio.Event()
        self._throughput = Throughput(monotonic())
        self._returning = Returning()
        self._lateness = 0.0
        self.tell_after = tell_after
        self.tell_every = tell_every
        self.monotonic = monotonic

    @property
    def taken(self) -> int:
        """How many turns have a place."""
        return len(self._taken)

    @property
    def waiting(self) -> int:
        """How many turns wait for one."""
        return len(self._queue)

    @property
    def at_once(self) -> int:
        """How many may have one now."""
        return self._pace.at_once

    @property
    def late(self) -> bool:
        """Whether the event loop comes too late to what turns at work have to do, for a while now.

        A moment that is not late tells that there is room for more turns; it takes several late
        ones to tell that there is time for nothing else.
        """
        return bool(self._taken) and self._lateness > LATE

    def full(self, thread_id: str) -> bool:
        """Whether no message of the thread should be taken in that needs a place.

        Those who were refused before it have what room there is in the line; a place that is free
        is kept for nobody. Nor should it if the line is too slow: if the first in it has waited
        longer than anybody should, or if whoever comes now would, at the speed at which it has
        moved; but as many as there may be places at best are always taken in.
        """
        claimed, now = self._claimed, self.monotonic()
        if claimed < self.at_once:
            return False
        before = self._returning.before(thread_id, now)
        if claimed < self._always or not self._queue:
            return before >= self._most - claimed
        if now - next(iter(self._queue)).asked > self._most_wait:
            return True
        return before + 1 > self._room(self._per_second())

    def busy(self, reason: str, thread_id: str) -> Busy:
        """What a message of the thread is refused with, and when to come again.

        Those who were refused come again one by one, in the order in which they were refused first,
        as fast as there are places for them, and so that half of the line is free when they come:
        a turn takes longer than the one before it by chance, and then they find room all the same.
        """
        now = self.monotonic()
        if (per_second := self._per_second()) is None:
            wait = BUSY_SECONDS * (1.0 + self._chance())
        else:
            before = self._returning.before(thread_id, now)
            free = self._line(per_second) / 2
            wait = (before + 1 + free - self._room(per_second)) / per_second
        soonest = AGAIN_SOONEST if self._returning.knows(thread_id) else BACK_SOONEST
        wait = min(BACK_LATEST, max(soonest, wait))
        self._returning.tell(thread_id, now + wait)
        return Busy(reason, wait)

    @contextlib.contextmanager
    def promised(self, thread_id: str) -> Iterator[None]:
        """Keep room for a turn that is being stored, until it has asked for its place."""
        self._returning.came(thread_id)
        self._promised += 1
        try:
            yield
        finally:
            self._promised -= 1

    def ask(self) -> Place:
        """Get in line. Whoever asks gives the place up in the end, had or not."""
        place = Place(self, self.monotonic())
        self._queue[place] = None
        self._at_work.set()
        self._let_in()
        return place

    def give_up(self, place: Place) -> None:
        """Be done with it, or wait for it no longer; the next one has it."""
        self._queue.pop(place, None)
        had = place in self._taken
        self._taken.discard(place)
        self._let_in(ended=int(had))
        if not self._taken:
            self._at_work.clear()

    def before(self, place: Place) -> int:
        """How many wait before this one."""
        return sum(1 for _ in takewhile(lambda other: other is not place, self._queue))

    async def watch(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Measure how late the event loop is, and let as many in at once as that allows.

        Until cancelled; measures only while turns are at work.
        """
        while True:
            await self._at_work.wait()
            began = self.monotonic()
            await sleep(MOMENT)
            self.notice(self.monotonic() - began - MOMENT)

    def notice(self, late: float) -> None:
        """Take note of how many seconds the event loop was late a moment ago."""
        self._lateness += (late - self._lateness) / MOMENTS
        if self._pace.take(late, taken=len(self._taken), waiting=len(self._queue)):
            self._let_in()

    @property
    def _claimed(self) -> int:
        return len(self._taken) + len(self._queue) + self._promised

    def _line(self, per_second: float) -> float:
        """How long the line may be if it moves at this speed, beyond those who always may wait."""
        return min(self._most - self._always, self._most_wait * per_second)

    def _room(self, per_second: float | None) -> float:
        """How many more there is room for at this speed; below zero if the line is too long."""
        by_number = self._most - self._claimed
        if per_second is None:
            return by_number
        return min(by_number, self._most_wait * per_second - len(self._queue) - self._promised)

    def _per_second(self) -> float | None:
        self._throughput.see(self.monotonic(), waiting=bool(self._queue))
        return self._throughput.per_second(self.at_once)

    def _let_in(self, ended: int = 0) -> None:
        while self._queue and len(self._taken) < self.at_once:
            place = next(iter(self._queue))
            del self._queue[place]
            self._taken.add(place)
            place.have()
        self._throughput.see(self.monotonic(), waiting=bool(self._queue), ended=ended)
