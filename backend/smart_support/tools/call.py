"""The call: one request to a company's API, retried only where that is safe, all of it recorded."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import httpx
import structlog

from smart_support.errors import ErrorCategory, Severity, SupportError
from smart_support.events.records import AttemptOutcome, CallOutcome, Event, ToolReturned
from smart_support.ledger.postgres import PostgresLedger
from smart_support.ledger.records import Attempt, CallState, PlannedCall, fingerprint_of
from smart_support.operations.records import Access, Operation
from smart_support.operations.schema import cursor_of
from smart_support.resilience.classify import classify_error
from smart_support.resilience.retry import with_retry
from smart_support.tools import answer
from smart_support.tools.build import Tool
from smart_support.tools.paging import next_cursor, turned
from smart_support.tools.request import build_request

log = structlog.get_logger()

_STATES: Mapping[CallOutcome, CallState] = {
    "done": CallState.DONE,
    "failed": CallState.FAILED,
    "declined": CallState.REJECTED,
    "unknown": CallState.AMBIGUOUS,
}

_TOLD = ("content-type", "date", "retry-after")
"""Headers of a refusal that are looked at."""

_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.InvalidURL,
    httpx.UnsupportedProtocol,
)


class AnswerTooLarge(SupportError):
    """The API answered with more than is read; what it did stands."""

    code = "API_ANSWER_TOO_LARGE"
    status = 502
    severity = Severity.MEDIUM


class DeadlineOver(SupportError):
    """The time that a tool call may take in all is over."""

    code = "API_TIMEOUT"
    status = 504
    category = ErrorCategory.TIMEOUT
    severity = Severity.MEDIUM


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how large a call may become. Times in seconds."""

    total: float = 30.0
    attempt: float = 10.0
    max_bytes: int = 2 * 1024 * 1024
    attempts: int = 3
    base_delay: float = 0.2


@dataclass(frozen=True, slots=True)
class CallResult:
    """How a call ended, and what the model reads of it."""

    outcome: CallOutcome
    content: str
    code: str | None
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def content_type(self) -> str:
        return str(self.headers.get("content-type", ""))


def complete_arguments(
    tool: Tool, arguments: Mapping[str, Any], claims: Mapping[str, str]
) -> dict[str, Any]:
    """The arguments with the bound ones filled from who is signed in, whatever the model gave."""
    bound = {name: claims[claim] for name, claim in tool.operation.classification.bindings.items()}
    return {**turned(tool.operation, arguments), **bound}


def plan_call(
    tool: Tool,
    arguments: Mapping[str, Any],
    *,
    call_id: str,
    thread_id: str,
    turn_id: str,
) -> PlannedCall:
    """The ledger's row of a call with these complete arguments."""
    operation = tool.operation
    return PlannedCall(
        id=call_id,
        thread_id=thread_id,
        turn_id=turn_id,
        operation_id=operation.id,
        operation=operation.key,
        access=operation.classification.access.value,
        arguments=arguments,
        fingerprint=fingerprint_of(operation.id, operation.schema_hash, arguments),
    )


class ToolCaller:
    """Calls tools. The only place that sends requests to a company's APIs."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        ledger: PostgresLedger,
        limits: Limits,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._limits = limits
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._chance = chance

    def request(
        self, tool: Tool, planned: PlannedCall, headers: Mapping[str, str]
    ) -> httpx.Request:
        """The exact request of a call.

        Raises:
            SupportError: the arguments do not make a request.
        """
        return build_request(
            tool.operation.request_plan,
            planned.arguments,
            base_url=tool.base_url,
            headers=headers,
        )

    async def call(
        self, tool: Tool, planned: PlannedCall, *, actor: str, correlation_id: str
    ) -> CallResult:
        """Make the call that was planned, and write down each attempt and the end of it.

        A write that needs a yes is sent only with an approval of exactly these arguments by
        `actor`, which it uses up. A write gets one attempt; a read is tried again as
        `with_retry` says. A failure of the API is a result, not an exception.

        Raises:
            ApprovalMissing, ApprovalExpired, CallMoved: the call may not be made; nothing was sent.
            DatabaseUnavailable: the ledger cannot be written; nothing was sent, or, for a write
                that was, it stays `sent` and is found by recovery.
        """
        classification = tool.operation.classification
        headers = {"X-Correlation-Id": correlation_id}
        if classification.idempotency_header is not None:
            headers[classification.idempotency_header] = _idempotency_key(planned)
        request = self.request(tool, planned, headers)
        writes = classification.access is Access.WRITE
        if classification.confirm:
            await self._ledger.send_approved(planned, actor=actor, now=self._clock())
        elif writes:
            await self._ledger.send_unasked(planned, now=self._clock())
        recorder = _Recorder(request, writes=writes, clock=self._clock, monotonic=self._monotonic)
        try:
            outcome, content, code = await self._attempts(tool, planned, request, recorder)
        except asyncio.CancelledError:
            # Stopped while a request was on its way: the ledger must not say "sent" for ever.
            outcome = "unknown" if writes and recorder.may_have_arrived() else "failed"
            content = answer.failure("TOOL_CANCELLED", outcome, "The call was stopped.")
            await asyncio.shield(
                self._finish(planned, recorder, outcome, content, "TOOL_CANCELLED")
            )
            raise
        events = await self._finish(planned, recorder, outcome, content, code)
        return CallResult(outcome, content, code, events)

    async def _attempts(
        self, tool: Tool, planned: PlannedCall, request: httpx.Request, recorder: "_Recorder"
    ) -> tuple[CallOutcome, str, str | None]:
        writes = tool.operation.classification.access is Access.WRITE
        deadline = self._monotonic() + self._limits.total

        async def attempt() -> _Answer:
            with recorder as record:
                remaining = min(self._limits.attempt, deadline - self._monotonic())
                try:
                    async with asyncio.timeout(max(remaining, 0.001)):
                        got = await self._send(request, record)
                except TimeoutError as error:
                    raise DeadlineOver(f"no whole answer within {remaining:.1f} s") from error
                _raise_for_status(request, got)
                return got

        try:
            got = await with_retry(
                attempt,
                1 if writes else self._limits.attempts,
                self._limits.base_delay,
                sleep=recorder.waiting(self._sleep),
                random=self._chance,
                deadline=deadline,
                clock=self._monotonic,
            )
        except (SupportError, httpx.HTTPError, httpx.InvalidURL) as error:
            return self._failed(error, recorder)
        return "done", _shown(tool.operation, planned.arguments, got), None

    async def _send(self, request: httpx.Request, record: "_Record") -> _Answer:
        response = await self._client.send(request, stream=True)
        try:
            record.status = response.status_code
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > self._limits.max_bytes:
                    raise AnswerTooLarge(f"more than {self._limits.max_bytes} bytes")
        finally:
            await response.aclose()
        return _Answer(response.status_code, response.headers, bytes(body))

    def _failed(
        self, error: SupportError | httpx.HTTPError | httpx.InvalidURL, recorder: "_Recorder"
    ) -> tuple[CallOutcome, str, str]:
        outcome: CallOutcome = "unknown" if recorder.last_outcome() == "unknown" else "failed"
        code, message = _words(error)
        if outcome == "unknown":
            code = "TOOL_OUTCOME_UNKNOWN"
            message = (
                "The request was sent but no clear answer came back. It may or may not have "
                "taken effect. It must not be repeated; a person has to check."
            )
        got = error.response if isinstance(error, httpx.HTTPStatusError) else None
        return (
            outcome,
            answer.failure(
                code,
                outcome,
                message,
                status=got.status_code if got else None,
                body=got.content if got else b"",
            ),
            code,
        )

    async def _finish(
        self,
        planned: PlannedCall,
        recorder: "_Recorder",
        outcome: CallOutcome,
        content: str,
        code: str | None,
    ) -> tuple[Event, ...]:
        returned = ToolReturned(
            turn_id=planned.turn_id,
            tool_call_id=planned.id,
            outcome=outcome,
            content=content,
            code=code,
        )
        return await self._ledger.finish(
            planned, _STATES[outcome], recorder.attempts, returned, now=self._clock()
        )


def _shown(operation: Operation, arguments: Mapping[str, Any], got: _Answer) -> str:
    """What the model reads of a good answer."""
    link = got.headers.get("link")
    return answer.success(
        got.status,
        got.content_type,
        got.body,
        fields=operation.classification.answer_fields,
        cursor=(lambda parsed: next_cursor(operation, arguments, parsed, link))
        if cursor_of(operation)[1]
        else None,
    )


class _Record:
    """What is known of a running attempt."""

    status: int | None = None


class _Recorder:
    """Notes every attempt of one call, with its times, as it ends."""

    def __init__(
        self,
        request: httpx.Request,
        *,
        writes: bool,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self.attempts: list[Attempt] = []
        self._line = f"{request.method} {request.url.copy_with(query=None)}"
        self._writes = writes
        self._clock = clock
        self._monotonic = monotonic
        self._waited = 0.0
        self._running: _Record | None = None
        self._began = (clock(), monotonic())

    def __enter__(self) -> _Record:
        self._running = _Record()
        self._began = (self._clock(), self._monotonic())
        return self._running

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        running, self._running = self._running, None
        started_at, started = self._began
        self.attempts.append(
            Attempt(
                number=len(self.attempts) + 1,
                started_at=started_at,
                duration_ms=round((self._monotonic() - started) * 1000, 3),
                waited_ms=round(self._waited * 1000, 3),
                request=self._line,
                status=running.status if running else None,
                category=_category(error),
                outcome=self._outcome(error),
                error=None if error is None else _for_operators(error),
            )
        )
        self._waited = 0.0

    def waiting(
        self, sleep: Callable[[float], Awaitable[None]]
    ) -> Callable[[float], Awaitable[None]]:
        async def wait(seconds: float) -> None:
            self._waited = seconds
            await sleep(seconds)

        return wait

    def last_outcome(self) -> AttemptOutcome:
        return self.attempts[-1].outcome if self.attempts else "not_sent"  # type: ignore[return-value]

    def may_have_arrived(self) -> bool:
        return self.last_outcome() in {"unknown", "done"}

    def _outcome(self, error: BaseException | None) -> AttemptOutcome:
        if error is None:
            return "done"
        if isinstance(error, _NEVER_SENT):
            return "not_sent"
        if isinstance(error, httpx.HTTPStatusError):
            # What a failing server did before it failed is not known; for a read it is no matter.
            status = error.response.status_code
            return "unknown" if self._writes and _unclear(status) else "rejected"
        return "unknown" if self._writes else "rejected"


def _unclear(status: int) -> bool:
    return status >= 500 or status in {408, 425} or status < 400


def _raise_for_status(request: httpx.Request, got: _Answer) -> None:
    if 200 <= got.status < 300:
        return
    # Not those on its encoding: the body is decoded already.
    told = {name: got.headers[name] for name in _TOLD if name in got.headers}
    response = httpx.Response(got.status, headers=told, content=got.body, request=request)
    raise httpx.HTTPStatusError(f"status {got.status}", request=request, response=response)


def _category(error: BaseException | None) -> str | None:
    if error is None:
        return None
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return classify_error(error).value


def _words(error: SupportError | httpx.HTTPError | httpx.InvalidURL) -> tuple[str, str]:
    """The code and the sentence with which a failed call is told to the model."""
    if isinstance(error, SupportError):
        return error.code, str(error)
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        match status:
            case 401 | 403:
                return "API_AUTH", "The API refused our credentials; an operator must look."
            case 404:
                return "API_NOT_FOUND", "The API knows no such thing for this customer."
            case 429:
                return "API_RATE_LIMITED", "The API is busy; it asked us to wait."
            case _ if status >= 500:
                return "API_UNAVAILABLE", "The API failed."
            case _ if status < 400:
                return "API_REDIRECTED", "The API answered with a redirect, which is not followed."
        return "API_REJECTED", "The API refused the request."
    if isinstance(error, httpx.TimeoutException):
        return "API_TIMEOUT", "The API did not answer in time."
    return "API_UNREACHABLE", "The API could not be reached."


def _for_operators(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def _idempotency_key(planned: PlannedCall) -> str:
    """One key per approved effect: the same for each attempt, another for another approval.

    Not made from the model's own call id alone, since a model can say the same thing twice.
    """
    return str(uuid5(NAMESPACE_URL, f"{planned.thread_id}/{planned.turn_id}/{planned.fingerprint}"))
