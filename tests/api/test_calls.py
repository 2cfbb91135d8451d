"""Leads say what became of a call; operators switch off, and all processes obey at once."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.support.chat_client import transcript_of
from tests.support.model_endpoint import calls, says
from tests.support.server import LEAD, OPERATOR, Server, running
from tests.support.turns import NOTE
from tests.support.upstream import drops


@pytest.fixture
async def server(migrated_database: Callable[[], str]) -> AsyncIterator[Server]:
    async with running(migrated_database()) as opened:
        yield opened


async def free_note(server: Server) -> str:
    """Import the company, let notes be left unasked; the operation's id."""
    spec = await server.import_company()
    found = await server.operations(spec["id"])
    (note,) = [one for one in found if one["tool_name"] == "addNote"]
    decision = {"version": note["version"], "state": "approved", "confirm": False}
    path = f"/api/operations/{note['id']}/decision"
    answer = await server.http(OPERATOR).post(path, json=decision)
    assert answer.status_code == 200, answer.text
    return str(note["id"])


async def unknown_call(server: Server) -> tuple[str, str]:
    """A thread with a call whose answer was lost; thread and call."""
    await free_note(server)
    thread = await server.thread()
    server.company.queue(drops())
    server.model.queue(calls(NOTE), says("I do not know."))
    async with server.chat() as chat:
        await chat.follow(thread)
        await chat.write(thread, "Leave a note")
        await chat.turn()
    answer = await server.http(LEAD).get("/api/tool-calls/unknown")
    (call,) = answer.json()["calls"]
    assert (call["state"], call["thread_id"]) == ("ambiguous", thread)
    return thread, call["id"]


@pytest.mark.parametrize(
    ("resolution", "state"), [("done", "resolved_done"), ("not_done", "resolved_not_done")]
)
async def test_a_lead_says_what_became_of_a_call(
    server: Server, resolution: str, state: str
) -> None:
    thread, call = await unknown_call(server)
    lead = server.http(LEAD)

    async with server.chat() as customer:
        await customer.follow(thread)
        said = {"resolution": resolution, "remark": "I looked in the back office"}
        answer = await lead.post(f"/api/tool-calls/{call}/resolve", json=said)
        frames = await customer.until(lambda frame: "call_resolved" in str(frame.get("event")))

    assert answer.status_code == 200, answer.text
    assert (answer.json()["state"], answer.json()["resolved_by"]) == (state, LEAD.id)
    event = frames[-1]["event"]
    assert event["value"] == {"tool_call_id": call, "resolution": resolution}
    assert "back office" not in str(transcript_of(frames))
    assert (await lead.get("/api/tool-calls/unknown")).json() == {"calls": []}
    page: Any = (await lead.get(f"/api/threads/{thread}/replay")).json()
    assert page["events"][-1]["fact"]["remark"] == "I looked in the back office"

    again = await lead.post(f"/api/tool-calls/{call}/resolve", json=said)
    assert (again.status_code, again.json()["code"]) == (409, "TOOL_CALL_SETTLED")


async def test_how_it_is_known_must_be_said(server: Server) -> None:
    _, call = await unknown_call(server)

    for remark in ("", "   "):
        answer = await server.http(LEAD).post(
            f"/api/tool-calls/{call}/resolve", json={"resolution": "done", "remark": remark}
        )
        assert answer.status_code == 422


async def test_an_operator_switches_off_and_on(server: Server) -> None:
    note = await free_note(server)
    operator = server.http(OPERATOR)
    wanted = {"scope": "operation", "target": note, "reason": "it misbehaves"}

    stopped = await operator.post("/api/stops", json=wanted)

    assert stopped.status_code == 201, stopped.text
    assert (stopped.json()["title"], stopped.json()["stopped_by"]) == ("POST /notes", OPERATOR.id)
    thread = await server.thread()
    server.model.queue(calls(NOTE), says("It is switched off."))
    async with server.chat() as chat:
        await chat.follow(thread)
        await chat.write(thread, "Leave a note")
        await chat.turn()
    assert server.company.requests == []
    assert "switched off" in server.model.requests[-1].body["messages"][-1]["content"]

    path = f"/api/stops/{stopped.json()['id']}/lift"
    lifted = await operator.post(path, json={"reason": "mended"})
    assert lifted.json()["lifted_by"] == OPERATOR.id
    assert (await operator.post(path, json={"reason": "mended"})).status_code == 404
    (kept,) = (await server.http(LEAD).get("/api/stops")).json()["stops"]
    assert (kept["reason"], kept["lifted_reason"]) == ("it misbehaves", "mended")


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({"scope": "everything", "target": "01900000-0000-7000-8000-00000000000a"}, 422),
        ({"scope": "api"}, 422),
        ({"scope": "api", "target": "01900000-0000-7000-8000-00000000000a"}, 404),
        ({"scope": "operation", "target": "01900000-0000-7000-8000-00000000000a"}, 404),
        ({"scope": "everything", "reason": "  "}, 422),
    ],
)
async def test_what_cannot_be_switched_off_is_refused(
    server: Server, wanted: dict[str, Any], status: int
) -> None:
    answer = await server.http(OPERATOR).post("/api/stops", json={"reason": "because"} | wanted)

    assert answer.status_code == status


async def test_the_details_show_each_breaker(server: Server) -> None:
    await unknown_call(server)

    details = (await server.http(OPERATOR).get("/api/health/details")).json()

    (upstream,) = details["upstreams"]
    assert upstream["origin"] == server.company.base_url
    assert [breaker["state"] for breaker in upstream["breakers"]] == ["closed"]
