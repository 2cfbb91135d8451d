"""Sums by the hour and the day in PostgreSQL, exact at every moment and without a hot row.

Who counts something adds a row of its own to `figure_changes`, in the transaction of what it
counts, and so waits for nobody. Every few seconds one process adds these rows to the sums and
deletes them, in one transaction. A reader adds up both, in one statement and thus one snapshot:
each change is in it once, whether it was added to the sums already or not.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from smart_support.analytics.episode import Key, Sum
from smart_support.analytics.sums import Counts, add, by_hour, named_hour, stored, together
from smart_support.analytics.tables import figure_changes, figure_sums
from smart_support.database import Prepared, Session, Sessions

Kind: TypeAlias = Literal["activity", "cohort", "troubles"]
DAY = timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST_DAYS = 1_000
"""Days that one reader keeps."""
MOST_SPANS = 20
AT_ONCE = 2_000
"""Changes that are added to the sums in one transaction."""


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
        days, rest = await self._read(session, start, end)
        found = {name: dict(numbers) for name, numbers in self._span(tuple(days)).items()}
        for _, counts in rest:
            add(found, counts)
        return found

    async def days(
        self, session: Session, start: datetime, end: datetime
    ) -> dict[datetime, Counts]:
        """The same by the days of UTC; not to be changed."""
        days, rest = await self._read(session, start, end)
        found = {day.start: day.counts for day in days}
        own: set[datetime] = set()
        for at, counts in rest:
            start_of_day = at.replace(hour=0)
            if start_of_day not in own:
                own.add(start_of_day)
                known = found.get(start_of_day, {})
                found[start_of_day] = {name: dict(numbers) for name, numbers in known.items()}
            add(found[start_of_day], counts)
        return found

    async def hours(
        self, session: Session, start: datetime, end: datetime
    ) -> dict[datetime, Counts]:
        """The same by the hour."""
        hours: dict[datetime, Counts] = {}
        for at, counts in (await self._read(session, start, end, whole_days=False))[1]:
            add(hours.setdefault(at, {}), counts)
        return hours

    def _span(self, days: tuple["_Day", ...]) -> Counts:
        found = self._spans.get(days)
        if found is None:
            found = self._spans[days] = together(day.counts for day in days)
            if len(self._spans) > MOST_SPANS:
                self._spans.popitem(last=False)
        self._spans.move_to_end(days)
        return found

    async def _read(
        self, session: Session, start: datetime, end: datetime, *, whole_days: bool = True
    ) -> tuple[list["_Day"], list[tuple[datetime, Counts]]]:
        """Whole days, and what is to be added to them: one statement, thus of one moment."""
        # The beginning of the first whole day, and the end of the last one.
        first, last = EPOCH - (EPOCH - start) // DAY * DAY, EPOCH + (end - EPOCH) // DAY * DAY
        spans = [(start, end)]
        statements: list[sa.Select[Any]] = []
        # As it is now: others read meanwhile, and know then what this statement does not see.
        known: dict[datetime, _Day] = {}
        if whole_days and first < last:
            spans = [(start, first), (last, end)]
            known = {day: kept for day, kept in self._days.items() if first <= day < last}
            statements = [_unknown_days(self._kind, first, last, known)]
        row = figure_sums.c
        statements += [
            sa.select(sa.null(), row.start, row.figures).where(
                row.kind == self._kind, row.bucket == "hour", row.start >= since, row.start < until
            )
            for since, until in spans
            if since < until
        ]
        change = figure_changes.c.changes
        fresh = sa.select(sa.null(), sa.null(), change[self._kind]).where(
            change.has_key(self._kind)
        )
        days: list[_Day] = []
        rest: list[tuple[datetime, Counts]] = []
        for written, at, counts in await session.execute(sa.union_all(*statements, fresh)):
            if written is not None:
                days.append(known[at] if counts is None else self._keep(at, written, counts))
            elif at is not None:
                rest.append((at, counts))
            else:
                hours = [(named_hour(name), part) for name, part in counts.items()]
                rest += [(hour, part) for hour, part in hours if start <= hour < end]
        days.sort(key=lambda day: day.start)
        return days, rest

    def _keep(self, start: datetime, written: str, counts: Counts) -> "_Day":
        day = self._days[start] = _Day(start, written, counts)
        self._days.move_to_end(start)
        if len(self._days) > MOST_DAYS:
            self._days.popitem(last=False)
        return day


@dataclass(frozen=True, slots=True, eq=False)
class _Day:
    """A day's sums as they were written; another object once they are written anew."""

    start: datetime
    written: str
    counts: Counts


def _unknown_days(
    kind: Kind, first: datetime, last: datetime, known: Mapping[datetime, _Day]
) -> sa.Select[Any]:
    """The days of [first, last), with figures only where they are not the `known` ones."""
    row = figure_sums.c
    kept = (
        sa.func.unnest(
            sa.cast(list(known), ARRAY(row.start.type)),
            sa.cast([day.written for day in known.values()], ARRAY(sa.Text)),
        )
        .table_valued(sa.column("start", row.start.type), sa.column("written", sa.Text))
        .render_derived(name="kept")
    )
    written = sa.cast(sa.literal_column("figure_sums.xmin"), sa.Text)
    figures = sa.case((kept.c.written.is_distinct_from(written), row.figures))
    return (
        sa.select(written, row.start, figures)
        .select_from(figure_sums.outerjoin(kept, kept.c.start == row.start))
        .where(row.kind == kind, row.bucket == "day", row.start >= first, row.start < last)
    )


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
