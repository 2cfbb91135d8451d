"""What opens an API is put into a request here, after everything else about it is settled.

No secret is in a request before, and none is written anywhere after: `Door` takes them out of
what an API says. They go to the origin that they were given for, and to no other.
"""

import base64
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from urllib.parse import quote, unquote

import httpx
import structlog

from smart_support.errors import ErrorCategory, Severity, SupportError
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import Operation
from smart_support.operations.security import Scheme, scheme_hash
from smart_support.resilience.origin import origin_of
from smart_support.resilience.records import Answer, AttemptReport, CallFailed, CallPlan
from smart_support.resilience.upstream import Upstreams
from smart_support.security.credentials import COMPANY, Credential, Kind
from smart_support.security.credentials_postgres import PostgresCredentials
from smart_support.tools.build import Tool
from smart_support.tools.oauth import ConnectionNeeded, OAuth, OAuthRefused, OAuthUnavailable

log = structlog.get_logger()

HIDDEN = "[hidden]"
_EXTENSION = "smart_support.authorization"
_LEAST_HIDDEN = 6
"""Shorter ones are in every text by chance."""


class CredentialMissing(SupportError):
    """No good credential for a call; nothing was sent. An operator must give one."""

    code = "API_AUTH"
    status = 502
    category = ErrorCategory.AUTH_FAILURE
    severity = Severity.CRITICAL
    user_message = "I cannot reach that service at the moment. Our team has been told."

    def __init__(self, reason: str) -> None:
        super().__init__(
            "We have no valid credentials for this API; nothing was sent. An operator must look."
        )
        self.reason = reason
        """For operators: names, never values."""


NOT_LET_IN = (CredentialMissing, ConnectionNeeded, OAuthRefused, OAuthUnavailable)
"""Why a request was not sent at all."""


class Authorizer(Protocol):
    """Makes requests acceptable to the API that they go to."""

    async def authorize(
        self, request: httpx.Request, tool: Tool, claims: Mapping[str, str]
    ) -> httpx.Request:
        """The request with what the operation needs: the first way for which all is there.

        Raises:
            CredentialMissing: there is no such way; an operator must look.
            ConnectionNeeded: there is one if the customer connects their account.
            OAuthRefused, OAuthUnavailable: no token was given.
        """
        ...

    async def renewed(
        self, refused: httpx.Request, again: httpx.Request, tool: Tool, claims: Mapping[str, str]
    ) -> httpx.Request | None:
        """After a 401: `again` with a newer token; None if there was none to be renewed.

        Raises: as `authorize`.
        """
        ...

    async def refused(self, tool: Tool, reason: str, correlation_id: str) -> None:
        """Let the operator know that a call failed for want of a good credential."""
        ...

    async def accepted(self, request: httpx.Request, tool: Tool) -> None:
        """A request was not refused."""
        ...


@dataclass(slots=True)
class _Added:
    """What was put into a request."""

    secrets: list[str] = field(default_factory=list)
    tokens: dict[str, int] = field(default_factory=dict)
    """Scheme -> version of the token that was sent."""
    troubled: bool = False


@dataclass(frozen=True, slots=True)
class _Choice:
    """One scheme that is used, and the operator's credential for it."""

    name: str
    scheme: Scheme
    credential: Credential


@dataclass(frozen=True, slots=True)
class _Lacking:
    """Why a scheme cannot be used. `connect`: it could, if the customer connected."""

    reason: str
    connect: str | None = None


class SpecAuthorizer:
    """Authorises by the document's security schemes and the operator's credentials."""

    def __init__(
        self, operations: PostgresOperations, credentials: PostgresCredentials, oauth: OAuth
    ) -> None:
        self._operations = operations
        self._credentials = credentials
        self._oauth = oauth

    async def authorize(
        self, request: httpx.Request, tool: Tool, claims: Mapping[str, str]
    ) -> httpx.Request:
        return await self._authorized(request, tool, claims, {})

    async def renewed(
        self, refused: httpx.Request, again: httpx.Request, tool: Tool, claims: Mapping[str, str]
    ) -> httpx.Request | None:
        added = _added(refused)
        if added is None or not added.tokens:
            return None
        return await self._authorized(again, tool, claims, added.tokens)

    async def refused(self, tool: Tool, reason: str, correlation_id: str) -> None:
        operation = tool.operation
        log.error(
            "upstream_auth_failed",
            spec_id=operation.spec_id,
            operation=operation.key,
            reason=reason,
            correlation_id=correlation_id,
        )
        await self._credentials.note_trouble(
            operation.spec_id,
            reason=reason,
            operation=operation.key,
            correlation_id=correlation_id,
        )

    async def accepted(self, request: httpx.Request, tool: Tool) -> None:
        added = _added(request)
        if added is not None and added.troubled:
            await self._credentials.clear_trouble(tool.operation.spec_id)

    async def _authorized(
        self,
        request: httpx.Request,
        tool: Tool,
        claims: Mapping[str, str],
        spent: Mapping[str, int],
    ) -> httpx.Request:
        added = _Added()
        try:
            await self._fill(request, tool.operation, claims, spent, added)
        except (CredentialMissing, OAuthRefused) as error:
            reason = error.reason if isinstance(error, CredentialMissing) else str(error)
            await self.refused(tool, reason, request.headers.get("x-correlation-id", ""))
            raise
        request.extensions[_EXTENSION] = added
        return request

    async def _fill(
        self,
        request: httpx.Request,
        operation: Operation,
        claims: Mapping[str, str],
        spent: Mapping[str, int],
        added: _Added,
    ) -> None:
        guard = await self._operations.guard(operation.spec_id)
        customer = claims.get("customer_id", COMPANY)
        held = await self._credentials.held(operation.spec_id, guard.environment, customer)
        chosen = choose(operation, guard.schemes, held, origin_of(request.url), customer)
        if chosen:
            added.troubled = await self._credentials.troubled(operation.spec_id)
        filled: set[str] = set()
        for choice in chosen:
            value = await self._value(choice, customer, spent, added)
            _place(request, choice, value, filled)
        for header in held:
            if header.slot.kind is Kind.HEADER:
                self._header(request, header, claims, added, filled)

    async def _value(
        self, choice: _Choice, customer: str, spent: Mapping[str, int], added: _Added
    ) -> str:
        secret = self._credentials.open(choice.credential)
        match choice.scheme["type"]:
            case "basic":
                pair = f"{secret['username']}:{secret['password']}"
                value = base64.b64encode(pair.encode()).decode()
                # Some APIs take their key as the user's name and no password.
                added.secrets += [value, secret["password"] or secret["username"]]
                return value
            case "oauth2" | "openIdConnect":
                owner = customer if secret["flow"] == "authorizationCode" else COMPANY
                token, version = await self._oauth.token(
                    choice.credential, owner=owner, not_version=spent.get(choice.name)
                )
                added.tokens[choice.name] = version
                added.secrets.append(token)
                return token
            case _:
                added.secrets.append(secret["value"])
                return str(secret["value"])

    def _header(
        self,
        request: httpx.Request,
        header: Credential,
        claims: Mapping[str, str],
        added: _Added,
        filled: set[str],
    ) -> None:
        name = header.slot.name
        if origin_of(request.url) not in header.origins:
            raise CredentialMissing(f"the header {name} was given for {_listed(header.origins)}")
        secret = self._credentials.open(header)
        if "claim" in secret:
            value = claims.get(secret["claim"])
            if value is None:
                raise CredentialMissing(f"the header {name} needs the customer's {secret['claim']}")
            if not re.fullmatch(r"[^\x00-\x1f\x7f]*", value):
                raise CredentialMissing(f"the customer's {secret['claim']} is no line of text")
        else:
            value = secret["value"]
            added.secrets.append(value)
        if name in filled:
            raise CredentialMissing(f"the header {name} is filled twice")
        request.headers[name] = value


def choose(
    operation: Operation,
    schemes: Mapping[str, Scheme],
    held: Sequence[Credential],
    origin: str,
    customer: str,
) -> tuple[_Choice, ...]:
    """The first way to call an operation for which every credential is there.

    A way that needs nothing counts after all others, since an operator who gave a credential
    wants it used.

    Raises:
        ConnectionNeeded: there is a way if the customer connects.
        CredentialMissing: there is none.
    """
    if not operation.security:
        return ()
    lacking: list[list[_Lacking]] = []
    for requirement in operation.security:
        looked = [_look(name, schemes, held, origin, customer) for name in requirement]
        if looked and not any(isinstance(each, _Lacking) for each in looked):
            return tuple(each for each in looked if isinstance(each, _Choice))
        lacking.append([each for each in looked if isinstance(each, _Lacking)])
    if any(not requirement for requirement in operation.security):
        return ()
    for way in lacking:
        if all(each.connect for each in way):
            raise ConnectionNeeded(operation.spec_id, way[0].connect or "")
    raise CredentialMissing(
        " or ".join("; ".join(each.reason for each in way) for way in lacking)[:1000]
    )


def _look(
    name: str,
    schemes: Mapping[str, Scheme],
    held: Sequence[Credential],
    origin: str,
    customer: str,
) -> _Choice | _Lacking:
    scheme = schemes.get(name)
    if scheme is None:
        return _Lacking(f"{name}: the document does not describe it")
    if scheme["type"] == "refused":
        return _Lacking(f"{name}: {scheme['reason']}")
    found = [each for each in held if each.slot.name == name and each.slot.kind is Kind.SCHEME]
    if not found:
        return _Lacking(f"{name}: no credential is set")
    credential = found[0]
    if credential.scheme_hash != scheme_hash(scheme):
        return _Lacking(f"{name}: the document has changed it since the credential was set")
    if origin not in credential.origins:
        return _Lacking(
            f"{name}: set for {_listed(credential.origins)}, but the call goes to {origin}"
        )
    theirs = {each.slot.name for each in held if _is_token_of(each, customer)}
    if credential.shown.get("flow") == "authorizationCode" and name not in theirs:
        return _Lacking(f"{name}: the customer is not connected", connect=name)
    return _Choice(name, scheme, credential)


def _is_token_of(credential: Credential, customer: str) -> bool:
    slot = credential.slot
    return slot.kind is Kind.TOKEN and slot.owner == customer != COMPANY


def _place(request: httpx.Request, choice: _Choice, value: str, filled: set[str]) -> None:
    """Write the value of a scheme where it belongs; what an argument put there goes."""
    scheme = choice.scheme
    match scheme["type"], scheme.get("place"):
        case "apiKey", "query":
            request.url = _with_query(request.url, scheme["name"], value)
            return
        case "apiKey", "cookie":
            crumbs = [
                crumb
                for crumb in request.headers.get("cookie", "").split("; ")
                if crumb and crumb.partition("=")[0] != scheme["name"]
            ]
            request.headers["cookie"] = "; ".join([*crumbs, f"{scheme['name']}={value}"])
            return
        case "apiKey", _:
            name, text = scheme["name"].lower(), value
        case "basic", _:
            name, text = "authorization", f"Basic {value}"
        case _:
            name, text = "authorization", f"Bearer {value}"
    if name in filled:
        raise CredentialMissing(f"{choice.name}: another scheme fills the header {name} already")
    filled.add(name)
    request.headers[name] = text


def _with_query(url: httpx.URL, name: str, value: str) -> httpx.URL:
    query = url.query.decode("ascii")
    kept = [
        pair
        for pair in query.split("&")
        if pair and unquote(pair.partition("=")[0].replace("+", " ")) != name
    ]
    return url.copy_with(
        query="&".join([*kept, f"{quote(name, safe='')}={quote(value, safe='')}"]).encode()
    )


def _listed(origins: Sequence[str]) -> str:
    return " and ".join(origins)


def _added(request: httpx.Request) -> _Added | None:
    found: Any = request.extensions.get(_EXTENSION)
    return found if isinstance(found, _Added) else None


def hidden_bytes(request: httpx.Request, content: bytes) -> bytes:
    """`content` without the secrets that are in `request`, in whatever spelling of UTF-8."""
    for secret in _spellings(request):
        content = content.replace(secret.encode(), HIDDEN.encode())
    return content


_SPELLINGS: tuple[Callable[[str], str], ...] = (
    lambda secret: secret,
    lambda secret: json.dumps(secret)[1:-1],
    lambda secret: json.dumps(json.dumps(secret)[1:-1])[1:-1],  # JSON that is quoted in JSON
    lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    lambda secret: quote(secret, safe=""),
)


def _spellings(request: httpx.Request) -> list[str]:
    added = _added(request)
    known = {
        spelling(secret)
        for secret in (added.secrets if added else ())
        if len(secret) >= _LEAST_HIDDEN
        for spelling in _SPELLINGS
    }
    return sorted(known, key=len, reverse=True)  # the longest first: one can be part of another


class Door:
    """The way into an API: a request is authorised, sent, and what comes back holds no secret."""

    def __init__(self, upstreams: Upstreams, authorizer: Authorizer | None = None) -> None:
        self._upstreams = upstreams
        self._authorizer = authorizer

    async def send(
        self, request: httpx.Request, plan: CallPlan, tool: Tool, claims: Mapping[str, str]
    ) -> Answer:
        """As `Upstreams.send`; after a 401 once more with a newer token, if there was an old one.

        Raises:
            CredentialMissing, ConnectionNeeded, OAuthRefused, OAuthUnavailable: nothing was sent.
            CallFailed: as of `Upstreams.send`; caused by ConnectionNeeded if the customer's
                permission turned out to be withdrawn.
        """
        if self._authorizer is None:
            return await self._upstreams.send(request, plan)
        deadline = time.monotonic() + plan.total
        counted = _Counted(plan)
        first = await self._authorizer.authorize(_copy(request), tool, claims)
        sent = first
        try:
            try:
                answer = await self._upstreams.send(first, counted.plan)
            except CallFailed as failure:
                if failure.answered != 401:
                    raise
                # 401 says that nothing was processed, so that also a write may be made again.
                again = await self._renewed(failure, first, request, tool, claims)
                if again is None:
                    raise
                sent = again
                left = max(deadline - time.monotonic(), 0.001)
                answer = await self._upstreams.send(again, counted.again(left))
        except CallFailed as failure:
            failure.body = hidden_bytes(sent, hidden_bytes(first, failure.body))
            told = isinstance(failure.__cause__, NOT_LET_IN)
            if failure.answered in {401, 403} and not told:
                said = f"The API answered {failure.answered}."
                correlation_id = request.headers.get("x-correlation-id", "")
                await self._authorizer.refused(tool, said, correlation_id)
            raise
        await self._authorizer.accepted(sent, tool)
        return replace(answer, body=hidden_bytes(sent, answer.body))

    async def _renewed(
        self,
        failure: CallFailed,
        first: httpx.Request,
        request: httpx.Request,
        tool: Tool,
        claims: Mapping[str, str],
    ) -> httpx.Request | None:
        if self._authorizer is None:
            return None
        try:
            return await self._authorizer.renewed(first, _copy(request), tool, claims)
        except SupportError as error:
            raise CallFailed(
                str(error),
                code=error.code,
                category=ErrorCategory.AUTH_FAILURE,
                outcome=failure.outcome,
                answered=failure.answered,
            ) from error


class _Counted:
    """A plan whose attempts are counted on when it is used again."""

    def __init__(self, plan: CallPlan) -> None:
        self._told = plan.on_attempt
        self._made = 0
        self._before = 0
        self.plan = replace(plan, on_attempt=self._tell)

    def again(self, total: float) -> CallPlan:
        """The same for the rest of the time; what is done before sending was done."""
        self._before = self._made
        return replace(self.plan, total=total, before_sending=None)

    def _tell(self, report: AttemptReport) -> None:
        self._made += 1
        if self._told is not None:
            self._told(replace(report, number=report.number + self._before))


def _copy(request: httpx.Request) -> httpx.Request:
    """The same request, to be written into."""
    return httpx.Request(
        request.method, request.url, headers=request.headers, content=request.read()
    )
