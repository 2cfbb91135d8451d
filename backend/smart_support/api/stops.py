"""The kill switch: everything, one API or one operation, at once."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, model_validator

from smart_support.api.access import Operator, Staff
from smart_support.api.parts import Parts, Running
from smart_support.api.problems import PROBLEMS
from smart_support.ledger.stops import Stop as StoredStop
from smart_support.ledger.stops import StopScope

router = APIRouter(prefix="/api/stops", tags=["stops"], responses=PROBLEMS)

Reason = Annotated[str, Field(min_length=1, max_length=500, pattern=r"\S")]


class Stop(BaseModel):
    """Something that is switched off, or was."""

    id: UUID
    scope: StopScope
    target: UUID | None = Field(description="The document or operation; none for everything.")
    title: str
    stopped_by: str
    stopped_at: datetime
    reason: str
    lifted_by: str | None
    lifted_at: datetime | None
    lifted_reason: str | None


class Stops(BaseModel):
    """What is switched off, and then what was, the newest first."""

    stops: list[Stop]


class NewStop(BaseModel):
    """What is to be switched off, and why."""

    scope: StopScope
    target: UUID | None = Field(None, description="Id of the document or the operation.")
    reason: Reason

    @model_validator(mode="after")
    def _named(self) -> Self:
        if (self.scope is StopScope.EVERYTHING) is not (self.target is None):
            raise ValueError("`target` names a document or an operation, and nothing for all")
        return self


class Lifting(BaseModel):
    """Why it is switched on again."""

    reason: Reason


@router.get("", summary="What is switched off")
async def list_stops(
    person: Staff,  # noqa: ARG001
    parts: Running,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Stops:
    """Who switched what off, when and why, and who switched it on again."""
    return Stops(stops=[_stop(stop) for stop in await parts.stops.history(limit)])


@router.post("", status_code=201, summary="Switch off")
async def switch_off(wanted: NewStop, person: Operator, parts: Running) -> Stop:
    """From now on no such call is sent, by any process. Calls that are on their way end."""
    target = None if wanted.target is None else str(wanted.target)
    stopped = await parts.stops.stop(
        wanted.scope,
        target,
        title=await _title(parts, wanted.scope, target),
        by=person.id,
        reason=wanted.reason.strip(),
        at=parts.clock(),
    )
    return _stop(stopped)


@router.post("/{stop_id}/lift", summary="Switch on again")
async def switch_on(stop_id: UUID, wanted: Lifting, person: Operator, parts: Running) -> Stop:
    """Calls are sent again from now on."""
    return _stop(
        await parts.stops.lift(
            str(stop_id), by=person.id, reason=wanted.reason.strip(), at=parts.clock()
        )
    )


async def _title(parts: Parts, scope: StopScope, target: str | None) -> str:
    match scope:
        case StopScope.API:
            return (await parts.operations.spec(target or "")).name
        case StopScope.OPERATION:
            return (await parts.operations.operation(target or "")).key
        case StopScope.EVERYTHING:
            return "Everything"


def _stop(stop: StoredStop) -> Stop:
    return Stop.model_validate(stop, from_attributes=True)
