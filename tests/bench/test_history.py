"""That the months which the benchmark makes up are as good as if they had happened."""

from collections.abc import Callable
from datetime import UTC, datetime

import asyncpg  # type: ignore[import-untyped]
from tests.bench.history import Row, at, flatness, shown
from tests.bench.years import Teller, check
from tests.support.sums import counted_sums, kept_sums

from smart_support.analytics.postgres import PostgresAnalyticsRecorder
from smart_support.analytics.troubles_postgres import PostgresTroubles
from smart_support.conversations.postgres import PostgresConversationTracker
from smart_support.database.engine import open_engine, sessions
from smart_support.events.postgres import PostgresEventLog

END = datetime(2026, 11, 1, tzinfo=UTC)


async def test_copies_are_what_the_product_would_have_made_of_them(
    migrated_database: Callable[[], str],
) -> None:
    url = migrated_database()
    engine = open_engine(url)
    on = sessions(engine)
    teller = Teller(url, on, end=END, many=6, long_turns=3)
    await teller.tell()
    few = await teller.grow(1_000)
    many = await teller.grow(4_000)
    connection = await asyncpg.connect(url)
    try:
        names = [row[0] for row in await connection.fetch("SELECT id::text FROM threads")]
        titles = "SELECT array_agg(title ORDER BY thread_id) FROM conversation_states"
        before = await connection.fetchval(titles)

        assert (
            1_000
            <= few.events
            < many.events
            == await connection.fetchval("SELECT count(*) FROM events")
        )
        assert many.turns == await connection.fetchval("SELECT count(*) FROM turns")
        assert await check(url) == []
        log = PostgresEventLog(on)
        counted = counted_sums([list(await log.read(name)) for name in names])
        assert await kept_sums(on) == counted
        for consumer in (
            PostgresAnalyticsRecorder(on),
            PostgresTroubles(on),
            PostgresConversationTracker(on),
        ):
            for name in names[-3:]:
                await consumer.rebuild(name)
        assert await kept_sums(on) == counted
        assert await connection.fetchval(titles) == before
        assert len(set(before)) > len(before) - 6  # the orders are numbered
    finally:
        await connection.close()
        await engine.dispose()


async def test_what_is_wrong_with_the_copies_is_found(
    migrated_database: Callable[[], str],
) -> None:
    url = migrated_database()
    engine = open_engine(url)
    teller = Teller(url, sessions(engine), end=END, many=2, long_turns=2)
    await teller.tell()
    await engine.dispose()
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("DELETE FROM events WHERE seq = 2; DELETE FROM tool_attempts")
        await connection.execute("SET session_replication_role = replica; DELETE FROM tool_calls")
    finally:
        await connection.close()

    assert "a log with a gap" in await check(url)


def test_a_page_is_judged_by_its_95th_percentile() -> None:
    quick = Row("a page", 1, 2_048, floor=[1.0] * 100, rest=[5.0] * 100)
    slow = Row("a page", 10, 2_048, floor=[1.0] * 100, rest=[10.0] * 94 + [30.0] * 6)

    assert (quick.ratio(quick.rest), quick.kept) == (5.0, True)
    assert (slow.ratio(slow.rest), slow.kept) == (30.0, False)
    assert at(slow.rest, 0.5) == 10.0
    assert "at most 2.00 times (a page)" in flatness([quick], [slow])
    assert "10.0 / 30.0" in shown([slow])
