"""An operation as the review shows it: what it is, why, what changed, and who decided."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from smart_support.api.parts import Parts
from smart_support.operations.approval_rules import ApprovalRules
from smart_support.operations.binding import arguments_of
from smart_support.operations.changes import turned_write
from smart_support.operations.effects import DONE_WORDS, FAILED_WORDS
from smart_support.operations.records import (
    CLAIMS,
    Access,
    Classification,
    Operation,
    ReviewState,
    Risk,
)
from smart_support.operations.schema import size_of, tokens_of, tool_schema
from smart_support.operations.suggest import is_clear


class LookupLink(BaseModel):
    """A read that shows whether a write took effect.

    Pointers into the call begin with `/arguments/` or `/answer/`, or are `/key`.
    """

    operation: str = Field(max_length=2000, description="Its key; empty: none.")
    arguments: dict[str, str] = Field({}, description="Its argument -> pointer into the call.")
    items: str = Field("", description="Pointer into its answer to the list to search.")
    equal: dict[str, str] = Field({}, description="Pointer into an item -> one into the call.")
    since: str | None = Field(None, description="Pointer into an item to its date-time.")


class StatusLink(BaseModel):
    """A read that says how far an accepted request (202) has come."""

    operation: str = Field(max_length=2000, description="Its key; empty: none.")
    arguments: dict[str, str] = Field({}, description="Its argument -> pointer into the call.")
    state: str = Field("/status", description="Pointer into its answer.")
    done: list[str] = Field(list(DONE_WORDS), description="Words that mean: done.")
    failed: list[str] = Field(list(FAILED_WORDS), description="Words that mean: failed.")


class Classified(BaseModel):
    """What an operation is."""

    access: Access
    confirm: bool = Field(description="Whether the customer must say yes to each call.")
    agent: str
    bindings: dict[str, str] = Field(
        description="Argument -> claim of the signed-in customer that fills it."
    )
    risk: Risk
    idempotency_header: str | None
    idempotency_lifetime_s: int | None = Field(
        description="How long the API keeps an idempotency key."
    )
    repeatable: bool | None = Field(
        description="The same request twice has the effect of one; none: as its method promises."
    )
    lookup: LookupLink | None = Field(description="Shows whether a write took effect.")
    status: StatusLink | None = Field(description="Follows a request that was accepted (202).")
    breaker_group: str | None = Field(description="Which operations fail together.")
    cacheable_s: int | None = Field(
        description="How old an answer may be that stands in while the API is down."
    )
    confirm_locked: bool = Field(description="Nobody may lower `confirm`.")
    approval_rules: ApprovalRules = Field(description="What is demanded beyond the customer's yes.")
    reasons: list[str]
    unbindable: bool = Field(
        description="One customer's own, and no argument says whose: not for one who is not known."
    )
    answer_fields: list[str] = Field(
        description="What the model is shown of an answer; empty: all of it."
    )
    pagination: dict[str, Any] | None = Field(
        description="How its pages are walked behind one cursor; null: they are not."
    )


class GroundShown(BaseModel):
    """One thing that was said of an operation, and where the document says so."""

    model_config = ConfigDict(from_attributes=True)

    about: str = Field(description="The field that it speaks of.")
    reason: str
    confidence: float = Field(ge=0, le=1)
    place: str = Field(description="Part of the operation's description; empty: its path.")
    quote: str
    source: Literal["rules", "model"]


class GroundFound(GroundShown):
    """The same, with the line."""

    line: int | None = Field(description="Number of the line among those shown.")


class ChangeShown(BaseModel):
    """One difference from what was decided on."""

    model_config = ConfigDict(from_attributes=True)

    field: str
    kind: Literal["added", "removed", "changed"]
    before: str | None
    after: str | None
    breaking: bool = Field(description="A call as before fails now, or does something else.")


class ReviewOperation(BaseModel):
    """One operation, the suggestion, and what was decided."""

    id: UUID
    spec_id: UUID
    key: str
    method: str
    path: str
    operation_id: str | None
    tool_name: str
    summary: str
    description: str
    tags: list[str]
    deprecated: bool
    pointer: str = Field(description="Where in the document it is described.")
    suggestion: Classified
    classification: Classified
    state: ReviewState
    decided_by: str | None
    decided_at: datetime | None
    decision_reason: str | None
    version: int
    schema_bytes: int = Field(description="Size of what the model must read to know the tool.")
    tokens: int = Field(description="About what offering it costs a turn, in the model's tokens.")
    clear: bool = Field(description="All rules agree on what is suggested.")
    breaking: bool = Field(description="Of what changed since the decision, something breaks.")
    turned_write: bool = Field(description="Was a read when it was decided about; is a write.")


class OperationDetail(ReviewOperation):
    """One operation with the arguments that the model sees, and the history of decisions."""

    tool_schema: dict[str, Any]
    arguments: list[str] = Field(description="All of them, those bound to the customer too.")
    claims: list[str] = Field(description="What of the signed-in customer can fill an argument.")
    grounds: list[GroundShown] = Field(description="What the suggestion rests on.")
    changes: list[ChangeShown] = Field(description="What changed since the decision.")
    history: list["PastReview"]


class PastReview(BaseModel):
    """One decision."""

    at: datetime
    by: str
    state: ReviewState
    classification: Classified
    reason: str | None
    batch_id: UUID = Field(description="What was decided at once with it; to be undone at once.")
    undoes: UUID | None = Field(description="The batch that this one took back.")


def classified(classification: Classification) -> Classified:
    """As it is shown."""
    return Classified.model_validate(classification, from_attributes=True)


def described(operation: Operation) -> dict[str, Any]:
    """The fields of a ReviewOperation."""
    schema = tool_schema(operation)
    own: dict[str, Any] = {
        "suggestion": classified(operation.suggestion),
        "classification": classified(operation.classification),
        "schema_bytes": size_of(schema),
        "tokens": tokens_of(operation, schema),
        "clear": is_clear(operation.suggestion),
        "breaking": any(change.breaking for change in operation.changes),
        "turned_write": turned_write(operation.changes),
    }
    return own | {
        name: getattr(operation, name) for name in ReviewOperation.model_fields if name not in own
    }


async def detail(parts: Parts, operation: Operation) -> OperationDetail:
    """With its arguments and the history of decisions."""
    history = await parts.operations.history(operation.id)
    return OperationDetail(
        **described(operation),
        tool_schema=tool_schema(operation),
        arguments=arguments_of(operation.schema),
        claims=list(CLAIMS),
        grounds=[GroundShown.model_validate(ground) for ground in operation.suggestion.grounds],
        changes=[ChangeShown.model_validate(change) for change in operation.changes],
        history=[
            PastReview(
                at=review.at,
                by=review.by,
                state=review.state,
                classification=classified(review.classification),
                reason=review.reason,
                batch_id=UUID(review.batch_id),
                undoes=None if review.undoes is None else UUID(review.undoes),
            )
            for review in history
        ],
    )
