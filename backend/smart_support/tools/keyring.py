"""The credentials of an API as operators see them: what it needs, what is there, giving and taking.

Values go in and never come out again.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

from smart_support.errors import InvalidInput, NotFound
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import CLAIMS, Spec
from smart_support.operations.security import Scheme, scheme_hash
from smart_support.operations.specs_postgres import Needs
from smart_support.resilience.origin import origin_of
from smart_support.security.credentials import (
    Credential,
    Kind,
    Slot,
    Trouble,
    hint_of,
)
from smart_support.security.credentials_postgres import PostgresCredentials
from smart_support.tools.oauth import OAuth

State = Literal["set", "missing", "stale", "refused"]

_ROLE = "operator"
_LINE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
# They frame the message or say where it goes; the sender alone writes them.
_FRAMING = {
    "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "host",
    "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What an operator gives for a scheme; which fields are needed depends on its type."""

    value: str | None = field(default=None, repr=False)
    """An API key or a bearer token."""
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    flow: str | None = None
    scopes: Sequence[str] | None = None
    """None: those that the operations need which were not rejected."""
    in_body: bool = False
    """Send the client's id and secret in the body, as some OAuth servers want it."""
    origins: Sequence[str] | None = None
    """URLs of the servers that it may be sent to; None: the one of the base URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemeState:
    """One security scheme of an API and what is there for it."""

    name: str
    scheme: Scheme
    operations: int
    """How many operations can use it, those that were rejected left out."""
    scopes: tuple[str, ...]
    state: State
    reason: str | None
    credential: Credential | None
    connected: int
    """Customers who let us act for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """All that opens one API."""

    spec: Spec
    schemes: tuple[SchemeState, ...]
    headers: tuple[Credential, ...]
    trouble: Trouble | None


class Keyring:
    """Gives and takes credentials; everything it does is written down in the audit log."""

    def __init__(
        self, operations: PostgresOperations, credentials: PostgresCredentials, oauth: OAuth
    ) -> None:
        self._operations = operations
        self._credentials = credentials
        self._oauth = oauth

    async def ring(self, spec_id: str) -> Ring:
        """What an API needs and what is there, in its environment.

        Raises:
            NotFound: there is no such document.
        """
        spec = await self._operations.spec(spec_id)
        held = await self._credentials.held(spec_id, spec.environment, "")
        needs = await self._operations.requirements(spec_id)
        connected = await self._credentials.connected(spec_id, spec.environment)
        by_name = {each.slot.name: each for each in held if each.slot.kind is Kind.SCHEME}
        return Ring(
            spec=spec,
            schemes=tuple(
                _state(name, scheme, by_name.get(name), spec, needs, connected.get(name, 0))
                for name, scheme in sorted((spec.schemes or {}).items())
            ),
            headers=tuple(each for each in held if each.slot.kind is Kind.HEADER),
            trouble=(await self._credentials.troubles()).get(spec_id),
        )

    async def give(self, spec_id: str, name: str, given: Given, *, by: str) -> None:
        """Set or replace the credential of a scheme.

        Raises:
            NotFound: the document has no such scheme.
            InvalidInput: the scheme cannot be used, or needs something else; says what.
        """
        spec = await self._operations.spec(spec_id)
        scheme = _scheme(spec, name)
        origins = _origins(spec, given.origins)
        secret, shown = await self._secret(spec, name, scheme, given)
        await self._credentials.put(
            _slot(spec, name, Kind.SCHEME),
            secret,
            origins=origins,
            scheme_hash=scheme_hash(scheme),
            shown=shown,
            by=by,
            role=_ROLE,
        )

    async def give_header(
        self, spec_id: str, name: str, *, value: str | None, claim: str | None, by: str
    ) -> None:
        """Let every request to an API carry a header: a fixed one, or a claim of the customer.

        Raises:
            NotFound: there is no such document.
            InvalidInput: this cannot be sent as a header.
        """
        spec = await self._operations.spec(spec_id)
        lower = name.lower()
        if not _HEADER.fullmatch(name) or lower in _FRAMING:
            raise InvalidInput(f"{name!r} is no header that can be set here.")
        if (value is None) == (claim is None):
            raise InvalidInput("Give either a value or a claim of the customer.")
        if claim is not None and claim not in CLAIMS:
            raise InvalidInput(f"There is no claim {claim!r}; there are {', '.join(CLAIMS)}.")
        if value is not None:
            _check_line("The value", value)
        shown = {"claim": claim} if value is None else {"hint": hint_of(value)}
        await self._credentials.put(
            _slot(spec, lower, Kind.HEADER),
            {"claim": claim} if value is None else {"value": value},
            origins=_origins(spec, None),
            scheme_hash="",
            shown=shown,
            by=by,
            role=_ROLE,
        )

    async def take(self, spec_id: str, name: str, kind: Kind, *, by: str) -> None:
        """Delete a credential or a header, and every token that was had with it.

        Raises:
            NotFound: there is none.
        """
        spec = await self._operations.spec(spec_id)
        slot = _slot(spec, name.lower() if kind is Kind.HEADER else name, kind)
        if not await self._credentials.delete(slot, by=by, role=_ROLE):
            raise NotFound(f"nothing is set for {name!r}")

    async def client(self, spec_id: str, name: str) -> Credential:
        """The credential with which customers can connect.

        Raises:
            NotFound: there is none, or it is not for customers.
        """
        spec = await self._operations.spec(spec_id)
        credential = await self._credentials.get(_slot(spec, name, Kind.SCHEME))
        scheme = (spec.schemes or {}).get(name)
        if (
            credential is None
            or scheme is None
            or credential.scheme_hash != scheme_hash(scheme)
            or credential.shown.get("flow") != "authorizationCode"
        ):
            raise NotFound(f"customers cannot connect with {name!r}")
        return credential

    async def _secret(
        self, spec: Spec, name: str, scheme: Scheme, given: Given
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """What is sealed, and what may be shown."""
        match scheme["type"]:
            case "refused":
                raise InvalidInput(f"{name} cannot be used: {scheme['reason']}.")
            case "basic":
                username, password = given.username or "", given.password or ""
                if not username or ":" in username or _controls(username + password):
                    raise InvalidInput(
                        "HTTP basic needs a username without a colon, and usually a password; "
                        "neither with line breaks."
                    )
                shown = {"hint": hint_of(password or username)}
                return {"username": username, "password": password}, shown
            case "oauth2" | "openIdConnect":
                return await self._client_secret(spec, name, scheme, given)
            case _:
                value = given.value or ""
                _check_line("The value", value)
                if scheme.get("place") == "cookie" and re.search(r'[;,"\\ ]', value):
                    raise InvalidInput("A cookie cannot hold this value.")
                return {"value": value}, {"hint": hint_of(value)}

    async def _client_secret(
        self, spec: Spec, name: str, scheme: Scheme, given: Given
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        if not given.client_id or _controls(given.client_id + (given.client_secret or "")):
            raise InvalidInput("OAuth needs the client_id that the API has given you.")
        flows: dict[str, Any] = dict(scheme.get("flows") or {})
        if scheme["type"] == "openIdConnect":
            found = await self._oauth.discover(scheme["url"])
            flows["clientCredentials"] = found
            if found["authorize_url"] is not None:
                flows["authorizationCode"] = found
        flow = given.flow or (next(iter(flows)) if len(flows) == 1 else None)
        if flow is None or flow not in flows:
            raise InvalidInput(f"Say which flow: {' or '.join(flows)}.")
        if flow == "clientCredentials" and not given.client_secret:
            raise InvalidInput("Client credentials need a client_secret.")
        if given.scopes is None:
            scopes = _scopes(name, await self._operations.requirements(spec.id))
        else:
            scopes = tuple(given.scopes)
        if scheme["type"] == "openIdConnect" and flow == "authorizationCode":
            scopes = ("openid", *(scope for scope in scopes if scope != "openid"))
        if not all(re.fullmatch(r"[\x21\x23-\x5b\x5d-\x7e]+", scope) for scope in scopes):
            raise InvalidInput("A scope is one word.")
        secret = {
            "client_id": given.client_id,
            "client_secret": given.client_secret,
            "flow": flow,
            "scopes": list(scopes),
            "in_body": given.in_body,
            **flows[flow],
        }
        shown = {
            "client_id": given.client_id,
            "flow": flow,
            "scopes": list(scopes),
            "token_server": origin_of(httpx.URL(flows[flow]["token_url"])),
            **({"hint": hint_of(given.client_secret)} if given.client_secret else {}),
        }
        return secret, shown


def _slot(spec: Spec, name: str, kind: Kind) -> Slot:
    return Slot(spec_id=spec.id, environment=spec.environment, name=name, kind=kind)


def _scheme(spec: Spec, name: str) -> Scheme:
    if spec.schemes is None:
        raise InvalidInput("Import the document again first: its schemes were not read then.")
    scheme: Scheme | None = spec.schemes.get(name)
    if scheme is None:
        raise NotFound(f"{spec.name} has no security scheme {name!r}")
    return scheme


def _state(
    name: str,
    scheme: Scheme,
    credential: Credential | None,
    spec: Spec,
    needs: Sequence[Needs],
    connected: int,
) -> SchemeState:
    state: State
    state, reason = "set", None
    if scheme["type"] == "refused":
        state, reason = "refused", scheme["reason"]
    elif credential is None:
        state = "missing"
    elif credential.scheme_hash != scheme_hash(scheme):
        state, reason = "stale", "The document has changed this scheme; give the credential again."
    elif spec.base_url and origin_of(httpx.URL(spec.base_url)) not in credential.origins:
        given_for = " and ".join(credential.origins)
        state, reason = "stale", f"It was given for {given_for}, but the API is elsewhere now."
    return SchemeState(
        name=name,
        scheme=scheme,
        operations=sum(each.count for each in needs if any(name in way for way in each.ways)),
        scopes=_scopes(name, needs),
        state=state,
        reason=reason,
        credential=credential,
        connected=connected,
    )


def _scopes(name: str, needs: Sequence[Needs]) -> tuple[str, ...]:
    return tuple(
        sorted({scope for each in needs for way in each.ways for scope in way.get(name, ())})
    )


def _origins(spec: Spec, wanted: Sequence[str] | None) -> tuple[str, ...]:
    if not wanted:
        if spec.base_url is None:
            raise InvalidInput("Say first where the API is: it has no base URL.")
        wanted = [spec.base_url]
    found: set[str] = set()
    for url in wanted:
        try:
            urlsplit(url)  # of the two the stricter about addresses in brackets
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, ValueError):
            raise InvalidInput(f"{url[:200]!r} is no URL.") from None
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            raise InvalidInput(f"{url[:200]!r} is no http or https URL.")
        found.add(origin_of(parsed))
    return tuple(sorted(found))


def _check_line(what: str, value: str) -> None:
    if not _LINE.fullmatch(value):
        raise InvalidInput(
            f"{what} must be one line of plain characters, without blanks around it."
        )


def _controls(text: str) -> bool:
    return re.search(r"[\x00-\x1f\x7f]", text) is not None
