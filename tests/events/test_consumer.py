import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.histories import answered, events_of, thread_id

from smart_support.events.consumer import EventGap, unseen

ONE = thread_id(1)
LOG = events_of(ONE, [*answered("t1"), *answered("t2")])


@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 8))
def test_keeps_what_comes_after_or_names_the_gap(applied: int, start: int, end: int) -> None:
    given_events = LOG[start:end]
    if start > applied and given_events:
        with pytest.raises(EventGap) as caught:
            unseen(ONE, given_events, applied)
        assert (caught.value.expected, caught.value.found) == (applied + 1, start + 1)
    else:
        assert unseen(ONE, given_events, applied) == LOG[max(applied, start) : end]


def test_an_event_given_twice_in_one_go_counts_once() -> None:
    assert unseen(ONE, [LOG[0], LOG[0], LOG[1]], 0) == LOG[:2]


def test_the_gap_tells_operators_where_it_is_and_customers_nothing() -> None:
    with pytest.raises(EventGap) as caught:
        unseen(ONE, LOG[3:], 1)

    assert str(caught.value) == f"thread {ONE}: expected event 2, was given 4"
    assert ONE not in caught.value.user_message
