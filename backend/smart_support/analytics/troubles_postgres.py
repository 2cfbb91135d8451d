"""Troubles in PostgreSQL: taken from the log as it grows, and added up on request."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from smart_support.analytics.records import BUCKETS, check_length, widen
from smart_support.analytics.tables import trouble_readings, troubles
from smart_support.analytics.troubles import (
    Count,
    Hour,
    Pattern,
    Reading,
    Recovered,
    Trouble,
    Troubled,
    Troubles,
    Which,
    is_odd,
    read,
    restored,
)
from smart_support.database import Session, Sessions
from smart_support.events.consumer import unseen
from smart_support.events.consumer_postgres import lock_thread, read_log, threads_behind
from smart_support.events.records import Event, ThreadId

DAYS_BEFORE = 7
"""Days whose same hour says what is usual."""
MOST_NAMES = 100
MOST_PATTERNS = 50

_ROW = ("seq", "at", "turn_id", "kind", "code", "operation", "upstream", "agent")
_MORE = ("correlation_id", "fingerprint")


class PostgresTroubles:
    """An `EventConsumer`, and what can be asked of what it took in."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def applied(self, thread_id: ThreadId) -> int:
        own = trouble_readings.c.thread_id == thread_id
        async with self._sessions() as session:
            return await session.scalar(sa.select(trouble_readings.c.applied).where(own)) or 0

    async def apply(self, thread_id: ThreadId, events: Sequence[Event]) -> None:
        own = trouble_readings.c.thread_id == thread_id
        async with self._sessions.begin() as session:
            await lock_thread(session, trouble_readings, thread_id)
            row = (await session.execute(sa.select(trouble_readings).where(own))).one_or_none()
            fresh = unseen(thread_id, events, row.applied if row else 0)
            if fresh:
                reading = restored(row.reading) if row else Reading()
                await _take_in(session, thread_id, reading, fresh)

    async def behind(self, limit: int) -> list[ThreadId]:
        async with self._sessions() as session:
            return await threads_behind(session, trouble_readings, limit)

    async def rebuild(self, thread_id: ThreadId) -> None:
        async with self._sessions.begin() as session:
            await lock_thread(session, trouble_readings, thread_id)
            for table in (troubles, trouble_readings):
                await session.execute(sa.delete(table).where(table.c.thread_id == thread_id))
            if log := await read_log(session, thread_id):
                await _take_in(session, thread_id, Reading(), log)

    async def summary(self, start: datetime, end: datetime) -> Troubles:
        """What went wrong in [start, end), widened to whole hours.

        Raises:
            InvalidInput: `end` is not after `start`, one has no time zone, or it is too long.
        """
        start, end = widen(start, end)
        check_length(start, end, "hour")
        async with self._sessions() as session:
            total = await _counts(session, start, end, sa.literal("all"))
            return Troubles(
                total=total[0]
                if total
                else Count(name="all", troubles=0, recovered=0, mean_recovery_ms=None),
                by_code=await _counts(session, start, end, troubles.c.code),
                by_operation=await _counts(session, start, end, troubles.c.operation),
                by_upstream=await _counts(session, start, end, troubles.c.upstream),
                by_agent=await _counts(session, start, end, troubles.c.agent),
                patterns=await _patterns(session, start, end),
                hours=await _hours(session, start, end),
            )

    async def conversations(
        self, which: Which, *, after: ThreadId | None = None, limit: int = 30
    ) -> tuple[Troubled, ...]:
        """At most `limit` conversations with such troubles, newest conversation first.

        Raises:
            InvalidInput: as in `summary`.
        """
        start, end = widen(which.start, which.end)
        row = troubles.c
        # A thread's id begins with its time, so that its order is the order of opening.
        statement = (
            sa.select(
                row.thread_id, sa.func.count().label("times"), sa.func.max(row.at).label("at")
            )
            .where(row.at >= start, row.at < end)
            .group_by(row.thread_id)
            .order_by(row.thread_id.desc())
            .limit(limit)
        )
        for name in ("code", "operation", "upstream", "agent", "fingerprint"):
            if (value := getattr(which, name)) is not None:
                statement = statement.where(row[name] == value)
        if after is not None:
            statement = statement.where(row.thread_id < after)
        async with self._sessions() as session:
            found = await session.execute(statement)
            return tuple(Troubled(each.thread_id, each.times, each.at) for each in found)


async def _take_in(
    session: Session, thread_id: ThreadId, reading: Reading, events: Sequence[Event]
) -> None:
    rows: list[dict[str, Any]] = []
    over: list[Recovered] = []
    for found in read(reading, events):
        if isinstance(found, Trouble):
            row = {name: getattr(found, name) for name in (*_ROW, *_MORE)}
            rows.append(row | {"thread_id": thread_id})
        else:
            over.append(found)
    if rows:
        await session.execute(insert(troubles), rows)
    for recovered in over:
        await session.execute(
            sa.update(troubles)
            .where(troubles.c.thread_id == thread_id, troubles.c.seq.in_(recovered.seqs))
            .values(recovered_at=recovered.at)
        )
    values = {"applied": events[-1].seq, "reading": reading.plain()}
    await session.execute(
        insert(trouble_readings)
        .values(thread_id=thread_id, **values)
        .on_conflict_do_update(index_elements=[trouble_readings.c.thread_id], set_=values)
    )


async def _counts(
    session: Session, start: datetime, end: datetime, by: sa.ColumnElement[Any]
) -> tuple[Count, ...]:
    row = troubles.c
    took = sa.func.extract("epoch", row.recovered_at - row.at) * 1000
    found = await session.execute(
        sa.select(
            by.label("name"),
            sa.func.count().label("times"),
            sa.func.count(row.recovered_at).label("recovered"),
            sa.cast(sa.func.avg(took), sa.Float).label("mean"),
        )
        .where(row.at >= start, row.at < end, by.is_not(None))
        .group_by(by)
        .order_by(sa.desc("times"), by)
        .limit(MOST_NAMES)
    )
    return tuple(
        Count(
            name=each.name,
            troubles=each.times,
            recovered=each.recovered,
            mean_recovery_ms=each.mean,
        )
        for each in found
    )


async def _patterns(session: Session, start: datetime, end: datetime) -> tuple[Pattern, ...]:
    row = troubles.c
    found = await session.execute(
        sa.select(
            row.fingerprint,
            row.kind,
            row.code,
            row.operation,
            sa.func.max(row.upstream).label("upstream"),
            sa.func.count().label("times"),
            sa.func.count(row.thread_id.distinct()).label("conversations"),
            sa.func.min(row.at).label("first_at"),
            sa.func.max(row.at).label("last_at"),
        )
        .where(row.at >= start, row.at < end)
        .group_by(row.fingerprint, row.kind, row.code, row.operation)
        .order_by(sa.desc("times"), row.fingerprint)
        .limit(MOST_PATTERNS)
    )
    return tuple(
        Pattern(
            fingerprint=each.fingerprint,
            kind=each.kind,
            code=each.code,
            operation=each.operation,
            upstream=each.upstream,
            troubles=each.times,
            conversations=each.conversations,
            first_at=each.first_at,
            last_at=each.last_at,
        )
        for each in found
    )


async def _hours(session: Session, start: datetime, end: datetime) -> tuple[Hour, ...]:
    hour = BUCKETS["hour"]
    at = sa.func.date_trunc("hour", troubles.c.at, "UTC").label("hour")
    before = start - timedelta(days=DAYS_BEFORE)
    found = await session.execute(
        sa.select(at, sa.func.count().label("times"))
        .where(troubles.c.at >= before, troubles.c.at < end)
        .group_by(at)
    )
    times = {each.hour: each.times for each in found}
    hours = []
    for place in range((end - start) // hour):
        begin = start + place * hour
        past = [times.get(begin - timedelta(days=day), 0) for day in range(1, DAYS_BEFORE + 1)]
        usual = sum(past) / DAYS_BEFORE
        now = times.get(begin, 0)
        hours.append(Hour(start=begin, troubles=now, usual=usual, odd=is_odd(now, usual)))
    return tuple(hours)
