"""The dashboard with many conversations: all are counted, and no query reads beyond its range."""

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.support.histories import BEGINNING
from tests.support.sums import recount

from smart_support.analytics.listings import Listing, Selection
from smart_support.analytics.postgres import PostgresAnalyticsRecorder
from smart_support.database.engine import sessions as sessions_on

MANY = 5_000
DAYS = 90

# One conversation every so often over 90 days, each with 20 figures.
_EPISODES = """
INSERT INTO conversation_episodes (thread_id, applied, opened_at, status, messages, replies, turns,
    handled, first_reply_ms, resolved_alone, resolved_at, handoff_at, handoff_reason, reopen_count,
    answering, unanswered, calls)
SELECT lpad(to_hex(n), 32, '0')::uuid, 9, CAST(:start AS timestamptz) + n * CAST(:gap AS interval),
    'waiting', 3, 3, 3, true, 900 + n % 5000, n % 3 = 0,
    CASE WHEN n % 2 = 0 THEN now() END, CASE WHEN n % 7 = 0 THEN now() END,
    CASE WHEN n % 7 = 0 THEN 'reason_' || n % 5 END, 0, '{}', '{}', '{}'
FROM generate_series(1, :many) n
"""
_PARTS = """
INSERT INTO conversation_hours (thread_id, hour, figures, keys)
SELECT e.thread_id, date_trunc('hour', e.opened_at, 'UTC'),
    jsonb_object_agg(f.figure, f.dimensions),
    array_agg(f.figure) || array_agg(f.figure || '/getOrder')
FROM conversation_episodes e, (
    SELECT figure, jsonb_object_agg(dimension, 2) AS dimensions FROM (VALUES
        ('conversations_opened', ''), ('messages', ''), ('replies', ''), ('turns', ''),
        ('turns_done', ''), ('turn_ms', ''), ('input_tokens', ''), ('output_tokens', ''),
        ('tool_calls', 'getOrder'), ('tool_calls', 'createRefund'), ('attempts', 'getOrder'),
        ('tool_calls_done', 'getOrder'), ('tool_calls_failed', 'getOrder'),
        ('retries', 'getOrder'), ('approvals_asked', 'createRefund'), ('handoffs', 'x'),
        ('approvals_approved', 'createRefund'), ('response_ms', '150'), ('response_ms', '170'),
        ('first_token_ms', '')
    ) v (figure, dimension) GROUP BY figure
) f GROUP BY 1, 2
"""


async def fill(engine: AsyncEngine, many: int = MANY) -> None:
    gap = timedelta(days=DAYS) / (many + 1)
    async with engine.begin() as connection:
        given = {"start": BEGINNING, "gap": gap, "many": many}
        await connection.execute(sa.text(_EPISODES), given)
        await connection.execute(sa.text(_PARTS))
    await recount(sessions_on(engine))
    async with engine.connect() as connection:
        free = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await free.execute(
            sa.text("VACUUM ANALYZE conversation_episodes, conversation_hours, figure_sums")
        )


@pytest.fixture
async def filled(engine: AsyncEngine) -> AsyncEngine:
    await fill(engine)
    return engine


async def test_thousands_of_conversations_are_counted_and_listed_in_pages(
    filled: AsyncEngine,
) -> None:
    recorder = PostgresAnalyticsRecorder(sessions_on(filled))
    start, end = BEGINNING, BEGINNING + timedelta(days=DAYS)
    which = Selection(listing=Listing.CONVERSATIONS, start=start, end=end)

    cohort = await recorder.cohort(start, end)
    activity = await recorder.activity(start, end)
    first = await recorder.counted(which)
    following = await recorder.counted(which, first.next_after)

    assert cohort.conversations == first.total == MANY
    assert activity.messages == 2 * MANY
    assert first.next_after is not None
    assert following.total == MANY
    assert 0 < len(first.threads) < 200  # a page, however much there is
    assert not {part.thread_id for part in first.threads} & {
        part.thread_id for part in following.threads
    }


async def test_a_long_list_is_read_page_by_page_and_a_short_one_whole(
    filled: AsyncEngine,
) -> None:
    recorder = PostgresAnalyticsRecorder(sessions_on(filled))
    start = BEGINNING.replace(minute=0)
    months = Selection(
        listing=Listing.TOOL_CALLS, start=start, end=start + timedelta(days=DAYS + 1)
    )
    day = replace(months, end=start + timedelta(days=1), dimension="getOrder")

    long, short = await recorder.counted(months), await recorder.counted(day)
    seen = list(long.threads)
    while long.next_after is not None:
        long = await recorder.counted(months, long.next_after, 1_000)
        seen += long.threads

    assert (long.total, long.conversations) == (4 * MANY, None)
    assert [part.part for part in seen] == [4] * MANY
    assert len({part.thread_id for part in seen}) == MANY
    assert short.conversations is not None
    assert 0 < short.conversations < MANY / DAYS + 2
    assert short.total == 2 * short.conversations


async def test_what_is_neither_rare_nor_common_is_listed_to_its_end(filled: AsyncEngine) -> None:
    sessions = sessions_on(filled)
    async with filled.begin() as connection:
        # One spread evenly, and one that only the oldest have: there are none among the newest.
        for code, which in (("SPREAD", "n % 6 = 0"), ("OLD", "n <= 900")):
            await connection.execute(
                sa.text(
                    f"""
                UPDATE conversation_hours h SET
                    figures = jsonb_set(figures, '{{turns_failed}}',
                        coalesce(figures -> 'turns_failed', '{{}}') || '{{"{code}": 1}}'),
                    keys = keys || ARRAY['turns_failed', 'turns_failed/{code}']
                FROM generate_series(1, {MANY}) n
                WHERE h.thread_id = lpad(to_hex(n), 32, '0')::uuid AND {which}
                """
                )
            )
    await recount(sessions)
    recorder = PostgresAnalyticsRecorder(sessions)
    start = BEGINNING.replace(minute=0)

    for code, numbers in (("SPREAD", range(6, MANY + 1, 6)), ("OLD", range(1, 901))):
        which = Selection(
            listing=Listing.TURNS_FAILED,
            start=start,
            end=start + timedelta(days=DAYS + 1),
            dimension=code,
        )
        page = await recorder.counted(which)
        seen = list(page.threads)
        while page.next_after is not None:
            page = await recorder.counted(which, page.next_after, 70)
            seen += page.threads

        assert (page.total, page.conversations) == (len(numbers), None)
        assert [int(each.thread_id.replace("-", ""), 16) for each in seen] == list(numbers)[::-1]
        assert {each.part for each in seen} == {1}
