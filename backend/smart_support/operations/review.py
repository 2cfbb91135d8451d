"""A person's decision about one operation."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from smart_support.errors import InvalidInput
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import Access, Operation, ReviewState, Risk
from smart_support.operations.suggest import check_classification


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What a person changes of a classification; None leaves it as it is."""

    access: Access | None = None
    confirm: bool | None = None
    agent: str | None = None
    bindings: Mapping[str, str] | None = None
    risk: Risk | None = None
    idempotency_header: str | None = None


async def decide(
    operations: PostgresOperations,
    operation: Operation,
    *,
    state: ReviewState,
    correction: Correction,
    by: str,
    reason: str | None,
    version: int,
) -> Operation:
    """Correct, approve or reject `operation`, as it was looked at in `version`.

    Raises:
        SupportError: the decision is unsafe or cannot work (`check_classification`), somebody
            else was quicker (ReviewConflict), or nothing says where the API is.
    """
    changes = {
        field.name: value
        for field in fields(correction)
        if (value := getattr(correction, field.name)) is not None
    }
    classification = replace(operation.classification, **changes)
    check_classification(operation, classification)
    own_server = operation.request_plan["server"] or ""
    if state is ReviewState.APPROVED and "://" not in own_server:
        spec = await operations.spec(operation.spec_id)
        if spec.base_url is None:
            raise InvalidInput(
                "The document does not say where its API is. Set the base URL of the spec first."
            )
    return await operations.decide(
        operation.id,
        version=version,
        state=state,
        classification=classification,
        by=by,
        reason=reason,
    )
