"""Errors as the shop tells them: problem details for HTTP APIs (RFC 9457)."""

from collections.abc import Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"


class InvalidField(BaseModel):
    """One thing that is wrong with a request."""

    field: str = Field(description="Where it is.", examples=["body.amount"])
    message: str = Field(description="What is wrong with it.")


class ProblemDetails(BaseModel):
    """Why a request was not carried out (RFC 9457)."""

    title: str = Field(description="The kind of problem, for people.")
    detail: str = Field(description="What happened this time, for people.")
    status: int = Field(description="The HTTP status.", examples=[404])
    code: str = Field(description="The kind of problem, for programs.", examples=["not_found"])
    errors: list[InvalidField] = Field(default=[], description="Only for invalid requests.")


class Problem(Exception):
    """The shop does not do what it was asked; nothing has changed."""

    def __init__(
        self, status: int, code: str, title: str, detail: str, *, retry_after: int | None = None
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.details = ProblemDetails(status=status, code=code, title=title, detail=detail)
        self.retry_after = retry_after  # seconds


def not_found(kind: str, identifier: str) -> Problem:
    """Say that there is no such thing, or that it is not this customer's: nobody can tell which."""
    return Problem(
        404,
        f"{kind}_not_found",
        "Not found",
        f"There is no {kind} {identifier!r} for this customer.",
    )


def conflict(code: str, detail: str) -> Problem:
    """Say that the request is well-formed but does not fit how things stand."""
    return Problem(409, code, "Conflict", detail)


def invalid(code: str, detail: str) -> Problem:
    """Say that the request itself cannot be right."""
    return Problem(422, code, "Invalid request", detail)


Refusal = Problem | RequestValidationError | HTTPException


def answer(refusal: Refusal) -> Response:
    """Turn any refusal into a problem document."""
    match refusal:
        case Problem(details=details, retry_after=retry_after):
            return _response(details, {} if retry_after is None else {"Retry-After": retry_after})
        case RequestValidationError():
            return _response(_invalid_fields(refusal.errors()))
        case HTTPException(status_code=status, detail=detail, headers=headers):
            title = str(detail)
            code = title.lower().replace(" ", "_")
            details = ProblemDetails(status=status, code=code, title=title, detail=f"{title}.")
            return _response(details, dict(headers or {}))


async def answer_refusal(_: Request, refusal: Exception) -> Response:
    """Answer what never reached an operation (unknown path, wrong method)."""
    if not isinstance(refusal, Refusal):
        raise refusal
    return answer(refusal)


async def answer_crash(_: Request, __: Exception) -> Response:
    """Answer what the shop did not expect. The traceback is on standard error."""
    return _response(
        ProblemDetails(
            status=500,
            code="internal_error",
            title="Internal error",
            detail="Something went wrong in the shop; whether it took effect is not known.",
        )
    )


def _invalid_fields(errors: Sequence[Any]) -> ProblemDetails:
    fields = [
        InvalidField(field=".".join(str(part) for part in error["loc"]), message=error["msg"])
        for error in errors
    ]
    first = f"{fields[0].field}: {fields[0].message}"
    return ProblemDetails(
        status=422,
        code="invalid_request",
        title="Invalid request",
        detail=f"The request does not match the API's description. {first}",
        errors=fields,
    )


def _response(details: ProblemDetails, headers: dict[str, Any] | None = None) -> Response:
    return JSONResponse(
        details.model_dump(exclude_defaults=True),
        status_code=details.status,
        headers={name: str(value) for name, value in (headers or {}).items()},
        media_type=MEDIA_TYPE,
    )
