"""Who was refused for now comes before who comes for the first time.

Without it, under a load that does not end, each place that becomes free goes to whoever happens to
write in that moment, and somebody who was refused is so again and again.
"""

KEPT = 3.0
"""Seconds after it should have come again in which room is kept for a thread."""

KNOWN = 60.0
"""Seconds after which a thread that has not come again is one like all others."""

MOST = 4096
"""How many are known at once; whoever is refused beyond that comes again as anybody."""


class Returning:
    """Threads whose message was refused, and when they were told to come again.

    In the order in which they were refused first. Times are those of one monotonic clock.
    """

    def __init__(self) -> None:
        self._due: dict[str, float] = {}

    def tell(self, thread_id: str, due: float) -> None:
        """It is told to come again then; it stays before those who are behind it already."""
        if thread_id in self._due or len(self._due) < MOST:
            self._due[thread_id] = due

    def knows(self, thread_id: str) -> bool:
        """Whether it was refused and has not been taken in since."""
        return thread_id in self._due

    def came(self, thread_id: str) -> None:
        """It has been taken in."""
        self._due.pop(thread_id, None)

    def before(self, thread_id: str, now: float) -> int:
        """How many that are still expected come before it: all, if it was never refused."""
        self._forget(now)
        expected = 0
        for other, due in self._due.items():
            if other == thread_id:
                break
            expected += now <= due + KEPT
        return expected

    def _forget(self, now: float) -> None:
        while self._due:
            first = next(iter(self._due))
            if now <= self._due[first] + KNOWN:
                return
            del self._due[first]
