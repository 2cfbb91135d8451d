"""The node that makes a tool call, or tells the model why it was not made."""

import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from langgraph.runtime import Runtime

from smart_support.agent.arguments import parse_arguments
from smart_support.agent.caps import Refusal
from smart_support.agent.prompts import FIND_TOOLS, HAND_OVER, HANDOFF, HANDOFF_REASONS
from smart_support.agent.state import AgentAtWork, Decision, Find, ToolCallState, TurnContext
from smart_support.agent.telling import returned, tell
from smart_support.errors import DatabaseUnavailable, SupportError
from smart_support.events.records import AgentChanged, ConnectionAsked, HandoffAsked
from smart_support.telemetry.tracing import Attributes, span
from smart_support.tools import answer
from smart_support.tools.arguments import validate_arguments
from smart_support.tools.build import MAX_TOOLS, Tool
from smart_support.tools.call import complete_arguments, plan_call
from smart_support.tools.oauth import ConnectionNeeded

Wire = dict[str, Any]


class CallTask(TypedDict):
    """What one branch of `call` gets. `alone`: the model decided on nothing else beside it."""

    call: ToolCallState
    by: str
    alone: bool
    decision: Decision | None
    refused: Refusal | None


async def call(state: CallTask, runtime: Runtime[TurnContext]) -> dict[str, Any]:
    """Make one tool call, or tell the model why it was not made."""
    await runtime.context.opened()
    called = state["call"]
    agent = runtime.context.at(state["by"])
    if called["tool"] == HAND_OVER and agent.hands_over_to:
        return await _hand_over(runtime, agent, called, alone=state["alone"])
    edited: dict[str, dict[str, Any]] = {}
    if (decision := state["decision"]) and decision["arguments"] is not None:
        edited[called["id"]] = decision["arguments"]
    try:
        if (refused := state.get("refused")) is not None:
            raise _REFUSED[refused]
        content = await _called_content(called, agent, decision, runtime)
    except DatabaseUnavailable:
        raise
    except SupportError as error:
        if isinstance(error, ConnectionNeeded):
            await tell(runtime, [_connection_asked(runtime.context, called, agent, error)])
        content = answer.failure(error.code, "failed", str(error))
        await returned(runtime, called, "failed", content, error.code)
    return {"messages": [_answered(called, content)], "edited": edited}


def _connection_asked(
    context: TurnContext, called: ToolCallState, agent: AgentAtWork, error: ConnectionNeeded
) -> ConnectionAsked:
    tool = agent.tools.get(called["tool"])
    return ConnectionAsked(
        turn_id=context.turn_id,
        tool_call_id=called["id"],
        spec_id=error.spec_id,
        scheme=error.scheme,
        title=tool.title if tool else called["tool"],
    )


def _answered(called: ToolCallState, content: str) -> Wire:
    return {"role": "tool", "tool_call_id": called["id"], "content": content}


async def _hand_over(
    runtime: Runtime[TurnContext], agent: AgentAtWork, called: ToolCallState, *, alone: bool
) -> dict[str, Any]:
    """Let another agent go on, with its own tools and instructions; rights never add up."""
    context = runtime.context
    try:
        arguments = parse_arguments(called["arguments_json"])
        target = arguments.get("agent")
        if not alone:
            raise HandOverNotAlone
        if target not in agent.hands_over_to:
            raise UnknownAgent(target, agent.hands_over_to)
    except SupportError as error:
        content = answer.failure(error.code, "failed", str(error))
        await returned(runtime, called, "failed", content, error.code)
        return {"messages": [_answered(called, content)]}
    changed = AgentChanged(
        turn_id=context.turn_id,
        tool_call_id=called["id"],
        before=agent.name,
        after=str(target),
        reason=str(arguments.get("reason") or "")[:500],
    )
    await tell(runtime, [changed])
    content = json.dumps({"result": f"The agent {target} goes on."})
    await returned(runtime, called, "done", content, None)
    return {"messages": [_answered(called, content)], "agent": target}


async def _called_content(
    called: ToolCallState,
    agent: AgentAtWork,
    decision: Decision | None,
    runtime: Runtime[TurnContext],
) -> str:
    context = runtime.context
    if decision is not None and decision["decision"] != "approved":
        content = answer.failure("TOOL_DECLINED", "declined", _declined(decision))
        await returned(runtime, called, "declined", content, "TOOL_DECLINED")
        return content
    arguments = parse_arguments(called["arguments_json"])
    if decision is not None and decision["arguments"] is not None:
        arguments = decision["arguments"]
    if called["tool"] == HANDOFF:
        return await _hand_off(runtime, called, arguments)
    if called["tool"] == FIND_TOOLS and agent.more and context.find is not None:
        return await _find(runtime, agent, called, arguments, context.find)
    # Only what the agent itself may call, whoever it took over from.
    tool = agent.tools.get(called["tool"])
    if tool is None:
        raise UnknownTool(called["tool"])
    validate_arguments(tool.operation, arguments)
    planned = plan_call(
        tool,
        complete_arguments(tool, arguments, context.claims),
        call_id=called["id"],
        thread_id=context.thread_id,
        turn_id=context.turn_id,
    )
    with span("execute_tool", _used(tool, called)) as traced:
        result = await context.caller.call(
            tool,
            planned,
            actor=context.actor,
            correlation_id=context.correlation_id,
            claims=context.claims,
        )
        traced.note(smart_support__tool__outcome=result.outcome, error__type=result.code)
    runtime.stream_writer(result.events)
    if result.connect is not None:
        await tell(runtime, [_connection_asked(context, called, agent, result.connect)])
    return result.content


def _declined(decision: Decision) -> str:
    """Why a call was not made, for the model."""
    who = "A support lead" if decision["by"] == "lead" else "The customer"
    said = f": {decision['message'][:1000]}" if decision["message"] else ""
    match decision["decision"]:
        case "answered":
            return f"{who} said neither yes nor no; nothing was sent. They wrote instead{said}"
        case "expired":
            return f"{who} did not answer in time."
        case _:
            return f"{who} said no{said or '.'}"


async def _find(
    runtime: Runtime[TurnContext],
    agent: AgentAtWork,
    called: ToolCallState,
    arguments: Mapping[str, Any],
    find: Find,
) -> str:
    """Give the agent more of its own tools, and tell the model what they are."""
    found = await find(agent.name, str(arguments.get("query") or "")[:500])
    room = MAX_TOOLS - len(agent.tools)
    new = {name: tool for name, tool in found.items() if name not in agent.tools}
    agent.tools.update(itertools.islice(new.items(), max(0, room)))
    tools = [
        {"name": name, "title": tool.title} for name, tool in found.items() if name in agent.tools
    ]
    content = json.dumps({"tools": tools}, ensure_ascii=False)
    await returned(runtime, called, "done", content, None)
    return content


async def _hand_off(
    runtime: Runtime[TurnContext], called: ToolCallState, arguments: Mapping[str, Any]
) -> str:
    reason = arguments.get("reason")
    if reason not in HANDOFF_REASONS:
        reason = "customer_request"
    content = json.dumps(
        {"result": "The support team has been asked; a person will answer here from now on."}
    )
    context = runtime.context
    asked = HandoffAsked(
        turn_id=context.turn_id,
        reason=str(reason),
        note=str(arguments.get("note") or "")[:1000],
    )
    runtime.stream_writer(await context.handoffs.ask(context.thread_id, asked))
    await returned(runtime, called, "done", content, None)
    return content


def _used(tool: Tool, called: ToolCallState) -> Attributes:
    return {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": tool.operation.tool_name,
        "gen_ai.tool.call.id": called["id"],
        "gen_ai.tool.type": "function",
        "smart_support.operation": tool.operation.key,
    }


class RepeatedCall(SupportError):
    """The model makes a call again that it has made with the very same arguments."""

    code = "TOOL_REPEATED"
    status = 409

    def __init__(self) -> None:
        super().__init__(
            "You have made this call with the same arguments already; it was not made again. "
            "Use the result that you have, or do something else."
        )


class TooManyCalls(SupportError):
    """One reply of the model decides on more calls than are made at once."""

    code = "TOOL_TOO_MANY"
    status = 429

    def __init__(self) -> None:
        super().__init__(
            "Too many calls in one step; this one was not made. Make the most important first."
        )


_REFUSED: Mapping[Refusal, type[RepeatedCall] | type[TooManyCalls]] = {
    "repeated": RepeatedCall,
    "too_many": TooManyCalls,
}


class UnknownTool(SupportError):
    """The model named a tool that it was not offered."""

    code = "TOOL_UNKNOWN"
    status = 422

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no tool named {name[:100]!r}. Use one of those offered.")


class HandOverNotAlone(SupportError):
    """A hand-over beside other calls would leave it open who they are made for."""

    code = "TOOL_HAND_OVER_NOT_ALONE"
    status = 422

    def __init__(self) -> None:
        super().__init__("Hand over without calling anything else in the same step.")


class UnknownAgent(SupportError):
    """The model wanted to hand over to somebody to whom this agent does not hand over."""

    code = "TOOL_UNKNOWN_AGENT"
    status = 422

    def __init__(self, name: object, known: Iterable[str]) -> None:
        super().__init__(
            f"There is no agent {str(name)[:100]!r} to hand over to. There are: {', '.join(known)}."
        )
