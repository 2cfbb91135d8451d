import itertools
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_support.resilience.breaker import SECONDS, Breaker, BreakerPolicy, State, Window

POLICY = BreakerPolicy()


def opened(at: float = 100.0, chance: float = 0.0, policy: BreakerPolicy = POLICY) -> Breaker:
    breaker = Breaker(policy, lambda: chance)
    for _ in range(policy.least_calls):
        breaker.settle(breaker.admit(at), at, bad=True)
    assert not breaker.closed
    return breaker


def test_opens_when_most_of_enough_calls_failed_whatever_comes_between() -> None:
    breaker = Breaker(POLICY, lambda: 0.0)
    verdicts = itertools.cycle([True, True, True, True, False])  # 80 %

    for _ in range(9):
        breaker.settle(breaker.admit(100.0), 100.0, bad=next(verdicts))
    assert breaker.closed
    breaker.settle(breaker.admit(100.0), 100.0, bad=True)

    assert breaker.state(100.0) is State.OPEN
    assert breaker.admit(100.0) == 0


def test_stays_closed_while_more_than_half_succeed() -> None:
    breaker = Breaker(POLICY, lambda: 0.0)

    for bad in [False, True, False, True, False] * 20:
        breaker.settle(breaker.admit(100.0), 100.0, bad=bad)

    assert breaker.closed


def test_forgets_what_is_older_than_its_window() -> None:
    breaker = Breaker(POLICY, lambda: 0.0)

    for second in range(9):
        breaker.settle(breaker.admit(100.0 + second), 100.0 + second, bad=True)
    breaker.settle(breaker.admit(111.0), 111.0, bad=True)

    assert breaker.closed


def test_no_verdict_counts_for_nothing() -> None:
    breaker = Breaker(POLICY, lambda: 0.0)

    for _ in range(100):
        breaker.settle(breaker.admit(100.0), 100.0, bad=None)
    for _ in range(9):
        breaker.settle(breaker.admit(100.0), 100.0, bad=True)

    assert breaker.closed


def test_lets_one_probe_through_at_a_time_and_closes_when_it_succeeds() -> None:
    breaker = opened()

    tickets = [breaker.admit(102.0) for _ in range(50)]
    assert [bool(each) for each in tickets] == [True] + [False] * 49
    breaker.settle(tickets[0], 102.5, bad=False)

    assert breaker.closed
    assert all(breaker.admit(102.5) for _ in range(50))


def test_a_probe_that_is_lost_gives_its_place_up_after_its_lease() -> None:
    breaker = opened()
    lost = breaker.admit(102.0)

    assert breaker.admit(102.0 + POLICY.lease - 0.1) == 0
    second = breaker.admit(102.0 + POLICY.lease)
    assert second
    breaker.settle(lost, 113.0, bad=True)  # too late: it is not listened to
    breaker.settle(second, 113.0, bad=False)

    assert breaker.closed


def test_a_probe_without_a_verdict_lets_the_next_one_through_at_once() -> None:
    breaker = opened()

    breaker.settle(breaker.admit(102.0), 102.1, bad=None)

    assert breaker.admit(102.1)
    assert not breaker.closed


def test_calls_from_before_it_opened_are_not_listened_to() -> None:
    breaker = Breaker(POLICY, lambda: 0.0)
    early = breaker.admit(99.0)
    for _ in range(10):
        breaker.settle(breaker.admit(100.0), 100.0, bad=True)

    breaker.settle(early, 100.5, bad=False)

    assert breaker.state(100.5) is State.OPEN


@pytest.mark.parametrize(
    ("chance", "times"),
    [(0.0, [2.0, 4.0, 8.0, 16.0, 20.0, 20.0]), (1.0, [3.0, 6.0, 12.0, 24.0, 30.0, 30.0])],
)
def test_stays_open_longer_each_time_with_jitter_and_never_too_long(
    chance: float, times: list[float]
) -> None:
    breaker, now = opened(chance=chance), 100.0

    for seconds in times:
        assert breaker.opens_in(now) == pytest.approx(seconds)
        now += seconds
        breaker.settle(breaker.admit(now), now, bad=True)


def test_begins_with_the_shortest_time_again_once_it_was_well_for_long() -> None:
    breaker = opened()
    breaker.settle(breaker.admit(102.0), 102.0, bad=True)  # now 4 s
    breaker.settle(breaker.admit(106.0), 106.0, bad=False)

    for _ in range(10):
        breaker.settle(breaker.admit(300.0), 300.0, bad=True)

    assert breaker.opens_in(300.0) == 2.0


def test_keeps_its_growth_when_it_fails_again_soon() -> None:
    breaker = opened()
    breaker.settle(breaker.admit(102.0), 102.0, bad=False)

    for _ in range(10):
        breaker.settle(breaker.admit(103.0), 103.0, bad=True)

    assert breaker.opens_in(103.0) == 4.0


def test_tells_each_change_once() -> None:
    told: list[State] = []
    breaker = Breaker(POLICY, lambda: 0.0, told.append)
    for _ in range(12):
        breaker.settle(breaker.admit(100.0), 100.0, bad=True)
    for _ in range(3):
        breaker.settle(breaker.admit(102.0), 102.0, bad=None)

    breaker.settle(breaker.admit(102.0), 102.0, bad=False)

    assert told == [State.OPEN, State.HALF_OPEN, State.CLOSED]


@given(st.lists(st.tuples(st.floats(0, 25), st.booleans()), max_size=200))
def test_the_window_counts_what_a_list_of_all_calls_would(
    steps: list[tuple[float, bool]],
) -> None:
    window, calls, now = Window(), deque[tuple[int, bool]](), 1_000.0

    for passed, bad in steps:
        now += passed
        window.add(now, bad)
        calls.append((int(now), bad))
        while calls[0][0] <= int(now) - SECONDS:
            calls.popleft()

        assert (window.calls, window.bad) == (len(calls), sum(bad for _, bad in calls))


EVENTS = st.lists(
    st.tuples(st.sampled_from(["ask", "well", "bad", "nothing"]), st.floats(0, 12)), max_size=150
)


@given(EVENTS, st.floats(0, 1, exclude_max=True))
def test_whatever_happens_it_lets_a_call_through_again_in_time(
    events: list[tuple[str, float]], chance: float
) -> None:
    """No order of events wedges it: after the longest time and a lease, one call may try."""
    breaker, now, tickets = Breaker(POLICY, lambda: chance), 1_000.0, deque[int]()

    for event, passed in events:
        now += passed
        if event == "ask":
            ticket = breaker.admit(now)
            if ticket:
                tickets.append(ticket)
        elif tickets:
            verdict = {"well": False, "bad": True, "nothing": None}[event]
            breaker.settle(tickets.popleft(), now, bad=verdict)

    assert breaker.opens_in(now) <= POLICY.open_at_most
    assert breaker.admit(now + POLICY.open_at_most)


@given(EVENTS)
def test_never_two_probes_within_one_lease(events: list[tuple[str, float]]) -> None:
    breaker, now, since = opened(at=1_000.0), 1_000.0, None

    for event, passed in events:
        now += passed
        if event != "ask" or breaker.closed:
            continue
        if breaker.admit(now):
            assert since is None or now - since >= POLICY.lease - 1e-9
            since = now
