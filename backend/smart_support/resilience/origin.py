"""One upstream API: its connections, its places, its retry budget, its breakers."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Self

import httpx

from smart_support.errors import SetupError
from smart_support.resilience.address import AddressPolicy
from smart_support.resilience.breaker import Breaker, BreakerPolicy, State
from smart_support.resilience.budget import RetryBudget
from smart_support.resilience.bulkhead import Bulkhead
from smart_support.resilience.quota import Quota, QuotaGate, parse_quotas
from smart_support.resilience.records import Hooks
from smart_support.resilience.retry import RetryPolicy
from smart_support.resilience.transport import Connect
from smart_support.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSettings:
    """What an operator may choose; docs/resilience.md says where each number is from.

    Attributes:
        attempts: of a call in all, once one of them was sent.
        attempts_unsent: of a call of which nothing was sent yet.
        base_delay: seconds; the longest wait after the first failure. It doubles with each.
        base_delay_limited: the same after a 429.
        max_delay: seconds; the longest wait of our own. An API may ask for more.
        least_for_write: seconds that must be left to begin a write that cannot be repeated: one
            that is cut after it has left is one of which nobody knows what it did.
        retry_ratio, retry_burst, retry_floor: see `RetryBudget`.
        breaker: when to leave an API alone.
        places: calls to one API at the same time.
        most_waiting: calls that may wait for a place.
        quotas: by origin.
        addresses: what may be called besides public addresses.
        deadline_header: tells the API for how many milliseconds its answer is waited for.
        keepalive: seconds that an idle connection is kept.
        error_bytes: of the body of a failure that are read.
        stale_bytes: for earlier answers, of all origins.
        stale_in_a_row: how often one may be used before there is a new one.
        fallbacks_in_a_row: how often another origin may take the place of one that is not well.
    """

    attempts: int = 3
    attempts_unsent: int = 5
    base_delay: float = 0.2
    base_delay_limited: float = 1.0
    max_delay: float = 5.0
    least_for_write: float = 0.25
    retry_ratio: float = 0.1
    retry_burst: float = 10.0
    retry_floor: float = 10.0
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    places: int = 32
    most_waiting: int = 1_000
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    addresses: AddressPolicy = field(default_factory=AddressPolicy)
    deadline_header: str = "X-Request-Timeout-Ms"
    keepalive: float = 5.0
    error_bytes: int = 64 * 1024
    stale_bytes: int = 8 * 1024 * 1024
    stale_in_a_row: int = 20
    fallbacks_in_a_row: int = 100

    @classmethod
    def from_settings(cls, settings: Settings, also_allowed: Iterable[str] = ()) -> Self:
        """As the operator set it, with `also_allowed` beside the hosts that the operator names.

        Raises:
            SetupError: a line has a form that cannot be read; the text names it.
        """
        allowed = settings.smart_support_tool_allowed_hosts.split(",")
        try:
            addresses = AddressPolicy.parse([*allowed, *also_allowed])
        except ValueError as error:
            raise SetupError(f"SMART_SUPPORT_TOOL_ALLOWED_HOSTS: {error}") from None
        try:
            quotas = parse_quotas(settings.smart_support_tool_quotas)
        except ValueError as error:
            raise SetupError(f"SMART_SUPPORT_TOOL_QUOTAS: {error}") from None
        return cls(
            attempts=settings.smart_support_tool_attempts,
            attempts_unsent=settings.smart_support_tool_attempts + 2,
            retry_ratio=settings.smart_support_tool_retry_ratio,
            retry_burst=settings.smart_support_tool_retry_burst,
            places=settings.smart_support_tool_concurrency,
            quotas=quotas,
            addresses=addresses,
            breaker=BreakerPolicy(
                least_calls=settings.smart_support_breaker_calls,
                share=settings.smart_support_breaker_share,
                slow_after=settings.smart_support_breaker_slow_after,
                open_for=settings.smart_support_breaker_open_for,
                open_at_most=settings.smart_support_breaker_open_at_most,
                lease=settings.smart_support_tool_attempt_timeout,
            ),
        )

    @property
    def soon(self) -> RetryPolicy:
        return RetryPolicy(self.base_delay, self.max_delay, self.attempts)

    @property
    def unsent(self) -> RetryPolicy:
        return RetryPolicy(self.base_delay, self.max_delay, self.attempts_unsent)

    @property
    def limited(self) -> RetryPolicy:
        return RetryPolicy(self.base_delay_limited, self.max_delay, self.attempts)


@dataclass(frozen=True, slots=True)
class BreakerState:
    """A circuit breaker as it stands: `closed`, `open` or `half_open`.

    `retry_in` is seconds until the next call is let through, as far as is known.
    """

    origin: str
    group: str
    state: str
    retry_in: float


@dataclass(frozen=True, slots=True)
class OriginState:
    """One upstream API as it stands, for health and metrics."""

    origin: str
    running: int
    waiting: int
    retry_budget: float
    breakers: Mapping[str, BreakerState]


class Origin:
    """Everything that calls to one scheme, host and port share."""

    def __init__(
        self,
        name: str,
        settings: UpstreamSettings,
        connect: Connect,
        chance: Callable[[], float],
        hooks: Hooks,
    ) -> None:
        self.name = name
        self.bulkhead = Bulkhead(settings.places, settings.most_waiting)
        self.budget = RetryBudget(settings.retry_ratio, settings.retry_burst, settings.retry_floor)
        quota = settings.quotas.get(name)
        self.quota = None if quota is None else QuotaGate(quota)
        self.fallbacks = 0
        self.answered_at: float | None = None
        """When it was last seen to work, by a call that succeeded."""
        self._breakers: dict[str, Breaker] = {}
        self._settings = settings
        self._connect = connect
        self._chance = chance
        self._hooks = hooks
        self._transports: dict[bool, httpx.AsyncBaseTransport] = {}

    def transport(self, *, once: bool) -> httpx.AsyncBaseTransport:
        """The kept connections, or, for what must not be sent twice, ones that are used `once`.

        A kept connection may have been closed by the other side just now; what is sent on it is
        then lost, and nobody can say whether it was read.
        """
        found = self._transports.get(once)
        if found is None:
            found = self._transports[once] = self._connect(self.name, once=once)
        return found

    def breaker(self, group: str) -> Breaker:
        found = self._breakers.get(group)
        if found is None:
            tell = partial(self._tell, group)
            found = self._breakers[group] = Breaker(self._settings.breaker, self._chance, tell)
        return found

    def allows(self, group: str, now: float) -> bool:
        """Whether a call would be let through now."""
        breaker = self._breakers.get(group)
        return breaker is None or breaker.opens_in(now) == 0.0

    def state(self, now: float) -> OriginState:
        return OriginState(
            self.name,
            self.bulkhead.running,
            self.bulkhead.waiting,
            self.budget.tokens,
            {
                group: BreakerState(
                    self.name, group, breaker.state(now).value, breaker.opens_in(now)
                )
                for group, breaker in self._breakers.items()
            },
        )

    async def aclose(self) -> None:
        for transport in self._transports.values():
            await transport.aclose()

    def _tell(self, group: str, state: State) -> None:
        self._hooks.breaker(self.name, group, state.value)


def origin_of(url: httpx.URL) -> str:
    """Scheme, host and port, without the port that goes without saying."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


@lru_cache(maxsize=1_000)
def origin_named(url: str) -> str:
    """The same of a URL as text; reading one takes longer than all else that is asked of it."""
    return origin_of(httpx.URL(url))
