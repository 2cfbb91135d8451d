"""Looking at operations before they are decided about: their lines, the model, a dry run."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from smart_support.api.access import Operator, Staff
from smart_support.api.operation_views import (
    GroundFound,
    GroundShown,
    OperationDetail,
    ReviewOperation,
    described,
    detail,
)
from smart_support.api.parts import Running
from smart_support.api.problems import PROBLEMS
from smart_support.errors import InvalidInput
from smart_support.operations.advice import MOST, SWITCHED_OFF, advise_page
from smart_support.operations.evidence import evidence_of
from smart_support.operations.records import (
    Access,
    ReviewState,
)
from smart_support.tools.dry_run import SAMPLE, dry_run

router = APIRouter(prefix="/api", tags=["review"], responses=PROBLEMS)


class Operations(BaseModel):
    """A page of operations in the order of their keys."""

    operations: list[ReviewOperation]
    next_after: str | None = Field(description="Give it as `after` for the next page.")


class OperationEvidence(BaseModel):
    """The lines of the document that an operation was read from."""

    source: str
    pointer: str
    document_line: int = Field(description="Line of the document on which it begins; 0: unknown.")
    first_line: int = Field(description="Number of the first of `lines`.")
    lines: list[str]
    highlight_first: int = Field(description="The operation itself: from this line …")
    highlight_last: int = Field(description="… to this one.")
    reformatted: bool = Field(
        description="The document has it on one long line, which is indented here."
    )
    left_out: int = Field(description="Lines of the operation behind the last one shown.")
    grounds: list[GroundFound] = Field(description="What the suggestion rests on, with its lines.")


class Advice(BaseModel):
    """What came of asking the model."""

    asked: int
    advised: int = Field(description="Operations whose suggestion has the model's word now.")
    unanswered: list[str] = Field(description="Keys of those on which it gave no answer.")
    next_after: str | None = Field(description="Give it as `after` to ask about the next ones.")


class AdviceOffer(BaseModel):
    """Whether the model can be asked."""

    offered: bool


class DryRunWanted(BaseModel):
    """For which arguments, and for whom, a request is to be shown."""

    arguments: dict[str, Any] | None = Field(
        None, description="As the model would give them; without them, some are made up."
    )
    customer: dict[str, Annotated[str, Field(max_length=500)]] | None = Field(
        None, description="Claim -> value of the customer; without them, a sample customer."
    )


class HeaderShown(BaseModel):
    """One header of a request."""

    name: str
    value: str


class DryRunShown(BaseModel):
    """The request as it would be sent; credentials are added only to what is."""

    method: str
    url: str
    headers: list[HeaderShown]
    body: str | None
    body_bytes: int
    arguments: dict[str, Any] = Field(description="What the model gave, or what was made up.")
    filled: dict[str, Any] = Field(description="With what the customer fills.")


@router.get("/specs/{spec_id}/operations", summary="List operations")
async def list_operations(
    spec_id: UUID,
    person: Staff,  # noqa: ARG001
    parts: Running,
    state: ReviewState | None = None,
    access: Access | None = None,
    query: Annotated[str, Query(max_length=200)] = "",
    after: Annotated[str, Query(max_length=2000, description="`next_after` of a page.")] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Operations:
    """Operations with their suggestions and decisions."""
    await parts.operations.spec(str(spec_id))
    found = await parts.operations.operations(
        str(spec_id), state=state, access=access, query=query, after=after, limit=limit
    )
    return Operations(
        operations=[ReviewOperation(**described(operation)) for operation in found],
        next_after=found[-1].key if len(found) == limit else None,
    )


@router.post("/specs/{spec_id}/advice", summary="Ask the model for a second opinion")
async def advise_on_operations(
    spec_id: UUID,
    person: Operator,  # noqa: ARG001
    parts: Running,
    after: Annotated[str, Query(max_length=2000, description="`next_after` of the last.")] = "",
    limit: Annotated[int, Query(ge=1, le=MOST)] = 20,
) -> Advice:
    """On operations that nobody has decided about. It can ask for more care, never for less."""
    if parts.ask_model is None:
        raise InvalidInput(SWITCHED_OFF)
    done = await advise_page(
        parts.operations, str(spec_id), parts.ask_model, after=after, limit=limit
    )
    return Advice(**asdict(done))


@router.get("/advice", summary="Whether the model gives second opinions")
async def read_advice_offer(person: Staff, parts: Running) -> AdviceOffer:  # noqa: ARG001
    """It does if SMART_SUPPORT_MODEL_ADVISES is set and there is a model."""
    return AdviceOffer(offered=parts.ask_model is not None)


@router.get("/operations/{operation_id}", summary="One operation")
async def read_operation(operation_id: UUID, person: Staff, parts: Running) -> OperationDetail:  # noqa: ARG001
    """With its arguments and the history of its review."""
    return await detail(parts, await parts.operations.operation(str(operation_id)))


@router.get("/operations/{operation_id}/evidence", summary="The lines of the document")
async def read_evidence(operation_id: UUID, person: Staff, parts: Running) -> OperationEvidence:  # noqa: ARG001
    """What an operation was read from, and a few lines around it."""
    operation = await parts.operations.operation(str(operation_id))
    spec = await parts.operations.spec(operation.spec_id)
    raw = await parts.operations.document(operation.spec_id)
    start, end = operation.starts_at, operation.ends_at
    found = await asyncio.to_thread(
        evidence_of,
        raw,
        source=spec.source,
        pointer=operation.pointer,
        place=None if start is None or end is None else (start, end),
    )
    return OperationEvidence(
        **{
            name: getattr(found, name)
            for name in OperationEvidence.model_fields
            if name != "grounds"
        },
        grounds=[
            GroundFound(
                **GroundShown.model_validate(ground).model_dump(), line=found.line_of(ground)
            )
            for ground in operation.suggestion.grounds
        ],
    )


@router.post("/operations/{operation_id}/dry-run", summary="Show a request without sending it")
async def dry_run_operation(
    operation_id: UUID,
    wanted: DryRunWanted,
    person: Staff,  # noqa: ARG001
    parts: Running,
) -> DryRunShown:
    """The exact request for some arguments, approved or not. Nothing is sent."""
    operation = await parts.operations.operation(str(operation_id))
    spec = await parts.operations.spec(operation.spec_id)
    claims = SAMPLE if wanted.customer is None else wanted.customer
    shown = dry_run(operation, spec.base_url, wanted.arguments, claims)
    headers = [HeaderShown(name=name, value=value) for name, value in shown.headers]
    return DryRunShown(**{**asdict(shown), "headers": headers})
