"""Approved operations as the model sees them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from smart_support.operations.offers import Offer
from smart_support.operations.records import Operation, OperationId
from smart_support.operations.schema import tool_schema

MAX_TOOLS = 120
"""Most endpoints refuse more than 128 functions in one request; some are ours."""


@dataclass(frozen=True)
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
        """The tool in the form of OpenAI's function calling; bound arguments are absent.

        It is made once and not to be changed: other turns have the same.
        """
        return self._function

    @cached_property
    def _function(self) -> dict[str, Any]:
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.operation.description or self.operation.key,
                "parameters": tool_schema(self.operation),
            },
        }


def may_be_offered(offer: Offer, claims: Mapping[str, str]) -> bool:
    """Whether an approved operation may be offered to a customer of whom `claims` are known.

    Not without an address; nor if an argument is bound to a claim that is not known, or nothing
    says whose things it is about and nobody knows who asks, since it could then only be called for
    nobody or for somebody else.
    """
    known = offer.claims <= claims.keys() and ("customer_id" in claims or not offer.unbindable)
    return known and offer.address is not None


def tool_names(offers: Sequence[Offer]) -> dict[OperationId, str]:
    """The name of each operation as a tool. Two APIs can have one name for two things."""
    names: dict[OperationId, str] = {}
    taken: set[str] = set()
    for offer in offers:
        name = offer.tool_name
        if name in taken:
            name = f"{name[:55]}_{offer.id.replace('-', '')[-8:]}"
        taken.add(name)
        names[offer.id] = name
    return names


def build_tools(
    approved: Sequence[tuple[Operation, str | None]],
    claims: Mapping[str, str],
    names: Mapping[OperationId, str] | None = None,
) -> dict[str, Tool]:
    """The tools that may be offered to a customer of whom `claims` are known, by name.

    Args:
        approved: operations with the addresses of their APIs, in their order.
        claims: what is known of the customer.
        names: of more operations than these; None: these are all.
    """
    offers = [Offer.of(operation, base_url) for operation, base_url in approved]
    allowed = {offer.id: offer for offer in offers if may_be_offered(offer, claims)}
    if names is None:
        names = tool_names(list(allowed.values()))
    return {
        names[operation.id]: Tool(names[operation.id], operation, address)
        for operation, _ in approved
        if operation.id in allowed and (address := allowed[operation.id].address) is not None
    }
