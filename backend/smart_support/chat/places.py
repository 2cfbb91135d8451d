"""How many turns a process answers at once. The others wait, in the order in which they came."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterator
from itertools import takewhile

from smart_support.errors import ClientAction, ErrorCategory, RetryStrategy, Severity, SupportError

TELL_AFTER = 1.0
"""Seconds that a turn waits before its customer is told so: a shorter wait is none."""

TELL_EVERY = 5.0
"""Seconds after which they are told anew. Each time costs a frame for each one that waits."""

BUSY_SECONDS = 5.0
"""Soonest time in which somebody who was refused should come again; the latest is twice that."""


class Busy(SupportError):
    """As many turns as may wait for an answer do; the message was not stored."""

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
        "time left, a higher SMART_SUPPORT_TURNS_AT_ONCE; see turns_waiting in the metrics."
    )

    def __init__(self, waiting: int, retry_after: float) -> None:
        super().__init__(f"{waiting} turns wait already")
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

    A thread has one open turn at most, so that nobody gets in twice before somebody else.
    """

    def __init__(
        self,
        at_once: int,
        waiting: int,
        *,
        tell_after: float = TELL_AFTER,
        tell_every: float = TELL_EVERY,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`waiting` bounds what is taken in anew; turns that are there already always may wait."""
        self._at_once = at_once
        self._most_waiting = waiting
        self._chance = chance
        self._taken: set[Place] = set()
        self._queue: dict[Place, None] = {}
        self._promised = 0
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
    def full(self) -> bool:
        """Whether no message should be taken in that needs a place."""
        claimed = len(self._taken) + len(self._queue) + self._promised
        return claimed >= self._at_once + self._most_waiting

    def busy(self) -> Busy:
        """What a message is refused with. Those who were refused come again one by one."""
        return Busy(self.waiting, BUSY_SECONDS * (1.0 + self._chance()))

    @contextlib.contextmanager
    def promised(self) -> Iterator[None]:
        """Keep room for a turn that is being stored, until it has asked for its place."""
        self._promised += 1
        try:
            yield
        finally:
            self._promised -= 1

    def ask(self) -> Place:
        """Get in line. Whoever asks gives the place up in the end, had or not."""
        place = Place(self, self.monotonic())
        self._queue[place] = None
        self._let_in()
        return place

    def give_up(self, place: Place) -> None:
        """Be done with it, or wait for it no longer; the next one has it."""
        self._queue.pop(place, None)
        self._taken.discard(place)
        self._let_in()

    def before(self, place: Place) -> int:
        """How many wait before this one."""
        return sum(1 for _ in takewhile(lambda other: other is not place, self._queue))

    def _let_in(self) -> None:
        while self._queue and len(self._taken) < self._at_once:
            place = next(iter(self._queue))
            del self._queue[place]
            self._taken.add(place)
            place.have()
