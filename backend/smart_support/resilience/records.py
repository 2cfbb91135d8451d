"""What is asked of an upstream API, and what became of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

import httpx

from smart_support.errors import ErrorCategory, Severity, SupportError

Outcome = Literal["not_sent", "rejected", "unknown"]
"""What may have happened upstream: nothing was sent; it was sent and changed nothing; nobody knows.

Only a write is ever `unknown`: whatever became of a read, it changed nothing.
"""

AttemptOutcome = Literal["done", "not_sent", "rejected", "unknown"]
"""The same of one attempt, which may also have succeeded."""

_USER_MESSAGES = {
    ErrorCategory.AUTH_FAILURE: "I may not look that up just now. Our team has to fix this.",
    ErrorCategory.NON_RETRYABLE: "That did not work.",
}
_TRY_LATER = "The service behind this does not answer just now. Please try again in a moment."


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptReport:
    """One attempt of a call, as it ended.

    Attributes:
        number: from 1.
        started: seconds on the monotonic clock, after the wait.
        duration_s: seconds that it took, waiting for room included.
        waited_s: seconds of back-off before it.
        status: of the answer, if one came.
        category: None if it succeeded or was cancelled.
        outcome: what may have happened upstream.
        error: why it failed; None if it succeeded or was cancelled.
        cancelled: it was stopped from outside; CancelledError goes on after this report.
        hedged: a second request was sent beside the first.
        origin: where it was sent, such as `https://api.example.com`.
    """

    number: int
    started: float
    duration_s: float
    waited_s: float
    status: int | None
    category: ErrorCategory | None
    outcome: AttemptOutcome
    error: SupportError | httpx.HTTPError | None
    cancelled: bool = False
    hedged: bool = False
    origin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPlan:
    """How one call may be made. Times are seconds.

    Attributes:
        group: breaker group within the origin, such as the operation's key.
        writes: it may change something upstream.
        repeatable: it may be sent again after it was sent: a read, reviewed as idempotent, or it
            carries an idempotency key.
        total: for everything: waits, retries, reading. What went before is subtracted already.
        attempt: for one attempt, from the moment that it has its place in the bulkhead.
        max_bytes: of the body, after inflation.
        keyed: it carries an idempotency key that the API is known to honour. A 409 after an
            attempt of unknown outcome then says that the first one is still running.
        hedge_after: a read that has no answer after so long is sent a second time beside the
            first, and the first answer counts.
        cache_for: a read whose last good answer may take the place of a failure for so long; it
            is then marked `stale`.
        before_sending: awaited once per call, when the first connection is held and before its
            first byte leaves. If it raises, nothing is sent and the caller gets that exception.
        on_attempt: told of each attempt as it ends.
    """

    group: str
    writes: bool
    repeatable: bool
    total: float
    attempt: float
    max_bytes: int
    keyed: bool = False
    hedge_after: float | None = None
    cache_for: float | None = None
    before_sending: Callable[[], Awaitable[None]] | None = None
    on_attempt: Callable[[AttemptReport], None] | None = None

    @property
    def may_repeat(self) -> bool:
        """Whether it may be sent again although it may have arrived."""
        return self.repeatable or not self.writes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole successful answer (2xx).

    Attributes:
        body: inflated.
        stale: an earlier answer in the place of a failure.
        age: seconds since it was received.
        origin: where it came from.
    """

    status: int
    headers: httpx.Headers
    body: bytes
    stale: bool = False
    age: float = 0.0
    origin: str = ""


class CallFailed(SupportError):
    """The API gave no successful answer.

    `category` says what kind of failure it was, `outcome` what may have happened upstream.

    Attributes:
        code: API_TIMEOUT, API_UNREACHABLE, …; docs/resilience.md lists them.
        answered: the HTTP status, if one came.
        retry_after: seconds after which it may be tried again, if anybody said so.
        headers: of the answer, if one came.
        body: of the answer, inflated and capped.
    """

    code = "API_FAILED"
    status = 502
    severity = Severity.MEDIUM
    user_message = _TRY_LATER

    def __init__(
        self,
        text: str,
        *,
        code: str,
        category: ErrorCategory,
        outcome: Outcome,
        answered: int | None = None,
        headers: httpx.Headers | None = None,
        body: bytes = b"",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(text)
        self.code = code
        self.category = category
        self.outcome: Outcome = outcome
        self.answered = answered
        self.headers = headers if headers is not None else httpx.Headers()
        self.body = body
        self.retry_after = retry_after
        self.status = 504 if category is ErrorCategory.TIMEOUT else 502
        self.user_message = _USER_MESSAGES.get(category, _TRY_LATER)


def _nothing(*_: object) -> None:
    """Told, and not interested."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Who is told what goes on, for metrics and logs. Called in the event loop; must not raise.

    Attributes:
        attempt: origin, group, report of each attempt.
        retry: origin, group, category of the failure, seconds of wait before the next attempt.
        budget_exhausted: origin; a retry was not made because too many had been.
        breaker: origin, group, its new state.
        stale: origin, group; an earlier answer took the place of a failure.
        fallback: origin that failed, origin that was asked instead.
    """

    attempt: Callable[[str, str, AttemptReport], None] | None = None
    retry: Callable[[str, str, ErrorCategory, float], None] = field(default=_nothing)
    budget_exhausted: Callable[[str], None] = field(default=_nothing)
    breaker: Callable[[str, str, str], None] = field(default=_nothing)
    stale: Callable[[str, str], None] = field(default=_nothing)
    fallback: Callable[[str, str], None] = field(default=_nothing)
