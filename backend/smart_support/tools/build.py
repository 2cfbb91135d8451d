"""Approved operations as the model sees them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smart_support.operations.records import Operation
from smart_support.operations.schema import tool_schema

MAX_TOOLS = 128
"""Most endpoints refuse more functions in one request."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One approved operation under the name that the model knows, with its API's address."""

    name: str
    operation: Operation
    base_url: str

    @property
    def title(self) -> str:
        """What it does, in the document's own words."""
        return self.operation.summary or self.operation.key

    def function(self) -> dict[str, Any]:
        """The tool in the form of OpenAI's function calling; bound arguments are absent."""
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.operation.description or self.operation.key,
                "parameters": tool_schema(self.operation),
            },
        }


def build_tools(
    approved: Sequence[tuple[Operation, str | None]], claims: Mapping[str, str]
) -> dict[str, Tool]:
    """The tools that may be offered to a customer of whom `claims` are known, by name.

    Left out: operations without an address, and those with an argument bound to a claim that is
    not known, since they could only be called for nobody or for somebody else.
    """
    tools: dict[str, Tool] = {}
    for operation, base_url in approved:
        if not set(operation.classification.bindings.values()) <= claims.keys():
            continue
        address = base_url or operation.request_plan["server"]
        if address is None or "://" not in address:
            continue
        name = operation.tool_name
        if name in tools:  # two APIs with the same name for something: the later one is marked
            name = f"{name[:55]}_{operation.id.replace('-', '')[-8:]}"
        tools[name] = Tool(name, operation, address)
        if len(tools) == MAX_TOOLS:
            break
    return tools
