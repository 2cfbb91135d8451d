"""Sends a request to an upstream API, as often as is safe, and says what became of it."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpcore
import httpx

from smart_support.resilience.decision import (
    TOO_LARGE,
    Failure,
    may_retry,
    outcome_of,
    read_error,
    read_status,
)
from smart_support.resilience.records import (
    Answer,
    AttemptReport,
    CallFailed,
    CallPlan,
    Hooks,
    Outcome,
)
from smart_support.resilience.transport import PinnedTransport, shared_ssl_context

__all__ = [
    "Answer",
    "AttemptReport",
    "BreakerState",
    "CallFailed",
    "CallPlan",
    "Hooks",
    "OriginState",
    "Outcome",
    "Upstreams",
]


@dataclass(frozen=True, slots=True)
class BreakerState:
    """A circuit breaker as it stands: `closed`, `open` or `half_open`.

    `retry_in` is seconds until the next call is let through; 0.0 unless it is open.
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


class Upstreams:
    """Every upstream API; per origin a pool of connections of its own."""

    def __init__(
        self,
        *,
        hooks: Hooks | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._hooks = hooks or Hooks()
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._transports: dict[str, PinnedTransport] = {}

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
        for transport in self._transports.values():
            await transport.aclose()

    def open_groups(self) -> tuple[BreakerState, ...]:
        """The breakers that let no call through now."""
        return ()

    def allows(self, origin: str, group: str) -> bool:  # noqa: ARG002
        """Whether a call would be let through now. `origin` may be any URL of it."""
        return True

    def states(self) -> tuple[OriginState, ...]:
        """Every origin that was called, as it stands."""
        return ()

    async def send(
        self,
        request: httpx.Request,
        plan: CallPlan,
        alternatives: Sequence[httpx.Request] = (),  # noqa: ARG002
    ) -> Answer:
        """The answer to `request`, sent as `plan` allows.

        Raises:
            CallFailed: there is no successful answer; it says what may have happened.
            CancelledError: `on_attempt` was told of the attempt that was stopped.
        """
        deadline = self._clock() + plan.total
        sending = _Sending(plan)
        number, waited = 0, 0.0
        while True:
            number += 1
            started = self._clock()
            sending.sent = False
            try:
                async with asyncio.timeout(min(plan.attempt, deadline - started)):
                    answer = await self._attempt(request, plan, sending)
                failure = None if 200 <= answer.status < 300 else read_status(answer.status)
            except (TimeoutError, httpx.HTTPError) as error:
                answer, failure = None, read_error(error)
            outcome = (
                None
                if failure is None
                else outcome_of(failure, sent=sending.sent, writes=plan.writes)
            )
            if plan.on_attempt is not None:
                plan.on_attempt(
                    AttemptReport(
                        number=number,
                        started=started,
                        duration_s=self._clock() - started,
                        waited_s=waited,
                        status=None if answer is None else answer.status,
                        category=None if failure is None else failure.category,
                        outcome=outcome or "done",
                        error=None
                        if failure is None
                        else _failed(failure, outcome or "unknown", answer),
                    )
                )
            if failure is None and answer is not None:
                return answer
            assert failure is not None
            assert outcome is not None
            waited = self._chance() * 0.1 * 2**number
            if (
                number == 3
                or not may_retry(failure, sent=sending.sent, repeatable=plan.may_repeat)
                or self._clock() + waited >= deadline
            ):
                raise _failed(failure, outcome, answer)
            await self._sleep(waited)

    async def _attempt(self, request: httpx.Request, plan: CallPlan, sending: "_Sending") -> Answer:
        url = request.url
        origin = f"{url.scheme}://{url.netloc.decode()}"
        if origin not in self._transports:
            self._transports[origin] = PinnedTransport(
                httpcore.AsyncConnectionPool(ssl_context=shared_ssl_context())
            )
        request.extensions["trace"] = sending.trace
        response = await self._transports[origin].handle_async_request(request)
        try:
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > plan.max_bytes:
                    raise _failed(TOO_LARGE, "unknown" if plan.writes else "rejected", None)
        finally:
            await response.aclose()
        return Answer(
            status=response.status_code, headers=response.headers, body=bytes(body), origin=origin
        )


class _Sending:
    """Where the request is: not yet sent, or on its way."""

    def __init__(self, plan: CallPlan) -> None:
        self._before = plan.before_sending
        self.sent = False

    async def trace(self, name: str, _info: object) -> None:
        if name == "http11.send_request_headers.started":
            before, self._before = self._before, None
            if before is not None:
                await before()
            self.sent = True


def _failed(failure: Failure, outcome: Outcome, answer: Answer | None) -> CallFailed:
    return CallFailed(
        failure.words,
        code=failure.code,
        category=failure.category,
        outcome=outcome,
        answered=None if answer is None else answer.status,
        headers=None if answer is None else answer.headers,
        body=answer.body if answer else b"",
    )
