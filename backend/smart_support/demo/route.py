"""What surrounds every operation: failures on demand, API key, Idempotency-Key, disk."""

import hmac
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from smart_support.demo.company import Call, Company
from smart_support.demo.faults import Fault
from smart_support.demo.keys import REPLAYED, fingerprint
from smart_support.demo.problems import Problem, answer
from smart_support.demo.records import StoredAnswer

Handle = Callable[[Request], Awaitable[Response]]

LONGEST_KEY = 255


class NoAnswer(Response):
    """Close the connection instead of answering."""

    async def __call__(self, scope: Scope, receive: Receive, _: Send) -> None:
        """Hang up, and stay until the server has noticed: it would answer 500 otherwise."""
        scope["hang_up"]()
        while (await receive())["type"] != "http.disconnect":
            pass


class CompanyRoute(APIRoute):
    """A route of the shop's API."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's own handler."""
        handle = super().get_route_handler()
        operation = self.operation_id or self.name

        async def handle_as_told(request: Request) -> Response:
            request.scope["call"].operation = operation
            return await _misbehave(request, handle)

        return handle_as_told


async def _misbehave(request: Request, handle: Handle) -> Response:
    """Answer, in the way the next fault of the operation demands."""
    company: Company = request.app.state.company
    call: Call = request.scope["call"]
    fault = company.faults.take(call.operation or "")
    if fault is None:
        return await _answer(request, handle)
    call.fault = fault.kind
    match fault.kind:
        case "drop_before":
            return NoAnswer()
        case "status":
            return _failure(fault)
        case "delay":
            return await _answer(request, handle, delay=fault.seconds)
    response = await _answer(request, handle)
    match fault.kind:
        case "drop_after":
            return NoAnswer()
        case "status_after":
            return _failure(fault)
        case "garbage":
            cut = bytes(response.body)[:12] + b"\xff\xfe<?"
            status = response.status_code if response.body else 200  # 204 has no body to spoil
            return Response(cut, status, media_type="application/json")


def _failure(fault: Fault) -> Response:
    return answer(
        Problem(
            fault.status,
            "shop_trouble",
            "The shop has trouble",
            "The shop cannot answer properly at the moment.",
            retry_after=fault.retry_after,
        )
    )


async def _answer(request: Request, handle: Handle, delay: float = 0) -> Response:
    try:
        _check_api_key(request)
        key = request.headers.get("idempotency-key")
        if request.method == "POST" and key is not None and 0 < len(key) <= LONGEST_KEY:
            return await _once(request, handle, delay, key)
        return await _carry_out(request, handle, delay)
    except (Problem, RequestValidationError, HTTPException) as refusal:
        return answer(refusal)
    except ClientDisconnect:  # gone before the request was complete
        return NoAnswer()


def _check_api_key(request: Request) -> None:
    wanted = request.app.state.company.api_key
    given = request.headers.get("x-api-key", "")
    if wanted is not None and not hmac.compare_digest(given.encode(), wanted.encode()):
        raise Problem(401, "unauthorized", "Unauthorized", "The X-Api-Key is missing or wrong.")


async def _once(request: Request, handle: Handle, delay: float, key: str) -> Response:
    """Carry the request out, or replay its answer if that has happened before."""
    company: Company = request.app.state.company
    url = request.url
    name = fingerprint(request.method, url.path, url.query, await request.body())
    with company.keys.claim(key, name, company.clock()) as stored:
        if stored is None:
            return await _carry_out(request, handle, delay, key=key, name=name)
        request.scope["call"].replayed = True
        await company.store.save()  # the first attempt may have failed at exactly this
        return Response(
            stored.body,
            stored.status,
            headers={REPLAYED: "true"},
            media_type="application/json",
        )


async def _carry_out(
    request: Request, handle: Handle, delay: float, *, key: str | None = None, name: str = ""
) -> Response:
    """Let the operation happen; a change is on disk, together with its key, when this returns."""
    company: Company = request.app.state.company
    if delay:
        await company.sleep(delay)
    if request.method == "GET":
        return await handle(request)
    await request.body()  # a slow sender must not hold up the others
    async with company.store.changing:
        response = await handle(request)
        company.store.changed()
        request.scope["call"].effect = True
        if key is not None:
            body = bytes(response.body).decode()
            kept = StoredAnswer(
                fingerprint=name, status=response.status_code, body=body, at=company.clock()
            )
            company.keys.keep(key, kept)
    await company.store.save()
    return response
