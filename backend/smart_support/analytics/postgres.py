"""Analytics in PostgreSQL. A transaction changes episodes and puts down what that counts."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, TypeAlias

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
    floor,
    points,
    widen,
)
from smart_support.analytics.sums import (
    AMOUNT,
    Changes,
    Counts,
    add,
    by_hour,
    flat,
    key_of,
    keys_of,
    number,
)
from smart_support.analytics.sums_postgres import EPOCH, Derived, SumReader, put, settle
from smart_support.analytics.tables import episode_figures, episodes
from smart_support.database import Prepared, Row, Session, Sessions, upsert
from smart_support.events.consumer import News, unseen
from smart_support.events.consumer_postgres import (
    lock_threads,
    places,
    places_of_threads,
    read_log,
    rows_of_threads,
    threads_behind,
)
from smart_support.events.records import ThreadId
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

FEW = 500
"""Occurrences up to which all conversations behind a figure are gathered and counted."""

TIMES_FULL = 3
"""Of what is neither rare nor common as much is gathered as fills a page so many times, if it is
spread evenly."""


class PostgresAnalyticsRecorder:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._activity = SumReader("activity")
        self._cohort = SumReader("cohort")
        self._by_day: Derived[datetime, Counts, Activity] = Derived(_activity)
        self._in_all: Derived[tuple[datetime, datetime], Counts, Activity] = Derived(_activity)

    async def applied(self, thread_ids: Collection[ThreadId]) -> dict[ThreadId, int]:
        return await places(self._sessions, _PLACES, thread_ids)

    async def apply(self, news: News) -> None:
        async with self._sessions.begin() as session:
            await lock_threads(session, episodes, news)
            rows = await session.execute(_EPISODES, {"thread_ids": list(news)})
            known = {row.thread_id: row for row in rows}
            moved: list[tuple[Episode, int]] = []
            activity, cohort = Changes(), Changes()
            for thread_id, events in news.items():
                row = known.get(thread_id)
                fresh = unseen(thread_id, events, row.applied if row else 0)
                # What was counted before stays where it is: this counts the fresh events alone.
                before = _episode(row) if row else None
                after = tally(before, fresh)
                if fresh and after is not None:
                    moved.append((after, fresh[-1].seq))
                    activity.add(after.counted)
                    cohort.add(difference(cohort_part(after), cohort_part(before)))
            await _store(session, moved)
            await _add_parts(session, {after.thread_id: after.counted for after, _ in moved})
            await put(session, {"activity": activity.sums, "cohort": cohort.sums})

    async def behind(self, limit: int) -> list[ThreadId]:
        async with self._sessions() as session:
            return await threads_behind(session, episodes, limit)

    async def rebuild(self, thread_id: ThreadId) -> None:
        own = episode_figures.c.thread_id == thread_id
        async with self._sessions.begin() as session:
            await lock_threads(session, episodes, [thread_id])
            rows = await session.execute(_EPISODES, {"thread_ids": [thread_id]})
            row = rows.one_or_none()
            gone = await session.execute(
                sa.delete(episode_figures)
                .where(own)
                .returning(episode_figures.c.hour, episode_figures.c.figures)
            )
            # What was counted is remembered, so that this mends what an older version counted.
            before = flat({part.hour: part.figures for part in gone})
            log = await read_log(session, thread_id)
            after = tally(None, log)
            if after is None:
                await session.execute(sa.delete(episodes).where(episodes.c.thread_id == thread_id))
            else:
                await _store(session, [(after, log[-1].seq)])
                await _add_parts(session, {thread_id: after.counted})
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
            counts = await self._activity.read(session, start, end)
        return self._in_all.of((start, end), counts)

    async def series(self, start: datetime, end: datetime, bucket: Bucket) -> list[Point]:
        start, end = widen(start, end)
        check_length(start, end, bucket)
        async with self._sessions() as session:
            if bucket == "hour":
                return points(start, end, bucket, await self._activity.hours(session, start, end))
            days = await self._activity.days(session, start, end)
        return points(start, end, bucket, days, self._by_day.of)

    async def counted(
        self, which: Selection, after: ThreadId | None = None, limit: int = 50
    ) -> CountedPage:
        start, end = widen(which.start, which.end)
        summed = SUMMED.get(which.listing)
        # The figure and its list are of one moment.
        async with self._sessions.snapshot() as session:
            place = await _place(session, after) if after is not None else None
            if summed is None:
                counts = await self._cohort.read(session, start, end)
                return await _cohort_page(session, which, counts, (start, end), place, limit)
            counts = await self._activity.read(session, start, end)
            return await _activity_page(session, which, summed, counts, (start, end), place, limit)


def _activity(_: object, counts: Counts) -> Activity:
    return activity_of(counts)


_PLACES = places_of_threads(episodes)
_EPISODES = rows_of_threads(episodes)
_STORE = upsert(
    episodes,
    (*_SAME, "applied", "status", "answering", "handled", "resolved_alone", "unanswered"),
    "thread_id",
)
_WANTED = (
    sa.func.unnest(
        sa.bindparam("thread_ids", type_=sa.ARRAY(episode_figures.c.thread_id.type)),
        sa.bindparam("hours", type_=sa.ARRAY(episode_figures.c.hour.type)),
    )
    .table_valued("thread_id", "hour", name="wanted")
    .render_derived()
)
_PARTS = Prepared(
    sa.select(episode_figures.c.thread_id, episode_figures.c.hour, episode_figures.c.figures).join(
        _WANTED,
        sa.and_(
            episode_figures.c.thread_id == _WANTED.c.thread_id,
            episode_figures.c.hour == _WANTED.c.hour,
        ),
    )
)
_STORE_PARTS = upsert(
    episode_figures, ("thread_id", "hour", "figures", "keys"), "thread_id", "hour"
)


async def _store(session: Session, moved: Iterable[tuple[Episode, int]]) -> None:
    values: list[dict[str, Any]] = [
        {name: getattr(episode, name) for name in _SAME}
        | {
            "applied": applied,
            "status": episode.standing.status.value,
            "answering": list(episode.standing.answering),
            "handled": episode.handled,
            "resolved_alone": episode.resolved_alone,
            "unanswered": {turn: at.isoformat() for turn, at in episode.unanswered.items()},
        }
        for episode, applied in moved
    ]
    await session.execute(_STORE, values)


async def _add_parts(session: Session, counted: Mapping[ThreadId, Mapping[Key, Sum]]) -> None:
    """Add to what threads have counted. The caller holds their locks."""
    parts = {
        (thread_id, hour): figures
        for thread_id, sums in counted.items()
        for hour, figures in by_hour(sums).items()
    }
    if not parts:
        return
    wanted = {
        "thread_ids": [thread_id for thread_id, _ in parts],
        "hours": [hour for _, hour in parts],
    }
    for thread_id, hour, figures in await session.execute(_PARTS, wanted):
        add(figures, parts[thread_id, hour])
        parts[thread_id, hour] = figures
    await session.execute(
        _STORE_PARTS,
        [
            {"thread_id": thread_id, "hour": hour, "figures": figures, "keys": keys_of(figures)}
            for (thread_id, hour), figures in parts.items()
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

_Place: TypeAlias = tuple[datetime, ThreadId]
"""Where a conversation stands in a list: those opened last are first."""
_Range: TypeAlias = tuple[datetime, datetime]

_NEWEST = (episodes.c.opened_at, episodes.c.thread_id)
_INSTANT = episodes.c.opened_at.type


def _listed(limit: int, *, place: bool) -> sa.Select[tuple[str]]:
    """Conversations, those opened last first; with `place`, beginning behind the one there.

    The limit is written into the statement: only then does PostgreSQL know how little it has to
    read, and can keep its plan.
    """
    statement = (
        sa.select(episodes.c.thread_id)
        .order_by(*(column.desc() for column in _NEWEST))
        .limit(sa.literal_column(str(limit), sa.Integer))
    )
    return statement.where(sa.tuple_(*_NEWEST) < _BEHIND) if place else statement


_BEHIND = sa.tuple_(
    sa.bindparam("opened_before", type_=_INSTANT),
    sa.bindparam("after", type_=episodes.c.thread_id.type),
)


def _values(span: _Range, place: _Place | None, **more: Any) -> dict[str, Any]:
    values = {"start": span[0], "end": span[1], **more}
    return values if place is None else values | {"opened_before": place[0], "after": place[1]}


_SINCE = sa.bindparam("start", type_=_INSTANT)
_UNTIL = sa.bindparam("end", type_=_INSTANT)


async def _cohort_page(
    session: Session,
    which: Selection,
    counts: Counts,
    span: _Range,
    place: _Place | None,
    limit: int,
) -> CountedPage:
    """Conversations opened in the range that count."""
    total, names = number(counts, which.listing.value, which.dimension), []
    if total:
        divided = which.dimension is not None
        values = {"reason": which.dimension} if divided else {}
        statement = _opened(which.listing, limit + 1, divided=divided, place=place is not None)
        names = await session.scalars(statement, _values(span, place, **values))
    return _counted(total, total, [Counted(thread_id=name, part=1) for name in names], limit)


@lru_cache(maxsize=500)
def _opened(listing: Listing, limit: int, *, divided: bool, place: bool) -> Prepared:
    statement = _listed(limit, place=place).where(
        episodes.c.opened_at >= _SINCE, episodes.c.opened_at < _UNTIL, _COHORT[listing]
    )
    if divided:
        statement = statement.where(episodes.c.handoff_reason == sa.bindparam("reason"))
    return Prepared(statement)


async def _activity_page(
    session: Session,
    which: Selection,
    summed: Summed,
    counts: Counts,
    span: _Range,
    place: _Place | None,
    limit: int,
) -> CountedPage:
    """Conversations in which something of the range counts, whenever they were opened."""
    total = sum(_part(counts, figure, which.dimension, summed) for figure in summed.figures)
    times = sum(number(counts, figure.value, which.dimension) for figure in summed.figures)
    keys = [key_of(figure.value, which.dimension) for figure in summed.figures]
    if times == 0:
        return _counted(total, 0, [], limit)
    parts = [
        figure.value if summed.unit == "count" else figure.value + AMOUNT
        for figure in summed.figures
    ]
    values = _values(span, place, keys=keys, parts=parts, dimension=which.dimension)
    behind, common = place is not None, number(counts, Figure.CONVERSATIONS_OPENED.value) * _COMMON
    if times <= FEW or times**2 < common:
        # How rare the keys are decides where to begin: a plan for any keys takes twice as long.
        await session.run("SET LOCAL plan_cache_mode = force_custom_plan")
    if times <= FEW:
        rows = (await session.execute(_gathered(limit + 1, place=behind), values)).all()
    elif times**2 < common:
        lately = _gathered_lately(limit + 1, place=behind)
        values["since"] = _since(span, place, TIMES_FULL * (limit + 1) / times)
        rows = (await session.execute(lately, values)).all()
        if len(rows) <= limit:
            rows = (await session.execute(lately, values | {"since": EPOCH})).all()
    else:
        rows = (await session.execute(_passed(limit + 1, place=behind), values)).all()
    page = [
        Counted(thread_id=row["thread_id"], part=row["part"])
        for row in rows
        if row["thread_id"] is not None
    ]
    return _counted(total, rows[0]["conversations"] if rows else None, page, limit)


_COMMON = 200
"""A figure is common if its square is more than so many times the conversations: passing them one
by one finds a page sooner than gathering a part of what counts."""


def _since(span: _Range, place: _Place | None, share: float) -> datetime:
    """When a conversation must have been opened to be among this share of those in the range."""
    until = span[1] if place is None else min(span[1], place[0])
    return max(span[0], floor(until - share * (span[1] - span[0]), "hour"))


def _counted(
    total: int, conversations: int | None, page: Sequence[Counted], limit: int
) -> CountedPage:
    return CountedPage(
        total=total,
        conversations=conversations,
        threads=tuple(page[:limit]),
        next_after=page[limit - 1].thread_id if len(page) > limit else None,
    )


_KEYS = sa.bindparam("keys", type_=ARRAY(sa.Text))
_WITHIN = sa.and_(episode_figures.c.hour >= _SINCE, episode_figures.c.hour < _UNTIL)
_HAS = sa.and_(_WITHIN, episode_figures.c["keys"].op("&&")(_KEYS))


@lru_cache(maxsize=200)
def _gathered(limit: int, *, place: bool) -> Prepared:
    """What counts is rare: find all of it, then the page."""
    every = sa.select(episode_figures.c.thread_id).where(_HAS).distinct().cte("every")
    # A row also where the page has none: how many there are stands in it.
    many = sa.select(sa.func.count().label("conversations")).select_from(every).subquery()
    page = _page_of(every, limit, place=place).cte("page")
    return Prepared(
        sa.select(page.c.thread_id, _part_of(page), many.c.conversations)
        .select_from(many.outerjoin(page, sa.true()))
        .order_by(page.c.opened_at.desc(), page.c.thread_id.desc())
    )


@lru_cache(maxsize=200)
def _gathered_lately(limit: int, *, place: bool) -> Prepared:
    """The same of conversations that were opened `since` then, of which there may be too few.

    What such a conversation has counted was counted since then; with a day to spare, for clocks.
    """
    since = sa.bindparam("since", type_=_INSTANT)
    some = (
        sa.select(episode_figures.c.thread_id)
        .where(_HAS, episode_figures.c.hour >= since - timedelta(days=1))
        .distinct()
        .cte("every")
    )
    return _with_parts(_page_of(some, limit, place=place, since=since))


def _page_of(
    named: sa.CTE, limit: int, *, place: bool, since: sa.BindParameter[datetime] | None = None
) -> sa.Select[Any]:
    opened = (
        sa.select(*_NEWEST)
        .where(episodes.c.thread_id == named.c.thread_id)
        .offset(sa.literal_column("0"))  # looked up for each by its key
        .lateral("opened")
    )
    page = (
        sa.select(opened.c.thread_id, opened.c.opened_at)
        .select_from(named.join(opened, sa.true()))
        .order_by(opened.c.opened_at.desc(), opened.c.thread_id.desc())
        .limit(sa.literal_column(str(limit), sa.Integer))
    )
    if place:
        page = page.where(sa.tuple_(opened.c.opened_at, opened.c.thread_id) < _BEHIND)
    return page if since is None else page.where(opened.c.opened_at >= since)


@lru_cache(maxsize=200)
def _passed(limit: int, *, place: bool) -> Prepared:
    """What counts is common: pass conversation after conversation until the page is full."""
    own = (
        sa.select(sa.literal(1))
        .where(episode_figures.c.thread_id == episodes.c.thread_id, _HAS)
        .offset(sa.literal_column("0"))  # looked up for each by its key
        .correlate(episodes)
        .exists()
    )
    page = _listed(limit, place=place).where(episodes.c.opened_at < _UNTIL, own)
    return _with_parts(page.add_columns(episodes.c.opened_at))


def _with_parts(page: sa.Select[Any]) -> Prepared:
    named = page.cte("page").prefix_with("MATERIALIZED")
    return Prepared(
        sa.select(named.c.thread_id, _part_of(named), sa.null().label("conversations")).order_by(
            named.c.opened_at.desc(), named.c.thread_id.desc()
        )
    )


def _part_of(page: sa.CTE) -> sa.ColumnElement[int]:
    """How much of the figure each conversation of the page is."""
    row = episode_figures.c
    dimension = sa.bindparam("dimension", type_=sa.Text)
    parts = sa.bindparam("parts", type_=ARRAY(sa.Text))
    names = sa.func.unnest(parts).table_valued("name", name="names").render_derived()
    numbers = (
        sa.func.jsonb_each_text(row.figures.op("->")(names.c.name))
        .table_valued("key", "value", name="numbers")
        .lateral()
    )
    return (
        sa.select(
            sa.cast(
                sa.func.coalesce(sa.func.sum(sa.cast(numbers.c.value, sa.BigInteger)), 0),
                sa.BigInteger,
            )
        )
        .select_from(episode_figures.join(names, sa.true()).join(numbers, sa.true()))
        .where(
            row.thread_id == page.c.thread_id,
            _WITHIN,
            sa.or_(dimension.is_(None), numbers.c.key == dimension),
        )
        .correlate(page)
        .scalar_subquery()
        .label("part")
    )


def _part(counts: Counts, figure: Figure, dimension: str | None, summed: Summed) -> int:
    name = figure.value if summed.unit == "count" else figure.value + AMOUNT
    return number(counts, name, dimension)


_OPENED_AT = Prepared(
    sa.select(episodes.c.opened_at).where(episodes.c.thread_id == sa.bindparam("thread_id"))
)


async def _place(session: Session, thread_id: ThreadId) -> _Place:
    """Where the thread stands in a list; before all, if it is unknown."""
    opened_at = await session.scalar(_OPENED_AT, {"thread_id": thread_id})
    return opened_at or datetime.min.replace(tzinfo=UTC), thread_id


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
