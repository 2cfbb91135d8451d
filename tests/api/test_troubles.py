"""What went wrong, over REST: for those who run it the numbers, for leads the conversations."""

from datetime import timedelta
from typing import Any

from tests.support.model_endpoint import calls, fails
from tests.support.server import ADA, LEAD, OPERATOR, Server
from tests.support.turns import ORDER_1
from tests.support.upstream import answers


async def test_is_counted_and_leads_to_the_conversations(server: Server) -> None:
    await server.import_company()
    now = server.parts.clock()
    around: dict[str, Any] = {
        "start": (now - timedelta(hours=1)).isoformat(),
        "end": (now + timedelta(hours=1)).isoformat(),
    }
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
