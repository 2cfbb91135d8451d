"""What went wrong, over REST: for those who run it the numbers, for leads the conversations."""

from datetime import timedelta
from typing import Any

from tests.support.model_endpoint import calls, fails
from tests.support.server import ADA, LEAD, OPERATOR, Server
from tests.support.turns import ORDER_1
from tests.support.upstream import answers

from smart_support.telemetry.handler import ErrorContext


def hours_around(server: Server) -> dict[str, Any]:
    now = server.parts.clock()
    return {
        "start": (now - timedelta(hours=1)).isoformat(),
        "end": (now + timedelta(hours=1)).isoformat(),
    }


async def test_errors_of_no_conversation_are_counted_beside(server: Server) -> None:
    async def outside() -> dict[str, Any]:
        await server.parts.outside.store()
        answer = await server.http(OPERATOR).get(
            "/api/dashboard/errors", params=hours_around(server)
        )
        found: dict[str, Any] = answer.json()["outside"]
        return found

    before = await outside()
    refused = await server.http(ADA).get("/api/threads/00000000-0000-7000-8000-00000000dead")
    async with server.chat(ADA) as chat:
        await chat.send("nonsense")
        await chat.only("error")
    with server.parts.errors.guarding(ErrorContext(place="job", operation="a job of this test")):
        raise ZeroDivisionError
    after = await outside()

    def errors(found: dict[str, Any], place: str) -> dict[str, int]:
        return {
            each["operation"]: each["errors"]
            for each in found["by_place"]
            if each["place"] == place
        }

    codes = {each["code"]: each for each in after["by_code"]}
    assert after["total"] == before["total"] + 3
    assert codes["VAL_NOT_FOUND"]["last_correlation_id"] == refused.json()["correlation_id"]
    assert codes["SYS_INTERNAL"]["severity"] == "high"
    assert after["by_severity"]["high"] == before["by_severity"]["high"] + 1
    assert errors(after, "job") == {"a job of this test": 1}
    assert "/api/threads/{thread_id}" in " ".join(errors(after, "rest"))
    assert errors(after, "socket")


async def test_is_counted_and_leads_to_the_conversations(server: Server) -> None:
    await server.import_company()
    around = hours_around(server)
    async with server.chat(ADA) as chat:
        thread = await server.thread(ADA)
        await chat.follow(thread)
        server.model.queue(calls(ORDER_1))
        server.company.queue(answers({}, status=503), answers({"id": "1001"}))
        await chat.write(thread, "Where is it?")
        await chat.turn()
        server.model.queue(fails(401))
        await chat.write(thread, "And now?")
        await chat.turn()
    await server.settled()

    found = (await server.http(OPERATOR).get("/api/dashboard/errors", params=around)).json()
    by_code = {each["name"]: each for each in found["by_code"]}
    listed = await server.http(LEAD).get(
        "/api/dashboard/errors/conversations", params=around | {"code": "MODEL_AUTH"}
    )
    none = await server.http(LEAD).get(
        "/api/dashboard/errors/conversations", params=around | {"code": "FROM_NOWHERE"}
    )

    assert by_code["API_UNAVAILABLE"]["recovered"] == 1
    assert by_code["MODEL_AUTH"]["severity"] == "critical"
    assert by_code["MODEL_AUTH"]["hint"]
    assert (found["by_severity"]["high"], found["by_severity"]["critical"]) == (1, 1)
    assert found["by_operation"][0]["name"] == "GET /orders/{order_id}"
    assert found["by_upstream"][0]["name"] == f"127.0.0.1:{server.company.port}"
    assert [each["id"] for each in listed.json()["threads"]] == [thread]
    assert none.json() == {"threads": [], "next_cursor": None}
