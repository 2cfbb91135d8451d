"""Percentiles from counts that can be added up: every value within 2.5 % of the truth.

Durations are counted in buckets whose bounds grow by a constant factor, so that the relative
error is the same for 20 ms and for 20 s, and so that hours add up to days without the single
values being kept.

Source: Masson, Rim, Lee, "DDSketch: a fast and fully-mergeable quantile sketch with
relative-error guarantees", VLDB 2019.
"""

import math
from collections.abc import Mapping

ACCURACY = 0.025
_GROWTH = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GROWTH = math.log(_GROWTH)


def bucket_of(milliseconds: float) -> int:
    """The bucket that counts this duration; all up to one millisecond share bucket 0."""
    return 0 if milliseconds <= 1 else math.ceil(math.log(milliseconds) / _LOG_GROWTH)


def value_of(bucket: int) -> float:
    """The duration in milliseconds that stands for all of this bucket."""
    return 1.0 if bucket <= 0 else 2 * _GROWTH**bucket / (_GROWTH + 1)


def percentile(counts: Mapping[int, int], share: float) -> float | None:
    """The duration in milliseconds that `share` (above 0, up to 1) of all do not exceed.

    That is the value at rank ceil(share * n), to ACCURACY; None if nothing was counted.
    """
    rank = math.ceil(share * sum(counts.values()))
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= rank > 0:
            return value_of(bucket)
    return None
