"""What every ConversationTracker promises."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.contracts.conftest import Kind, in_memory, in_postgres
from tests.support.consumers import PostgresLogs
from tests.support.histories import (
    BEGINNING,
    abandoned,
    answered,
    asked,
    attempt,
    batches,
    called,
    closed,
    companies,
    decided,
    events_of,
    finished,
    handoff,
    histories,
    message,
    opened,
    parked,
    resolved,
    returned,
    thread_id,
)

from smart_support.conversations.lifecycle import Lifecycle, ThreadFilter, ThreadPage
from smart_support.errors import NotFound
from smart_support.events.records import Event, Fact, ThreadId
from smart_support.events.standing import Standing, Status

ONE = thread_id(1)


async def tell(
    kind: Kind, number: int, facts: list[Fact], customer_id: str = "cus_ada", hours: float = 0
) -> ThreadId:
    """A thread that began `hours` after the beginning and was taken in."""
    name = thread_id(number)
    log = events_of(name, facts, BEGINNING + timedelta(hours=hours))
    await kind.logs.open(name, customer_id)
    await kind.logs.write(log)
    await kind.tracker.apply({name: log})
    return name


def names(page: ThreadPage) -> list[ThreadId]:
    return [found.lifecycle.thread_id for found in page.threads]


async def test_tells_how_a_conversation_stands(kind: Kind) -> None:
    facts: list[Fact] = [
        message(text="  I want my\nmoney back  "),
        opened(agent="billing"),
        called(call="c1"),
        attempt(call="c1"),
        attempt(call="c1", number=2),
        returned(call="c1", outcome="failed"),
        called(call="c2"),
        asked(call="c2"),
        parked(call="c2"),
        decided(call="c2"),
        opened(run=2, agent="refunds"),
        attempt(call="c2"),
        returned(call="c2"),
        handoff(reason="tool_failure"),
        finished(),
        closed(run=2),
    ]

    await tell(kind, 1, facts)

    assert await kind.tracker.lifecycle(ONE) == Lifecycle(
        thread_id=ONE,
        standing=Standing(Status.HANDED_OFF),
        title="I want my money back",
        opened_at=BEGINNING,
        last_event_at=BEGINNING + timedelta(seconds=15),
        agent="refunds",
        handoff_reason="tool_failure",
        turns=1,
        tool_calls=2,
        attempts=3,
        errors=1,
        approvals_asked=1,
        approvals_approved=1,
    )


async def test_knows_nothing_of_a_thread_it_has_not_heard_of(kind: Kind) -> None:
    await kind.logs.open(ONE)

    with pytest.raises(NotFound):
        await kind.tracker.lifecycle(ONE)


async def test_a_thread_with_a_gap_stands_as_before(kind: Kind) -> None:
    await tell(kind, 1, [message(), opened()])
    before = await kind.tracker.lifecycle(ONE)

    with pytest.raises(Exception, match="expected event 3, was given 4"):
        await kind.tracker.apply({ONE: events_of(ONE, answered())[3:]})

    assert await kind.tracker.lifecycle(ONE) == before


async def test_lists_the_newest_first_a_page_at_a_time(kind: Kind) -> None:
    for number, hours in ((1, 0.0), (2, 5.0), (3, 5.0), (4, 2.0), (5, 9.0)):
        await tell(kind, number, answered(), hours=hours)
    expected = [thread_id(number) for number in (5, 3, 2, 4, 1)]

    whole = await kind.tracker.threads(limit=5)
    pages, after = [], None
    for _ in range(3):
        page = await kind.tracker.threads(after=after, limit=2)
        pages.append(names(page))
        after = page.next_after

    assert (names(whole), whole.next_after) == (expected, None)
    assert pages == [expected[:2], expected[2:4], expected[4:]]
    assert after is None


async def test_what_happens_between_two_pages_hides_no_thread(kind: Kind) -> None:
    for number in (1, 2, 3):
        await tell(kind, number, answered(), hours=number)
    first = await kind.tracker.threads(limit=1)

    later = events_of(ONE, [*answered("t1"), *answered("t2")], step=100_000)
    await kind.tracker.apply({ONE: later})
    await tell(kind, 4, answered(), hours=9)
    rest = await kind.tracker.threads(after=first.next_after, limit=5)

    assert names(first) + names(rest) == [thread_id(number) for number in (3, 2, 1)]


async def test_lists_with_whose_conversation_it_is(kind: Kind) -> None:
    await tell(kind, 1, answered(), customer_id="cus_bo")

    (found,) = (await kind.tracker.threads()).threads

    assert (found.customer_id, found.customer_name) == ("cus_bo", "Ada")
    assert found.lifecycle == await kind.tracker.lifecycle(ONE)


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        (ThreadFilter(), [4, 3, 2, 1]),
        (ThreadFilter(status=Status.WAITING), [1]),
        (ThreadFilter(status=Status.OPENED), [2]),
        (ThreadFilter(status=Status.ABANDONED), []),
        (ThreadFilter(customer_id="cus_bo"), [4, 2]),
        (ThreadFilter(customer_id="cus_nobody"), []),
        (ThreadFilter(text="ORDER"), [4, 1]),
        (ThreadFilter(text="100%"), [3]),
        (ThreadFilter(text="_"), []),
        (ThreadFilter(text="\\"), []),
        (ThreadFilter(text=""), [4, 3, 2, 1]),
        (ThreadFilter(status=Status.RESOLVED, customer_id="cus_bo", text="order"), [4]),
    ],
)
async def test_lists_only_what_was_asked_for(
    kind: Kind, which: ThreadFilter, expected: list[int]
) -> None:
    await tell(kind, 1, answered(), hours=1)
    await tell(kind, 2, [message(text="Hello?")], "cus_bo", hours=2)
    await tell(kind, 3, [message(text="100% broken"), handoff()], hours=3)
    await tell(kind, 4, [*answered(), resolved()], "cus_bo", hours=4)

    page = await kind.tracker.threads(which)

    assert names(page) == [thread_id(number) for number in expected]


async def test_nothing_comes_after_a_thread_nobody_knows(kind: Kind) -> None:
    await tell(kind, 1, answered())

    page = await kind.tracker.threads(after=thread_id(9))

    assert page == ThreadPage(threads=(), next_after=None)


async def test_finds_who_waits_in_silence(kind: Kind) -> None:
    await tell(kind, 1, answered(), hours=3)
    await tell(kind, 2, answered(), hours=1)
    await tell(kind, 3, answered(), hours=2)
    await tell(kind, 4, [message(), opened()])
    await tell(kind, 5, [*answered(), handoff()])
    await tell(kind, 6, [*answered(), resolved()])
    await tell(kind, 7, [*answered(), abandoned()])
    last = BEGINNING + timedelta(hours=3, seconds=3)

    assert await kind.tracker.idle_since(last, 10) == [thread_id(2), thread_id(3)]
    assert await kind.tracker.idle_since(last, 1) == [thread_id(2)]
    assert await kind.tracker.idle_since(last + timedelta(microseconds=1), 10) == [
        thread_id(2),
        thread_id(3),
        ONE,
    ]


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data(), logs=companies())
async def test_postgres_and_memory_agree_on_any_company(
    engine: AsyncEngine, data: st.DataObject, logs: list[list[Event]]
) -> None:
    await PostgresLogs(engine).clear()
    one, other = in_postgres(engine), in_memory()
    for log in logs:
        name = log[0].thread_id
        for kind in (one, other):
            await kind.logs.open(name)
            await kind.logs.write(log)
        for batch in data.draw(batches(log)):
            await one.tracker.apply({name: batch})
        await other.tracker.apply({name: log})
        assert await one.tracker.lifecycle(name) == await other.tracker.lifecycle(name)

    last = max(event.at for log in logs for event in log)
    assert await one.tracker.threads() == await other.tracker.threads()
    assert await one.tracker.idle_since(last, 9) == await other.tracker.idle_since(last, 9)
    assert await one.tracker.behind(9) == []


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(log=histories())
async def test_rebuilding_changes_nothing(engine: AsyncEngine, log: list[Event]) -> None:
    await PostgresLogs(engine).clear()
    kind = in_postgres(engine)
    await kind.logs.open(ONE)
    await kind.logs.write(log)
    await kind.tracker.apply({ONE: log})
    before = await kind.tracker.lifecycle(ONE)

    await kind.tracker.rebuild(ONE)

    assert await kind.tracker.lifecycle(ONE) == before
    assert (await kind.tracker.applied([ONE]))[ONE] == len(log)
