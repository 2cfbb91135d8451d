"""Calls whose outcome is unknown: what a lead has to look at, and what they found."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from smart_support.api.access import Lead
from smart_support.api.parts import Running
from smart_support.api.problems import PROBLEMS
from smart_support.ledger.records import CallState, KnownCall

router = APIRouter(prefix="/api/tool-calls", tags=["tool calls"], responses=PROBLEMS)


class ToolCall(BaseModel):
    """A call, and what became of it."""

    id: UUID
    thread_id: UUID
    turn_id: UUID
    operation: str
    arguments: dict[str, Any]
    state: CallState
    code: str | None
    effect_key: UUID | None = Field(description="What was sent as its idempotency key, if any.")
    sent_at: datetime | None
    finished_at: datetime | None
    checks: int = Field(description="How often we have tried to find out ourselves.")
    resolved_by: str | None
    resolved_at: datetime | None
    remark: str | None


class UnknownCalls(BaseModel):
    """The calls that nobody knows the outcome of, the one that waits longest first."""

    calls: list[ToolCall]


class CallResolution(BaseModel):
    """What a person found out, and how they know."""

    resolution: Literal["done", "not_done"]
    remark: str = Field(
        min_length=1,
        max_length=1000,
        pattern=r"\S",
        description="For leads and agents; the customer is not shown it.",
    )


@router.get("/unknown", summary="Calls with an unknown outcome")
async def list_unknown(
    person: Lead,  # noqa: ARG001
    parts: Running,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> UnknownCalls:
    """Each was sent, and no clear answer came; none is repeated."""
    return UnknownCalls(calls=[_call(call) for call in await parts.calls.waiting(limit)])


@router.post("/{call_id}/resolve", summary="Say what became of a call")
async def resolve_call(
    call_id: UUID, wanted: CallResolution, person: Lead, parts: Running
) -> ToolCall:
    """The customer and the agents are told at once. It can be said once."""
    return _call(await parts.calls.resolve(person, str(call_id), wanted.resolution, wanted.remark))


def _call(call: KnownCall) -> ToolCall:
    return ToolCall.model_validate(call, from_attributes=True)
