"""Every failure of a request as one form: a problem document (RFC 9457) with a code."""

import math
from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from smart_support.errors import (
    ClientAction,
    InvalidInput,
    NotAllowed,
    NotFound,
    RateLimited,
    RetryStrategy,
    Severity,
    SupportError,
)
from smart_support.operations.decisions import ReviewConflict
from smart_support.telemetry.handler import ERROR_HANDLER, ErrorContext, ErrorHandler, Handled
from smart_support.telemetry.words import preferred


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
    retry: RetryStrategy = Field(description="How a program should try again, if at all.")
    action: ClientAction = Field(description="What a page does about it, or offers.")
    retry_after: float | None = Field(None, description="Seconds until a new try makes sense.")
    conflicts: list[ConflictingReview] | None = Field(
        None, description="Of a decision that came too late: who changed what."
    )


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": description,
        # By name: of each `model` in a route's answers FastAPI makes a validator of its own,
        # twice, which was a thousand of them and 2 MiB. PROBLEM has it described.
        "content": {
            "application/problem+json": {},
            "application/json": {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}},
        },
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

PROBLEM: dict[int | str, dict[str, Any]] = {401: {**PROBLEMS[401], "model": Problem}}
"""Answers of the one route that brings the form into the API's document."""


def install_problems(app: FastAPI) -> None:
    """Answer every exception of a route with a problem document."""
    app.add_exception_handler(SupportError, _support_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(Exception, _unforeseen)


def problem(request: Request, exception: Exception, detail: str | None = None) -> JSONResponse:
    """The answer to a request that failed; the handler has seen it, with the same id."""
    handled = _handler(request).handle(exception, context_of(request))
    return _answer(handled, detail)


def context_of(request: Request) -> ErrorContext:
    """Where a request's errors happen."""
    user, route = request.scope.get("user_id"), request.scope.get("route")
    return ErrorContext(
        place="rest",
        operation=f"{request.method} {getattr(route, 'path', 'no such route')}",
        correlation_id=request.scope.get("correlation_id"),
        user_id=user if isinstance(user, str) else None,
        language=preferred(request.headers.get("accept-language")),
    )


def _handler(request: Request) -> ErrorHandler:
    parts = getattr(request.app.state, "parts", None)  # none before the start is over
    handler: ErrorHandler = ERROR_HANDLER if parts is None else parts.errors
    return handler


def _answer(handled: Handled, detail: str | None) -> JSONResponse:
    error, wait = handled.error, handled.retry_after
    body = Problem(
        type="about:blank",
        title=handled.message,
        status=handled.status,
        code=handled.code,
        detail=detail,
        correlation_id=handled.correlation_id,
        retry=handled.retry,
        action=handled.action,
        retry_after=wait,
        conflicts=_conflicts(error) if isinstance(error, ReviewConflict) else None,
    )
    return JSONResponse(
        body.model_dump(mode="json", exclude_none=True),
        handled.status,
        {} if wait is None else {"Retry-After": str(math.ceil(wait))},
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


def _support_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SupportError)
    # What an operator did wrong is said in full; what failed inside stays inside.
    detail = str(error) if error.status < 500 or error.code.startswith("FILE_") else None
    if isinstance(error, NotFound | NotAllowed | RateLimited):
        detail = None
    return problem(request, error, detail)


def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    said = "; ".join(
        f"{'.'.join(str(part) for part in wrong['loc'])}: {wrong['msg']}"
        for wrong in error.errors()[:10]
    )
    return problem(request, InvalidInput(said), said)


def _http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return problem(request, NotFound("no such route"))

    refused = RequestRefused(str(error.detail))
    refused.status = error.status_code
    answer = problem(request, refused, str(error.detail))
    answer.headers.update(error.headers or {})
    return answer


def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    # This runs outside of all middleware, where what the request had bound is gone.
    return problem(request, error)
