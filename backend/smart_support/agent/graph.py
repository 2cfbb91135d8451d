"""The graph of one turn: think, call what may be called, ask for a yes where one is needed.

    end ◄── think ◄──────────────────────────────┐
              ├───► call (a branch per call) ────┤
              └───► gate (interrupt) ───► call ──┘

One branch per call, so that going on after an interrupt runs no finished call again; and the
node that interrupts does nothing else, since LangGraph runs it from its beginning once more.
Only calls that wait for a yes lead to the gate: a step of LangGraph takes half a millisecond.
"""

import contextlib
import itertools
import json
import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any, Literal, TypedDict
from uuid import UUID, uuid5

import orjson
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command, Send, interrupt

from smart_support.agent.caps import (
    MOST_CALLS_OF_A_REPLY,
    Refusal,
    Spent,
    estimate,
    made_calls,
    reached,
    refusals,
)
from smart_support.agent.checkpoints import TurnCheckpoints
from smart_support.agent.history import shortened, shortened_results
from smart_support.agent.model import stream_reply
from smart_support.agent.model_chain import ModelChain
from smart_support.agent.model_errors import ModelContextTooLong
from smart_support.agent.node_spans import spanned
from smart_support.agent.prompts import (
    AT_A_CAP,
    FIND_TOOLS,
    FIND_TOOLS_TOOL,
    HAND_OVER,
    HANDOFF,
    HANDOFF_REASONS,
    HANDOFF_TOOL,
    hand_over_tool,
    with_withheld,
)
from smart_support.agent.reply import Reply, Restarted, Switched, Token
from smart_support.agent.state import (
    AgentAtWork,
    Answer,
    ChatModel,
    Decision,
    Find,
    LiveText,
    ToolCallState,
    TurnContext,
    TurnState,
)
from smart_support.agent.tokens import tokens_of
from smart_support.errors import DatabaseUnavailable, SupportError
from smart_support.events.records import (
    AgentChanged,
    ConnectionAsked,
    Event,
    Fact,
    HandoffAsked,
    MessageFinished,
    ModelSwitched,
    ToolCalled,
    ToolReturned,
)
from smart_support.operations.records import Access
from smart_support.telemetry.tracing import Attributes, span
from smart_support.tools import answer
from smart_support.tools.arguments import validate_arguments
from smart_support.tools.build import MAX_TOOLS, Tool
from smart_support.tools.call import ToolCaller, complete_arguments, plan_call
from smart_support.tools.oauth import ConnectionNeeded

Wire = dict[str, Any]
TurnGraph = CompiledStateGraph[TurnState, TurnContext, TurnState, TurnState]


class CallTask(TypedDict):
    """What one branch of `call` gets. `alone`: the model decided on nothing else beside it."""

    call: ToolCallState
    by: str
    alone: bool
    decision: Decision | None
    refused: Refusal | None


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


async def think(state: TurnState, runtime: Runtime[TurnContext]) -> dict[str, Any]:
    """Ask the model, showing its words as they come; or stop at a cap, with words."""
    if _unanswered(state):  # the others have been made; these need a yes, and lead to the gate
        return {}
    context = runtime.context
    agent = context.at(state["agent"])
    number = state.get("model_calls", 0)
    message_id = str(uuid5(UUID(context.turn_id), f"message/{number}"))
    if (cap := _cap(state, context, agent)) is not None:
        return await _stop(runtime, message_id, cap)
    handed_off = _handed_off(state)
    if number and not handed_off and await context.handoffs.with_person(context.thread_id):
        # Somebody took over while the turn was at work: what was begun is done, nothing is said.
        runtime.stream_writer(Answer(message_id, ""))
        return {"messages": [_assistant("", [])], "model_calls": 0}
    # At the cap the model gets no more tools, so that it has to answer with what it knows. Once
    # it has asked for a person, all that is left is to say so.
    last = number + 1 >= context.max_model_calls
    offer = await context.caller.offer(agent.tools)
    tools = [] if last or handed_off else _functions(agent, offer.tools)
    own = _as_made(state.get("messages", []), state.get("edited", {}))
    with span("chat", _asked_of(context)) as traced:
        reply = await _ask_model(runtime, agent, message_id, own, tools, offer.withheld)
        if (counted := reply.usage) is not None:
            traced.note(
                gen_ai__usage__input_tokens=counted.input_tokens,
                gen_ai__usage__output_tokens=counted.output_tokens,
            )
    requests = reply.tool_calls[:MOST_CALLS_OF_A_REPLY]
    if requests and not tools:
        # It cannot be stopped by words; without this it could go on for as long as it likes.
        return await _stop(runtime, message_id, f"{context.max_model_calls} steps")
    calls = [
        ToolCallState(
            id=str(uuid5(UUID(context.turn_id), f"call/{number}/{place}")),
            tool=request.name,
            arguments_json=request.arguments_json,
        )
        for place, request in enumerate(requests)
    ]
    text = reply.text or reply.refusal or ""
    if calls:
        facts: list[Fact] = [_called(context, agent, called) for called in calls]
        if text:
            facts.insert(
                0,
                MessageFinished(
                    turn_id=context.turn_id,
                    message_id=message_id,
                    text=text,
                    agent=agent.name,
                ),
            )
        await _tell(runtime, facts)
    else:
        if last and number:
            await _ask_for_person(runtime, f"{context.max_model_calls} steps")
        runtime.stream_writer(Answer(message_id, text))
    usage = reply.usage
    return {
        "messages": [_assistant(text, calls)],
        "model_calls": 1,
        "input_tokens": usage.input_tokens
        if usage
        else estimate([*context.history, *state.get("messages", [])]),
        "output_tokens": usage.output_tokens if usage else tokens_of(text),
    }


async def _ask_model(
    runtime: Runtime[TurnContext],
    agent: AgentAtWork,
    message_id: str,
    own: list[Wire],
    tools: list[Wire],
    withheld: Mapping[str, str],
) -> Reply:
    """One reply of the model. `own` is what this turn has said and done so far.

    A conversation that is too long for it is shortened, and tried once more.
    """
    context = runtime.context
    system = {"role": "system", "content": with_withheld(agent.system, withheld)}
    shown = 0
    reply = Reply()
    history = context.history
    while True:
        messages = [system, *history, *own]
        try:
            async with contextlib.aclosing(_pieces(context.model, messages, tools)) as pieces:
                async for piece in pieces:
                    match piece:
                        case Token(text):
                            runtime.stream_writer(LiveText(message_id, shown, text))
                            shown += len(text)
                        case Restarted():
                            runtime.stream_writer(LiveText(message_id, 0, "", restart=True))
                            shown = 0
                        case Switched():
                            changed = ModelSwitched(
                                context.turn_id, piece.before, piece.after, piece.code
                            )
                            await _tell(runtime, [changed])
                        case _:
                            reply = piece
            return reply
        except ModelContextTooLong:
            if shown or history is not context.history:
                raise
            history, own = shortened(context.history), shortened_results(own)


def _pieces(
    model: ChatModel, messages: list[Wire], tools: list[Wire]
) -> AsyncGenerator[Token | Restarted | Switched | Reply, None]:
    if isinstance(model, ModelChain):
        return model.stream(messages, tools)
    return stream_reply(model, messages, tools)


def _cap(state: TurnState, context: TurnContext, agent: AgentAtWork) -> str | None:
    """The cap that this turn has come to, in words; None if it may go on."""
    caps = context.caps
    input_tokens, output_tokens = state.get("input_tokens", 0), state.get("output_tokens", 0)
    messages = state.get("messages", [])
    spent = Spent(
        tool_calls=made_calls(messages, refusals(messages, caps, _unasked(agent))),
        tokens=input_tokens + output_tokens,
        cost=caps.prices.of(input_tokens, output_tokens),
        seconds=context.seconds(),
    )
    return reached(caps, spent)


async def _stop(runtime: Runtime[TurnContext], message_id: str, cap: str) -> dict[str, Any]:
    """End the turn at a cap: a person is asked for, and the customer is told."""
    await _ask_for_person(runtime, cap)
    runtime.stream_writer(Answer(message_id, AT_A_CAP))
    return {"messages": [_assistant(AT_A_CAP, [])], "model_calls": 0}


async def _ask_for_person(runtime: Runtime[TurnContext], cap: str) -> None:
    context = runtime.context
    asked = HandoffAsked(
        turn_id=context.turn_id,
        reason="usage_limit",
        note=f"The agent stopped at its limit of {cap} for one message.",
    )
    runtime.stream_writer(await context.handoffs.ask(context.thread_id, asked))


def _unasked(agent: AgentAtWork) -> frozenset[str]:
    """The tools whose writes nobody may have looked at."""
    return frozenset(
        name
        for name, tool in agent.tools.items()
        if (what := tool.operation.classification).access is Access.WRITE
        and (not what.confirm or what.approval_rules.standing_consent)
    )


def _handed_off(state: TurnState) -> bool:
    """Whether a person was asked for in this turn."""
    asked = {
        wire["id"]
        for message in state.get("messages", [])
        for wire in message.get("tool_calls", ())
        if wire["function"]["name"] == HANDOFF
    }
    return any(
        message.get("tool_call_id") in asked and '"error"' not in message["content"]
        for message in state.get("messages", [])
    )


def _as_made(messages: list[Wire], edited: Mapping[str, dict[str, Any]]) -> list[Wire]:
    """The messages with the arguments that calls were really made with."""
    if not edited:
        return messages
    return [
        message
        if "tool_calls" not in message
        else message
        | {
            "tool_calls": [
                wire
                if wire["id"] not in edited
                else wire
                | {
                    "function": wire["function"]
                    | {"arguments": json.dumps(edited[wire["id"]], ensure_ascii=False)}
                }
                for wire in message["tool_calls"]
            ]
        }
        for message in messages
    ]


def _begin(state: TurnState, runtime: Runtime[TurnContext]) -> str | list[Send]:
    """Think first, unless the turn was taken over with calls that have no result yet."""
    return _after_think(state, runtime) if _unanswered(state) else "think"


def _after_think(state: TurnState, runtime: Runtime[TurnContext]) -> str | list[Send]:
    calls = _unanswered(state)
    if not calls:
        return END
    agent = runtime.context.at(state["agent"])
    refused = refusals(state["messages"], runtime.context.caps, _unasked(agent))
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
    calls = _unanswered(state)
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


async def call(state: CallTask, runtime: Runtime[TurnContext]) -> dict[str, Any]:
    """Make one tool call, or tell the model why it was not made."""
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
            await _tell(runtime, [_connection_asked(runtime.context, called, agent, error)])
        content = answer.failure(error.code, "failed", str(error))
        await _returned(runtime, called, "failed", content, error.code)
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
        await _returned(runtime, called, "failed", content, error.code)
        return {"messages": [_answered(called, content)]}
    changed = AgentChanged(
        turn_id=context.turn_id,
        tool_call_id=called["id"],
        before=agent.name,
        after=str(target),
        reason=str(arguments.get("reason") or "")[:500],
    )
    await _tell(runtime, [changed])
    content = json.dumps({"result": f"The agent {target} goes on."})
    await _returned(runtime, called, "done", content, None)
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
        await _returned(runtime, called, "declined", content, "TOOL_DECLINED")
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
        await _tell(runtime, [_connection_asked(context, called, agent, result.connect)])
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
    await _returned(runtime, called, "done", content, None)
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
    await _returned(runtime, called, "done", content, None)
    return content


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

_NO_ANSWER = Decision(decision="rejected", by="customer", message=None, arguments=None)


def _asked_of(context: TurnContext) -> Attributes:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": context.model.model_name,
    }


def _used(tool: Tool, called: ToolCallState) -> Attributes:
    return {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": tool.operation.tool_name,
        "gen_ai.tool.call.id": called["id"],
        "gen_ai.tool.type": "function",
        "smart_support.operation": tool.operation.key,
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


class BrokenArguments(SupportError):
    """The model wrote arguments that are no JSON object."""

    code = "TOOL_BROKEN_ARGUMENTS"
    status = 422


def parse_arguments(text: str) -> dict[str, Any]:
    """The arguments that the model wrote.

    Raises:
        BrokenArguments: they are no JSON object.
    """
    try:
        parsed = json.loads(text or "{}", parse_constant=_refuse_constant)
        # What no request, log or ledger can hold, as text that cannot be encoded or a number of
        # more than 64 bits, is refused here, while the model can still put it right.
        kept = orjson.dumps(parsed)
    except (ValueError, TypeError, RecursionError) as error:
        raise BrokenArguments(f"The arguments are no valid JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise BrokenArguments("The arguments must be a JSON object.")
    if _NUL.search(kept):
        raise BrokenArguments("The arguments must not contain the character U+0000.")
    return parsed


_NUL = re.compile(rb"(?<!\\)(\\\\)*\\u0000")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


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


def _unanswered(state: TurnState) -> list[ToolCallState]:
    answered = {
        message["tool_call_id"] for message in state["messages"] if message["role"] == "tool"
    }
    return [
        ToolCallState(
            id=wire["id"],
            tool=wire["function"]["name"],
            arguments_json=wire["function"]["arguments"],
        )
        for message in state["messages"]
        for wire in message.get("tool_calls", ())
        if wire["id"] not in answered
    ]


def _functions(agent: AgentAtWork, offered: Mapping[str, Tool]) -> list[Wire]:
    own = [tool.function() for tool in offered.values()]
    passing = [hand_over_tool(agent.hands_over_to)] if agent.hands_over_to else []
    finding = [FIND_TOOLS_TOOL] if agent.more else []
    return [*own, *finding, *passing, HANDOFF_TOOL]


def _assistant(text: str, calls: list[ToolCallState]) -> Wire:
    message: Wire = {"role": "assistant", "content": text or None}
    if calls:
        message["tool_calls"] = [
            {
                "id": called["id"],
                "type": "function",
                "function": {"name": called["tool"], "arguments": called["arguments_json"]},
            }
            for called in calls
        ]
    return message


_TITLES = {FIND_TOOLS: "Find the right tool"}


def _called(context: TurnContext, agent: AgentAtWork, called: ToolCallState) -> ToolCalled:
    tool: Tool | None = agent.tools.get(called["tool"])
    try:
        arguments: Any = parse_arguments(called["arguments_json"])
    except BrokenArguments:
        arguments = {"unreadable": called["arguments_json"][:2000]}
    return ToolCalled(
        turn_id=context.turn_id,
        tool_call_id=called["id"],
        tool=called["tool"],
        operation_id=tool.operation.id if tool else None,
        operation=tool.operation.key if tool else None,
        title=tool.title if tool else _TITLES.get(called["tool"], called["tool"]),
        access=tool.operation.classification.access.value if tool else None,
        arguments=arguments,
    )


async def _tell(runtime: Runtime[TurnContext], facts: list[Fact]) -> None:
    events: tuple[Event, ...] = await runtime.context.log.append(runtime.context.thread_id, facts)
    runtime.stream_writer(events)


async def _returned(
    runtime: Runtime[TurnContext],
    called: ToolCallState,
    outcome: Any,
    content: str,
    code: str | None,
) -> None:
    await _tell(
        runtime,
        [
            ToolReturned(
                turn_id=runtime.context.turn_id,
                tool_call_id=called["id"],
                outcome=outcome,
                content=content,
                code=code,
            )
        ],
    )
