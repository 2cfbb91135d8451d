"""The node that asks the model, shows its words, and takes down what it decides on."""

import contextlib
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any
from uuid import UUID, uuid5

from langgraph.runtime import Runtime

from smart_support.agent.arguments import BrokenArguments, parse_arguments
from smart_support.agent.caps import (
    MOST_CALLS_OF_A_REPLY,
    Spent,
    estimate,
    made_calls,
    reached,
    refusals,
)
from smart_support.agent.history import shortened, shortened_results
from smart_support.agent.model import stream_reply
from smart_support.agent.model_chain import ModelChain
from smart_support.agent.model_errors import ModelContextTooLong
from smart_support.agent.prompts import (
    AT_A_CAP,
    FIND_TOOLS,
    FIND_TOOLS_TOOL,
    HANDOFF,
    HANDOFF_TOOL,
    hand_over_tool,
    with_withheld,
)
from smart_support.agent.reply import Reply, Restarted, Switched, Token
from smart_support.agent.state import (
    AgentAtWork,
    Answer,
    ChatModel,
    LiveText,
    ToolCallState,
    TurnContext,
    TurnState,
)
from smart_support.agent.telling import tell
from smart_support.agent.tokens import tokens_of
from smart_support.events.records import (
    Fact,
    HandoffAsked,
    MessageFinished,
    ModelSwitched,
    ToolCalled,
)
from smart_support.operations.records import Access
from smart_support.telemetry.tracing import Attributes, span
from smart_support.tools.build import Tool

Wire = dict[str, Any]


async def think(state: TurnState, runtime: Runtime[TurnContext]) -> dict[str, Any]:
    """Ask the model, showing its words as they come; or stop at a cap, with words."""
    if unanswered(state):  # the others have been made; these need a yes, and lead to the gate
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
        await tell(runtime, facts)
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
                            await tell(runtime, [changed])
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
        tool_calls=made_calls(messages, refusals(messages, caps, unasked(agent))),
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
    await context.opened()
    runtime.stream_writer(await context.handoffs.ask(context.thread_id, asked))


def unasked(agent: AgentAtWork) -> frozenset[str]:
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


def _asked_of(context: TurnContext) -> Attributes:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": context.model.model_name,
    }


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


def unanswered(state: TurnState) -> list[ToolCallState]:
    """The calls that the model has decided on and that have no result yet."""
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
