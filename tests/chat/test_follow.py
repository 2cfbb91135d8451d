"""Watching a thread: everything in order, without a gap, or not at all."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.histories import events_of, finished, message, opened, thread_id
from tests.support.model_endpoint import says, stalled
from tests.support.turns import Desk

from smart_support.agent.state import LiveText
from smart_support.chat.follow import Follower, Followers, TooSlow
from smart_support.events.records import Event

ONE, TWO = thread_id(1), thread_id(2)


async def taken(follower: Follower, count: int) -> list[object]:
    async with asyncio.timeout(10):
        return [await follower.next() for _ in range(count)]


async def test_hands_on_events_and_tokens_as_they_come() -> None:
    followers = Followers()
    items = [*events_of(ONE, [message(), opened()]), LiveText("m", 0, "Hel")]

    with followers.follow(ONE) as follower:
        followers.publish(ONE, items)
        assert await taken(follower, 3) == items
        followers.publish(ONE, [LiveText("m", 3, "l")])

        assert await taken(follower, 1) == [LiveText("m", 3, "l")]


async def test_words_that_nobody_has_come_to_yet_are_handed_on_together() -> None:
    followers = Followers()
    (event,) = events_of(ONE, [message()])

    with followers.follow(ONE) as follower:
        followers.publish(ONE, [LiveText("m", 0, "It "), LiveText("m", 3, "is "), event])
        followers.publish(ONE, [LiveText("m", 6, "on "), LiveText("m", 9, "its ")])
        followers.publish(ONE, [LiveText("n", 13, "Now "), LiveText("n", 99, "a gap")])
        followers.publish(ONE, [LiveText("n", 0, "", restart=True), LiveText("n", 0, "Anew")])

        assert await taken(follower, 6) == [
            LiveText("m", 0, "It is "),
            event,
            LiveText("m", 6, "on its "),
            LiveText("n", 13, "Now "),
            LiveText("n", 99, "a gap"),
            LiveText("n", 0, "Anew", restart=True),
        ]
        assert follower.waiting == 0


async def test_words_alone_drop_nobody() -> None:
    followers, words = Followers(max_waiting=3), "so many words " * 20

    with followers.follow(ONE) as slow:
        for place, letter in enumerate(words):
            followers.publish(ONE, [LiveText("m", place, letter)])

        assert await taken(slow, 1) == [LiveText("m", 0, words)]


async def test_who_comes_later_gets_the_answer_so_far_and_then_the_rest() -> None:
    followers = Followers()
    followers.publish(ONE, [LiveText("m", 0, "It is "), LiveText("m", 6, "on its ")])

    with followers.follow(ONE) as follower:
        assert await taken(follower, 1) == [LiveText("m", 0, "It is on its ")]
        followers.publish(ONE, [LiveText("m", 13, "way.")])

        assert await taken(follower, 1) == [LiveText("m", 13, "way.")]


async def test_every_follower_gets_everything_of_its_own_thread() -> None:
    followers = Followers()
    (of_one,) = events_of(ONE, [message()])
    (of_two,) = events_of(TWO, [message()])

    with (
        followers.follow(ONE) as first,
        followers.follow(ONE) as second,
        followers.follow(TWO) as third,
    ):
        followers.publish(ONE, [of_one])
        followers.publish(TWO, [of_two])

        assert await taken(first, 1) == await taken(second, 1) == [of_one]
        assert await taken(third, 1) == [of_two]


async def test_one_that_reads_too_slowly_is_told_before_there_is_a_gap() -> None:
    followers = Followers(max_waiting=3)
    log = events_of(ONE, [message(f"t{n}") for n in range(5)])

    with followers.follow(ONE) as slow, followers.follow(ONE) as quick:
        for event in log:
            followers.publish(ONE, [event])
            assert await taken(quick, 1) == [event]

        with pytest.raises(TooSlow):
            await slow.next()


async def test_one_that_is_just_quick_enough_loses_nothing() -> None:
    followers = Followers(max_waiting=3)
    log = events_of(ONE, [message(f"t{n}") for n in range(3)])

    with followers.follow(ONE) as follower:
        followers.publish(ONE, log)

        assert await taken(follower, 3) == log


async def test_waits_for_what_is_to_come() -> None:
    followers = Followers()
    (event,) = events_of(ONE, [message()])

    with followers.follow(ONE) as follower:
        waiting = asyncio.create_task(follower.next())
        await asyncio.sleep(0)
        assert not waiting.done()
        followers.publish(ONE, [event])

        assert await waiting == event


def test_a_follower_that_is_gone_leaves_nothing() -> None:
    followers = Followers()

    with followers.follow(ONE), followers.follow(ONE):
        assert len(followers._of[ONE]) == 2

    assert ONE not in followers._of


def test_a_finished_message_is_no_longer_being_written() -> None:
    followers = Followers()
    followers.publish(ONE, [LiveText("m", 0, "Hello")])
    assert followers.written(ONE) == LiveText("m", 0, "Hello")

    followers.publish(ONE, events_of(ONE, [finished(text="Hello.")]))

    assert followers.written(ONE) is None


def test_the_next_message_begins_anew() -> None:
    followers = Followers()
    followers.publish(ONE, [LiveText("m", 0, "Let me look."), LiveText("n", 0, "It")])

    assert followers.written(ONE) == LiveText("n", 0, "It")


def test_what_will_not_be_finished_is_forgotten() -> None:
    followers = Followers()
    followers.publish(ONE, [LiveText("m", 0, "Hel")])

    followers.stop_writing(ONE)
    followers.stop_writing(TWO)

    assert followers.written(ONE) is None


@given(pieces=st.lists(st.text(min_size=1, max_size=5), max_size=12), joined=st.integers(0, 12))
async def test_a_snapshot_and_what_follows_are_the_whole_text(
    pieces: list[str], joined: int
) -> None:
    followers, offset, heard = Followers(), 0, ""
    for piece in pieces[:joined]:
        followers.publish(ONE, [LiveText("m", offset, piece)])
        offset += len(piece)

    with followers.follow(ONE) as follower:
        for piece in pieces[joined:]:
            followers.publish(ONE, [LiveText("m", offset, piece)])
            offset += len(piece)
        while follower.waiting:
            item = await follower.next()
            assert isinstance(item, LiveText)
            assert item.offset <= len(heard)
            heard = heard[: item.offset] + item.text

    assert heard == "".join(pieces)


async def test_joining_a_real_turn_half_way_through_misses_nothing(desk: Desk) -> None:
    until = asyncio.Event()
    desk.model.queue(stalled(says("It was sent on Monday."), until, after=3))
    with desk.first.followers.follow(desk.thread_id) as early:
        await desk.send("Where is it?")
        while not isinstance(await early.next(), LiveText):
            pass
        with desk.first.followers.follow(desk.thread_id) as late:
            seen = await desk.log.read(desk.thread_id)
            until.set()
            await desk.settled()
            text, events = "", []
            while late.waiting:
                item = await late.next()
                if isinstance(item, Event):
                    events.append(item)
                else:
                    assert item.offset <= len(text)
                    text = text[: item.offset] + item.text

    assert text == "It was sent on Monday."
    assert (*seen, *events) == await desk.log.read(desk.thread_id)


async def test_a_follower_waits_for_what_comes_also_after_it_was_put_off() -> None:
    followers = Followers()
    with followers.follow(ONE) as follower:
        for number in range(3):
            reading = asyncio.create_task(follower.next())
            await asyncio.sleep(0)
            reading.cancel()
            await asyncio.wait([reading])
            reading = asyncio.create_task(follower.next())
            await asyncio.sleep(0)
            followers.publish(ONE, [LiveText("m", number, "a"), LiveText("n", number, "b")])

            assert await reading == LiveText("m", number, "a")
            assert await follower.next() == LiveText("n", number, "b")
            assert follower.waiting == 0
