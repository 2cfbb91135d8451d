"""Calls are counted in windows, each from its first call on, and what is over is forgotten."""

from hypothesis import given
from hypothesis import strategies as st
from limits import RateLimitItemPerMinute
from limits.strategies import FixedWindowRateLimiter

from smart_support.api.limits import TIDY_SECONDS, Windows


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_window_lets_so_many_in_and_begins_anew() -> None:
    clock, often = Clock(), RateLimitItemPerMinute(3)
    windows = FixedWindowRateLimiter(Windows(clock=clock))

    first = [windows.hit(often, "ada") for _ in range(5)]
    other = windows.hit(often, "bob")
    clock.now += 59.9
    still = windows.hit(often, "ada")
    resets_at = windows.get_window_stats(often, "ada").reset_time
    clock.now = resets_at
    later = [windows.hit(often, "ada") for _ in range(5)]

    assert first == later == [True, True, True, False, False]
    assert other
    assert not still
    assert resets_at == 1_060.0


@given(st.lists(st.tuples(st.floats(0, 50), st.sampled_from("abc")), max_size=60))
def test_counts_as_a_window_for_each_would(calls: list[tuple[float, str]]) -> None:
    clock = Clock()
    windows, expected = Windows(clock=clock), dict[str, list[float]]()
    for wait, key in calls:
        clock.now += wait
        times = expected.get(key, [])
        expected[key] = [clock.now] if not times or clock.now >= times[0] + 60 else [*times, 0]

        assert windows.incr(key, 60) == windows.get(key) == len(expected[key])
        assert windows.get_expiry(key) == expected[key][0] + 60


def test_windows_that_are_over_take_no_memory() -> None:
    clock = Clock()
    windows = Windows(clock=clock)
    for number in range(1_000):
        windows.incr(f"address {number}", 10)

    clock.now += TIDY_SECONDS
    windows.incr("address 0", 10)

    assert len(windows) == 1
    assert windows.get("address 1") == 0
    assert windows.get_expiry("address 1") == clock.now
    windows.clear("address 0")
    assert windows.reset() == 0
