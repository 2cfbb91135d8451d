"""Every failure of a request as one form: a problem document (RFC 9457) with a code."""

import math
import time
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from slowapi.errors import RateLimitExceeded
from starlette.exceptions import HTTPException

from smart_support.errors import (
    InternalError,
    InvalidInput,
    NotAllowed,
    NotFound,
    RateLimited,
    Severity,
    SupportError,
)
from smart_support.operations.postgres import ReviewConflict
from smart_support.telemetry.logs import new_correlation_id

log = structlog.get_logger()


class RequestRefused(SupportError):
    """The request does not fit the route: another method, another form. `status` says which."""

    code = "VAL_REQUEST_REFUSED"
    status = 400
    severity = Severity.LOW
    user_message = "That request cannot be answered."


class ConflictingReview(BaseModel):
    """An operation that somebody else has changed since it was read, as it stands now."""

    operation_id: UUID
    key: str
    state: str
    version: int
    decided_by: str | None
    decided_at: datetime | None


class Problem(BaseModel):
    """What went wrong, in the form of RFC 9457."""

    type: str = Field("about:blank", description="Always about:blank; `code` names the problem.")
    title: str = Field(description="For people, without internals.")
    status: int
    code: str = Field(description="Stable name of the problem, for programs.")
    detail: str | None = Field(None, description="For operators: what exactly, and what to do.")
    correlation_id: str = Field(description="Find it in the log.")
    retry_after: float | None = Field(None, description="Seconds until a new try makes sense.")
    conflicts: list[ConflictingReview] | None = Field(
        None, description="Of a decision that came too late: who changed what."
    )


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "model": Problem,
        "description": description,
        "content": {"application/problem+json": {}},
    }
    for status, description in {
        401: "Not signed in",
        403: "Not for this role",
        404: "No such thing, or not yours",
        409: "Somebody was quicker, or it is settled already",
        413: "Too large",
        422: "Not in the documented form",
        429: "Too many requests",
        503: "Something that this needs is not available",
    }.items()
}


def install_problems(app: FastAPI) -> None:
    """Answer every exception of a route with a problem document."""
    app.add_exception_handler(SupportError, _support_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RateLimitExceeded, rate_limit_exceeded)
    app.add_exception_handler(Exception, _unforeseen)


def problem(error: SupportError, detail: str | None = None) -> JSONResponse:
    """The answer to a request that failed with `error`; written to the log with the same id."""
    correlation_id = correlation_id_of_log()
    wait = error.retry_after if isinstance(error, RateLimited) else None
    log.info("request_refused", code=error.code, error=str(error), correlation_id=correlation_id)
    body = Problem(
        type="about:blank",
        title=error.user_message,
        status=error.status,
        code=error.code,
        detail=detail,
        correlation_id=correlation_id,
        retry_after=wait,
        conflicts=_conflicts(error) if isinstance(error, ReviewConflict) else None,
    )
    headers = {} if wait is None else {"Retry-After": str(math.ceil(wait))}
    return JSONResponse(
        body.model_dump(mode="json", exclude_none=True),
        error.status,
        headers,
        media_type="application/problem+json",
    )


def _conflicts(error: ReviewConflict) -> list[ConflictingReview]:
    return [
        ConflictingReview(
            operation_id=UUID(one.operation_id),
            key=one.key,
            state=one.state.value,
            version=one.version,
            decided_by=one.decided_by,
            decided_at=one.decided_at,
        )
        for one in error.conflicts
    ]


def correlation_id_of_log() -> str:
    """The id of the request that is being served."""
    bound = structlog.contextvars.get_contextvars().get("correlation_id")
    return bound if isinstance(bound, str) else new_correlation_id()


def _support_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SupportError)
    # What an operator did wrong is said in full; what failed inside stays inside.
    detail = str(error) if error.status < 500 or error.code.startswith("FILE_") else None
    if isinstance(error, NotFound | NotAllowed):
        detail = None
    return problem(error, detail)


def _validation_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    said = "; ".join(
        f"{'.'.join(str(part) for part in wrong['loc'])}: {wrong['msg']}"
        for wrong in error.errors()[:10]
    )
    return problem(InvalidInput(said), said)


def _http_exception(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return problem(NotFound("no such route"))

    refused = RequestRefused(str(error.detail))
    refused.status = error.status_code
    answer = problem(refused, str(error.detail))
    answer.headers.update(error.headers or {})
    return answer


def rate_limit_exceeded(request: Request, error: Exception) -> JSONResponse:
    """Say when there is room again, as slowapi's window has it."""
    assert isinstance(error, RateLimitExceeded)
    limit, keys = request.state.view_rate_limit
    window = request.app.state.limiter.limiter.get_window_stats(limit, *keys)
    return problem(RateLimited(max(0.001, window.reset_time - time.time())))


def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    # This runs outside of all middleware, where what the request had bound is gone.
    with structlog.contextvars.bound_contextvars(correlation_id=request.scope["correlation_id"]):
        log.error("request_crashed", exc_info=error)
        return problem(InternalError())
