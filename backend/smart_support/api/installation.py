"""How the installation is: what it depends on, looked at now, and what it was told to allow."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

import httpx
import structlog
from fastapi import APIRouter
from pydantic import BaseModel, Field

from smart_support import __version__
from smart_support.api.access import Staff
from smart_support.api.health import Model
from smart_support.api.parts import Parts, Running
from smart_support.errors import SupportError
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import Spec
from smart_support.resilience.upstream import BreakerState, OriginState
from smart_support.security.credentials import Trouble
from smart_support.security.credentials_postgres import PostgresCredentials
from smart_support.settings import Settings
from smart_support.telemetry.monitor import Away, Looks, NotWell, Standing
from smart_support.telemetry.watch import API

log = structlog.get_logger()

router = APIRouter(prefix="/api/health", tags=["health"])

CHECK_SECONDS = 3.0
_NOBODY_THERE = frozenset({502, 503, 504})
"""Statuses with which what stands before an API says that it is away (RFC 9110, 15.6)."""
MOST_APIS = 50
"""Imported APIs that are looked at; more would be a flood of requests."""

LIMITS = (
    "smart_support_message_limit",
    "smart_support_message_window",
    "smart_support_rest_limit",
    "smart_support_turns_at_once",
    "smart_support_turns_waiting",
    "smart_support_turn_wait",
    "smart_support_turn_timeout",
    "smart_support_turn_max_model_calls",
    "smart_support_model_timeout",
    "smart_support_tool_timeout",
    "smart_support_tool_attempt_timeout",
    "smart_support_tool_max_bytes",
    "smart_support_approval_ttl",
    "smart_support_abandon_after",
    "smart_support_token_ttl",
    "smart_support_spec_max_bytes",
    "smart_support_spec_timeout",
)
"""Settings that are shown. A new one is not, until somebody has thought about it."""


class Dependency(BaseModel):
    """Something without which less works, as it was a moment ago."""

    kind: Literal["database", "model", "api"]
    name: str
    address: str | None = Field(description="Without anything that could be a credential.")
    status: Literal["ok", "failing", "not_checked"]
    latency_ms: float | None = Field(description="Until the answer, or until it was given up.")
    reason: str | None = Field(description="Why it is failing or was not checked.")


class Limit(BaseModel):
    """A setting and what it means."""

    name: str = Field(description="As in the environment.")
    value: int | float | str
    meaning: str


class Breaker(BaseModel):
    """Whether calls to a group of an API's operations are let through."""

    origin: str
    group: str
    state: str = Field(description="closed, open or half_open: the worst of all processes.")
    retry_in: float = Field(description="Seconds until all of them let the next call through.")
    processes: list[str] = Field(description="Those in which it is not closed.")


class CallsOfProcess(BaseModel):
    """What one process does with an API."""

    process: str
    running: int = Field(description="Calls that are under way.")
    waiting: int = Field(description="Calls that wait for room.")
    retry_budget: float = Field(description="Retries that it may still make now.")


class UpstreamApi(BaseModel):
    """A company's API as the calls of all processes have found it."""

    origin: str
    running: int = Field(description="Calls that are under way.")
    waiting: int = Field(description="Calls that wait for room.")
    breakers: list[Breaker]
    processes: list[CallsOfProcess] = Field(description="Those that have called it.")


class Details(BaseModel):
    """For those who run the installation. No secret is among it."""

    version: str
    revision: str | None = Field(description="The newest migration that the database has.")
    model: Model
    dependencies: list[Dependency]
    processes: list[str] = Field(
        description="The process that answers, then the others that were heard of lately."
    )
    upstreams: list[UpstreamApi]
    limits: list[Limit]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`look` returns if all is well, and raises what is wrong. None: it cannot be looked at."""

    kind: Literal["database", "model", "api"]
    name: str
    address: str | None
    look: Callable[[], Awaitable[None]] | None
    reason: str | None = None


@router.get("/details", summary="How everything is that this depends on")
async def read_details(person: Staff, parts: Running) -> Details:  # noqa: ARG001
    """Database, model and each imported API, looked at now, each with a time limit of its own."""
    own, apis = await asyncio.gather(
        look_at([_database(parts), _model(parts)], within=CHECK_SECONDS), _look_at_apis(parts)
    )
    states = parts.peers.states()
    return Details(
        version=__version__,
        revision=parts.revision,
        model=Model(name=parts.model_name, offline=parts.offline_model),
        dependencies=[*own, *apis],
        processes=list(states),
        upstreams=together(states),
        limits=limits_of(parts.settings),
    )


def together(states: Mapping[str, Sequence[OriginState]]) -> list[UpstreamApi]:
    """The APIs as all processes have found them, from what each (by its name) has."""
    found: dict[str, UpstreamApi] = {}
    for process, origins in states.items():
        for state in origins:
            api = found.setdefault(
                state.origin,
                UpstreamApi(origin=state.origin, running=0, waiting=0, breakers=[], processes=[]),
            )
            api.running += state.running
            api.waiting += state.waiting
            api.processes.append(
                CallsOfProcess(
                    process=process,
                    running=state.running,
                    waiting=state.waiting,
                    retry_budget=state.retry_budget,
                )
            )
            for breaker in state.breakers.values():
                _add(api.breakers, breaker, process)
    return list(found.values())


_WORSE = ("closed", "half_open", "open")


def _add(breakers: list[Breaker], state: BreakerState, process: str) -> None:
    known = next((one for one in breakers if one.group == state.group), None)
    if known is None:
        known = Breaker(
            origin=state.origin, group=state.group, state="closed", retry_in=0.0, processes=[]
        )
        breakers.append(known)
    known.state = max(known.state, state.state, key=_WORSE.index)
    known.retry_in = max(known.retry_in, state.retry_in)
    if state.state != "closed":
        known.processes.append(process)


async def look_at(checks: Sequence[Check], *, within: float) -> list[Dependency]:
    """Look at all at once; one that hangs is given up after `within` seconds, alone."""
    return list(await asyncio.gather(*(_look(check, within) for check in checks)))


async def _look(check: Check, within: float) -> Dependency:
    reason, status, latency = check.reason, "not_checked", None
    if check.look is not None:
        start, status = time.perf_counter(), "ok"
        try:
            async with asyncio.timeout(within):
                await check.look()
        except TimeoutError:
            status, reason = "failing", f"No answer within {within:g} s."
        except (SupportError, NotWell) as error:
            status, reason = "failing", str(error)
        except Exception:
            # One check that breaks must not hide what the others found.
            log.exception("health_check_crashed", kind=check.kind, name=check.name)
            status, reason = "failing", "The check itself failed; see the log."
        latency = round((time.perf_counter() - start) * 1000, 1)
    return Dependency.model_validate(
        {
            "kind": check.kind,
            "name": check.name,
            "address": check.address,
            "status": status,
            "latency_ms": latency,
            "reason": reason,
        }
    )


def _database(parts: Parts) -> Check:
    kept = "Embedded PostgreSQL" if parts.settings.database_url is None else "PostgreSQL"
    return Check(kind="database", name=kept, address=None, look=parts.check_writable)


def _model(parts: Parts) -> Check:
    base = None if parts.offline_model else parts.settings.openai_base_url

    async def look() -> None:
        # That its endpoint lists models does not say that it answers: turns know better.
        if (why := parts.model_replaced()) is not None:
            raise NotWell(f"It failed with {why}; a stand-by answers in its place.")
        await parts.check_model(CHECK_SECONDS)

    return Check(
        kind="model",
        name=parts.model_name,
        address=None if base is None else without_credentials(base),
        look=look,
    )


async def _look_at_apis(parts: Parts) -> list[Dependency]:
    checks: Sequence[Check] = ()

    async def read_specs() -> None:
        nonlocal checks
        checks = await checks_of_apis(parts.operations, parts.credentials, parts.documents)

    known = Check(kind="api", name="Imported APIs", address=None, look=read_specs)
    [catalogue] = await look_at([known], within=CHECK_SECONDS)
    if catalogue.status != "ok":
        return [catalogue]
    return await look_at(checks, within=CHECK_SECONDS)


async def checks_of_apis(
    operations: PostgresOperations, credentials: PostgresCredentials, client: httpx.AsyncClient
) -> Sequence[Check]:
    """How to look at each imported API.

    Raises:
        DatabaseUnavailable: the catalogue cannot be read.
    """
    troubles = await credentials.troubles()
    return [
        check_api(client, spec, place, troubles.get(spec.id))
        for place, spec in enumerate(await operations.specs())
    ]


class WatchedApis:
    """The imported APIs as the monitor looks at them."""

    def __init__(
        self,
        operations: PostgresOperations,
        credentials: PostgresCredentials,
        client: httpx.AsyncClient,
    ) -> None:
        self._operations = operations
        self._credentials = credentials
        self._client = client
        self._names: Mapping[str, str] = {}

    async def looks(self) -> Looks:
        """How each is looked at, without those that cannot be.

        Raises:
            DatabaseUnavailable: the catalogue cannot be read.
        """
        checks = await checks_of_apis(self._operations, self._credentials, self._client)
        looked_at = [check for check in checks if check.look is not None]
        self._names = {check.address: API + check.name for check in looked_at if check.address}
        return {API + check.name: check.look for check in looked_at if check.look is not None}

    def is_away(self, base_url: str, standing: Mapping[str, Standing]) -> bool:
        """Whether nothing answered at the API at `base_url` when it was looked at last."""
        found = standing.get(self._names.get(without_credentials(base_url), ""))
        return found is not None and found.away


def check_api(
    client: httpx.AsyncClient, spec: Spec, place: int, trouble: Trouble | None = None
) -> Check:
    """How to look at the API of `spec`, the `place`-th of all, counted from 0.

    `trouble`: its calls fail for want of a good credential, whatever else it answers.
    """
    if spec.base_url is None:
        reason = "It has no base URL yet; set one to make its operations callable."
        return Check(kind="api", name=spec.name, address=None, look=None, reason=reason)
    address = without_credentials(spec.base_url)
    if place >= MOST_APIS:
        reason = f"Only the first {MOST_APIS} are looked at."
        return Check(kind="api", name=spec.name, address=address, look=None, reason=reason)
    look = _reaching(client, address) if trouble is None else _locked_out(trouble)
    return Check(kind="api", name=spec.name, address=address, look=look)


def _locked_out(trouble: Trouble) -> Callable[[], Awaitable[None]]:
    async def look() -> None:
        raise NotWell(
            f"It does not let us in: {trouble.reason} {trouble.count} calls failed, the last "
            f"{trouble.operation}; correlation id {trouble.correlation_id}."
        )

    return look


def _reaching(client: httpx.AsyncClient, url: str) -> Callable[[], Awaitable[None]]:
    """Ask for the head of the base URL, without credentials. Any answer but a 5xx is one."""

    async def look() -> None:
        try:
            answer = await client.head(url, timeout=CHECK_SECONDS)
        except httpx.TimeoutException:
            raise TimeoutError from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Away(f"It cannot be reached ({type(error).__name__}).") from None
        # 501 is how some say that they have no HEAD.
        if answer.status_code >= 500 and answer.status_code != 501:
            kind = Away if answer.status_code in _NOBODY_THERE else NotWell
            raise kind(f"It answered {answer.status_code}.")

    return look


def without_credentials(url: str) -> str:
    """`url` without what could hold a secret: user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def limits_of(settings: Settings) -> list[Limit]:
    """The limits that `settings` set, in the order of `LIMITS`."""
    return [
        Limit(
            name=name.upper(),
            value=getattr(settings, name),
            meaning=str(Settings.model_fields[name].description),
        )
        for name in LIMITS
    ]
