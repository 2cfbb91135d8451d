"""Troubles in PostgreSQL: taken from the log as it grows, and added up on request."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from smart_support.analytics.episode import hour_of
from smart_support.analytics.records import BUCKETS, check_days, floor, widen
from smart_support.analytics.sums import AMOUNT, Changes, Counts, number
from smart_support.analytics.sums_postgres import Derived, SumReader, apart, beside_sums, put
from smart_support.analytics.tables import trouble_readings, troubles
from smart_support.analytics.troubles import (
    HOUR_OF_DAY,
    LEAST_ODD,
    MOST_HOURS,
    PATTERN,
    PATTERN_CONVERSATIONS,
    RECOVERED,
    Count,
    Hour,
    Kept,
    Pattern,
    Reading,
    Recovered,
    Told,
    Trouble,
    Troubled,
    Troubles,
    Which,
    increments,
    is_odd,
    read,
    recovery,
    restored,
)
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
from smart_support.events.records import Event, ThreadId

DAYS_BEFORE = 7
"""Days whose same hour says what is usual."""
MOST_NAMES = 100
MOST_PATTERNS = 50

_ROW = ("seq", "at", "turn_id", "kind", "code", "operation", "upstream", "agent")
_MORE = ("correlation_id", "fingerprint")


_PLACES = places_of_threads(trouble_readings)
_READINGS = rows_of_threads(trouble_readings)
_STORE = upsert(trouble_readings, ("thread_id", "applied", "reading"), "thread_id")


class PostgresTroubles:
    """An `EventConsumer`, and what can be asked of what it took in."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._sums = SumReader("troubles")
        self._hours = Derived(_hours)

    async def applied(self, thread_ids: Collection[ThreadId]) -> dict[ThreadId, int]:
        return await places(self._sessions, _PLACES, thread_ids)

    async def apply(self, news: News) -> None:
        async with self._sessions.begin() as session:
            await lock_threads(session, trouble_readings, news)
            rows = await session.execute(_READINGS, {"thread_ids": list(news)})
            known = {row.thread_id: row for row in rows}
            counted = Changes()
            moved: list[dict[str, Any]] = []
            for thread_id, events in news.items():
                row = known.get(thread_id)
                if fresh := unseen(thread_id, events, row.applied if row else 0):
                    reading = restored(row.reading) if row else Reading()
                    moved.append(await _take_in(session, thread_id, reading, fresh, counted))
            await session.execute(_STORE, moved)
            await put(session, {"troubles": counted.sums})

    async def behind(self, limit: int) -> list[ThreadId]:
        async with self._sessions() as session:
            return await threads_behind(session, trouble_readings, limit)

    async def rebuild(self, thread_id: ThreadId) -> None:
        async with self._sessions.begin() as session:
            await lock_threads(session, trouble_readings, [thread_id])
            gone = await session.execute(
                sa.delete(troubles).where(troubles.c.thread_id == thread_id).returning(troubles)
            )
            counted = Changes()
            for row in gone:
                counted.take_away(increments(_kept(row)))
                counted.take_away(recovery(_kept(row)))
            own = trouble_readings.c.thread_id == thread_id
            await session.execute(sa.delete(trouble_readings).where(own))
            if log := await read_log(session, thread_id):
                moved = await _take_in(session, thread_id, Reading(), log, counted)
                await session.execute(_STORE, moved)
            await put(session, {"troubles": counted.sums})

    async def summary(self, start: datetime, end: datetime) -> Troubles:
        """What went wrong in [start, end), widened to whole hours.

        Raises:
            InvalidInput: `end` is not after `start`, one has no time zone, or it is too long.
        """
        start, end = widen(start, end)
        check_days(start, end)
        before = start - DAYS_BEFORE * BUCKETS["day"]
        # Which patterns are the most frequent is as good as known; what they are is then of the
        # same moment as the sums.
        most = _most(self._sums.remembered_since(start, end, before))
        async with self._sessions() as session:
            while True:
                asked = self._sums.asked_since(start, end, before)
                values = {**asked.values, "fingerprints": most, "start": start, "end": end}
                told, rows = apart(await session.execute(_PATTERNS, values))
                counts, days = self._sums.told_since(asked, told, start, end)
                if not (others := set(_most(counts)) - set(most)):
                    break
                most += others
        patterns = _patterns(counts, rows)
        total = _counts(counts, "all")
        return Troubles(
            total=total[0]
            if total
            else Count(name="", troubles=0, recovered=0, mean_recovery_ms=None),
            by_code=_counts(counts, "code"),
            by_operation=_counts(counts, "operation"),
            by_upstream=_counts(counts, "upstream"),
            by_agent=_counts(counts, "agent"),
            patterns=patterns,
            hours=self._hours.of((start, end), days),
        )

    async def conversations(
        self, which: Which, *, after: ThreadId | None = None, limit: int = 30
    ) -> tuple[Troubled, ...]:
        """At most `limit` conversations with such troubles, newest conversation first.

        Raises:
            InvalidInput: as in `summary`.
        """
        start, end = widen(which.start, which.end)
        names = ("code", "operation", "upstream", "agent", "fingerprint")
        narrowed = {name: value for name in names if (value := getattr(which, name)) is not None}
        values = {"start": start, "end": end, **narrowed}
        if after is not None:
            values["after"] = after
        async with self._sessions() as session:
            found = await session.execute(_troubled(frozenset(values), limit), values)
            return tuple(Troubled(each.thread_id, each.times, each.at) for each in found)


@lru_cache(maxsize=500)
def _troubled(given: frozenset[str], limit: int) -> Prepared:
    row = troubles.c
    # A thread's id begins with its time, so that its order is the order of opening.
    statement = (
        sa.select(row.thread_id, sa.func.count().label("times"), sa.func.max(row.at).label("at"))
        .where(row.at >= _SINCE, row.at < _UNTIL)
        .group_by(row.thread_id)
        .order_by(row.thread_id.desc())
        # Written into the statement: then PostgreSQL knows how little it has to read.
        .limit(sa.literal_column(str(limit), sa.Integer))
    )
    if "after" in given:
        statement = statement.where(row.thread_id < sa.bindparam("after"))
    for name in given - {"start", "end", "after"}:
        statement = statement.where(row[name] == sa.bindparam(name))
    return Prepared(statement)


_SINCE = sa.bindparam("start", type_=troubles.c.at.type)
_UNTIL = sa.bindparam("end", type_=troubles.c.at.type)


async def _take_in(
    session: Session,
    thread_id: ThreadId,
    reading: Reading,
    events: Sequence[Event],
    counted: Changes,
) -> dict[str, Any]:
    """Keep the troubles that the events tell of; adds what they count to `counted`.

    What is to be stored of the thread.
    """
    found = list(read(reading, events))
    fresh = [each for each in found if isinstance(each, Trouble)]
    if fresh:
        last = await _last_seen(session, thread_id, fresh)
        rows: list[dict[str, Any]] = []
        for trouble in fresh:
            seen = last.get(trouble.fingerprint)
            earlier = seen is not None and hour_of(seen) < hour_of(trouble.at)
            row = {name: getattr(trouble, name) for name in (*_ROW, *_MORE)}
            row |= {"thread_id": thread_id, "first": seen is None}
            rows.append(row | {"before": seen if earlier else None})
            last[trouble.fingerprint] = max(seen or trouble.at, trouble.at)
        await session.execute(insert(troubles), rows)
        for trouble, row in zip(fresh, rows, strict=True):
            counted.add(increments(_fresh(trouble, first=row["first"])))
    for recovered in found:
        if isinstance(recovered, Recovered):
            over = await session.execute(
                sa.update(troubles)
                .where(troubles.c.thread_id == thread_id, troubles.c.seq.in_(recovered.seqs))
                .values(recovered_at=recovered.at)
                .returning(troubles)
            )
            for row in over:
                counted.add(recovery(_kept(row)))
    return {"thread_id": thread_id, "applied": events[-1].seq, "reading": reading.plain()}


async def _last_seen(
    session: Session, thread_id: ThreadId, fresh: Sequence[Trouble]
) -> dict[str, datetime]:
    """When the thread had the same troubles for the last time."""
    row = troubles.c
    found = await session.execute(
        sa.select(row.fingerprint, sa.func.max(row.at).label("last"))
        .where(
            row.thread_id == thread_id,
            row.fingerprint.in_({trouble.fingerprint for trouble in fresh}),
        )
        .group_by(row.fingerprint)
    )
    return {row.fingerprint: row.last for row in found}


def _fresh(trouble: Trouble, *, first: bool) -> Kept:
    return Kept(
        at=trouble.at,
        code=trouble.code,
        operation=trouble.operation,
        upstream=trouble.upstream,
        agent=trouble.agent,
        fingerprint=trouble.fingerprint,
        recovered_at=None,
        first=first,
    )


def _kept(row: Row) -> Kept:
    return Kept(
        at=row.at,
        code=row.code,
        operation=row.operation,
        upstream=row.upstream,
        agent=row.agent,
        fingerprint=row.fingerprint,
        recovered_at=row.recovered_at,
        first=row.first,
    )


def _counts(counts: Counts, told: Told) -> tuple[Count, ...]:
    """The most frequent ones first."""
    over, took_in_all = told + RECOVERED, told + RECOVERED + AMOUNT
    found = []
    for name, times in counts.get(told, {}).items():
        recovered, took = number(counts, over, name), number(counts, took_in_all, name)
        mean = took / recovered / 1000 if recovered else None
        found.append(Count(name=name, troubles=times, recovered=recovered, mean_recovery_ms=mean))
    return tuple(sorted(found, key=lambda each: (-each.troubles, each.name))[:MOST_NAMES])


_PATTERNS = beside_sums(
    sa.text(
        """
    WITH carried AS (
        SELECT fingerprint, count(*) AS conversations FROM conversation_troubles
        WHERE before IS NOT NULL AND tstzrange(before, at, '(]') @> :start AND at < :end
        GROUP BY fingerprint
    )
    SELECT p.fingerprint, l.kind, l.code, l.operation, l.upstream, f.at AS first_at,
           n.at AS last_at, coalesce(c.conversations, 0) AS carried
    FROM unnest(:fingerprints) p(fingerprint)
    CROSS JOIN LATERAL (SELECT t.at FROM conversation_troubles t
        WHERE t.fingerprint = p.fingerprint AND t.at >= :start AND t.at < :end
        ORDER BY t.at LIMIT 1) f
    CROSS JOIN LATERAL (SELECT t.at FROM conversation_troubles t
        WHERE t.fingerprint = p.fingerprint AND t.at >= :start AND t.at < :end
        ORDER BY t.at DESC LIMIT 1) n
    CROSS JOIN LATERAL (SELECT t.kind, t.code, t.operation, t.upstream FROM conversation_troubles t
        WHERE t.fingerprint = p.fingerprint AND t.at = n.at LIMIT 1) l
    LEFT JOIN carried c ON c.fingerprint = p.fingerprint
    """
    )
    .bindparams(
        sa.bindparam("fingerprints", type_=sa.ARRAY(sa.Text)),
        sa.bindparam("start", type_=troubles.c.at.type),
        sa.bindparam("end", type_=troubles.c.at.type),
    )
    .columns(
        fingerprint=sa.Text,
        kind=sa.Text,
        code=sa.Text,
        operation=sa.Text,
        upstream=sa.Text,
        first_at=troubles.c.at.type,
        last_at=troubles.c.at.type,
        carried=sa.BigInteger,
    )
)
"""A conversation counts in the hour of its first such trouble; one that had it before the range
began as well has carried it into the range. The last one is looked for in the index alone and only
then read: asked for at once, PostgreSQL looks for it among the troubles of all fingerprints."""


def _most(counts: Counts) -> list[str]:
    """The fingerprints of the most frequent patterns, these first."""
    times = counts.get(PATTERN, {})
    return sorted(times, key=lambda name: (-times[name], name))[:MOST_PATTERNS]


def _patterns(counts: Counts, rows: Iterable[Row]) -> tuple[Pattern, ...]:
    times, begun = counts.get(PATTERN, {}), counts.get(PATTERN_CONVERSATIONS, {})
    found = {row["fingerprint"]: row for row in rows}
    return tuple(
        Pattern(
            fingerprint=name,
            kind=row["kind"],
            code=row["code"],
            operation=row["operation"],
            upstream=row["upstream"],
            troubles=times[name],
            conversations=begun.get(name, 0) + row["carried"],
            first_at=row["first_at"],
            last_at=row["last_at"],
        )
        for name in _most(counts)
        for row in (found[name],)
    )


def _hours(span: tuple[datetime, datetime], days: Mapping[datetime, Counts]) -> tuple[Hour, ...]:
    """The hours of [start, end), beside the same hour of the days before, which `days` has too."""
    start, end = span
    hour, day = BUCKETS["hour"], BUCKETS["day"]
    first = floor(start, "day") - DAYS_BEFORE * day
    every: list[int] = []
    while first + len(every) * hour < end:
        times = days.get(first + len(every) * hour, {}).get(HOUR_OF_DAY, {})
        every += [times.get(f"{number:02}", 0) for number in range(24)]
    # What each hour and the same hour of all days before it have had, a day later.
    sums = [0] * 24
    for now in every:
        sums.append(now + sums[-24])
    place, stop = (start - first) // hour, (end - first) // hour
    everything = stop - place <= MOST_HOURS
    hours = []
    for at in range(place, stop):
        now, past = every[at], sums[at] - sums[at - DAYS_BEFORE * 24]
        usual = past / DAYS_BEFORE
        odd = now >= LEAST_ODD and now > usual and is_odd(now, usual)
        if odd or everything:
            hours.append(Hour(start=first + at * hour, troubles=now, usual=usual, odd=odd))
    return tuple(hours)
