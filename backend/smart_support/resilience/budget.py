"""How many retries an API is spared: a share of its calls, so that a dead one is not stormed."""

from dataclasses import dataclass

_ENOUGH = 1 - 1e-9  # ten tenths are a little less than one


@dataclass(slots=True)
class RetryBudget:
    """A bucket of tokens: each call puts `ratio` of one in, each retry takes one out.

    Over n calls there are at most `ratio * n + burst` retries, and where there are few calls one
    retry per `floor` seconds.

    Sources: "Handling Overload" in Site Reliability Engineering, 2016 (10 % of the requests);
    Finagle RetryBudget and gRPC A6 (the bucket); .NET HttpRetryBudgetOptions (the floor).
    """

    ratio: float = 0.1
    burst: float = 10.0
    floor: float = 10.0
    tokens: float = -1.0
    _last_floor: float = float("-inf")

    def __post_init__(self) -> None:
        self.tokens = self.burst

    def called(self) -> None:
        """Note that a call is being made (not a retry)."""
        tokens = self.tokens + self.ratio
        self.tokens = min(self.burst, tokens)

    def take(self, now: float) -> bool:
        """Whether a retry may be made; if so it is counted."""
        if self.tokens >= _ENOUGH:
            self.tokens = max(0.0, self.tokens - 1)
            self._last_floor = now
            return True
        if now - self._last_floor >= self.floor:
            self._last_floor = now
            return True
        return False
