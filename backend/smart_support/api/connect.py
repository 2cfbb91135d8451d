"""A customer lets us act for them at another service, and takes that back."""

from datetime import datetime
from html import escape
from typing import Annotated
from urllib.parse import urlsplit
from uuid import UUID

import structlog
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field

from smart_support.api.access import Customer, Staff
from smart_support.api.parts import Parts, Running
from smart_support.api.problems import PROBLEMS
from smart_support.errors import NotFound, SupportError

log = structlog.get_logger()

router = APIRouter(prefix="/api", tags=["connect"], responses=PROBLEMS)

COOKIE = "smart_support_departure"
CALLBACK = "/api/connect/callback"
_SECONDS = 600

SchemeName = Annotated[str, Path(min_length=1, max_length=200)]


class WayOut(BaseModel):
    """Where the customer gives their permission."""

    url: str = Field(description="Open it in the browser that asked; it comes back by itself.")


class Connection(BaseModel):
    """A service at which we act for the customer."""

    spec_id: UUID
    scheme: str
    service: str
    connected_at: datetime


class Connections(BaseModel):
    """All of them."""

    connections: list[Connection]


class ConnectionCount(BaseModel):
    """How many customers let us act for them at one service."""

    spec_id: UUID
    scheme: str
    service: str
    customers: int


class ConnectionCounts(BaseModel):
    """All services at which somebody is connected."""

    services: list[ConnectionCount]


@router.get("/connect/callback", summary="Where a customer comes back to", include_in_schema=False)
async def come_back(
    request: Request,
    parts: Running,
    state: Annotated[str, Query(max_length=400)] = "",
    code: Annotated[str | None, Query(max_length=4000)] = None,
    error: Annotated[str | None, Query(max_length=200)] = None,
) -> HTMLResponse:
    """Not signed in by a token: the browser proves by its cookie that it left from here."""
    try:
        await parts.oauth.arrive(
            state=state, keep=request.cookies.get(COOKIE, ""), code=code, error=error
        )
    except SupportError as refused:
        log.warning("connection_refused", code=refused.code, error=str(refused))
        words, status = refused.user_message, refused.status if refused.status < 500 else 502
        words = f"{words} (correlation id {request.scope['correlation_id']})"
    else:
        words, status = "Your account is connected. You can close this window and ask again.", 200
    answer = HTMLResponse(_page(words), status)
    answer.delete_cookie(COOKIE, path=CALLBACK)
    # The address of this page holds a code; nobody else is told of it.
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"
    return answer


@router.get("/connect/{spec_id}/{scheme}", summary="Begin to connect an account")
async def connect(
    spec_id: UUID,
    scheme: SchemeName,
    request: Request,
    response: Response,
    person: Customer,
    parts: Running,
) -> WayOut:
    """The address at which the customer lets us act for them; valid for ten minutes."""
    client = await parts.keyring.client(str(spec_id), scheme)
    base = _public_url(parts, request)
    departure = await parts.oauth.depart(client, person.id, redirect_uri=f"{base}{CALLBACK}")
    response.set_cookie(
        COOKIE,
        departure.keep,
        max_age=_SECONDS,
        path=CALLBACK,
        httponly=True,
        secure=urlsplit(base).scheme == "https",
        samesite="lax",  # it must come along when the other site sends the customer back
    )
    response.headers["Cache-Control"] = "no-store"
    return WayOut(url=departure.url)


@router.delete("/connect/{spec_id}/{scheme}", status_code=204, summary="Disconnect an account")
async def disconnect(spec_id: UUID, scheme: SchemeName, person: Customer, parts: Running) -> None:
    """We forget the permission, in every environment. The service itself may still list it."""
    held = [
        token.slot
        for token in await parts.credentials.of_owner(person.id)
        if (token.slot.spec_id, token.slot.name) == (str(spec_id), scheme)
    ]
    gone = [
        await parts.credentials.delete(slot, by=person.id, role=person.role.value) for slot in held
    ]
    if not any(gone):
        raise NotFound("this customer is not connected there")


@router.get("/connections", summary="Connected accounts")
async def list_connections(person: Customer, parts: Running) -> Connections:
    """The services at which we act for the customer."""
    names: dict[str, str] = {spec.id: spec.title for spec in await parts.operations.specs()}
    found: dict[tuple[str, str], Connection] = {}
    for token in await parts.credentials.of_owner(person.id):  # the newest of several last
        at = (token.slot.spec_id, token.slot.name)
        found[at] = Connection(
            spec_id=UUID(token.slot.spec_id),
            scheme=token.slot.name,
            service=names.get(token.slot.spec_id, ""),
            connected_at=token.set_at,
        )
    return Connections(connections=list(found.values()))


@router.get("/connections/counts", summary="How many customers are connected")
async def count_connections(person: Staff, parts: Running) -> ConnectionCounts:  # noqa: ARG001
    """Of each API whose accounts customers connect; who they are is nobody's business here."""
    counted = await parts.credentials.all_connected()
    return ConnectionCounts(
        services=[
            ConnectionCount(
                spec_id=UUID(spec.id),
                scheme=scheme,
                service=spec.title,
                customers=counted[spec.id, scheme],
            )
            for spec in await parts.operations.specs()
            for scheme in sorted(name for spec_id, name in counted if spec_id == spec.id)
        ]
    )


def _public_url(parts: Parts, request: Request) -> str:
    configured = parts.settings.smart_support_public_url
    return (configured or str(request.base_url)).rstrip("/")


def _page(words: str) -> str:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>Smart Support</title><p>{escape(words)}</p></html>"
    )
