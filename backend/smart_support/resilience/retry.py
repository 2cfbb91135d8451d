"""Try again, later and later, and stop in time."""

import asyncio
import random as chance
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TypeVar

import httpx

from smart_support.errors import RateLimited
from smart_support.resilience.classify import is_retryable_error
from smart_support.resilience.testing import attempts_of, wait_of

Result = TypeVar("Result")
IsRetryable = Callable[[Exception], bool]
OnAttempt = Callable[[int, Exception | None], Awaitable[None] | None]


class Backoff(Enum):
    """How the longest wait grows from failure to failure."""

    EXPONENTIAL = "exponential"
    """1, 2, 4, 8, … times the base: for what is shared with others."""
    LINEAR = "linear"
    """1, 2, 3, 4, … times the base."""
    CONSTANT = "constant"
    """Always the base: for what only we use."""
    FIBONACCI = "fibonacci"
    """1, 1, 2, 3, 5, … times the base."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often to try, and how long to wait in between.

    Attributes:
        base_delay: seconds; the longest wait after the first failure.
        max_delay: seconds; the longest wait after any failure.
        attempts: how often to try in all, the first time included.
        backoff: how the longest wait grows.
    """

    base_delay: float = 1.0
    max_delay: float = 30.0
    attempts: int = 3
    backoff: Backoff = Backoff.EXPONENTIAL

    def __post_init__(self) -> None:
        waits = self.base_delay >= 0 and self.max_delay >= 0  # false for NaN too
        if self.attempts < 1 or not waits:
            raise ValueError(f"no policy to retry by: {self}")


async def with_retry(
    fn: Callable[[], Awaitable[Result]],
    max_retries: int = 3,
    base_delay: float = 1.0,
    *,
    policy: RetryPolicy | None = None,
    deadline: float | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
    random: Callable[[], float] = chance.random,
    on_attempt: OnAttempt | None = None,
) -> Result:
    """Await `fn()`, again if it fails in a RETRYABLE way, and return its result.

    Waits a random share of `backoff_ceiling` ("full jitter"), but at least what the failure
    itself asks for: `retry_after` of a RateLimited, or the Retry-After of an HTTP answer. A
    failure that asks for more than the policy's `max_delay` is raised instead.

    Args:
        fn: makes one attempt.
        max_retries: how often to try in all, the first time included.
        base_delay: seconds; the longest wait after the first failure.
        policy: takes the place of `max_retries` and `base_delay`.
        deadline: on `clock`; a wait that would end after it is not begun, and the failure raised.
        sleep: waits that many seconds.
        clock: seconds that only grow.
        random: a number from 0 (included) to 1 (excluded), anew at each call.
        on_attempt: is told the number of each attempt (from 1) and its failure, None for success.

    Raises:
        Exception: the last failure; at once if it is not RETRYABLE. A cancellation always passes.
    """
    if policy is None:
        policy = RetryPolicy(base_delay, max(base_delay, RetryPolicy.max_delay), max_retries)
    attempt = 0
    while True:
        attempt += 1
        try:
            result = await fn()
        except Exception as error:
            await _tell(on_attempt, attempt, error)
            wait = next_wait(error, attempt, policy, random)
            if wait is None or (deadline is not None and clock() + wait >= deadline):
                raise
        else:
            await _tell(on_attempt, attempt, None)
            return result
        await sleep(wait_of(wait))


def next_wait(
    error: Exception,
    failures: int,
    policy: RetryPolicy,
    random: Callable[[], float] = chance.random,
    retryable: IsRetryable = is_retryable_error,
) -> float | None:
    """Seconds to wait after `failures` attempts of which the last ended in `error`.

    None if there is to be no other attempt: it would not help, or there were enough, or the
    failure asks for a longer wait than the policy allows.
    """
    if failures >= attempts_of(policy.attempts) or not retryable(error):
        return None
    asked = retry_after(error) or 0.0
    if asked > policy.max_delay:
        return None
    return max(random() * backoff_ceiling(failures, policy), asked)


def backoff_ceiling(failures: int, policy: RetryPolicy) -> float:
    """Longest wait in seconds after `failures` failed attempts (1 or more), before jitter.

    Grows from `base_delay` up to `max_delay` as `policy.backoff` says. The caller waits a uniform
    share of it, so that clients that failed together do not come back together.

    Source: Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
    """
    # 2.0**1024 overflows; 63 steps of any kind but the linear one pass any max_delay.
    match policy.backoff:
        case Backoff.EXPONENTIAL:
            times = 2.0 ** min(failures - 1, 63)
        case Backoff.LINEAR:
            times = float(failures)
        case Backoff.CONSTANT:
            times = 1.0
        case Backoff.FIBONACCI:
            times = _fibonacci(min(failures, 90))
    return min(policy.max_delay, policy.base_delay * times)


def _fibonacci(number: int) -> float:
    this, following = 1.0, 1.0
    for _ in range(number - 1):
        this, following = following, this + following
    return this


def retry_after(exc: BaseException) -> float | None:
    """Seconds that `exc` asks to wait before trying again; None if it does not, or not readably.

    A date is counted from the answer's own Date where there is one, since clocks differ.

    Source: RFC 9110, 10.2.3 "Retry-After".
    """
    if isinstance(exc, RateLimited):
        return exc.retry_after
    if not isinstance(exc, httpx.HTTPStatusError):
        return None
    return asked_wait(exc.response.headers)


def asked_wait(headers: httpx.Headers) -> float | None:
    """Seconds that an answer with these headers asks to wait, as `retry_after` reads them."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])  # longer than any wait; `float` of 400 digits is infinite
    until = _http_date(text)
    if until is None:
        return None
    now = _http_date(headers.get("date", "")) or datetime.now(UTC)
    seconds = (until - now).total_seconds()
    return seconds if seconds >= 0 else None


def _http_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


async def _tell(on_attempt: OnAttempt | None, attempt: int, error: Exception | None) -> None:
    told = on_attempt(attempt, error) if on_attempt is not None else None
    if told is not None:
        await told
