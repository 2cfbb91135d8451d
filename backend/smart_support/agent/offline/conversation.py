"""The offline model: a pure function from a conversation and its tools to the next reply."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from smart_support.agent.offline.answer import answer, choices, failed, trouble
from smart_support.agent.offline.choose import ASKS_TO_SEE, choose
from smart_support.agent.offline.fill import Known, Missing, fill, lookup, question
from smart_support.agent.offline.tool import READS, Action, Json, Tool, mapping, read_tool
from smart_support.agent.reply import Reply, ToolCallRequest, Usage

_MAX_CALLS = 4  # tool calls for one message of the customer
_MAX_REFERENCE = 5  # words of `And order 1002?`
_MAX_EARLIER = 20  # messages that are looked through for a number named before

_WHO = (
    "I am the built-in offline model of this support desk. No language model is connected, so "
    "I work by simple rules: I can use the tools I was given, but I understand plain requests only."
)
_SMALL_TALK = (
    (r"(hi|hello|hey|good (morning|afternoon|evening|day)|greetings)( there)?", "greeting"),
    (r"(many |great,? |ok,? |perfect,? )?(thanks|thank you|thx|cheers)\b.{0,40}", "thanks"),
    (r"(bye|goodbye|see you|have a (nice|good) \w+).{0,20}", "bye"),
    (r"(no|nope|never ?mind|forget it|stop|no,? thanks?( you)?|cancel that)", "no"),
    (r"(ok|okay|yes|yeah|great|perfect|good|fine|sure|alright|all right)", "ok"),
)
_SAYS = {
    "thanks": "You are welcome. Is there anything else I can do?",
    "bye": "Goodbye, and thank you for writing to us.",
    "no": "All right, I leave it at that. Is there anything else?",
    "ok": "Good. Is there anything else I can do?",
}
_HUMAN = (
    r"\b(talk|speak|chat|connect|transfer|pass|hand|get|give|put|want|need|is there)\b.{0,40}"
    r"\b(human|person|agent|someone|somebody|representative|colleague|operator|staff|manager)\b"
    r"|^\W*(human|agent|representative|operator)\W*$"
)
_HANDOFF = r"hand_?-?off|human|escalat|transfer_?to|for_a_person"
# Who answers, and with which tools, is chosen before; the rest is for larger models.
_NOT_FOR_IT = r"hand_?over|find_tools"
_IDENTITY = (
    r"\b(who|what) are you\b|\bare you (a |an )?(real|human|bot|robot|ai|person|machine)"
    r"|\bwhich (language )?model\b|\bwhat model\b|\byour name\b"
)
_ABILITY = r"\bwhat (can|do) you (do|help)|\bhow can you help|^\W*help( me)?\W*$"


@dataclass(frozen=True)
class _Call:
    name: str
    arguments: Json
    result: Any = None
    answered: bool = False


@dataclass(frozen=True)
class _Turn:
    """One message of the customer, and what was done and said for it."""

    text: str
    calls: tuple[_Call, ...] = ()
    said: str = ""


def reply(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> Reply:
    """The next reply, from OpenAI's wire forms of messages and tools.

    Deterministic: the same conversation gives the same reply, ids of tool calls included.
    Total: what it does not understand it says so.
    """
    known = [
        tool
        for wire in tools
        if (tool := read_tool(wire)) is not None
        and not re.search(_NOT_FOR_IT, tool.name, re.IGNORECASE)
    ]
    turns = _turns(messages)
    decision = _decide(turns, known)
    read = sum(len(_content(message).split()) for message in messages)
    if isinstance(decision, str):
        return Reply(text=decision, usage=Usage(read, len(decision.split())))
    arguments = json.dumps(decision.arguments)
    seed = json.dumps([list(messages), decision.name, arguments], default=str, sort_keys=True)
    call_id = "call_" + hashlib.blake2b(seed.encode(), digest_size=12).hexdigest()
    call = ToolCallRequest(call_id, decision.name, arguments)
    usage = Usage(read, len(arguments.split()))
    return Reply(tool_calls=(call,), usage=usage, finish_reason="tool_calls")


def _decide(turns: Sequence[_Turn], tools: Sequence[Tool]) -> str | _Call:
    if not turns:
        return f"Hello! {_abilities(tools)}"
    turn = turns[-1]
    if turn.calls and (error := failed(turn.calls[-1].result)) is not None:
        return trouble(error, _named(turn.calls[-1].name, tools))
    if not turn.calls and (said := _aside(turn.text, tools)) is not None:
        return said
    goal, knowing = _request(turns, tools)
    if goal is None:
        return _told(turn, tools) if turn.calls else _helpless(tools)
    if any(call.name == goal.name for call in turn.calls):
        return _told(turn, tools)
    return _approach(goal, knowing, turn, tools)


def _approach(goal: Tool, known: Known, turn: _Turn, tools: Sequence[Tool]) -> str | _Call:
    """The call that `goal` needs next, or the question."""
    filled = fill(goal, known)
    room = len(turn.calls) < _MAX_CALLS
    if not filled.missing and room:
        return _Call(goal.name, filled.arguments)
    for missing in filled.missing:
        found = lookup(missing, tools, known)
        if found is None:
            continue
        call = _Call(found[0].name, found[1].arguments)
        done = [each for each in turn.calls if each.name == call.name]
        if room and not any(each.arguments == call.arguments for each in done):
            return call
    if not filled.missing:
        return _told(turn, tools)
    return _ask(goal, filled.missing[0], turn)


def _ask(goal: Tool, missing: Missing, turn: _Turn) -> str:
    offered = ""
    if turn.calls:
        last = turn.calls[-1]
        thing = missing.name.removesuffix("_id") if missing.name.endswith("_id") else goal.subject
        offered = choices(_parts_of(last.result, missing), thing)
        money_left = mapping(mapping(last.result).get("refundable"))
        if "amount" in missing.name and money_left.get("amount") == 0:
            return "Nothing is left to be refunded for that order."
    asked = question(goal, missing)
    return f"You have these:\n\n{offered}\n\n{asked}" if offered else asked


def _parts_of(result: Any, missing: Missing) -> Any:
    fields = mapping(result)
    return {missing.name: fields[missing.name]} if missing.name in fields else fields


def _request(turns: Sequence[_Turn], tools: Sequence[Tool]) -> tuple[Tool | None, Known]:
    """What the customer wants now, and everything that is known for it.

    An answer to a question of ours continues the request that the question was about.
    """
    start = len(turns) - 1
    while start > 0 and _was_asked(turns[start - 1]) and _continues(turns[start].text, tools):
        start -= 1
    goal = _reference(turns, tools) or choose(turns[start].text, tools)
    texts = [turn.text for turn in turns[start:]]
    history = [call for turn in reversed(turns) for call in reversed(turn.calls)]
    results = tuple(
        mapping(call.result)
        for call in history
        if isinstance(call.result, Mapping) and failed(call.result) is None
    )
    known = Known(
        texts=tuple(texts),
        earlier=tuple(turn.text for turn in reversed(turns[:start]))[:_MAX_EARLIER],
        results=results,
        arguments=tuple(call.arguments for call in history),
    )
    if goal is not None and len(texts) > 1:
        known = replace(known, answer=texts[-1], asked=_asked(goal, known, turns[-2].said))
    return goal, known


def _asked(goal: Tool, known: Known, said: str) -> str | None:
    """The argument that our last question was about: found by asking again."""
    before = replace(known, texts=known.texts[:-1])
    missing = fill(goal, before).missing
    return next((each.path for each in missing if said.endswith(question(goal, each))), None)


def _was_asked(turn: _Turn) -> bool:
    return bool(re.search(r"\?\s*$|\?( Please [^.?]+\.)$", turn.said)) and not re.search(
        r"anything else|help you with\b[^?]*\?$", turn.said
    )


def _continues(text: str, tools: Sequence[Tool]) -> bool:
    """Whether a message answers a question, rather than asking for something new."""
    if any(re.fullmatch(rf"\W*{pattern}\W*", text, re.IGNORECASE) for pattern, _ in _SMALL_TALK):
        return False
    order = r"^\W*(?:please |can you |could you |i want to )*"
    order += r"(?:track|cancel|refund|return|open|add|change)\b"
    begins = re.search(rf"{order}|{ASKS_TO_SEE}", text, re.IGNORECASE)
    return begins is None or choose(text, tools) is None


def _reference(turns: Sequence[_Turn], tools: Sequence[Tool]) -> Tool | None:
    """`And order 1002?`: the same as before, about another thing."""
    text = turns[-1].text
    if not re.match(r"^\W*(and|what about|how about)\b", text, re.IGNORECASE):
        return None
    if len(text.split()) > _MAX_REFERENCE:
        return None
    last = next((call for turn in reversed(turns[:-1]) for call in reversed(turn.calls)), None)
    tool = _named(last.name, tools) if last else None
    return tool if tool is not None and tool.action in READS else None


def _told(turn: _Turn, tools: Sequence[Tool]) -> str:
    last = turn.calls[-1]
    tool = _named(last.name, tools)
    if not last.answered:
        return "I have no answer from the system yet."
    if re.search(_HANDOFF, last.name, re.IGNORECASE):
        return "I have asked a colleague to take over. They will answer you here."
    if tool is None:
        return "That is done, but I can no longer use the tool that did it to tell you more."
    return answer(tool, last.result, last.arguments)


def _aside(text: str, tools: Sequence[Tool]) -> str | _Call | None:
    """The reply to what needs no company system."""
    lowered = " ".join(text.lower().split())
    if re.search(_HUMAN, lowered):
        handoff = next((t for t in tools if re.search(_HANDOFF, t.name, re.IGNORECASE)), None)
        if handoff is None:
            return "I am sorry, I cannot connect you with a person from here."
        given = fill(handoff, Known(texts=(text,), answer=text))
        required = {
            each.name: next(iter(each.schema.get("enum", ())), text)
            for each in given.missing
            if "." not in each.path
        }
        return _Call(handoff.name, given.arguments | required)
    if re.search(_IDENTITY, lowered):
        return f"{_WHO} {_abilities(tools)}"
    if re.search(_ABILITY, lowered):
        return _abilities(tools)
    for pattern, mood in _SMALL_TALK:
        if re.fullmatch(rf"\W*{pattern}\W*", lowered):
            return _SAYS.get(mood) or f"Hello! {_abilities(tools)}"
    return None


def _abilities(tools: Sequence[Tool]) -> str:
    shown = [
        tool.summary or tool.name
        for tool in sorted(tools, key=lambda tool: tool.action is Action.READ)
        if not re.search(_HANDOFF, tool.name, re.IGNORECASE)
    ][:8]
    if not shown:
        return "I have no tools connected yet, so I cannot look anything up."
    return "I can help with this:\n\n" + "\n".join(f"- {each}" for each in shown)


def _helpless(tools: Sequence[Tool]) -> str:
    return (
        "I am not sure what you would like me to do: I am the offline model and understand plain "
        f"requests only. {_abilities(tools)}"
    )


def _named(name: str, tools: Sequence[Tool]) -> Tool | None:
    return next((tool for tool in tools if tool.name == name), None)


def _turns(messages: Sequence[Mapping[str, Any]]) -> list[_Turn]:
    turns: list[_Turn] = []
    pending: dict[str, int] = {}
    for message in messages:
        role, text = message.get("role"), _content(message)
        if role == "user":
            turns.append(_Turn(text))
            pending = {}
        elif not turns:
            continue
        elif role == "assistant":
            calls = [call for wire in message.get("tool_calls") or () if (call := _call(wire))]
            for position, (call_id, _) in enumerate(calls, start=len(turns[-1].calls)):
                pending[call_id] = position
            made = (*turns[-1].calls, *(call for _, call in calls))
            turns[-1] = replace(turns[-1], calls=made, said=text or turns[-1].said)
        elif (
            role == "tool" and (place := pending.get(str(message.get("tool_call_id")))) is not None
        ):
            made = turns[-1].calls
            answered = replace(made[place], result=_parsed(text), answered=True)
            turns[-1] = replace(turns[-1], calls=(*made[:place], answered, *made[place + 1 :]))
    return turns


def _call(wire: Any) -> tuple[str, _Call] | None:
    function = mapping(mapping(wire).get("function"))
    if not isinstance(function.get("name"), str):
        return None
    arguments = _parsed(str(function.get("arguments") or "{}"))
    return str(mapping(wire).get("id")), _Call(function["name"], mapping(arguments))


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(str(mapping(part).get("text") or "") for part in content).strip()
    return content if isinstance(content, str) else ""


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
