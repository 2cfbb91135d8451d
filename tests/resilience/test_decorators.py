import asyncio
import threading
from collections.abc import Callable

import httpx
import pytest

from smart_support.errors import DatabaseUnavailable, ErrorCategory, RateLimited
from smart_support.resilience.breaker import BreakerPolicy, State
from smart_support.resilience.decorators import CircuitOpen, attempts, circuit_breaker, retrying
from smart_support.resilience.retry import Backoff, RetryPolicy, backoff_ceiling, with_retry
from smart_support.resilience.testing import instant_retries

DOWN = DatabaseUnavailable("down")
QUICK = RetryPolicy(base_delay=0.001)


def failing(*errors: BaseException) -> Callable[[], str]:
    left = list(errors)

    def work() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return work


class TestRetrying:
    async def test_calls_an_async_function_again(self) -> None:
        work = failing(DOWN, DOWN)

        @retrying(QUICK)
        async def get(word: str) -> str:
            """Say how it went."""
            return f"{word} {work()}"

        assert await get("well") == "well done"
        assert (get.__name__, get.__doc__) == ("get", "Say how it went.")
        assert asyncio.iscoroutinefunction(get)

    def test_calls_a_function_again(self) -> None:
        told: list[tuple[int, Exception]] = []
        work = failing(DOWN, DOWN)

        @retrying(QUICK, on_retry=lambda number, error, _: told.append((number, error)))
        def get() -> str:
            return work()

        assert get() == "done"
        assert told == [(1, DOWN), (2, DOWN)]

    def test_gives_up_with_the_last_failure(self) -> None:
        last = DatabaseUnavailable("still")

        with instant_retries(), pytest.raises(DatabaseUnavailable) as raised:
            retrying()(failing(DOWN, DOWN, last, DOWN))()

        assert raised.value is last

    @pytest.mark.parametrize("error", [KeyError("x"), KeyboardInterrupt()], ids=repr)
    def test_any_other_failure_passes_at_once(self, error: BaseException) -> None:
        with pytest.raises(type(error)):
            retrying(RetryPolicy(attempts=2))(failing(error))()

    def test_the_caller_can_say_what_is_worth_a_retry(self) -> None:
        policy = RetryPolicy(base_delay=0.0)

        assert retrying(policy, retryable=lambda e: isinstance(e, KeyError))(
            failing(KeyError("x"))
        )()

    async def test_each_call_counts_anew(self) -> None:
        @retrying(QUICK)
        async def get() -> str:
            return work()

        for _ in range(3):
            work = failing(DOWN, DOWN)
            assert await get() == "done"


class TestTheLoop:
    def test_passes_until_the_work_succeeds(self) -> None:
        work, waits, numbers = failing(DOWN, DOWN), list[float](), list[int]()

        for attempt in attempts(pause=waits.append, random=lambda: 0.5):
            with attempt:
                numbers.append(attempt.number)
                work()

        assert numbers == [1, 2, 3]
        assert waits == [0.5, 1.0]

    async def test_in_async_code_too(self) -> None:
        work, waits = failing(RateLimited(7.0)), list[float]()

        async def sleep(seconds: float) -> None:
            waits.append(seconds)

        async for attempt in attempts(sleep=sleep):
            with attempt:
                work()

        assert waits == [7.0]

    def test_raises_what_is_not_to_be_retried(self) -> None:
        def loop() -> None:
            for attempt in attempts():
                with attempt:
                    raise KeyError("x")

        with pytest.raises(KeyError):
            loop()

    async def test_a_cancellation_passes(self) -> None:
        async def loop() -> None:
            async for attempt in attempts():
                with attempt:
                    raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await loop()


@pytest.mark.parametrize(
    ("backoff", "times"),
    [
        (Backoff.EXPONENTIAL, [1, 2, 4, 8, 16, 30, 30]),
        (Backoff.LINEAR, [1, 2, 3, 4, 5, 6, 7]),
        (Backoff.CONSTANT, [1, 1, 1, 1, 1, 1, 1]),
        (Backoff.FIBONACCI, [1, 1, 2, 3, 5, 8, 13]),
    ],
)
def test_the_ways_to_back_off(backoff: Backoff, times: list[float]) -> None:
    policy = RetryPolicy(backoff=backoff)

    assert [backoff_ceiling(n, policy) for n in range(1, 8)] == times
    assert backoff_ceiling(10**9, policy) <= 30


class TestTheModeForTests:
    async def test_nothing_waits_and_attempts_are_few(self) -> None:
        waits: list[float] = []

        async def sleep(seconds: float) -> None:
            waits.append(seconds)

        with instant_retries(attempts=2), pytest.raises(DatabaseUnavailable):
            await with_retry(_async(failing(DOWN, DOWN)), max_retries=9, sleep=sleep)

        assert waits == [0.0]

    def test_ends_with_its_block(self) -> None:
        with instant_retries(attempts=1), instant_retries(attempts=5):
            pass
        waits: list[float] = []

        for attempt in attempts(pause=waits.append, random=lambda: 0.5):
            with attempt:
                failing(DOWN)() if not waits else None

        assert waits == [0.5]


def _async(work: Callable[[], str]) -> Callable[[], object]:
    async def awaited() -> str:
        return work()

    return awaited


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def answered(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "http://x.test")
    return httpx.HTTPStatusError("", request=request, response=httpx.Response(status))


class TestTheCircuitBreaker:
    async def test_leaves_alone_what_fails_and_tries_again_later(self) -> None:
        clock, changes = Clock(), list[State]()
        errors: list[Exception] = [httpx.ReadError("")] * 10

        @circuit_breaker(clock=clock, random=lambda: 0.0, on_change=changes.append)
        async def get() -> str:
            return failing(*errors[:1])()

        for _ in range(10):
            with pytest.raises(httpx.ReadError):
                await get()
        with pytest.raises(CircuitOpen) as raised:
            await get()
        assert raised.value.retry_after == 2.0
        assert raised.value.category is ErrorCategory.RETRYABLE
        assert "get" in str(raised.value)

        errors.clear()
        clock.now += 2.0
        assert await get() == "done"
        assert changes == [State.OPEN, State.HALF_OPEN, State.CLOSED]

    @pytest.mark.parametrize(
        "error",
        [
            answered(404),
            answered(429),
            answered(401),
            RateLimited(1.0),
            KeyError("x"),
            KeyboardInterrupt(),
        ],
        ids=repr,
    )
    def test_what_says_nothing_about_the_other_side_gives_no_verdict(
        self, error: BaseException
    ) -> None:
        @circuit_breaker()
        def get() -> None:
            raise error

        for _ in range(30):
            with pytest.raises(type(error)):
                get()

    def test_slow_calls_count_as_failed(self) -> None:
        clock = Clock()

        @circuit_breaker(BreakerPolicy(slow_after=1.0), clock=clock)
        def get() -> None:
            clock.now += 1.0

        for _ in range(10):
            get()
        with pytest.raises(CircuitOpen):
            get()

    def test_threads_may_share_it(self) -> None:
        @circuit_breaker()
        def get() -> None:
            raise httpx.ReadError("")

        refused: list[int] = []

        def work() -> None:
            for _ in range(50):
                try:
                    get()
                except CircuitOpen:
                    refused.append(1)
                except httpx.ReadError:
                    pass

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        # Those that were under way as it opened may still fail by themselves.
        assert len(refused) >= 8 * 50 - 10 - 8
