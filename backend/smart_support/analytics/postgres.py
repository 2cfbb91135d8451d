"""Analytics in PostgreSQL. A transaction changes one episode and adds the change to its hours."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from smart_support.analytics.episode import Episode, Key, Sum, difference, tally
from smart_support.analytics.records import (
    Bucket,
    Cohort,
    Figures,
    Point,
    Sums,
    activity_of,
    check_length,
    points,
    widen,
)
from smart_support.analytics.tables import episodes, figures_hourly
from smart_support.database import Sessions
from smart_support.events.consumer import unseen
from smart_support.events.consumer_postgres import lock_thread, read_log, threads_behind
from smart_support.events.records import Event, ThreadId
from smart_support.events.standing import Standing, Status

_SAME = (
    "thread_id",
    "opened_at",
    "messages",
    "replies",
    "turns",
    "first_reply_ms",
    "resolved_at",
    "resolved_by",
    "handoff_at",
    "handoff_reason",
    "abandoned_at",
    "reopen_count",
    "calls",
)
"""Fields of an episode that are stored as they are."""

_COLUMNS = ("hour", "figure", "dimension", "count", "total")


class PostgresAnalyticsRecorder:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def applied(self, thread_id: ThreadId) -> int:
        async with self._sessions() as session:
            found = await session.scalar(
                sa.select(episodes.c.applied).where(episodes.c.thread_id == thread_id)
            )
        return found or 0

    async def apply(self, thread_id: ThreadId, events: Sequence[Event]) -> None:
        async with self._sessions.begin() as session:
            await lock_thread(session, episodes, thread_id)
            row = await _find(session, thread_id)
            before = _episode(row) if row else None
            fresh = unseen(thread_id, events, row.applied if row else 0)
            after = tally(before, fresh)
            if fresh and after is not None:
                await _store(session, after, fresh[-1].seq)
                await _count(session, after.counted, before.counted if before else {})

    async def behind(self, limit: int) -> list[ThreadId]:
        async with self._sessions() as session:
            return await threads_behind(session, episodes, limit)

    async def rebuild(self, thread_id: ThreadId) -> None:
        async with self._sessions.begin() as session:
            await lock_thread(session, episodes, thread_id)
            row = await _find(session, thread_id)
            log = await read_log(session, thread_id)
            after = tally(None, log)
            if after is None:
                await session.execute(sa.delete(episodes).where(episodes.c.thread_id == thread_id))
            else:
                await _store(session, after, log[-1].seq)
            # What was counted is remembered, so that this mends what an older version counted.
            await _count(
                session, after.counted if after else {}, _counted(row.counted) if row else {}
            )

    async def figures(self, start: datetime, end: datetime) -> Figures:
        start, end = widen(start, end)
        async with self._sessions.begin() as session:
            # One snapshot for both parts, so that the cards agree with each other.
            await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            cohort = await _cohort(session, start, end)
            activity = activity_of(await _sums(session, start, end))
        return Figures(start=start, end=end, cohort=cohort, activity=activity)

    async def series(self, start: datetime, end: datetime, bucket: Bucket) -> list[Point]:
        start, end = widen(start, end, bucket)
        check_length(start, end, bucket)
        async with self._sessions() as session:
            sums = await _sums_by_bucket(session, start, end, bucket)
        return points(start, end, bucket, sums)


async def _find(session: AsyncSession, thread_id: ThreadId) -> sa.Row[Any] | None:
    return (
        await session.execute(sa.select(episodes).where(episodes.c.thread_id == thread_id))
    ).one_or_none()


async def _store(session: AsyncSession, episode: Episode, applied: int) -> None:
    values: dict[str, Any] = {name: getattr(episode, name) for name in _SAME}
    values |= {
        "applied": applied,
        "status": episode.standing.status.value,
        "answering": list(episode.standing.answering),
        "handled": episode.handled,
        "resolved_alone": episode.resolved_alone,
        "unanswered": {turn: at.isoformat() for turn, at in episode.unanswered.items()},
        "counted": [
            [key.hour.isoformat(), *key[1:], *found] for key, found in episode.counted.items()
        ],
    }
    await session.execute(
        insert(episodes)
        .values(values)
        .on_conflict_do_update(index_elements=[episodes.c.thread_id], set_=values)
    )


async def _count(
    session: AsyncSession, after: Mapping[Key, Sum], before: Mapping[Key, Sum]
) -> None:
    changes = difference(after, before)
    if not changes:
        return
    statement = insert(figures_hourly)
    # The keys come in order: two transactions that met in other orders would wait for ever.
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=list(figures_hourly.primary_key),
            set_={
                "count": figures_hourly.c.count + statement.excluded["count"],
                "total": figures_hourly.c.total + statement.excluded["total"],
            },
        ),
        [dict(zip(_COLUMNS, (*key, *change), strict=True)) for key, change in changes.items()],
    )


async def _cohort(session: AsyncSession, start: datetime, end: datetime) -> Cohort:
    row, among = episodes.c, sa.and_(episodes.c.opened_at >= start, episodes.c.opened_at < end)

    def count(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
        return sa.func.count().filter(sa.true(), *conditions)

    found = (
        await session.execute(
            sa.select(
                count().label("conversations"),
                count(row.handled).label("handled"),
                count(row.resolved_at.is_not(None)).label("resolved"),
                count(row.resolved_alone).label("resolved_alone"),
                count(row.handoff_at.is_not(None)).label("handed_off"),
                count(row.abandoned_at.is_not(None)).label("abandoned"),
                count(row.reopen_count > 0).label("reopened"),
                sa.func.percentile_disc(0.5)
                .within_group(row.first_reply_ms)
                .label("median_first_reply_ms"),
            ).where(among)
        )
    ).one()
    reasons = await session.execute(
        sa.select(row.handoff_reason, sa.func.count().label("times"))
        .where(among, row.handoff_at.is_not(None))
        .group_by(row.handoff_reason)
        .order_by(row.handoff_reason)
    )
    return Cohort(
        **found._mapping,
        handoff_reasons={reason.handoff_reason: reason.times for reason in reasons},
    )


async def _sums(session: AsyncSession, start: datetime, end: datetime) -> Sums:
    rows = await session.execute(
        _summed(figures_hourly.c.figure, figures_hourly.c.dimension, start=start, end=end)
    )
    return {(row.figure, row.dimension): Sum(row.times, row.amount) for row in rows}


async def _sums_by_bucket(
    session: AsyncSession, start: datetime, end: datetime, bucket: Bucket
) -> dict[datetime, dict[tuple[str, str], Sum]]:
    at = sa.func.date_trunc(bucket, figures_hourly.c.hour, "UTC").label("at")
    rows = await session.execute(
        _summed(at, figures_hourly.c.figure, figures_hourly.c.dimension, start=start, end=end)
    )
    sums: defaultdict[datetime, dict[tuple[str, str], Sum]] = defaultdict(dict)
    for row in rows:
        sums[row.at][row.figure, row.dimension] = Sum(row.times, row.amount)
    return sums


def _summed(
    *by: sa.ColumnElement[Any], start: datetime, end: datetime
) -> sa.Select[tuple[Any, ...]]:
    figure = figures_hourly.c
    return (
        sa.select(
            *by,
            sa.cast(sa.func.sum(figure.count), sa.BigInteger).label("times"),
            sa.cast(sa.func.sum(figure.total), sa.BigInteger).label("amount"),
        )
        .where(figure.hour >= start, figure.hour < end)
        .group_by(*by)
    )


def _episode(row: sa.Row[Any]) -> Episode:
    return Episode(
        standing=Standing(Status(row.status), tuple(row.answering)),
        unanswered={turn: datetime.fromisoformat(at) for turn, at in row.unanswered.items()},
        counted=_counted(row.counted),
        **{name: getattr(row, name) for name in _SAME},
    )


def _counted(stored: Sequence[tuple[str, str, str, int, int]]) -> dict[Key, Sum]:
    return {
        Key(datetime.fromisoformat(hour), figure, dimension): Sum(count, total)
        for hour, figure, dimension, count, total in stored
    }
