"""What goes from one process to another: in few and short pieces, and never twice or garbled."""

import asyncio
import contextlib
from collections.abc import Sequence

import orjson
from hypothesis import given
from hypothesis import strategies as st
from tests.support.histories import events_of, finished, thread_id

from smart_support.agent.state import LiveText
from smart_support.chat.follow import Followers, Moved, Waiting
from smart_support.chat.relay import LOOK_SECONDS, MAX_PIECE, Relay, _joined

ONE = thread_id(1)


class Wire:
    """Carries to every relay that is on it."""

    def __init__(self) -> None:
        self.relays: list[Relay] = []
        self.sent: list[str] = []

    async def notify(self, payloads: Sequence[str]) -> bool:
        self.sent += payloads
        for relay in self.relays:
            for payload in payloads:
                relay.take(payload)
        return True


class Node:
    """A process: its followers and its relay."""

    def __init__(self, wire: Wire, name: str) -> None:
        self.followers = Followers()
        self.stopped: list[str] = []
        self.wire = wire

        async def last_seqs(_: Sequence[str]) -> dict[str, int]:
            return {ONE: 7}

        self.now = 0.0
        self.relay = Relay(
            wire,
            self.followers,
            name=name,
            stop=self.stopped.append,
            last_seqs=last_seqs,
            monotonic=lambda: self.now,
        )
        wire.relays.append(self.relay)

    async def flush(self) -> None:
        """Send what waits, as `run` does."""
        waiting, self.relay._waiting = _joined(self.relay._waiting), []
        await self.wire.notify([orjson.dumps(one).decode() for one in waiting])


def pair() -> tuple[Node, Node]:
    wire = Wire()
    return Node(wire, "a"), Node(wire, "b")


async def heard(node: Node, pieces: list[LiveText | Moved]) -> str:
    """The text that a follower of the node has in the end."""
    text = ""
    for item in pieces:
        if isinstance(item, LiveText) and item.offset <= len(text):
            text = text[: item.offset] + item.text
    return text


@given(text=st.text(min_size=1, max_size=5_000), cut=st.integers(0, 5_000))
async def test_words_arrive_whole_wherever_somebody_joins(text: str, cut: int) -> None:
    here, there = pair()
    here.followers.publish(ONE, [LiveText("m", 0, text[:cut])])
    with there.followers.follow(ONE) as follower:
        await there.flush()
        here.followers.publish(ONE, [LiveText("m", len(text[:cut]), text[cut:])])
        await here.flush()
        items = [await follower.next() for _ in range(follower.waiting)]

    assert await heard(there, items) == text  # type: ignore[arg-type]
    assert all(len(payload.encode()) < 8_000 for payload in here.wire.sent)


async def test_nothing_goes_where_nobody_follows() -> None:
    here, there = pair()

    here.followers.publish(ONE, [LiveText("m", 0, "Hello")])
    here.followers.publish(ONE, events_of(ONE, [finished()]))
    await here.flush()

    assert here.wire.sent == []
    assert there.followers.written(ONE) is None


async def test_a_fact_elsewhere_is_a_hint_to_read_the_log() -> None:
    here, there = pair()
    with there.followers.follow(ONE) as follower, here.followers.follow(ONE) as own:
        await there.flush()
        here.followers.publish(ONE, events_of(ONE, [finished(), finished()]))
        await here.flush()

        assert await follower.next() == Moved(2)
        assert own.waiting == 2  # its own facts, and no hint of them


async def test_whoever_begins_to_follow_is_told_what_was_written_just_before() -> None:
    # Its word that it follows, and the fact, may have crossed.
    here, there = pair()
    with there.followers.follow(ONE) as follower:
        here.followers.publish(ONE, events_of(ONE, [finished(), finished()]))
        await here.flush()
        await there.flush()
        await here.flush()

        assert await follower.next() == Moved(2)


async def test_what_was_written_is_kept_only_until_everybody_has_looked() -> None:
    here, there = pair()
    here.followers.publish(ONE, events_of(ONE, [finished()]))
    for passed in (LOOK_SECONDS / 2, LOOK_SECONDS):
        here.now += passed
        here.relay._forget()
        with there.followers.follow(ONE) as follower:
            await there.flush()
            await here.flush()

            assert follower.waiting == (passed < LOOK_SECONDS)


async def test_all_that_is_followed_is_said_again_in_few_words() -> None:
    here, there = pair()
    names = [thread_id(number) for number in range(1, 1_001)]
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(there.followers.follow(name))
        there.relay._waiting.clear()
        looked = asyncio.Event()

        async def sleep(_: float) -> None:
            if looked.is_set():
                await asyncio.Event().wait()
            looked.set()

        there.relay._sleep = sleep
        task = asyncio.create_task(there.relay.look())
        await looked.wait()
        await asyncio.sleep(0)
        await there.flush()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    assert len(there.wire.sent) == 7
    assert all(len(payload.encode()) < 8_000 for payload in there.wire.sent)
    assert all(here.relay._wanted_elsewhere(name) for name in names)


async def test_what_no_hint_told_of_is_found_by_looking() -> None:
    _, there = pair()
    with there.followers.follow(ONE) as follower:
        await there.relay.catch_up()

        assert await asyncio.wait_for(follower.next(), 5) == Moved(7)


async def test_a_stop_reaches_the_others_and_not_itself() -> None:
    here, there = pair()

    here.relay.cancel(ONE)
    await here.flush()

    assert (here.stopped, there.stopped) == ([], [ONE])


def test_noise_on_the_wire_is_left_alone() -> None:
    here, _ = pair()

    for payload in ("", "{", "[]", "7", '{"x": 1}', "null", '{"f": 1}', '{"f": [[]]}'):
        here.relay.take(payload)

    assert here.stopped == []


def test_pieces_of_one_answer_go_together_as_far_as_they_fit() -> None:
    words = [{"t": ONE, "m": "m", "o": n, "x": "x"} for n in range(MAX_PIECE + 10)]

    joined = _joined(words)

    assert [len(one["x"]) for one in joined] == [MAX_PIECE, 10]
    assert [one["o"] for one in joined] == [0, MAX_PIECE]


async def test_that_a_turn_waits_is_told_where_its_thread_is_followed() -> None:
    here, there = pair()
    waits = Waiting(turn_id="turn", run=2, before=3)
    with there.followers.follow(ONE) as follower:
        await there.flush()
        here.followers.publish(ONE, [waits])
        await here.flush()

        assert await follower.next() == waits
        assert follower.waiting == 0


async def test_that_a_turn_waits_goes_nowhere_where_nobody_follows() -> None:
    here, _ = pair()

    here.followers.publish(ONE, [Waiting(turn_id="turn", run=1, before=0)])
    await here.flush()

    assert here.wire.sent == []
