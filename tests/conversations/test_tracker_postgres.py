import asyncio
from typing import Any

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

    await tracker.apply({ONE: first})
    assert await tracker.behind(10) == [ONE]
    await tracker.apply({ONE: await log.read(ONE, after=(await tracker.applied([ONE]))[ONE])})

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
        await tracker.apply({name: log})
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
    await tracker.apply({ONE: LOG})
    before = await tracker.lifecycle(ONE)
    async with sessions.begin() as session:
        await session.execute(sa.update(states).values(turns=99, status="opened", applied=3))

    await tracker.rebuild(ONE)

    assert await tracker.lifecycle(ONE) == before
    assert (await tracker.applied([ONE]))[ONE] == len(LOG)


async def test_what_cannot_be_stored_changes_nothing(sessions: Sessions) -> None:
    tracker = PostgresConversationTracker(sessions)
    unstorable = events_of(ONE, [message(text="\x00"), *answered("t2")])

    with pytest.raises(Exception, match="0x00"):
        await tracker.apply({ONE: unstorable})

    assert (await tracker.applied([ONE]))[ONE] == 0
    await tracker.apply({ONE: LOG})
    assert (await tracker.applied([ONE]))[ONE] == len(LOG)


async def test_rebuilding_beside_new_events_loses_none(
    sessions: Sessions, engine: AsyncEngine
) -> None:
    tracker, logs = PostgresConversationTracker(sessions), PostgresLogs(engine)
    await logs.open(ONE)
    await logs.write(LOG)

    await asyncio.gather(
        *(tracker.apply({ONE: LOG}) for _ in range(4)), *(tracker.rebuild(ONE) for _ in range(4))
    )

    assert (await tracker.applied([ONE]))[ONE] == len(LOG)
    assert (await tracker.lifecycle(ONE)).turns == 2


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    titles=st.lists(
        st.text("aAbBüÜ%_\\'# 1", min_size=1, max_size=12) | st.text("01 a", max_size=9), max_size=6
    ),
    text=st.text("aAbBüÜ%_\\'# 1", min_size=1, max_size=5)
    | st.text("01 a", min_size=4, max_size=7),
    limit=st.integers(1, 4),
)
@example(titles=["Order #0017", "order #00170"], text="#0017", limit=3)
@example(titles=["Order 1234567", "Order 123 4567", "Order 12x34567"], text="23456", limit=3)
@example(titles=["Order 12345 or 67890", "12345 67890", "١٢٣٤"], text="2345 or 6789", limit=3)
@example(titles=["Order ١٢٣٤٥"], text="١٢٣٤", limit=3)
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
        await tracker.apply({name: events_of(name, [message(text=title)])})
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


@pytest.mark.parametrize(
    ("index", "where"),
    [
        ("ix_thread_titles_trigrams", "trigrams(title) @> trigrams('zebra')"),
        ("ix_thread_titles_numbers", "numbers(title) @> numbers('#00104') AND title ~ '[0-9]{4}'"),
    ],
)
async def test_what_is_rare_is_found_without_reading_every_title(
    engine: AsyncEngine, index: str, where: str
) -> None:
    statement = f"EXPLAIN SELECT FROM thread_titles WHERE {where}"
    async with engine.connect() as connection:
        await connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join((await connection.scalars(sa.text(statement))).all())

    assert index in plan, plan


async def test_titles_of_the_release_before_are_found_after_the_next_start(
    sessions: Sessions, engine: AsyncEngine
) -> None:
    tracker, logs = PostgresConversationTracker(sessions), PostgresLogs(engine)
    for name in (ONE, TWO):
        await logs.open(name)
        await tracker.apply({name: events_of(name, [message(text="A zebra")])})
    async with engine.begin() as connection:
        await connection.execute(sa.text("DELETE FROM thread_titles"))
    assert (await tracker.threads(ThreadFilter(text="zebra"), limit=5)).threads == ()

    await tracker.complete_titles()
    await tracker.complete_titles()

    assert len((await tracker.threads(ThreadFilter(text="zebra"), limit=5)).threads) == 2


async def test_finds_what_is_rare_or_common_among_thousands(
    sessions: Sessions, engine: AsyncEngine
) -> None:
    tracker, logs = PostgresConversationTracker(sessions), PostgresLogs(engine)
    await logs.open(ONE)
    await tracker.apply({ONE: events_of(ONE, [message(text="Hello 1")])})
    # Told once, then copied: the newest are those with the highest numbers. Each tenth names an
    # apple, each 60th a pear, and what is named a plum is beyond those that are looked at.
    async with engine.begin() as connection:
        await connection.execute(
            sa.text(
                """
            CREATE TEMP TABLE copies ON COMMIT DROP AS
            SELECT s.*, number, lpad(number::text, 8, '0')::text || substr(s.thread_id::text, 9)
                AS name, concat_ws(' ', 'Hello', number,
                    CASE WHEN number % 10 = 0 THEN 'apple' END,
                    CASE WHEN number % 60 = 0 THEN 'pear' END,
                    CASE WHEN number < 60 THEN 'plum' END,
                    CASE WHEN number = 2300 OR number < 3 THEN '100%' END) AS words
            FROM conversation_states s, generate_series(2, 2500) number
            """
            )
        )
        await connection.execute(
            sa.text(
                "INSERT INTO threads (id, customer_id, customer_name)"
                " SELECT name::uuid, 'cus_ada', 'Ada' FROM copies"
            )
        )
        await connection.execute(
            sa.text(
                "INSERT INTO thread_titles (thread_id, title) SELECT name::uuid, words FROM copies"
            )
        )
        columns = [column.name for column in states.columns]
        own = {"thread_id": "name::uuid", "title": "words"}
        own["opened_at"] = own["last_event_at"] = "opened_at + number * interval '1 second'"
        chosen = ", ".join(own.get(name, name) for name in columns)
        await connection.execute(
            sa.text(
                f"INSERT INTO conversation_states ({', '.join(columns)})"
                f" SELECT {chosen} FROM copies"
            )
        )

    async def all_of(text: str, **more: Any) -> list[int]:
        """The numbers in the titles of every page."""
        found: list[int] = []
        after = None
        while True:
            page = await tracker.threads(ThreadFilter(text=text, **more), after, 20)
            found += [int(each.lifecycle.title.split()[1]) for each in page.threads]
            after = page.next_after
            if after is None:
                return found

    down = range(2500, 0, -1)
    assert await all_of("APPLE") == [number for number in down if number % 10 == 0]
    assert await all_of("pear") == [number for number in down if number % 60 == 0]
    assert await all_of("plum") == [number for number in down if 1 < number < 60]
    assert await all_of("100%") == [2300, 2]
    assert await all_of("pear", status=Status.RESOLVED) == []
    assert await all_of("a quince") == []
