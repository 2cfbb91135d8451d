"""Rules, changes, messages and standing consents, over REST and the socket."""

import asyncio
from typing import Any

import pytest
from tests.support.model_endpoint import calls, says
from tests.support.server import ADA, BOB, LEAD, OPERATOR, Server

from smart_support.events.records import ToolCalled
from smart_support.identity.people import Person

OVER_100 = {"argument": "/body/amount", "comparison": "gt", "value": 100, "who": "lead"}


async def ruled(server: Server, tool: str, **decision: Any) -> Any:
    """The company with one operation reviewed like this; the answer of the review."""
    spec = await server.import_company()
    (operation,) = [
        each for each in await server.operations(spec["id"]) if each["tool_name"] == tool
    ]
    return await server.http(OPERATOR).post(
        f"/api/operations/{operation['id']}/decision",
        json={"version": operation["version"], "state": "approved", **decision},
    )


async def asked(server: Server, amount: float = 20) -> str:
    """A thread of Ada's in which a refund waits for its yes."""
    request = {"order_id": "1002", "body": {"amount": amount}}
    server.model.queue(calls(("createRefund", request)))
    thread = await server.thread()
    await server.parts.runner.send(ADA, thread, "m1", "Refund it")
    await server.parts.runner.idle()
    return thread


async def pending(
    server: Server, person: Person, thread: str, **which: str
) -> list[dict[str, Any]]:
    """The open questions of a thread; other tests have left some of their own."""
    answer = await server.http(person).get("/api/approvals", params={"state": "pending", **which})
    return [each for each in answer.json()["approvals"] if each["thread_id"] == thread]


async def decided_calls(server: Server, thread: str) -> list[str]:
    """The states of the calls of a thread."""
    states = []
    for event in await server.parts.log.read(thread):
        if isinstance(event.fact, ToolCalled):
            found = await server.parts.ledger.call_content(event.fact.tool_call_id)
            states.append(found[0].value if found else "unknown")
    return states


async def decided(server: Server, person: Person, approval: str, **body: Any) -> Any:
    return await server.http(person).post(f"/api/approvals/{approval}/decision", json=body)


class TestRules:
    async def test_are_part_of_what_is_reviewed(self, server: Server) -> None:
        rules = {
            "standing_consent": False,
            "thresholds": [OVER_100],
            "limits": [{"argument": "/body/amount", "limit": 500.0, "window_hours": 24.0}],
        }

        answer = await ruled(server, "createRefund", approval_rules=rules)

        assert answer.json()["classification"]["approval_rules"] == rules
        history = answer.json().get("history")
        assert history is None or history[-1]["classification"]["approval_rules"] == rules

    @pytest.mark.parametrize(
        ("rules", "words"),
        [
            ({"thresholds": [OVER_100 | {"argument": "/nothing"}]}, "does not point"),
            ({"thresholds": [OVER_100 | {"value": "much"}]}, "only compared"),
            ({"standing_consent": True}, "low risk only"),
            ({"limits": [{"limit": 5, "window_hours": 0}]}, "A window is"),
        ],
    )
    async def test_that_cannot_work_are_refused(
        self, server: Server, rules: Any, words: str
    ) -> None:
        answer = await ruled(server, "createRefund", approval_rules=rules)

        assert answer.status_code == 422
        assert answer.json()["code"] == "CONF_RULE_INVALID"
        assert words in answer.text

    async def test_bring_a_lead_in_who_decides_from_a_list(self, server: Server) -> None:
        await ruled(server, "createRefund", approval_rules={"thresholds": [OVER_100]})
        thread = await asked(server, 150)
        (for_lead,) = await pending(server, LEAD, thread, audience="lead")
        (for_ada,) = await pending(server, ADA, thread, audience="customer")
        assert for_lead["why"] == "/body/amount > 100"
        server.model.queue(says("Refunded."))
        before = server.company.sent("POST")

        assert (await decided(server, ADA, for_lead["id"], decision="approve")).status_code == 404
        assert (await decided(server, LEAD, for_ada["id"], decision="approve")).status_code == 404
        assert (await decided(server, BOB, for_ada["id"], decision="approve")).status_code == 404
        assert (await decided(server, ADA, for_ada["id"], decision="approve")).status_code == 200
        assert server.company.sent("POST") == before
        answers = await asyncio.gather(
            *(decided(server, LEAD, for_lead["id"], decision="approve") for _ in range(3))
        )
        await server.settled()

        assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
        assert len(server.company.sent("POST")) == len(before) + 1
        assert await pending(server, LEAD, thread, audience="lead") == []

    async def test_a_lead_does_not_change_a_request(self, server: Server) -> None:
        await ruled(server, "createRefund", approval_rules={"thresholds": [OVER_100]})
        thread = await asked(server, 150)
        (for_lead,) = await pending(server, LEAD, thread, audience="lead")

        answer = await decided(server, LEAD, for_lead["id"], decision="edit", arguments={})

        assert answer.status_code == 403


class TestAnswers:
    @pytest.mark.parametrize(
        "body",
        [
            {"decision": "respond"},
            {"decision": "respond", "reason": "  "},
            {"decision": "edit"},
            {"decision": "maybe"},
        ],
    )
    async def test_that_are_not_whole_are_refused(self, server: Server, body: Any) -> None:
        await server.import_company()
        thread = await asked(server)
        (approval,) = await pending(server, ADA, thread)

        assert (await decided(server, ADA, approval["id"], **body)).status_code == 422
        assert len(await pending(server, ADA, thread)) == 1

    async def test_a_change_over_the_socket_is_asked_about_again(self, server: Server) -> None:
        await server.import_company()
        thread = await asked(server)
        (approval,) = await pending(server, ADA, thread)
        changed = approval["arguments"] | {"body": {"amount": 15}}
        async with server.chat() as chat:
            await chat.follow(thread)
            await chat.send(
                "decide", approval_id=approval["id"], decision="edit", arguments={"order_id": 1}
            )
            error = await chat.only("error")
            assert error["code"] == "VAL_INVALID_INPUT"
            assert error["ref"] == approval["id"]

            await chat.send(
                "decide", approval_id=approval["id"], decision="edit", arguments=changed
            )
            frames = await chat.until(
                lambda frame: frame.get("event", {}).get("name") == "approval_asked"
            )

        values = [frame["event"]["value"] for frame in frames if "value" in frame["event"]]
        assert [value.get("decision") for value in values] == ["edited", None]
        assert {"name": "amount", "value": "15"} in values[-1]["fields"]
        assert values[-1]["arguments"] == changed
        assert await decided_calls(server, thread) == ["awaiting_approval"]

    async def test_a_message_over_the_socket_goes_to_the_model(self, server: Server) -> None:
        await server.import_company()
        thread = await asked(server)
        (approval,) = await pending(server, ADA, thread)
        async with server.chat() as chat:
            await chat.follow(thread)
            await chat.send(
                "decide", approval_id=approval["id"], decision="respond", reason="Make it 15"
            )
            await chat.turn()

        assert "Make it 15" in server.model.requests[-1].body["messages"][-1]["content"]
        assert await decided_calls(server, thread) == ["rejected"]


class TestStandingConsent:
    async def test_is_given_listed_and_revoked(self, server: Server) -> None:
        answer = await ruled(
            server,
            "addNote",
            confirm=True,
            risk="low",
            approval_rules={"standing_consent": True},
        )
        assert answer.status_code == 200, answer.text
        thread = await server.thread()
        server.model.queue(calls(("addNote", {"body": {"text": "one"}})), says("Noted."))
        await server.parts.runner.send(ADA, thread, "m1", "Note one")
        await server.parts.runner.idle()
        (approval,) = await pending(server, ADA, thread)
        await decided(server, ADA, approval["id"], decision="approve", standing=True)
        await server.settled()
        path = f"/api/threads/{thread}/consents"

        (consent,) = (await server.http(ADA).get(path)).json()["consents"]
        assert consent["title"] == "Leave a note"
        assert (await server.http(BOB).get(path)).status_code == 404
        foreign = await server.http(BOB).delete(f"{path}/{consent['id']}")
        assert foreign.status_code == 404
        for _ in range(2):
            revoked = await server.http(ADA).delete(f"{path}/{consent['id']}")
            assert revoked.json() == {"consents": []}
