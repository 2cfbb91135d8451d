"""Debug mode, switched at run time: for everything, or for single threads, until a given time."""

import time
from collections.abc import Callable, Iterable

import structlog

MOST_THREADS = 100
LONGEST_SECONDS = 86_400.0


class DebugMode:
    """What is told in detail just now. Ends by itself, since a forgotten one fills disks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._whole = False
        self._threads: frozenset[str] = frozenset()
        self._until = 0.0
        self._changed: list[Callable[[bool], None]] = []

    def switch(self, *, whole: bool, threads: Iterable[str] = (), seconds: float = 900.0) -> None:
        """Tell everything (`whole`), or these threads, in detail for `seconds`; neither: nothing.

        Raises:
            ValueError: more threads, or a longer time, than is sensible.
        """
        chosen = frozenset(threads)
        if len(chosen) > MOST_THREADS:
            raise ValueError(f"at most {MOST_THREADS} threads")
        if not 0 < seconds <= LONGEST_SECONDS:
            raise ValueError(f"between 0 and {LONGEST_SECONDS:g} seconds")
        self._whole, self._threads = whole, chosen
        self._until = self._clock() + seconds
        self._tell()

    @property
    def on(self) -> bool:
        """Whether anything is told in detail."""
        if not (self._whole or self._threads):
            return False
        if self._clock() >= self._until:
            self._whole, self._threads = False, frozenset()
            self._tell()
            return False
        return True

    @property
    def whole(self) -> bool:
        return self.on and self._whole

    @property
    def threads(self) -> frozenset[str]:
        return self._threads if self.on else frozenset()

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._until - self._clock()) if self.on else 0.0

    def covers(self, thread_id: object) -> bool:
        """Whether this thread (None: what belongs to none) is told in detail."""
        return self.on and (self._whole or thread_id in self._threads)

    def covers_here(self) -> bool:
        """Whether what runs here and now is told in detail, by the thread that is bound."""
        if not (self._whole or self._threads):  # nearly always, and then it must cost nothing
            return False
        return self.covers(structlog.contextvars.get_contextvars().get("thread_id"))

    def watch(self, changed: Callable[[bool], None]) -> Callable[[], None]:
        """Call `changed` with whether it is on, now and at each switch; returns how to stop."""
        self._changed.append(changed)
        changed(self.on)
        return lambda: self._changed.remove(changed)

    def _tell(self) -> None:
        on = bool(self._whole or self._threads)
        for changed in list(self._changed):
            changed(on)


DEBUG = DebugMode()
"""Of this process."""
