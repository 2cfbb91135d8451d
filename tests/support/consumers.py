"""The trackers kept in memory, and where both kinds find their logs: for the contract suites."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from math import ceil
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.support.database import delete_all_rows

from smart_support.analytics.episode import Episode, Figure, Key, Sum, tally
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
    activity_of,
    check_length,
    floor,
    points,
    widen,
)
from smart_support.analytics.sums import AMOUNT, Counts
from smart_support.conversations.lifecycle import (
    EVERY_THREAD,
    Lifecycle,
    ThreadFilter,
    ThreadPage,
    ThreadSummary,
    fold_all,
)
from smart_support.conversations.tables import threads
from smart_support.errors import NotFound
from smart_support.events.consumer import News, unseen
from smart_support.events.records import Event, ThreadId, payload_of
from smart_support.events.standing import Status
from smart_support.events.tables import event_logs, events


class Logs(Protocol):
    """Where the truth is kept."""

    async def open(self, thread_id: ThreadId, customer_id: str = "cus_ada") -> None:
        """Begin a thread of this customer, with an empty log."""
        ...

    async def write(self, log: Sequence[Event]) -> None:
        """Add events to their threads' logs, at the times they have."""
        ...

    async def drop(self, thread_id: ThreadId) -> None:
        """Take the thread's log away."""
        ...


class MemoryLogs:
    def __init__(self) -> None:
        self.logs: dict[ThreadId, list[Event]] = {}
        self.customers: dict[ThreadId, str] = {}

    async def open(self, thread_id: ThreadId, customer_id: str = "cus_ada") -> None:
        self.customers[thread_id] = customer_id
        self.logs[thread_id] = []

    async def write(self, log: Sequence[Event]) -> None:
        for event in log:
            self.logs[event.thread_id].append(event)

    async def drop(self, thread_id: ThreadId) -> None:
        del self.logs[thread_id]


class PostgresLogs:
    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def open(self, thread_id: ThreadId, customer_id: str = "cus_ada") -> None:
        thread = {"id": thread_id, "customer_id": customer_id, "customer_name": "Ada"}
        async with self.engine.begin() as connection:
            await connection.execute(sa.insert(threads).values(thread))
            await connection.execute(sa.insert(event_logs).values(thread_id=thread_id))

    async def write(self, log: Sequence[Event]) -> None:
        rows = [
            {
                "thread_id": event.thread_id,
                "seq": event.seq,
                "at": event.at,
                "type": event.fact.type,
                "payload": payload_of(event.fact),
            }
            for event in log
        ]
        longest = sa.func.greatest(event_logs.c.last_seq, sa.bindparam("seq_"))
        async with self.engine.begin() as connection:
            await connection.execute(insert(events), rows)
            await connection.execute(
                sa.update(event_logs)
                .where(event_logs.c.thread_id == sa.bindparam("thread_id_"))
                .values(last_seq=longest),
                [{"thread_id_": event.thread_id, "seq_": event.seq} for event in log],
            )

    async def drop(self, thread_id: ThreadId) -> None:
        async with self.engine.begin() as connection:
            for table in (events, event_logs):
                await connection.execute(sa.delete(table).where(table.c.thread_id == thread_id))

    async def clear(self) -> None:
        await delete_all_rows(self.engine)


class _MemoryConsumer:
    """What was applied is all it keeps: each answer is worked out from the beginning."""

    def __init__(self, logs: MemoryLogs) -> None:
        self._logs = logs
        self._seen: dict[ThreadId, list[Event]] = {}

    async def applied(self, thread_ids: Collection[ThreadId]) -> dict[ThreadId, int]:
        return {thread_id: len(self._seen.get(thread_id, ())) for thread_id in thread_ids}

    async def apply(self, news: News) -> None:
        moved: dict[ThreadId, list[Event]] = {}
        for thread_id, new in news.items():
            seen = self._seen.get(thread_id, [])
            if fresh := unseen(thread_id, new, len(seen)):
                moved[thread_id] = seen + fresh
        self._seen |= moved

    async def behind(self, limit: int) -> list[ThreadId]:
        logs = sorted(self._logs.logs.items())
        return [name for name, log in logs if len(log) > len(self._seen.get(name, ()))][:limit]

    async def rebuild(self, thread_id: ThreadId) -> None:
        self._seen.pop(thread_id, None)
        if log := self._logs.logs.get(thread_id):
            self._seen[thread_id] = list(log)


class MemoryConversationTracker(_MemoryConsumer):
    async def lifecycle(self, thread_id: ThreadId) -> Lifecycle:
        found = fold_all(None, self._seen.get(thread_id, ()))
        if found is None:
            raise NotFound(f"nothing is known of thread {thread_id}")
        return found

    async def threads(
        self, which: ThreadFilter = EVERY_THREAD, after: ThreadId | None = None, limit: int = 50
    ) -> ThreadPage:
        every = sorted(
            [await self.lifecycle(thread_id) for thread_id in self._seen],
            key=lambda found: (found.opened_at, found.thread_id),
            reverse=True,
        )
        if after is not None:
            places = [place for place, found in enumerate(every) if found.thread_id == after]
            every = every[places[0] + 1 :] if places else []
        listed = [self._summary(found) for found in every if self._matches(found, which)]
        page = tuple(listed[:limit])
        more = len(listed) > limit
        return ThreadPage(threads=page, next_after=page[-1].lifecycle.thread_id if more else None)

    def _summary(self, found: Lifecycle) -> ThreadSummary:
        customer_id = self._logs.customers[found.thread_id]
        return ThreadSummary(lifecycle=found, customer_id=customer_id, customer_name="Ada")

    def _matches(self, found: Lifecycle, which: ThreadFilter) -> bool:
        return (
            which.status in (None, found.status)
            and which.customer_id in (None, self._logs.customers[found.thread_id])
            and (which.text is None or which.text.lower() in found.title.lower())
            and (which.among is None or found.thread_id in which.among)
        )

    async def idle_since(self, before: datetime, limit: int) -> list[ThreadId]:
        every = [await self.lifecycle(thread_id) for thread_id in self._seen]
        silent = [
            (found.last_event_at, found.thread_id)
            for found in every
            if found.status is Status.WAITING and found.last_event_at < before
        ]
        return [thread_id for _, thread_id in sorted(silent)][:limit]


class MemoryAnalyticsRecorder(_MemoryConsumer):
    async def cohort(self, start: datetime, end: datetime) -> Cohort:
        return _cohort(self._opened(start, end))

    async def activity(self, start: datetime, end: datetime) -> Activity:
        start, end = widen(start, end)
        counted = (entry for entry in self._counted() if start <= entry[0].hour < end)
        return activity_of(_without_hours(counted))

    async def series(self, start: datetime, end: datetime, bucket: Bucket) -> list[Point]:
        start, end = widen(start, end)
        check_length(start, end, bucket)
        parts: defaultdict[datetime, list[tuple[Key, Sum]]] = defaultdict(list)
        for key, found in self._counted():
            if start <= key.hour < end:
                parts[floor(key.hour, bucket)].append((key, found))
        sums = {at: _without_hours(part) for at, part in parts.items()}
        return points(start, end, bucket, sums)

    async def counted(
        self, which: Selection, after: ThreadId | None = None, limit: int = 50
    ) -> CountedPage:
        start, end = widen(which.start, which.end)
        which = replace(which, start=start, end=end)
        parts = {found.thread_id: self._part(found, which) for found in self._episodes()}
        newest = sorted(
            (found for found in self._episodes() if parts[found.thread_id]),
            key=lambda found: (found.opened_at, found.thread_id),
            reverse=True,
        )
        names = [found.thread_id for found in newest]
        if after is not None:
            opened = {found.thread_id: found.opened_at for found in self._episodes()}
            names = [
                found.thread_id
                for found in newest
                if after in opened and (found.opened_at, found.thread_id) < (opened[after], after)
            ]
        return CountedPage(
            total=sum(parts.values()),
            conversations=len(newest),
            threads=tuple(Counted(thread_id=name, part=parts[name]) for name in names[:limit]),
            next_after=names[limit - 1] if len(names) > limit else None,
        )

    def _part(self, found: Episode, which: Selection) -> int:
        start, end = which.start, which.end
        summed = SUMMED.get(which.listing)
        if summed is None:
            meant = which.dimension in (None, found.handoff_reason)
            return int(
                start <= found.opened_at < end and meant and _IN_COHORT[which.listing](found)
            )
        return sum(
            counted.times if summed.unit == "count" else counted.amount
            for (hour, figure, dimension), counted in found.counted.items()
            if start <= hour < end
            and Figure(figure) in summed.figures
            and which.dimension in (None, dimension)
        )

    def _opened(self, start: datetime, end: datetime) -> list[Episode]:
        start, end = widen(start, end)
        return [found for found in self._episodes() if start <= found.opened_at < end]

    def _episodes(self) -> list[Episode]:
        found = (tally(None, seen) for seen in self._seen.values())
        return [episode for episode in found if episode is not None]

    def _counted(self) -> list[tuple[Key, Sum]]:
        return [entry for episode in self._episodes() for entry in episode.counted.items()]


def _without_hours(counted: Iterable[tuple[Key, Sum]]) -> Counts:
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for (_, figure, dimension), (times, amount) in counted:
        sums[figure][dimension] += times
        sums[figure + AMOUNT][dimension] += amount
    return {name: dict(numbers) for name, numbers in sums.items()}


_IN_COHORT: dict[Listing, Callable[[Episode], bool]] = {
    Listing.CONVERSATIONS: lambda _: True,
    Listing.HANDLED: lambda found: found.handled,
    Listing.ANSWERED: lambda found: found.first_reply_ms is not None,
    Listing.RESOLVED: lambda found: found.resolved_at is not None,
    Listing.RESOLVED_ALONE: lambda found: found.resolved_alone,
    Listing.HANDED_OFF: lambda found: found.handoff_at is not None,
    Listing.ABANDONED: lambda found: found.abandoned_at is not None,
    Listing.REOPENED: lambda found: found.reopen_count > 0,
}


def _cohort(cohort: Sequence[Episode]) -> Cohort:
    reasons = [found.handoff_reason for found in cohort if found.handoff_reason is not None]
    replies = sorted(found.first_reply_ms for found in cohort if found.first_reply_ms is not None)
    return Cohort(
        conversations=len(cohort),
        handled=sum(found.handled for found in cohort),
        resolved=sum(found.resolved_at is not None for found in cohort),
        resolved_alone=sum(found.resolved_alone for found in cohort),
        handed_off=sum(found.handoff_at is not None for found in cohort),
        abandoned=sum(found.abandoned_at is not None for found in cohort),
        reopened=sum(found.reopen_count > 0 for found in cohort),
        answered=len(replies),
        handoff_reasons={reason: reasons.count(reason) for reason in sorted(set(reasons))},
        median_first_reply_ms=replies[ceil(len(replies) / 2) - 1] if replies else None,
    )
