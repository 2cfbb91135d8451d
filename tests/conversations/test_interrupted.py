"""Turns that broke off although they were taken over, as a lead finds them."""

from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from tests.support.histories import closed, finished, thread_id

from smart_support.conversations.interrupted_postgres import PostgresInterruptions
from smart_support.conversations.postgres import PostgresConversations
from smart_support.conversations.records import (
    Interrupted,
    Interruption,
    TurnStatus,
    WhichInterrupted,
)
from smart_support.conversations.tables import turns
from smart_support.database import Sessions
from smart_support.events.postgres import PostgresEventLog

MOST, GIVEN_UP = 3, "REC_TURN_INTERRUPTED"
ALL = WhichInterrupted()


class Turns:
    """Makes turns that ended as a test says, each in a thread of its own, a minute apart."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._store = PostgresConversations(sessions, owner=7)
        self.log = PostgresEventLog(sessions)
        self.count = 0

    async def ended(self, recoveries: int, code: str | None, status: str = "failed") -> str:
        self.count += 1
        thread, turn = thread_id(self.count), thread_id(100 + self.count)
        await self._store.open_thread(
            thread, customer_id="cus_ada", customer_name="Ada", customer_email=None
        )
        await self._store.receive(thread, turn, "m1", f"Message {self.count}")
        fact = closed(turn, status=status, code=code)
        await self._store.settle(thread, turn, TurnStatus(status), [fact])
        async with self._sessions.begin() as session:
            await session.execute(
                sa.update(turns)
                .where(turns.c.id == turn)
                .values(recoveries=recoveries, closed_at=at(self.count))
            )
        return turn


def at(minutes: int) -> datetime:
    return datetime.fromisoformat("2026-03-01T09:00:00+00:00") + timedelta(minutes=minutes)


@pytest.fixture
def made(sessions: Sessions) -> Turns:
    return Turns(sessions)


@pytest.fixture
def interruptions(sessions: Sessions) -> PostgresInterruptions:
    return PostgresInterruptions(sessions, code=GIVEN_UP, most=MOST)


def ids(found: tuple[Interrupted, ...]) -> list[str]:
    return [each.turn_id for each in found]


async def test_those_that_were_taken_over_and_failed_are_told_with_the_reason(
    made: Turns, interruptions: PostgresInterruptions
) -> None:
    poisoned = await made.ended(MOST + 1, GIVEN_UP)
    late = await made.ended(1, GIVEN_UP)
    failed = await made.ended(2, "LLM_UNAVAILABLE")
    for recoveries, code, status in ((0, "LLM_UNAVAILABLE", "failed"), (2, None, "done")):
        await made.ended(recoveries, code, status)

    found = await interruptions.interrupted(ALL)

    assert [(each.turn_id, each.kind, each.recoveries) for each in found] == [
        (failed, Interruption.FAILED, 2),
        (late, Interruption.TOO_LATE, 1),
        (poisoned, Interruption.GIVEN_UP, MOST + 1),
    ]
    first = found[0]
    assert (first.customer_name, first.text, first.code) == ("Ada", "Message 3", "LLM_UNAVAILABLE")
    assert (first.thread_id, first.closed_at, first.answered) == (thread_id(3), at(3), False)
    last = (await made.log.read(first.thread_id))[-1]
    assert first.closed_seq == last.seq


async def test_they_are_narrowed_by_time_and_kind(
    made: Turns, interruptions: PostgresInterruptions
) -> None:
    first, second, third = [await made.ended(1, GIVEN_UP) for _ in range(3)]
    other = await made.ended(1, "LLM_UNAVAILABLE")

    since = await interruptions.interrupted(WhichInterrupted(start=at(3)))
    between = await interruptions.interrupted(WhichInterrupted(start=at(1), end=at(3)))
    late = await interruptions.interrupted(WhichInterrupted(kind=Interruption.TOO_LATE))

    assert ids(since) == [other, third]
    assert ids(between) == [second, first]
    assert ids(late) == [third, second, first]


async def test_those_whose_customers_were_answered_since_can_be_left_out(
    made: Turns, interruptions: PostgresInterruptions
) -> None:
    first, second = [await made.ended(1, GIVEN_UP) for _ in range(2)]
    await made.log.append(thread_id(1), [finished("later", "Here it is.")])

    everything = await interruptions.interrupted(ALL)
    unanswered = await interruptions.interrupted(WhichInterrupted(unanswered=True))

    assert {each.turn_id: each.answered for each in everything} == {first: True, second: False}
    assert ids(unanswered) == [second]


async def test_pages_follow_each_other_also_where_two_ended_at_once(
    made: Turns, interruptions: PostgresInterruptions, sessions: Sessions
) -> None:
    for _ in range(5):
        await made.ended(1, GIVEN_UP)
    async with sessions.begin() as session:
        await session.execute(sa.update(turns).values(closed_at=at(0)))

    whole = ids(await interruptions.interrupted(ALL))
    pages: list[str] = []
    while page := await interruptions.interrupted(ALL, after=pages[-1] if pages else None, limit=2):
        pages += ids(page)

    assert len(whole) == 5
    assert pages == whole
    assert await interruptions.interrupted(ALL, after=thread_id(999)) == ()


async def test_they_are_found_by_their_index(made: Turns, sessions: Sessions) -> None:
    await made.ended(1, GIVEN_UP)
    statement = (
        "EXPLAIN SELECT id FROM turns WHERE status = 'failed' AND recoveries > 0"
        " ORDER BY closed_at DESC, id DESC LIMIT 50"
    )
    async with sessions.begin() as session:
        await session.execute(sa.text("SET LOCAL enable_seqscan = off"))
        plan = "".join(await session.scalars(sa.text(statement)))
    assert "ix_turns_interrupted" in plan
