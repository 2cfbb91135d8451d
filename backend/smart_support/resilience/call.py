"""One call to one origin: attempt after attempt, as long as that is safe and there is time."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import httpcore
import httpx

from smart_support.resilience.breaker import Breaker
from smart_support.resilience.bulkhead import Bulkhead, BulkheadFull
from smart_support.resilience.deadline import Cut
from smart_support.resilience.decision import (
    BUSY,
    CIRCUIT_OPEN,
    STILL_RUNNING,
    TIMED_OUT,
    Failure,
    may_retry,
    outcome_of,
    outcome_of_call,
    read_error,
    read_status,
)
from smart_support.resilience.origin import Origin, UpstreamSettings
from smart_support.resilience.quota import QuotaGate
from smart_support.resilience.records import (
    Answer,
    AttemptOutcome,
    AttemptReport,
    CallFailed,
    CallPlan,
    Hooks,
    Outcome,
)
from smart_support.resilience.retry import asked_wait, backoff_ceiling
from smart_support.resilience.testing import attempts_of, wait_of
from smart_support.telemetry.tracing import span

Result = TypeVar("Result")
Work = Callable[[float], Awaitable[Result]]
"""Makes one attempt; is given the seconds that it has."""


class Refused(Exception):
    """The API answered with another status than 2xx."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"status {answer.status}")
        self.answer = answer


class Stopped(Exception):
    """`before_sending` raised `error`: nothing may be sent."""

    def __init__(self, error: Exception) -> None:
        super().__init__("stopped before anything was sent")
        self.error = error


class Progress:
    """How far a call is, over all its attempts and origins.

    Attributes:
        deadline: on the monotonic clock.
        number: of the running attempt.
        waited: seconds of back-off before it.
        sent: its first byte has left, or is about to.
        answered: status and headers of its answer, if they came.
        last: how the last attempt failed.
        unknown_before: an earlier attempt may have taken effect.
        beginning: `before_sending` was begun and has not come back.
        hedged: a second request was sent beside the running one.
    """

    __slots__ = (
        "_before",
        "answered",
        "beginning",
        "deadline",
        "hedged",
        "last",
        "number",
        "plan",
        "sent",
        "unknown_before",
        "waited",
    )

    def __init__(self, plan: CallPlan, deadline: float) -> None:
        self.plan = plan
        self.deadline = deadline
        self.number = 0
        self.waited = 0.0
        self.answered: tuple[int, httpx.Headers] | None = None
        self.last: CallFailed | None = None
        self.sent = self.unknown_before = self.beginning = self.hedged = False
        self._before = plan.before_sending

    def next_attempt(self) -> None:
        self.number += 1
        self.sent = self.hedged = False
        self.answered = None

    def outcome(self) -> Outcome:
        """What may have happened upstream if the running attempt stops now."""
        if not self.sent:
            return "not_sent"
        return "unknown" if self.plan.writes else "rejected"

    async def begin(self) -> None:
        """A connection is held and the first byte is about to leave."""
        before = self._before
        if before is not None:
            self._before = None
            self.beginning = True
            try:
                await before()
            except Exception as error:
                raise Stopped(error) from error
            self.beginning = False
        self.sent = True

    async def trace(self, name: str, info: dict[str, object]) -> None:
        """What httpcore says as it goes."""
        if name == "http11.send_request_headers.started":
            await self.begin()
        elif name == "http11.send_request_headers.failed" and isinstance(
            info.get("exception"), httpcore.LocalProtocolError
        ):
            # The request has a form that cannot be written; not a byte of it was.
            self.sent = False


@dataclass(frozen=True, slots=True)
class Caller:
    """Makes calls: gate, place, attempt, verdict, and again where that is safe.

    The order is: deadline, breaker, quota, place in the bulkhead, timeout of the attempt. Waits
    for quota and place count to the deadline, not to the attempt.
    """

    settings: UpstreamSettings
    hooks: Hooks
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    chance: Callable[[], float]

    async def run(self, origin: Origin, progress: Progress, work: Work[Result]) -> Result:
        """What `work` returns, from the first attempt of it that succeeds.

        Raises:
            CallFailed: no attempt succeeded, and it is not safe, or too late, to make another.
            Exception: what `before_sending` raised; nothing was sent.
        """
        plan, clock, bulkhead = progress.plan, self.clock, origin.bulkhead
        breaker = origin.breaker(plan.group)
        tries, ever_sent = 0, False
        while True:
            tries += 1
            progress.next_attempt()
            if not breaker.closed:
                self._check_circuit(breaker, progress)
            if origin.quota is not None:
                await self._await_turn(origin.quota, progress)
            if not bulkhead.take():
                await self._await_place(bulkhead, progress)
            try:
                started = clock()
                left = progress.deadline - started
                if left < self.settings.least_for_write and not plan.may_repeat:
                    raise self._gave_up(TIMED_OUT, progress, None)
                ticket = breaker.admit(started)
                if not ticket:
                    raise self._gave_up(CIRCUIT_OPEN, progress, breaker.opens_in(started))
                if tries == 1:
                    origin.budget.called()
                seconds = min(left, plan.attempt)
                try:
                    with Cut(seconds), span("http.client", {"server.address": origin.name}):
                        result = await work(seconds)
                except BaseException as error:  # noqa: BLE001 (_settle raises what is not its own)
                    failure = self._settle(origin, breaker, ticket, progress, started, error)
                else:
                    ended = clock()
                    breaker.settle(ticket, ended, bad=breaker.slow(ended - started))
                    origin.answered_at = ended
                    if plan.on_attempt is not None or self.hooks.attempt is not None:
                        self._report(origin, progress, started, ended, "done")
                    return result
            finally:
                bulkhead.give_back()
            ever_sent = ever_sent or progress.sent
            await self._wait(origin, breaker, progress, failure, tries, ever_sent=ever_sent)

    def _check_circuit(self, breaker: Breaker, progress: Progress) -> None:
        retry_in = breaker.opens_in(self.clock())
        if retry_in > 0.0:
            raise self._gave_up(CIRCUIT_OPEN, progress, retry_in)

    async def _await_turn(self, quota: QuotaGate, progress: Progress) -> None:
        now = self.clock()
        wait = quota.reserve(now, progress.deadline)
        if wait is None:
            raise self._gave_up(BUSY, progress, quota.next_in(now))
        if wait > 0.0:
            await self.sleep(wait_of(wait))

    async def _await_place(self, bulkhead: Bulkhead, progress: Progress) -> None:
        try:
            with Cut(progress.deadline - self.clock()):
                await bulkhead.wait()
        except (TimeoutError, BulkheadFull) as error:
            raise self._gave_up(BUSY, progress, None) from error

    def _gave_up(
        self, failure: Failure, progress: Progress, retry_after: float | None
    ) -> CallFailed:
        """Why a call whose next attempt was not let through failed: as its last attempt did."""
        return progress.last or failed(failure, "not_sent", retry_after=retry_after)

    def _settle(
        self,
        origin: Origin,
        breaker: Breaker,
        ticket: int,
        progress: Progress,
        started: float,
        error: BaseException,
    ) -> Failure:
        """Read a failed attempt and tell of it; what is no failure of the API is raised."""
        ended, plan = self.clock(), progress.plan
        failure = _read(error, progress)
        if failure is None:
            breaker.settle(ticket, ended, bad=None)
            if isinstance(error, Stopped):
                raise error.error
            cancelled = not isinstance(error, Exception)
            self._report(origin, progress, started, ended, progress.outcome(), cancelled=cancelled)
            raise error
        breaker.settle(ticket, ended, bad=True if failure.unhealthy else None)
        outcome = outcome_of(failure, sent=progress.sent, writes=plan.writes)
        status, headers = progress.answered or (None, None)
        raised = failed(
            failure,
            outcome_of_call(
                outcome, failure, unknown_before=progress.unknown_before, keyed=plan.keyed
            ),
            answered=status,
            headers=headers,
            body=error.answer.body if isinstance(error, Refused) else b"",
            retry_after=None if headers is None else asked_wait(headers),
        )
        raised.__cause__ = error
        progress.last = raised
        progress.unknown_before |= outcome == "unknown"
        self._report(origin, progress, started, ended, outcome, raised)
        return failure

    async def _wait(
        self,
        origin: Origin,
        breaker: Breaker,
        progress: Progress,
        failure: Failure,
        tries: int,
        *,
        ever_sent: bool,
    ) -> None:
        """Wait until the next attempt, or raise how the last one failed if there is to be none."""
        last, plan, settings = progress.last, progress.plan, self.settings
        assert last is not None
        if progress.beginning or not may_retry(
            failure, sent=progress.sent, repeatable=plan.may_repeat
        ):
            raise last
        policy = settings.soon
        if not ever_sent:
            policy = settings.unsent
        elif last.answered == 429:
            policy = settings.limited
        if tries >= attempts_of(policy.attempts):
            raise last
        if last.retry_after is None:
            wait = self.chance() * backoff_ceiling(tries, policy)
        else:  # a little later than asked, lest all who were asked the same come together
            wait = last.retry_after + self.chance() * settings.base_delay
        now = self.clock()
        if now + wait >= progress.deadline or breaker.opens_in(now) > wait:
            raise last
        if not origin.budget.take(now):
            self.hooks.budget_exhausted(origin.name)
            raise last
        self.hooks.retry(origin.name, plan.group, failure.category, wait)
        progress.waited = wait
        await self.sleep(wait_of(wait))

    def _report(
        self,
        origin: Origin,
        progress: Progress,
        started: float,
        ended: float,
        outcome: AttemptOutcome,
        error: CallFailed | None = None,
        *,
        cancelled: bool = False,
    ) -> None:
        plan = progress.plan
        if plan.on_attempt is None and self.hooks.attempt is None:
            return
        report = AttemptReport(
            number=progress.number,
            started=started,
            duration_s=ended - started,
            waited_s=progress.waited,
            status=None if progress.answered is None else progress.answered[0],
            category=None if error is None else error.category,
            outcome=outcome,
            error=error,
            cancelled=cancelled,
            hedged=progress.hedged,
            origin=origin.name,
        )
        if plan.on_attempt is not None:
            plan.on_attempt(report)
        if self.hooks.attempt is not None:
            self.hooks.attempt(origin.name, plan.group, report)


def failed(
    failure: Failure,
    outcome: Outcome,
    *,
    answered: int | None = None,
    headers: httpx.Headers | None = None,
    body: bytes = b"",
    retry_after: float | None = None,
) -> CallFailed:
    """`failure` as the exception that callers see."""
    return CallFailed(
        failure.words,
        code=failure.code,
        category=failure.category,
        outcome=outcome,
        answered=answered,
        headers=headers,
        body=body,
        retry_after=retry_after,
    )


def _read(error: BaseException, progress: Progress) -> Failure | None:
    """What the attempt that ended in `error` says; None if it is no failure of the API."""
    if not isinstance(error, Exception):
        return None
    status = 200 if progress.answered is None else progress.answered[0]
    if 200 <= status < 300:
        return read_error(error)
    # The status counts, even if the body that came with it broke off or took too long.
    if status == 409 and progress.plan.keyed and progress.unknown_before:
        return STILL_RUNNING
    return read_status(status)
