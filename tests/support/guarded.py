"""A company that checks who calls: its API and its OAuth server, real HTTP on loopback.

    async with guarded() as company:
        company.guard = lambda call: call.headers.get("x-api-key") == "..."
        ...                     # the code under test talks to company.base_url
        assert company.calls[0].headers["x-api-key"] == "..."

A call that the guard refuses is answered with 401 and everything that the caller sent, as careless
APIs do. The OAuth server gives each code and each refresh token once, checks PKCE and the client,
and says yes for the customer unless `consents` is false.
"""

import asyncio
import base64
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from smart_support.cli.serve import bind, serving
from smart_support.settings import Settings

CLIENT_ID = "client-of-ours"
CLIENT_SECRET = "canary-client-secret:%/+ ü"


@dataclass(frozen=True)
class Call:
    """A request as it arrived."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}


@dataclass
class Company:
    """What the API and the OAuth server were asked, and what they shall say."""

    base_url: str = ""
    calls: list[Call] = field(default_factory=list)
    asked: list[Call] = field(default_factory=list)
    """Requests for tokens."""
    guard: Callable[[Call], bool] = lambda _: True
    answer_status: int = 200
    consents: bool = True
    expires_in: Any = 3600
    refuses: str | None = None
    """The error with which every request for a token is refused."""
    rotates: bool = True
    """Whether a refresh token is good for once only."""
    token_answer: Callable[[], Response] | None = None
    hold: asyncio.Event | None = None
    """Requests for tokens wait for it."""
    good: set[str] = field(default_factory=set)
    """Access tokens that are accepted."""
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    refresh_tokens: dict[str, str] = field(default_factory=dict)
    """Refresh token -> the customer."""
    metadata: dict[str, Any] = field(default_factory=dict)

    def forget(self) -> None:
        """Be as at the beginning."""
        self.__init__(self.base_url)  # type: ignore[misc]

    def knows_token(self, call: Call) -> bool:
        """A guard: the bearer token is one that the OAuth server gave and has not revoked."""
        return call.headers.get("authorization", "").removeprefix("Bearer ") in self.good

    def given(self) -> dict[str, Any]:
        token = f"canary-access-{secrets.token_hex(8)}"
        self.good.add(token)
        return {"access_token": token, "token_type": "Bearer", "expires_in": self.expires_in}

    def flows(self) -> dict[str, Any]:
        """The flows of a security scheme of type oauth2."""
        scopes = {"orders": "Orders"}
        return {
            "clientCredentials": {"tokenUrl": f"{self.base_url}/oauth/token", "scopes": scopes},
            "authorizationCode": {
                "authorizationUrl": f"{self.base_url}/oauth/authorize?audience=shop",
                "tokenUrl": f"{self.base_url}/oauth/token",
                "scopes": scopes,
            },
        }


@asynccontextmanager
async def guarded() -> AsyncIterator[Company]:
    """The company, listening on a free port."""
    company = Company()
    settings = Settings(_env_file=None, smart_support_port=0)
    with bind(settings) as listener:
        company.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with serving(_app(company), listener):
            yield company


def _app(company: Company) -> FastAPI:
    app = FastAPI()

    @app.get("/oauth/authorize")
    async def authorize(request: Request) -> Response:
        asked = dict(request.query_params)
        assert asked["client_id"] == CLIENT_ID
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        back = {"state": asked["state"]}
        if not company.consents:
            back["error"] = "access_denied"
        else:
            code = f"canary-code-{secrets.token_hex(8)}"
            company.codes[code] = asked
            back["code"] = code
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(back)}")

    @app.post("/oauth/token")
    async def token(request: Request) -> Response:
        call = await _call(request)
        company.asked.append(call)
        if company.hold is not None:
            await company.hold.wait()
        if company.token_answer is not None:
            return company.token_answer()
        if company.refuses is not None:
            return _refused(company.refuses)
        if not _is_our_client(call):
            return JSONResponse({"error": "invalid_client"}, 401)
        return _granted(company, call.form)

    @app.get("/.well-known/openid-configuration")
    async def metadata() -> Response:
        return JSONResponse(
            {
                "issuer": company.base_url,
                "authorization_endpoint": f"{company.base_url}/oauth/authorize",
                "token_endpoint": f"{company.base_url}/oauth/token",
            }
            | company.metadata
        )

    @app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "DELETE", "HEAD"])
    async def api(request: Request) -> Response:
        call = await _call(request)
        if call.method == "HEAD":
            return Response()
        company.calls.append(call)
        if not company.guard(call):
            sent = {"headers": dict(call.headers), "query": call.query}
            return JSONResponse({"detail": f"no entry with {json.dumps(sent)}"}, 401)
        seen = {"ok": True, "you_sent": dict(call.headers), "query": call.query}
        return JSONResponse(seen, company.answer_status)

    return app


def _granted(company: Company, form: dict[str, str]) -> Response:
    match form["grant_type"]:
        case "client_credentials":
            return JSONResponse(company.given())
        case "authorization_code":
            asked = company.codes.pop(form["code"], None)
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            if (
                asked is None
                or asked["redirect_uri"] != form["redirect_uri"]
                or asked["code_challenge"] != challenge
            ):
                return _refused("invalid_grant")
        case "refresh_token":
            used = form["refresh_token"]
            if used not in company.refresh_tokens:
                return _refused("invalid_grant")
            if not company.rotates:
                return JSONResponse(company.given())
            del company.refresh_tokens[used]
        case _:
            return _refused("unsupported_grant_type")
    refresh = f"canary-refresh-{secrets.token_hex(8)}"
    company.refresh_tokens[refresh] = "customer"
    return JSONResponse(company.given() | {"refresh_token": refresh})


def _is_our_client(call: Call) -> bool:
    authorization = call.headers.get("authorization", "")
    if authorization.startswith("Basic "):
        pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        given = tuple(map(unquote_plus, pair.split(":")))
    else:
        given = (call.form.get("client_id", ""), call.form.get("client_secret", ""))
    return given == (CLIENT_ID, CLIENT_SECRET)


def _refused(error: str) -> Response:
    return JSONResponse({"error": error, "error_description": f"not with {CLIENT_SECRET}"}, 400)


async def _call(request: Request) -> Call:
    return Call(
        request.method,
        request.url.path,
        request.scope["query_string"].decode(),
        dict(request.headers),
        await request.body(),
    )
