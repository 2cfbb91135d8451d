"""Figures of how support goes, for a range of time, and the conversations behind each of them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from smart_support.analytics.listings import Listing, Selection
from smart_support.analytics.records import (
    ApprovalFigures,
    Bucket,
    Point,
    ResponseTimes,
    widen,
)
from smart_support.api.access import Lead
from smart_support.api.parts import Running
from smart_support.api.threads import Thread, thread_told, written

router = APIRouter(prefix="/api/dashboard", tags=["dashboard"])


def _in_our_time(at: datetime) -> datetime:
    if not 2000 <= at.year < 2200:  # a day more or less must exist as well
        raise ValueError("must be between the years 2000 and 2200")
    return at


Instant = Annotated[
    AwareDatetime, AfterValidator(_in_our_time), Query(description="With its offset from UTC.")
]


class _Figures(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class CohortFigures(_Figures):
    """The conversations opened in the range, as they stand now."""

    conversations: int
    handled: int = Field(description="The agent answered, or handed over.")
    answered: int
    resolved: int
    resolved_alone: int = Field(description="By the agent's answer, and never handed over.")
    handed_off: int
    abandoned: int
    reopened: int
    handoff_reasons: Mapping[str, int]
    median_first_reply_ms: float | None
    auto_resolution_rate: float | None = Field(description="`resolved_alone` of `handled`.")
    handoff_rate: float | None = Field(description="`handed_off` of `handled`.")


class OperationFigures(_Figures):
    """One operation of an API."""

    operation: str
    calls: int
    done: int
    failed: int
    declined: int
    unknown: int
    errors: int = Field(description="Failed or unknown.")
    attempts: int = Field(description="HTTP requests.")
    retries: int
    mean_attempt_ms: float | None
    error_rate: float | None = Field(description="`errors` of all that ended and was not declined.")
    retries_per_call: float | None


class ActivityFigures(_Figures):
    """What happened in the range, whenever the conversations were opened."""

    opened: int
    resolved: int
    abandoned: int
    reopened: int
    handed_off: int
    handoffs: Mapping[str, int] = Field(description="By reason.")
    messages: int
    replies: int
    turns: int
    turns_done: int
    turns_cancelled: int
    failed: int = Field(description="Failed turns.")
    turns_failed: Mapping[str, int] = Field(description="By error code.")
    response: ResponseTimes
    mean_first_token_ms: float | None
    mean_turn_ms: float | None
    input_tokens: int
    output_tokens: int
    tokens: int
    tool_calls: int
    tool_errors: int
    tool_error_rate: float | None
    retries: int
    operations: list[OperationFigures]
    approvals: ApprovalFigures


class CohortAnswer(BaseModel):
    """The range in whole hours, and its conversations."""

    start: datetime
    end: datetime
    cohort: CohortFigures


class ActivityAnswer(BaseModel):
    """The range in whole hours, and what happened in it."""

    start: datetime
    end: datetime
    activity: ActivityFigures


class SeriesPoint(BaseModel):
    """One hour, or one day of UTC; the first and last are cut where the range ends."""

    start: datetime
    end: datetime
    opened: int
    resolved: int
    handed_off: int
    replies: int
    failed: int
    responses: int
    median_ms: float | None
    p95_ms: float | None
    tool_calls: int
    tool_errors: int
    retries: int
    approvals_asked: int
    input_tokens: int
    output_tokens: int


class Series(BaseModel):
    """Figures over time. All points together are the range."""

    points: list[SeriesPoint]


class CountedThread(Thread):
    """A conversation that a figure counts."""

    part: int = Field(description="How much of the figure is this conversation's.")


class CountedThreads(BaseModel):
    """A page of the conversations behind a figure, those opened last first."""

    start: datetime
    end: datetime
    total: int = Field(description="The figure: the parts of all conversations, of every page.")
    conversations: int | None = Field(
        description="How many have a part; null if they are too many to be counted."
    )
    threads: list[CountedThread]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page.")


@router.get("", summary="What happened in a range")
async def read_activity(
    start: Instant,
    end: Instant,
    person: Lead,  # noqa: ARG001
    parts: Running,
) -> ActivityAnswer:
    """Messages, answers and their times, tools, approvals and tokens in [start, end)."""
    start, end = widen(start, end)
    found = await parts.recorder.activity(start, end)
    return ActivityAnswer(start=start, end=end, activity=ActivityFigures.model_validate(found))


@router.get("/cohort", summary="What became of the conversations of a range")
async def read_cohort(
    start: Instant,
    end: Instant,
    person: Lead,  # noqa: ARG001
    parts: Running,
) -> CohortAnswer:
    """The conversations opened in [start, end), as they stand now. All rates share `handled`."""
    start, end = widen(start, end)
    found = await parts.recorder.cohort(start, end)
    return CohortAnswer(start=start, end=end, cohort=CohortFigures.model_validate(found))


@router.get("/series", summary="Figures over time", response_model=Series)
async def read_series(
    start: Instant,
    end: Instant,
    person: Lead,  # noqa: ARG001
    parts: Running,
    bucket: Bucket = "day",
) -> Response:
    """What happened in [start, end), one point per hour or day."""
    points = await parts.recorder.series(start, end, bucket)
    return written({"points": [_drawn(point) for point in points]})


def _drawn(point: Point) -> dict[str, Any]:
    """What the charts draw of it: a `SeriesPoint`."""
    activity = point.activity
    return {
        "start": point.start,
        "end": point.end,
        "opened": activity.opened,
        "resolved": activity.resolved,
        "handed_off": activity.handed_off,
        "replies": activity.replies,
        "failed": activity.failed,
        "responses": activity.response.answered,
        "median_ms": activity.response.median_ms,
        "p95_ms": activity.response.p95_ms,
        "tool_calls": activity.tool_calls,
        "tool_errors": activity.tool_errors,
        "retries": activity.retries,
        "approvals_asked": activity.approvals.asked,
        "input_tokens": activity.input_tokens,
        "output_tokens": activity.output_tokens,
    }


@router.get(
    "/conversations", summary="The conversations behind a figure", response_model=CountedThreads
)
async def list_counted(
    figure: Listing,
    start: Instant,
    end: Instant,
    person: Lead,
    parts: Running,
    dimension: Annotated[
        str | None, Query(max_length=500, description="One operation, reason or error code.")
    ] = None,
    cursor: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 30,
) -> Response:
    """Exactly what the figure counts: `total` is its number."""
    start, end = widen(start, end)
    which = Selection(listing=figure, start=start, end=end, dimension=dimension)
    page = await parts.recorder.counted(which, str(cursor) if cursor else None, limit)
    return written(
        {
            "start": start,
            "end": end,
            "total": page.total,
            "conversations": page.conversations,
            "threads": [
                await thread_told(parts, person, counted.thread_id, counted.told)
                | {"part": counted.part}
                for counted in page.threads
            ],
            "next_cursor": page.next_after,
        }
    )
