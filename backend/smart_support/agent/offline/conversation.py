"""The offline model: a pure function from a conversation and its tools to the next reply."""

from collections.abc import Mapping, Sequence
from typing import Any

from smart_support.agent.reply import Reply, Usage


def reply(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> Reply:
    """The next reply, from OpenAI's wire forms of messages and tools. Deterministic."""
    text = f"I am the offline model; I see {len(messages)} messages and {len(tools)} tools."
    return Reply(text=text, usage=Usage(1, len(text.split())))
