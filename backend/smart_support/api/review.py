"""Deciding what each operation is: one or many at once, and back again."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field

from smart_support.api.access import Operator, Staff
from smart_support.api.operation_views import (
    LookupLink,
    OperationDetail,
    ReviewOperation,
    StatusLink,
    described,
    detail,
)
from smart_support.api.parts import Running
from smart_support.api.problems import PROBLEMS
from smart_support.operations.approval_rules import ApprovalRules
from smart_support.operations.decisions import Batch, Decided
from smart_support.operations.effects import Lookup, StatusCheck
from smart_support.operations.records import (
    Access,
    ReviewState,
    Risk,
)
from smart_support.operations.review import Correction, Verdict, decide, decide_all

router = APIRouter(prefix="/api", tags=["review"], responses=PROBLEMS)

AnswerField = Annotated[str, Field(min_length=1, max_length=200)]


class ReviewDecision(BaseModel):
    """What a person decides; what is left out stays as it is."""

    version: int = Field(description="Version of the operation that was looked at.")
    state: Literal["approved", "rejected", "pending"]
    access: Access | None = None
    confirm: bool | None = None
    agent: str | None = Field(None, min_length=1, max_length=60)
    bindings: dict[str, str] | None = None
    risk: Risk | None = None
    idempotency_header: str | None = Field(
        None, max_length=100, pattern=r"^[A-Za-z0-9-]*$", description="Empty: it takes none."
    )
    unbindable: bool | None = None
    idempotency_lifetime_s: int | None = Field(
        None, ge=0, le=366 * 86_400, description="0: nobody knows."
    )
    repeatable: bool | Literal["unknown"] | None = Field(
        None, description="`unknown`: nobody says any more."
    )
    lookup: LookupLink | None = None
    status: StatusLink | None = None
    breaker_group: str | None = Field(None, max_length=100, description="Empty: by its tag.")
    cacheable_s: int | None = Field(None, ge=0, le=86_400, description="0: never.")
    approval_rules: ApprovalRules | None = None
    answer_fields: list[AnswerField] | None = Field(
        None, max_length=100, description="Such as `data.id`. Empty: the whole answer is shown."
    )
    paged: bool | None = Field(
        None, description="Whether its pages are walked as suggested, or not at all."
    )
    reason: str | None = Field(None, max_length=1000)


class OperationDecision(ReviewDecision):
    """A decision about one of several operations."""

    operation_id: UUID


class Decisions(BaseModel):
    """Decisions to be made at once: all of them or none."""

    decisions: list[OperationDecision] = Field(min_length=1, max_length=5000)


class DecidedTogether(BaseModel):
    """What was decided at once, and how the operations stand now."""

    batch_id: UUID = Field(description="To undo it with.")
    operations: list[ReviewOperation]


class DecisionBatch(BaseModel):
    """What a person decided at once."""

    batch_id: UUID
    at: datetime
    by: str
    states: list[ReviewState]
    count: int
    first_key: str = Field(description="The first of its operations.")
    reason: str | None
    undoes: UUID | None = Field(description="The batch that this one took back.")
    undoable: bool = Field(description="Nobody has decided about any of its operations since.")


class DecisionHistory(BaseModel):
    """The latest decisions about a document's operations, the newest first."""

    batches: list[DecisionBatch]


@router.post("/operations/{operation_id}/decision", summary="Decide about an operation")
async def decide_operation(
    operation_id: UUID, decision: ReviewDecision, person: Operator, parts: Running
) -> OperationDetail:
    """Correct, approve or reject. Only approved operations can be called."""
    decided = await decide(
        parts.operations,
        await parts.operations.operation(str(operation_id)),
        state=ReviewState(decision.state),
        correction=correction_of(decision),
        by=person.id,
        reason=decision.reason,
        version=decision.version,
    )
    return await detail(parts, decided)


@router.post("/specs/{spec_id}/decisions", summary="Decide about operations at once")
async def decide_operations(
    spec_id: UUID, wanted: Decisions, person: Operator, parts: Running
) -> DecidedTogether:
    """Correct, approve or reject several operations of a document: all of them, or none."""
    decided = await decide_all(
        parts.operations,
        str(spec_id),
        [
            Verdict(
                operation_id=str(one.operation_id),
                version=one.version,
                state=ReviewState(one.state),
                correction=correction_of(one),
                reason=one.reason,
            )
            for one in wanted.decisions
        ],
        by=person.id,
    )
    return _together(decided)


@router.get("/specs/{spec_id}/decisions", summary="Latest decisions about a document")
async def list_decisions(spec_id: UUID, person: Staff, parts: Running) -> DecisionHistory:  # noqa: ARG001
    """Who decided what, when and why, the newest first; at most 50."""
    await parts.operations.spec(str(spec_id))
    return DecisionHistory(
        batches=[_batch(batch) for batch in await parts.operations.batches(str(spec_id))]
    )


@router.post("/reviews/{batch_id}/undo", summary="Take decisions back")
async def undo_decisions(batch_id: UUID, person: Operator, parts: Running) -> DecidedTogether:
    """Put back what stood before, unless somebody has decided since. Can be undone as well."""
    return _together(await parts.operations.undo(str(batch_id), by=person.id))


def correction_of(decision: ReviewDecision) -> Correction:
    """What a decision changes, as the review takes it."""
    said = {name: getattr(decision, name) for name in Correction.__slots__}
    if decision.answer_fields is not None:
        said["answer_fields"] = tuple(decision.answer_fields)
    if decision.lookup is not None:
        said["lookup"] = Lookup(**decision.lookup.model_dump())
    if (status := decision.status) is not None:
        words = {"done": tuple(status.done), "failed": tuple(status.failed)}
        said["status"] = StatusCheck(**status.model_dump() | words)
    return Correction(**said)


def _together(decided: Decided) -> DecidedTogether:
    return DecidedTogether(
        batch_id=UUID(decided.batch_id),
        operations=[ReviewOperation(**described(operation)) for operation in decided.operations],
    )


def _batch(batch: Batch) -> DecisionBatch:
    return DecisionBatch.model_validate(batch, from_attributes=True)
