"""Which agent answers, and with which tools."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.histories import closed, events_of, opened, thread_id

from smart_support.agent.agents import parse_agents
from smart_support.agent.routing import choose_agent
from smart_support.agent.work import at_work, last_agent, share_out
from smart_support.events.records import AgentChanged
from smart_support.operations.records import Access, Classification, Operation, OperationId, SpecId
from smart_support.tools.build import Tool

AGENTS = parse_agents("""
agents:
  - name: support
    purpose: The account, products, tickets and complaints, and everything else.
    uses: [getOrder, createRefund]
    hands_over_to: [orders, returns]
  - name: orders
    purpose: Orders and parcels. Where is it, when does it arrive, cancel it.
    operations: [getOrder, trackOrder, cancelOrder]
    pinned: [trackOrder]
  - name: returns
    purpose: Refunds, money back, broken goods.
    operations: [createRefund]
    uses: [getOrder]
""")


def tool(name: str, title: str, access: Access, agent: str = "support") -> Tool:
    what = Classification(access=access, confirm=access is Access.WRITE, agent=agent)
    plan: Any = {"server": None}
    operation = Operation(
        id=OperationId(name),
        spec_id=SpecId("spec"),
        key=f"POST /{name}",
        method="POST",
        path=f"/{name}",
        operation_id=name,
        tool_name=name,
        summary=title,
        description=title,
        pointer="#",
        schema={"type": "object", "properties": {}, "required": []},
        schema_hash="",
        request_plan=plan,
        classification=what,
    )
    return Tool(name, operation, "http://company.example")


TOOLS: Mapping[str, Tool] = {
    one.name: one
    for one in (
        tool("cancelOrder", "Cancel an order", Access.WRITE),
        tool("createRefund", "Refund an order", Access.WRITE),
        tool("createTicket", "Open a ticket", Access.WRITE, agent="nobody"),
        tool("getOrder", "Get an order", Access.READ),
        tool("trackOrder", "Track an order: where is it now?", Access.READ),
    )
}
SHARED = share_out(TOOLS, AGENTS)


class TestWhoMayCallWhat:
    def test_a_write_has_one_owner_whoever_wants_to_use_it(self) -> None:
        having = [name for name, tools in SHARED.items() if "createRefund" in tools]

        assert having == ["returns"]

    def test_a_read_may_be_used_by_others(self) -> None:
        assert {name for name, tools in SHARED.items() if "getOrder" in tools} == {
            "support",
            "orders",
            "returns",
        }

    def test_what_nobody_lists_belongs_to_the_first(self) -> None:
        assert "createTicket" in SHARED["support"]
        assert "createTicket" not in SHARED["orders"]

    def test_the_pinned_ones_come_first(self) -> None:
        assert list(SHARED["orders"]) == ["trackOrder", "cancelOrder", "getOrder"]

    def test_each_agent_works_with_its_own_words_and_hands_over_to_whom_it_names(self) -> None:
        from datetime import date

        working = at_work(AGENTS, SHARED, customer="Ada", today=date(2026, 11, 23))

        assert working["support"].hands_over_to == {
            "orders": AGENTS.by_name["orders"].purpose,
            "returns": AGENTS.by_name["returns"].purpose,
        }
        assert working["returns"].hands_over_to == {}
        assert AGENTS.by_name["returns"].purpose in working["returns"].system
        assert "Ada" in working["orders"].system


class TestWhoAnswers:
    @pytest.mark.parametrize(
        ("text", "agent"),
        [
            ("Where is my order 1001?", "orders"),
            ("When does my parcel arrive?", "orders"),
            ("I want my money back", "returns"),
            ("Please refund the broken boots", "returns"),
            ("I have a complaint about a product", "support"),
            ("Hello!", "support"),
        ],
    )
    def test_the_one_whose_work_it_is(self, text: str, agent: str) -> None:
        assert choose_agent(text, AGENTS, SHARED, None) == agent

    def test_nothing_said_nothing_changed(self) -> None:
        assert choose_agent("Yes, please.", AGENTS, SHARED, "returns") == "returns"

    def test_another_only_if_it_fits_clearly_better(self) -> None:
        assert choose_agent("And the refund?", AGENTS, SHARED, "orders") == "returns"
        assert choose_agent("It is an order", AGENTS, SHARED, "returns") == "returns"

    def test_an_agent_that_is_gone_is_nobody(self) -> None:
        assert choose_agent("Hello", AGENTS, SHARED, "billing") == "support"

    @given(text=st.text(max_size=100), current=st.sampled_from(["support", "orders", "returns"]))
    def test_there_is_always_somebody(self, text: str, current: str) -> None:
        assert choose_agent(text, AGENTS, SHARED, current) in AGENTS.by_name

    def test_with_one_agent_there_is_no_choice(self) -> None:
        alone = parse_agents("agents: [{name: a, purpose: x}]")

        assert choose_agent("refund", alone, {}, None) == "a"


class TestWhoAnsweredLast:
    def test_it_is_read_from_the_log(self) -> None:
        changed = AgentChanged(
            turn_id="t1", tool_call_id="c1", before="support", after="returns", reason=""
        )
        log = events_of(
            thread_id(1), [opened("t1"), changed, closed("t1"), opened("t2", agent="orders")]
        )

        assert last_agent(log) == "orders"
        assert last_agent(log, "t1") == "returns"
        assert last_agent(log, "t3") is None
        assert last_agent([]) is None


def test_no_agent_gains_a_tool_by_owning_nothing() -> None:
    write = TOOLS["createRefund"]
    lowered = replace(
        write.operation, classification=replace(write.operation.classification, access=Access.READ)
    )

    shared = share_out({"createRefund": Tool("createRefund", lowered, "http://x")}, AGENTS)

    assert "createRefund" in shared["support"]  # it uses it, and as a read it may
    assert "createRefund" not in shared["orders"]
