"""Tokens of OAuth 2.0 servers: for the company, and for a customer who let us act for them.

Sources: RFC 6749 (4.1, 4.4, 6), RFC 6750, RFC 7636 (PKCE), RFC 9700 (best current practice),
OpenID Connect Discovery 1.0.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import httpx
import orjson
import structlog

from smart_support.errors import ErrorCategory, InvalidInput, Severity, SupportError
from smart_support.security.credentials import COMPANY, Credential, Kind, Slot
from smart_support.security.credentials_postgres import PostgresCredentials

log = structlog.get_logger()

ASK_SECONDS = 10.0
MAX_BYTES = 256 * 1024
LEASE_SECONDS = 30.0
"""How long one process may take to renew a token before another one tries."""
POLL_SECONDS = 0.1
EARLY_SECONDS = 30.0
"""A token is renewed so long before it ends, as it has a way to go."""
PENDING_SECONDS = 600.0
"""How long a customer may take at the OAuth server."""

_ERROR = re.compile(r"[a-z_]{1,60}")
_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")


class OAuthRefused(SupportError):
    """The OAuth server gives no token; its `error` says why. An operator must look."""

    code = "API_AUTH"
    status = 502
    category = ErrorCategory.AUTH_FAILURE
    severity = Severity.CRITICAL

    def __init__(self, server: str, error: str) -> None:
        super().__init__(
            f"The sign-in server of the API ({server}) refused us ({error}); an operator must look."
        )
        self.error = error


class OAuthUnavailable(SupportError):
    """The OAuth server did not answer, or not in a form that is known."""

    code = "API_UNAVAILABLE"
    status = 502
    category = ErrorCategory.RETRYABLE
    severity = Severity.HIGH


class ConnectionNeeded(SupportError):
    """A call needs the customer's own permission, which they have not given or have withdrawn."""

    code = "API_CONNECTION_NEEDED"
    status = 409
    category = ErrorCategory.AUTH_FAILURE
    severity = Severity.LOW
    user_message = "Please connect your account first, then ask me again."

    def __init__(self, spec_id: str, scheme: str) -> None:
        super().__init__(
            "The customer has not connected their account with this service. They see a button "
            "for it now: ask them to use it, and then to ask again. Nothing was sent."
        )
        self.spec_id = spec_id
        self.scheme = scheme


class ConnectionRefused(SupportError):
    """A customer came back from an OAuth server without what they went for."""

    code = "AUTH_CONNECTION_REFUSED"
    status = 400
    category = ErrorCategory.AUTH_FAILURE
    severity = Severity.LOW
    user_message = "Your account could not be connected. Please try again from the conversation."


@dataclass(frozen=True, slots=True)
class Departure:
    """Where a customer goes, and what their browser keeps until they are back."""

    url: str
    keep: str


class OAuth:
    """Gets, keeps and renews tokens. Of several who need one at once, one asks for it."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        credentials: PostgresCredentials,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._credentials = credentials
        self._clock = clock
        self._sleep = sleep
        self._asking: dict[tuple[Slot, int], asyncio.Task[Credential]] = {}

    async def close(self) -> None:
        """Wait for what was asked; it ends within seconds, and an answer may not be lost."""
        if self._asking:
            await asyncio.wait(set(self._asking.values()))

    async def token(
        self, client: Credential, *, owner: str, not_version: int | None = None
    ) -> tuple[str, int]:
        """An access token for the company or a customer, and its version.

        Args:
            client: the operator's credential for the scheme.
            owner: COMPANY, or the customer.
            not_version: a version that the API has refused, to be replaced by a newer one.

        Raises:
            ConnectionNeeded: the customer has not given one, or it is not valid any more.
            OAuthRefused, OAuthUnavailable: the server gave none.
        """
        slot = Slot(
            spec_id=client.slot.spec_id,
            environment=client.slot.environment,
            name=client.slot.name,
            kind=Kind.TOKEN,
            owner=owner,
        )
        held = await self._credentials.get(slot)
        if held is None and owner != COMPANY:
            raise ConnectionNeeded(slot.spec_id, slot.name)
        if held is None or held.version == not_version or self._ends(held):
            held = await self._once(slot, client, held)
        return str(self._credentials.open(held)["access_token"]), held.version

    def _ends(self, held: Credential) -> bool:
        expires_at = self._credentials.open(held).get("expires_at")
        if expires_at is None:
            return False
        early = timedelta(seconds=EARLY_SECONDS)
        return datetime.fromisoformat(expires_at) - early <= self._clock()

    async def _once(self, slot: Slot, client: Credential, held: Credential | None) -> Credential:
        """Renew, or wait for the renewal that is on its way."""
        key = (slot, held.version if held else 0)
        task = self._asking.get(key)
        if task is None:
            work = self._granted if slot.owner == COMPANY else self._renewed
            # A task of its own: whoever waits may be stopped, but a server that gives each
            # refresh token once must not be asked without keeping its answer.
            task = asyncio.create_task(work(slot, client, held), name=f"token {slot.name}")
            self._asking[key] = task
            task.add_done_callback(lambda done: self._asked(key, done))
        return await asyncio.shield(task)

    def _asked(self, key: tuple[Slot, int], task: "asyncio.Task[Credential]") -> None:
        self._asking.pop(key, None)
        if not task.cancelled():
            task.exception()  # told to those who waited; if all were stopped, to nobody

    async def _granted(self, slot: Slot, client: Credential, old: Credential | None) -> Credential:
        """The company's own token (RFC 6749, 4.4)."""
        held = await self._credentials.get(slot)
        if held is not None and (old is None or held.version != old.version):
            return held  # another one asked since
        secret = self._credentials.open(client)
        form = {"grant_type": "client_credentials"}
        if secret.get("scopes"):
            form["scope"] = " ".join(secret["scopes"])
        given = await self._ask(secret["token_url"], form, secret)
        return await self._keep(slot, client, given)

    async def _renewed(self, slot: Slot, client: Credential, old: Credential | None) -> Credential:
        """A customer's token, renewed (RFC 6749, 6) here or by another process."""
        waited = 0.0
        while waited < LEASE_SECONDS:
            held = await self._credentials.get(slot)
            if held is None:
                raise ConnectionNeeded(slot.spec_id, slot.name)
            if old is None or held.version != old.version:
                return held
            if await self._credentials.claim(held, seconds=LEASE_SECONDS):
                return await self._refreshed(held, client)
            await self._sleep(POLL_SECONDS)
            waited += POLL_SECONDS
        raise OAuthUnavailable("another process renews the customer's permission; try again later")

    async def _refreshed(self, held: Credential, client: Credential) -> Credential:
        secret, before = self._credentials.open(client), self._credentials.open(held)
        if before.get("refresh_token") is None:
            await self._credentials.drop(held)
            raise ConnectionNeeded(held.slot.spec_id, held.slot.name)
        form = {"grant_type": "refresh_token", "refresh_token": before["refresh_token"]}
        try:
            given = await self._ask(secret.get("refresh_url") or secret["token_url"], form, secret)
        except OAuthRefused as error:
            if error.error != "invalid_grant":
                await self._credentials.release(held)
                raise
            log.info("customer_connection_ended", spec_id=held.slot.spec_id)
            await self._credentials.drop(held)
            raise ConnectionNeeded(held.slot.spec_id, held.slot.name) from None
        except OAuthUnavailable:
            await self._credentials.release(held)
            raise
        given.setdefault("refresh_token", before["refresh_token"])
        await self._credentials.renew(held, given)
        renewed = await self._credentials.get(held.slot)
        if renewed is None:  # disconnected meanwhile
            raise ConnectionNeeded(held.slot.spec_id, held.slot.name)
        return renewed

    async def _keep(self, slot: Slot, client: Credential, given: Mapping[str, Any]) -> Credential:
        """Keep what the server gave, where the client that it was given to may be used."""
        return await self._credentials.put(
            slot,
            given,
            origins=client.origins,
            scheme_hash=client.scheme_hash,
            shown={"client_id": client.shown.get("client_id")},
            by=slot.owner or "system",
            role="customer" if slot.owner else "system",
            audited=slot.owner != COMPANY,
        )

    async def depart(self, client: Credential, customer: str, *, redirect_uri: str) -> Departure:
        """Send a customer to the OAuth server, to let us act for them (RFC 6749, 4.1)."""
        secret = self._credentials.open(client)
        verifier, state, keep = (secrets.token_urlsafe(48) for _ in range(3))
        slot = Slot(
            spec_id=client.slot.spec_id,
            environment=client.slot.environment,
            name=client.slot.name,
            kind=Kind.PENDING,
            owner=customer,
        )
        pending = await self._credentials.put(
            slot,
            {
                "state": state,
                "keep": keep,
                "verifier": verifier,
                "redirect_uri": redirect_uri,
                "until": (self._clock() + timedelta(seconds=PENDING_SECONDS)).isoformat(),
            },
            origins=client.origins,
            scheme_hash=client.scheme_hash,
            shown={},
            by=customer,
            role="customer",
            audited=False,
        )
        asked = {
            "response_type": "code",
            "client_id": secret["client_id"],
            "redirect_uri": redirect_uri,
            "state": f"{pending.id}.{state}",
            "code_challenge": _challenge(verifier),
            "code_challenge_method": "S256",
        }
        if secret.get("scopes"):
            asked["scope"] = " ".join(secret["scopes"])
        url = str(secret["authorize_url"])
        return Departure(f"{url}{'&' if '?' in url else '?'}{urlencode(asked)}", keep)

    async def arrive(
        self, *, state: str, keep: str, code: str | None, error: str | None
    ) -> Credential:
        """Take back a customer who comes from the OAuth server; the token is theirs alone.

        `keep` is what the browser was given at the departure: without it somebody could send
        another person through a departure of their own, and get that person's permission.

        Raises:
            ConnectionRefused: this is no return from a departure of this browser, or not in time.
            OAuthRefused, OAuthUnavailable: the server gave no token.
        """
        pending_id, _, said = state.partition(".")
        pending = await self._take(pending_id)
        if pending is None:
            raise ConnectionRefused("there is no such departure, or it was returned from before")
        left = self._credentials.open(pending)
        same = hmac.compare_digest(left["state"].encode(), said.encode())
        if not (same and hmac.compare_digest(left["keep"].encode(), keep.encode())):
            raise ConnectionRefused("this browser did not depart there")
        if datetime.fromisoformat(left["until"]) < self._clock():
            raise ConnectionRefused("the customer took too long")
        if error is not None or not code:
            raise ConnectionRefused(f"the server said {_named(error)}")
        slot = pending.slot
        client = await self._credentials.get(
            Slot(
                spec_id=slot.spec_id,
                environment=slot.environment,
                name=slot.name,
                kind=Kind.SCHEME,
            )
        )
        if client is None or client.scheme_hash != pending.scheme_hash:
            raise ConnectionRefused("the operator changed the credential meanwhile")
        secret = self._credentials.open(client)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": left["redirect_uri"],
            "code_verifier": left["verifier"],
        }
        given = await self._ask(secret["token_url"], form, secret)
        theirs = Slot(
            spec_id=slot.spec_id,
            environment=slot.environment,
            name=slot.name,
            kind=Kind.TOKEN,
            owner=slot.owner,
        )
        return await self._keep(theirs, client, given)

    async def _take(self, pending_id: str) -> Credential | None:
        if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", pending_id):
            return None
        return await self._credentials.take_pending(pending_id)

    async def discover(self, url: str) -> dict[str, str | None]:
        """The addresses of an OpenID provider, from its metadata.

        Raises:
            InvalidInput: there is none, or it is another's.
        """
        try:
            status, found = await self._fetch("GET", url)
        except OAuthUnavailable as error:
            raise InvalidInput(f"{url}: {error}") from error
        token_url, authorize_url = found.get("token_endpoint"), found.get("authorization_endpoint")
        issuer = str(found.get("issuer", "")).rstrip("/")
        if status != 200 or not _absolute(token_url):
            raise InvalidInput(f"{url} is no metadata of an OpenID provider (status {status}).")
        # OpenID Connect Discovery 1.0, 4.3: otherwise it could speak for somebody else.
        if url.removesuffix("/.well-known/openid-configuration") != issuer:
            raise InvalidInput(f"{url} speaks for another provider, {issuer[:200]!r}.")
        return {
            "token_url": str(token_url),
            "authorize_url": str(authorize_url) if _absolute(authorize_url) else None,
            "refresh_url": None,
        }

    async def _ask(
        self, url: str, form: Mapping[str, str], secret: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Ask for a token; what is kept of the answer.

        Raises:
            OAuthRefused: the server says no.
            OAuthUnavailable: it does not say anything useful.
        """
        client_id, client_secret = str(secret["client_id"]), secret.get("client_secret")
        form, headers = dict(form), {"Accept": "application/json"}
        if client_secret and not secret.get("in_body"):
            # RFC 6749, 2.3.1: both are encoded as in a form before they are put together.
            pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form["client_id"] = client_id
            if client_secret:
                form["client_secret"] = client_secret
        status, answer = await self._fetch("POST", url, data=form, headers=headers)
        server = urlsplit(url).hostname or ""
        if status in {400, 401, 403}:
            raise OAuthRefused(server, _named(answer.get("error")))
        token = answer.get("access_token")
        if status != 200 or not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise OAuthUnavailable(f"the sign-in server {server} gave no token (status {status})")
        if str(answer.get("token_type", "bearer")).lower() != "bearer":
            raise OAuthRefused(server, "a token of a type that is not supported")
        kept: dict[str, Any] = {"access_token": token, "expires_at": self._until(answer)}
        if isinstance(refresh := answer.get("refresh_token"), str) and refresh:
            kept["refresh_token"] = refresh
        return kept

    def _until(self, answer: Mapping[str, Any]) -> str | None:
        try:
            seconds = float(answer["expires_in"])
            return (self._clock() + timedelta(seconds=min(seconds, 10 * 366 * 86_400))).isoformat()
        except (KeyError, TypeError, ValueError, OverflowError):
            return None

    async def _fetch(self, method: str, url: str, **more: Any) -> tuple[int, dict[str, Any]]:
        """The status and the JSON object that `url` answers with; {} if it is something else."""
        raw = bytearray()
        try:
            async with (
                asyncio.timeout(ASK_SECONDS),
                self._client.stream(method, url, **more) as response,
            ):
                async for piece in response.aiter_bytes():
                    raw += piece
                    if len(raw) > MAX_BYTES:
                        raise OAuthUnavailable(f"{urlsplit(url).hostname} says too much")
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL) as error:
            # Without the words of `error`, which can hold what was sent.
            raise OAuthUnavailable(
                f"the sign-in server {urlsplit(url).hostname} gave no answer "
                f"({type(error).__name__})"
            ) from None
        answer: Any = None
        with contextlib.suppress(orjson.JSONDecodeError):
            answer = orjson.loads(bytes(raw))
        return response.status_code, answer if isinstance(answer, dict) else {}


def _challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _named(error: Any) -> str:
    """The name of an OAuth error; free text of the server is not repeated."""
    return error if isinstance(error, str) and _ERROR.fullmatch(error) else "no reason"


def _absolute(url: Any) -> bool:
    return isinstance(url, str) and urlsplit(url).scheme in {"http", "https"}
