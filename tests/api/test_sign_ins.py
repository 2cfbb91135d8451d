"""Signing out, everywhere and for others: requests are refused and chats closed at once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from tests.support.chat_client import ChatClient, connected
from tests.support.server import ADA, BOB, LEAD, OPERATOR, Server, running

from smart_support.identity import sign_ins
from smart_support.identity.people import Person, Role

CLOSED = (["AUTH_NOT_SIGNED_IN"], 4401)
PATIENCE = 10.0


@pytest.fixture(params=["a process of its own", "one of two"])
async def pair(
    migrated_database: Callable[[], str],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[tuple[Server, Server]]:
    """Where it is asked for, and where the chats are: the same process, or another."""
    monkeypatch.setattr(sign_ins, "LOOK_SECONDS", 600.0)  # it must be heard
    url = migrated_database()
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(running(url))
        if request.param == "one of two":
            yield here, await stack.enter_async_context(running(url))
        else:
            yield here, here


async def status(client: httpx.AsyncClient) -> int:
    return (await client.get("/api/me")).status_code


async def refused(client: httpx.AsyncClient) -> None:
    """Wait until the client is refused; a process hears of it within moments."""
    async with asyncio.timeout(PATIENCE):
        while await status(client) != 401:
            await asyncio.sleep(0.01)


async def closed(chat: ChatClient) -> tuple[list[str], int]:
    async with asyncio.timeout(PATIENCE):
        frames, code = await chat.closed()
    return [each["error"]["code"] for each in frames if "error" in each], code


async def test_an_operator_ends_what_a_person_has_and_nothing_else(
    pair: tuple[Server, Server],
) -> None:
    here, there = pair
    old, others = there.http(ADA), there.http(BOB)
    async with there.chat(ADA) as one, there.chat(ADA) as two, there.chat(BOB) as bob:
        answer = await here.http(OPERATOR).post("/api/sign-ins/end", json={"person_id": ADA.id})

        assert answer.status_code == 200
        assert [await closed(one), await closed(two)] == [CLOSED, CLOSED]
        await refused(old)
        assert await bob.alive()
        assert await status(others) == 200
    # Who is signed in anew is as welcome as before.
    assert await status(there.http(ADA)) == 200
    async with there.chat(ADA) as anew:
        assert await anew.alive()
        ended_at = datetime.fromisoformat(answer.json()["ended_at"])
        token = there.token(ADA, now=ended_at)  # at that very moment
        async with connected(there.address) as late:
            await late.send("hello", token=token)
            assert await closed(late) == CLOSED


async def test_the_process_that_was_asked_refuses_at_once(server: Server) -> None:
    ada = server.http(ADA)

    await server.http(OPERATOR).post("/api/sign-ins/end", json={"person_id": ADA.id})

    assert await status(ada) == 401


async def test_who_signs_out_leaves_with_this_token_alone(pair: tuple[Server, Server]) -> None:
    here, there = pair
    token, other = here.token(ADA), there.http(ADA)
    client = here.http()
    client.headers["Authorization"] = f"Bearer {token}"
    async with connected(there.address) as chat, there.chat(ADA) as kept:
        await chat.hello(token)
        answer = await client.post("/api/me/sign-out", json={})

        assert answer.status_code == 200
        assert await closed(chat) == CLOSED
        assert await kept.alive()
    assert await status(client) == 401
    assert await status(other) == 200


@pytest.mark.parametrize("person", [ADA, LEAD, OPERATOR], ids=lambda person: person.role.value)
async def test_everybody_signs_out_everywhere(server: Server, person: Person) -> None:
    clients = [server.http(person) for _ in range(3)]

    await clients[0].post("/api/me/sign-out", json={"everywhere": True})

    assert [await status(client) for client in clients] == [401] * 3
    assert await status(server.http(person)) == 200


async def test_one_token_is_ended_by_the_id_that_the_audit_log_has(server: Server) -> None:
    stolen, other, operator = server.http(BOB), server.http(BOB), server.http(OPERATOR)
    await stolen.get("/api/me")
    entries = (await operator.get("/api/audit", params={"actor": BOB.id})).json()["entries"]
    token_id = entries[0]["subject"].removeprefix("token ")

    await operator.post("/api/sign-ins/end", json={"token_id": token_id})

    assert await status(stolen) == 401
    assert await status(other) == 200


async def test_metrics_are_refused_too(server: Server) -> None:
    operator = server.http(OPERATOR)
    assert (await operator.get("/metrics")).status_code == 200

    await operator.post("/api/me/sign-out", json={})

    assert (await operator.get("/metrics")).status_code == 401


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"person_id": "a", "token_id": "b"},
        {"token_id": "b", "role": "lead"},
        {"person_id": ""},
        {"person_id": "a\x00b"},
        {"person_id": "a", "role": "king"},
    ],
    ids=str,
)
async def test_what_is_not_clear_ends_nothing(server: Server, wanted: dict[str, Any]) -> None:
    answer = await server.http(OPERATOR).post("/api/sign-ins/end", json=wanted)

    assert answer.status_code == 422


async def test_a_role_may_be_named(server: Server) -> None:
    both = [Person(id="same", role=role, name="S") for role in (Role.CUSTOMER, Role.LEAD)]
    customer, lead = (server.http(person) for person in both)

    await server.http(OPERATOR).post(
        "/api/sign-ins/end", json={"person_id": "same", "role": "lead"}
    )

    assert [await status(customer), await status(lead)] == [200, 401]


async def test_it_holds_after_a_restart(migrated_database: Callable[[], str]) -> None:
    url = migrated_database()
    async with running(url) as before:
        token = before.token(ADA, now=datetime.now(UTC) - timedelta(seconds=1))
        await before.http(ADA).post("/api/me/sign-out", json={"everywhere": True})

    async with running(url) as after:
        client = after.http()
        client.headers["Authorization"] = f"Bearer {token}"
        assert await status(client) == 401
