"""Sums by the hour and the day in PostgreSQL, exact at every moment and without a hot row.

Who counts something adds a row of its own to `figure_changes`, in the transaction of what it
counts, and so waits for nobody. Every few seconds one process adds these rows to the sums and
deletes them, in one transaction. A reader adds up both, in one statement and thus one snapshot:
each change is in it once, whether it was added to the sums already or not.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from operator import attrgetter
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert

from smart_support.analytics.episode import Key, Sum
from smart_support.analytics.sums import Counts, add, by_hour, named_hour, stored, together
from smart_support.analytics.tables import figure_changes, figure_sums
from smart_support.database import Prepared, Row, Session, Sessions

Kind: TypeAlias = Literal["activity", "cohort", "troubles"]
P = TypeVar("P", bound=Hashable)
R = TypeVar("R")
T = TypeVar("T")
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST_PARTS = 2_000
"""Days and hours that one reader keeps."""
MOST_SPANS = 20
MOST_DERIVED = 1_000
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
    """Reads sums, each only once while it does not change.

    The sums of a day or an hour are kept as they were read, with the transaction that wrote them.
    Where all of a span are what they were, PostgreSQL says no more than that; else it sends those
    that changed. What is given out is not to be changed: it is given to others as well.
    """

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._parts: OrderedDict[tuple[str, datetime], _Part] = OrderedDict()
        self._spans: OrderedDict[tuple[_Range, ...], _Span] = OrderedDict()

    async def read(self, session: Session, start: datetime, end: datetime) -> Counts:
        """What was counted in [start, end), both at full hours."""
        asked = self.asked(start, end)
        return self.told(asked, await session.execute(_READ, asked.values), start, end)

    def asked(self, start: datetime, end: datetime) -> "Asked":
        """For a statement that asks `SUMS` for [start, end) among other things: its values."""
        return self._ask(*_whole_and_rest(start, end))

    def told(self, asked: "Asked", rows: Iterable[Row], start: datetime, end: datetime) -> Counts:
        """What was counted in [start, end), from the rows of `SUMS`."""
        span, fresh = self._take(asked, rows)
        return _with(span.together(asked.place[0]), _of(fresh, start, end))

    def remembered(self, start: datetime, end: datetime) -> Counts | None:
        """What `read` found the last time, but for what was not in the sums yet.

        None if that is not known. Says how to ask, never what is true now.
        """
        place = _whole_and_rest(start, end)
        span = self._spans.get(place)
        return None if span is None else span.together(place[0])

    async def days(
        self, session: Session, start: datetime, end: datetime
    ) -> dict[datetime, Counts]:
        """The same by the days of UTC."""
        span, fresh = await self._read(session, *_whole_and_rest(start, end))
        return _with_each(span.by_day, _day_of, _of(fresh, start, end))

    def asked_since(self, start: datetime, end: datetime, since: datetime) -> "Asked":
        """As `asked`, for `told_since`."""
        return self._ask(*_since_and_rest(start, end, since))

    def told_since(
        self, asked: "Asked", rows: Iterable[Row], start: datetime, end: datetime
    ) -> tuple[Counts, dict[datetime, Counts]]:
        """What was counted in [start, end), and the whole days that [since, end) touches.

        Both are of one moment, and `since` is not after `start`.
        """
        span, fresh = self._take(asked, rows)
        return (
            _with(span.together(_whole_days(start, end)), _of(fresh, start, end)),
            _with_each(span.days, _day_of, _of(fresh, *asked.place[0])),
        )

    def remembered_since(self, start: datetime, end: datetime, since: datetime) -> Counts:
        """As `remembered`; nothing, if it is not known."""
        span = self._spans.get(_since_and_rest(start, end, since))
        return {} if span is None else span.together(_whole_days(start, end))

    async def hours(
        self, session: Session, start: datetime, end: datetime
    ) -> dict[datetime, Counts]:
        """The same by the hour."""
        span, fresh = await self._read(session, (end, end), (start, end), (end, end))
        return _with_each(span.hours, lambda at: at, _of(fresh, start, end))

    async def _read(
        self, session: Session, days: "_Range", hours: "_Range", more_hours: "_Range"
    ) -> tuple["_Span", list["_Fresh"]]:
        """Whole days and single hours, and what is not in either yet: of one moment."""
        asked = self._ask(days, hours, more_hours)
        return self._take(asked, await session.execute(_READ, asked.values))

    def _ask(self, days: "_Range", hours: "_Range", more_hours: "_Range") -> "Asked":
        place = days, hours, more_hours
        # As it is now: others read meanwhile, and know then what this statement does not see.
        known = self._spans.get(place) or _Span(self._kept(days, hours, more_hours))
        values = {
            "kind": self._kind,
            "known": known.written,
            "first_day": days[0],
            "last_day": days[1],
            "first_hour": hours[0],
            "last_hour": hours[1],
            "next_hour": more_hours[0],
            "final_hour": more_hours[1],
        }
        return Asked(place, known, values)

    def _take(self, asked: "Asked", rows: Iterable[Row]) -> tuple["_Span", list["_Fresh"]]:
        place, known = asked.place, asked.known
        span = known
        parts: list[_Part] = []
        fresh: list[_Fresh] = []
        for row in rows:
            what, at, written, counts = row[0], row[1], row[2], row[3]
            if what == "changed":
                span = _Span(parts)
            elif what == "fresh":
                fresh.extend((named_hour(name), part) for name, part in counts.items())
            elif counts is None:
                parts.append(known.known[what, at])
            else:
                parts.append(self._keep(_Part(what, at, written, counts)))
        self._spans[place] = span
        self._spans.move_to_end(place)
        if len(self._spans) > MOST_SPANS:
            self._spans.popitem(last=False)
        return span, fresh

    def _keep(self, part: "_Part") -> "_Part":
        place = part.bucket, part.start
        self._parts[place] = part
        self._parts.move_to_end(place)
        if len(self._parts) > MOST_PARTS:
            self._parts.popitem(last=False)
        return part

    def _kept(self, days: "_Range", *hours: "_Range") -> list["_Part"]:
        """What is known of a span that was not asked for before."""
        return [
            part
            for part in self._parts.values()
            for first, last in ((days,) if part.bucket == "day" else hours)
            if first <= part.start < last
        ]


_Range: TypeAlias = tuple[datetime, datetime]
"""From the first, up to but without the second; empty if they are the same."""
_Fresh: TypeAlias = tuple[datetime, Counts]
"""Of an hour: what is not in the sums yet."""

SUMS = (
    sa.text(
        """
    WITH parts AS NOT MATERIALIZED (
        SELECT bucket, start, figures, xmin::text AS written,
               concat(bucket, ':', extract(epoch FROM start)::bigint, ':', xmin::text) AS mark
        FROM (
            SELECT bucket, start, xmin, figures FROM figure_sums
            WHERE kind = :kind AND bucket = 'day' AND start >= :first_day AND start < :last_day
            UNION ALL
            SELECT bucket, start, xmin, figures FROM figure_sums
            WHERE kind = :kind AND bucket = 'hour' AND start >= :first_hour AND start < :last_hour
            UNION ALL
            SELECT bucket, start, xmin, figures FROM figure_sums
            WHERE kind = :kind AND bucket = 'hour' AND start >= :next_hour AND start < :final_hour
        ) sums
    ), changed AS MATERIALIZED (
        SELECT coalesce(string_agg(mark, ',' ORDER BY bucket, start), '') <> :known AS yes
        FROM parts
    )
    SELECT bucket, start, written, CASE WHEN strpos(',' || :known || ',', ',' || mark || ',') = 0
           THEN figures END AS figures
    FROM parts WHERE (SELECT yes FROM changed)
    UNION ALL
    SELECT 'changed', NULL, NULL, NULL FROM changed WHERE yes
    UNION ALL
    SELECT 'fresh', NULL, NULL, changes -> :kind
    FROM figure_changes WHERE jsonb_exists(changes, :kind)
    """
    )
    .bindparams(
        sa.bindparam("kind", type_=sa.Text),
        sa.bindparam("known", type_=sa.Text),
        sa.bindparam("first_day", type_=_INSTANT),
        sa.bindparam("last_day", type_=_INSTANT),
        sa.bindparam("first_hour", type_=_INSTANT),
        sa.bindparam("last_hour", type_=_INSTANT),
        sa.bindparam("next_hour", type_=_INSTANT),
        sa.bindparam("final_hour", type_=_INSTANT),
    )
    .columns(bucket=sa.Text, start=_INSTANT, written=sa.Text, figures=JSONB)
)
"""Sums only where one is not as it is known, and then with figures only if they are not."""
_READ = Prepared(SUMS)


def beside_sums(statement: sa.Select[Any] | sa.TextualSelect) -> Prepared:
    """Both in one statement, and so of one moment. `apart` takes what it gives apart again."""
    more, sums = statement.subquery("more").c, SUMS.cte("sums").c
    return Prepared(
        sa.union_all(sa.select(*sums, *_nothing(more)), sa.select(*_nothing(sums), *more))
    )


def _nothing(columns: Iterable[sa.ColumnElement[Any]]) -> list[sa.ColumnElement[Any]]:
    return [sa.cast(sa.null(), column.type).label(column.name) for column in columns]


def apart(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """The rows of the sums, and those of the other statement, in no order."""
    sums: list[Row] = []
    more: list[Row] = []
    for row in rows:
        (more if row["bucket"] is None else sums).append(row)
    return sums, more


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A span that is asked for, what was known of it then, and the values that say so."""

    place: tuple[_Range, _Range, _Range]
    known: "_Span"
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """The sums of a day or an hour, as they were written."""

    bucket: str
    start: datetime
    written: str
    counts: Counts


_PLACE = attrgetter("bucket", "start")


class _Span:
    """Some days and hours, and what they come to."""

    def __init__(self, parts: list[_Part]) -> None:
        self.parts = parts
        self._together: dict[_Range, Counts] = {}

    @cached_property
    def known(self) -> dict[tuple[str, datetime], _Part]:
        return {(part.bucket, part.start): part for part in self.parts}

    @cached_property
    def written(self) -> str:
        """Which part was written by which transaction, as `_READ` compares it."""
        return ",".join(
            f"{part.bucket}:{(part.start - EPOCH) // SECOND}:{part.written}"
            for part in sorted(self.parts, key=_PLACE)
        )

    @cached_property
    def days(self) -> dict[datetime, Counts]:
        return {part.start: part.counts for part in self.parts if part.bucket == "day"}

    @cached_property
    def hours(self) -> dict[datetime, Counts]:
        return {part.start: part.counts for part in self.parts if part.bucket == "hour"}

    @cached_property
    def by_day(self) -> dict[datetime, Counts]:
        """The days, and the hours beside them as days that are cut."""
        return _with_each(self.days, _day_of, list(self.hours.items()))

    def together(self, days: _Range) -> Counts:
        """The hours and those of the days that are in the range, added up."""
        if days not in self._together:
            first, last = days
            own = (counts for start, counts in self.days.items() if first <= start < last)
            self._together[days] = together((*own, *self.hours.values()))
        return self._together[days]


def _of(fresh: list[_Fresh], start: datetime, end: datetime) -> list[_Fresh]:
    return [each for each in fresh if start <= each[0] < end]


def _with(counts: Counts, more: list[_Fresh]) -> Counts:
    """Both added up; the counts themselves where there is no more."""
    if not more:
        return counts
    found = {name: dict(numbers) for name, numbers in counts.items()}
    for _, part in more:
        add(found, part)
    return found


def _with_each(
    known: dict[datetime, Counts], place: Callable[[datetime], datetime], more: list[_Fresh]
) -> dict[datetime, Counts]:
    """The same for each day or hour; `place` says to which of them an hour belongs."""
    if not more:
        return known
    found = dict(known)
    own: dict[datetime, list[_Fresh]] = {}
    for each in more:
        own.setdefault(place(each[0]), []).append(each)
    for at, parts in own.items():
        found[at] = _with(known.get(at, {}), parts)
    return found


def _whole_days(start: datetime, end: datetime) -> _Range:
    """The whole days of [start, end): the rest is before the first and after the last of them."""
    first, last = EPOCH - (EPOCH - start) // DAY * DAY, _day_of(end)
    return (first, last) if first <= last else (end, end)


def _whole_and_rest(start: datetime, end: datetime) -> tuple[_Range, _Range, _Range]:
    first, last = _whole_days(start, end)
    return (first, last), (start, first), (last, end)


def _since_and_rest(
    start: datetime, end: datetime, since: datetime
) -> tuple[_Range, _Range, _Range]:
    _, before, after = _whole_and_rest(start, end)
    return (_day_of(since), _day_of(end - HOUR) + DAY), before, after


def _day_of(at: datetime) -> datetime:
    return EPOCH + (at - EPOCH) // DAY * DAY


class Derived(Generic[P, R, T]):
    """What is made of something that was read, once as long as it is the same."""

    def __init__(self, make: Callable[[P, R], T]) -> None:
        """`make` is told the place, such as a day or a range, and what was read of it."""
        self._make = make
        self._known: dict[P, tuple[R, T]] = {}

    def of(self, place: P, read: R) -> T:
        """What `make` makes of this."""
        known = self._known.get(place)
        if known is not None and known[0] is read:
            return known[1]
        if len(self._known) >= MOST_DERIVED:
            self._known.clear()
        made = self._make(place, read)
        self._known[place] = read, made
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
