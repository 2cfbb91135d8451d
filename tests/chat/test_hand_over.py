"""One agent hands over to another within a turn: other words, other tools, never more rights."""

from typing import Any

import pytest
from tests.support.model_endpoint import calls, says
from tests.support.turns import NOTE, ORDER_1, REFUND, Desk

from smart_support.agent.agents import parse_agents
from smart_support.agent.prompts import HAND_OVER, HANDOFF
from smart_support.conversations.records import TurnStatus
from smart_support.events.records import (
    AgentChanged,
    MessageFinished,
    ToolReturned,
    TurnClosed,
    TurnOpened,
)

AGENTS = parse_agents("""
agents:
  - name: support
    purpose: Everything else.
    uses: [getOrder]
    hands_over_to: [money]
  - name: money
    purpose: Refunds and invoices.
    instructions: Be exact.
    operations: [createRefund]
""")
TO_MONEY = (HAND_OVER, {"agent": "money", "reason": "It is about a refund."})


@pytest.fixture
def agents(desk: Desk) -> Desk:
    desk.agents = AGENTS
    return desk


def offered(body: dict[str, Any]) -> set[str]:
    return {tool["function"]["name"] for tool in body["tools"]}


def outcomes(desk: Desk, facts: Any) -> list[tuple[str, str | None]]:
    return [(fact.outcome, fact.code) for fact in desk.of(facts, ToolReturned)]


async def test_the_other_goes_on_with_its_own_words_and_tools(agents: Desk) -> None:
    agents.model.queue(calls(TO_MONEY), says("I am the one for that."))

    await agents.say("Hello there")

    before, after = (request.body for request in agents.model.requests)
    assert offered(before) == {"getOrder", "addNote", "listMails", HAND_OVER, HANDOFF}
    assert offered(after) == {"createRefund", HANDOFF}
    assert "Everything else." in before["messages"][0]["content"]
    assert "Be exact." in after["messages"][0]["content"]
    facts = await agents.facts()
    (changed,) = agents.of(facts, AgentChanged)
    assert (changed.before, changed.after) == ("support", "money")
    assert changed.reason == "It is about a refund."
    assert [fact.agent for fact in agents.of(facts, MessageFinished)] == ["money"]


async def test_a_yes_comes_back_to_who_asked_for_it(agents: Desk) -> None:
    agents.model.queue(calls(TO_MONEY), calls(REFUND))
    accepted = await agents.say("Hello there")
    assert (await agents.turn(accepted.turn_id)).status is TurnStatus.PARKED
    agents.model.queue(says("Refunded."))

    await agents.decide()
    await agents.settled()

    facts = await agents.facts()
    assert [fact.agent for fact in agents.of(facts, TurnOpened)] == ["support", "money"]
    assert agents.said(facts) == ["Refunded."]
    assert ("POST /orders/{order_id}/refunds", "done") in await agents.calls()


async def test_without_a_hand_over_what_another_owns_is_not_there(agents: Desk) -> None:
    agents.model.queue(calls(REFUND), says("I cannot."))

    await agents.say("Hello there")

    assert outcomes(agents, await agents.facts()) == [("failed", "TOOL_UNKNOWN")]
    assert await agents.calls() == []


async def test_after_a_hand_over_what_the_first_owned_is_gone(agents: Desk) -> None:
    agents.model.queue(calls(TO_MONEY), calls(NOTE), says("I cannot."))

    await agents.say("Hello there")

    assert outcomes(agents, await agents.facts()) == [("done", None), ("failed", "TOOL_UNKNOWN")]
    assert await agents.calls() == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param({"agent": "sales"}, "TOOL_UNKNOWN_AGENT", id="nobody"),
        pytest.param({}, "TOOL_UNKNOWN_AGENT", id="not named"),
        pytest.param("[1]", "TOOL_BROKEN_ARGUMENTS", id="no object"),
    ],
)
async def test_a_hand_over_to_nobody_is_told_to_the_model(
    agents: Desk, arguments: Any, code: str
) -> None:
    agents.model.queue(calls((HAND_OVER, arguments)), says("Then I do it."))

    await agents.say("Hello there")

    facts = await agents.facts()
    assert outcomes(agents, facts) == [("failed", code)]
    assert agents.of(facts, AgentChanged) == []
    assert agents.of(facts, TurnClosed)[0].status == "done"


async def test_a_hand_over_beside_another_call_is_refused(agents: Desk) -> None:
    agents.model.queue(calls(TO_MONEY, ORDER_1, ids=("a", "b")), says("One by one, then."))

    await agents.say("Hello there")

    facts = await agents.facts()
    assert ("failed", "TOOL_HAND_OVER_NOT_ALONE") in outcomes(agents, facts)
    assert agents.of(facts, AgentChanged) == []


async def test_who_has_nobody_to_hand_over_to_is_not_offered_it(agents: Desk) -> None:
    agents.model.queue(calls(TO_MONEY), calls(TO_MONEY), says("I stay."))

    await agents.say("Hello there")

    assert outcomes(agents, await agents.facts()) == [("done", None), ("failed", "TOOL_UNKNOWN")]


async def test_the_next_message_goes_to_whom_its_words_are_about(agents: Desk) -> None:
    agents.model.queue(says("Hello."), says("About the refund."), says("Still me."))

    await agents.say("Hello there")
    await agents.say("What about my refund?")
    await agents.say("And now?")

    opened = agents.of(await agents.facts(), TurnOpened)
    assert [fact.agent for fact in opened] == ["support", "money", "money"]
    assert {fact.versions["agents"] for fact in opened} == {AGENTS.version}


async def test_a_yes_goes_on_although_its_agent_is_no_more(agents: Desk) -> None:
    agents.model.queue(calls(TO_MONEY), calls(REFUND))
    await agents.say("Hello there")
    agents.agents = parse_agents("agents: [{name: everybody, purpose: All of it.}]")
    agents.model.queue(says("Refunded all the same."))

    await agents.decide()
    await agents.settled()

    assert agents.said(await agents.facts()) == ["Refunded all the same."]
