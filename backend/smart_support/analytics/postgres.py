"""Analytics in PostgreSQL. A transaction changes one episode and adds the change to its hours."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from smart_support.analytics.episode import Episode, Key, Sum, difference, tally
from smart_support.analytics.listings import (
    SUMMED,
    Counted,
    CountedPage,
    Listing,
    Selection,
)
from smart_support.analytics.records import (
    Activity,
    Bucket,
    Cohort,
    Point,
    Sums,
    activity_of,
    check_length,
    points,
    widen,
)
from smart_support.analytics.tables import episode_figures, episodes, figures_hourly
from smart_support.database import Row, Session, Sessions
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
            fresh = unseen(thread_id, events, row.applied if row else 0)
            # What was counted before stays where it is: this counts the fresh events alone.
            after = tally(_episode(row) if row else None, fresh)
            if fresh and after is not None:
                await _store(session, after, fresh[-1].seq)
                await _add(session, episode_figures, after.counted, thread_id=thread_id)
                await _add(session, figures_hourly, after.counted)

    async def behind(self, limit: int) -> list[ThreadId]:
        async with self._sessions() as session:
            return await threads_behind(session, episodes, limit)

    async def rebuild(self, thread_id: ThreadId) -> None:
        own = episode_figures.c.thread_id == thread_id
        async with self._sessions.begin() as session:
            await lock_thread(session, episodes, thread_id)
            rows = await session.execute(
                sa.delete(episode_figures).where(own).returning(episode_figures)
            )
            # What was counted is remembered, so that this mends what an older version counted.
            before = {
                Key(hour, figure, dimension): Sum(count, total)
                for _, hour, figure, dimension, count, total in rows
            }
            log = await read_log(session, thread_id)
            after = tally(None, log)
            if after is None:
                await session.execute(sa.delete(episodes).where(episodes.c.thread_id == thread_id))
            else:
                await _store(session, after, log[-1].seq)
                await _add(session, episode_figures, after.counted, thread_id=thread_id)
            counted = after.counted if after else {}
            await _add(session, figures_hourly, difference(counted, before))

    async def cohort(self, start: datetime, end: datetime) -> Cohort:
        start, end = widen(start, end)
        async with self._sessions() as session:
            return await _cohort(session, start, end)

    async def activity(self, start: datetime, end: datetime) -> Activity:
        start, end = widen(start, end)
        async with self._sessions() as session:
            return activity_of(await _sums(session, start, end))

    async def series(self, start: datetime, end: datetime, bucket: Bucket) -> list[Point]:
        start, end = widen(start, end)
        check_length(start, end, bucket)
        async with self._sessions() as session:
            sums = await _sums_by_bucket(session, start, end, bucket)
        return points(start, end, bucket, sums)

    async def counted(
        self, which: Selection, after: ThreadId | None = None, limit: int = 50
    ) -> CountedPage:
        # Named twice, so that PostgreSQL adds up once; total and list are of one snapshot.
        parts = _parts(which).cte("parts")
        total = sa.func.coalesce(sa.cast(sa.func.sum(parts.c.part), sa.BigInteger), 0)
        whole = sa.select(
            total.label("total"), sa.func.count(parts.c.thread_id).label("conversations")
        ).subquery("whole")
        newest = (episodes.c.opened_at, episodes.c.thread_id)
        listed = (
            sa.select(parts.c.thread_id, parts.c.part, episodes.c.opened_at)
            .join(episodes, episodes.c.thread_id == parts.c.thread_id)
            .order_by(*(column.desc() for column in newest))
            .limit(limit + 1)
        )
        async with self._sessions.begin() as session:
            # A figure may be of a hundred thousand conversations; spilling to disk takes longer.
            await session.execute(sa.text("SET LOCAL work_mem = '64MB'"))
            if after is not None:
                listed = listed.where(sa.tuple_(*newest) < await _place(session, after))
            page = listed.subquery("page")
            found = await session.execute(
                sa.select(page.c.thread_id, page.c.part, whole)
                .select_from(whole.outerjoin(page, sa.true()))
                .order_by(page.c.opened_at.desc(), page.c.thread_id.desc())
            )
            rows = found.all()
        threads = [
            Counted(thread_id=row.thread_id, part=row.part)
            for row in rows
            if row.thread_id is not None
        ]
        return CountedPage(
            total=rows[0].total,
            conversations=rows[0].conversations,
            threads=tuple(threads[:limit]),
            next_after=threads[limit - 1].thread_id if len(threads) > limit else None,
        )


async def _find(session: Session, thread_id: ThreadId) -> Row | None:
    return (
        await session.execute(sa.select(episodes).where(episodes.c.thread_id == thread_id))
    ).one_or_none()


async def _store(session: Session, episode: Episode, applied: int) -> None:
    values: dict[str, Any] = {name: getattr(episode, name) for name in _SAME}
    values |= {
        "applied": applied,
        "status": episode.standing.status.value,
        "answering": list(episode.standing.answering),
        "handled": episode.handled,
        "resolved_alone": episode.resolved_alone,
        "unanswered": {turn: at.isoformat() for turn, at in episode.unanswered.items()},
    }
    await session.execute(
        insert(episodes)
        .values(values)
        .on_conflict_do_update(index_elements=[episodes.c.thread_id], set_=values)
    )


async def _add(
    session: Session, table: sa.Table, changes: Mapping[Key, Sum], **whose: ThreadId
) -> None:
    """Add to what `table` has counted."""
    if not changes:
        return
    statement = insert(table)
    # The keys go in order: two transactions that met in other orders would wait for ever.
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=list(table.primary_key),
            set_={
                "count": table.c.count + statement.excluded["count"],
                "total": table.c.total + statement.excluded["total"],
            },
        ),
        [
            whose | dict(zip(_COLUMNS, (*key, *changes[key]), strict=True))
            for key in sorted(changes)
        ],
    )


_COHORT: Mapping[Listing, sa.ColumnElement[bool]] = {
    Listing.CONVERSATIONS: sa.true(),
    Listing.HANDLED: episodes.c.handled,
    Listing.ANSWERED: episodes.c.first_reply_ms.is_not(None),
    Listing.RESOLVED: episodes.c.resolved_at.is_not(None),
    Listing.RESOLVED_ALONE: episodes.c.resolved_alone,
    Listing.HANDED_OFF: episodes.c.handoff_at.is_not(None),
    Listing.ABANDONED: episodes.c.abandoned_at.is_not(None),
    Listing.REOPENED: episodes.c.reopen_count > 0,
}
"""What a figure counts, for the figure and for the list behind it alike."""


def _parts(which: Selection) -> sa.Select[tuple[str, int]]:
    """Each conversation that a figure counts, and its part."""
    start, end = widen(which.start, which.end)
    summed = SUMMED.get(which.listing)
    if summed is None:
        statement = sa.select(episodes.c.thread_id, sa.literal(1).label("part")).where(
            episodes.c.opened_at >= start, episodes.c.opened_at < end, _COHORT[which.listing]
        )
        if which.dimension is not None:
            statement = statement.where(episodes.c.handoff_reason == which.dimension)
        return statement
    row = episode_figures.c
    part = sa.cast(sa.func.sum(row[summed.unit]), sa.BigInteger)
    statement = (
        sa.select(row.thread_id, part.label("part"))
        .where(row.figure.in_([figure.value for figure in summed.figures]))
        .where(row.hour >= start, row.hour < end)
        .group_by(row.thread_id)
        .having(part > 0)
    )
    if which.dimension is not None:
        statement = statement.where(row.dimension == which.dimension)
    return statement


async def _place(session: Session, thread_id: ThreadId) -> sa.Tuple:
    """Where the thread stands in a list, as two plain values; before all, if it is unknown."""
    opened_at = await session.scalar(
        sa.select(episodes.c.opened_at).where(episodes.c.thread_id == thread_id)
    )
    return sa.tuple_(
        sa.literal(opened_at or datetime.min.replace(tzinfo=UTC), episodes.c.opened_at.type),
        sa.literal(thread_id, episodes.c.thread_id.type),
    )


async def _cohort(session: Session, start: datetime, end: datetime) -> Cohort:
    row, among = episodes.c, sa.and_(episodes.c.opened_at >= start, episodes.c.opened_at < end)
    found = (
        await session.execute(
            sa.select(
                *(
                    sa.func.count().filter(condition).label(listing.value)
                    for listing, condition in _COHORT.items()
                ),
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


async def _sums(session: Session, start: datetime, end: datetime) -> Sums:
    rows = await session.execute(
        _summed(figures_hourly.c.figure, figures_hourly.c.dimension, start=start, end=end)
    )
    return {(row.figure, row.dimension): Sum(row.times, row.amount) for row in rows}


async def _sums_by_bucket(
    session: Session, start: datetime, end: datetime, bucket: Bucket
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


def _episode(row: Row) -> Episode:
    return Episode(
        standing=Standing(Status(row.status), tuple(row.answering)),
        unanswered={turn: datetime.fromisoformat(at) for turn, at in row.unanswered.items()},
        **{name: getattr(row, name) for name in _SAME},
    )
