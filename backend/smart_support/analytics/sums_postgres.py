"""Sums by the hour and the day in PostgreSQL, exact at every moment and without a hot row.

Who counts something adds a row of its own to `figure_changes`, in the transaction of what it
counts, and so waits for nobody. Every few seconds one process adds these rows to the sums and
deletes them, in one transaction. A reader adds up both, in one statement and thus one snapshot:
each change is in it once, whether it was added to the sums already or not.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from smart_support.analytics.episode import Key, Sum
from smart_support.analytics.sums import Counts, add, by_hour, named_hour, stored
from smart_support.analytics.tables import figure_changes, figure_sums
from smart_support.database import Sessions

Kind: TypeAlias = Literal["activity", "cohort", "troubles"]
DAY = timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AT_ONCE = 2_000
"""Changes that are added to the sums in one transaction."""


async def put(session: AsyncSession, changes: Mapping[Kind, Mapping[Key, Sum]]) -> None:
    """Count these changes, in the caller's transaction."""
    told = {kind: stored(by_hour(counted)) for kind, counted in changes.items() if counted}
    if told:
        await session.execute(insert(figure_changes).values(changes=told))


async def read_sums(session: AsyncSession, kind: Kind, start: datetime, end: datetime) -> Counts:
    """What was counted in [start, end), both at full hours."""
    found: Counts = {}
    for _, counts in await _read(session, kind, start, end):
        add(found, counts)
    return found


async def read_days(
    session: AsyncSession, kind: Kind, start: datetime, end: datetime
) -> dict[datetime, Counts]:
    """The same by the days of UTC."""
    days: dict[datetime, Counts] = {}
    for at, counts in await _read(session, kind, start, end):
        day = at.replace(hour=0)
        if day in days:
            add(days[day], counts)
        else:
            days[day] = counts
    return days


async def read_hours(
    session: AsyncSession, kind: Kind, start: datetime, end: datetime
) -> dict[datetime, Counts]:
    """The same by the hour."""
    hours: dict[datetime, Counts] = {}
    for at, counts in await _read(session, kind, start, end, whole_days=False):
        add(hours.setdefault(at, {}), counts)
    return hours


async def settle(sessions: Sessions) -> int:
    """Add changes to the sums, at most `AT_ONCE`; how many. None while somebody else does it."""
    row = figure_changes.c
    async with sessions.begin() as session:
        alone = sa.func.pg_try_advisory_xact_lock(sa.func.hashtext(figure_sums.name))
        if not await session.scalar(sa.select(alone)):
            return 0
        # Those that are not committed yet are not seen, and stay for the next time.
        oldest = sa.select(row.id).order_by(row.id).limit(AT_ONCE).scalar_subquery()
        told = (
            await session.scalars(
                sa.delete(figure_changes).where(row.id.in_(oldest)).returning(row.changes)
            )
        ).all()
        changes: dict[tuple[str, str, datetime], Counts] = {}
        for change in told:
            for kind, hours in change.items():
                for name, counts in hours.items():
                    hour = named_hour(name)
                    add(changes.setdefault((kind, "hour", hour), {}), counts)
                    add(changes.setdefault((kind, "day", hour.replace(hour=0)), {}), counts)
        await _add(session, changes)
    return len(told)


async def _add(session: AsyncSession, changes: dict[tuple[str, str, datetime], Counts]) -> None:
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


async def _read(
    session: AsyncSession, kind: Kind, start: datetime, end: datetime, *, whole_days: bool = True
) -> list[tuple[datetime, Counts]]:
    # Rounded down, and before 1970 that is away from it: the first whole day, and behind the last.
    first, last = EPOCH - (EPOCH - start) // DAY * DAY, EPOCH + (end - EPOCH) // DAY * DAY
    parts: list[tuple[str, datetime, datetime]] = [("hour", start, end)]
    if whole_days and first < last:
        parts = [("day", first, last), ("hour", start, first), ("hour", last, end)]
    row = figure_sums.c
    statements: list[sa.Select[Any]] = [
        sa.select(row.start, row.figures).where(
            row.kind == kind, row.bucket == bucket, row.start >= since, row.start < until
        )
        for bucket, since, until in parts
        if since < until
    ]
    change = figure_changes.c.changes
    fresh = sa.select(sa.null().label("start"), change[kind].label("figures")).where(
        change.has_key(kind)
    )
    found = await session.execute(sa.union_all(*statements, fresh))
    read: list[tuple[datetime, Counts]] = []
    for at, counts in found:
        if at is not None:
            read.append((at, counts))
            continue
        hours: Sequence[tuple[datetime, Counts]] = [
            (named_hour(name), part) for name, part in counts.items()
        ]
        read += [(hour, part) for hour, part in hours if start <= hour < end]
    return read
