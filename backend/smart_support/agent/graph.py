"""The graph of one turn: think, call what may be called, ask for a yes where one is needed.

    end ◄── think ◄──────────────────────────────┐
              ├───► call (a branch per call) ────┤
              └───► gate (interrupt) ───► call ──┘

One branch per call, so that going on after an interrupt runs no finished call again; and the
node that interrupts does nothing else, since LangGraph runs it from its beginning once more.
Only calls that wait for a yes lead to the gate: a step of LangGraph takes half a millisecond.
"""

from collections.abc import Mapping
from typing import Any, Literal

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command, Send, interrupt

from smart_support.agent.arguments import parse_arguments
from smart_support.agent.calling import CallTask, call
from smart_support.agent.caps import refusals
from smart_support.agent.checkpoints import TurnCheckpoints
from smart_support.agent.node_spans import spanned
from smart_support.agent.state import AgentAtWork, Decision, ToolCallState, TurnContext, TurnState
from smart_support.agent.thinking import think, unanswered, unasked
from smart_support.errors import SupportError
from smart_support.tools.arguments import validate_arguments
from smart_support.tools.call import ToolCaller

TurnGraph = CompiledStateGraph[TurnState, TurnContext, TurnState, TurnState]


def build_graph(saver: BaseCheckpointSaver[Any]) -> TurnGraph:
    """The graph of a turn. Its checkpoints are filed under the turn's id.

    It streams, as `custom`: `LiveText` pieces, tuples of committed `Event`s, one `Answer`.
    An interrupt's value is a list of ToolCallState; it is resumed with {call id: Decision}.
    """
    graph = StateGraph(TurnState, TurnContext)
    graph.add_node("think", spanned(think))
    graph.add_node("gate", spanned(gate))
    graph.add_node("call", spanned(call), input_schema=CallTask)
    # A turn that goes on without its checkpoint begins at the calls that it stopped for.
    graph.add_conditional_edges(START, _begin, ["think", "call", "gate"])
    graph.add_conditional_edges("think", _after_think, ["call", "gate", END])
    graph.add_edge("call", "think")
    return graph.compile(checkpointer=TurnCheckpoints(saver))


def _begin(state: TurnState, runtime: Runtime[TurnContext]) -> str | list[Send]:
    """Think first, unless the turn was taken over with calls that have no result yet."""
    return _after_think(state, runtime) if unanswered(state) else "think"


def _after_think(state: TurnState, runtime: Runtime[TurnContext]) -> str | list[Send]:
    calls = unanswered(state)
    if not calls:
        return END
    agent = runtime.context.at(state["agent"])
    refused = refusals(state["messages"], runtime.context.caps, unasked(agent))
    caller = runtime.context.caller
    free = [
        called
        for called in calls
        if called["id"] in refused or not _needs_approval(agent, called, caller)
    ]
    if not free:
        return "gate"
    return [
        Send(
            "call",
            CallTask(
                call=called,
                by=state["agent"],
                alone=len(calls) == 1,
                decision=None,
                refused=refused.get(called["id"]),
            ),
        )
        for called in free
    ]


async def gate(state: TurnState, runtime: Runtime[TurnContext]) -> Command[Literal["call"]]:
    """Wait for the approvals of all calls that are left."""
    calls = unanswered(state)
    decisions: Mapping[str, Decision] = runtime.context.decisions
    if any(called["id"] not in decisions for called in calls):
        decisions = interrupt(calls)
    return Command(
        goto=[
            Send(
                "call",
                CallTask(
                    call=called,
                    by=state["agent"],
                    alone=len(calls) == 1,
                    decision=decisions.get(called["id"], _NO_ANSWER),
                    refused=None,
                ),
            )
            for called in calls
        ]
    )


_NO_ANSWER = Decision(decision="rejected", by="customer", message=None, arguments=None)


def _needs_approval(agent: AgentAtWork, called: ToolCallState, caller: ToolCaller) -> bool:
    tool = agent.tools.get(called["tool"])
    if tool is None or not tool.operation.classification.confirm:
        return False
    if caller.is_stopped(tool):
        return False  # the call is refused; nobody is asked for a yes that cannot be used
    try:
        validate_arguments(tool.operation, parse_arguments(called["arguments_json"]))
    except SupportError:
        return False  # nothing to say yes to: the call itself tells the model what is wrong
    return True
