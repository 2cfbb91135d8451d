"""The two kinds of each tracker: the real one in PostgreSQL, and one in memory to compare with."""

from dataclasses import dataclass

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.support.consumers import (
    Logs,
    MemoryAnalyticsRecorder,
    MemoryConversationTracker,
    MemoryLogs,
    PostgresLogs,
)

from smart_support.analytics.postgres import PostgresAnalyticsRecorder
from smart_support.analytics.records import AnalyticsRecorder
from smart_support.conversations.lifecycle import ConversationTracker
from smart_support.conversations.tracker_postgres import PostgresConversationTracker
from smart_support.database.engine import sessions as sessions_on


@dataclass(frozen=True)
class Kind:
    """The consumers of one kind, empty, and the logs they read."""

    logs: Logs
    tracker: ConversationTracker
    recorder: AnalyticsRecorder


def in_memory() -> Kind:
    logs = MemoryLogs()
    return Kind(logs, MemoryConversationTracker(logs), MemoryAnalyticsRecorder(logs))


def in_postgres(engine: AsyncEngine) -> Kind:
    sessions = sessions_on(engine)
    tracker, recorder = PostgresConversationTracker(sessions), PostgresAnalyticsRecorder(sessions)
    return Kind(PostgresLogs(engine), tracker, recorder)


@pytest.fixture(params=["memory", "postgres"])
def kind(request: pytest.FixtureRequest, engine: AsyncEngine) -> Kind:
    return in_memory() if request.param == "memory" else in_postgres(engine)
