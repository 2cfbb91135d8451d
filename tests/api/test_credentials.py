"""Credentials through the whole product: they open the API, and are found nowhere else."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from tests.operations.documents import openapi, parameter
from tests.support.database import Databases
from tests.support.guarded import CLIENT_ID, CLIENT_SECRET, Company, guarded
from tests.support.model_endpoint import calls, says
from tests.support.server import ADA, BOB, LEAD, OPERATOR, Server, logged, running

KEY = "canary-key-in-header-0001"
QUERY_KEY = "canary-key-in-query-0002"
HEADER = "canary-fixed-header-0003"
SECRETS = (KEY, QUERY_KEY, HEADER, CLIENT_SECRET, "canary")


@pytest.fixture(scope="module")
async def company() -> AsyncIterator[Company]:
    async with guarded() as opened:
        yield opened


@pytest.fixture(scope="module")
async def database(databases: Databases, template: str) -> AsyncIterator[str]:
    with databases.one(template) as url:
        yield url


@pytest.fixture(scope="module")
async def server(database: str) -> AsyncIterator[Server]:
    async with running(database) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _fresh(company: Company) -> None:
    company.forget()


async def imported(server: Server, company: Company, security: Any) -> str:
    """A document with a read and a write that need this, approved; the id of its spec."""
    number = uuid4().hex[:8]  # tools of two APIs have names of their own
    name = f"shop {number}"
    schemes = {
        "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
        "query": {"type": "apiKey", "in": "query", "name": "key"},
        "login": {"type": "oauth2", "flows": company.flows()},
    }
    body = {"content": {"application/json": {"schema": {"type": "object"}}}, "required": True}
    document = openapi(
        {
            "/orders": {
                "get": {"operationId": f"list_{number}", "parameters": [parameter("q")]},
                "post": {"operationId": f"add_{number}", "requestBody": body},
            }
        },
        servers=[{"url": company.base_url}],
        components={"securitySchemes": schemes},
        security=security,
    )
    operator = server.http(OPERATOR)
    answer = await operator.post("/api/specs", params={"name": name}, content=json.dumps(document))
    assert answer.status_code == 201, answer.text
    spec_id: str = answer.json()["spec"]["id"]
    for operation in await server.operations(spec_id):
        decision = {"version": operation["version"], "state": "approved"}
        answer = await operator.post(f"/api/operations/{operation['id']}/decision", json=decision)
        assert answer.status_code == 200, answer.text
    return spec_id


async def give(server: Server, spec_id: str, scheme: str, **given: Any) -> httpx.Response:
    path = f"/api/specs/{spec_id}/credentials/{scheme}"
    return await server.http(OPERATOR).put(path, json=given)


async def give_client(server: Server, spec_id: str) -> httpx.Response:
    client = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    return await give(server, spec_id, "login", **client, flow="authorizationCode")


async def tool_name(server: Server, spec_id: str, key: str) -> str:
    found = {each["key"]: each["tool_name"] for each in await server.operations(spec_id)}
    return found[key]


async def ask(server: Server, tool: str, arguments: Any, person: Any = ADA) -> list[Any]:
    """Let the model call a tool for a customer; what came over the socket."""
    server.model.queue(calls((tool, arguments)), says("There you are."))
    thread = await server.thread(person)
    async with server.chat(person) as chat:
        await chat.follow(thread)
        await chat.write(thread, "My orders?")
        await chat.only("ack")
        await chat.turn()
        approvals = (await server.http(person).get("/api/approvals?state=pending")).json()
        for approval in approvals["approvals"]:
            if approval["thread_id"] == thread:
                await chat.send("decide", approval_id=approval["id"], decision="approve")
                await chat.turn()
        await server.settled()
        return [{"thread_id": thread}, *chat.frames]


async def visited(url: str, cookies: httpx.Cookies | None = None) -> httpx.Response:
    """What a browser with these cookies is answered."""
    async with httpx.AsyncClient(verify=False, trust_env=False, cookies=cookies) as browser:
        return await browser.get(url)


def dump(url: str) -> str:
    """Every row of every table as text, as pg_dump would write it."""
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT oid::regclass::text FROM pg_class "
            "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        ).fetchall()
        return "\n".join(
            str(row)
            for (table,) in tables
            for row in connection.execute(f"SELECT t::text FROM {table} t".encode()).fetchall()
        )


async def test_a_keyed_api_is_called_and_its_keys_are_found_nowhere(
    server: Server, company: Company, database: str
) -> None:
    with logged() as lines:
        spec_id = await imported(server, company, [{"key": [], "query": []}])
        told = [
            await give(server, spec_id, "key", value=KEY),
            await give(server, spec_id, "query", value=QUERY_KEY),
            await give_client(server, spec_id),
            await server.http(OPERATOR).put(
                f"/api/specs/{spec_id}/headers/X-Tenant", json={"value": HEADER}
            ),
        ]
        company.guard = lambda call: (
            call.headers.get("x-api-key") == KEY and f"key={QUERY_KEY}" in call.query
        )
        read = await tool_name(server, spec_id, "GET /orders")
        write = await tool_name(server, spec_id, "POST /orders")
        frames = await ask(server, read, {"q": "shoes"})
        frames += await ask(server, write, {"body": {"a": 1}})
        opened = len(company.calls)
        company.guard = lambda _: False
        frames += await ask(server, read, {"q": "boots"})
        refused = await give(server, spec_id, "key", value=f"{KEY}\nX-Admin: 1")
        wrong = await give(server, spec_id, "key", value=[KEY], more=KEY)
        lead, operator = server.http(LEAD), server.http(OPERATOR)
        threads = [frame["thread_id"] for frame in frames if set(frame) == {"thread_id"}]
        told += [await lead.get(f"/api/threads/{thread}/replay") for thread in threads]
        told += [
            refused,
            wrong,
            await operator.get(f"/api/specs/{spec_id}/credentials"),
            await operator.get(f"/api/specs/{spec_id}"),
            await operator.get("/api/audit"),
            await operator.get("/api/health/details"),
            await operator.get("/api/openapi.json"),
            await server.http(ADA).get("/api/approvals"),
        ]

    assert opened == 2  # the guard let the read and the write in, so that the keys were right
    assert len(company.calls) == 3
    assert (refused.status_code, wrong.status_code) == (422, 422)
    assert company.calls[0].headers["x-tenant"] == HEADER
    places = {
        "database": dump(database),
        "log": json.dumps(lines, default=repr),
        "model": json.dumps([request.body for request in server.model.requests]),
        "socket": json.dumps(frames),
        "rest": "\n".join(answer.text for answer in told),
    }
    assert len(places["database"]) > 10_000
    assert "API_AUTH" in places["rest"]
    assert {
        place: secret for place, text in places.items() for secret in SECRETS if secret in text
    } == {}


class TestRest:
    async def test_shows_the_state_of_each_scheme(self, server: Server, company: Company) -> None:
        spec_id = await imported(server, company, [{"key": []}])

        before = (await server.http(LEAD).get(f"/api/specs/{spec_id}/credentials")).json()
        after = (await give(server, spec_id, "key", value=KEY)).json()

        states = [(each["name"], each["state"], each["operations"]) for each in before["schemes"]]
        assert states == [("key", "missing", 2), ("login", "missing", 0), ("query", "missing", 0)]
        key = after["schemes"][0]
        assert (key["state"], key["hint"], key["set_by"]) == ("set", "…0001", OPERATOR.id)
        assert key["origins"] == [company.base_url]

    async def test_deletes(self, server: Server, company: Company) -> None:
        spec_id = await imported(server, company, [{"key": []}])
        await give(server, spec_id, "key", value=KEY)
        operator = server.http(OPERATOR)
        path = f"/api/specs/{spec_id}/credentials/key"

        answers = [await operator.delete(path), await operator.delete(path)]

        assert [answer.status_code for answer in answers] == [200, 404]
        assert answers[0].json()["schemes"][0]["state"] == "missing"

    async def test_headers_come_and_go(self, server: Server, company: Company) -> None:
        spec_id = await imported(server, company, [])
        operator = server.http(OPERATOR)
        path = f"/api/specs/{spec_id}/headers/X-Customer"

        put = await operator.put(path, json={"claim": "customer_id"})
        gone = await operator.delete(path)

        assert [(each["name"], each["claim"]) for each in put.json()["headers"]] == [
            ("x-customer", "customer_id")
        ]
        assert gone.json()["headers"] == []

    async def test_chooses_the_environment(self, server: Server, company: Company) -> None:
        spec_id = await imported(server, company, [{"key": []}])
        await give(server, spec_id, "key", value=KEY)
        path = f"/api/specs/{spec_id}/environments"
        operator = server.http(OPERATOR)

        moved = await operator.put(
            f"{path}/sandbox", json={"base_url": "http://127.0.0.1:9/v1", "choose": False}
        )
        sandbox = await operator.put(f"{path}/sandbox", json={"base_url": "http://127.0.0.1:9/v2/"})
        live = await operator.put(f"{path}/live", json={})
        odd = await operator.put(f"{path}/No Name", json={})

        assert moved.json()["environment"] == "live"
        assert moved.json()["environments"][1]["base_url"] == "http://127.0.0.1:9/v1"
        assert sandbox.json()["environment"] == "sandbox"
        assert sandbox.json()["schemes"][0]["state"] == "missing"
        assert live.json()["schemes"][0]["state"] == "set"
        assert live.json()["environments"] == [
            {"name": "live", "base_url": company.base_url, "active": True},
            {"name": "sandbox", "base_url": "http://127.0.0.1:9/v2", "active": False},
        ]
        assert odd.status_code == 422

    async def test_health_names_the_api_whose_credentials_fail(
        self, server: Server, company: Company
    ) -> None:
        spec_id = await imported(server, company, [{"key": []}])
        await ask(server, await tool_name(server, spec_id, "GET /orders"), {})

        details = (await server.http(OPERATOR).get("/api/health/details")).json()
        ring = (await server.http(OPERATOR).get(f"/api/specs/{spec_id}/credentials")).json()
        name = (await server.http(OPERATOR).get(f"/api/specs/{spec_id}")).json()["name"]

        (api,) = [each for each in details["dependencies"] if each["name"] == name]
        assert api["status"] == "failing"
        assert "key: no credential is set" in api["reason"]
        assert ring["trouble"]["correlation_id"] in api["reason"]
        assert company.calls == []


class TestAudit:
    async def test_says_who_did_what_page_by_page(self, server: Server, company: Company) -> None:
        spec_id = await imported(server, company, [{"key": []}])
        await give(server, spec_id, "key", value=KEY)
        ada = server.http(ADA)
        await ada.get("/api/me")
        await ada.get("/api/me")
        await ada.get(f"/api/specs/{spec_id}")
        operator = server.http(OPERATOR)

        newest = (await operator.get("/api/audit", params={"limit": 3})).json()
        older = (
            await operator.get("/api/audit", params={"before": newest["next_before"], "limit": 3})
        ).json()

        acts = [(entry["act"], entry["actor"]) for entry in newest["entries"] + older["entries"]]
        assert acts[:5] == [
            ("access_denied", ADA.id),
            ("signed_in", ADA.id),
            ("credential_set", OPERATOR.id),
            ("operations_decided", OPERATOR.id),
            ("operations_decided", OPERATOR.id),
        ]
        assert acts[5] == ("document_imported", OPERATOR.id)
        assert newest["entries"][0]["subject"] == f"GET /api/specs/{spec_id}"
        assert newest["entries"][2]["details"]["name"] == "key"
        assert (await operator.get("/api/audit/check")).json() == {
            "whole": True,
            "first_broken": None,
        }

    async def test_is_read_between_two_moments(self, server: Server) -> None:
        operator, refused = server.http(OPERATOR), server.http(ADA)
        for _ in range(2):
            await refused.get("/api/dashboard")
        (last,) = (await operator.get("/api/audit", params={"limit": 1})).json()["entries"]
        await refused.get("/api/dashboard")

        after, until, other = [
            (await operator.get("/api/audit", params={**asked, "limit": 200})).json()["entries"]
            for asked in (
                {"since": last["at"]},
                {"until": last["at"], "act": "access_denied"},
                {"since": last["at"], "actor": "nobody"},
            )
        ]
        naive = await operator.get("/api/audit", params={"since": "2026-11-25T12:00:00"})

        assert after[-1]["number"] <= last["number"] < after[0]["number"]
        assert {entry["at"] >= last["at"] for entry in after} == {True}
        assert {(entry["at"] < last["at"], entry["act"]) for entry in until} == {
            (True, "access_denied")
        }
        assert (other, naive.status_code) == ([], 422)

    async def test_has_the_answers_of_customers(self, server: Server, company: Company) -> None:
        spec_id = await imported(server, company, [])
        await ask(server, await tool_name(server, spec_id, "POST /orders"), {"body": {}})

        found = await server.http(OPERATOR).get(
            "/api/audit", params={"act": "approval_decided", "actor": ADA.id, "limit": 1}
        )

        (entry,) = found.json()["entries"]
        assert (entry["role"], entry["details"]["decision"]) == ("customer", "approved")


class TestConnecting:
    """The whole way: from the button in the conversation to the other site and back."""

    async def asked_to_connect(self, server: Server, spec_id: str, person: Any = ADA) -> Any:
        tool = await tool_name(server, spec_id, "GET /orders")
        frames = await ask(server, tool, {}, person)
        events = [frame["event"] for frame in frames if "event" in frame]
        return next(
            (each["value"] for each in events if each.get("name") == "connection_asked"), None
        )

    async def test_a_customer_is_asked_connects_and_is_served(
        self, server: Server, company: Company
    ) -> None:
        company.guard = company.knows_token
        spec_id = await imported(server, company, [{"login": ["orders"]}])
        await give_client(server, spec_id)
        asked = await self.asked_to_connect(server, spec_id)
        assert (asked["spec_id"], asked["scheme"]) == (spec_id, "login")
        told = json.dumps(server.model.requests[-1].body)
        assert "API_CONNECTION_NEEDED" in told
        assert company.calls == []

        browser = server.http(ADA)
        way_out = await browser.get(f"/api/connect/{spec_id}/login")
        cookie = way_out.headers["set-cookie"].lower()
        back = (await visited(way_out.json()["url"])).headers["location"]
        landed = await visited(back, browser.cookies)

        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert landed.status_code == 200
        assert "connected" in landed.text
        assert landed.headers["referrer-policy"] == "no-referrer"
        assert await self.asked_to_connect(server, spec_id) is None
        assert len(company.calls) == 1
        assert await self.asked_to_connect(server, spec_id, BOB) is not None

        listed = (await browser.get("/api/connections")).json()["connections"]
        assert [(each["spec_id"], each["scheme"]) for each in listed] == [(spec_id, "login")]
        gone = [await browser.delete(f"/api/connect/{spec_id}/login") for _ in range(2)]
        assert [answer.status_code for answer in gone] == [204, 404]
        assert await self.asked_to_connect(server, spec_id) is not None

    async def test_another_browser_cannot_come_back_in_their_place(
        self, server: Server, company: Company
    ) -> None:
        spec_id = await imported(server, company, [{"login": []}])
        await give_client(server, spec_id)
        way_out = await server.http(ADA).get(f"/api/connect/{spec_id}/login")
        back = (await visited(way_out.json()["url"])).headers["location"]

        landed = await visited(back)

        assert landed.status_code == 400
        assert "could not be connected" in landed.text
        assert company.asked == []

    @pytest.mark.parametrize(
        "query", ["", "?state=x&code=y", "?error=<script>&state=a.b", "?code=1"]
    )
    async def test_the_way_back_answers_nonsense_with_a_page(
        self, server: Server, query: str
    ) -> None:
        landed = await server.http().get(f"/api/connect/callback{query}")

        assert landed.status_code == 400
        assert "<script>" not in landed.text
        assert landed.headers["content-security-policy"].startswith("default-src 'none'")

    async def test_is_counted_and_ended_whatever_environment_is_called(
        self, server: Server, company: Company
    ) -> None:
        spec_id = await imported(server, company, [{"login": []}])
        await give_client(server, spec_id)
        operator, browser = server.http(OPERATOR), server.http(ADA)
        way_out = await browser.get(f"/api/connect/{spec_id}/login")
        back = (await visited(way_out.json()["url"])).headers["location"]
        assert (await visited(back, browser.cookies)).is_success
        sandbox = f"/api/specs/{spec_id}/environments/sandbox"
        assert (await operator.put(sandbox, json={"base_url": company.base_url})).is_success

        listed = (await browser.get("/api/connections")).json()["connections"]
        counted = (await server.http(LEAD).get("/api/connections/counts")).json()["services"]
        gone = await browser.delete(f"/api/connect/{spec_id}/login")
        then = (await operator.get("/api/connections/counts")).json()["services"]

        assert [each["scheme"] for each in listed if each["spec_id"] == spec_id] == ["login"]
        (mine,) = [each for each in counted if each["spec_id"] == spec_id]
        assert (mine["scheme"], mine["service"], mine["customers"]) == ("login", "Shop", 1)
        assert gone.status_code == 204
        assert [each for each in then if each["spec_id"] == spec_id] == []


async def test_many_approvals_and_decisions_at_once_do_not_wait_for_each_other(
    server: Server, company: Company
) -> None:
    spec_ids = await asyncio.gather(*(imported(server, company, []) for _ in range(6)))

    assert len(set(spec_ids)) == 6
    check = (await server.http(OPERATOR).get("/api/audit/check")).json()
    assert check["whole"]


async def test_an_operator_tries_a_credential_out(server: Server, company: Company) -> None:
    spec_id = await imported(server, company, [{"key": []}])
    await give(server, spec_id, "key", value=KEY)
    path = f"/api/specs/{spec_id}/credentials/key/test"

    accepted = await server.http(OPERATOR).post(path, json={})
    company.guard = lambda _: False
    refused = await server.http(OPERATOR).post(path, json={"operation": "GET /orders"})
    unknown = await server.http(OPERATOR).post(path, json={"operation": "POST /orders"})
    not_theirs = await server.http(LEAD).post(path, json={})

    assert accepted.json()["result"] == "accepted"
    assert refused.json() == {
        "result": "refused",
        "asked": "GET /orders",
        "status": 401,
        "said": refused.json()["said"],
        "correlation_id": company.calls[-1].headers["x-correlation-id"],
    }
    assert (unknown.status_code, not_theirs.status_code) == (404, 403)
    assert "canary" not in accepted.text + refused.text + unknown.text
