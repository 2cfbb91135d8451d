"""What a turn looks back at: the newest of the log, each event read once."""

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from tests.support.histories import finished, message
from tests.support.turns import Desk

from smart_support.agent.history import MAX_EVENTS
from smart_support.chat.past import PastEvents
from smart_support.events.postgres import PostgresEventLog
from smart_support.events.records import Event
from smart_support.identity.people import Person, Role

BEN = Person(id="cus_ben", role=Role.CUSTOMER, name="Ben")


def numbers(events: Sequence[Event]) -> list[int]:
    return [event.seq for event in events]


async def test_reads_on_from_what_it_knows(desk: Desk) -> None:
    past = PastEvents(desk.log)
    await desk.log.append(desk.thread_id, [message("t1"), finished("t1")])
    read: list[int] = []
    real = PostgresEventLog.read_turns

    async def reading(log: PostgresEventLog, *args: Any, **options: Any) -> tuple[Event, ...]:
        found = await real(log, *args, **options)
        read.append(len(found))
        return found

    with patch.object(PostgresEventLog, "read_turns", reading):
        first = await past.read(desk.thread_id)
        # By whoever it is: other processes write to the same log.
        await PostgresEventLog(desk.sessions).append(desk.thread_id, [message("t2")])
        second = await past.read(desk.thread_id)
        third = await past.read(desk.thread_id)

    assert read == [2, 1, 0]
    assert numbers(second) == [*numbers(first), 3]
    assert third == second
    assert second == await desk.log.read(desk.thread_id)


async def test_looks_back_only_so_far(desk: Desk) -> None:
    past = PastEvents(desk.log)
    await past.read(desk.thread_id)
    for _ in range(3):
        batch = [message(f"t{number}") for number in range(MAX_EVENTS // 2)]
        await desk.log.append(desk.thread_id, batch)
        found = await past.read(desk.thread_id)

    assert found == (await desk.log.read(desk.thread_id))[-MAX_EVENTS:]
    assert len(past) == MAX_EVENTS


async def test_keeps_so_many_events_of_the_threads_that_were_read_last(desk: Desk) -> None:
    past = PastEvents(desk.log, most=5)
    threads = [desk.thread_id, *[(await desk.runner.open_thread(BEN)).id for _ in range(2)]]
    for thread_id in threads:
        await desk.log.append(thread_id, [message("t1"), finished("t1")])
        await past.read(thread_id)

    assert len(past) == 4
    for thread_id in threads:
        assert await past.read(thread_id) == await desk.log.read(thread_id)
        assert len(past) <= 5
