"""One run of a turn's graph, as a stream of what it says and does."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.types import Command

from smart_support.agent.checkpoints import GO_ON
from smart_support.agent.graph import TurnGraph
from smart_support.agent.history import SoFar
from smart_support.agent.state import Answer, Decision, LiveText, ToolCallState, TurnContext
from smart_support.events.records import Event

_MAX_STEPS = 200  # LangGraph counts supersteps; the cap on model calls ends a turn long before


@dataclass(frozen=True, slots=True)
class Thought:
    """One call of the model is over; this is what it cost in tokens."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Asked:
    """The run stops here: these calls need a yes."""

    calls: tuple[ToolCallState, ...]


Step: TypeAlias = LiveText | tuple[Event, ...] | Answer | Thought | Asked


async def run_turn(
    graph: TurnGraph,
    context: TurnContext,
    decisions: Mapping[str, Decision] | None,
    so_far: SoFar | None = None,
) -> AsyncGenerator[Step, None]:
    """Run the turn of `context` until its answer, or until it needs a yes.

    `decisions` (tool call id -> decision) go on with a turn that stopped for them, from its
    checkpoint; without one, or without `decisions`, it goes on from `so_far`, which the log has.
    Nothing of it is kept in a checkpoint unless it stops for a yes.
    """
    checkpoints: Any = graph.checkpointer
    turn_id = context.turn_id
    given: Any = {"messages": [], "agent": context.agent}
    go_on = decisions is not None and await checkpoints.kept(turn_id)
    if go_on:
        given = Command(resume=dict(decisions or {}))
    elif so_far is not None:
        given |= {"messages": so_far.messages, "model_calls": so_far.model_calls}
    stopped = False
    item: Any
    config: RunnableConfig = {
        "configurable": {"thread_id": turn_id, GO_ON: go_on},
        "recursion_limit": _MAX_STEPS,
    }
    try:
        async for mode, item in graph.astream(
            given,
            config,
            context=context,
            stream_mode=["custom", "updates"],
            durability="exit",
        ):
            if mode == "custom":
                yield item
            elif "__interrupt__" in item:
                stopped = True
                yield Asked(tuple(item["__interrupt__"][0].value))
            elif (thought := item.get("think")) and thought["model_calls"]:
                yield Thought(thought["input_tokens"], thought["output_tokens"])
        if stopped:
            await checkpoints.keep(turn_id)
    finally:
        checkpoints.let_go(turn_id)
