"""Questions to a customer about writes, and their answers."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from smart_support.api.access import Customer, CustomerOrLead
from smart_support.api.parts import Running
from smart_support.identity.people import Role
from smart_support.ledger.records import Approval as StoredApproval
from smart_support.ledger.records import ApprovalState

router = APIRouter(prefix="/api/approvals", tags=["approvals"])


class ApprovalField(BaseModel):
    """One value that will be sent."""

    name: str
    value: str


class Approval(BaseModel):
    """A question about one exact request."""

    id: UUID
    thread_id: UUID
    tool_call_id: UUID
    title: str
    method: str
    url: str
    fields: list[ApprovalField]
    state: ApprovalState
    asked_at: datetime
    expires_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    reason: str | None


class Approvals(BaseModel):
    """The newest questions."""

    approvals: list[Approval]


class Decision(BaseModel):
    """An answer; it counts once."""

    decision: Literal["approve", "reject"]
    reason: str | None = Field(None, max_length=1000)


@router.get("", summary="List approvals")
async def list_approvals(
    person: CustomerOrLead,
    parts: Running,
    state: ApprovalState | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Approvals:
    """A customer sees their own, a support lead all."""
    actor = person.id if person.role is Role.CUSTOMER else None
    found = await parts.ledger.approvals(actor=actor, state=state, limit=limit)
    return Approvals(approvals=[_approval(approval) for approval in found])


@router.post("/{approval_id}/decision", summary="Answer a question")
async def decide(
    approval_id: UUID, decision: Decision, person: Customer, parts: Running
) -> Approval:
    """Say yes or no. After a yes exactly the request that was shown is sent."""
    decided = await parts.runner.decide(
        person,
        str(approval_id),
        approved=decision.decision == "approve",
        reason=decision.reason,
    )
    return _approval(decided.approval)


def _approval(approval: StoredApproval) -> Approval:
    return Approval.model_validate(approval, from_attributes=True)
