"""Keeps what is derived from the logs up to date, beside the conversation and never in its way."""

import asyncio
from collections.abc import Sequence

import structlog

from smart_support.errors import SupportError
from smart_support.events.consumer import EventConsumer
from smart_support.events.postgres import PostgresEventLog
from smart_support.events.records import ThreadId

log = structlog.get_logger()

BATCH = 500
"""Events read at once."""


class Derivation:
    """Feeds each thread's events to its consumers; what fails is tried again at the next sweep.

    Consumers keep their own place in each log, so nothing is lost or counted twice, whatever
    fails in between. Their failures are logged and go no further.
    """

    def __init__(self, event_log: PostgresEventLog, consumers: Sequence[EventConsumer]) -> None:
        self._log = event_log
        self._consumers = consumers
        self._waiting: set[ThreadId] = set()
        self._wake = asyncio.Event()

    def notice(self, thread_id: ThreadId) -> None:
        """Say that the thread has new events."""
        self._waiting.add(thread_id)
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self.catch_up(self._waiting.pop())

    async def sweep(self, limit: int = 1_000) -> None:
        """Bring every thread up to date that is behind, e.g. after a crash."""
        for consumer in self._consumers:
            try:
                behind = await consumer.behind(limit)
            except SupportError as error:
                log.warning("derivation_failed", consumer=type(consumer).__name__, code=error.code)
                continue
            except Exception:
                log.warning("derivation_failed", consumer=type(consumer).__name__, exc_info=True)
                continue
            for thread_id in behind:
                await self._feed(consumer, thread_id)

    async def catch_up(self, thread_id: ThreadId) -> None:
        """Bring one thread up to date, each consumer by itself."""
        for consumer in self._consumers:
            await self._feed(consumer, thread_id)

    async def _feed(self, consumer: EventConsumer, thread_id: ThreadId) -> None:
        try:
            while True:
                after = await consumer.applied(thread_id)
                events = await self._log.read(thread_id, after=after, limit=BATCH)
                if not events:
                    return
                await consumer.apply(thread_id, events)
        except SupportError as error:  # the database is away: no traceback for each thread
            log.warning(
                "derivation_failed",
                consumer=type(consumer).__name__,
                thread_id=thread_id,
                code=error.code,
            )
        except Exception:
            log.warning(
                "derivation_failed",
                consumer=type(consumer).__name__,
                thread_id=thread_id,
                exc_info=True,
            )
