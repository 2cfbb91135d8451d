"""Sums that are kept as things happen: at every moment the same as a full recount."""

import asyncio
import random
from datetime import timedelta
from itertools import zip_longest
from typing import cast

import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.bench.stories import tell
from tests.support.consumers import PostgresLogs
from tests.support.histories import BEGINNING, answered, batches, companies, events_of, thread_id
from tests.support.sums import counted_sums, kept_sums, recount

from smart_support.analytics.episode import Key, Sum
from smart_support.analytics.listings import Listing, Selection
from smart_support.analytics.postgres import PostgresAnalyticsRecorder
from smart_support.analytics.sums import Counts, add, by_hour, flat, key_of, keys_of, together
from smart_support.analytics.sums_postgres import SumReader, put
from smart_support.analytics.tables import figure_changes, figure_sums
from smart_support.analytics.troubles_postgres import PostgresTroubles
from smart_support.database import Rows, Session, Sessions
from smart_support.database.engine import sessions as sessions_on
from smart_support.database.session import Statement, Values
from smart_support.events.records import Event

HOUR = timedelta(hours=1)
START = BEGINNING.replace(minute=0)
_many = settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


async def waiting(sessions: Sessions) -> int:
    async with sessions() as session:
        return await session.scalar(sa.select(sa.func.count()).select_from(figure_changes)) or 0


@_many
@given(data=st.data())
async def test_are_what_the_logs_say_however_they_came_in(
    engine: AsyncEngine, data: st.DataObject
) -> None:
    sessions, logs = sessions_on(engine), PostgresLogs(engine)
    recorder, troubles = PostgresAnalyticsRecorder(sessions), PostgresTroubles(sessions)
    await logs.clear()
    every = data.draw(companies())
    for log in every:
        await logs.open(log[0].thread_id)
        await logs.write(log)
    for consumer in (recorder, troubles):
        pieces = {log[0].thread_id: data.draw(batches(log)) for log in every}
        for several in zip_longest(*pieces.values(), fillvalue=()):
            await consumer.apply(dict(zip(pieces, several, strict=True)))
            if data.draw(st.booleans()):
                await recorder.settle()
    expected = counted_sums(every)

    assert await kept_sums(sessions) == expected
    while await recorder.settle():
        pass
    assert await waiting(sessions) == 0
    assert await kept_sums(sessions) == expected
    await recount(sessions)
    assert await kept_sums(sessions) == expected

    gone = every.pop()
    await logs.drop(gone[0].thread_id)
    for consumer in (recorder, troubles):
        await consumer.rebuild(gone[0].thread_id)
    assert await kept_sums(sessions) == counted_sums(every)


async def test_lose_and_double_nothing_while_many_write_settle_and_rebuild(
    sessions: Sessions, engine: AsyncEngine
) -> None:
    chance = random.Random(18)
    logs, every = PostgresLogs(engine), [made_up(chance, number) for number in range(1, 25)]
    for log in every:
        await logs.open(log[0].thread_id)
        await logs.write(log)
    # Each as if it were a process of its own: they share nothing but the database.
    recorders = [PostgresAnalyticsRecorder(sessions) for _ in range(3)]
    troubles = [PostgresTroubles(sessions) for _ in range(3)]
    dropped = {log[0].thread_id for log in every[:4]}

    async def follow(log: list[Event]) -> None:
        place = 0
        while place < len(log):
            place += chance.randint(1, 9)
            for consumer in (chance.choice(recorders), chance.choice(troubles)):
                await consumer.apply({log[0].thread_id: log[:place]})
                if chance.random() < 0.2:
                    await consumer.rebuild(log[0].thread_id)
        if log[0].thread_id in dropped:
            await logs.drop(log[0].thread_id)
            for consumer in (recorders[0], troubles[0]):
                await consumer.rebuild(log[0].thread_id)

    done = asyncio.Event()

    async def settling(recorder: PostgresAnalyticsRecorder) -> int:
        settled = 0
        while not done.is_set():
            settled += await recorder.settle()
            await asyncio.sleep(0)
        return settled

    settlers = [asyncio.create_task(settling(recorder)) for recorder in recorders]
    await asyncio.gather(*(follow(log) for log in every))
    done.set()
    settled = sum(await asyncio.gather(*settlers))

    left = [log for log in every if log[0].thread_id not in dropped]
    assert settled > 0
    assert await kept_sums(sessions) == counted_sums(left)
    await recount(sessions)
    assert await kept_sums(sessions) == counted_sums(left)


def made_up(chance: random.Random, number: int) -> list[Event]:
    """A thread of several turns over several hours, in which some things fail."""
    story = tell(chance, number, START, chance.randint(1, 6))
    return story.events


async def test_are_read_the_same_before_and_after_they_are_settled(
    sessions: Sessions, engine: AsyncEngine
) -> None:
    recorder = PostgresAnalyticsRecorder(sessions)
    chance = random.Random(7)
    for number in range(1, 30):
        start = START + timedelta(hours=chance.randint(0, 24 * 8))
        await recorder.apply({thread_id(number): events_of(thread_id(number), answered(), start)})
    reader = SumReader("activity")
    ranges = [(0, 24 * 9), (5, 30), (3, 4), (20, 24 * 7 + 1), (24, 48), (0, 1)]

    async def read() -> list[object]:
        found: list[object] = []
        async with sessions() as session:
            for first, last in ranges:
                span = (START + first * HOUR, START + last * HOUR)
                one = await reader.read(session, *span)
                days = await reader.days(session, *span)
                hours = await reader.hours(session, *span)
                for parts in (days, hours):
                    assert together(parts.values()) == one
                found += [one, days, hours]
        return found

    before = await read()
    assert before[0] != {}
    assert await recorder.settle() == 29
    assert await read() == before
    assert await recorder.settle() == 0
    for number in range(30, 40):  # a day that was read already is written anew
        at = START + timedelta(hours=5 * (number - 28))
        await recorder.apply({thread_id(number): events_of(thread_id(number), answered(), at)})
    after = await read()
    assert after != before
    reader = SumReader("activity")
    assert await read() == after
    await recorder.settle()
    assert await read() == after


class SlowlyRead:
    """A session whose reader comes to what it has read only once it is let."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.has_read, self.may_go_on = asyncio.Event(), asyncio.Event()

    async def execute(self, statement: Statement, values: Values) -> Rows:
        rows = await self._session.execute(statement, values)
        self.has_read.set()
        await self.may_go_on.wait()
        return rows


async def test_are_of_one_moment_though_others_read_and_settle_meanwhile(
    sessions: Sessions,
) -> None:
    recorder, reader = PostgresAnalyticsRecorder(sessions), SumReader("activity")
    day = START.replace(hour=0)
    span = (day, day + timedelta(days=1))

    async def count(number: int) -> None:
        await recorder.apply({thread_id(number): events_of(thread_id(number), answered(), START)})

    async with sessions() as one, sessions() as another, asyncio.timeout(30):
        await count(1)
        await recorder.settle()
        await reader.read(one, *span)
        await count(2)
        slow = SlowlyRead(one)
        reading = asyncio.create_task(reader.read(cast("Session", slow), *span))
        await slow.has_read.wait()
        await recorder.settle()
        expected = await reader.read(another, *span)
        slow.may_go_on.set()

        assert await reading == expected
        assert await SumReader("activity").read(another, *span) == expected


async def test_are_of_the_same_moment_as_the_list_behind_them(
    sessions: Sessions, engine: AsyncEngine
) -> None:
    """Whatever the reader remembers, and whoever writes and settles meanwhile."""
    chance = random.Random(23)
    logs, every = PostgresLogs(engine), [made_up(chance, number) for number in range(1, 31)]
    for log in every:
        await logs.open(log[0].thread_id)
        await logs.write(log)
    writer, reader = PostgresAnalyticsRecorder(sessions), PostgresAnalyticsRecorder(sessions)
    wrong, own = PostgresTroubles(sessions), PostgresTroubles(sessions)
    lists = [
        Selection(listing=listing, start=START, end=START + timedelta(days=30), dimension=dimension)
        for listing, dimension in (
            (Listing.CONVERSATIONS, None),
            (Listing.MESSAGES, None),
            (Listing.TOOL_CALLS_FAILED, None),
            (Listing.TURNS_FAILED, "SYS_INTERNAL"),
            (Listing.TOKENS, None),
        )
    ]
    seen: set[int] = set()

    async def look(until: asyncio.Event) -> None:
        while not until.is_set():
            for which in lists:
                page = await reader.counted(which, limit=100)
                assert page.total == sum(each.part for each in page.threads), which
                seen.add(page.total)
            found = await own.summary(START, START + timedelta(days=30))
            assert found.total.troubles == sum(each.troubles for each in found.patterns)

    done = asyncio.Event()
    looking = [asyncio.create_task(look(done)) for _ in range(2)]
    for log in every:
        for end in (len(log) // 2, len(log)):
            for consumer in (writer, wrong):
                await consumer.apply({log[0].thread_id: log[:end]})
        if chance.random() < 0.3:
            await writer.settle()
    done.set()
    await asyncio.gather(*looking)

    assert len(seen) > 2 * len(lists)  # it has looked while things happened
    for which in lists:
        afresh = PostgresAnalyticsRecorder(sessions)
        assert await reader.counted(which, limit=7) == await afresh.counted(which, limit=7)


async def test_are_settled_by_one_process_at_a_time(sessions: Sessions) -> None:
    recorder = PostgresAnalyticsRecorder(sessions)
    await recorder.apply({thread_id(1): events_of(thread_id(1), answered())})
    alone = sa.func.pg_advisory_xact_lock(sa.func.hashtext(figure_sums.name))

    async with sessions.begin() as session:
        await session.execute(sa.select(alone))
        assert await recorder.settle() == 0
    assert await recorder.settle() == 1


async def test_wait_for_nobody_when_two_count_the_same_hour(sessions: Sessions) -> None:
    hour = {Key(START, "messages", ""): Sum(1, 0)}
    recorder = PostgresAnalyticsRecorder(sessions)

    async with sessions.begin() as slow:
        await put(slow, {"activity": hour})
        async with asyncio.timeout(10), sessions.begin() as quick:
            await put(quick, {"activity": hour})
        assert await recorder.settle() == 1  # the slow one is not committed, and not lost
    assert await recorder.settle() == 1

    async with sessions() as session:
        found = await SumReader("activity").read(session, START, START + HOUR)
    assert found == {"messages": {"": 2}}


_counted = st.dictionaries(
    st.builds(
        Key,
        st.integers(0, 40).map(lambda hours: START + hours * HOUR),
        st.sampled_from(("messages", "input_tokens", "handoffs")),
        st.sampled_from(("", "a", "b/c")),
    ),
    st.builds(Sum, st.integers(1, 9), st.integers(0, 9)),
    max_size=8,
)


@given(counted=_counted)
@example(counted={Key(START, "input_tokens", ""): Sum(1, 0)})
def test_a_conversation_is_found_by_what_it_counts(counted: dict[Key, Sum]) -> None:
    assert flat(by_hour(counted)) == counted
    for hour, counts in by_hour(counted).items():
        for figure in ("messages", "input_tokens", "handoffs"):
            own = {key: one for key, one in counted.items() if key[:2] == (hour, figure)}
            part = sum(
                one.amount if figure == "input_tokens" else one.times for one in own.values()
            )
            assert (figure in keys_of(counts)) == (part > 0)
        for dimension, times in counts.get("handoffs", {}).items():
            assert (key_of("handoffs", dimension) in keys_of(counts)) == (times > 0)


def test_the_names_of_a_row_stay_while_turns_go_on_alike() -> None:
    """PostgreSQL writes a row over where it is, if nothing changed that an index has."""
    first: Counts = {
        "turns": {"": 1},
        "turn_ms": {"": 1},
        "response_ms": {"37": 1},
        "tool_calls": {"getOrder": 1},
        "input_tokens": {"": 1},
        "input_tokens amount": {"": 9},
    }
    second: Counts = {
        "turns": {"": 2},
        "turn_ms": {"": 2},
        "response_ms": {"37": 1, "41": 1},
        "tool_calls": {"getOrder": 2},
        "input_tokens": {"": 2},
        "input_tokens amount": {"": 21},
    }

    assert keys_of(first) == keys_of(second)
    assert keys_of(first) == [
        "input_tokens",
        "response_ms",
        "tool_calls",
        "tool_calls/getOrder",
        "turns",
    ]


@given(first=_counted, second=_counted)
def test_adding_and_taking_away_again_leaves_what_was(
    first: dict[Key, Sum], second: dict[Key, Sum]
) -> None:
    hours, more = by_hour(first), by_hour(second)
    less = by_hour({key: Sum(-one.times, -one.amount) for key, one in second.items()})

    for hour, counts in hours.items():
        add(counts, more.get(hour, {}))
        add(counts, less.get(hour, {}))

    assert flat(hours) == first
