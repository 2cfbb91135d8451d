"""Figures of how support goes, for a range of time."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AfterValidator, AwareDatetime, BaseModel

from smart_support.analytics.records import Bucket, Figures, Point
from smart_support.api.access import Lead
from smart_support.api.parts import Running

router = APIRouter(prefix="/api/dashboard", tags=["dashboard"])


def _in_our_time(at: datetime) -> datetime:
    if not 2000 <= at.year < 2200:  # a day more or less must exist as well
        raise ValueError("must be between the years 2000 and 2200")
    return at


Instant = Annotated[
    AwareDatetime, AfterValidator(_in_our_time), Query(description="With its offset from UTC.")
]


class Series(BaseModel):
    """Figures over time."""

    points: list[Point]


@router.get("", summary="Figures of a range")
async def read_figures(start: Instant, end: Instant, person: Lead, parts: Running) -> Figures:  # noqa: ARG001
    """Conversations, response times, tools and approvals in [start, end)."""
    return await parts.recorder.figures(_plain(start), _plain(end))


@router.get("/series", summary="Figures over time")
async def read_series(
    start: Instant,
    end: Instant,
    person: Lead,  # noqa: ARG001
    parts: Running,
    bucket: Bucket = "day",
) -> Series:
    """The same figures, one point per hour or day."""
    return Series(points=await parts.recorder.series(_plain(start), _plain(end), bucket))


def _plain(at: AwareDatetime) -> datetime:
    return at
