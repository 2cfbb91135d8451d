"""How often an operator lets an API be called."""

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

_FORM = re.compile(r"([1-9]\d{0,6})/(second|minute|hour)\Z")
_SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `calls` within any `window` seconds."""

    calls: int
    window: float

    @classmethod
    def parse(cls, text: str) -> "Quota":
        """From a form such as `10/second` or `300/minute`.

        Raises:
            ValueError: it has another form.
        """
        match = _FORM.match(text.strip())
        if match is None:
            raise ValueError(f"no quota such as 10/second: {text!r}")
        return cls(int(match[1]), _SECONDS[match[2]])


def parse_quotas(entries: str) -> Mapping[str, Quota]:
    """Quotas by origin, from `https://api.example.com=10/second, …`.

    Raises:
        ValueError: an entry has another form.
    """
    quotas: dict[str, Quota] = {}
    for entry in filter(None, (each.strip() for each in entries.split(","))):
        origin, separator, quota = entry.rpartition("=")
        if not separator or "://" not in origin:
            raise ValueError(f"no quota such as https://api.example.com=10/second: {entry!r}")
        quotas[origin.strip().lower().rstrip("/")] = Quota.parse(quota)
    return quotas


class QuotaGate:
    """Gives each call the next moment at which it keeps to the quota: exact, O(1)."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        self._begun: deque[float] = deque(maxlen=quota.calls)

    def reserve(self, now: float, until: float) -> float | None:
        """Seconds to wait for one's turn, which is then taken; None if it comes after `until`."""
        at = now
        if len(self._begun) == self._quota.calls:
            at = max(now, self._begun[0] + self._quota.window)
        if at > until:
            return None
        self._begun.append(at)
        return at - now

    def next_in(self, now: float) -> float:
        """Seconds until there is room."""
        if len(self._begun) < self._quota.calls:
            return 0.0
        return max(0.0, self._begun[0] + self._quota.window - now)
