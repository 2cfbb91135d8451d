"""Sums by the hour and the day in PostgreSQL, exact at every moment and without a hot row.

Who counts something adds a row of its own to `figure_changes`, in the transaction of what it
counts, and so waits for nobody. Every few seconds one process adds these rows to the sums and
deletes them, in one transaction. A reader adds up both, in one statement and thus one snapshot:
each change is in it once, whether it was added to the sums already or not.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from operator import attrgetter
from typing import Generic, Literal, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from smart_support.analytics.episode import Key, Sum
from smart_support.analytics.sums import Counts, add, by_hour, named_hour, stored, together
from smart_support.analytics.tables import figure_changes, figure_sums
from smart_support.database import Prepared, Session, Sessions

Kind: TypeAlias = Literal["activity", "cohort", "troubles"]
T = TypeVar("T")
SECOND = timedelta(seconds=1)
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

    A day is kept as it was read, with the transaction that wrote it. Where all days of a span are
    what they were, PostgreSQL says no more than that; else it sends those that changed. What is
    given out is not to be changed: it is given to others as well.
    """

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._days: OrderedDict[datetime, _Day] = OrderedDict()
        self._spans: OrderedDict[_Range, _Span] = OrderedDict()

    async def read(self, session: Session, start: datetime, end: datetime) -> Counts:
        """What was counted in [start, end), both at full hours."""
        first, last = _whole_days(start, end)
        found = await self._read(session, (first, last), (start, first), (last, end))
        return found.together((start, end), (first, last))

    async def days(
        self, session: Session, start: datetime, end: datetime
    ) -> dict[datetime, Counts]:
        """The same by the days of UTC."""
        first, last = _whole_days(start, end)
        found = await self._read(session, (first, last), (start, first), (last, end))
        return found.by_day((start, end), found.hours)

    async def read_and_days(
        self, session: Session, start: datetime, end: datetime, since: datetime
    ) -> tuple[Counts, dict[datetime, Counts]]:
        """What was counted in [start, end), and the whole days that [since, end) touches.

        Both are of one moment, and `since` is not after `start`.
        """
        first, last = _whole_days(start, end)
        whole = _day_of(since), _day_of(end - HOUR) + DAY
        found = await self._read(session, whole, (start, first), (last, end))
        return found.together((start, end), (first, last)), found.by_day(whole, ())

    async def hours(
        self, session: Session, start: datetime, end: datetime
    ) -> dict[datetime, Counts]:
        """The same by the hour."""
        found = await self._read(session, (end, end), (start, end), (end, end))
        hours: dict[datetime, Counts] = {}
        for at, counts in (*found.hours, *found.fresh_of((start, end))):
            add(hours.setdefault(at, {}), counts)
        return hours

    async def _read(
        self, session: Session, days: "_Range", hours: "_Range", more_hours: "_Range"
    ) -> "_Found":
        """Whole days, single hours, and what is not in either yet: of one moment."""
        # As it is now: others read meanwhile, and know then what this statement does not see.
        known = self._known(days)
        values = {
            "kind": self._kind,
            "known": known.written,
            "many": len(known.days),
            "first_day": days[0],
            "last_day": days[1],
            "first_hour": hours[0],
            "last_hour": hours[1],
            "next_hour": more_hours[0],
            "final_hour": more_hours[1],
        }
        span = known
        found: list[_Day] = []
        single: list[tuple[datetime, Counts]] = []
        fresh: list[tuple[datetime, Counts]] = []
        for what, at, written, counts in await session.execute(_READ, values):
            if what == "day":
                kept = counts is None
                found.append(known.by_start[at] if kept else self._keep(at, written, counts))
            elif what == "hour":
                single.append((at, counts))
            elif what == "change":
                fresh.extend((named_hour(name), part) for name, part in counts.items())
            elif what == "changed":
                span = _Span(found)
        found.sort(key=_START)  # in place: they are the span's
        self._spans[days] = span
        self._spans.move_to_end(days)
        if len(self._spans) > MOST_SPANS:
            self._spans.popitem(last=False)
        return _Found(span, single, fresh)

    def _known(self, days: "_Range") -> "_Span":
        known = self._spans.get(days)
        if known is not None:
            return known
        first, last = days
        return _Span([day for start, day in self._days.items() if first <= start < last])

    def _keep(self, start: datetime, written: str, counts: Counts) -> "_Day":
        day = self._days[start] = _Day(start, written, counts)
        self._days.move_to_end(start)
        if len(self._days) > MOST_DAYS:
            self._days.popitem(last=False)
        return day


_Range: TypeAlias = tuple[datetime, datetime]
"""From the first, up to but without the second; empty if they are the same."""

_READ = Prepared(
    sa.text(
        """
    WITH days AS MATERIALIZED (
        SELECT start, xmin::text AS written, figures, strpos(
            :known, ',' || extract(epoch FROM start)::bigint || ':' || xmin::text || ','
        ) > 0 AS kept
        FROM figure_sums
        WHERE kind = :kind AND bucket = 'day' AND start >= :first_day AND start < :last_day
    ), changed AS MATERIALIZED (
        SELECT count(*) FILTER (WHERE kept) <> :many OR count(*) <> :many AS yes FROM days
    )
    SELECT 'day', start, written, CASE WHEN NOT kept THEN figures END FROM days, changed WHERE yes
    UNION ALL
    SELECT 'changed', NULL, NULL, NULL FROM changed WHERE yes
    UNION ALL
    SELECT 'hour', start, NULL, figures FROM figure_sums
    WHERE kind = :kind AND bucket = 'hour' AND start >= :first_hour AND start < :last_hour
    UNION ALL
    SELECT 'hour', start, NULL, figures FROM figure_sums
    WHERE kind = :kind AND bucket = 'hour' AND start >= :next_hour AND start < :final_hour
    UNION ALL
    SELECT 'change', NULL, NULL, changes -> :kind
    FROM figure_changes WHERE jsonb_exists(changes, :kind)
    """
    ).bindparams(
        sa.bindparam("kind", type_=sa.Text),
        sa.bindparam("known", type_=sa.Text),
        sa.bindparam("many", type_=sa.BigInteger),
        sa.bindparam("first_day", type_=_INSTANT),
        sa.bindparam("last_day", type_=_INSTANT),
        sa.bindparam("first_hour", type_=_INSTANT),
        sa.bindparam("last_hour", type_=_INSTANT),
        sa.bindparam("next_hour", type_=_INSTANT),
        sa.bindparam("final_hour", type_=_INSTANT),
    )
)
"""Days only where one of them is not as it is known, and then with figures only if they are not."""


@dataclass(frozen=True, slots=True, eq=False)
class _Day:
    """A day's sums as they were written; another object once they are written anew."""

    start: datetime
    written: str
    counts: Counts


_START = attrgetter("start")


class _Span:
    """Whole days, and what they come to."""

    def __init__(self, days: list[_Day]) -> None:
        self.days = days
        self._together: dict[_Range, Counts] = {}

    @cached_property
    def by_start(self) -> dict[datetime, _Day]:
        return {day.start: day for day in self.days}

    @cached_property
    def written(self) -> str:
        """Which day was written by which transaction, as `_READ` looks for it."""
        each = (f"{(day.start - EPOCH) // SECOND}:{day.written}," for day in self.days)
        # A comma on both sides of each one.
        return "," + ",".join(each)

    def together(self, days: _Range) -> Counts:
        """Those of the days that are in the range, added up."""
        first, last = days
        if days not in self._together:
            self._together[days] = together(
                day.counts for day in self.days if first <= day.start < last
            )
        return self._together[days]


@dataclass(frozen=True, slots=True)
class _Found:
    """What one statement read: sums of days and of hours, and changes that are in neither."""

    span: _Span
    hours: list[tuple[datetime, Counts]]
    fresh: list[tuple[datetime, Counts]]

    def fresh_of(self, span: _Range) -> list[tuple[datetime, Counts]]:
        return [each for each in self.fresh if span[0] <= each[0] < span[1]]

    def together(self, span: _Range, days: _Range) -> Counts:
        """All of the span, of which these are the whole days."""
        known = self.span.together(days)
        more = [*self.hours, *self.fresh_of(span)]
        if not more:
            return known
        counts = {name: dict(numbers) for name, numbers in known.items()}
        for _, part in more:
            add(counts, part)
        return counts

    def by_day(
        self, span: _Range, hours: Sequence[tuple[datetime, Counts]]
    ) -> dict[datetime, Counts]:
        """The days of the span, to which these hours belong as well."""
        days = {day.start: day.counts for day in self.span.days}
        own: set[datetime] = set()
        for at, counts in (*hours, *self.fresh_of(span)):
            day = at.replace(hour=0)
            if day not in own:
                own.add(day)
                days[day] = {name: dict(numbers) for name, numbers in days.get(day, {}).items()}
            add(days[day], counts)
        return days


def _whole_days(start: datetime, end: datetime) -> _Range:
    """The whole days of [start, end): the rest is before the first and after the last of them."""
    first, last = EPOCH - (EPOCH - start) // DAY * DAY, _day_of(end)
    return (first, last) if first <= last else (end, end)


def _day_of(at: datetime) -> datetime:
    return EPOCH + (at - EPOCH) // DAY * DAY


class Derived(Generic[T]):
    """What is made of counts, once as long as they are the same ones."""

    def __init__(self, make: Callable[[Counts], T]) -> None:
        self._make = make
        self._known: dict[Hashable, tuple[Counts, T]] = {}

    def of(self, of_what: Hashable, counts: Counts) -> T:
        """What `make` makes of the counts of a day, or whatever else they are of."""
        known = self._known.get(of_what)
        if known is not None and known[0] is counts:
            return known[1]
        if len(self._known) >= MOST_DAYS:
            self._known.clear()
        made = self._make(counts)
        self._known[of_what] = counts, made
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
