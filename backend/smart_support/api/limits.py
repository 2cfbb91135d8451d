"""How often one address may call REST, kept by slowapi. The chat socket has limits of its own.

slowapi's middlewares are not used: the ASGI one begins an answer anew with each piece of a body
that comes in several, which breaks files; the other one wraps every answer. Its decorator, which
looks a function's signature up at each call, and its memory, which starts a thread at each to tidy
up, together cost a fifth of what an empty answer does.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request
from limits import parse
from limits.storage import Storage
from slowapi import Limiter
from slowapi.util import get_remote_address

from smart_support.errors import RateLimited

TIDY_SECONDS = 60.0
"""How often windows that are over are forgotten."""

_SCHEME = "process"


def count_calls(limit: str) -> Callable[[Request], Awaitable[None]]:
    """A dependency that lets an address call the routes which have it `limit` times.

    `limit` is written as in `300/minute`; the routes share it. Whoever calls more often is told
    by `RateLimited` when there is room again.
    """
    windows = Limiter(key_func=get_remote_address, storage_uri=f"{_SCHEME}://").limiter
    allowed = parse(limit)

    async def count_call(request: Request) -> None:
        address = get_remote_address(request)
        if not windows.hit(allowed, address, "rest"):
            resets_at = windows.get_window_stats(allowed, address, "rest").reset_time
            raise RateLimited(max(0.001, resets_at - time.time()))

    return count_call


class Windows(Storage):
    """Counts of this process, each for as long as its window lasts. For one thread."""

    STORAGE_SCHEME = [_SCHEME]  # noqa: RUF012  # as the class above has it

    def __init__(
        self,
        uri: str | None = None,
        *,
        clock: Callable[[], float] = time.time,
        **options: Any,
    ) -> None:
        super().__init__(uri, **options)
        self._clock = clock
        self._counts: dict[str, tuple[int, float]] = {}
        self._tidy_at = clock() + TIDY_SECONDS

    def __len__(self) -> int:
        return len(self._counts)

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """What a storage that cannot be reached raises: this one can."""
        return ()

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count, in a window of `expiry` seconds that begins with the first; the count."""
        now = self._clock()
        if now >= self._tidy_at:
            self._tidy_at = now + TIDY_SECONDS
            self._counts = {key: kept for key, kept in self._counts.items() if kept[1] > now}
        count, ends = self._counts.get(key, (0, 0.0))
        if ends <= now:
            count, ends = 0, now + expiry
        self._counts[key] = count + amount, ends
        return count + amount

    def get(self, key: str) -> int:
        """The count of the window that is open."""
        count, ends = self._counts.get(key, (0, 0.0))
        return count if ends > self._clock() else 0

    def get_expiry(self, key: str) -> float:
        """When the window is over, in seconds since 1970; now, if none is open."""
        return max(self._counts.get(key, (0, 0.0))[1], self._clock())

    def check(self) -> bool:
        """Whether it works."""
        return True

    def reset(self) -> int:
        """Forget everything; how many windows that were."""
        many = len(self._counts)
        self._counts.clear()
        return many

    def clear(self, key: str) -> None:
        """Forget one."""
        self._counts.pop(key, None)
