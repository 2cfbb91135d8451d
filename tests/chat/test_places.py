"""More turns than a process answers at once: they wait in order, are told so, and none is lost."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.model_endpoint import calls, says, stalled
from tests.support.turns import ADA, REFUND, Desk, open_desk

from smart_support.chat.follow import Follower, Waiting
from smart_support.chat.pace import LATE
from smart_support.chat.places import (
    BACK_LATEST,
    BACK_SOONEST,
    BUSY_SECONDS,
    MOMENTS,
    WAIT_SECONDS,
    Busy,
    Place,
    Places,
)
from smart_support.chat.turn import Accepted, TurnRunner
from smart_support.conversations.handoff_postgres import PostgresHandoffs
from smart_support.conversations.records import TurnStatus
from smart_support.database import Sessions
from smart_support.events.records import MessageReceived, TurnClosed
from smart_support.telemetry import metrics

SOON = 0.01


def moving(per_second: float, line: int) -> tuple[Places, list[float]]:
    """One place, a line of `line` that has moved so fast for a while, and the clock."""
    now = [0.0]
    places = Places(1, 1_000, monotonic=lambda: now[0])
    for _ in range(line + 1):
        places.ask()
    while now[0] < 30.0:
        now[0] += 1 / per_second
        places.ask()
        places.give_up(next(iter(places._taken)))
    return places, now


class TestPlaces:
    @given(at_once=st.integers(1, 4), moves=st.lists(st.one_of(st.none(), st.integers(0, 9))))
    async def test_are_had_in_the_order_in_which_they_were_asked_for(
        self, at_once: int, moves: list[int | None]
    ) -> None:
        """None asks, a number gives up one that is there: the model is a plain list."""
        places = Places(at_once, 100)
        line: list[Place] = []

        for move in moves:
            if move is None:
                line.append(places.ask())
            elif line:
                places.give_up(line.pop(move % len(line)))

            # Whoever has a place came before whoever waits.
            assert [place.had for place in line] == [at < at_once for at in range(len(line))]
            assert (places.taken, places.waiting) == (
                min(len(line), at_once),
                max(0, len(line) - at_once),
            )
            for at, place in enumerate(line[at_once:]):
                assert places.before(place) == at

    async def test_that_are_given_up_twice_let_one_in(self) -> None:
        places = Places(1, 100)
        first, second, third = (places.ask() for _ in range(3))

        places.give_up(first)
        places.give_up(first)

        assert [second.had, third.had] == [True, False]

    async def test_are_full_when_all_that_may_wait_do_or_are_about_to(self) -> None:
        places = Places(1, 1)
        places.ask()
        with places.promised("a"):
            assert places.full("b")
        assert not places.full("b")
        second = places.ask()
        assert places.full("b")
        places.give_up(second)
        assert not places.full("b")

    async def test_tell_who_is_before_and_how_long_it_took(self) -> None:
        now = [100.0]
        places = Places(1, 100, tell_after=SOON, tell_every=SOON, monotonic=lambda: now[0])
        first, second, third = (places.ask() for _ in range(3))
        told: list[int] = []

        waiting = asyncio.create_task(third.wait(told.append))
        while told != [1]:
            await asyncio.sleep(SOON / 10)
        places.give_up(first)
        while told[-1] != 0:
            await asyncio.sleep(SOON / 10)
        now[0] += 7.0
        places.give_up(second)

        assert await waiting == 7.0
        assert sorted(told, reverse=True) == told

    async def test_say_nothing_to_who_does_not_wait(self) -> None:
        assert await Places(1, 1, tell_after=0.0).ask().wait(pytest.fail) < 1.0

    async def test_are_full_when_the_first_in_line_has_waited_for_too_long(self) -> None:
        now = [0.0]
        places = Places(1, 100, wait=3.0, monotonic=lambda: now[0])
        first, second = places.ask(), places.ask()
        now[0] = 3.0
        assert not places.full("b")
        now[0] = 3.1
        assert places.full("b")
        places.give_up(first)
        assert second.had
        assert not places.full("b"), "nobody waits any more"

    async def test_are_full_when_whoever_comes_would_wait_for_too_long(self) -> None:
        places, now = moving(per_second=2.0, line=20)

        assert places.full("b"), "21 / 2 s are too long"
        while places.full("b"):
            now[0] += 0.5
            places.give_up(next(iter(places._taken)))
        assert (places.waiting + 1) / 2.0 == pytest.approx(WAIT_SECONDS, rel=0.06)

    async def test_take_in_as_many_as_there_may_be_places_however_long_it_takes(self) -> None:
        now = [0.0]
        places = Places(100, 0, wait=1.0, monotonic=lambda: now[0])
        for _ in range(99):
            places.ask()
        now[0] = 60.0

        assert places.waiting > 0
        assert not places.full("b")
        places.ask()
        assert places.full("b")

    async def test_send_those_who_are_refused_back_as_fast_as_the_line_moves(self) -> None:
        places, now = moving(per_second=2.0, line=20)

        told = [places.busy("full", str(at)).wait_seconds() or 0.0 for at in range(4)]
        now[0] += 100.0
        later = places.busy("full", "later").wait_seconds()

        # The first when the line is half as long as it may be, each other half a second later.
        assert told == pytest.approx([WAIT_SECONDS / 2 + at / 2 for at in range(1, 5)], rel=0.1)
        assert later is not None
        assert later <= 10.0, "who was refused long ago has been back"

    @given(refused=st.integers(1, 300), per_second=st.floats(0.2, 20))
    async def test_never_tell_anybody_to_come_at_once_or_never(
        self, refused: int, per_second: float
    ) -> None:
        places, _ = moving(per_second=per_second, line=20)
        for at in range(refused):
            told = places.busy("full", str(at)).wait_seconds()

            assert told is not None
            assert BACK_SOONEST <= told <= BACK_LATEST

    async def test_are_watched_while_turns_are_at_work(self) -> None:
        now, slept, late = [0.0], 0, 0.0

        async def sleep(seconds: float) -> None:
            nonlocal slept
            slept += 1
            now[0] += seconds + late
            await asyncio.sleep(0)

        places = Places(1_000, 1_000, monotonic=lambda: now[0])
        begun = places.at_once
        watching = asyncio.create_task(places.watch(sleep))
        await asyncio.sleep(SOON)
        assert slept == 0, "nothing is at work"
        line = [places.ask() for _ in range(4 * begun)]
        async with asyncio.timeout(20):
            while places.at_once < 4 * begun:
                await asyncio.sleep(0)
            assert line[-1].had
            late = 1.0
            while places.at_once == 4 * begun:
                await asyncio.sleep(0)
            late = 0.0

        for place in line:
            places.give_up(place)
        await asyncio.sleep(SOON)
        before = slept
        await asyncio.sleep(SOON)
        watching.cancel()
        assert slept == before

    async def test_are_late_when_most_moments_are_and_turns_are_at_work(self) -> None:
        places = Places(1, 1)
        place = places.ask()
        for _ in range(4 * MOMENTS):
            places.notice(3 * LATE)
            places.notice(0.0)  # there is always one
        late = [places.late]
        places.give_up(place)
        late.append(places.late)
        places.ask()
        late.append(places.late)
        for _ in range(4 * MOMENTS):
            places.notice(0.0)
        late.append(places.late)
        places.notice(6 * LATE)
        late.append(places.late)

        assert late == [True, False, True, False, False]

    @given(chance=st.floats(0, 1))
    def test_send_those_who_are_refused_back_one_by_one(self, chance: float) -> None:
        wait = Places(1, 1, chance=lambda: chance).busy("full", "a").wait_seconds()

        assert wait is not None
        assert BUSY_SECONDS <= wait <= 2 * BUSY_SECONDS


@pytest.fixture
async def desk(sessions: Sessions, database_url: str) -> AsyncIterator[Desk]:
    """A desk that answers one turn at a time and lets two wait."""
    few = lambda: Places(1, 2, tell_after=SOON, tell_every=SOON)  # noqa: E731
    async with open_desk(sessions, database_url, places=few) as opened:
        yield opened
        assert opened.model.unexpected == []


async def thread_of(desk: Desk) -> str:
    return (await desk.runner.open_thread(ADA)).id


async def write(desk: Desk, thread_id: str, text: str, message_id: str = "m") -> Accepted:
    return await desk.runner.send(ADA, thread_id, message_id, text)


async def stall(desk: Desk) -> asyncio.Event:
    """Have the only place taken, by a turn of the desk's own thread, until the event is set."""
    until = asyncio.Event()
    desk.model.queue(stalled(says("First."), until, after=0))
    await desk.send("First")
    await desk.model.received(1)
    return until


async def told(follower: Follower) -> Waiting:
    """What a follower is told about waiting."""
    async with asyncio.timeout(5):
        while not isinstance(item := await follower.next(), Waiting):
            pass
    return item


def refused() -> float:
    return metrics.snapshot().get(("smart_support_turns_refused_total", ()), 0.0)


class TestTurns:
    async def test_wait_in_order_before_anything_that_costs(self, desk: Desk) -> None:
        until = await stall(desk)
        threads = [await thread_of(desk) for _ in range(2)]
        desk.model.queue(says("Second."), says("Third."))
        for at, thread_id in enumerate(threads):
            assert (await write(desk, thread_id, f"Number {at}")).status == "open"

        assert (desk.runner.running, desk.runner.waiting) == (1, 2)
        assert len(desk.model.requests) == 1
        assert [type(fact) for fact in await desk.facts(threads[0])] == [MessageReceived]
        until.set()
        await desk.settled()

        assert [desk.said(await desk.facts(each)) for each in threads] == [["Second."], ["Third."]]
        assert [desk.told(at)[-1]["content"] for at in (1, 2)] == ["Number 0", "Number 1"]
        assert (desk.runner.running, desk.runner.waiting) == (0, 0)

    async def test_that_wait_do_not_use_up_their_time(self, desk: Desk) -> None:
        until = await stall(desk)
        thread_id = await thread_of(desk)
        desk.model.queue(says("Second."))
        await write(desk, thread_id, "Second")
        desk.clock.pass_by(100_000.0)
        until.set()
        await desk.settled()

        (closed,) = desk.of(await desk.facts(thread_id), TurnClosed)
        assert (closed.status, closed.duration_ms) == ("done", 0.0)

    async def test_that_wait_are_told_so(self, desk: Desk) -> None:
        until = await stall(desk)
        threads = [await thread_of(desk) for _ in range(2)]
        desk.model.queue(says("Second."), says("Third."))
        with desk.first.followers.follow(threads[1]) as follower:
            await write(desk, threads[0], "Second")
            accepted = await write(desk, threads[1], "Third")

            said = await told(follower)
            until.set()
            await desk.settled()

        assert said == Waiting(turn_id=accepted.turn_id, run=1, before=1)

    async def test_that_wait_can_be_cancelled(self, desk: Desk) -> None:
        until = await stall(desk)
        thread_id = await thread_of(desk)
        accepted = await write(desk, thread_id, "Second")
        async with asyncio.timeout(5):
            while accepted.turn_id not in desk.runner._waiting:
                await asyncio.sleep(0)

        assert await desk.runner.cancel(ADA, thread_id)
        async with asyncio.timeout(5):
            while desk.runner.waiting:
                await asyncio.sleep(SOON)

        assert desk.closings(await desk.facts(thread_id)) == [("cancelled", None)]
        assert (await desk.turn(accepted.turn_id)).status is TurnStatus.CANCELLED
        assert desk.runner.running == 1
        until.set()
        await desk.settled()
        assert len(desk.model.requests) == 1

    async def test_that_wait_at_shutdown_are_left_to_the_next_process(self, desk: Desk) -> None:
        until = await stall(desk)
        thread_id = await thread_of(desk)
        accepted = await write(desk, thread_id, "Second")
        async with asyncio.timeout(5):
            while accepted.turn_id not in desk.runner._waiting:
                await asyncio.sleep(0)

        closing = asyncio.create_task(desk.runner.close(grace=10))
        async with asyncio.timeout(5):
            while desk.runner.waiting:
                await asyncio.sleep(SOON)
        until.set()
        await closing

        assert (await desk.turn(accepted.turn_id)).status is TurnStatus.OPEN
        assert desk.said(await desk.facts()) == ["First."]
        assert await desk.facts(thread_id) == [
            MessageReceived(turn_id=accepted.turn_id, message_id="m", text="Second")
        ]
        desk.model.queue(says("Second."))
        await (await desk.kill()).recovery.sweep()
        await desk.settled()
        assert desk.said(await desk.facts(thread_id)) == ["Second."]

    async def test_that_are_taken_over_wait_too_and_are_never_refused(self, desk: Desk) -> None:
        await stall(desk)
        threads = [desk.thread_id, *[await thread_of(desk) for _ in range(2)]]
        for thread_id in threads[1:]:
            await write(desk, thread_id, "Hello?")
        desk.places = lambda: Places(1, 0)

        until = asyncio.Event()
        desk.model.queue(stalled(says("A."), until, after=0), says("B."), says("C."))
        after = await desk.kill()
        await after.recovery.sweep()
        await desk.model.received(2)
        counts = (after.runner.running, after.runner.waiting)
        until.set()
        await desk.settled()

        assert counts == (1, 2)
        said = [desk.said(await desk.facts(each)) for each in threads]
        assert sorted(said) == [["A."], ["B."], ["C."]]

    async def test_that_wait_are_not_taken_for_forgotten(self, desk: Desk) -> None:
        until = await stall(desk)
        thread_id = await thread_of(desk)
        accepted = await write(desk, thread_id, "Second")
        for _ in range(3):
            await desk.first.recovery.take_up_forgotten()
        assert (await desk.turn(accepted.turn_id)).recoveries == 0

        desk.model.queue(says("Second."))
        until.set()
        await desk.settled()
        assert desk.said(await desk.facts(thread_id)) == ["Second."]

    async def test_that_wait_for_a_yes_have_no_place(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND))
        parked = await desk.say("Refund order 1002")
        assert (await desk.turn(parked.turn_id)).status is TurnStatus.PARKED
        assert (desk.runner.running, desk.runner.waiting) == (0, 0)

        until = asyncio.Event()
        thread_id = await thread_of(desk)
        desk.model.queue(stalled(says("Hello."), until, after=0), says("Refunded."))
        await write(desk, thread_id, "Hello?")
        await desk.model.received(2)
        await desk.decide()
        assert (desk.runner.running, desk.runner.waiting) == (1, 1)
        until.set()
        await desk.settled()

        assert desk.said(await desk.facts()) == ["Refunded."]
        assert desk.said(await desk.facts(thread_id)) == ["Hello."]


class TestBeyondThose:
    async def fill(self, desk: Desk) -> tuple[asyncio.Event, list[str]]:
        """Have the place taken and as many wait as may."""
        until = await stall(desk)
        threads = [await thread_of(desk) for _ in range(2)]
        for thread_id in threads:
            await write(desk, thread_id, "Hello?")
        return until, threads

    async def test_a_message_is_refused_and_may_come_again(self, desk: Desk) -> None:
        until, _ = await self.fill(desk)
        late, before = await thread_of(desk), refused()

        with pytest.raises(Busy) as refusal:
            await write(desk, late, "Late", "m7")

        assert refused() == before + 1
        assert refusal.value.wait_seconds() is not None
        assert await desk.facts(late) == []
        desk.model.queue(*[says("Hello.")] * 3)
        until.set()
        await desk.settled()
        assert (await write(desk, late, "Late", "m7")).status == "open"
        await desk.settled()
        assert desk.said(await desk.facts(late)) == ["Hello."]

    async def test_who_was_refused_comes_before_who_writes_for_the_first_time(
        self, desk: Desk
    ) -> None:
        until, _ = await self.fill(desk)
        late, new = [await thread_of(desk) for _ in range(2)]
        with pytest.raises(Busy):
            await write(desk, late, "Late", "m7")
        then = asyncio.Event()
        desk.model.queue(stalled(says("Second."), then, after=0))
        until.set()
        await desk.model.received(2)

        assert desk.runner.waiting == 1, "and there is room for one more"
        with pytest.raises(Busy):
            await write(desk, new, "New")
        assert (await write(desk, late, "Late", "m7")).status == "open"
        desk.model.queue(*[says("Hello.")] * 2)
        then.set()
        await desk.settled()
        assert desk.said(await desk.facts(late)) == ["Hello."]

    async def test_what_is_stored_already_is_not_refused(self, desk: Desk) -> None:
        done = await thread_of(desk)
        desk.model.queue(says("Done."))
        await write(desk, done, "Hello?")
        await desk.settled()
        desk.model.requests.clear()
        until, threads = await self.fill(desk)

        again = [await write(desk, each, "Hello?") for each in (done, threads[0])]

        assert [accepted.status for accepted in again] == ["duplicate", "duplicate"]
        desk.model.queue(*[says("Hello.")] * 2)
        until.set()
        await desk.settled()

    async def test_what_a_person_will_answer_is_not_refused(
        self, desk: Desk, sessions: Sessions
    ) -> None:
        theirs = await thread_of(desk)
        await PostgresHandoffs(sessions).take_over(theirs, by="lead", name="Lea")
        until, _ = await self.fill(desk)

        await write(desk, theirs, "Are you there?")

        desk.model.queue(*[says("Hello.")] * 2)
        until.set()
        await desk.settled()
        assert desk.of(await desk.facts(theirs), MessageReceived)
        assert desk.said(await desk.facts(theirs)) == []

    async def test_a_thread_in_line_may_say_more(self, desk: Desk) -> None:
        """Its second message waits for its first, and takes the place of nobody."""
        until, threads = await self.fill(desk)

        accepted = await write(desk, threads[0], "And another thing", "m2")

        assert accepted.status == "queued"
        desk.model.queue(*[says("Hello.")] * 3)
        until.set()
        await desk.settled()
        assert desk.said(await desk.facts(threads[0])) == ["Hello.", "Hello."]

    async def test_of_many_at_once_no_more_come_in_than_there_is_room_for(self, desk: Desk) -> None:
        until = await stall(desk)
        threads = [await thread_of(desk) for _ in range(8)]

        outcomes = await asyncio.gather(
            *(write(desk, each, "Hello?") for each in threads), return_exceptions=True
        )

        assert [type(each) for each in outcomes].count(Accepted) == 2
        assert [type(each) for each in outcomes].count(Busy) == 6
        desk.model.queue(*[says("Hello.")] * 2)
        until.set()
        await desk.settled()


async def test_a_turn_that_was_cancelled_before_it_began_gives_its_place_up(desk: Desk) -> None:
    runner: TurnRunner = desk.runner
    await desk.send("Hello?")
    assert runner.stop(desk.thread_id)
    await desk.settled()
    assert (runner.running, runner.waiting) == (0, 0)
