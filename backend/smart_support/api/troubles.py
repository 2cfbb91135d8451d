"""What went wrong in the conversations of a range, and which conversations they were."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from smart_support.analytics.outside_postgres import Outside
from smart_support.analytics.records import widen
from smart_support.analytics.troubles import Which
from smart_support.api.access import Lead, Staff
from smart_support.api.dashboard import Instant
from smart_support.api.parts import Running
from smart_support.api.threads import Thread, threads_of, written
from smart_support.errors import Severity, operator_hint_of, severity_of

router = APIRouter(prefix="/api/dashboard/errors", tags=["dashboard"])


class ErrorCount(BaseModel):
    """How often something went wrong, and how often it got over it."""

    name: str
    troubles: int = Field(description="Errors.")
    recovered: int = Field(description="After how many the same thing worked again.")
    mean_recovery_ms: float | None = Field(description="Over those, until it did.")


class CodeCount(ErrorCount):
    """Errors of one code."""

    severity: Severity
    hint: str = Field(description="Where an operator looks first.")


class ErrorPattern(BaseModel):
    """Errors that look the same, whatever their ids and numbers."""

    fingerprint: str
    kind: Literal["turn", "call", "attempt"]
    code: str
    operation: str | None
    upstream: str | None
    troubles: int
    conversations: int
    first_at: datetime
    last_at: datetime


class ErrorHour(BaseModel):
    """The errors of an hour; `usual` is the mean of the same hour of the seven days before."""

    start: datetime
    troubles: int
    usual: float
    odd: bool = Field(description="More than chance explains.")


class OutsideCode(BaseModel):
    """Errors of one code that belong to no conversation."""

    code: str
    errors: int
    severity: Severity
    hint: str = Field(description="Where an operator looks first.")
    last_at: datetime
    last_correlation_id: str = Field(description="Of the last one; the log has it.")


class OutsidePlace(BaseModel):
    """Errors of one route, kind of frame, or job."""

    place: str
    operation: str
    errors: int


class OutsideErrors(BaseModel):
    """What went wrong in requests, sockets and jobs."""

    total: int
    by_severity: dict[str, int]
    by_code: list[OutsideCode]
    by_place: list[OutsidePlace]


class Errors(BaseModel):
    """What went wrong in the range, in whole hours."""

    start: datetime
    end: datetime
    total: ErrorCount
    by_severity: dict[str, int]
    by_code: list[CodeCount]
    by_operation: list[ErrorCount]
    by_upstream: list[ErrorCount]
    by_agent: list[ErrorCount]
    patterns: list[ErrorPattern]
    hours: list[ErrorHour] = Field(
        description="Every hour; of a range of more than 1,000 hours only the odd ones."
    )
    outside: OutsideErrors = Field(description="Beside those: errors of no conversation.")


class TroubledThread(Thread):
    """A conversation in which something went wrong."""

    troubles: int
    last_trouble_at: datetime


class TroubledThreads(BaseModel):
    """A page of conversations, newest first."""

    threads: list[TroubledThread]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page.")


@router.get("", summary="What went wrong in a range", response_model=Errors)
async def read_errors(
    start: Instant,
    end: Instant,
    person: Staff,  # noqa: ARG001
    parts: Running,
) -> Response:
    """Errors of turns, tool calls and attempts in [start, end), counted and grouped."""
    start, end = widen(start, end)
    found = await parts.troubles.summary(start, end)
    outside = await parts.outside.summary(start, end)
    return written(
        {
            "start": start,
            "end": end,
            "total": found.total,
            "by_severity": _by_severity((count.name, count.troubles) for count in found.by_code),
            "by_code": [
                {
                    "name": count.name,
                    "troubles": count.troubles,
                    "recovered": count.recovered,
                    "mean_recovery_ms": count.mean_recovery_ms,
                    **_told_of(count.name),
                }
                for count in found.by_code
            ],
            "by_operation": found.by_operation,
            "by_upstream": found.by_upstream,
            "by_agent": found.by_agent,
            "patterns": found.patterns,
            "hours": found.hours,
            "outside": _outside(outside),
        }
    )


def _outside(found: Outside) -> dict[str, Any]:
    """`OutsideErrors` as it stands in JSON."""
    return {
        "total": sum(each.errors for each in found.by_code),
        "by_severity": _by_severity((each.code, each.errors) for each in found.by_code),
        "by_code": [
            {
                "code": each.code,
                "errors": each.errors,
                "last_at": each.last_at,
                "last_correlation_id": each.last_correlation_id,
                **_told_of(each.code),
            }
            for each in found.by_code
        ],
        "by_place": found.by_place,
    }


def _told_of(code: str) -> dict[str, Any]:
    return {"severity": severity_of(code), "hint": operator_hint_of(code)}


def _by_severity(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    found = {severity.value: 0 for severity in Severity}
    for code, number in counts:
        found[severity_of(code).value] += number
    return found


Narrowing = Annotated[str | None, Query(max_length=200)]


@router.get(
    "/conversations",
    summary="The conversations in which it went wrong",
    response_model=TroubledThreads,
)
async def list_troubled(
    start: Instant,
    end: Instant,
    person: Lead,
    parts: Running,
    code: Narrowing = None,
    operation: Narrowing = None,
    upstream: Narrowing = None,
    agent: Narrowing = None,
    fingerprint: Narrowing = None,
    cursor: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 30,
) -> Response:
    """Those with at least one error of the range that fits everything given."""
    which = Which(
        start=start,
        end=end,
        code=code,
        operation=operation,
        upstream=upstream,
        agent=agent,
        fingerprint=fingerprint,
    )
    found = await parts.troubles.conversations(
        which, after=str(cursor) if cursor else None, limit=limit + 1
    )
    page = found[:limit]
    threads = await threads_of(parts, person, [each.thread_id for each in page])
    return written(
        {
            "threads": [
                thread | {"troubles": each.troubles, "last_trouble_at": each.last_at}
                for thread, each in zip(threads, page, strict=True)
            ],
            "next_cursor": page[-1].thread_id if len(found) > limit else None,
        }
    )
