"""A person's decision about operations, one or many at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from smart_support.errors import InvalidInput
from smart_support.operations.approval_rules import ApprovalRules
from smart_support.operations.decisions import Decided, Decision
from smart_support.operations.effects import Lookup, StatusCheck, bad_pointers
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import (
    Access,
    Classification,
    Operation,
    OperationId,
    ReviewState,
    Risk,
    SpecId,
)
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
    """Empty: the operation takes none."""
    unbindable: bool | None = None
    idempotency_lifetime_s: int | None = None
    """0: nobody knows."""
    repeatable: bool | Literal["unknown"] | None = None
    """`unknown`: nobody says any more, and what its method promises counts."""
    lookup: Lookup | None = None
    """With an empty `operation`: none."""
    status: StatusCheck | None = None
    """With an empty `operation`: none."""
    breaker_group: str | None = None
    """Empty: by its tag."""
    cacheable_s: int | None = None
    """0: its answers are not kept."""
    approval_rules: ApprovalRules | None = None
    answer_fields: tuple[str, ...] | None = None
    """Empty: the whole answer is shown."""
    paged: bool | None = None
    """Whether its pages are walked as suggested, or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a person says of one operation, looked at in `version`."""

    operation_id: str
    version: int
    state: ReviewState
    correction: Correction = Correction()
    reason: str | None = None


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
        SupportError: as of `decide_all`.
    """
    verdict = Verdict(
        operation_id=operation.id,
        version=version,
        state=state,
        correction=correction,
        reason=reason,
    )
    return (await decide_all(operations, operation.spec_id, [verdict], by=by)).operations[0]


async def decide_all(
    operations: PostgresOperations, spec_id: str, verdicts: Sequence[Verdict], *, by: str
) -> Decided:
    """Correct, approve or reject operations of one document: all that is asked for, or nothing.

    Raises:
        SupportError: a decision is unsafe or cannot work (`check_classification`), somebody
            else was quicker (ReviewConflict), an operation is named twice or is not there, or
            nothing says where the API is.
    """
    wanted = {OperationId(verdict.operation_id): verdict for verdict in verdicts}
    if len(wanted) != len(verdicts):
        raise InvalidInput("An operation is named twice; decide about each once.")
    if not wanted:
        raise InvalidInput("No operation is named.")
    found = await operations.chosen(spec_id, list(wanted))
    decisions = []
    for operation in found:
        verdict = wanted[operation.id]
        classification = _corrected(operation, verdict.correction)
        for link in (verdict.correction.lookup, verdict.correction.status):
            await _check_linked(operations, operation, link)
        decisions.append(
            Decision(
                operation_id=operation.id,
                version=verdict.version,
                state=verdict.state,
                classification=classification,
                reason=verdict.reason,
            )
        )
    approved = [one for one in found if wanted[one.id].state is ReviewState.APPROVED]
    await _check_callable(operations, SpecId(spec_id), approved)
    return await operations.decide_all(decisions, by=by)


def _corrected(operation: Operation, correction: Correction) -> Classification:
    changes: dict[str, Any] = {
        field.name: value
        for field in fields(correction)
        if (value := getattr(correction, field.name)) is not None
    }
    for name in ("idempotency_header", "breaker_group", "idempotency_lifetime_s", "cacheable_s"):
        if name in changes and not changes[name]:
            changes[name] = None
    if changes.get("repeatable") == "unknown":
        changes["repeatable"] = None
    for name in ("lookup", "status"):
        if name in changes and not changes[name].operation:
            changes[name] = None
    if (paged := changes.pop("paged", None)) is not None:
        changes["pagination"] = operation.suggestion.pagination if paged else None
    # Whether asking may be lowered is never a person's to say.
    locked = operation.suggestion.confirm_locked
    classification = replace(operation.classification, **changes, confirm_locked=locked)
    check_classification(operation, classification)
    for link in (classification.lookup, classification.status):
        _check_link(operation, link)
    return classification


def _check_link(operation: Operation, link: Lookup | StatusCheck | None) -> None:
    """Raise InvalidInput if what is linked to an operation can never be asked."""
    if link is None:
        return
    pointers = [*link.arguments.values()]
    if isinstance(link, Lookup):
        pointers += link.equal.values()
        if not link.equal and not link.arguments:
            raise InvalidInput(f"{operation.key}: a lookup that asks for nothing proves nothing.")
    if wrong := bad_pointers(pointers):
        raise InvalidInput(
            f"{operation.key}: {wrong[0]!r} points nowhere. Begin with /arguments/ or /answer/, "
            "or use /key."
        )


async def _check_linked(
    operations: PostgresOperations, operation: Operation, link: Lookup | StatusCheck | None
) -> None:
    """Raise InvalidInput if the document has no such operation to ask."""
    if link is None or not link.operation:
        return
    found = await operations.operations(operation.spec_id, query=link.operation, limit=500)
    if all(one.key != link.operation for one in found):
        raise InvalidInput(f"{operation.key}: the document has no operation {link.operation!r}.")


async def _check_callable(
    operations: PostgresOperations, spec_id: SpecId, approved: Sequence[Operation]
) -> None:
    """Raise InvalidInput if nothing says where what is approved can be called."""
    if all("://" in (operation.request_plan["server"] or "") for operation in approved):
        return
    spec = await operations.spec(spec_id)
    if spec.base_url is None:
        raise InvalidInput(
            "The document does not say where its API is. Set the base URL of the spec first."
        )
