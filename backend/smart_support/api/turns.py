"""Turns that broke off for good: whose message was left without an answer, and why."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from smart_support.api.access import Lead
from smart_support.api.parts import Running
from smart_support.api.problems import PROBLEMS
from smart_support.conversations.records import Interruption, WhichInterrupted

router = APIRouter(prefix="/api/turns", tags=["turns"], responses=PROBLEMS)

_EXCERPT = 200


class InterruptedTurn(BaseModel):
    """A message whose answer broke off, although other processes tried to go on with it."""

    model_config = ConfigDict(from_attributes=True)

    turn_id: UUID
    thread_id: UUID
    customer_name: str
    text: str = Field(description=f"At most {_EXCERPT} characters of the message.")
    kind: Interruption = Field(
        description="`given_up`: taken over again and again, never to its end. `too_late`: nobody "
        "went on with it in time. `failed`: taken over, then failed for a reason of its own."
    )
    code: str
    recoveries: int = Field(description="How often it was taken over.")
    received_at: datetime | None
    closed_at: datetime
    closed_seq: int = Field(description="The step of the replay in which it failed.")
    answered: bool = Field(
        description="Somebody has answered in the conversation since, or it is resolved."
    )


class InterruptedTurns(BaseModel):
    """A page of them, the one that broke off last first."""

    turns: list[InterruptedTurn]
    next_cursor: UUID | None = Field(description="Give it as `cursor` for the next page.")


@router.get("/interrupted", summary="Turns that broke off for good")
async def list_interrupted(
    person: Lead,  # noqa: ARG001
    parts: Running,
    *,
    start: Annotated[AwareDatetime | None, Query(description="Closed then or later.")] = None,
    end: Annotated[AwareDatetime | None, Query(description="Closed before.")] = None,
    kind: Interruption | None = None,
    unanswered: Annotated[
        bool, Query(description="Only where nobody has answered in the conversation since.")
    ] = False,
    cursor: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> InterruptedTurns:
    """Each was told the customer; what had been done before stands in the replay."""
    which = WhichInterrupted(start=start, end=end, kind=kind, unanswered=unanswered)
    found = await parts.interruptions.interrupted(
        which, after=str(cursor) if cursor else None, limit=limit + 1
    )
    page = found[:limit]
    turns = [InterruptedTurn.model_validate(each) for each in page]
    for turn in turns:
        turn.text = turn.text[:_EXCERPT]
    return InterruptedTurns(
        turns=turns, next_cursor=turns[-1].turn_id if len(found) > limit else None
    )
