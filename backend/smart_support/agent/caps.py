"""How much one turn may do, and what a turn that would do more is told."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from smart_support.agent.tokens import tokens_of_message
from smart_support.settings import Settings

Refusal = Literal["repeated", "too_many"]

MOST_CALLS_OF_A_REPLY = 128
"""Calls beyond are not even listed: no model means that many."""

_SAME_CALLS = 2
_SHARE_OF_TIMEOUT = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What a model costs per million tokens, in whatever currency the cap is in."""

    input: float = 0.0
    output: float = 0.0

    def of(self, input_tokens: int, output_tokens: int) -> float:
        """The cost of so many tokens."""
        return (input_tokens * self.input + output_tokens * self.output) / 1_000_000


_FREE = Prices()


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What one turn may use up, approvals' runs included, except for `seconds`, which are a run's.

    None: no such cap. Model calls have a cap of their own, since the last of them is special.
    """

    tool_calls: int = 30
    parallel: int = 10
    """Tool calls of one reply that are made; the others are told to ask again."""
    tokens: int | None = 200_000
    cost: float | None = None
    seconds: float | None = None
    prices: Prices = _FREE


DEFAULT_CAPS = Caps()


@dataclass(frozen=True, slots=True)
class Spent:
    """What a turn has used up so far."""

    tool_calls: int
    tokens: int
    cost: float
    seconds: float


def reached(caps: Caps, spent: Spent) -> str | None:
    """The cap that the turn has come to, in words for people; None if it may go on."""
    if spent.tool_calls >= caps.tool_calls:
        return f"{caps.tool_calls} tool calls"
    if caps.tokens is not None and spent.tokens >= caps.tokens:
        return f"{caps.tokens} tokens"
    if caps.cost is not None and spent.cost >= caps.cost:
        return f"a cost of {caps.cost:g}"
    if caps.seconds is not None and spent.seconds >= caps.seconds:
        return f"{caps.seconds:g} seconds"
    return None


def refusals(
    messages: Sequence[Mapping[str, Any]], caps: Caps, unasked: frozenset[str]
) -> dict[str, Refusal]:
    """Tool call id -> why it is not made, for a turn's messages in OpenAI's wire form.

    The same call may be made twice in a turn. A write that no person looks at (`unasked`, by
    tool name) is made again only if it has surely had no effect.
    """
    results = {
        message["tool_call_id"]: message["content"]
        for message in messages
        if message["role"] == "tool"
    }
    refused: dict[str, Refusal] = {}
    made: dict[tuple[str, str], list[str]] = {}
    for message in messages:
        for place, wire in enumerate(message.get("tool_calls", ())):
            name = wire["function"]["name"]
            key = (name, _canonical(wire["function"]["arguments"]))
            same = made.setdefault(key, [])
            if len(same) >= _SAME_CALLS or (
                name in unasked and not all(_had_no_effect(results.get(one)) for one in same)
            ):
                refused[wire["id"]] = "repeated"
            if place >= caps.parallel:
                refused.setdefault(wire["id"], "too_many")
            if wire["id"] not in refused:
                same.append(wire["id"])
    return refused


def made_calls(messages: Sequence[Mapping[str, Any]], refused: Mapping[str, Refusal]) -> int:
    """Tool calls that were made or are about to be."""
    return sum(
        wire["id"] not in refused for message in messages for wire in message.get("tool_calls", ())
    )


def estimate(messages: Sequence[Mapping[str, Any]]) -> int:
    """About how many tokens the messages are, where the endpoint does not say."""
    return sum(map(tokens_of_message, messages))


def _canonical(arguments_json: str) -> str:
    try:
        return json.dumps(json.loads(arguments_json or "{}"), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments_json


def _had_no_effect(content: str | None) -> bool:
    """Whether this result of a write says that nothing was changed."""
    if content is None:
        return False
    try:
        error = json.loads(content).get("error")
    except (ValueError, AttributeError):
        return False
    return isinstance(error, Mapping) and error.get("outcome") in {"failed", "declined"}


def caps_of(settings: Settings) -> Caps:
    """The caps that an installation has chosen."""
    return Caps(
        tool_calls=settings.smart_support_turn_max_tool_calls,
        tokens=settings.smart_support_turn_max_tokens,
        cost=settings.smart_support_turn_max_cost or None,
        # So that there is time left to say so before the turn is cut off.
        seconds=settings.smart_support_turn_timeout * _SHARE_OF_TIMEOUT,
        prices=Prices(
            input=settings.smart_support_price_input, output=settings.smart_support_price_output
        ),
    )
