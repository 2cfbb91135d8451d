"""The exact request of a call, shown and not sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from smart_support.errors import InvalidInput
from smart_support.operations.binding import fill
from smart_support.operations.example import example_of
from smart_support.operations.offers import address_of
from smart_support.operations.records import Operation
from smart_support.operations.schema import tool_schema
from smart_support.operations.text import shown
from smart_support.tools.arguments import validate_arguments
from smart_support.tools.paging import turned
from smart_support.tools.request import build_request

LATER = "(made when it is sent)"
"""Stands where the executor puts something that only a real call has."""
LONGEST_BODY = 20_000
"""Characters of a body that are shown."""

SAMPLE: Mapping[str, str] = {
    "customer_id": "customer-1",
    "email": "customer@example.org",
    "name": "Sample Customer",
}
"""A customer who stands in for the one who will be signed in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """A request as it would be sent, its credentials and its secrets aside."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: str | None
    """Text, with what cannot be seen in it spelled out; None if there is none."""
    body_bytes: int
    arguments: Mapping[str, Any]
    """What the model gave, or what was made up for it."""
    filled: Mapping[str, Any]
    """All arguments, those of the customer too."""


def dry_run(
    operation: Operation,
    base_url: str | None,
    arguments: Mapping[str, Any] | None = None,
    claims: Mapping[str, str] = SAMPLE,
) -> DryRun:
    """What would be sent for `arguments` of the model's; made up from the schema if None.

    Raises:
        InvalidInput: nothing says where the API is, or a bound claim is not among `claims`.
        ArgumentsInvalid: the arguments do not fit; the text says where.
    """
    address = address_of(base_url, operation.request_plan["server"])
    if address is None:
        raise InvalidInput("Nothing says where the API is. Set the base URL of the spec first.")
    given = _made_up(operation) if arguments is None else arguments
    validate_arguments(operation, given)
    classification = operation.classification
    if missing := sorted(set(classification.bindings.values()) - claims.keys()):
        raise InvalidInput(
            f"It needs the customer's {', '.join(missing)}; who has none is not offered it."
        )
    filled = fill(turned(operation, given), classification.bindings, claims)
    headers = {"X-Correlation-Id": LATER}
    if classification.idempotency_header is not None:
        headers[classification.idempotency_header] = LATER
    request = build_request(operation.request_plan, filled, base_url=address, headers=headers)
    content = request.content
    return DryRun(
        method=request.method,
        url=str(request.url),
        headers=tuple(
            (name.decode("latin-1"), value.decode("utf-8", "replace"))
            for name, value in request.headers.raw
        ),
        body=_readable(content)[:LONGEST_BODY] if content else None,
        body_bytes=len(content),
        arguments=given,
        filled=filled,
    )


def _made_up(operation: Operation) -> dict[str, Any]:
    """Arguments with everything that is required, headers of parts included."""
    schema = tool_schema(operation)
    # The schema does not ask for them, since it depends on the body which are needed. What is
    # made up has no lists of parts, each of which would need its own.
    headers = [
        plan["argument"]
        for plan in operation.request_plan["parameters"]
        if plan["location"] == "part" and plan["required"] and not plan.get("each")
    ]
    return example_of({**schema, "required": [*schema.get("required", ()), *headers]})


def _readable(content: bytes) -> str:
    return shown(content.decode("utf-8", "replace").replace("\r\n", "\n"))
