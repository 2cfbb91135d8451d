"""Questions to people about writes, their answers, and consents that stand."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, model_validator

from smart_support.api.access import CustomerOrLead
from smart_support.api.parts import Parts, Running
from smart_support.errors import NotAllowed
from smart_support.identity.people import Person, Role
from smart_support.ledger.records import Approval as StoredApproval
from smart_support.ledger.records import ApprovalState

router = APIRouter(prefix="/api/approvals", tags=["approvals"])
consents = APIRouter(prefix="/api/threads", tags=["approvals"])


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
    audience: Literal["customer", "lead"] = Field(description="Who is asked.")
    why: str | None = Field(description="The rule by which a support lead is asked.")
    arguments: dict[str, Any] | None = Field(description="Those that the customer may change.")
    edited: bool = Field(description="The customer changed the arguments before.")


class StandingConsent(BaseModel):
    """A customer's yes to every call of one operation in one conversation."""

    id: UUID
    operation: str
    title: str
    given_at: datetime
    expires_at: datetime


class StandingConsents(BaseModel):
    """Those that stand now."""

    consents: list[StandingConsent]


class Approvals(BaseModel):
    """The newest questions."""

    approvals: list[Approval]


class Decision(BaseModel):
    """An answer; it counts once."""

    decision: Literal["approve", "reject", "respond", "edit"]
    reason: str | None = Field(
        None, max_length=1000, description="With `respond` the message, which must be there."
    )
    arguments: dict[str, Any] | None = Field(
        None, description="With `edit`: all arguments as they should be, bound ones absent."
    )
    standing: bool = Field(
        default=False,
        description="With `approve`: do not ask about this again in this conversation.",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        check_answer(self.decision, self.reason, self.arguments)
        return self


def check_answer(decision: str, reason: str | None, arguments: object) -> None:
    """Say no to an answer that lacks what makes it one.

    Raises:
        ValueError: a message without words, or a change without arguments.
    """
    if decision == "respond" and not (reason or "").strip():
        raise ValueError("to respond, give the message as `reason`")
    if decision == "edit" and arguments is None:
        raise ValueError("to edit, give all `arguments`")


async def answer(
    parts: Parts,
    person: Person,
    approval_id: str,
    decision: str,
    *,
    reason: str | None,
    arguments: dict[str, Any] | None,
    standing: bool,
) -> StoredApproval:
    """Give a person's answer to a question; the question as it is then, or the new one.

    Raises:
        SupportError: as of `Asking`.
    """
    if decision == "edit":
        return await parts.runner.change(person, approval_id, arguments or {})
    decided = await parts.runner.decide(
        person,
        approval_id,
        approved=decision == "approve",
        reason=reason,
        answered=decision == "respond",
        standing=standing,
    )
    return decided.approval


@router.get("", summary="List approvals")
async def list_approvals(
    person: CustomerOrLead,
    parts: Running,
    state: ApprovalState | None = None,
    audience: Literal["customer", "lead"] | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Approvals:
    """A customer sees those about their own calls, a support lead all."""
    actor = person.id if person.role is Role.CUSTOMER else None
    found = await parts.ledger.approvals(actor=actor, state=state, audience=audience, limit=limit)
    return Approvals(approvals=[_approval(approval) for approval in found])


@router.post("/{approval_id}/decision", summary="Answer a question")
async def decide(
    approval_id: UUID, decision: Decision, person: CustomerOrLead, parts: Running
) -> Approval:
    """Say yes or no, change the arguments, or write a message instead.

    After a yes exactly the request that was shown is sent. After a change the question is asked
    again about what would be sent then. Customers answer what they are asked, support leads what
    leads are asked; leads do not change a customer's request.
    """
    if person.role is Role.LEAD and decision.decision == "edit":
        raise NotAllowed("a lead says yes or no; the request is the customer's")
    settled = await answer(
        parts,
        person,
        str(approval_id),
        decision.decision,
        reason=decision.reason,
        arguments=decision.arguments,
        standing=decision.standing and person.role is Role.CUSTOMER,
    )
    return _approval(settled)


@consents.get("/{thread_id}/consents", summary="List standing consents")
async def list_consents(
    thread_id: UUID, person: CustomerOrLead, parts: Running
) -> StandingConsents:
    """What the customer is not asked about any more in this conversation."""
    await _check_thread(parts, person, thread_id)
    found = await parts.ledger.consents(str(thread_id), now=parts.clock())
    return StandingConsents(
        consents=[StandingConsent.model_validate(one, from_attributes=True) for one in found]
    )


@consents.delete("/{thread_id}/consents/{consent_id}", summary="Revoke a standing consent")
async def revoke_consent(
    thread_id: UUID, consent_id: UUID, person: CustomerOrLead, parts: Running
) -> StandingConsents:
    """From now on each such call is asked about again; revoking twice changes nothing."""
    await _check_thread(parts, person, thread_id)
    await parts.runner.revoke_consent(person, str(thread_id), str(consent_id))
    return await list_consents(thread_id, person, parts)


async def _check_thread(parts: Parts, person: Person, thread_id: UUID) -> None:
    owner = person.id if person.role is Role.CUSTOMER else None
    await parts.conversations.thread(str(thread_id), customer_id=owner)


def _approval(approval: StoredApproval) -> Approval:
    return Approval.model_validate(approval, from_attributes=True)
