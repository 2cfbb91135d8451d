"""What is derived from the log never gets in the way of a conversation, and catches up."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from unittest.mock import patch

import pytest
import sqlalchemy as sa
from tests.support.histories import message
from tests.support.model_endpoint import says
from tests.support.turns import ADA, Desk

from smart_support.chat.derive import (
    BATCH,
    GATHER_LATE_SECONDS,
    GATHER_SECONDS,
    SETTLE_SECONDS,
    Derivation,
)
from smart_support.conversations.tables import conversation_states
from smart_support.events.consumer import News
from smart_support.events.postgres import PostgresEventLog
from smart_support.events.records import Event, ThreadId


class Notes:
    """A consumer that remembers what it was given, and fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.seen: dict[ThreadId, list[Event]] = {}
        self.failures = failures
        self.behind_fails = False
        self.threads: list[ThreadId] = []
        self.batches: list[int] = []
        self.asked: list[ThreadId] = []
        self.given: list[list[ThreadId]] = []
        self.refused: ThreadId = ""

    async def applied(self, thread_ids: Collection[ThreadId]) -> dict[ThreadId, int]:
        self.asked.extend(thread_ids)
        return {name: len(self.seen.get(name, ())) for name in thread_ids}

    async def apply(self, news: News) -> None:
        self.given.append(sorted(news))
        if self.failures or self.refused in news:
            self.failures = max(0, self.failures - 1)
            raise RuntimeError("not today")
        for thread_id, events in news.items():
            self.batches.append(len(events))
            self.seen.setdefault(thread_id, []).extend(events)

    async def behind(self, limit: int) -> list[ThreadId]:
        if self.behind_fails:
            raise RuntimeError("not today")
        return self.threads[:limit]

    async def rebuild(self, thread_id: ThreadId) -> None:
        self.seen.pop(thread_id, None)


@contextlib.asynccontextmanager
async def at_work(derivation: Derivation) -> AsyncIterator[None]:
    """It works for as long as the block lasts, which is not for ever."""
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(derivation.run())
        yield
        running.cancel()


async def test_a_failure_breaks_no_turn_and_is_caught_up_later(desk: Desk) -> None:
    broken, whole = Notes(failures=2), Notes()  # together with others, and alone
    derivation = Derivation(desk.log, [broken, whole])
    desk.model.queue(says("Hello."))
    await desk.say("Hello?")

    await derivation.catch_up([desk.thread_id])
    assert broken.seen == {}
    assert len(whole.seen[desk.thread_id]) == 4
    broken.threads = [desk.thread_id]
    await derivation.sweep()

    assert broken.seen == whole.seen
    assert desk.said(await desk.facts()) == ["Hello."]


async def test_one_that_cannot_say_what_it_lacks_does_not_hold_up_the_others(desk: Desk) -> None:
    broken, whole = Notes(), Notes()
    broken.behind_fails = True
    whole.threads = [desk.thread_id]
    await desk.log.append(desk.thread_id, [message()])

    await Derivation(desk.log, [broken, whole]).sweep()

    assert len(whole.seen[desk.thread_id]) == 1


async def test_a_long_log_is_read_in_pieces(desk: Desk) -> None:
    notes = Notes()
    await desk.log.append(desk.thread_id, [message(f"t{n}") for n in range(BATCH + 1)])

    await Derivation(desk.log, [notes]).catch_up([desk.thread_id])

    assert notes.batches == [BATCH, 1]


async def test_the_log_is_read_once_for_all_and_on_from_there(desk: Desk) -> None:
    notes = [Notes(), Notes(), Notes()]
    derivation = Derivation(desk.log, notes)
    read: list[int] = []
    real = PostgresEventLog.read_several

    async def reading(
        log: PostgresEventLog, after: Mapping[ThreadId, int], *, limit: int
    ) -> dict[ThreadId, list[Event]]:
        read.extend(after.values())
        return await real(log, after, limit=limit)

    with patch.object(PostgresEventLog, "read_several", reading):
        for turn in ("t1", "t2"):
            await desk.log.append(desk.thread_id, [message(turn)])
            await derivation.catch_up([desk.thread_id])

    assert read == [0, 1]
    assert [len(each.seen[desk.thread_id]) for each in notes] == [2, 2, 2]


async def test_one_that_stands_elsewhere_than_remembered_is_asked_where(desk: Desk) -> None:
    derivation = Derivation(desk.log, [desk.tracker])
    await desk.log.append(desk.thread_id, [message("t1")])
    await derivation.catch_up([desk.thread_id])
    async with desk.sessions.begin() as session:  # a backup was put back, say
        await session.execute(sa.delete(conversation_states))
    await desk.log.append(desk.thread_id, [message("t2")])

    await derivation.catch_up([desk.thread_id])
    await derivation.catch_up([desk.thread_id])

    assert (await desk.tracker.applied([desk.thread_id]))[desk.thread_id] == 2


async def opened(desk: Desk, number: int) -> list[ThreadId]:
    """New threads with a message each, in the order of their ids."""
    names = sorted([(await desk.runner.open_thread(ADA)).id for _ in range(number)])
    for name in names:
        await desk.log.append(name, [message()])
    return names


async def test_several_threads_are_taken_in_at_once(desk: Desk) -> None:
    notes = Notes()
    names = await opened(desk, 3)

    await Derivation(desk.log, [notes]).catch_up(names)

    assert notes.given == [names]
    assert {name: len(seen) for name, seen in notes.seen.items()} == dict.fromkeys(names, 1)


async def test_one_that_cannot_be_taken_in_does_not_hold_up_the_others(desk: Desk) -> None:
    notes, other = Notes(), Notes()
    names = await opened(desk, 3)
    notes.refused = names[1]

    await Derivation(desk.log, [notes, other]).catch_up(names)

    assert sorted(notes.seen) == [names[0], names[2]]
    assert sorted(other.seen) == names


async def test_a_thread_with_much_to_read_is_read_to_its_end_beside_others(desk: Desk) -> None:
    notes = Notes()
    names = await opened(desk, 2)
    await desk.log.append(names[0], [message(f"t{n}") for n in range(2 * BATCH)])

    await Derivation(desk.log, [notes]).catch_up(names)

    assert {name: len(seen) for name, seen in notes.seen.items()} == {
        names[0]: 2 * BATCH + 1,
        names[1]: 1,
    }


async def test_what_happens_meanwhile_is_gathered_again(desk: Desk) -> None:
    # Else a thread that is never quiet would be worked on without an end.
    notes = Notes()
    [name] = await opened(desk, 1)
    slept: list[int] = []
    begun, rested = asyncio.Event(), asyncio.Event()

    async def sleep(_: float) -> None:
        slept.append(len(notes.given))
        begun.set()
        await rested.wait()
        rested.clear()

    derivation = Derivation(desk.log, [notes], sleep=sleep)

    async def apply(news: News) -> None:
        await Notes.apply(notes, news)
        if len(notes.given) < 3:
            await desk.log.append(name, [message(f"t{len(notes.given)}")])
            derivation.notice(name)

    with patch.object(notes, "apply", apply):
        async with at_work(derivation):
            derivation.notice(name)
            for _ in range(3):
                await begun.wait()
                begun.clear()
                rested.set()
            while len(notes.given) < 3:
                await asyncio.sleep(0)

    assert slept == [0, 1, 2]
    assert notes.batches == [1, 1, 1]


@pytest.mark.parametrize(
    ("late", "seconds"),
    [
        pytest.param([False], GATHER_SECONDS, id="in time"),
        pytest.param([True] * 9, GATHER_LATE_SECONDS, id="late all the time"),
        pytest.param([True, True, False], 2 * GATHER_SECONDS, id="in time again"),
    ],
)
async def test_while_the_process_is_late_it_waits_longer_and_not_for_ever(
    desk: Desk, late: list[bool], seconds: float
) -> None:
    notes, slept = Notes(), 0.0

    async def sleep(pause: float) -> None:
        nonlocal slept
        slept += pause

    derivation = Derivation(desk.log, [notes], sleep=sleep, late=lambda: bool(late and late.pop(0)))
    await desk.log.append(desk.thread_id, [message()])
    async with at_work(derivation):
        derivation.notice(desk.thread_id)
        while desk.thread_id not in notes.seen:
            await asyncio.sleep(0)

    assert slept == seconds


async def test_works_on_what_it_is_told_of_until_it_is_stopped(desk: Desk) -> None:
    notes = Notes()
    derivation = Derivation(desk.log, [notes])
    other = (await desk.runner.open_thread(ADA)).id
    async with at_work(derivation):
        for thread_id in (desk.thread_id, other):
            await desk.log.append(thread_id, [message()])
            derivation.notice(thread_id)
            while thread_id not in notes.seen:
                await asyncio.sleep(0)

    assert {name: len(seen) for name, seen in notes.seen.items()} == {desk.thread_id: 1, other: 1}


async def test_the_tracker_follows_a_real_turn(desk: Desk) -> None:
    desk.model.queue(says("Hello."))
    await desk.say("Where is my order?")

    await Derivation(desk.log, [desk.tracker]).sweep()

    found = await desk.tracker.lifecycle(desk.thread_id)
    assert (found.title, found.turns) == ("Where is my order?", 1)


async def test_what_was_counted_is_settled_now_and_then_and_wholly_by_a_sweep(desk: Desk) -> None:
    waiting, now = [2, 1], [0.0]
    settled: list[float] = []

    async def settle() -> int:
        settled.append(now[0])
        if len(settled) == 1:
            raise RuntimeError("not today")
        return waiting.pop() if waiting else 0

    notes = Notes()
    derivation = Derivation(
        desk.log, [notes], settle=settle, clock=lambda: now[0], sleep=lambda _: asyncio.sleep(0)
    )
    desk.model.queue(says("Hello."))
    await desk.say("Hello?")
    async with at_work(derivation):
        for at in (1.0, 2.0, SETTLE_SECONDS, SETTLE_SECONDS + 1, 2 * SETTLE_SECONDS):
            now[0] = at
            notes.seen.clear()
            await desk.log.append(desk.thread_id, [message(f"at {at}")])
            derivation.notice(desk.thread_id)
            while not notes.seen:
                await asyncio.sleep(0)
            await asyncio.sleep(0.05)
    assert settled == [SETTLE_SECONDS, 2 * SETTLE_SECONDS]

    await derivation.sweep()
    assert waiting == []
    assert len(settled) == 4
