"""What was counted, by figure and dimension: added up, and as it is stored."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeAlias

from smart_support.analytics.episode import Key, Sum

Counts: TypeAlias = dict[str, dict[str, list[int]]]
"""Figure -> dimension -> how often, and how much in all: what one hour or day has counted."""

TOTALS = frozenset({"input_tokens", "output_tokens"})
"""Figures of which the amount is asked for, and not how often."""


def add(into: Counts, more: Counts) -> None:
    """Add `more` to `into`; what comes to nothing is left out."""
    for figure, dimensions in more.items():
        own = into.setdefault(figure, {})
        for dimension, (times, amount) in dimensions.items():
            before = own.get(dimension)
            if before is None:
                own[dimension] = [times, amount]
            elif before[0] + times or before[1] + amount:
                own[dimension] = [before[0] + times, before[1] + amount]
            else:
                del own[dimension]
        if not own:
            del into[figure]


def by_hour(counted: Mapping[Key, Sum]) -> dict[datetime, Counts]:
    """The same by the hours that it belongs to."""
    hours: dict[datetime, Counts] = {}
    for (hour, figure, dimension), (times, amount) in sorted(counted.items()):
        hours.setdefault(hour, {}).setdefault(figure, {})[dimension] = [times, amount]
    return hours


def flat(hours: Mapping[datetime, Counts]) -> dict[Key, Sum]:
    """What `by_hour` made this from."""
    return {
        Key(hour, figure, dimension): Sum(times, amount)
        for hour, counts in hours.items()
        for figure, dimensions in counts.items()
        for dimension, (times, amount) in dimensions.items()
    }


def keys_of(counts: Counts) -> list[str]:
    """Under which names a conversation is found that has counted this, in order.

    A figure's own, and `figure/dimension`; of amounts, only where there is one.
    """
    keys: set[str] = set()
    for figure, dimensions in counts.items():
        for dimension, (times, amount) in dimensions.items():
            if (amount if figure in TOTALS else times) > 0:
                keys |= {figure, key_of(figure, dimension)}
    return sorted(keys)


def key_of(figure: str, dimension: str | None) -> str:
    """The name under which a figure, or one dimension of it, is found."""
    return figure if dimension is None else f"{figure}/{dimension}"


def stored(hours: Mapping[datetime, Counts]) -> dict[str, Counts]:
    """Hours as JSON has them: counted from 1970."""
    return {str(int(hour.timestamp()) // 3600): counts for hour, counts in hours.items()}


def named_hour(name: str) -> datetime:
    """The hour that `stored` has named so."""
    return datetime.fromtimestamp(int(name) * 3600, UTC)
