"""Reading a conversation back, fact by fact."""

from dataclasses import fields
from datetime import datetime
from typing import Annotated, Any, Literal, Union, get_type_hints
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, create_model

from smart_support.api.access import Lead
from smart_support.api.parts import Running
from smart_support.api.threads import Thread, thread_of, written
from smart_support.events.records import FACTS, whole_payload

router = APIRouter(prefix="/api/threads", tags=["replay"])


def _model(kind: type[Any]) -> type[BaseModel]:
    """The fact's dataclass as it stands in JSON, with its type beside its fields."""
    hints = get_type_hints(kind)
    described: dict[str, Any] = {field.name: (hints[field.name], ...) for field in fields(kind)}
    return create_model(
        kind.__name__,
        __config__=ConfigDict(extra="forbid"),
        __doc__=kind.__doc__,
        **{"type": (Literal[kind.type], ...), **described},
    )


MODELS = {type_: _model(kind) for type_, kind in FACTS.items()}
# Made from the catalogue of facts, so that none can be forgotten here.
_Fact: Any = Annotated[Union[tuple(MODELS.values())], Field(discriminator="type")]  # noqa: UP007


class ReplayEvent(BaseModel):
    """One committed fact of a thread."""

    seq: int
    at: datetime
    fact: _Fact


class ReplayPage(BaseModel):
    """A page of a thread's facts, oldest first."""

    thread: Thread
    events: list[ReplayEvent]
    next_after: int | None = Field(description="Give it as `after` for the next page.")


@router.get("/{thread_id}/replay", summary="Read a conversation back", response_model=ReplayPage)
async def read_replay(
    thread_id: UUID,
    person: Lead,
    parts: Running,
    after: Annotated[int, Query(ge=0, lt=2**63, description="`next_after` of the last page.")] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 200,
) -> Response:
    """Messages, tool calls, every attempt, approvals and errors, as they were committed."""
    thread = await thread_of(parts, person, str(thread_id))
    rows = await parts.log.read_plain(str(thread_id), after=after, limit=limit)
    # Hundreds of events, each of which was checked when it was written: once is enough.
    page = {
        "thread": thread.model_dump(mode="json"),
        "events": [
            {"seq": seq, "at": at, "fact": whole_payload(type_, payload)}
            for seq, at, type_, payload in rows
        ],
        "next_after": rows[-1][0] if len(rows) == limit else None,
    }
    return written(page)
