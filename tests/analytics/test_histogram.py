import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_support.analytics.histogram import ACCURACY, bucket_of, percentile, value_of

durations = st.floats(1, 10_000_000)


@given(durations)
def test_a_bucket_stands_for_its_values_as_exactly_as_promised(duration: float) -> None:
    assert value_of(bucket_of(duration)) == pytest.approx(duration, rel=ACCURACY * 1.0001)


@given(durations, durations)
def test_a_longer_duration_is_never_in_a_lower_bucket(one: float, other: float) -> None:
    assert bucket_of(min(one, other)) <= bucket_of(max(one, other))


@pytest.mark.parametrize("duration", [0, 0.5, 1])
def test_all_up_to_a_millisecond_are_one(duration: float) -> None:
    assert bucket_of(duration) == 0
    assert value_of(0) == 1.0


@given(st.lists(durations, min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_percentile_is_near_the_true_one(values: list[float], share: float) -> None:
    counts: dict[int, int] = {}
    for value in values:
        counts[bucket_of(value)] = counts.get(bucket_of(value), 0) + 1

    found = percentile(counts, share)

    true = sorted(values)[math.ceil(share * len(values)) - 1]
    assert found == pytest.approx(true, rel=ACCURACY * 1.0001)


def test_nothing_has_no_percentile() -> None:
    assert percentile({}, 0.5) is None
