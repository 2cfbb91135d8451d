"""Threads and turns: the database decides every race."""

import asyncio
from collections.abc import Sequence

import pytest
import sqlalchemy as sa
from asyncpg import UniqueViolationError
from tests.support.histories import closed, message, thread_id

from smart_support.conversations.handoff_postgres import PostgresHandoffs
from smart_support.conversations.postgres import QUEUE_LIMIT, PostgresConversations
from smart_support.conversations.records import QueueFull, Received, TurnNotOpen, TurnStatus
from smart_support.conversations.tables import turns
from smart_support.database import Sessions
from smart_support.errors import NotFound
from smart_support.events.fence import Fence, WriterReplaced, fenced
from smart_support.events.postgres import PostgresEventLog

THREAD, OTHER = thread_id(1), thread_id(2)


def turn_id(number: int) -> str:
    return thread_id(100 + number)


@pytest.fixture
async def store(sessions: Sessions) -> PostgresConversations:
    store = PostgresConversations(sessions, owner=7)
    for thread in (THREAD, OTHER):
        await store.open_thread(
            thread, customer_id="cus_ada", customer_name="Ada", customer_email="a@example.org"
        )
    return store


async def receive(store: PostgresConversations, number: int, thread: str = THREAD) -> Received:
    return await store.receive(thread, turn_id(number), f"m{number}", f"Message {number}")


async def statuses(store: PostgresConversations, numbers: Sequence[int]) -> list[str]:
    return [(await store.turn(turn_id(number))).status.value for number in numbers]


class TestThreads:
    async def test_are_their_customers(self, store: PostgresConversations) -> None:
        found = await store.thread(THREAD, customer_id="cus_ada")

        assert (found.id, found.customer_name) == (THREAD, "Ada")
        assert found.customer_email == "a@example.org"
        assert await store.thread(THREAD) == found

    async def test_of_others_and_none_look_the_same(self, store: PostgresConversations) -> None:
        for thread, customer in ((THREAD, "cus_bob"), (thread_id(9), "cus_ada")):
            with pytest.raises(NotFound):
                await store.thread(thread, customer_id=customer)


class TestReceiving:
    async def test_opens_the_first_and_queues_the_next(self, store: PostgresConversations) -> None:
        first, second = await receive(store, 1), await receive(store, 2)

        assert (first.turn.status, second.turn.status) == (TurnStatus.OPEN, TurnStatus.QUEUED)
        assert [event.seq for event in (*first.events, *second.events)] == [1, 2]
        assert (first.turn.run, first.duplicate) == (1, False)

    async def test_at_once_opens_exactly_one(self, store: PostgresConversations) -> None:
        received = await asyncio.gather(*(receive(store, number) for number in range(15)))

        assert [each.turn.status for each in received].count(TurnStatus.OPEN) == 1

    async def test_the_same_twice_is_a_duplicate(self, store: PostgresConversations) -> None:
        first = await receive(store, 1)

        again = await store.receive(THREAD, turn_id(2), "m1", "other words")

        assert (again.duplicate, again.turn, again.events) == (True, first.turn, ())

    async def test_needs_a_turn_unless_it_is_stored_or_a_person_has_the_thread(
        self, store: PostgresConversations, sessions: Sessions
    ) -> None:
        assert await store.needs_turn(THREAD, "m1")
        await receive(store, 1)
        needed = [await store.needs_turn(THREAD, number) for number in ("m1", "m2")]
        elsewhere = await store.needs_turn(OTHER, "m1")
        await PostgresHandoffs(sessions).take_over(THREAD, by="lead", name="Lea")

        assert (needed, elsewhere) == ([False, True], True)
        assert not await store.needs_turn(THREAD, "m2")
        with pytest.raises(NotFound):
            await store.needs_turn(thread_id(9), "m1")

    async def test_stops_at_the_limit(self, store: PostgresConversations) -> None:
        for number in range(QUEUE_LIMIT + 1):
            await receive(store, number)

        with pytest.raises(QueueFull):
            await receive(store, 99)
        assert (await receive(store, 98, OTHER)).turn.status is TurnStatus.OPEN

        with pytest.raises(NotFound):
            await store.turn(turn_id(99))

    async def test_the_index_allows_one_open_turn_whatever_the_code_does(
        self, store: PostgresConversations, sessions: Sessions
    ) -> None:
        await receive(store, 1)
        await receive(store, 2)

        with pytest.raises(UniqueViolationError, match="one_open_turn_per_thread"):
            async with sessions.begin() as session:
                await session.execute(sa.update(turns).values(status="open"))


class TestSettling:
    async def test_opens_the_oldest_that_waits(self, store: PostgresConversations) -> None:
        for number in (1, 2, 3):
            await receive(store, number)

        events, following = await store.settle(THREAD, turn_id(1), TurnStatus.DONE, [closed()])

        assert following is not None
        assert (following.id, following.status) == (turn_id(2), TurnStatus.OPEN)
        assert [event.fact for event in events] == [closed()]
        assert await statuses(store, (1, 2, 3)) == ["done", "open", "queued"]

    async def test_may_leave_the_next_one_to_others(self, store: PostgresConversations) -> None:
        await receive(store, 1)
        await receive(store, 2)

        _, following = await store.settle(THREAD, turn_id(1), TurnStatus.DONE, [], open_next=False)

        assert following is None
        assert await statuses(store, (1, 2)) == ["done", "queued"]

    async def test_happens_once(self, store: PostgresConversations, sessions: Sessions) -> None:
        await receive(store, 1)

        outcomes = await asyncio.gather(
            *(store.settle(THREAD, turn_id(1), TurnStatus.DONE, [closed()]) for _ in range(5)),
            return_exceptions=True,
        )

        assert [type(each) for each in outcomes].count(TurnNotOpen) == 4
        assert len(await PostgresEventLog(sessions).read(THREAD)) == 2

    async def test_by_a_process_that_was_replaced_writes_nothing(
        self, store: PostgresConversations, sessions: Sessions
    ) -> None:
        await receive(store, 1)
        await receive(store, 2)
        (before,) = await store.own_open()
        await PostgresConversations(sessions, owner=9).take_over(before)

        with fenced(Fence(THREAD, before.epoch or 0)), pytest.raises(WriterReplaced):
            await store.settle(THREAD, turn_id(1), TurnStatus.DONE, [closed()])

        assert await statuses(store, (1, 2)) == ["open", "queued"]
        assert len(await PostgresEventLog(sessions).read(THREAD)) == 2

    async def test_numbers_its_events_in_order(
        self, store: PostgresConversations, sessions: Sessions
    ) -> None:
        await receive(store, 1)

        events, _ = await store.settle(THREAD, turn_id(1), TurnStatus.DONE, [message(), closed()])

        assert [event.seq for event in events] == [2, 3]
        assert events[0].at <= events[1].at
        assert await PostgresEventLog(sessions).read(THREAD, after=1) == events

    async def test_of_no_turn_is_refused(self, store: PostgresConversations) -> None:
        with pytest.raises(TurnNotOpen):
            await store.settle(THREAD, turn_id(9), TurnStatus.DONE, [message()])


class TestParking:
    async def test_goes_on_with_its_next_run(self, store: PostgresConversations) -> None:
        await receive(store, 1)
        await store.settle(THREAD, turn_id(1), TurnStatus.PARKED, [])
        assert [turn.id for turn in await store.parked()] == [turn_id(1)]

        going_on = await store.unpark(turn_id(1))

        assert (going_on.status, going_on.run) == (TurnStatus.OPEN, 2)

    async def test_waits_behind_an_open_turn(self, store: PostgresConversations) -> None:
        await receive(store, 1)
        await store.settle(THREAD, turn_id(1), TurnStatus.PARKED, [])
        await receive(store, 2)
        await receive(store, 3)

        assert (await store.unpark(turn_id(1))).status is TurnStatus.QUEUED

        _, following = await store.settle(THREAD, turn_id(2), TurnStatus.DONE, [])
        assert following is not None
        assert following.id == turn_id(3)

    async def test_goes_on_once(self, store: PostgresConversations) -> None:
        await receive(store, 1)
        await store.settle(THREAD, turn_id(1), TurnStatus.PARKED, [])

        outcomes = await asyncio.gather(
            *(store.unpark(turn_id(1)) for _ in range(5)), return_exceptions=True
        )

        assert [type(each) for each in outcomes].count(TurnNotOpen) == 4


class TestRecovering:
    async def test_turns_without_a_living_owner_are_orphans(
        self, store: PostgresConversations, sessions: Sessions
    ) -> None:
        await receive(store, 1)
        await receive(store, 2)
        other = PostgresConversations(sessions, owner=8)
        assert [turn.id for turn in await other.orphans()] == [turn_id(1)]
        assert await store.orphans() == ()  # it is there to ask

        async with sessions() as session:
            await session.execute(sa.text("SELECT pg_advisory_lock(7)"))
            assert await other.orphans() == ()
            await session.execute(sa.text("SELECT pg_advisory_unlock(7)"))

    async def test_own_turns_are_known(
        self, store: PostgresConversations, sessions: Sessions
    ) -> None:
        await receive(store, 1)

        assert [turn.id for turn in await store.own_open()] == [turn_id(1)]
        assert await PostgresConversations(sessions, owner=8).own_open() == ()

    async def test_finds_and_opens_what_waits_for_nothing(
        self, store: PostgresConversations, sessions: Sessions
    ) -> None:
        await receive(store, 1)
        await receive(store, 2)
        assert await store.queued_without_open() == ()
        await store.settle(THREAD, turn_id(1), TurnStatus.DONE, [], open_next=False)

        assert await store.queued_without_open() == (THREAD,)
        opened = await asyncio.gather(*(store.open_next(THREAD) for _ in range(4)))

        assert [turn.id for turn in opened if turn is not None] == [turn_id(2)]
        assert await store.open_next(OTHER) is None
