"""What an operator takes back while a turn runs is not called any more, nor offered to the next."""

import asyncio

import pytest
from tests.support.model_endpoint import calls, says, stalled
from tests.support.turns import NOTE, ORDER_1, REFUND, Desk

from smart_support.agent.agents import parse_agents
from smart_support.chat.offer import offer_tools
from smart_support.events.records import ToolReturned
from smart_support.operations.offers import Withdrawn
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import ReviewState
from smart_support.operations.review import Correction, decide

AGENTS = parse_agents("agents: [{name: support, purpose: All}]")


async def decided(operations: PostgresOperations, desk: Desk, name: str, state: str) -> None:
    now = await operations.operation(desk.shop[name].id)
    await decide(
        operations,
        now,
        state=ReviewState(state),
        correction=Correction(confirm=now.classification.confirm),
        by="op",
        reason="now",
        version=now.version,
    )


def bound(desk: Desk) -> set[str]:
    return {tool["function"]["name"] for tool in desk.model.requests[-1].body["tools"]}


async def test_what_another_process_decides_counts_in_the_next_turn(desk: Desk) -> None:
    other = PostgresOperations(desk.sessions)
    desk.model.queue(says("One."), says("Two."), says("Three."))

    await desk.say("Hello")
    assert "getOrder" in bound(desk)
    await decided(other, desk, "getOrder", "rejected")
    await desk.say("Hello again")
    assert "getOrder" not in bound(desk)
    await decided(other, desk, "getOrder", "approved")
    await desk.say("And again")
    assert "getOrder" in bound(desk)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "elsewhere"])
@pytest.mark.parametrize(("name", "asked"), [("getOrder", ORDER_1), ("addNote", NOTE)])
async def test_what_is_taken_back_while_the_model_thinks_is_not_called(
    desk: Desk, name: str, asked: tuple[str, object], elsewhere: bool
) -> None:
    operations = PostgresOperations(desk.sessions) if elsewhere else desk.operations
    until = asyncio.Event()
    desk.model.queue(stalled(calls(asked), until, after=0), says("It is not there any more."))
    await desk.send("Please")
    await desk.model.received(1)

    await decided(operations, desk, name, "rejected")
    desk.clock.pass_by(1)
    until.set()
    await desk.settled()
    if name == "addNote" and await desk.questions() == ["pending"]:
        await desk.decide()
        await desk.settled()

    assert desk.api.requests == []
    (returned,) = desk.of(await desk.facts(), ToolReturned)
    assert returned.outcome == "failed"
    assert returned.code in {"TOOL_WITHDRAWN", "TOOL_UNKNOWN"}


async def test_a_yes_to_what_was_changed_since_the_turn_went_on_sends_nothing(desk: Desk) -> None:
    """The yes is there, the tool too: it is the transaction that lets it out which says no."""
    desk.model.queue(calls(REFUND), says("Done."))
    await desk.say("Refund order 1002")
    tool = await desk.tool("createRefund")
    await desk.decide()
    await desk.settled()
    assert [request.path for request in desk.api.requests] == ["/orders/1002/refunds"]

    await decided(PostgresOperations(desk.sessions), desk, "createRefund", "rejected")
    async with desk.sessions.begin() as session:
        with pytest.raises(Withdrawn):
            await desk.operations.unless_withdrawn(tool.operation, tool.base_url)(session)


async def test_tools_are_the_same_for_everybody_until_something_changes(desk: Desk) -> None:
    async def offered() -> dict[str, object]:
        claims = {"customer_id": "cus_ada", "email": "ada@example.org"}
        found = await offer_tools(desk.operations, AGENTS, claims, [], text="hi", turn_id="t")
        return dict(found.tools["support"])

    first, second = await offered(), await offered()
    assert all(first[name] is second[name] for name in first)
    await decided(PostgresOperations(desk.sessions), desk, "getOrder", "rejected")
    assert set(first) - set(await offered()) == {"getOrder"}
