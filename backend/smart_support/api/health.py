"""Is it alive, is it ready, and who am I."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from smart_support import __version__
from smart_support.api.access import Anybody, Shown
from smart_support.api.degraded import degraded_of
from smart_support.api.parts import Running
from smart_support.api.problems import PROBLEM
from smart_support.errors import DatabaseUnavailable
from smart_support.identity.people import Role

router = APIRouter(prefix="/api", tags=["health"])


class Model(BaseModel):
    """Which model answers."""

    name: str
    offline: bool = Field(description="True: the built-in model, because no key is set.")


class Health(BaseModel):
    """Whether messages can be taken in."""

    status: Literal["ready", "not_ready"]
    version: str
    reasons: list[str] = Field(description="Why it is not ready; empty if it is.")
    degraded: list[str] = Field(description="What works less well, although it is ready.")
    model: Model


class Live(BaseModel):
    """The process answers; whether messages can be taken in, /api/health says."""

    status: Literal["alive"]


class Me(BaseModel):
    """The person who is signed in."""

    id: str
    role: Role
    name: str
    email: str | None


@router.get(
    "/health", summary="Ready if a write to the database works", responses={503: {"model": Health}}
)
async def read_health(parts: Running, response: Response) -> Health:
    """200 and `ready` if a message could be stored now, else 503 and the reasons."""
    reasons = []
    try:
        await parts.check_writable()
    except DatabaseUnavailable:
        response.status_code = 503
        reasons.append("The database does not take writes.")
    return Health(
        status="not_ready" if reasons else "ready",
        version=__version__,
        reasons=reasons,
        degraded=degraded_of(parts),
        model=Model(name=parts.model_name, offline=parts.offline_model),
    )


@router.get("/health/live", summary="Alive if it answers at all")
async def read_live() -> Live:
    """200 as long as the event loop turns: what restarts a hanging process asks this."""
    return Live(status="alive")


@router.get("/me", summary="Who am I", responses=PROBLEM)
async def read_me(person: Anybody, sign_in: Shown, parts: Running) -> Me:
    """The person whose token this is. The first time that a token is shown is a sign-in."""
    await parts.sign_ins.notice(sign_in)
    return Me(id=person.id, role=person.role, name=person.name, email=person.email)
