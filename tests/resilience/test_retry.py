import asyncio
import contextlib
import inspect
import itertools
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_support.errors import RateLimited
from smart_support.resilience.retry import RetryPolicy, backoff_ceiling, retry_after, with_retry

REQUEST = httpx.Request("GET", "http://upstream.test")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def answered(status: int, **headers: str) -> httpx.HTTPStatusError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = httpx.Response(status, headers=named)
    return httpx.HTTPStatusError(f"answered {status}", request=REQUEST, response=response)


class Upstream:
    """Fails as told, then succeeds; time passes only by waiting."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = iter(failures)
        self.attempts = 0
        self.waits: list[float] = []

    async def __call__(self) -> str:
        self.attempts += 1
        for failure in self.failures:
            raise failure
        return "done"

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    def clock(self) -> float:
        return 1000.0 + sum(self.waits)


async def test_keeps_the_contract_of_its_name_and_defaults() -> None:
    parameters = inspect.signature(with_retry).parameters

    assert list(parameters)[:3] == ["fn", "max_retries", "base_delay"]
    assert (parameters["max_retries"].default, parameters["base_delay"].default) == (3, 1.0)


async def test_tries_until_it_succeeds() -> None:
    upstream = Upstream(answered(503), answered(429))

    result = await with_retry(upstream, sleep=upstream.sleep, random=lambda: 0.5)

    assert result == "done"
    assert upstream.waits == [0.5, 1.0]


async def test_tries_three_times_in_all_and_raises_the_last_failure() -> None:
    failures = [answered(503), answered(502), answered(500), answered(429)]
    upstream = Upstream(*failures)

    with pytest.raises(httpx.HTTPStatusError) as raised:
        await with_retry(upstream, sleep=upstream.sleep)

    assert raised.value is failures[2]
    assert (upstream.attempts, len(upstream.waits)) == (3, 2)


@pytest.mark.parametrize(
    "failure",
    [
        answered(404),
        answered(401),
        httpx.ConnectError(""),
        httpx.ReadTimeout(""),
        KeyError("a bug"),
    ],
    ids=repr,
)
async def test_any_other_failure_is_raised_at_once(failure: Exception) -> None:
    upstream = Upstream(failure)

    with pytest.raises(type(failure)) as raised:
        await with_retry(upstream, sleep=upstream.sleep)

    assert raised.value is failure
    assert upstream.attempts == 1


async def test_a_cancellation_passes_from_an_attempt_and_from_a_wait() -> None:
    async def cancelled(_: float) -> None:
        raise asyncio.CancelledError

    in_attempt, in_wait = Upstream(asyncio.CancelledError()), Upstream(answered(503))

    for upstream, sleep in ((in_attempt, in_attempt.sleep), (in_wait, cancelled)):
        with pytest.raises(asyncio.CancelledError):
            await with_retry(upstream, sleep=sleep)
        assert upstream.attempts == 1


async def test_a_policy_takes_the_place_of_the_plain_numbers() -> None:
    upstream = Upstream(*(answered(503) for _ in range(4)))

    await with_retry(
        upstream,
        max_retries=1,
        policy=RetryPolicy(base_delay=2, max_delay=5, attempts=5),
        sleep=upstream.sleep,
        random=lambda: 1.0,
    )

    assert upstream.waits == [2, 4, 5, 5]


async def test_each_attempt_is_told_with_its_failure() -> None:
    failure, told = answered(503), list[tuple[int, Exception | None]]()
    upstream = Upstream(failure)

    async def keep(attempt: int, error: Exception | None) -> None:
        told.append((attempt, error))

    await with_retry(upstream, sleep=upstream.sleep, on_attempt=keep)
    await with_retry(upstream, on_attempt=lambda attempt, error: told.append((attempt, error)))

    assert told == [(1, failure), (2, None), (1, None)]


@pytest.mark.parametrize(
    "failure", [answered(429, retry_after="7"), RateLimited(7.0)], ids=["header", "ours"]
)
async def test_waits_as_long_as_it_is_asked_to(failure: Exception) -> None:
    upstream = Upstream(failure)

    await with_retry(upstream, sleep=upstream.sleep, random=lambda: 0.1)

    assert upstream.waits == [7.0]


async def test_does_not_wait_longer_than_the_policy_whoever_asks() -> None:
    upstream = Upstream(answered(503, retry_after="3600"))

    with pytest.raises(httpx.HTTPStatusError):
        await with_retry(upstream, sleep=upstream.sleep)

    assert upstream.waits == []


async def test_waits_again_only_while_there_is_time() -> None:
    upstream = Upstream(*(answered(503) for _ in range(9)))

    with pytest.raises(httpx.HTTPStatusError):
        await with_retry(
            upstream,
            max_retries=9,
            deadline=1003.5,
            sleep=upstream.sleep,
            clock=upstream.clock,
            random=lambda: 1.0,
        )

    assert upstream.waits == [1.0, 2.0]


@given(
    chances=st.lists(st.floats(0, 1, exclude_max=True), min_size=10, max_size=10),
    asked=st.lists(st.integers(0, 40), min_size=10, max_size=10),
    left=st.floats(0, 100),
)
async def test_no_wait_ever_passes_the_deadline(
    chances: list[float], asked: list[int], left: float
) -> None:
    upstream = Upstream(*(answered(503, retry_after=str(each)) for each in asked))
    draws = itertools.cycle(chances)

    with contextlib.suppress(httpx.HTTPStatusError):
        await with_retry(
            upstream,
            max_retries=11,
            deadline=1000.0 + left,
            sleep=upstream.sleep,
            clock=upstream.clock,
            random=lambda: next(draws),
        )

    assert sum(upstream.waits) <= left
    assert all(wait >= least for wait, least in zip(upstream.waits, asked, strict=False))


@given(failures=st.integers(1, 100_000), base=st.floats(0.001, 10), cap=st.floats(0.001, 600))
def test_backoff_grows_and_never_passes_the_cap(failures: int, base: float, cap: float) -> None:
    policy = RetryPolicy(base_delay=base, max_delay=cap)

    now, later = (backoff_ceiling(n, policy) for n in (failures, failures + 1))

    assert 0 < now <= later <= cap


def test_the_ceiling_doubles() -> None:
    policy = RetryPolicy(base_delay=0.1, max_delay=5)

    assert [backoff_ceiling(n, policy) for n in range(1, 8)] == pytest.approx(
        [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5]
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"base_delay": -1.0},
        {"max_delay": -0.1},
        {"base_delay": float("nan")},
    ],
    ids=str,
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="no policy"):
        RetryPolicy(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), None),
        ("Mon, 23 Nov 2026 12:00:05", 5.0),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("", None),
        ("Mon, 99 Nov 2026 12:00:05 GMT", None),
        ("9" * 400, float("9" * 12)),
    ],
)
def test_reads_retry_after_as_seconds_or_as_a_date_of_the_upstreams_clock(
    header: str, seconds: float | None
) -> None:
    date = format_datetime(NOW, usegmt=True)
    request = httpx.Request("GET", "http://upstream.test")
    response = httpx.Response(
        503, headers=[(b"Retry-After", header.encode()), (b"Date", date.encode())]
    )

    failure = httpx.HTTPStatusError("", request=request, response=response)

    assert retry_after(failure) == seconds


def test_without_a_date_our_own_clock_counts() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=50)

    seconds = retry_after(answered(503, retry_after=format_datetime(soon, usegmt=True)))

    assert seconds is not None
    assert 45 < seconds <= 50


def test_other_failures_ask_for_no_wait() -> None:
    assert retry_after(ValueError()) is None
    assert retry_after(answered(503)) is None


@given(header=st.binary(max_size=40))
def test_no_header_whatever_breaks_it(header: bytes) -> None:
    response = httpx.Response(503, headers=[(b"retry-after", header), (b"date", header)])

    seconds = retry_after(httpx.HTTPStatusError("", request=REQUEST, response=response))

    assert seconds is None or seconds >= 0
