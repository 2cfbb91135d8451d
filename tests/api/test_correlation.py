"""From the frame that brought a message to the turn that answers it, by the log alone."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.model_endpoint import says, streams
from tests.support.server import ADA, Server, logged, running

from smart_support.app.parts import Seams

Lines = list[dict[str, Any]]


def of(lines: Lines, event: str) -> Lines:
    return [line for line in lines if line["event"] == event]


async def opened(server: Server, thread: str) -> list[str]:
    """The correlation ids of the thread's turns, as they stand in its events."""
    events = await server.parts.log.read(thread, after=0, limit=100)
    return [event.fact.correlation_id for event in events if event.fact.type == "turn_opened"]


async def test_one_line_holds_the_ids_of_frame_message_and_turn(server: Server) -> None:
    with logged() as lines:
        async with server.chat(ADA) as chat:
            thread = await server.thread(ADA)
            await chat.follow(thread)
            await chat.write(thread, "Hello?", "m-of-mine")
            turn_id = (await chat.only("ack"))["turn_id"]
            await chat.turn()
            await chat.write(thread, "Hello?", "m-of-mine")  # the same again is no message
            await chat.only("ack")
        await server.settled()

    (accepted,) = of(lines, "message_accepted")
    (begun,) = of(lines, "turn_begun")
    assert (accepted["thread_id"], accepted["message_id"]) == (thread, "m-of-mine")
    assert accepted["turn_id"] == begun["turn_id"] == turn_id
    assert [accepted["turn_correlation_id"]] == await opened(server, thread)
    assert accepted["turn_correlation_id"] == begun["correlation_id"]
    assert accepted["correlation_id"] != begun["correlation_id"]
    assert "Hello" not in str(lines)


async def test_a_frame_that_failed_leads_to_the_turn_that_was_begun_all_the_same(
    migrated_database: Callable[[], str],
) -> None:
    seams = Seams(offline_token_delay=0.0, act_seconds=0.2)
    async with running(migrated_database(), seams=seams) as server:
        conversations, slow = server.parts.conversations, asyncio.Event()
        receive = conversations.receive

        async def receive_slowly(*message: Any) -> Any:
            received = await receive(*message)
            await slow.wait()
            return received

        with pytest.MonkeyPatch.context() as patch, logged() as lines:
            patch.setattr(conversations, "receive", receive_slowly)
            async with server.chat(ADA) as chat:
                thread = await server.thread(ADA)
                await chat.write(thread, "Hello?")
                said = await chat.only("error")
                slow.set()
                await server.settled()

        (refused,) = of(lines, "frame_refused")
        (accepted,) = of(lines, "message_accepted")
        assert said["code"] == "SYS_BUSY"  # the database has answered; it is we who are slow
        assert said["correlation_id"] == refused["correlation_id"] == accepted["correlation_id"]
        assert [accepted["turn_correlation_id"]] == await opened(server, thread)


async def test_a_message_that_waits_is_joined_by_its_turn(server: Server) -> None:
    held, asked = asyncio.Event(), len(server.model.requests)
    with logged() as lines:
        async with server.chat(ADA) as chat:
            thread = await server.thread(ADA)
            await chat.follow(thread)
            server.model.queue(streams(held, *says("One.").pieces))
            await chat.write(thread, "First")
            await server.model.received(asked + 1)
            await chat.write(thread, "Second")
            ack = await chat.only("ack")
            while ack["status"] != "queued":
                ack = await chat.only("ack")
            held.set()
            await chat.turn()
            await chat.turn()
        await server.settled()

    first, second = of(lines, "message_accepted")
    assert (second["status"], second["turn_correlation_id"]) == ("queued", None)
    begun = {line["turn_id"]: line["correlation_id"] for line in of(lines, "turn_begun")}
    assert begun[first["turn_id"]] == first["turn_correlation_id"]
    assert list(begun) == [first["turn_id"], second["turn_id"]]
    assert list(begun.values()) == await opened(server, thread)
