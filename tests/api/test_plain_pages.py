"""Pages of many rows are written as they stand: each is what its model says, no more, no less."""

import json
from datetime import timedelta

import pytest
from pydantic import BaseModel
from tests.support.histories import answered, closed, handoff, message, opened, resolved
from tests.support.model_endpoint import calls, fails
from tests.support.server import ADA, LEAD, Server
from tests.support.turns import ORDER_1
from tests.support.upstream import answers

from smart_support.api.dashboard import CountedThreads, Series
from smart_support.api.replay import ReplayPage
from smart_support.api.threads import ThreadList
from smart_support.api.troubles import Errors, TroubledThreads
from smart_support.telemetry.handler import ErrorContext


async def lived_in(server: Server) -> str:
    """A thread with a bit of everything, and others beside it."""
    await server.import_company()
    thread = await server.thread(ADA)
    async with server.chat(ADA) as chat:
        await chat.follow(thread)
        server.model.queue(calls(ORDER_1))
        server.company.queue(answers({}, status=503), answers({"id": "1001"}))
        await chat.write(thread, "Where is it?")
        await chat.turn()
        server.model.queue(fails(401))
        await chat.write(thread, "And now?")
        await chat.turn()
    for facts in (
        [*answered(), resolved()],
        [message(), opened(), closed(status="failed", code="SYS_INTERNAL"), handoff(), resolved()],
    ):
        name = await server.thread(ADA)
        await server.parts.log.append(name, facts)
        await server.parts.derivation.catch_up([name])
    with server.parts.errors.guarding(ErrorContext(place="job", operation="a job of this test")):
        raise ZeroDivisionError
    await server.parts.outside.store()
    await server.settled()
    return thread


@pytest.fixture(scope="module")
async def thread(server: Server) -> str:
    return await lived_in(server)


@pytest.mark.parametrize(
    ("path", "model", "narrowed"),
    [
        ("/api/threads", ThreadList, {"limit": "2"}),
        ("/api/threads", ThreadList, {"status": "resolved", "query": "order"}),
        ("/api/threads/{thread}/replay", ReplayPage, {}),
        ("/api/dashboard/series", Series, {"bucket": "hour"}),
        ("/api/dashboard/series", Series, {"bucket": "day"}),
        ("/api/dashboard/conversations", CountedThreads, {"figure": "conversations"}),
        ("/api/dashboard/conversations", CountedThreads, {"figure": "tool_calls", "limit": "1"}),
        ("/api/dashboard/conversations", CountedThreads, {"figure": "turns", "limit": "1"}),
        ("/api/dashboard/errors", Errors, {}),
        ("/api/dashboard/errors/conversations", TroubledThreads, {"limit": "1"}),
    ],
)
async def test_is_what_its_model_says(
    server: Server, thread: str, path: str, model: type[BaseModel], narrowed: dict[str, str]
) -> None:
    now = server.parts.clock()
    span = {
        "start": (now - timedelta(days=2)).isoformat(),
        "end": (now + timedelta(hours=1)).isoformat(),
    }
    ranged = span if "dashboard" in path else {}

    answer = await server.http(LEAD).get(path.format(thread=thread), params=ranged | narrowed)

    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    read = model.model_validate_json(answer.content, strict=True)
    assert json.loads(answer.content) == json.loads(read.model_dump_json())
    rows = [value for value in answer.json().values() if isinstance(value, list)]
    assert all(rows)  # nothing is said of rows that are not there
