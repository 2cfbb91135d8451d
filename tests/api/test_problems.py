"""Every failure of a request in one form, with words for people and an id for operators."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from fastapi import FastAPI
from tests.support.database import Databases, name_of
from tests.support.server import ADA, LEAD, OPERATOR, Server, logged, running

from smart_support.database.engine import psycopg_dsn
from smart_support.errors import DatabaseUnavailable


def is_problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    """The body of an answer that is a problem document of this status and code."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert (body["type"], body["status"], body["code"]) == ("about:blank", status, code)
    assert body["title"]
    assert body["correlation_id"]
    return body


async def test_nobody_is_asked_to_sign_in(server: Server) -> None:
    body = is_problem(await server.http().get("/api/me"), 401, "AUTH_NOT_SIGNED_IN")

    assert body["title"] == "Please sign in again."


async def test_another_role_is_not_told_which_would_do(server: Server) -> None:
    body = is_problem(await server.http(ADA).get("/api/dashboard"), 403, "AUTH_NOT_ALLOWED")

    assert "detail" not in body


async def test_what_is_not_there_is_not_found(server: Server) -> None:
    nowhere = server.http(LEAD)

    for path in (f"/api/threads/{uuid4()}", "/api/nope", "/api/"):
        body = is_problem(await nowhere.get(path), 404, "VAL_NOT_FOUND")
        assert "detail" not in body


async def test_another_method_is_refused_and_told_which_would_do(server: Server) -> None:
    answer = await server.http(LEAD).delete("/api/threads")

    is_problem(answer, 405, "VAL_REQUEST_REFUSED")
    assert answer.headers["allow"]


async def test_what_is_wrong_with_a_value_is_said(server: Server) -> None:
    answer = await server.http(LEAD).get("/api/threads", params={"limit": 0, "status": "odd"})

    body = is_problem(answer, 422, "VAL_INVALID_INPUT")
    assert "query.limit" in body["detail"]
    assert "query.status" in body["detail"]


async def test_a_body_that_is_no_json_is_refused(server: Server) -> None:
    path = f"/api/operations/{uuid4()}/decision"

    answer = await server.http(OPERATOR).post(
        path, content=b"{", headers={"content-type": "application/json"}
    )

    is_problem(answer, 422, "VAL_INVALID_INPUT")


@pytest.mark.parametrize(
    ("method", "path", "more"),
    [
        ("GET", "/api/threads/{}/replay?after=99999999999999999999", {}),
        ("GET", "/api/specs/{}/operations?query=%00", {}),
        ("GET", "/api/specs/{}/operations?after=%00", {}),
        ("GET", "/api/threads?query=%00", {}),
        ("GET", "/api/threads?query=%25_%5C", {}),
        ("GET", "/api/dashboard?start=0001-01-01T00:00:00Z&end=9999-12-31T23:59:59Z", {}),
        ("GET", "/api/dashboard?start=2026-01-01T00:00:00&end=2026-01-02T00:00:00", {}),
        ("GET", "/api/dashboard?start=2026-01-02T00:00:00Z&end=2026-01-01T00:00:00Z", {}),
        (
            "POST",
            "/api/operations/{}/decision",
            {"json": {"version": 2**80, "state": "approved"}},
        ),
    ],
    ids=range(9),
)
async def test_no_value_is_too_odd_for_an_answer(
    server: Server, method: str, path: str, more: dict[str, Any]
) -> None:
    for person in (LEAD, OPERATOR):
        answer = await server.http(person).request(method, path.format(uuid4()), **more)

        assert answer.status_code < 500, answer.text


@pytest.fixture(scope="module")
async def crashing(databases: Databases, template: str) -> AsyncIterator[Server]:
    def prepare(app: FastAPI) -> None:
        async def crash() -> None:
            raise RuntimeError("the password is hunter2")

        async def gone() -> None:
            raise DatabaseUnavailable("db7.internal does not answer")

        app.router.add_api_route("/api/crash", crash)
        app.router.add_api_route("/api/gone", gone)
        # Before the page, which has every address that nothing else has.
        app.router.routes[:0] = [app.router.routes.pop(), app.router.routes.pop()]

    with databases.one(template) as url:
        async with running(url, prepare=prepare) as server:
            yield server


class TestCrash:
    async def test_tells_nothing_of_what_happened_inside(self, crashing: Server) -> None:
        body = is_problem(await crashing.http().get("/api/crash"), 500, "SYS_INTERNAL")

        assert "hunter2" not in str(body)
        assert "detail" not in body

    async def test_is_found_in_the_log_by_the_id_of_the_answer(self, crashing: Server) -> None:
        with logged() as lines:
            body = (await crashing.http().get("/api/crash")).json()

        (line,) = [line for line in lines if line["event"] == "request_crashed"]
        assert line["correlation_id"] == body["correlation_id"]
        assert isinstance(line["exc_info"], RuntimeError)

    async def test_each_request_has_an_id_of_its_own(self, crashing: Server) -> None:
        client = crashing.http()

        with logged():  # or rendering five tracebacks takes the time of a hundred tests
            answers = await asyncio.gather(*(client.get("/api/crash") for _ in range(5)))

        assert len({answer.json()["correlation_id"] for answer in answers}) == 5

    async def test_a_failure_of_ours_keeps_its_reason_to_the_log(self, crashing: Server) -> None:
        with logged() as lines:
            body = is_problem(await crashing.http().get("/api/gone"), 503, "DB_UNAVAILABLE")

        assert "db7" not in str(body)
        (line,) = [line for line in lines if line["event"] == "request_refused"]
        assert line["error"] == "db7.internal does not answer"
        assert line["correlation_id"] == body["correlation_id"]


class TestTooManyCalls:
    async def test_are_refused_with_the_time_to_wait(
        self, databases: Databases, template: str
    ) -> None:
        with databases.one(template) as url:
            async with running(url, smart_support_rest_limit="4/day") as server:
                lead, ada = server.http(LEAD), server.http(ADA)
                let_in = [
                    await lead.get("/api/threads"),
                    await ada.post("/api/threads"),
                    await ada.get("/api/threads"),
                    await lead.get("/api/specs"),
                ]
                refused = [
                    await lead.get("/api/threads"),
                    await ada.post("/api/threads"),
                    await lead.get(f"/api/threads/{uuid4()}"),
                    await server.http(OPERATOR).post("/api/specs", content=b"{}"),
                ]
                not_counted = [
                    await lead.get("/api/health"),
                    await lead.get("/"),
                    await lead.get("/api/openapi.json"),
                ]

        assert [answer.status_code for answer in let_in] == [200, 201, 200, 200]
        for answer in refused:
            body = is_problem(answer, 429, "RATE_LIMITED")
            assert 0 < body["retry_after"] <= 86_400
            assert int(answer.headers["retry-after"]) >= body["retry_after"]
        assert 429 not in {answer.status_code for answer in not_counted}


class TestHealth:
    async def test_is_ready_and_says_what_answers(self, server: Server) -> None:
        answer = await server.http().get("/api/health")

        assert answer.status_code == 200
        body = answer.json()
        assert (body["status"], body["reasons"]) == ("ready", [])
        assert body["model"] == {"name": "gpt-4.1-mini", "offline": False}

    async def test_is_not_ready_while_the_database_is_gone(
        self, databases: Databases, template: str
    ) -> None:
        with databases.one(template) as url:
            async with running(url) as server:
                with databases.unreachable(url):
                    health = await server.http().get("/api/health")
                    threads = await server.http(LEAD).get("/api/threads")
                    opening = await server.http(ADA).post("/api/threads")
                again = await server.http().get("/api/health")

        assert (health.status_code, health.json()["status"]) == (503, "not_ready")
        assert health.json()["reasons"] == ["The database does not take writes."]
        for answer in (threads, opening):
            body = is_problem(answer, 503, "DB_UNAVAILABLE")
            assert "detail" not in body
        assert again.json()["status"] == "ready"

    async def test_is_not_ready_on_a_database_that_is_read_only(
        self, databases: Databases, template: str
    ) -> None:
        with databases.one(template) as url:
            async with running(url) as server:
                before = await server.http().get("/api/health")
                await set_read_only(url, "on")
                await disconnect(url)
                health = await server.http().get("/api/health")
                reading = await server.http(LEAD).get("/api/threads")
                writing = await server.http(ADA).post("/api/threads")
                await set_read_only(url, "off")
                await disconnect(url)

        assert before.json()["status"] == "ready"
        assert (health.status_code, health.json()["status"]) == (503, "not_ready")
        assert reading.status_code == 200
        is_problem(writing, 503, "DB_UNAVAILABLE")


async def set_read_only(url: str, value: str) -> None:
    dsn = psycopg_dsn(url)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute(
            f"ALTER DATABASE {name_of(url)} SET default_transaction_read_only = {value}"
        )


async def disconnect(url: str) -> None:
    """Close every connection to the database, so that new ones have its new settings."""
    async with await psycopg.AsyncConnection.connect(psycopg_dsn(url)) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
