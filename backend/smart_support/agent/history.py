"""What the model is told of the past, read from the thread's log.

The log is the truth: whatever broke, the history made from it is well-formed, since every tool
call gets its result here, if only the remark that there is none.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smart_support.agent.memory import Memory, TurnPast, earlier
from smart_support.agent.tokens import tokens_of_message
from smart_support.events.records import (
    ApprovalAsked,
    CallResolved,
    Event,
    GivenBack,
    MessageFinished,
    MessageReceived,
    PersonAnswered,
    ToolCalled,
    ToolReturned,
    TurnId,
)

Wire = dict[str, Any]

HISTORY_TYPES = tuple(
    kind.type
    for kind in (
        MessageReceived,
        MessageFinished,
        ToolCalled,
        ToolReturned,
        ApprovalAsked,
        CallResolved,
        PersonAnswered,
        GivenBack,
    )
)
MAX_EVENTS = 300
"""Newest events that are looked at."""

HISTORY_TOKENS = 6_000
"""Length of the past that the model reads word for word, if nothing else is set."""

_OLD_RESULT = 1_500
_SHORTENED_RESULT = 2_000


@dataclass(frozen=True, slots=True)
class Past:
    """The turns before the one that is answered: those that fit, and the older ones."""

    kept: tuple[TurnPast, ...]
    left_out: tuple[TurnPast, ...]


def past_messages(
    events: Iterable[Event],
    current: TurnId,
    text: str,
    *,
    tokens: int = HISTORY_TOKENS,
    memory: Memory | None = None,
    certain: Sequence[tuple[TurnId, str]] = (),
) -> list[Wire]:
    """OpenAI's wire messages of the turns before, and then `text`, which `current` answers.

    The message itself may be too old to be among `events`: a yes can come weeks later.

    Whole turns are left out, oldest first, until the rest fits `tokens`; what stands for them is
    one message of bounded length: `memory`, and the writes of which the outcome is `certain`
    (turn and words).
    """
    past = divide(events, current, tokens=tokens, memory=memory)
    return messages_of(past, current, text, memory=memory, certain=certain)


def messages_of(
    past: Past,
    current: TurnId,
    text: str,
    *,
    memory: Memory | None = None,
    certain: Sequence[tuple[TurnId, str]] = (),
) -> list[Wire]:
    """The same, of what has been divided already."""
    told = {turn.id for turn in past.kept} | {current}
    writes = [words for turn_id, words in certain if turn_id not in told]
    before = earlier(memory, past.left_out, writes)
    return [
        *([{"role": "system", "content": before}] if before else []),
        *(message for turn in past.kept for message in turn.messages),
        {"role": "user", "content": text},
    ]


def divide(
    events: Iterable[Event],
    current: TurnId | None,
    *,
    tokens: int = HISTORY_TOKENS,
    memory: Memory | None = None,
) -> Past:
    """The turns before `current` that fit `tokens`, newest first, and the rest.

    Turns that `memory` covers are in neither.
    """
    covered = memory.covers if memory else 0
    # What follows the beginning of a turn that is covered belongs to no turn then.
    turns = _turns([event for event in events if event.seq > covered], current)
    room = tokens
    for place in range(len(turns) - 1, -1, -1):
        room -= sum(map(tokens_of_message, turns[place].messages))
        if room < 0:
            return Past(tuple(turns[place + 1 :]), tuple(turns[: place + 1]))
    return Past(tuple(turns), ())


def shortened(messages: Sequence[Wire]) -> list[Wire]:
    """A history for a model that could not read all of it: what stands for the past, and the end.

    The last message stays; of those before it a quarter, cut where somebody begins to speak.
    """
    *before, last = messages
    leading = [message for message in before[:1] if message["role"] == "system"]
    spoken = before[len(leading) :]
    room = sum(map(tokens_of_message, spoken)) // 4
    kept: list[Wire] = []
    for place in range(len(spoken) - 1, -1, -1):
        room -= tokens_of_message(spoken[place])
        if room < 0:
            break
        if spoken[place]["role"] == "user":
            kept = spoken[place:]
    return [*leading, *kept, last]


def shortened_results(messages: Sequence[Wire]) -> list[Wire]:
    """The messages of this turn, long results of tools cut."""
    return [
        message
        if message["role"] != "tool" or len(message["content"]) <= _SHORTENED_RESULT
        else message | {"content": message["content"][:_SHORTENED_RESULT] + " … [cut]"}
        for message in messages
    ]


def _turns(events: Iterable[Event], current: TurnId | None) -> list[TurnPast]:
    events = list(events)
    results = _results(events)
    made = _made(events)
    turns: dict[TurnId, TurnPast] = {}
    asked = False
    queued: set[TurnId] = set()
    for event in events:
        fact = event.fact
        if isinstance(fact, MessageReceived):
            if fact.turn_id == current:
                asked = True
                continue
            turns[fact.turn_id] = TurnPast(
                fact.turn_id, event.seq, [{"role": "user", "content": fact.text}]
            )
            if asked:
                queued.add(fact.turn_id)
        elif isinstance(fact, MessageFinished | ToolCalled) and fact.turn_id in turns:
            turns[fact.turn_id].messages.extend(_said(fact, results, made))
        elif isinstance(fact, PersonAnswered | GivenBack):
            key = f"person/{event.seq}"
            turns[key] = TurnPast(key, event.seq, [_said_by_person(fact)])
    # What is queued waits for its own answer.
    return [turn for turn in turns.values() if not (turn.id in queued and len(turn.messages) == 1)]


def _made(events: Sequence[Event]) -> dict[str, Any]:
    """Tool call id -> the arguments that were shown last, which a person may have changed."""
    return {
        event.fact.tool_call_id: event.fact.arguments
        for event in events
        if isinstance(event.fact, ApprovalAsked) and event.fact.arguments is not None
    }


def _results(events: Sequence[Event]) -> dict[str, ToolReturned | CallResolved]:
    return {
        event.fact.tool_call_id: event.fact
        for event in events
        if isinstance(event.fact, ToolReturned | CallResolved)
    }


@dataclass(frozen=True, slots=True)
class SoFar:
    """What a turn did before whoever answered it was gone: as its state would have held it."""

    messages: list[Wire]
    model_calls: int


def turn_so_far(events: Iterable[Event], turn_id: TurnId) -> SoFar:
    """The steps of the turn that are in the log; calls without a result are left open.

    Each time the model was asked, what it decided was written in one piece, and nothing else
    before every result of it. So the first call after anything else is the next decision.
    """
    events = list(events)
    made = _made(events)
    messages: list[Wire] = []
    decided: Wire | None = None
    text, model_calls = None, 0
    for event in events:
        fact = event.fact
        if getattr(fact, "turn_id", None) != turn_id:
            continue
        if isinstance(fact, MessageFinished):
            text, decided = fact.text, None
        elif isinstance(fact, ToolCalled):
            if decided is None:
                decided = {"role": "assistant", "content": text, "tool_calls": []}
                messages.append(decided)
                text, model_calls = None, model_calls + 1
            decided["tool_calls"].append(_call_of(fact, made))
        elif isinstance(fact, ToolReturned):
            decided = None
            messages.append(
                {"role": "tool", "tool_call_id": fact.tool_call_id, "content": fact.content}
            )
        elif isinstance(fact, CallResolved):
            for message in messages:
                if message.get("tool_call_id") == fact.tool_call_id:
                    message["content"] = fact.content
    return SoFar(messages, model_calls)


def _call_of(fact: ToolCalled, made: Mapping[str, Any]) -> Wire:
    return {
        "id": fact.tool_call_id,
        "type": "function",
        "function": {
            "name": fact.tool,
            "arguments": json.dumps(
                made.get(fact.tool_call_id, fact.arguments), ensure_ascii=False
            ),
        },
    }


def _said_by_person(fact: PersonAnswered | GivenBack) -> Wire:
    if isinstance(fact, PersonAnswered):
        return {"role": "assistant", "content": f"{fact.name} of the support team: {fact.text}"}
    remark = f" with this remark: {fact.remark}" if fact.remark else ""
    return {
        "role": "system",
        "content": f"{fact.name} of the support team gave the conversation back to you{remark}",
    }


def _said(
    fact: MessageFinished | ToolCalled,
    results: dict[str, ToolReturned | CallResolved],
    made: dict[str, Any],
) -> list[Wire]:
    if isinstance(fact, MessageFinished):
        return [{"role": "assistant", "content": fact.text}]
    returned = results.get(fact.tool_call_id)
    content = (
        '{"error":{"outcome":"unknown","message":"No result yet."}}'
        if returned is None
        else returned.content[:_OLD_RESULT]
    )
    return [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [_call_of(fact, made)],
        },
        {"role": "tool", "tool_call_id": fact.tool_call_id, "content": content},
    ]
