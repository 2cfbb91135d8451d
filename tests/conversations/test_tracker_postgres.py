import asyncio

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.support.consumers import PostgresLogs
from tests.support.histories import answered, events_of, message, thread_id

from smart_support.conversations.lifecycle import ThreadFilter
from smart_support.conversations.tables import conversation_states as states
from smart_support.conversations.tracker_postgres import PostgresConversationTracker
from smart_support.database import Sessions
from smart_support.database.engine import sessions as sessions_on
from smart_support.events.postgres import PostgresEventLog
from smart_support.events.standing import Status

ONE, TWO = thread_id(1), thread_id(2)
LOG = events_of(ONE, [*answered("t1"), *answered("t2")])


async def test_follows_the_log_as_it_is_written(sessions: Sessions, engine: AsyncEngine) -> None:
    tracker, log = PostgresConversationTracker(sessions), PostgresEventLog(sessions)
    await PostgresLogs(engine).open(ONE)
    first = await log.append(ONE, [message()])
    await log.append(ONE, answered()[1:])

    await tracker.apply(ONE, first)
    assert await tracker.behind(10) == [ONE]
    await tracker.apply(ONE, await log.read(ONE, after=await tracker.applied(ONE)))

    assert await tracker.behind(10) == []
    found = await tracker.lifecycle(ONE)
    assert (found.status, found.turns, found.opened_at) == (Status.WAITING, 1, first[0].at)


async def test_all_that_was_derived_can_be_derived_again(
    sessions: Sessions, engine: AsyncEngine
) -> None:
    tracker, logs = PostgresConversationTracker(sessions), PostgresLogs(engine)
    for name in (ONE, TWO):
        log = events_of(name, answered())
        await logs.open(name)
        await logs.write(log)
        await tracker.apply(name, log)
    before = await tracker.threads()
    async with sessions.begin() as session:
        await session.execute(sa.delete(states))

    for name in await tracker.behind(10):
        await tracker.rebuild(name)

    assert await tracker.threads() == before
    assert len(before.threads) == 2


async def test_mends_what_is_wrong(sessions: Sessions, engine: AsyncEngine) -> None:
    tracker, logs = PostgresConversationTracker(sessions), PostgresLogs(engine)
    await logs.open(ONE)
    await logs.write(LOG)
    await tracker.apply(ONE, LOG)
    before = await tracker.lifecycle(ONE)
    async with sessions.begin() as session:
        await session.execute(sa.update(states).values(turns=99, status="opened", applied=3))

    await tracker.rebuild(ONE)

    assert await tracker.lifecycle(ONE) == before
    assert await tracker.applied(ONE) == len(LOG)


async def test_what_cannot_be_stored_changes_nothing(sessions: Sessions) -> None:
    tracker = PostgresConversationTracker(sessions)
    unstorable = events_of(ONE, [message(text="\x00"), *answered("t2")])

    with pytest.raises(Exception, match="0x00"):
        await tracker.apply(ONE, unstorable)

    assert await tracker.applied(ONE) == 0
    await tracker.apply(ONE, LOG)
    assert await tracker.applied(ONE) == len(LOG)


async def test_rebuilding_beside_new_events_loses_none(
    sessions: Sessions, engine: AsyncEngine
) -> None:
    tracker, logs = PostgresConversationTracker(sessions), PostgresLogs(engine)
    await logs.open(ONE)
    await logs.write(LOG)

    await asyncio.gather(
        *(tracker.apply(ONE, LOG) for _ in range(4)), *(tracker.rebuild(ONE) for _ in range(4))
    )

    assert await tracker.applied(ONE) == len(LOG)
    assert (await tracker.lifecycle(ONE)).turns == 2


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    titles=st.lists(st.text("aAbBüÜ%_\\'# 1", min_size=1, max_size=12), max_size=6),
    text=st.text("aAbBüÜ%_\\'# 1", min_size=1, max_size=5),
    limit=st.integers(1, 4),
)
@example(titles=["Order #0017", "order #00170"], text="#0017", limit=3)
@example(titles=["100 % off", "100 off"], text="% o", limit=3)
async def test_finds_a_text_wherever_it_stands_in_a_title(
    engine: AsyncEngine, titles: list[str], text: str, limit: int
) -> None:
    tracker, logs = PostgresConversationTracker(sessions_on(engine)), PostgresLogs(engine)
    await logs.clear()
    wanted = []
    for number, title in enumerate(titles, start=1):
        name = thread_id(number)
        await logs.open(name)
        await tracker.apply(name, events_of(name, [message(text=title)]))
        if text.lower() in " ".join(title.split()).lower():
            wanted.insert(0, name)

    found: list[str] = []
    page = await tracker.threads(ThreadFilter(text=text), limit=limit)
    while True:
        found += [each.lifecycle.thread_id for each in page.threads]
        if page.next_after is None:
            break
        page = await tracker.threads(ThreadFilter(text=text), page.next_after, limit)

    assert found == wanted


async def test_what_is_rare_is_found_without_reading_every_title(engine: AsyncEngine) -> None:
    statement = "EXPLAIN SELECT FROM thread_titles WHERE trigrams(title) @> trigrams('zebra')"
    async with engine.connect() as connection:
        await connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join((await connection.scalars(sa.text(statement))).all())

    assert "ix_thread_titles_trigrams" in plan, plan


async def test_titles_of_the_release_before_are_found_after_the_next_start(
    sessions: Sessions, engine: AsyncEngine
) -> None:
    tracker, logs = PostgresConversationTracker(sessions), PostgresLogs(engine)
    for name in (ONE, TWO):
        await logs.open(name)
        await tracker.apply(name, events_of(name, [message(text="A zebra")]))
    async with engine.begin() as connection:
        await connection.execute(sa.text("DELETE FROM thread_titles"))
    assert (await tracker.threads(ThreadFilter(text="zebra"), limit=5)).threads == ()

    await tracker.complete_titles()
    await tracker.complete_titles()

    assert len((await tracker.threads(ThreadFilter(text="zebra"), limit=5)).threads) == 2
