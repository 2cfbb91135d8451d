"""What the model is told of the past, read from the thread's log.

The log is the truth: whatever broke, the history made from it is well-formed, since every tool
call gets its result here, if only the remark that there is none.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from smart_support.events.records import (
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
        PersonAnswered,
        GivenBack,
    )
)
MAX_EVENTS = 300
"""Newest events that are looked at."""

MAX_CHARACTERS = 24_000
"""Length of the past that the model reads, about 6,000 tokens."""

_OLD_RESULT = 1_500


def past_messages(events: Iterable[Event], current: TurnId, text: str) -> list[Wire]:
    """OpenAI's wire messages of the turns before, and then `text`, which `current` answers.

    The message itself may be too old to be among `events`: a yes can come weeks later.

    Whole turns are left out, oldest first, until the rest fits MAX_CHARACTERS.
    """
    turns: dict[TurnId, list[Wire]] = {}
    results = {
        event.fact.tool_call_id: event.fact
        for event in events
        if isinstance(event.fact, ToolReturned)
    }
    asked = False
    queued: set[TurnId] = set()
    for event in events:
        fact = event.fact
        if isinstance(fact, MessageReceived):
            if fact.turn_id == current:
                asked = True
                continue
            turns[fact.turn_id] = [{"role": "user", "content": fact.text}]
            if asked:
                queued.add(fact.turn_id)
        elif isinstance(fact, MessageFinished | ToolCalled) and fact.turn_id in turns:
            turns[fact.turn_id].extend(_said(fact, results))
        elif isinstance(fact, PersonAnswered | GivenBack):
            turns[f"person/{event.seq}"] = [_said_by_person(fact)]
    kept: list[Wire] = [{"role": "user", "content": text}]
    room = MAX_CHARACTERS
    for turn_id, said in reversed(turns.items()):
        if turn_id in queued and len(said) == 1:
            continue  # waits for its own answer
        room -= sum(len(json.dumps(message, ensure_ascii=False)) for message in said)
        if room < 0:
            break
        kept[:0] = said
    return kept


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
            decided["tool_calls"].append(_call_of(fact))
        elif isinstance(fact, ToolReturned):
            decided = None
            messages.append(
                {"role": "tool", "tool_call_id": fact.tool_call_id, "content": fact.content}
            )
    return SoFar(messages, model_calls)


def _call_of(fact: ToolCalled) -> Wire:
    return {
        "id": fact.tool_call_id,
        "type": "function",
        "function": {
            "name": fact.tool,
            "arguments": json.dumps(fact.arguments, ensure_ascii=False),
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


def _said(fact: MessageFinished | ToolCalled, results: dict[str, ToolReturned]) -> list[Wire]:
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
            "tool_calls": [_call_of(fact)],
        },
        {"role": "tool", "tool_call_id": fact.tool_call_id, "content": content},
    ]
