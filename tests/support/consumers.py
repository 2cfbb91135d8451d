"""The trackers kept in memory, and where both kinds find their logs: for the contract suites."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

import sqlalchemy as sa

from smart_support.analytics.episode import Episode, Key, Sum, tally
from smart_support.analytics.records import (
    Bucket,
    Cohort,
    Figures,
    Point,
    activity_of,
    check_length,
    floor,
    points,
    widen,
)
from smart_support.conversations.lifecycle import (
    EVERY_THREAD,
    Lifecycle,
    ThreadFilter,
    ThreadPage,
    ThreadSummary,
    fold_all,
)
from smart_support.conversations.tables import threads
from smart_support.database import Sessions
from smart_support.errors import NotFound
from smart_support.events.consumer import unseen
from smart_support.events.records import Event, ThreadId, payload_of
from smart_support.events.standing import Status
from smart_support.events.tables import event_logs, events


class Logs(Protocol):
    """Where the truth is kept."""

    async def open(self, thread_id: ThreadId, customer_id: str, name: str) -> None:
        """Begin a thread of this customer, with an empty log."""
        ...

    async def write(self, log: Sequence[Event]) -> None:
        """Add events to their thread's log, at the times they have."""
        ...

    async def clear(self) -> None:
        """Forget all logs, and all that was derived from them."""
        ...


@dataclass
class MemoryLogs:
    of: defaultdict[ThreadId, list[Event]] = field(default_factory=lambda: defaultdict(list))
    customers: dict[ThreadId, tuple[str, str]] = field(default_factory=dict)
    derived: list[dict[ThreadId, object]] = field(default_factory=list)

    async def open(self, thread_id: ThreadId, customer_id: str, name: str) -> None:
        self.customers[thread_id] = customer_id, name
        self.of[thread_id] = []

    async def write(self, log: Sequence[Event]) -> None:
        for event in log:
            self.of[event.thread_id].append(event)

    async def clear(self) -> None:
        for kept in (self.of, self.customers, *self.derived):
            kept.clear()


class PostgresLogs:
    def __init__(self, sessions: Sessions, clear: Callable[[], object]) -> None:
        self._sessions = sessions
        self._clear = clear

    async def open(self, thread_id: ThreadId, customer_id: str, name: str) -> None:
        async with self._sessions.begin() as session:
            await session.execute(
                sa.insert(threads).values(
                    id=thread_id, customer_id=customer_id, customer_name=name
                )
            )
            await session.execute(sa.insert(event_logs).values(thread_id=thread_id))

    async def write(self, log: Sequence[Event]) -> None:
        async with self._sessions.begin() as session:
            for event in log:
                await session.execute(
                    sa.insert(events).values(
                        thread_id=event.thread_id,
                        seq=event.seq,
                        at=event.at,
                        type=event.fact.type,
                        payload=payload_of(event.fact),
                    )
                )
                await session.execute(
                    sa.update(event_logs)
                    .values(last_seq=event.seq)
                    .where(event_logs.c.thread_id == event.thread_id)
                )
