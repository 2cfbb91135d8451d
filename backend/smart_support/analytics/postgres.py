"""Analytics in PostgreSQL. A transaction changes one episode and puts down what that counts."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from smart_support.analytics.episode import (
    Episode,
    Figure,
    Key,
    Part,
    Sum,
    cohort_part,
    difference,
    tally,
)
from smart_support.analytics.histogram import percentile
from smart_support.analytics.listings import (
    SUMMED,
    Counted,
    CountedPage,
    Listing,
    Selection,
    Summed,
)
from smart_support.analytics.records import (
    EXACT_MEDIAN,
    Activity,
    Bucket,
    Cohort,
    Point,
    activity_of,
    check_length,
    points,
    widen,
)
from smart_support.analytics.sums import AMOUNT, Counts, add, by_hour, flat, key_of, keys_of, number
from smart_support.analytics.sums_postgres import SumReader, put, settle
from smart_support.analytics.tables import episode_figures, episodes
from smart_support.database import Prepared, Row, Session, Sessions, upsert
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

FEW = 3_000
"""Occurrences up to which all conversations behind a figure are gathered and counted."""


class PostgresAnalyticsRecorder:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._activity = SumReader("activity")
        self._cohort = SumReader("cohort")

    async def applied(self, thread_id: ThreadId) -> int:
        async with self._sessions() as session:
            found = await session.scalar(_APPLIED, {"thread_id": thread_id})
        return found or 0

    async def apply(self, thread_id: ThreadId, events: Sequence[Event]) -> None:
        async with self._sessions.begin() as session:
            await lock_thread(session, episodes, thread_id)
            row = await _find(session, thread_id)
            fresh = unseen(thread_id, events, row.applied if row else 0)
            # What was counted before stays where it is: this counts the fresh events alone.
            before = _episode(row) if row else None
            after = tally(before, fresh)
            if fresh and after is not None:
                await _store(session, after, fresh[-1].seq)
                await _add_parts(session, thread_id, after.counted)
                cohort = difference(cohort_part(after), cohort_part(before))
                await put(session, {"activity": after.counted, "cohort": cohort})

    async def behind(self, limit: int) -> list[ThreadId]:
        async with self._sessions() as session:
            return await threads_behind(session, episodes, limit)

    async def rebuild(self, thread_id: ThreadId) -> None:
        own = episode_figures.c.thread_id == thread_id
        async with self._sessions.begin() as session:
            await lock_thread(session, episodes, thread_id)
            row = await _find(session, thread_id)
            rows = await session.execute(
                sa.delete(episode_figures)
                .where(own)
                .returning(episode_figures.c.hour, episode_figures.c.figures)
            )
            # What was counted is remembered, so that this mends what an older version counted.
            before = flat({row.hour: row.figures for row in rows})
            log = await read_log(session, thread_id)
            after = tally(None, log)
            if after is None:
                await session.execute(sa.delete(episodes).where(episodes.c.thread_id == thread_id))
            else:
                await _store(session, after, log[-1].seq)
                await _add_parts(session, thread_id, after.counted)
            counted = after.counted if after else {}
            stood = cohort_part(_episode(row) if row else None)
            await put(
                session,
                {
                    "activity": difference(counted, before),
                    "cohort": difference(cohort_part(after), stood),
                },
            )

    async def settle(self) -> int:
        """Add some of what was counted to the sums of hours and days; how much was waiting.

        What the figures say does not change by this; only how soon they are said.
        """
        return await settle(self._sessions)

    async def cohort(self, start: datetime, end: datetime) -> Cohort:
        start, end = widen(start, end)
        async with self._sessions() as session:
            counts = await self._cohort.read(session, start, end)
            median = await _median_first_reply(session, counts, start, end)
        return _cohort(counts, median)

    async def activity(self, start: datetime, end: datetime) -> Activity:
        start, end = widen(start, end)
        async with self._sessions() as session:
            return activity_of(await self._activity.read(session, start, end))

    async def series(self, start: datetime, end: datetime, bucket: Bucket) -> list[Point]:
        start, end = widen(start, end)
        check_length(start, end, bucket)
        read = self._activity.days if bucket == "day" else self._activity.hours
        async with self._sessions() as session:
            sums = await read(session, start, end)
        return points(start, end, bucket, sums)

    async def counted(
        self, which: Selection, after: ThreadId | None = None, limit: int = 50
    ) -> CountedPage:
        start, end = widen(which.start, which.end)
        summed = SUMMED.get(which.listing)
        async with self._sessions.begin() as session:
            # The figure and its list are of one moment.
            await session.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            place = await _place(session, after) if after is not None else None
            if summed is None:
                counts = await self._cohort.read(session, start, end)
                total = number(counts, which.listing.value, which.dimension)
                conversations: int | None = total
                page = await _opened(session, which, start, end, place, limit + 1)
                parts = dict.fromkeys(page, 1)
            else:
                counts = await self._activity.read(session, start, end)
                total = sum(
                    _part(counts, figure, which.dimension, summed) for figure in summed.figures
                )
                times = sum(
                    number(counts, figure.value, which.dimension) for figure in summed.figures
                )
                keys = [key_of(figure.value, which.dimension) for figure in summed.figures]
                if times <= FEW:
                    page, conversations = await _gathered(
                        session, keys, start, end, place, limit + 1
                    )
                else:
                    page = await _passed(session, keys, start, end, place, limit + 1)
                    conversations = None
                parts = await _parts(session, which, summed, page, start, end)
        return CountedPage(
            total=total,
            conversations=conversations,
            threads=tuple(Counted(thread_id=name, part=parts[name]) for name in page[:limit]),
            next_after=page[limit - 1] if len(page) > limit else None,
        )


_APPLIED = Prepared(
    sa.select(episodes.c.applied).where(episodes.c.thread_id == sa.bindparam("thread_id"))
)
_EPISODE = Prepared(sa.select(episodes).where(episodes.c.thread_id == sa.bindparam("thread_id")))
_STORE = upsert(
    episodes,
    (*_SAME, "applied", "status", "answering", "handled", "resolved_alone", "unanswered"),
    "thread_id",
)
_PARTS = Prepared(
    sa.select(episode_figures.c.hour, episode_figures.c.figures).where(
        episode_figures.c.thread_id == sa.bindparam("thread_id"),
        episode_figures.c.hour
        == sa.any_(sa.bindparam("hours", type_=sa.ARRAY(episode_figures.c.hour.type))),
    )
)
_STORE_PARTS = upsert(
    episode_figures, ("thread_id", "hour", "figures", "keys"), "thread_id", "hour"
)


async def _find(session: Session, thread_id: ThreadId) -> Row | None:
    return (await session.execute(_EPISODE, {"thread_id": thread_id})).one_or_none()


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
    await session.execute(_STORE, values)


async def _add_parts(session: Session, thread_id: ThreadId, counted: Mapping[Key, Sum]) -> None:
    """Add to what the thread has counted. The caller holds its lock."""
    hours = by_hour(counted)
    if not hours:
        return
    known = await session.execute(_PARTS, {"thread_id": thread_id, "hours": list(hours)})
    for hour, figures in known:
        add(figures, hours[hour])
        hours[hour] = figures
    await session.execute(
        _STORE_PARTS,
        [
            {"thread_id": thread_id, "hour": hour, "figures": figures, "keys": keys_of(figures)}
            for hour, figures in hours.items()
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
"""The conversations of a cohort that a figure counts, as `cohort_part` does."""

_NEWEST = (episodes.c.opened_at, episodes.c.thread_id)


def _listed(place: sa.Tuple | None, limit: int) -> sa.Select[tuple[str]]:
    """Conversations, those opened last first, beginning behind `place`."""
    statement = (
        sa.select(episodes.c.thread_id)
        .order_by(*(column.desc() for column in _NEWEST))
        .limit(limit)
    )
    return statement if place is None else statement.where(sa.tuple_(*_NEWEST) < place)


async def _opened(
    session: Session,
    which: Selection,
    start: datetime,
    end: datetime,
    place: sa.Tuple | None,
    limit: int,
) -> list[ThreadId]:
    """Conversations opened in the range that count."""
    statement = _listed(place, limit).where(
        episodes.c.opened_at >= start, episodes.c.opened_at < end, _COHORT[which.listing]
    )
    if which.dimension is not None:
        statement = statement.where(episodes.c.handoff_reason == which.dimension)
    return list(await session.scalars(statement))


def _has(keys: Sequence[str], start: datetime, end: datetime) -> sa.ColumnElement[bool]:
    row = episode_figures.c
    return sa.and_(
        row.hour >= start, row.hour < end, row["keys"].op("&&")(sa.cast(keys, ARRAY(sa.Text)))
    )


async def _gathered(
    session: Session,
    keys: Sequence[str],
    start: datetime,
    end: datetime,
    place: sa.Tuple | None,
    limit: int,
) -> tuple[list[ThreadId], int]:
    """What counts is rare: find all of it, then the page; and how many there are."""
    named = sa.select(episode_figures.c.thread_id).where(_has(keys, start, end)).distinct()
    every = named.cte("every")
    statement = _listed(place, limit).where(episodes.c.thread_id.in_(sa.select(every.c.thread_id)))
    names: list[ThreadId] = list(await session.scalars(statement))
    count = await session.scalar(sa.select(sa.func.count()).select_from(named.subquery()))
    return names, count or 0


async def _passed(
    session: Session,
    keys: Sequence[str],
    start: datetime,
    end: datetime,
    place: sa.Tuple | None,
    limit: int,
) -> list[ThreadId]:
    """What counts is common: pass conversation after conversation until the page is full."""
    own = (
        sa.select(sa.literal(1))
        .where(episode_figures.c.thread_id == episodes.c.thread_id, _has(keys, start, end))
        .offset(0)  # looked up for each by its key, whatever is thought to be quicker
        .correlate(episodes)
        .exists()
    )
    statement = _listed(place, limit).where(episodes.c.opened_at < end, own)
    return list(await session.scalars(statement))


async def _parts(
    session: Session,
    which: Selection,
    summed: Summed,
    names: Sequence[ThreadId],
    start: datetime,
    end: datetime,
) -> dict[ThreadId, int]:
    """How much of the figure each of these conversations is."""
    row = episode_figures.c
    parts = dict.fromkeys(names, 0)
    found = await session.execute(
        sa.select(row.thread_id, row.figures).where(
            row.thread_id.in_(names), row.hour >= start, row.hour < end
        )
    )
    for name, figures in found:
        for figure in summed.figures:
            parts[name] += _part(figures, figure, which.dimension, summed)
    return parts


def _part(counts: Counts, figure: Figure, dimension: str | None, summed: Summed) -> int:
    name = figure.value if summed.unit == "count" else figure.value + AMOUNT
    return number(counts, name, dimension)


async def _place(session: Session, thread_id: ThreadId) -> sa.Tuple:
    """Where the thread stands in a list, as two plain values; before all, if it is unknown."""
    opened_at = await session.scalar(
        sa.select(episodes.c.opened_at).where(episodes.c.thread_id == thread_id)
    )
    return sa.tuple_(
        sa.literal(opened_at or datetime.min.replace(tzinfo=UTC), episodes.c.opened_at.type),
        sa.literal(thread_id, episodes.c.thread_id.type),
    )


async def _median_first_reply(
    session: Session, counts: Counts, start: datetime, end: datetime
) -> float | None:
    row, buckets = episodes.c, counts.get(Part.FIRST_REPLY_MS.value, {})
    if sum(buckets.values()) > EXACT_MEDIAN:
        return percentile({int(name): times for name, times in buckets.items()}, 0.5)
    median = sa.func.percentile_disc(0.5).within_group(row.first_reply_ms)
    found: float | None = await session.scalar(
        sa.select(median).where(row.opened_at >= start, row.opened_at < end)
    )
    return found


def _cohort(counts: Counts, median: float | None) -> Cohort:
    def times(part: Part) -> int:
        return number(counts, part.value)

    reasons = counts.get(Part.HANDED_OFF.value, {})
    return Cohort(
        conversations=times(Part.CONVERSATIONS),
        handled=times(Part.HANDLED),
        answered=times(Part.ANSWERED),
        resolved=times(Part.RESOLVED),
        resolved_alone=times(Part.RESOLVED_ALONE),
        handed_off=times(Part.HANDED_OFF),
        abandoned=times(Part.ABANDONED),
        reopened=times(Part.REOPENED),
        handoff_reasons=dict(sorted(reasons.items())),
        median_first_reply_ms=median,
    )


def _episode(row: Row) -> Episode:
    return Episode(
        standing=Standing(Status(row.status), tuple(row.answering)),
        unanswered={turn: datetime.fromisoformat(at) for turn, at in row.unanswered.items()},
        **{name: getattr(row, name) for name in _SAME},
    )
