"""The one way that every error goes: named, logged, counted, answered, and told to who asked.

`handle` is quick and never raises. What it sets in motion (callbacks, recoveries) runs beside,
one failing or hanging without hurting another.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, TypeAlias

import structlog

from smart_support.errors import (
    ClientAction,
    Family,
    InternalError,
    RateLimited,
    RetryStrategy,
    Severity,
    SupportError,
)
from smart_support.telemetry import metrics, tracing
from smart_support.telemetry.debug import DEBUG
from smart_support.telemetry.logs import new_correlation_id
from smart_support.telemetry.words import ENGLISH, message_of

log = structlog.get_logger()

Place: TypeAlias = Literal["rest", "socket", "turn", "tool", "job", "cli"]
Mapper: TypeAlias = Callable[[BaseException], SupportError | None]
Callback: TypeAlias = Callable[[SupportError, "ErrorContext"], Awaitable[None]]
Counting: TypeAlias = Callable[[SupportError, "ErrorContext"], None]

LONGEST_TEXT = 2_000
"""Characters of an exception's text that are looked at."""
MOST_IN_GROUP = 20
MOST_WAITING = 1_000
WORKERS = 4
CALLBACK_SECONDS = 10.0

_EVENTS: Mapping[Place, tuple[str, str]] = {
    "rest": ("request_refused", "request_crashed"),
    "socket": ("frame_refused", "frame_crashed"),
    "turn": ("turn_failed", "turn_crashed"),
    "tool": ("tool_call_failed", "tool_call_crashed"),
    "job": ("job_failed", "job_crashed"),
    "cli": ("command_failed", "command_crashed"),
}
"""How a log line is called: for an error that we know, and for one that nobody foresaw."""

_LEVELS: Mapping[Severity, str] = {
    Severity.LOW: "info",
    Severity.MEDIUM: "warning",
    Severity.HIGH: "error",
    Severity.CRITICAL: "critical",
}
_WORST = tuple(Severity)


class Remedy(Enum):
    """What a registered recovery does about an error."""

    RETRY = "retry"
    FALL_BACK = "fall_back"
    DEGRADE = "degrade"
    HAND_OFF = "hand_off"
    CLOSE = "close"


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorContext:
    """Where an error happened, and to whom. Ids only, never what somebody wrote.

    `operation` is a name of our code: a route's template, a kind of frame, a job, a command.
    `correlation_id`, `thread_id` and `turn_id` are taken from what is bound if None.
    """

    place: Place
    operation: str = ""
    correlation_id: str | None = None
    thread_id: str | None = None
    turn_id: str | None = None
    tool_call_id: str | None = None
    attempt: int | None = None
    user_id: str | None = None
    language: str = ENGLISH


@dataclass(frozen=True, slots=True, kw_only=True)
class Handled:
    """What the client is told, and how."""

    error: SupportError
    code: str
    message: str
    status: int
    close_code: int
    severity: Severity
    retry: RetryStrategy
    action: ClientAction
    retry_after: float | None
    correlation_id: str


@dataclass(frozen=True, slots=True)
class _Registered:
    wanted: type[SupportError] | Family
    name: str
    work: Callback
    remedy: Remedy | None

    def concerns(self, error: SupportError) -> bool:
        if isinstance(self.wanted, Family):
            return error.code.startswith(f"{self.wanted.value}_")
        return isinstance(error, self.wanted)


class ErrorHandler:
    """Handles errors. Callbacks and recoveries run while `running` does."""

    def __init__(self, *, callback_seconds: float = CALLBACK_SECONDS) -> None:
        self._mappers: list[Mapper] = []
        self._registered: list[_Registered] = []
        self._counting: list[Counting] = []
        self._waiting: asyncio.Queue[tuple[_Registered, SupportError, ErrorContext]] | None = None
        self._callback_seconds = callback_seconds

    def map(self, mapper: Mapper) -> None:
        """Let `mapper` name exceptions of other libraries; the first that knows one decides."""
        self._mappers.append(mapper)

    def on(self, wanted: type[SupportError] | Family, work: Callback) -> None:
        """Call `work` after each error of this class, or of this family."""
        name = getattr(work, "__qualname__", type(work).__name__)
        self._registered.append(_Registered(wanted, name, work, None))

    def count_with(self, work: Counting) -> None:
        """Call `work` with each error at once. It must be quick; one that fails is counted."""
        self._counting.append(work)

    def recover(self, wanted: type[SupportError] | Family, remedy: Remedy, work: Callback) -> None:
        """As `on`, for what repairs something: it is counted and logged as a recovery."""
        self._registered.append(_Registered(wanted, remedy.value, work, remedy))

    def handle(self, exception: BaseException, context: ErrorContext) -> Handled:
        """Name, log and count an exception; what to tell the client.

        Total for exceptions. What is no failure but an order to stop (CancelledError,
        KeyboardInterrupt) is raised again.
        """
        if not isinstance(exception, Exception | BaseExceptionGroup):
            raise exception
        began = time.perf_counter()
        context = _completed(context)
        error, foreseen = self._named(exception)
        answer = _answer(error, context)
        for step, work in (
            ("log", lambda: _log(exception, answer, context, foreseen=foreseen)),
            ("count", lambda: _count(answer, context)),
            ("statistics", lambda: self._count(error, context)),
            ("trace", lambda: tracing.note_error(error.code)),
            ("tell", lambda: self._tell(error, context)),
        ):
            _attempt(step, work)
        _attempt("count", lambda: metrics.ERROR_HANDLING.observe(time.perf_counter() - began))
        return answer

    @contextlib.contextmanager
    def guarding(self, context: ErrorContext) -> Iterator[None]:
        """Handle what the block raises and go on after it: for jobs, which nobody answers."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - this is where every error of a job ends
            self.handle(error, context)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run what is registered, inside the block, as errors come."""
        self._waiting = asyncio.Queue(MOST_WAITING)
        workers = [
            asyncio.create_task(self._work(self._waiting), name=f"error callbacks {number}")
            for number in range(WORKERS)
        ]
        try:
            yield
        finally:
            self._waiting = None
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def idle(self) -> None:
        """Wait until everything that was set in motion is done."""
        if self._waiting is not None:
            await self._waiting.join()

    def _named(self, exception: BaseException) -> tuple[SupportError, bool]:
        """The exception as the catalogue has it, and whether it was foreseen."""
        if isinstance(exception, SupportError):
            return exception, True
        if isinstance(exception, BaseExceptionGroup):
            named = [self._named(each) for each in _leaves(exception)]
            # The worst decides: what nobody foresaw, then the severest.
            return max(
                named,
                key=lambda each: (not each[1], _WORST.index(each[0].severity)),
                default=(InternalError(), False),
            )
        for mapper in self._mappers:
            try:
                found = mapper(exception)
            except Exception:  # noqa: BLE001 - a broken mapper must not hide the error
                _failed("map")
                continue
            if found is not None:
                return found, True
        return InternalError(), False

    def _count(self, error: SupportError, context: ErrorContext) -> None:
        for work in self._counting:
            work(error, context)

    def _tell(self, error: SupportError, context: ErrorContext) -> None:
        if self._waiting is None:
            return
        for registered in self._registered:
            if registered.concerns(error):
                try:
                    self._waiting.put_nowait((registered, error, context))
                except asyncio.QueueFull:
                    _failed("queue")

    async def _work(
        self, waiting: "asyncio.Queue[tuple[_Registered, SupportError, ErrorContext]]"
    ) -> None:
        while True:
            registered, error, context = await waiting.get()
            try:
                await self._run(registered, error, context)
            finally:
                waiting.task_done()

    async def _run(
        self, registered: _Registered, error: SupportError, context: ErrorContext
    ) -> None:
        outcome = "done"
        try:
            async with asyncio.timeout(self._callback_seconds):
                await registered.work(error, context)
        except Exception as failure:  # noqa: BLE001 - one that fails hurts nobody else
            outcome = "failed"
            log.warning(
                "error_callback_failed",
                name=registered.name,
                code=error.code,
                error=safe_text(failure),
            )
            _failed("callback")
        if registered.remedy is not None:
            metrics.RECOVERIES.labels(registered.remedy.value, outcome).inc()
            log.info(
                "recovery_run",
                recovery=registered.remedy.value,
                outcome=outcome,
                code=error.code,
                correlation_id=context.correlation_id,
            )


def safe_text(exception: BaseException) -> str:
    """What an exception says, at most so much of it, whatever its `str` does."""
    try:
        text = str(exception)
    except Exception:  # noqa: BLE001 - it may do anything
        text = "(its text cannot be had)"
    if len(text) > LONGEST_TEXT:
        text = f"{text[:LONGEST_TEXT]}… ({len(text)} characters)"
    return text or type(exception).__name__


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The first exceptions of a group that are no groups themselves, found without recursion."""
    found: list[BaseException] = []
    waiting: list[BaseException] = [group]
    while waiting and len(found) < MOST_IN_GROUP:
        each = waiting.pop()
        if isinstance(each, BaseExceptionGroup):
            waiting.extend(reversed(each.exceptions))
        elif isinstance(each, Exception):
            found.append(each)
        else:
            raise each  # an order to stop
    return found


def _completed(context: ErrorContext) -> ErrorContext:
    bound = structlog.contextvars.get_contextvars()

    def one(given: str | None, name: str) -> str | None:
        kept = bound.get(name)
        return given or (kept if isinstance(kept, str) else None)

    return ErrorContext(
        place=context.place,
        operation=context.operation,
        correlation_id=one(context.correlation_id, "correlation_id") or new_correlation_id(),
        thread_id=one(context.thread_id, "thread_id"),
        turn_id=one(context.turn_id, "turn_id"),
        tool_call_id=context.tool_call_id,
        attempt=context.attempt,
        user_id=context.user_id,
        language=context.language,
    )


def _answer(error: SupportError, context: ErrorContext) -> Handled:
    wait, message = None, type(error).user_message
    with contextlib.suppress(Exception):
        wait = error.wait_seconds()
    with contextlib.suppress(Exception):
        message = message_of(error, context.language)
    assert context.correlation_id is not None
    return Handled(
        error=error,
        code=error.code,
        message=message,
        status=error.status,
        close_code=error.close_code,
        severity=error.severity,
        retry=error.retry,
        action=error.action,
        retry_after=wait,
        correlation_id=context.correlation_id,
    )


def _log(
    exception: BaseException, answer: Handled, context: ErrorContext, *, foreseen: bool
) -> None:
    known, crashed = _EVENTS[context.place]
    fields: dict[str, Any] = {
        "code": answer.code,
        "severity": answer.severity.value,
        "error": safe_text(exception),
        "operation": context.operation,
        "correlation_id": answer.correlation_id,
        "thread_id": context.thread_id,
        "turn_id": context.turn_id,
        "tool_call_id": context.tool_call_id,
        "attempt": context.attempt,
        "user_id": context.user_id,
    }
    fields = {name: value for name, value in fields.items() if value not in (None, "")}
    if not foreseen:
        log.error(crashed, exc_info=exception, **fields)
        return
    detailed = exception if DEBUG.covers(context.thread_id) else None
    if isinstance(exception, BaseExceptionGroup):
        fields["errors"] = [safe_text(each) for each in _leaves(exception)]
    # A command says a known error itself, as a sentence.
    level = "debug" if context.place == "cli" else _LEVELS[answer.severity]
    getattr(log, level)(known, exc_info=detailed, **fields)


def _count(answer: Handled, context: ErrorContext) -> None:
    code = metrics.code_label(answer.code)
    metrics.ERRORS.labels(code, answer.severity.value, context.place).inc()
    if isinstance(answer.error, RateLimited) or answer.retry is RetryStrategy.RATE_LIMIT:
        metrics.RATE_LIMITED.labels(context.place).inc()


def _attempt(step: str, work: Callable[[], None]) -> None:
    try:
        work()
    except Exception:  # noqa: BLE001 - a step of the handler that fails must not hurt the rest
        _failed(step)


def _failed(step: str) -> None:
    with contextlib.suppress(Exception):  # there is nobody left to tell
        metrics.HANDLER_FAILURES.labels(step).inc()


ERROR_HANDLER = ErrorHandler()
"""Of a program that has no parts of its own, such as a command: it logs and counts."""
