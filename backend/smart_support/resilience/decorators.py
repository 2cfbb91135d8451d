"""Retries and circuit breakers for other code of ours: decorators, and a loop of attempts.

Calls to upstream APIs do not use these: they go through `Upstreams`, which knows what was sent.
"""

import asyncio
import functools
import inspect
import random as chance
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast

import httpx

from smart_support.errors import ErrorCategory, Severity, SupportError
from smart_support.resilience.breaker import Breaker, BreakerPolicy, State
from smart_support.resilience.classify import classify_error, is_retryable_error
from smart_support.resilience.retry import IsRetryable, RetryPolicy, next_wait
from smart_support.resilience.testing import wait_of

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
OnRetry = Callable[[int, Exception, float], None]
"""Is told of each retry: attempts so far, how the last one failed, seconds of wait."""

_UNWELL = frozenset({ErrorCategory.RETRYABLE, ErrorCategory.NETWORK, ErrorCategory.TIMEOUT})
_CLIENT_ERRORS = range(400, 500)


class CircuitOpen(SupportError):
    """It has been failing and is left alone; `retry_after` seconds from now one call may try."""

    code = "SYS_CIRCUIT_OPEN"
    status = 503
    category = ErrorCategory.RETRYABLE
    severity = Severity.MEDIUM
    user_message = "The service behind this does not answer just now. Please try again in a moment."

    def __init__(self, name: str, retry_after: float) -> None:
        super().__init__(f"{name} is left alone for {retry_after:.1f} s")
        self.retry_after = retry_after


class Attempt:
    """One pass through the loop. A failure inside that is to be retried is taken note of."""

    def __init__(self, number: int, decide: Callable[[Exception, int], float | None]) -> None:
        self.number = number
        self.wait: float | None = None
        self._decide = decide

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> bool:
        if isinstance(error, Exception):
            self.wait = self._decide(error, self.number)
        return self.wait is not None


class attempts:  # noqa: N801 (reads as a function: `for attempt in attempts():`)
    """Loop over it, with the work in `with attempt:`; ends at a success or raises the failure.

    for attempt in attempts(RetryPolicy(base_delay=0.1)):    # or: async for
        with attempt:
            connect()

    Args:
        policy: how often, and how long in between.
        retryable: which failures; by default those that are RETRYABLE.
        on_retry: is told of each retry.
        pause, sleep: wait that many seconds, in a `for` and in an `async for`.
        random: a number from 0 (included) to 1 (excluded).
    """

    def __init__(
        self,
        policy: RetryPolicy | None = None,
        *,
        retryable: IsRetryable = is_retryable_error,
        on_retry: OnRetry | None = None,
        pause: Callable[[float], None] = time.sleep,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = chance.random,
    ) -> None:
        self._policy = policy or RetryPolicy()
        self._retryable = retryable
        self._on_retry = on_retry
        self._pause = pause
        self._sleep = sleep
        self._random = random

    def __iter__(self) -> Iterator[Attempt]:
        return _Loop(self.decide, self._pause, self._sleep)

    def __aiter__(self) -> AsyncIterator[Attempt]:
        return _Loop(self.decide, self._pause, self._sleep)

    def decide(self, error: Exception, number: int) -> float | None:
        """Seconds to wait after attempt `number` ended in `error`; None: there is no other."""
        wait = next_wait(error, number, self._policy, self._random, self._retryable)
        if wait is not None and self._on_retry is not None:
            self._on_retry(number, error, wait)
        return wait


class _Loop:
    """One pass over `attempts`. No generator: one that is left early has to be cleaned up."""

    def __init__(
        self,
        decide: Callable[[Exception, int], float | None],
        pause: Callable[[float], None],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._decide = decide
        self._pause = pause
        self._sleep = sleep
        self._last: Attempt | None = None

    def __iter__(self) -> Self:
        return self

    def __aiter__(self) -> Self:
        return self

    def __next__(self) -> Attempt:
        if self._last is not None:
            if self._last.wait is None:
                raise StopIteration
            self._pause(wait_of(self._last.wait))
        return self._next()

    async def __anext__(self) -> Attempt:
        if self._last is not None:
            if self._last.wait is None:
                raise StopAsyncIteration
            await self._sleep(wait_of(self._last.wait))
        return self._next()

    def _next(self) -> Attempt:
        number = 1 if self._last is None else self._last.number + 1
        self._last = Attempt(number, self._decide)
        return self._last


def retrying(
    policy: RetryPolicy | None = None,
    *,
    retryable: IsRetryable = is_retryable_error,
    on_retry: OnRetry | None = None,
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Decorate a function, async or not, so that it is called again as `attempts` says."""
    tries = attempts(policy, retryable=retryable, on_retry=on_retry)

    def decorate(fn: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        if inspect.iscoroutinefunction(fn):

            @functools.wraps(fn)
            async def again(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Any:
                async for attempt in tries:
                    with attempt:
                        return await fn(*args, **kwargs)
                raise AssertionError("the last attempt returns or raises")

            return cast("Callable[Parameters, Result]", again)

        @functools.wraps(fn)
        def once_more(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            for attempt in tries:
                with attempt:
                    return fn(*args, **kwargs)
            raise AssertionError("the last attempt returns or raises")

        return once_more

    return decorate


def circuit_breaker(
    policy: BreakerPolicy | None = None,
    *,
    name: str | None = None,
    clock: Callable[[], float] = time.monotonic,
    random: Callable[[], float] = chance.random,
    on_change: Callable[[State], None] = lambda _: None,
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Decorate a function, async or not, that is left alone while most calls of it fail.

    Failures of the network, timeouts and what is RETRYABLE count; what was refused for other
    reasons, 4xx among them, and cancellations say nothing. While it is open a call raises
    CircuitOpen. May be called from several threads.
    """

    def decorate(fn: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        guard = _Guard(
            name or str(getattr(fn, "__qualname__", fn)),
            Breaker(policy or BreakerPolicy(), random, on_change),
            clock,
        )
        if inspect.iscoroutinefunction(fn):

            @functools.wraps(fn)
            async def guarded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Any:
                with guard.call():
                    return await fn(*args, **kwargs)

            return cast("Callable[Parameters, Result]", guarded)

        @functools.wraps(fn)
        def watched(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            with guard.call():
                return fn(*args, **kwargs)

        return watched

    return decorate


class _Guard:
    def __init__(self, name: str, breaker: Breaker, clock: Callable[[], float]) -> None:
        self._name = name
        self._breaker = breaker
        self._clock = clock
        self._lock = threading.Lock()

    def call(self) -> "_Guarded":
        return _Guarded(self)

    def admit(self) -> tuple[int, float]:
        now = self._clock()
        with self._lock:
            ticket = self._breaker.admit(now)
            if not ticket:
                raise CircuitOpen(self._name, self._breaker.opens_in(now))
        return ticket, now

    def settle(self, ticket: int, started: float, error: BaseException | None) -> None:
        now = self._clock()
        slow = self._breaker.slow(now - started)
        with self._lock:
            self._breaker.settle(ticket, now, bad=slow if error is None else _verdict(error))


class _Guarded:
    def __init__(self, guard: _Guard) -> None:
        self._guard = guard

    def __enter__(self) -> None:
        self._ticket, self._started = self._guard.admit()

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._guard.settle(self._ticket, self._started, error)


def _verdict(error: BaseException) -> bool | None:
    """Whether a failure speaks against what was called; None if it says nothing."""
    if not isinstance(error, Exception):
        return None
    if isinstance(error, httpx.HTTPStatusError) and error.response.status_code in _CLIENT_ERRORS:
        return None
    if isinstance(error, SupportError) and error.status == 429:
        return None
    return True if classify_error(error) in _UNWELL else None
