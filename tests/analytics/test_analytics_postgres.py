import asyncio
from datetime import timedelta
from typing import NamedTuple

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.support.consumers import PostgresLogs
from tests.support.histories import (
    BEGINNING,
    answered,
    attempt,
    called,
    companies,
    events_of,
    handoff,
    message,
    resolved,
    thread_id,
)
from tests.support.sums import kept_sums

from smart_support.analytics.episode import Key, Sum
from smart_support.analytics.postgres import PostgresAnalyticsRecorder
from smart_support.analytics.records import Activity, Cohort
from smart_support.analytics.sums import add, by_hour
from smart_support.analytics.sums_postgres import put
from smart_support.analytics.tables import (
    episode_figures,
    episodes,
    figure_changes,
    figure_sums,
)
from smart_support.database import Sessions
from smart_support.database.engine import sessions as sessions_on
from smart_support.events.postgres import PostgresEventLog
from smart_support.events.records import Event

ONE, TWO = thread_id(1), thread_id(2)
LOG = events_of(ONE, [*answered("t1"), called("t1"), attempt("t1"), resolved()])


class Figures(NamedTuple):
    cohort: Cohort
    activity: Activity


async def figures(recorder: PostgresAnalyticsRecorder) -> Figures:
    every = (BEGINNING, BEGINNING + timedelta(days=400))
    return Figures(await recorder.cohort(*every), await recorder.activity(*every))


async def known(logs: PostgresLogs, recorder: PostgresAnalyticsRecorder, log: list[Event]) -> None:
    await logs.open(log[0].thread_id)
    await logs.write(log)
    await recorder.apply({log[0].thread_id: log})


async def test_follows_the_log_as_it_is_written(sessions: Sessions, engine: AsyncEngine) -> None:
    recorder, log = PostgresAnalyticsRecorder(sessions), PostgresEventLog(sessions)
    await PostgresLogs(engine).open(ONE)
    first = await log.append(ONE, [message()])
    await log.append(ONE, answered()[1:])

    await recorder.apply({ONE: first})
    assert await recorder.behind(10) == [ONE]
    await recorder.apply({ONE: await log.read(ONE, after=(await recorder.applied([ONE]))[ONE])})

    assert await recorder.behind(10) == []
    hour = (first[0].at, first[0].at + timedelta(hours=1))
    assert (await recorder.cohort(*hour)).handled == 1
    assert (await recorder.activity(*hour)).messages == 1


async def test_stores_what_an_episode_was(sessions: Sessions) -> None:
    recorder = PostgresAnalyticsRecorder(sessions)
    facts = [*answered(), handoff(reason="tool_failure"), resolved("lead"), message("t2")]

    await recorder.apply({ONE: events_of(ONE, facts)})

    async with sessions() as session:
        row = (await session.execute(sa.select(episodes))).one()
    assert row.thread_id == ONE
    assert (row.applied, row.status, row.answering) == (7, "opened", ["t2"])
    assert (row.messages, row.replies, row.turns, row.reopen_count) == (2, 1, 1, 1)
    assert (row.opened_at, row.first_reply_ms) == (BEGINNING, 2000)
    assert (row.handoff_at, row.handoff_reason) == (
        BEGINNING + timedelta(seconds=4),
        "tool_failure",
    )
    assert (row.resolved_at, row.resolved_by, row.abandoned_at) == (None, None, None)
    assert (row.handled, row.resolved_alone) == (True, False)


async def test_all_that_was_derived_can_be_derived_again(
    sessions: Sessions, engine: AsyncEngine
) -> None:
    recorder, logs = PostgresAnalyticsRecorder(sessions), PostgresLogs(engine)
    await known(logs, recorder, LOG)
    await known(logs, recorder, events_of(TWO, answered()))
    before = await figures(recorder)
    async with sessions.begin() as session:
        for table in (episodes, episode_figures, figure_changes, figure_sums):
            await session.execute(sa.delete(table))

    for name in await recorder.behind(10):
        await recorder.rebuild(name)

    assert await figures(recorder) == before
    assert before.cohort.conversations == 2


async def test_takes_back_what_was_counted_otherwise(
    sessions: Sessions, engine: AsyncEngine
) -> None:
    recorder, logs = PostgresAnalyticsRecorder(sessions), PostgresLogs(engine)
    await known(logs, recorder, LOG)
    await known(logs, recorder, events_of(TWO, answered()))
    before = await kept_sums(sessions)
    hour = BEGINNING.replace(minute=0)
    # As a version left it that saw one message more, and counted something that is no more.
    more = {Key(hour, "messages", ""): Sum(1, 0), Key(hour, "gone", ""): Sum(1, 9)}
    own = episode_figures.c.thread_id == ONE
    async with sessions.begin() as session:
        figures = await session.scalar(sa.select(episode_figures.c.figures).where(own))
        add(figures, by_hour(more)[hour])
        await session.execute(sa.update(episode_figures).where(own).values(figures=figures))
        await put(session, {"activity": more})
    assert await kept_sums(sessions) != before

    await recorder.rebuild(ONE)

    assert await kept_sums(sessions) == before


async def test_forgetting_a_thread_takes_only_its_part_away(
    sessions: Sessions, engine: AsyncEngine
) -> None:
    recorder, logs = PostgresAnalyticsRecorder(sessions), PostgresLogs(engine)
    await known(logs, recorder, events_of(TWO, answered()))
    before = await kept_sums(sessions)
    await known(logs, recorder, LOG)
    assert await kept_sums(sessions) != before
    await logs.drop(ONE)

    await recorder.rebuild(ONE)

    assert await kept_sums(sessions) == before
    assert (await figures(recorder)).cohort.conversations == 1


async def test_what_cannot_be_counted_leaves_nothing_half_done(sessions: Sessions) -> None:
    recorder = PostgresAnalyticsRecorder(sessions)
    await recorder.apply({ONE: LOG[:2]})
    before = await kept_sums(sessions)

    # Each fits into 64 bits, but not all together: what is stored last fails.
    too_much = [attempt(duration_ms=9e18), attempt(duration_ms=9e18), attempt(duration_ms=9e18)]
    with pytest.raises(Exception, match="64-bit"):
        await recorder.apply({ONE: events_of(ONE, [*answered()[:2], message("t9"), *too_much])})

    assert (await recorder.applied([ONE]))[ONE] == 2
    assert await kept_sums(sessions) == before
    await recorder.apply({ONE: LOG[:4]})
    assert (await figures(recorder)).activity.replies == 1


async def test_counts_once_what_several_give_at_the_same_time(
    sessions: Sessions, engine: AsyncEngine
) -> None:
    recorder, logs = PostgresAnalyticsRecorder(sessions), PostgresLogs(engine)
    await known(logs, recorder, LOG)
    before = await kept_sums(sessions)
    await logs.clear()
    await logs.open(ONE)
    await logs.write(LOG)

    await asyncio.gather(
        *(recorder.apply({ONE: LOG[:end]}) for end in (3, 7, 5, 7)),
        *(recorder.rebuild(ONE) for _ in range(3)),
    )

    assert await kept_sums(sessions) == before


async def test_conversations_that_count_the_same_do_not_lock_each_other_out(
    sessions: Sessions,
) -> None:
    recorder = PostgresAnalyticsRecorder(sessions)
    facts = [called("t1", f"c{n}", f"operation{n}") for n in range(40)]
    logs = [
        events_of(thread_id(number), facts if number % 2 else facts[::-1])
        for number in range(1, 13)
    ]

    async with asyncio.timeout(30):
        await asyncio.gather(*(recorder.apply({log[0].thread_id: log}) for log in logs))

    found = (await figures(recorder)).activity.operations
    assert [operation.calls for operation in found] == [12] * 40


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(logs=companies())
async def test_rebuilding_changes_nothing(engine: AsyncEngine, logs: list[list[Event]]) -> None:
    sessions = sessions_on(engine)
    recorder, stored = PostgresAnalyticsRecorder(sessions), PostgresLogs(engine)
    await stored.clear()
    for log in logs:
        await known(stored, recorder, log)
    before = (await kept_sums(sessions), await figures(recorder))

    for log in logs:
        await recorder.rebuild(log[0].thread_id)

    assert (await kept_sums(sessions), await figures(recorder)) == before
