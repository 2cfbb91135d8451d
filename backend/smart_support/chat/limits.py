"""How much one thread, or one socket, may ask of us, and how many at once."""

import asyncio
import contextlib
import time
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import AsyncIterator, Callable

from smart_support.errors import RateLimited


class MessageLimiter:
    """At most `limit` messages of one thread in any `window` seconds, exactly.

    A sliding log: the time of each admitted message is kept for as long as it counts. Counting
    per fixed or smoothed window would let up to twice as many through. A refused message leaves
    no trace, so that trying too early never makes the wait longer.
    """

    def __init__(
        self, limit: int, window: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._window = window
        self._clock = clock
        self._admitted: OrderedDict[str, deque[float]] = OrderedDict()

    def admit(self, thread_id: str) -> float:
        """Let one message of the thread in, and say when that was, for `give_back`.

        Raises:
            RateLimited: not now; it says in how many seconds there is room.
        """
        now = self._clock()
        self._forget_idle(now)
        times = self._admitted.setdefault(thread_id, deque())
        while times and now - times[0] >= self._window:
            times.popleft()
        if len(times) >= self._limit:
            raise RateLimited(self._window - (now - times[0]))
        times.append(now)
        self._admitted.move_to_end(thread_id)
        return now

    def give_back(self, thread_id: str, admitted: float) -> None:
        """Take back the admission of that time: the message turned out not to be stored."""
        with contextlib.suppress(KeyError, ValueError):  # it does not count any more
            self._admitted[thread_id].remove(admitted)

    def __len__(self) -> int:
        return len(self._admitted)

    def _forget_idle(self, now: float) -> None:
        # Threads are in the order of their last admission, so the idle ones are in front.
        while self._admitted:
            thread_id, times = next(iter(self._admitted.items()))
            if times and now - times[-1] < self._window:
                return
            del self._admitted[thread_id]


class FewAtOnce:
    """Of those who want the same thread, `most` at once have it, in the order in which they came.

    They would wait for each other in the database too, but each on a connection of its own, and
    those are few.
    """

    def __init__(self, most: int) -> None:
        self._places = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(most))
        self._wanted: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def of(self, thread_id: str) -> AsyncIterator[None]:
        """Wait for a place at the thread, and have it inside the block."""
        self._wanted[thread_id] += 1
        try:
            async with self._places[thread_id]:
                yield
        finally:
            self._wanted[thread_id] -= 1
            if not self._wanted[thread_id]:
                del self._wanted[thread_id], self._places[thread_id]

    def __len__(self) -> int:
        return len(self._places)


class FrameBucket:
    """What one socket may send: `burst` frames at once, `rate` a second in the long run.

    A token bucket that goes into debt: a refused frame takes its token all the same. Who waits as
    long as it is told has room again; who goes on regardless is soon found `flooding`.
    """

    __slots__ = ("_at", "_burst", "_clock", "_level", "_rate")

    def __init__(
        self, rate: float, burst: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._level = float(burst)
        self._at = clock()

    def take(self) -> float:
        """Count a frame: 0.0 if there is room for it, else in how many seconds there is again."""
        now = self._clock()
        self._level = min(self._burst, self._level + (now - self._at) * self._rate) - 1.0
        self._at = now
        return 0.0 if self._level >= 0.0 else (1.0 - self._level) / self._rate

    @property
    def flooding(self) -> bool:
        """Whether as many frames were sent in vain as may be sent at once."""
        return self._level <= -self._burst
