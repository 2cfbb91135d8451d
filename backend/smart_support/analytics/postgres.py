"""Analytics in PostgreSQL. A transaction changes episodes and puts down what that counts."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
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
from smart_support.analytics.sums_postgres import (
    DAY,
    EPOCH,
    HOUR,
    Derived,
    SumReader,
    apart,
    beside_sums,
    put,
    settle,
)
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

TIMES_FULL = 2
"""Of what is neither rare nor common as much is gathered as fills a page so many times, if it is
spread evenly."""


Beside: TypeAlias = Callable[[sa.CTE], sa.Select[Any]]
"""Given conversations by their `thread_id`, in whatever columns: all of these columns and more."""


class PostgresAnalyticsRecorder:
    def __init__(self, sessions: Sessions, beside: Beside | None = None) -> None:
        """`beside` adds to each line of `counted` what somebody else knows of its thread."""
        self._sessions = sessions
        self._beside = beside
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
        start, end = span = widen(which.start, which.end)
        summed = SUMMED.get(which.listing)
        reader = self._cohort if summed is None else self._activity
        async with self._sessions() as session:
            place = await _place(session, after) if after is not None else None
            # What is known of the figure says how to look; both are then of one moment.
            counts = reader.remembered(start, end) or await reader.read(session, start, end)
            if not _times(which, counts) and not _times(
                which, counts := await reader.read(session, start, end)
            ):
                return _page(which, counts, [], limit, told=False)
            how = _cohort_list if summed is None else _activity_list
            for statement, values in how(which, counts, span, place, limit, self._beside):
                asked = reader.asked(start, end)
                told, rows = _apart(await session.execute(statement, {**values, **asked.values}))
                counts = reader.told(asked, told, start, end)
                if len(rows) > limit:
                    break
        return _page(which, counts, rows, limit, told=self._beside is not None)


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
_TEXTS = ARRAY(sa.Text)


def _listed(limit: int, *, place: bool) -> sa.Select[Any]:
    """Conversations, those opened last first; with `place`, beginning behind the one there.

    The limit is written into the statement: only then does PostgreSQL know how little it has to
    read, and can keep its plan.
    """
    statement = (
        sa.select(*_NEWEST)
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


def _times(which: Selection, counts: Counts) -> int:
    """How often what the figure counts has happened; its conversations, if it counts those."""
    summed = SUMMED.get(which.listing)
    if summed is None:
        return number(counts, which.listing.value, which.dimension)
    return sum(number(counts, figure.value, which.dimension) for figure in summed.figures)


def _page(
    which: Selection, counts: Counts, rows: Sequence[Row], limit: int, *, told: bool
) -> CountedPage:
    summed = SUMMED.get(which.listing)
    total = times = _times(which, counts)
    conversations: int | None = times
    if summed is not None:
        total = sum(_part(counts, figure, which.dimension, summed) for figure in summed.figures)
        if times:
            conversations = rows[0]["conversations"] if rows else None
    page = [row for row in rows if row["thread_id"] is not None]
    return CountedPage(
        total=total,
        conversations=conversations,
        threads=tuple(
            Counted(thread_id=row["thread_id"], part=row["part"], told=row if told else None)
            for row in page[:limit]
        ),
        next_after=page[limit - 1]["thread_id"] if len(page) > limit else None,
    )


def _part(counts: Counts, figure: Figure, dimension: str | None, summed: Summed) -> int:
    name = figure.value if summed.unit == "count" else figure.value + AMOUNT
    return number(counts, name, dimension)


_Ask: TypeAlias = Iterator[tuple[Prepared, Mapping[str, Any]]]
"""What to ask for a page, and what next if the answer is no full page."""


def _cohort_list(
    which: Selection,
    counts: Counts,  # noqa: ARG001
    span: _Range,
    place: _Place | None,
    limit: int,
    beside: Beside | None,
) -> _Ask:
    """Conversations opened in the range that count."""
    divided = which.dimension is not None
    values = {"reason": which.dimension} if divided else {}
    form = _Form(limit + 1, place is not None, beside)
    yield _opened(which.listing, form, divided=divided), _values(span, place, **values)


@lru_cache(maxsize=500)
def _opened(listing: Listing, form: "_Form", *, divided: bool) -> Prepared:
    statement = _listed(form.limit, place=form.place).where(
        episodes.c.opened_at >= _SINCE, episodes.c.opened_at < _UNTIL, _COHORT[listing]
    )
    if divided:
        statement = statement.where(episodes.c.handoff_reason == sa.bindparam("reason"))
    return form.told(statement.add_columns(sa.literal_column("1", sa.Integer).label("part")))


def _activity_list(
    which: Selection,
    counts: Counts,
    span: _Range,
    place: _Place | None,
    limit: int,
    beside: Beside | None,
) -> _Ask:
    """Conversations in which something of the range counts, whenever they were opened."""
    summed, times = SUMMED[which.listing], _times(which, counts)
    keys = [key_of(figure.value, which.dimension) for figure in summed.figures]
    parts = [
        figure.value if summed.unit == "count" else figure.value + AMOUNT
        for figure in summed.figures
    ]
    form = _Form(limit + 1, place is not None, beside)
    values = _values(span, place, parts=parts, dimension=which.dimension)
    if times <= FEW:
        yield _gathered(form), {**values, "day_keys": _day_keys(*span, keys)}
    elif times**2 < number(counts, Figure.CONVERSATIONS_OPENED.value) * _COMMON:
        for since in (_since(span, place, TIMES_FULL * (limit + 1) / times), EPOCH):
            days = _day_keys(max(span[0], since - DAY), span[1], keys)
            yield _gathered_lately(form), {**values, "since": since, "day_keys": days}
    else:
        yield _passed(form), {**values, "keys": keys}


_COMMON = 200
"""A figure is common if its square is more than so many times the conversations: passing them one
by one finds a page sooner than gathering a part of what counts."""


def _since(span: _Range, place: _Place | None, share: float) -> datetime:
    """When a conversation must have been opened to be among this share of those in the range."""
    until = span[1] if place is None else min(span[1], place[0])
    return max(span[0], floor(until - share * (span[1] - span[0]), "hour"))


def _day_keys(start: datetime, end: datetime, keys: Sequence[str]) -> list[str]:
    """What a row of any hour in [start, end) that has one of these keys is found by."""
    days = range((start - EPOCH) // DAY, (end - EPOCH - HOUR) // DAY + 1)
    return [f"{day} {key}" for day in days for key in keys]


@dataclass(frozen=True)
class _Form:
    """How a list is asked for."""

    limit: int
    place: bool
    """Whether it begins behind a conversation."""
    beside: Beside | None

    def told(self, page: sa.Select[Any]) -> Prepared:
        """The page, with what is told beside it, and the sums that the figure comes from.

        In one statement both are of one moment. Sums have their bucket, in rows of their own.
        """
        listed = page.cte("listed")
        lines = sa.select(*listed.c) if self.beside is None else self.beside(listed)
        if "conversations" not in listed.c:
            lines = lines.add_columns(sa.cast(sa.null(), sa.BigInteger).label("conversations"))
        return beside_sums(lines)


def _apart(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """The sums, and the conversations in the order of the list."""
    sums, page = apart(rows)
    if len(page) > 1:  # a single one may be nobody, who only says how many there are
        page.sort(key=_placed, reverse=True)
    return sums, page


_placed = itemgetter("opened_at", "thread_id")


_WITHIN = sa.and_(episode_figures.c.hour >= _SINCE, episode_figures.c.hour < _UNTIL)
_HAS = sa.and_(_WITHIN, episode_figures.c["keys"].op("&&")(sa.bindparam("keys", type_=_TEXTS)))


def _found() -> sa.CTE:
    """The conversations in which it has happened, by the index: what others did is not touched."""
    row = episode_figures.c
    # Behind a SELECT, so that no plan knows the keys: each would be made for one page alone.
    keys = sa.select(sa.bindparam("day_keys", type_=_TEXTS)).scalar_subquery()
    there = (
        sa.select(row.thread_id, row.hour)
        .where(sa.func.day_keys(row.hour, row["keys"]).op("&&")(keys))
        .offset(sa.literal_column("0"))  # the hours decide nothing that the days have not
        .subquery("there")
    )
    return (
        sa.select(there.c.thread_id)
        .where(there.c.hour >= _SINCE, there.c.hour < _UNTIL)
        .distinct()
        .cte("every")
    )


@lru_cache(maxsize=200)
def _gathered(form: _Form) -> Prepared:
    """What counts is rare: find all of it, then the page."""
    every = _found()
    # A row also where the page has none: how many there are stands in it.
    many = sa.select(sa.func.count().label("conversations")).select_from(every).subquery()
    page = _page_of(every, form.limit, place=form.place).cte("page")
    return form.told(
        sa.select(
            page.c.thread_id, page.c.opened_at, _part_of(page), many.c.conversations
        ).select_from(many.outerjoin(page, sa.true()))
    )


@lru_cache(maxsize=200)
def _gathered_lately(form: _Form) -> Prepared:
    """The same of conversations that were opened `since` then, of which there may be too few.

    What such a conversation has counted was counted since then; with a day to spare, for clocks.
    """
    since = sa.bindparam("since", type_=_INSTANT)
    page = _page_of(_found(), form.limit, place=form.place, since=since)
    return _with_parts(page, form)


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
def _passed(form: _Form) -> Prepared:
    """What counts is common: pass conversation after conversation until the page is full."""
    own = (
        sa.select(sa.literal_column("1"))
        .where(episode_figures.c.thread_id == episodes.c.thread_id, _HAS)
        .offset(sa.literal_column("0"))  # looked up for each by its key
        .correlate(episodes)
        .exists()
    )
    page = _listed(form.limit, place=form.place).where(episodes.c.opened_at < _UNTIL, own)
    return _with_parts(page, form)


def _with_parts(page: sa.Select[Any], form: _Form) -> Prepared:
    named = page.cte("page").prefix_with("MATERIALIZED")
    return form.told(sa.select(named.c.thread_id, named.c.opened_at, _part_of(named)))


def _part_of(page: sa.CTE) -> sa.ColumnElement[int]:
    """How much of the figure each conversation of the page is."""
    row = episode_figures.c
    dimension = sa.bindparam("dimension", type_=sa.Text)
    parts = sa.bindparam("parts", type_=_TEXTS)
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
