"""Sends a request to an upstream API, as often as is safe, and says what became of it."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self

import httpx

from smart_support.errors import ErrorCategory
from smart_support.resilience.address import Resolve, resolve
from smart_support.resilience.body import read_body
from smart_support.resilience.call import Caller, Progress, Refused, failed
from smart_support.resilience.decision import BAD_REQUEST, FORBIDDEN_ADDRESS
from smart_support.resilience.origin import (
    BreakerState,
    Origin,
    OriginState,
    UpstreamSettings,
    origin_named,
    origin_of,
)
from smart_support.resilience.records import (
    Answer,
    AttemptReport,
    CallFailed,
    CallPlan,
    Hooks,
    Outcome,
)
from smart_support.resilience.stale import StaleAnswers
from smart_support.resilience.transport import ACCEPT_ENCODING, Connect, pinned

__all__ = [
    "Answer",
    "AttemptReport",
    "BreakerState",
    "CallFailed",
    "CallPlan",
    "Hooks",
    "OriginState",
    "Outcome",
    "UpstreamSettings",
    "Upstreams",
]

_MAY_PASS = frozenset({ErrorCategory.RETRYABLE, ErrorCategory.NETWORK, ErrorCategory.TIMEOUT})


class Upstreams:
    """Every upstream API; per origin a pool of connections, places, a budget and breakers.

    Args:
        settings: what an operator may choose.
        hooks: who is told what goes on.
        clock: seconds that only grow.
        sleep: waits that many seconds.
        chance: a number from 0 (included) to 1 (excluded), anew at each call.
        resolver: the addresses of a host.
        connect: makes the transport of an origin; by default one that checks each address.
    """

    def __init__(
        self,
        settings: UpstreamSettings | None = None,
        *,
        hooks: Hooks | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
        resolver: Resolve = resolve,
        connect: Connect | None = None,
    ) -> None:
        self._settings = settings or UpstreamSettings()
        self._hooks = hooks or Hooks()
        self._clock = clock
        self._chance = chance
        self._connect = connect or pinned(
            self._settings.addresses, resolver, keepalive=self._settings.keepalive
        )
        self._caller = Caller(self._settings, self._hooks, clock, sleep, chance)
        self._origins: dict[str, Origin] = {}
        self._stale = StaleAnswers(self._settings.stale_bytes, self._settings.stale_in_a_row)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        for origin in self._origins.values():
            await origin.aclose()

    def open_groups(self) -> tuple[BreakerState, ...]:
        """The breakers that let no call through now."""
        return tuple(
            breaker
            for origin in self.states()
            for breaker in origin.breakers.values()
            if breaker.retry_in > 0.0
        )

    def allows(self, origin: str, group: str) -> bool:
        """Whether a call would be let through now. `origin` may be any URL of it."""
        found = self._origins.get(origin_named(origin))
        return found is None or found.allows(group, self._clock())

    def worked_within(self, origin: str, seconds: float) -> bool:
        """Whether a call succeeded in the last `seconds`. `origin` may be any URL of it."""
        found = self._origins.get(origin_named(origin))
        at = None if found is None else found.answered_at
        return at is not None and self._clock() - at < seconds

    def states(self) -> tuple[OriginState, ...]:
        """Every origin that was called, as it stands."""
        now = self._clock()
        return tuple(origin.state(now) for origin in self._origins.values())

    async def send(
        self, request: httpx.Request, plan: CallPlan, alternatives: Sequence[httpx.Request] = ()
    ) -> Answer:
        """The answer to `request`, sent as `plan` allows.

        Where it fails for a while, an alternative (the same to another reviewed origin, with that
        one's credentials) is asked, if this is a read or nothing was sent; then, for a read whose
        plan says so, an earlier answer takes its place, marked as stale.

        Raises:
            CallFailed: there is no successful answer; it says what may have happened.
            CancelledError: `on_attempt` was told of the attempt that was stopped.
            Exception: what `plan.before_sending` raised; nothing was sent.
        """
        deadline = self._clock() + plan.total
        progress = Progress(plan, deadline)
        try:
            answer = await self._send_to_one_of([request, *alternatives], progress, deadline)
        except CallFailed as failure:
            earlier = self._earlier(request, plan, failure)
            if earlier is None:
                raise
            self._hooks.stale(earlier.origin, plan.group)
            return earlier
        if plan.cache_for is not None and not plan.writes:
            self._stale.keep(request, answer, self._clock(), plan.cache_for)
        return answer

    async def _send_to_one_of(
        self, requests: Sequence[httpx.Request], progress: Progress, deadline: float
    ) -> Answer:
        first = self._origin(requests[0])
        for place, request in enumerate(requests):
            origin = self._origin(request)
            # Each gets its share of the time, so that the first cannot use up all of it.
            now = self._clock()
            progress.deadline = now + (deadline - now) / (len(requests) - place)
            exchange = _Exchange(self._settings, origin, request, progress, self._clock)
            await exchange.prepare()
            try:
                answer = await self._caller.run(origin, progress, exchange.attempt)
            except CallFailed as failure:
                if place == len(requests) - 1 or not self._may_fall_back(first, progress, failure):
                    raise
                first.fallbacks += 1
                self._hooks.fallback(origin.name, self._origin(requests[place + 1]).name)
                progress.last = None
            else:
                if place == 0:
                    first.fallbacks = 0
                return answer
        raise AssertionError("the last request returns or raises")

    def _may_fall_back(self, first: Origin, progress: Progress, failure: CallFailed) -> bool:
        if first.fallbacks >= self._settings.fallbacks_in_a_row or progress.beginning:
            return False
        safe = not progress.plan.writes or failure.outcome == "not_sent"
        return safe and failure.category in _MAY_PASS

    def _earlier(
        self, request: httpx.Request, plan: CallPlan, failure: CallFailed
    ) -> Answer | None:
        if plan.cache_for is None or plan.writes or failure.category not in _MAY_PASS:
            return None
        return self._stale.instead(request, self._clock())

    def _origin(self, request: httpx.Request) -> Origin:
        url = request.url
        if url.scheme not in {"http", "https"} or not url.host:
            raise failed(BAD_REQUEST, "not_sent")
        if url.userinfo:  # it would be sent to nobody and written down by everybody
            raise failed(FORBIDDEN_ADDRESS, "not_sent")
        name = origin_of(url)
        found = self._origins.get(name)
        if found is None:
            found = self._origins[name] = Origin(
                name, self._settings, self._connect, self._chance, self._hooks
            )
        return found


class _Exchange:
    """One request to one origin and its answer, as often as it is attempted."""

    def __init__(
        self,
        settings: UpstreamSettings,
        origin: Origin,
        request: httpx.Request,
        progress: Progress,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._origin = origin
        self._request = request
        self._progress = progress
        self._plan = progress.plan
        self._transport = origin.transport(once=not self._plan.may_repeat)

    async def prepare(self) -> None:
        """Make the body one that can be sent again."""
        if not isinstance(self._request.stream, httpx.ByteStream):
            await self._request.aread()

    async def attempt(self, seconds: float) -> Answer:
        """Send it and read the whole answer.

        Raises:
            Refused: the answer has another status than 2xx.
            TooLarge, Unreadable, httpx.HTTPError: there is no whole answer.
            Stopped: `before_sending` raised.
        """
        if self._plan.hedge_after is None or self._plan.writes:
            return await self._once(seconds)
        return await self._hedged(seconds, self._plan.hedge_after)

    async def _once(self, seconds: float) -> Answer:
        progress = self._progress
        request = self._to_send(seconds)
        if not getattr(self._transport, "traces", False):
            await progress.begin()  # it cannot say when it sends
        response = await self._transport.handle_async_request(request)
        progress.sent = True
        status, headers = response.status_code, response.headers
        progress.answered = (status, headers)
        good = 200 <= status < 300
        most = self._plan.max_bytes if good else self._settings.error_bytes
        try:
            body = await read_body(response, most)
        finally:
            await response.aclose()
        answer = Answer(status=status, headers=headers, body=body, origin=self._origin.name)
        if not good:
            raise Refused(answer)
        return answer

    def _to_send(self, seconds: float) -> httpx.Request:
        asked = self._request
        headers = asked.headers.copy()
        headers["accept-encoding"] = ACCEPT_ENCODING
        headers.setdefault("user-agent", "smart-support")
        headers[self._settings.deadline_header] = str(max(0, int(seconds * 1000)))
        return httpx.Request(
            asked.method,
            asked.url,
            headers=headers,
            stream=asked.stream,
            extensions={"trace": self._progress.trace},
        )

    async def _hedged(self, seconds: float, after: float) -> Answer:
        """The first good answer of two requests, the second of which is sent if need be."""
        tasks = [asyncio.ensure_future(self._once(seconds))]
        try:
            await asyncio.wait(tasks, timeout=after)
            if tasks[0].done() or not self._progress.sent or not self._takes_another():
                return await tasks[0]
            try:
                self._progress.hedged = True
                tasks.append(asyncio.ensure_future(self._once(seconds - after)))
                return await _first_good(tasks)
            finally:
                self._origin.bulkhead.give_back()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _takes_another(self) -> bool:
        """Whether the origin has room for a second request now; if so, a place is taken."""
        origin, now = self._origin, self._clock()
        if origin.quota is not None and origin.quota.reserve(now, now) is None:
            return False
        if not origin.bulkhead.take():
            return False
        if origin.budget.take(now):
            return True
        origin.bulkhead.give_back()
        return False


async def _first_good(tasks: Sequence[asyncio.Future[Answer]]) -> Answer:
    waiting = set(tasks)
    while True:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if task.exception() is None or not waiting:
                return task.result()
