"""Two processes on one database: what one does, those who are connected to the other see."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from tests.support.chat_client import ChatClient, transcript_of
from tests.support.model_endpoint import says, stalled
from tests.support.server import Server, running

from smart_support.chat.relay import MAX_PIECE

LONG = "One two three four five six seven eight nine ten eleven twelve."


@pytest.fixture
async def pair(migrated_database: Callable[[], str]) -> AsyncIterator[tuple[Server, Server]]:
    url = migrated_database()
    async with AsyncExitStack() as stack:
        both = [
            await stack.enter_async_context(running(url, smart_support_workers=2)) for _ in range(2)
        ]
        yield both[0], both[1]


def delta(frame: dict[str, object]) -> str:
    event = frame.get("event")
    return str(event.get("delta", "")) if isinstance(event, dict) else ""


async def until_shown(chat: ChatClient, text: str) -> None:
    """Wait until an answer, as far as the client has it, is or begins with `text`."""
    while not any(
        shown.startswith(text) for role, shown in transcript_of(chat.frames).texts if role != "user"
    ):
        await chat.receive()


async def test_tokens_and_facts_of_a_turn_are_seen_on_the_other_as_they_come(
    pair: tuple[Server, Server],
) -> None:
    here, there = pair
    thread, go = await here.thread(), asyncio.Event()
    here.model.queue(stalled(says(LONG), go, after=4))

    async with here.chat() as writer, there.chat() as watcher, there.chat() as late:
        await watcher.follow(thread)
        await writer.follow(thread)
        await writer.write(thread, "Count, please.")
        await until_shown(watcher, "One two three")
        await late.follow(thread)
        await until_shown(late, "One two three")
        go.set()
        for chat in (writer, watcher, late):
            await chat.turn()

    for chat in (writer, watcher, late):
        shown = transcript_of(chat.frames)
        assert shown.texts == [("user", "Count, please."), ("assistant", LONG)]
        assert shown.seqs == [1, 2, 3, 4]
    assert sum(1 for frame in watcher.frames if delta(frame)) > 2


async def test_a_long_answer_in_any_script_reaches_the_other_whole(
    pair: tuple[Server, Server],
) -> None:
    here, there = pair
    text = "".join(f"{n}: Größe 漢字 \U0001f600 \x01\n" for n in range(MAX_PIECE // 10))
    thread, go = await here.thread(), asyncio.Event()
    here.model.queue(stalled(says(text), go, after=len(text.split()) - 5))

    async with here.chat() as writer, there.chat() as watcher:
        await writer.follow(thread)
        await writer.write(thread, "Tell me.")
        await until_shown(writer, text[: int(MAX_PIECE * 1.5)])
        await watcher.follow(thread)
        await until_shown(watcher, text[: int(MAX_PIECE * 1.5)])
        go.set()
        await watcher.turn()

    assert transcript_of(watcher.frames).texts[-1] == ("assistant", text)


async def test_a_stop_on_the_other_stops(pair: tuple[Server, Server]) -> None:
    here, there = pair
    thread = await here.thread()
    here.model.queue(stalled(says(LONG), asyncio.Event(), after=3))

    async with here.chat() as writer, there.chat() as other:
        await writer.follow(thread)
        await other.follow(thread)
        await writer.write(thread, "Count, please.")
        await until_shown(other, "One two")
        await other.send("cancel", thread_id=thread)
        (*_, end) = await other.turn()
        await writer.turn()

    assert end["event"]["outcome"] == {"type": "cancelled"}
    assert transcript_of(writer.frames).texts == transcript_of(other.frames).texts


async def test_the_same_message_on_both_at_once_is_one(pair: tuple[Server, Server]) -> None:
    here, there = pair
    thread = await here.thread()

    async with here.chat() as one, there.chat() as two:
        await asyncio.gather(*(chat.write(thread, "Hello.", "m1") for chat in (one, two)))
        acks = [await chat.only("ack") for chat in (one, two)]
        await one.follow(thread)
        frames = await two.follow(thread)
        if not any(end(frame) for frame in frames):
            await two.turn()

    assert len({ack["turn_id"] for ack in acks}) == 1
    assert sorted(ack["status"] for ack in acks) == ["duplicate", "open"]
    facts = [event.fact.type for event in await here.parts.log.read(thread)]
    assert facts.count("message_received") == 1
    assert facts.count("turn_closed") == 1


def end(frame: dict[str, object]) -> bool:
    event = frame.get("event")
    return isinstance(event, dict) and event["type"] == "RUN_FINISHED"


async def test_messages_on_both_are_all_answered_in_the_order_they_were_stored(
    pair: tuple[Server, Server],
) -> None:
    here, there = pair
    thread = await here.thread()

    async with here.chat() as one, there.chat() as two:
        for number in range(4):
            chat = (one, two)[number % 2]
            await chat.write(thread, f"message {number}", f"m{number}")
        for chat in (one, two):
            await chat.only("ack")
            await chat.only("ack")
        for server in pair * 4:
            await server.parts.runner.idle()

    facts = [event.fact for event in await here.parts.log.read(thread, limit=100)]
    received = [fact.turn_id for fact in facts if fact.type == "message_received"]  # type: ignore[union-attr]
    closed = [fact.turn_id for fact in facts if fact.type == "turn_closed"]  # type: ignore[union-attr]
    assert len(received) == 4
    assert closed == received


async def test_the_limit_of_messages_is_one_for_both(pair: tuple[Server, Server]) -> None:
    here, there = pair
    thread = await here.thread()

    async with here.chat() as one, there.chat() as two:
        for number in range(10):
            chat = (one, two)[number % 2]
            await chat.write(thread, f"message {number}", f"m{number}")
            await chat.only("ack")
        for chat in (one, two):
            await chat.write(thread, "one too many", "late")
            error = await chat.only("error")
            assert error["code"] == "RATE_LIMITED"
            assert 0 < error["retry_after"] <= 10


async def test_when_one_dies_the_other_goes_on_and_its_sockets_see_it(
    migrated_database: Callable[[], str],
) -> None:
    url = migrated_database()
    async with running(url, smart_support_workers=2) as there:
        async with running(url, smart_support_workers=2, smart_support_stop_grace=0.01) as here:
            thread = await here.thread()
            here.model.queue(stalled(says("From here."), asyncio.Event(), after=1))
            there.model.queue(says("From there."))
            async with here.chat() as writer:
                await writer.write(thread, "Hello?")
                await writer.only("ack")
                await here.model.received(1)
        async with there.chat() as watcher:
            frames = await watcher.follow(thread)
            if not any(end(frame) for frame in frames):
                await watcher.turn()

    assert transcript_of(watcher.frames).texts == [("user", "Hello?"), ("assistant", "From there.")]
