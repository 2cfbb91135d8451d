"""After each fault nothing is left: no task, no connection of the pool, no descriptor."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import psutil
import pytest
from tests.support.chat_client import ChatClient
from tests.support.database import Databases
from tests.support.model_endpoint import calls, cut_after, fails, says, streams
from tests.support.server import ADA, Server, running
from tests.support.turns import ORDER_1
from tests.support.upstream import answers, breaks_off, drops, garbage

from smart_support.app import Seams
from smart_support.telemetry import metrics

Fault: TypeAlias = Callable[[Server, ChatClient, str], Awaitable[None]]

QUICK = Seams(offline_token_delay=0.0, model_sleep=lambda _seconds: asyncio.sleep(0))
"""Attempts follow each other at once: what is left of them is looked at, not when they are."""


def counts(server: Server) -> dict[str, float]:
    """What must be as before: descriptors, tasks, connections and sockets of this process."""
    server.parts.watch.monitor.measure()
    found = metrics.snapshot()
    names = ("process_open_fds", "process_tasks", "db_pool_in_use", "sockets", "turns_running")
    return {name: found[f"smart_support_{name}", ()] for name in names}


async def settled(server: Server, before: dict[str, float]) -> dict[str, float]:
    """The counts once they are no higher than before, or as they are after a while."""
    for _ in range(100):
        now = counts(server)
        if all(now[name] <= before[name] for name in before):
            break
        await asyncio.sleep(0.05)
    return now


def by_model(*scripts: object) -> Fault:
    async def fault(server: Server, chat: ChatClient, thread: str) -> None:
        server.model.queue(*scripts)  # type: ignore[arg-type]
        await chat.write(thread, "Hello?")
        await chat.turn()

    return fault


def by_api(*found: object) -> Fault:
    async def fault(server: Server, chat: ChatClient, thread: str) -> None:
        server.model.queue(calls(ORDER_1))
        server.company.queue(*found)  # type: ignore[arg-type]
        await chat.write(thread, "Where is it?")
        await chat.turn()

    return fault


async def by_leaving(server: Server, _chat: ChatClient, thread: str) -> None:
    async with server.chat(ADA) as other:
        await other.follow(thread)
        await other.write(thread, "I am gone")


async def by_cancelling(server: Server, chat: ChatClient, thread: str) -> None:
    held, asked = asyncio.Event(), len(server.model.requests)
    server.model.queue(streams(held, b""))
    await chat.write(thread, "Never mind")
    await server.model.received(asked + 1)
    await chat.send("cancel", thread_id=thread)
    await server.parts.runner.idle()
    held.set()


async def by_bad_frames(_server: Server, chat: ChatClient, thread: str) -> None:
    for frame in ("{", "null", '{"type": "resume"}', "x" * 70_000):
        await chat.socket.send(frame)
        await chat.only("error")
    for _ in range(5):
        await chat.follow(thread)


async def by_failing_requests(server: Server, _chat: ChatClient, _thread: str) -> None:
    client = server.http(ADA)
    await asyncio.gather(*(client.get(f"/api/threads/{n}") for n in range(20)))
    await client.aclose()


async def by_a_bug(server: Server, chat: ChatClient, thread: str) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server.parts.log, "read", fail)
        async with server.chat(ADA) as other:
            await other.send("resume", thread_id=thread)
            await other.closed()
    assert await chat.alive()


FAULTS: dict[str, Fault] = {
    "model answers 500": by_model(*[fails(500)] * 3),
    "model refuses the key": by_model(fails(401)),
    "model breaks off": by_model(cut_after(says("one two three four"), 2)),
    "model sends garbage": by_model(streams(b"data: {nonsense\n\n")),
    "model calls what there is not": by_model(calls(("noSuchTool", {}))),
    "API answers 503": by_api(*(answers({}, status=503) for _ in range(3))),
    "API drops the line": by_api(drops(), drops(), drops()),
    "API breaks off": by_api(breaks_off(), breaks_off(), breaks_off()),
    "API speaks no HTTP": by_api(garbage(), garbage(), garbage()),
    "customer leaves": by_leaving,
    "customer cancels": by_cancelling,
    "bad frames": by_bad_frames,
    "requests that fail": by_failing_requests,
    "a bug while following": by_a_bug,
}


async def test_nothing_is_left_of_any_fault(databases: Databases, template: str) -> None:
    left = {}
    with databases.one(template) as url:
        async with running(url, seams=QUICK, smart_support_message_limit=1_000) as server:
            await server.import_company()
            async with server.chat(ADA) as chat:
                thread = await server.thread(ADA)
                await chat.follow(thread)
                for fault in (by_model(), by_api(), by_leaving):  # what is kept open for later
                    await fault(server, chat, thread)
                    await server.settled()
                before = counts(server)
                for name, fault in FAULTS.items():
                    await fault(server, chat, thread)
                    await server.settled()
                    after = await settled(server, before)
                    left[name] = {
                        what: after[what] - before[what]
                        for what in before
                        if after[what] > before[what]
                    }

    assert {name: found for name, found in left.items() if found} == {}


async def test_a_database_that_goes_away_leaves_nothing(
    databases: Databases, template: str
) -> None:
    with databases.one(template) as url:
        async with running(url) as server, server.chat(ADA) as chat:
            thread = await server.thread(ADA)
            await chat.follow(thread)
            await by_model()(server, chat, thread)
            await server.settled()
            before = counts(server)
            with databases.unreachable(url):
                await chat.write(thread, "Do you hear me?")
                assert (await chat.only("error"))["code"] == "DB_UNAVAILABLE"
            after = await settled(server, before)

    assert after["db_pool_in_use"] <= before["db_pool_in_use"]
    assert after["turns_running"] == 0
    assert after["sockets"] <= before["sockets"]


async def test_a_product_that_stops_leaves_no_task_and_no_descriptor(
    databases: Databases, template: str
) -> None:
    process = psutil.Process()
    with databases.one(template) as url:
        async with running(url):  # what is made once and kept, such as threads
            pass
        tasks, descriptors = asyncio.all_tasks(), process.num_fds()
        async with running(url, seams=QUICK) as server, server.chat(ADA) as chat:
            thread = await server.thread(ADA)
            await chat.follow(thread)
            await by_model(*[fails(500)] * 3)(server, chat, thread)

        assert asyncio.all_tasks() == tasks
        assert process.num_fds() <= descriptors
