"""After each fault nothing is left: no task, no connection of the pool, no descriptor."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeAlias
from uuid import uuid4

import psutil
import pytest
from tests.support.chat_client import ChatClient, Frame, connected
from tests.support.database import Databases
from tests.support.model_endpoint import calls, cut_after, fails, says, streams
from tests.support.server import ADA, OPERATOR, Server, running
from tests.support.turns import ORDER_1, REFUND
from tests.support.upstream import answers, breaks_off, drops, garbage, waits

from smart_support.app.parts import Seams
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
        await other.write(thread, "I am gone", uuid4().hex)


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


async def by_an_api_that_hangs(server: Server, chat: ChatClient, thread: str) -> None:
    held = asyncio.Event()
    server.model.queue(calls(ORDER_1))
    server.company.queue(*(waits(held) for _ in range(9)))
    await chat.write(thread, "Where is it?")
    await chat.turn()
    held.set()
    server.company.forget()


async def by_leaving_during_a_call(server: Server, _chat: ChatClient, thread: str) -> None:
    held, asked = asyncio.Event(), len(server.company.requests)
    server.model.queue(calls(ORDER_1))
    server.company.queue(waits(held, answers({"id": "1001"})))
    async with server.chat(ADA) as other:
        await other.follow(thread)
        await other.write(thread, "Where is it?", uuid4().hex)  # else it is the other's first
        await server.company.received(asked + 1)
    held.set()


async def by_saying_no(server: Server, chat: ChatClient, thread: str) -> None:
    server.model.queue(calls(REFUND))
    await chat.write(thread, "A refund, please.")

    def named(name: str) -> Callable[[Frame], bool]:
        return lambda frame: frame.get("event", {}).get("name") == name

    asked = (await chat.until(named("approval_asked")))[-1]["event"]["value"]["approval_id"]
    await chat.send("decide", approval_id=asked, decision="reject")
    await chat.until(named("approval_decided"))
    await chat.send("decide", approval_id=asked, decision="approve")  # too late
    await chat.only("error")


async def by_strangers(server: Server, _chat: ChatClient, _thread: str) -> None:
    for first in ("{", json.dumps({"type": "hello", "token": "nobody's"})):
        async with connected(server.address) as stranger:
            await stranger.socket.send(first)
            await stranger.closed()
    for _ in range(3):
        async with connected(server.address):
            pass  # gone before a word


async def by_bad_documents(server: Server, _chat: ChatClient, _thread: str) -> None:
    client = server.http(OPERATOR)
    for document in (b"", b"{", b"a: &a [*a, *a]", b"\xff\x00"):
        answer = await client.post("/api/specs", params={"name": "Bad"}, content=document)
        assert answer.status_code >= 400
    await client.aclose()


async def by_looks_in_vain(server: Server, _chat: ChatClient, _thread: str) -> None:
    server.company.queue(drops(), answers({}, status=503))
    for _ in range(3):
        await server.parts.watch.monitor.look()


async def by_a_model_that_hangs(server: Server, chat: ChatClient, thread: str) -> None:
    held = asyncio.Event()
    server.model.queue(*(streams(held, b"") for _ in range(3)))
    await chat.write(thread, "Anybody?")
    await chat.turn()
    held.set()


FAULTS: dict[str, Fault] = {
    # First what needs calls to be let through: no breaker is open yet.
    "customer leaves during a call": by_leaving_during_a_call,
    "customer says no, and yes too late": by_saying_no,
    "model answers 500": by_model(*[fails(500)] * 3),
    "model refuses the key": by_model(fails(401)),
    "model breaks off": by_model(cut_after(says("one two three four"), 2)),
    "model sends garbage": by_model(streams(b"data: {nonsense\n\n")),
    "model calls what there is not": by_model(calls(("noSuchTool", {}))),
    "API answers 503": by_api(*(answers({}, status=503) for _ in range(3))),
    "API drops the line": by_api(drops(), drops(), drops()),
    "API breaks off": by_api(breaks_off(), breaks_off(), breaks_off()),
    "API speaks no HTTP": by_api(garbage(), garbage(), garbage()),
    "API hangs": by_an_api_that_hangs,
    "API is away when looked at": by_looks_in_vain,
    "model hangs": by_a_model_that_hangs,
    "customer leaves": by_leaving,
    "sockets of strangers": by_strangers,
    "documents that are none": by_bad_documents,
    "customer cancels": by_cancelling,
    "bad frames": by_bad_frames,
    "requests that fail": by_failing_requests,
    "a bug while following": by_a_bug,
}


async def test_nothing_is_left_of_any_fault(databases: Databases, template: str) -> None:
    left = {}
    with databases.one(template) as url:
        async with running(
            url,
            seams=QUICK,
            smart_support_message_limit=1_000,
            smart_support_tool_timeout=2.0,
            smart_support_tool_attempt_timeout=1.0,
            smart_support_model_timeout=1.0,
        ) as server:
            await server.import_company()
            async with server.chat(ADA) as chat:
                thread = await server.thread(ADA)
                await chat.follow(thread)
                # What is kept open for later; the model's connection last, since a look closes it.
                for fault in (by_looks_in_vain, by_bad_documents, by_api(), by_leaving, by_model()):
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

    assert after["turns_running"] == 0
    assert {name: value for name, value in after.items() if value > before[name]} == {}


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
