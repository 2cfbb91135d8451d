"""What was counted, by figure and dimension: added up, and as it is stored."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TypeAlias

from smart_support.analytics.episode import NOTHING, Key, Sum
from smart_support.analytics.listings import DIVIDED, SUMMED

AMOUNT = " amount"
"""Behind a figure's name: how much, where its name alone says how often."""

Counts: TypeAlias = dict[str, dict[str, int]]
"""Figure -> dimension -> number, nothing that is zero: what one hour or day has counted.

Plain numbers and few containers: months of them are read at once, and the garbage collector looks
at containers alone.
"""

_NAMED = {
    figure.value if summed.unit == "count" else figure.value + AMOUNT: figure
    for summed in SUMMED.values()
    for figure in summed.figures
}
"""As what is counted is stored -> the figure under which it is found."""


def add(into: Counts, more: Counts) -> None:
    """Add `more` to `into`; what comes to nothing is left out."""
    for figure, dimensions in more.items():
        own = into.setdefault(figure, {})
        for dimension, number in dimensions.items():
            total = own.get(dimension, 0) + number
            if total:
                own[dimension] = total
            else:
                own.pop(dimension, None)
        if not own:
            del into[figure]


def together(parts: Iterable[Counts]) -> Counts:
    """All of them added up."""
    found: Counts = {}
    for part in parts:
        add(found, part)
    return found


class Changes:
    """What sums change by, added up."""

    def __init__(self) -> None:
        self.sums: dict[Key, Sum] = {}

    def add(self, more: Mapping[Key, Sum], times: int = 1) -> None:
        """Add `more`, so many times; what comes to nothing is left out."""
        for key, (count, total) in more.items():
            before = self.sums.get(key, NOTHING)
            change = Sum(before.times + times * count, before.amount + times * total)
            if change == NOTHING:
                self.sums.pop(key, None)
            else:
                self.sums[key] = change

    def take_away(self, more: Mapping[Key, Sum]) -> None:
        """The opposite of `add`."""
        self.add(more, -1)


def by_hour(counted: Mapping[Key, Sum]) -> dict[datetime, Counts]:
    """The same by the hours that it belongs to."""
    hours: dict[datetime, Counts] = {}
    for (hour, figure, dimension), (times, amount) in counted.items():
        counts = hours.setdefault(hour, {})
        if times:
            counts.setdefault(figure, {})[dimension] = times
        if amount:
            counts.setdefault(figure + AMOUNT, {})[dimension] = amount
    return hours


def flat(hours: Mapping[datetime, Counts]) -> dict[Key, Sum]:
    """What `by_hour` made this from, but for what was nothing."""
    found: dict[Key, Sum] = {}
    for hour, counts in hours.items():
        for name, dimensions in counts.items():
            figure = name.removesuffix(AMOUNT)
            for dimension, number in dimensions.items():
                key = Key(hour, figure, dimension)
                times, amount = found.get(key, (0, 0))
                of_times = name == figure
                found[key] = Sum(number, amount) if of_times else Sum(times, number)
    return found


def keys_of(counts: Counts) -> list[str]:
    """Under which names a conversation is found that has counted this, in order.

    Those of figures that have a list, and `figure/dimension` where a dimension narrows it; of
    amounts, only where there is one. A row whose names stay is written over where it is, without
    its index: so what each turn has anew, as how long it took, is none.
    """
    keys: set[str] = set()
    for name, dimensions in counts.items():
        if (figure := _NAMED.get(name)) is None:
            continue
        for dimension, number in dimensions.items():
            if number > 0:
                keys.add(figure.value)
                if figure in DIVIDED:
                    keys.add(key_of(figure.value, dimension))
    return sorted(keys)


def key_of(figure: str, dimension: str | None) -> str:
    """The name under which a figure, or one dimension of it, is found."""
    return figure if dimension is None else f"{figure}/{dimension}"


def number(counts: Counts, name: str, dimension: str | None = None) -> int:
    """How often a figure was counted, or how much; in all, or of one dimension."""
    dimensions = counts.get(name, {})
    return sum(dimensions.values()) if dimension is None else dimensions.get(dimension, 0)


def stored(hours: Mapping[datetime, Counts]) -> dict[str, Counts]:
    """Hours as JSON has them: counted from 1970."""
    return {str(int(hour.timestamp()) // 3600): counts for hour, counts in hours.items()}


def named_hour(name: str) -> datetime:
    """The hour that `stored` has named so."""
    return datetime.fromtimestamp(int(name) * 3600, UTC)
