"""What works less well reaches people while they look, and the model before it calls in vain."""

import asyncio
import json
import math
from typing import Any

import httpx
import pytest
from tests.support.chat_client import ChatClient
from tests.support.database import Databases
from tests.support.model_endpoint import calls, fails
from tests.support.server import ADA, LEAD, OPERATOR, Server, running
from tests.support.turns import ORDER_1
from tests.support.upstream import answers, drops

from smart_support.api import sockets
from smart_support.api.degraded import Degradation
from smart_support.api.sockets import Sockets
from smart_support.errors import SupportError
from smart_support.identity.tokens import SignIn
from smart_support.resilience.upstream import CallFailed, CallPlan, Upstreams
from smart_support.telemetry.watch import MODEL
from smart_support.tools import call as tool_calls


async def written(server: Server, chat: ChatClient, thread: str, text: str) -> None:
    await chat.write(thread, text)
    await chat.turn()
    await server.settled()
    await server.parts.errors.idle()


class TestOpenSockets:
    async def test_are_told_when_the_model_is_gone_and_when_it_is_back(
        self, databases: Databases, template: str
    ) -> None:
        with databases.one(template) as url:
            async with (
                running(url) as server,
                server.chat(ADA) as asking,
                server.chat(ADA) as looking,
                server.chat(LEAD) as lead,
            ):
                thread = await server.thread(ADA)
                await asking.follow(thread)
                server.model.queue(fails(401))
                await written(server, asking, thread, "Anybody there?")
                gone = [await chat.only("degraded") for chat in (looking, lead)]
                await written(server, asking, thread, "And now?")
                back = [await chat.only("degraded") for chat in (looking, lead)]
                assert await looking.alive()

        assert [len(said) for said in gone] == [1, 1]
        assert "A person can be asked" in gone[0][0]
        assert back == [[], []]
        told = [frame["degraded"] for frame in looking.frames if "degraded" in frame]
        assert told == [gone[0], []]  # once each

    async def test_are_not_told_of_one_api_among_others(
        self, databases: Databases, template: str
    ) -> None:
        with databases.one(template) as url:
            async with running(url) as server, server.chat(ADA) as chat:
                await server.import_company("Shop")
                server.company.queue(answers({}, status=503))
                await server.parts.watch.monitor.look()
                assert not server.parts.watch.monitor.standing["API Shop"].ok
                assert await chat.alive()

        assert not [frame for frame in chat.frames if "degraded" in frame]

    async def test_that_a_look_finds_the_endpoint_takes_nothing_back_at_once(
        self, databases: Databases, template: str
    ) -> None:
        with databases.one(template) as url:
            async with running(url) as server, server.chat(ADA) as chat:
                monitor = server.parts.watch.monitor
                thread = await server.thread(ADA)
                await chat.follow(thread)
                server.model.queue(fails(401))
                await written(server, chat, thread, "Anybody there?")
                await monitor.look()  # its list of models is there all the time
                held = monitor.standing[MODEL].ok
                monitor.note(MODEL, ok=False, reason="gone")  # and is not held any longer
                await monitor.look()

        assert (held, monitor.standing[MODEL].ok) == (False, True)


class _Client:
    """Takes what it is told, or not in time."""

    sign_in = SignIn(person=ADA, token_id="t", issued_at=0.0, valid_until=math.inf)

    def __init__(self, *, slow: int = 0) -> None:
        self.slow = slow
        self.told = 0

    async def sign_out(self, error: SupportError) -> None:
        raise AssertionError(error)

    async def tell_degraded(self) -> None:
        if self.slow:
            self.slow -= 1
            await asyncio.Event().wait()
        self.told += 1


async def test_one_that_does_not_read_holds_up_nobody_and_is_told_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sockets, "TELL_SECONDS", 0.02)
    everybody, quick, slow = Sockets(per_person=9, per_address=9), _Client(), _Client(slow=2)
    waits: list[float] = []
    done = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if slow.slow == 0:
            done.set()

    degradation = Degradation(everybody, sleep=sleep)
    with everybody.of(ADA, quick), everybody.of(ADA, slow):
        telling = asyncio.create_task(degradation.run())
        degradation.notice()
        async with asyncio.timeout(10):
            await done.wait()
            while not slow.told:
                await asyncio.sleep(0)
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)

    assert (quick.told, slow.told, len(waits)) == (3, 1, 2)


def offered(server: Server) -> tuple[set[str], str]:
    """The tools and the instructions of the last question to the model."""
    body: dict[str, Any] = server.model.requests[-1].body
    names = {tool["function"]["name"] for tool in body["tools"]}
    return names, json.dumps(body["messages"][0])


class TestToolsOfAnApiThatIsAway:
    async def test_are_not_offered_until_it_is_back(
        self, databases: Databases, template: str
    ) -> None:
        name = ORDER_1[0]
        with databases.one(template) as url:
            async with running(url) as server, server.chat(ADA) as chat:
                await server.import_company("Shop")
                monitor = server.parts.watch.monitor
                thread = await server.thread(ADA)
                await chat.follow(thread)
                await written(server, chat, thread, "Hello")
                before = offered(server)
                server.company.queue(drops())
                await monitor.look()
                await written(server, chat, thread, "Where is my order?")
                away = offered(server)
                await monitor.look()
                await written(server, chat, thread, "And now?")
                back = offered(server)
                asked = [request.method for request in server.company.requests]

        assert name in before[0]
        assert name not in away[0]
        assert "does not answer just now" in away[1]
        assert "does not answer just now" not in before[1] + back[1]
        assert back[0] == before[0]
        assert asked == ["HEAD", "HEAD"]

    @pytest.mark.parametrize("status", [500, 404])
    async def test_are_offered_if_only_its_base_url_is_unwell(
        self, databases: Databases, template: str, status: int
    ) -> None:
        with databases.one(template) as url:
            async with running(url) as server, server.chat(ADA) as chat:
                await server.import_company("Shop")
                server.company.queue(answers({}, status=status))
                await server.parts.watch.monitor.look()
                thread = await server.thread(ADA)
                await chat.follow(thread)
                await written(server, chat, thread, "Where is my order?")
                names, _ = offered(server)

        assert ORDER_1[0] in names

    async def test_are_offered_if_a_call_has_just_worked(
        self, databases: Databases, template: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with databases.one(template) as url:
            async with running(url) as server, server.chat(ADA) as chat:
                await server.import_company("Shop")
                thread = await server.thread(ADA)
                await chat.follow(thread)
                server.model.queue(calls(ORDER_1))
                server.company.queue(answers({"id": "1"}), answers({}, status=503))
                await written(server, chat, thread, "Where is my order?")
                await server.parts.watch.monitor.look()
                await written(server, chat, thread, "And the other?")
                just_now = offered(server)[0]
                monkeypatch.setattr(tool_calls, "WORKED_SECONDS", 0.0)
                await written(server, chat, thread, "And the third?")
                later = offered(server)[0]

        assert ORDER_1[0] in just_now
        assert ORDER_1[0] not in later


class TestTwoProcesses:
    async def test_know_of_each_others_model_and_breakers(
        self, databases: Databases, template: str
    ) -> None:
        with databases.one(template) as url:
            async with (
                running(url, smart_support_workers=2) as one,
                running(url, smart_support_workers=2) as other,
                one.chat(ADA) as asking,
                other.chat(ADA) as looking,
            ):
                thread = await one.thread(ADA)
                await asking.follow(thread)
                one.model.queue(fails(401))
                await written(one, asking, thread, "Anybody there?")
                gone = await looking.only("degraded")
                await written(one, asking, thread, "And now?")
                back = await looking.only("degraded")

                await break_circuit(one)
                shown = await until_paused(other)
                processes = (await details(other))["processes"]

        assert (len(gone), back) == (1, [])
        assert len(processes) == 2
        assert shown["state"] == "open"
        assert shown["processes"] == [processes[1]]


async def break_circuit(server: Server) -> None:
    """Have calls of this process fail until its breaker opens."""
    upstreams = server.parts.upstreams
    plan = CallPlan(
        group="orders", writes=True, repeatable=False, total=5.0, attempt=5.0, max_bytes=1_000
    )
    while not upstreams.open_groups():
        server.company.queue(answers({}, status=503))
        request = httpx.Request("POST", f"{server.company.base_url}/orders")
        with pytest.raises(CallFailed):
            await upstreams.send(request, plan)


async def details(server: Server) -> Any:
    return (await server.http(OPERATOR).get("/api/health/details")).json()


async def until_paused(server: Server) -> Any:
    async with asyncio.timeout(10):
        while True:
            for api in (await details(server))["upstreams"]:
                for breaker in api["breakers"]:
                    return breaker
            await asyncio.sleep(0.02)


async def test_an_origin_that_nobody_called_has_not_worked() -> None:
    async with Upstreams() as upstreams:
        assert not upstreams.worked_within("https://shop.example/v1", 60.0)
