"""A tool call before it is made: its arguments, its row in the ledger, and how it may be sent."""

from collections.abc import Mapping
from typing import Any

from smart_support.ledger.records import PlannedCall, fingerprint_of
from smart_support.operations.binding import fill
from smart_support.operations.records import Access, Classification, Operation, RequestPlan
from smart_support.tools.build import Tool
from smart_support.tools.paging import turned

KEY_SECONDS = 3_600.0
"""How long an API surely keeps an idempotency key of which nobody has said for how long.

Those that publish it keep keys for hours at least: Stripe 24 hours, PayPal 6.
"""

_IDEMPOTENT_METHODS = frozenset({"PUT", "DELETE"})


def complete_arguments(
    tool: Tool, arguments: Mapping[str, Any], claims: Mapping[str, str]
) -> dict[str, Any]:
    """The arguments with the bound ones filled from who is signed in, whatever the model gave."""
    given = turned(tool.operation, arguments)
    return fill(given, tool.operation.classification.bindings, claims)


def plan_call(
    tool: Tool,
    arguments: Mapping[str, Any],
    *,
    call_id: str,
    thread_id: str,
    turn_id: str,
) -> PlannedCall:
    """The ledger's row of a call with these complete arguments."""
    operation = tool.operation
    classification = operation.classification
    return PlannedCall(
        id=call_id,
        thread_id=thread_id,
        turn_id=turn_id,
        operation_id=operation.id,
        operation=operation.key,
        access=classification.access.value,
        arguments=arguments,
        fingerprint=fingerprint_of(operation.id, operation.schema_hash, arguments),
        api_id=operation.spec_id,
        keyed_for=key_seconds(classification),
        asks=classification.confirm,
    )


def key_seconds(classification: Classification) -> float | None:
    """How long the API keeps our key, in seconds; None if it takes none."""
    if classification.idempotency_header is None:
        return None
    return classification.idempotency_lifetime_s or KEY_SECONDS


def is_repeatable(operation: Operation) -> bool:
    """Whether the same request may be sent twice, as reviewed; else as its method promises.

    What was reviewed counts, whatever the method is: a GET that writes is sent once.

    Source: RFC 9110, 9.2.2 "Idempotent Methods".
    """
    classification = operation.classification
    if classification.idempotency_header is not None and classification.access is Access.WRITE:
        return True
    if classification.repeatable is not None:
        return classification.repeatable
    return classification.access is Access.READ or operation.method in _IDEMPOTENT_METHODS


def breaker_group(operation: Operation) -> str:
    """With which operations of its API this one fails together."""
    named = operation.classification.breaker_group
    return named or (operation.tags[0] if operation.tags else operation.key)


def version_argument(plan: RequestPlan) -> tuple[str, bool] | None:
    """The argument that is sent as `If-Match`, and whether it must be; None without one."""
    for parameter in plan["parameters"]:
        if parameter["location"] == "header" and parameter["name"].lower() == "if-match":
            return parameter["argument"], parameter["required"]
    return None
