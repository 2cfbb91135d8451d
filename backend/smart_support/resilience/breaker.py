"""Leaves an API alone for a moment when most calls to it fail, and finds out when it is well."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

SECONDS = 10
"""Length of the window, in buckets of one second."""


class State(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When to open, and for how long. Times in seconds.

    Attributes:
        least_calls: within the window, before there is a verdict.
        share: of failed or slow calls that opens it.
        slow_after: a call that took so long counts as failed.
        open_for: the first time; doubles each time that the probe fails.
        open_at_most: the longest.
        lease: how long a probe may take before another one is let through.

    Sources: Polly and resilience4j (window, share, slow calls); Polly (one probe per time, which
    cannot be lost); Finagle FailureAccrual (growing, jittered time).
    """

    least_calls: int = 10
    share: float = 0.5
    slow_after: float = 8.0
    open_for: float = 2.0
    open_at_most: float = 30.0
    lease: float = 10.0


class Window:
    """Calls and bad calls of the last seconds. Everything costs O(1)."""

    __slots__ = ("_bad", "_calls", "_second", "bad", "calls")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self._calls = [0] * SECONDS
        self._bad = [0] * SECONDS
        self._second = 0
        self.calls = 0
        self.bad = 0

    def add(self, now: float, bad: int) -> None:
        """Count a call that ended `now`, and whether it was bad (1) or not (0)."""
        second = int(now)
        if second > self._second:
            self._advance(second)
        place = second % SECONDS
        self._calls[place] += 1
        self._bad[place] += bad
        self.calls += 1
        self.bad += bad

    def _advance(self, second: int) -> None:
        for passed in range(max(self._second, second - SECONDS) + 1, second + 1):
            place = passed % SECONDS
            self.calls -= self._calls[place]
            self.bad -= self._bad[place]
            self._calls[place] = self._bad[place] = 0
        self._second = second


class Breaker:
    """Closed while calls succeed, open when most fail, half open while one finds out.

    A call asks with `admit`, and says with `settle` how it ended. A verdict of a call that was
    admitted in an earlier state is no longer listened to.
    """

    __slots__ = (
        "_chance",
        "_closed_at",
        "_leased_until",
        "_policy",
        "_tell",
        "_ticket",
        "_trips",
        "_until",
        "_window",
        "closed",
    )

    def __init__(
        self,
        policy: BreakerPolicy,
        chance: Callable[[], float],
        tell: Callable[[State], None] = lambda _: None,
    ) -> None:
        self._policy = policy
        self._chance = chance
        self._tell = tell
        self._window = Window()
        self._ticket = 1
        self._trips = 0
        self._until = 0.0
        self._leased_until = 0.0
        self._closed_at = float("-inf")
        self.closed = True

    def state(self, now: float) -> State:
        if self.closed:
            return State.CLOSED
        return State.OPEN if now < self._until else State.HALF_OPEN

    def opens_in(self, now: float) -> float:
        """Seconds until a call is let through, as far as is known; 0.0 if it is now."""
        return 0.0 if self.closed else max(0.0, max(self._until, self._leased_until) - now)

    def admit(self, now: float) -> int:
        """A ticket for one call; 0 if none is let through."""
        if self.closed:
            return self._ticket
        if now < self._until or now < self._leased_until:
            return 0
        if self._leased_until == 0.0:
            self._tell(State.HALF_OPEN)
        self._leased_until = now + self._policy.lease
        self._ticket += 1  # only the latest probe decides
        return self._ticket

    def settle(self, ticket: int, now: float, *, bad: bool | None) -> None:
        """Say how the call with `ticket` ended; None is no verdict."""
        if ticket != self._ticket:
            return
        if self.closed:
            if bad is not None:
                self._window.add(now, bad)
                if bad and self._too_bad():
                    self._open(now)
        elif bad is None:
            self._leased_until = min(self._leased_until, now)
        elif bad:
            self._open(now)
        else:
            self._close(now)

    def _too_bad(self) -> bool:
        window, policy = self._window, self._policy
        return window.calls >= policy.least_calls and window.bad >= policy.share * window.calls

    def slow(self, seconds: float) -> bool:
        """Whether a call that succeeded after so long counts as failed."""
        return seconds >= self._policy.slow_after

    def _open(self, now: float) -> None:
        policy = self._policy
        if self.closed and now - self._closed_at > 2 * policy.open_at_most:
            self._trips = 0  # well for so long that what was before says nothing
        # With half of it as jitter the most that it comes to is `open_at_most`.
        least = min(policy.open_for * 2.0 ** min(self._trips, 63), policy.open_at_most / 1.5)
        self._until = now + least * (1 + self._chance() / 2)
        self._trips += 1
        self._leased_until = 0.0
        self._ticket += 1
        self.closed = False
        self._tell(State.OPEN)

    def _close(self, now: float) -> None:
        self._window.clear()
        self._closed_at = now
        self._leased_until = 0.0
        self._ticket += 1
        self.closed = True
        self._tell(State.CLOSED)
