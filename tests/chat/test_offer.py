"""Which tools a turn is offered when there are more than a model can choose from."""

import pytest
from tests.operations.documents import openapi, parameter, spec_of
from tests.support.model_endpoint import calls, says
from tests.support.turns import ADA, ORDER_1, REFUND, Desk

from smart_support.agent.agents import parse_agents
from smart_support.agent.prompts import FIND_TOOLS
from smart_support.chat.answering import TurnLimits
from smart_support.chat.offer import FOUND, PER_TURN, offer_tools
from smart_support.events.records import ToolCalled, ToolReturned
from smart_support.operations.records import ReviewState
from smart_support.operations.review import Verdict, decide_all
from smart_support.tools.build import MAX_TOOLS

THINGS = [
    "apple",
    "bridge",
    "candle",
    "desert",
    "engine",
    "feather",
    "garden",
    "hammer",
    "island",
    "jacket",
]


def many(count: int) -> dict[str, object]:
    """`count` reads, each of a thing of its own."""
    return {
        f"/{THINGS[n % 10]}/{n}": {
            "get": {
                "operationId": f"get{THINGS[n % 10].title()}{n}",
                "summary": f"Look at {THINGS[n % 10]} number {n}",
                "parameters": [parameter("size")],
            }
        }
        for n in range(count)
    }


async def approve_many(desk: Desk, count: int) -> None:
    draft = spec_of(openapi(many(count), servers=[{"url": desk.api.base_url}]))
    spec = (await desk.operations.save_draft(draft, name="many", document=b"{}", by="op")).spec
    found = await desk.operations.operations(spec.id, limit=1_000)
    verdicts = [
        Verdict(operation_id=each.id, version=each.version, state=ReviewState.APPROVED)
        for each in found
    ]
    await decide_all(desk.operations, spec.id, verdicts, by="op")


def bound(desk: Desk, request: int = -1) -> list[str]:
    """The names of the tools that the model was given."""
    return [tool["function"]["name"] for tool in desk.model.requests[request].body["tools"]]


async def test_few_tools_are_all_offered(desk: Desk) -> None:
    desk.model.queue(says("Hello."))

    await desk.say("Hello")

    assert {"getOrder", "createRefund", "addNote", "listMails"} <= set(bound(desk))
    assert FIND_TOOLS not in bound(desk)


async def test_of_many_those_are_offered_that_the_message_is_about(desk: Desk) -> None:
    await approve_many(desk, 200)
    desk.model.queue(calls(ORDER_1), says("It is on its way."))

    await desk.say("Where is my order 1001?")

    offered = bound(desk, 0)
    assert "getOrder" in offered
    assert FIND_TOOLS in offered
    assert len(offered) <= PER_TURN + 2  # to find more, and to ask for a person
    assert await desk.calls() == [("GET /orders/{order_id}", "done")]


async def test_what_was_just_used_stays(desk: Desk) -> None:
    await approve_many(desk, 200)
    desk.model.queue(calls(ORDER_1), says("It is on its way."), says("You are welcome."))

    await desk.say("Where is my order 1001?")
    await desk.say("Great, and the feather and the candle?")

    assert bound(desk)[0] == "getOrder"
    assert any("Feather" in name for name in bound(desk))


async def test_the_words_before_count_too(desk: Desk) -> None:
    await approve_many(desk, 200)
    desk.model.queue(says("Which one?"), says("I see."))

    await desk.say("I would like to look at the garden")
    await desk.say("Number 26")

    assert bound(desk)[0] == "getGarden26"


async def test_the_model_finds_more_and_calls_it_in_the_same_turn(desk: Desk) -> None:
    await approve_many(desk, 200)
    desk.model.queue(
        calls((FIND_TOOLS, {"query": "look up an order"})), calls(ORDER_1), says("On its way.")
    )

    await desk.say("Is there news of the hammer?")

    assert "getOrder" not in bound(desk, 0)
    assert "getOrder" in bound(desk, 1)
    assert len(bound(desk, 1)) <= len(bound(desk, 0)) + FOUND
    facts = await desk.facts()
    looked, called = desk.of(facts, ToolCalled)
    assert (looked.tool, looked.title, looked.operation) == (
        FIND_TOOLS,
        "Find the right tool",
        None,
    )
    assert called.operation == "GET /orders/{order_id}"
    assert '"getOrder"' in desk.of(facts, ToolReturned)[0].content
    assert desk.said(facts) == ["On its way."]


async def test_what_was_found_is_there_after_a_yes(desk: Desk) -> None:
    await approve_many(desk, 200)
    desk.model.queue(
        calls((FIND_TOOLS, {"query": "refund an order, leave a note"})),
        calls(REFUND),
        says("It is done."),
    )

    await desk.say("It is about the hammer")
    await desk.decide()
    await desk.settled()

    assert ("POST /orders/{order_id}/refunds", "done") in await desk.calls()
    assert {"createRefund", "addNote"} <= set(bound(desk))


async def test_nothing_is_found_that_another_agent_owns(desk: Desk) -> None:
    await approve_many(desk, 60)
    desk.agents = parse_agents(
        """
        agents:
          - {name: support, purpose: Everything about things}
          - {name: money, purpose: Refunds, operations: [createRefund]}
        """
    )
    desk.model.queue(calls((FIND_TOOLS, {"query": "refund an order"})), calls(REFUND), says("No."))

    await desk.say("Something with an apple")

    assert "createRefund" not in bound(desk)
    assert ("POST /orders/{order_id}/refunds", "done") not in await desk.calls()


async def test_who_has_no_email_is_not_offered_what_needs_one(desk: Desk) -> None:
    agents = parse_agents("agents: [{name: support, purpose: All}]")

    for claims, offered in ((ADA.claims(), True), ({"customer_id": "cus_bob"}, False)):
        found = await offer_tools(desk.operations, agents, claims, [], text="my mails", turn_id="t")
        assert ("listMails" in found.tools["support"]) is offered
        assert ("listMails" in await found.find("support", "list mails")) is offered


@pytest.mark.parametrize("pins", [25, MAX_TOOLS + 5])
async def test_pinned_tools_are_always_in_up_to_what_endpoints_take(desk: Desk, pins: int) -> None:
    await approve_many(desk, 200)
    pinned = [f"get{THINGS[n % 10].title()}{n}" for n in range(pins)]
    agents = parse_agents(
        f"agents: [{{name: support, purpose: All, pinned: [{', '.join(pinned)}]}}]"
    )

    found = await offer_tools(
        desk.operations, agents, ADA.claims(), [], text="my order", turn_id="t"
    )

    assert len(found.tools["support"]) == min(pins, MAX_TOOLS)
    assert set(found.tools["support"]) <= set(pinned)


async def test_how_many_are_offered_can_be_set(desk: Desk) -> None:
    assert TurnLimits(tools_per_turn=2).tools_per_turn == 2
    agents = parse_agents("agents: [{name: support, purpose: All}]")

    found = await offer_tools(
        desk.operations, agents, ADA.claims(), [], text="refund it", turn_id="t", per_turn=2
    )

    assert next(iter(found.tools["support"])) == "createRefund"
    assert len(found.tools["support"]) <= 2
    assert found.more == {"support"}
