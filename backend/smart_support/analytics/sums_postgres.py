"""Sums by the hour and the day in PostgreSQL, exact at every moment and without a hot row.

Who counts something adds a row of its own to `figure_changes`, in the transaction of what it
counts, and so waits for nobody. Every few seconds one process adds these rows to the sums and
deletes them, in one transaction. A reader adds up both, in one statement and thus one snapshot:
each change is in it once, whether it was added to the sums already or not.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Generic, Literal, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from smart_support.analytics.episode import Key, Sum
from smart_support.analytics.sums import Counts, add, by_hour, named_hour, stored, together
from smart_support.analytics.tables import figure_changes, figure_sums
from smart_support.database import Prepared, Session, Sessions

Kind: TypeAlias = Literal["activity", "cohort", "troubles"]
T = TypeVar("T")
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST_DAYS = 1_000
"""Days that one reader keeps."""
MOST_SPANS = 20
AT_ONCE = 2_000
"""Changes that are added to the sums in one transaction."""


_INSTANT = sa.DateTime(timezone=True)
_PUT = Prepared(insert(figure_changes), ("changes",))


async def put(session: Session, changes: Mapping[Kind, Mapping[Key, Sum]]) -> None:
    """Count these changes, in the caller's transaction."""
    told = {kind: stored(by_hour(counted)) for kind, counted in changes.items() if counted}
    if told:
        await session.execute(_PUT, {"changes": told})


class SumReader:
    """Reads sums, each day's only once while it does not change.

    A day is kept as it was read, with the transaction that wrote it; while it is that one's still,
    PostgreSQL sends no more of it than this.
    """

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._days: OrderedDict[datetime, _Day] = OrderedDict()
        self._spans: OrderedDict[tuple[_Day, ...], Counts] = OrderedDict()

    async def read(self, session: Session, start: datetime, end: datetime) -> Counts:
        """What was counted in [start, end), both at full hours."""
        first, last = _whole_days(start, end)
        found = await self._read(session, (first, last), (start, first), (last, end))
        return self._together(found, start, end, found.days)

    async def days(
        self, session: Session, start: datetime, end: datetime
    ) -> dict[datetime, Counts]:
        """The same by the days of UTC; not to be changed."""
        first, last = _whole_days(start, end)
        found = await self._read(session, (first, last), (start, first), (last, end))
        return _by_day(found, start, end)

    async def read_and_days(
        self, session: Session, start: datetime, end: datetime, since: datetime
    ) -> tuple[Counts, dict[datetime, Counts]]:
        """What was counted in [start, end), and the whole days that [since, end) touches.

        Both are of one moment, and `since` is not after `start`. Nothing is to be changed.
        """
        first, last = _whole_days(start, end)
        begin, until = _day_of(since), _day_of(end - HOUR) + DAY
        found = await self._read(session, (begin, until), (start, first), (last, end))
        own = [day for day in found.days if first <= day.start < last]
        by_day = _by_day(replace(found, hours=[]), begin, until)
        return self._together(found, start, end, own), by_day

    async def hours(
        self, session: Session, start: datetime, end: datetime
    ) -> dict[datetime, Counts]:
        """The same by the hour."""
        found = await self._read(session, (end, end), (start, end), (end, end))
        hours: dict[datetime, Counts] = {}
        for at, counts in found.within(start, end):
            add(hours.setdefault(at, {}), counts)
        return hours

    def _together(
        self, found: "_Found", start: datetime, end: datetime, days: Sequence["_Day"]
    ) -> Counts:
        known = self._span(tuple(days))
        counts = {name: dict(numbers) for name, numbers in known.items()}
        for _, part in found.within(start, end):
            add(counts, part)
        return counts

    def _span(self, days: tuple["_Day", ...]) -> Counts:
        found = self._spans.get(days)
        if found is None:
            found = self._spans[days] = together(day.counts for day in days)
            if len(self._spans) > MOST_SPANS:
                self._spans.popitem(last=False)
        self._spans.move_to_end(days)
        return found

    async def _read(
        self, session: Session, days: "_Span", hours: "_Span", more_hours: "_Span"
    ) -> "_Found":
        """Whole days, single hours, and what is not in either yet: of one moment."""
        # As it is now: others read meanwhile, and know then what this statement does not see.
        known = {day: kept for day, kept in self._days.items() if days[0] <= day < days[1]}
        values = {
            "kind": self._kind,
            "known": list(known),
            "writers": [day.written for day in known.values()],
            "first_day": days[0],
            "last_day": days[1],
            "first_hour": hours[0],
            "last_hour": hours[1],
            "next_hour": more_hours[0],
            "final_hour": more_hours[1],
        }
        found = _Found([], [], [])
        for written, at, counts in await session.execute(_READ, values):
            if written is not None:
                found.days.append(known[at] if counts is None else self._keep(at, written, counts))
            elif at is not None:
                found.hours.append((at, counts))
            else:
                found.fresh.extend((named_hour(name), part) for name, part in counts.items())
        found.days.sort(key=_START)
        return found

    def _keep(self, start: datetime, written: str, counts: Counts) -> "_Day":
        day = self._days[start] = _Day(start, written, counts)
        self._days.move_to_end(start)
        if len(self._days) > MOST_DAYS:
            self._days.popitem(last=False)
        return day


_Span: TypeAlias = tuple[datetime, datetime]
"""From the first, up to but without the second; empty if they are the same."""

_READ = Prepared(
    sa.text(
        """
    SELECT s.xmin::text, s.start,
           CASE WHEN kept.written IS DISTINCT FROM s.xmin::text THEN s.figures END
    FROM figure_sums s
    LEFT JOIN unnest(:known, :writers) AS kept (start, written) ON kept.start = s.start
    WHERE s.kind = :kind AND s.bucket = 'day' AND s.start >= :first_day AND s.start < :last_day
    UNION ALL
    SELECT NULL, start, figures FROM figure_sums
    WHERE kind = :kind AND bucket = 'hour' AND start >= :first_hour AND start < :last_hour
    UNION ALL
    SELECT NULL, start, figures FROM figure_sums
    WHERE kind = :kind AND bucket = 'hour' AND start >= :next_hour AND start < :final_hour
    UNION ALL
    SELECT NULL, NULL, changes -> :kind FROM figure_changes WHERE jsonb_exists(changes, :kind)
    """
    ).bindparams(
        sa.bindparam("kind", type_=sa.Text),
        sa.bindparam("known", type_=ARRAY(_INSTANT)),
        sa.bindparam("writers", type_=ARRAY(sa.Text)),
        *(
            sa.bindparam(name, type_=_INSTANT)
            for name in (
                "first_day",
                "last_day",
                "first_hour",
                "last_hour",
                "next_hour",
                "final_hour",
            )
        ),
    )
)
"""A day that is known, and was written by nobody since, comes without its figures."""


@dataclass(frozen=True, slots=True, eq=False)
class _Day:
    """A day's sums as they were written; another object once they are written anew."""

    start: datetime
    written: str
    counts: Counts


_START = attrgetter("start")


@dataclass(frozen=True, slots=True)
class _Found:
    """What one statement read: sums of days and of hours, and changes that are in neither."""

    days: list[_Day]
    hours: list[tuple[datetime, Counts]]
    fresh: list[tuple[datetime, Counts]]

    def within(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, Counts]]:
        """All but the days, by the hour."""
        yield from self.hours
        yield from (each for each in self.fresh if start <= each[0] < end)


def _by_day(found: _Found, start: datetime, end: datetime) -> dict[datetime, Counts]:
    days = {day.start: day.counts for day in found.days}
    own: set[datetime] = set()
    for at, counts in found.within(start, end):
        day = at.replace(hour=0)
        if day not in own:
            own.add(day)
            days[day] = {name: dict(numbers) for name, numbers in days.get(day, {}).items()}
        add(days[day], counts)
    return days


def _whole_days(start: datetime, end: datetime) -> _Span:
    """The whole days of [start, end): the rest is before the first and after the last of them."""
    first, last = EPOCH - (EPOCH - start) // DAY * DAY, _day_of(end)
    return (first, last) if first <= last else (end, end)


def _day_of(at: datetime) -> datetime:
    return EPOCH + (at - EPOCH) // DAY * DAY


class Derived(Generic[T]):
    """What is made of each day's counts, once as long as they are the same ones."""

    def __init__(self, make: Callable[[Counts], T]) -> None:
        self._make = make
        self._known: dict[datetime, tuple[Counts, T]] = {}

    def of(self, day: datetime, counts: Counts) -> T:
        """What `make` makes of them."""
        known = self._known.get(day)
        if known is not None and known[0] is counts:
            return known[1]
        if len(self._known) >= MOST_DAYS:
            self._known.clear()
        made = self._make(counts)
        self._known[day] = counts, made
        return made


async def settle(sessions: Sessions) -> int:
    """Add changes to the sums, at most `AT_ONCE`; how many. None while somebody else does it."""
    row = figure_changes.c
    async with sessions.begin() as session:
        alone = sa.func.pg_try_advisory_xact_lock(sa.func.hashtext(figure_sums.name))
        if not await session.scalar(sa.select(alone)):
            return 0
        # Those that are not committed yet are not seen, and stay for the next time.
        oldest = sa.select(row.id).order_by(row.id).limit(AT_ONCE).scalar_subquery()
        told = await session.scalars(
            sa.delete(figure_changes).where(row.id.in_(oldest)).returning(row.changes)
        )
        changes: dict[tuple[str, str, datetime], Counts] = {}
        for change in told:
            for kind, hours in change.items():
                for name, counts in hours.items():
                    hour = named_hour(name)
                    add(changes.setdefault((kind, "hour", hour), {}), counts)
                    add(changes.setdefault((kind, "day", hour.replace(hour=0)), {}), counts)
        await _add(session, changes)
    return len(told)


async def _add(session: Session, changes: dict[tuple[str, str, datetime], Counts]) -> None:
    if not changes:
        return
    row = figure_sums.c
    places = sa.tuple_(row.kind, row.bucket, row.start)
    known = await session.execute(
        sa.select(row.kind, row.bucket, row.start, row.figures).where(places.in_(list(changes)))
    )
    for kind, bucket, start, figures in known:
        change = changes[kind, bucket, start]
        add(figures, change)
        changes[kind, bucket, start] = figures
    statement = insert(figure_sums)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=list(figure_sums.primary_key),
            set_={"figures": statement.excluded.figures},
        ),
        [
            {"kind": kind, "bucket": bucket, "start": start, "figures": figures}
            for (kind, bucket, start), figures in changes.items()
        ],
    )
