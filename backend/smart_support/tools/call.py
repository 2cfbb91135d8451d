"""The call: may it be made, is it in the ledger, what became of it. `resilience` sends it."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx
import orjson
import structlog

from smart_support.errors import DatabaseUnavailable, Severity, SupportError
from smart_support.events.fence import Fence, WriterReplaced, fence_of, fenced
from smart_support.events.records import CallOutcome, Event, ToolReturned
from smart_support.ledger.postgres import PostgresLedger
from smart_support.ledger.records import (
    ApprovalExpired,
    CallMade,
    CallState,
    KnownCall,
    PlannedCall,
)
from smart_support.ledger.stops import Stopped
from smart_support.ledger.stops_postgres import PostgresStops
from smart_support.operations.offers import Withdrawn
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import Access, Operation
from smart_support.operations.schema import cursor_of
from smart_support.resilience.call import failed
from smart_support.resilience.decision import UNREADABLE
from smart_support.resilience.payload import UnreadableAnswer
from smart_support.resilience.records import Answer, CallFailed, CallPlan
from smart_support.resilience.retry import asked_wait
from smart_support.resilience.upstream import Upstreams
from smart_support.tools import answer, words
from smart_support.tools.attempts import Recorder
from smart_support.tools.authorize import Door
from smart_support.tools.build import Tool
from smart_support.tools.consent import demand_of
from smart_support.tools.linked import LinkBroken, LinkedReads
from smart_support.tools.oauth import ConnectionNeeded
from smart_support.tools.paging import next_cursor
from smart_support.tools.planning import (
    breaker_group,
    complete_arguments,
    is_repeatable,
    plan_call,
    version_argument,
)
from smart_support.tools.request import build_request

log = structlog.get_logger()

Result = TypeVar("Result")

__all__ = ["CallResult", "Limits", "ToolCaller", "complete_arguments", "plan_call"]

_STATES: Mapping[CallOutcome, CallState] = {
    "done": CallState.DONE,
    "failed": CallState.FAILED,
    "declined": CallState.REJECTED,
    "unknown": CallState.AMBIGUOUS,
}
_OUTCOMES: Mapping[CallState, CallOutcome] = {
    CallState.DONE: "done",
    CallState.RESOLVED_DONE: "done",
    CallState.FAILED: "failed",
    CallState.RESOLVED_NOT_DONE: "failed",
    CallState.REJECTED: "declined",
    CallState.EXPIRED: "declined",
    CallState.SENT: "unknown",
    CallState.AMBIGUOUS: "unknown",
}

_FIRST_POLL = 1.0
_LAST_POLL = 5.0
_LOOK_AGAIN = 0.1

WORKED_SECONDS = 60.0
"""An API of which a call succeeded within this time is not taken for away."""


class VersionUnknown(SupportError):
    """The API wants to know which version is changed, and nobody has read it in this thread."""

    code = "TOOL_VERSION_UNKNOWN"
    status = 409
    severity = Severity.LOW

    def __init__(self, url: str) -> None:
        super().__init__(
            f"The API wants to know which version is changed. Read {url} first, then change it."
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how large a call may become. Times in seconds."""

    total: float = 30.0
    attempt: float = 10.0
    max_bytes: int = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CallResult:
    """How a call ended, and what the model reads of it."""

    outcome: CallOutcome
    content: str
    code: str | None
    events: tuple[Event, ...]
    failure: CallFailed | None = None
    """What `resilience` said of it, if it failed there."""

    @property
    def connect(self) -> ConnectionNeeded | None:
        """Set if the customer has to connect their account again."""
        cause = self.failure.__cause__ if self.failure else None
        return cause if isinstance(cause, ConnectionNeeded) else None


@dataclass(frozen=True, slots=True)
class Offered:
    """Which tools the model is offered now, and why the others are not."""

    tools: Mapping[str, Tool]
    withheld: Mapping[str, str] = field(default_factory=dict)
    """Name -> a sentence for the model."""


@dataclass(frozen=True, slots=True)
class _End:
    """What a call came to."""

    outcome: CallOutcome
    content: str
    code: str | None = None
    etag: str | None = None
    accepted: Any = None
    failure: CallFailed | None = None


@dataclass(frozen=True, slots=True)
class _NeverLeft:
    """A call of which nothing was sent, since the ledger did not say that it is noted as sent."""

    call: PlannedCall
    fence: Fence | None
    """Of the turn, as it was: in a later epoch the row may be somebody else's."""


class ToolCaller:
    """Calls tools. The only place from which a company's APIs are asked to do something."""

    def __init__(
        self,
        upstreams: Upstreams,
        ledger: PostgresLedger,
        stops: PostgresStops,
        linked: LinkedReads,
        limits: Limits,
        *,
        operations: PostgresOperations,
        door: Door | None = None,
        leaves: Callable[[str], None] = lambda _: None,
        away: Callable[[str], bool] = lambda _: False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`leaves` is told the id of a call that is in the ledger, before its first byte leaves.

        `away`: whether nothing answered at this base URL when it was looked at last.
        """
        self._upstreams = upstreams
        self._away = away
        self._door = door or Door(upstreams)
        self._ledger = ledger
        self._stops = stops
        self._linked = linked
        self._limits = limits
        self._leaves = leaves
        self._operations = operations
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._never_left: list[_NeverLeft] = []

    async def offer(self, tools: Mapping[str, Tool]) -> Offered:
        """Those of `tools` that a call now would not be refused for at once."""
        stops = await self._stops.standing()
        withheld: dict[str, str] = {}
        for name, tool in tools.items():
            operation = tool.operation
            if any(
                stop.covers(operation_id=operation.id, api_id=operation.spec_id) for stop in stops
            ):
                withheld[name] = f"{tool.title}: switched off by the company for now"
            elif not self._answers(tool):
                withheld[name] = f"{tool.title}: the system behind it does not answer just now"
        return Offered({name: tools[name] for name in tools if name not in withheld}, withheld)

    def _answers(self, tool: Tool) -> bool:
        """Whether the API of the tool is to be asked: its breaker says so, and it is not away.

        What has just worked is not away, whatever a look at its base URL says.
        """
        if not self._upstreams.allows(tool.base_url, breaker_group(tool.operation)):
            return False
        return not self._away(tool.base_url) or self._upstreams.worked_within(
            tool.base_url, WORKED_SECONDS
        )

    def is_stopped(self, tool: Tool) -> bool:
        """Whether the tool was switched off when the tools were offered last."""
        operation = tool.operation
        return any(
            stop.covers(operation_id=operation.id, api_id=operation.spec_id)
            for stop in self._stops.seen_last()
        )

    def request(
        self,
        tool: Tool,
        planned: PlannedCall,
        headers: Mapping[str, str],
        version: str | None = None,
    ) -> httpx.Request:
        """The exact request of a call; `version` is what is sent as `If-Match`, if it takes one.

        Raises:
            SupportError: the arguments do not make a request.
        """
        plan = tool.operation.request_plan
        arguments = dict(planned.arguments)
        if (versioned := version_argument(plan)) is not None:
            name, required = versioned
            arguments.pop(name, None)
            if version is not None or required:
                # Without a version it is a request to be looked at; `call` sends no such.
                arguments[name] = version if version is not None else "*"
        return build_request(plan, arguments, base_url=tool.base_url, headers=headers)

    async def call(
        self,
        tool: Tool,
        planned: PlannedCall,
        *,
        actor: str,
        correlation_id: str,
        claims: Mapping[str, str] | None = None,
    ) -> CallResult:
        """Make the call that was planned, and write down each attempt and the end of it.

        A write that needs a yes is sent only with an approval of exactly these arguments by
        `actor`, which it uses up. It is in the ledger as sent before its first byte leaves, and
        only then: whatever keeps it from leaving, it has failed, surely. An effect that was
        asked for in this turn already is not asked for again; its result is given again. A
        failure of the API is a result, not an exception. `claims` are what is known of the
        customer: whose permission is used, and what fills headers.

        Raises:
            CredentialMissing, ConnectionNeeded: the API would not let it in; nothing was sent.
            ApprovalMissing, CallMoved: the call may not be made; nothing was sent.
            SupportError: there is no request; nothing was sent.
            DatabaseUnavailable: the ledger cannot be written; nothing was sent, or, for a write
                that was, it stays `sent` and is found by recovery. Of what was not, the ledger
                may say `sent` nevertheless until `take_back_unsent`.
        """
        began = self._monotonic()
        classification = tool.operation.classification
        writes = classification.access is Access.WRITE
        headers = {"X-Correlation-Id": correlation_id}
        if writes and classification.idempotency_header is not None:
            headers[classification.idempotency_header] = planned.effect_key
        request = self.request(tool, planned, headers, await self._version(tool, planned))
        planned = replace(planned, url=_without_query(request.url))
        recorder = Recorder(request, clock=self._clock, monotonic=self._monotonic)
        marked = False

        refuse = self._operations.unless_withdrawn(tool.operation, tool.base_url)

        async def before_sending() -> None:
            nonlocal marked
            if classification.confirm:
                marking = self._ledger.send_approved(
                    planned,
                    actor=actor,
                    now=self._clock(),
                    demand=demand_of(classification, planned.arguments),
                    refuse=refuse,
                )
            else:
                marking = self._ledger.send_unasked(planned, now=self._clock(), refuse=refuse)
            try:
                await _whole(marking)
            except DatabaseUnavailable:
                # Perhaps the commit came through and only its acknowledgement did not.
                self._note_unsent(planned)
                raise
            marked = True
            self._leaves(planned.id)

        deadline = began + self._limits.total
        plan = CallPlan(
            group=breaker_group(tool.operation),
            writes=writes,
            repeatable=is_repeatable(tool.operation),
            keyed=writes and classification.idempotency_header is not None,
            total=max(deadline - self._monotonic(), 0.001),
            attempt=self._limits.attempt,
            max_bytes=self._limits.max_bytes,
            cache_for=None if writes else classification.cacheable_s,
            before_sending=before_sending if writes or classification.confirm else None,
            on_attempt=recorder,
        )
        try:
            if not writes:
                await self._refuse_stopped(planned)
                await self._operations.refuse_withdrawn(tool.operation, tool.base_url)
            end = await self._sent(tool, planned, request, plan, deadline, claims or {})
        except CallMade as made:
            return await self._known(planned, made.known, deadline)
        except (Stopped, ApprovalExpired, Withdrawn) as error:
            end = _End("failed", answer.failure(error.code, "failed", str(error)), error.code)
        except asyncio.CancelledError:
            # Stopped while a request was on its way: the ledger must not say "sent" for ever.
            unclear = writes and marked and not recorder.surely_without_effect()
            outcome: CallOutcome = "unknown" if unclear else "failed"
            content = answer.failure("TOOL_CANCELLED", outcome, "The call was stopped.")
            stopped = _End(outcome, content, "TOOL_CANCELLED")
            try:
                await _whole(self._finish(planned, recorder, stopped))
            except DatabaseUnavailable:
                if not marked:
                    self._note_unsent(planned)
                raise
            raise
        try:
            events = await self._finish(planned, recorder, end)
        except CallMade as made:  # a read, made again by a turn that was taken up again
            return await self._known(planned, made.known, deadline)
        return CallResult(end.outcome, end.content, end.code, events, end.failure)

    def _note_unsent(self, planned: PlannedCall) -> None:
        if planned.access == "write" or planned.asks:
            self._never_left.append(_NeverLeft(planned, fence_of(planned.thread_id)))

    async def take_back_unsent(self) -> None:
        """See to it that the ledger does not say `sent` of what this process knows never left.

        A commit can come through and its acknowledgement be lost. Nobody else can know then that
        nothing was sent, so this comes before the turn is gone on with.

        Raises:
            DatabaseUnavailable: not now; what is left is remembered.
        """
        while self._never_left:
            unsent = self._never_left[0]
            try:
                with fenced(unsent.fence) if unsent.fence else contextlib.nullcontext():
                    undone = await self._ledger.take_back(unsent.call.id, unsent.call.thread_id)
            except WriterReplaced:
                log.warning("unsent_call_is_with_another_process", call=unsent.call.id)
            else:
                if undone:
                    log.warning("unsent_call_taken_back", call=unsent.call.id)
            self._never_left.remove(unsent)

    async def _version(self, tool: Tool, planned: PlannedCall) -> str | None:
        """What is sent as `If-Match`.

        Raises:
            VersionUnknown: it must be sent, and nobody has read it.
        """
        versioned = version_argument(tool.operation.request_plan)
        if versioned is None:
            return None
        url = _without_query(self.request(tool, planned, {}).url)
        version = await self._ledger.last_etag(planned.thread_id, url)
        if version is None and versioned[1]:
            raise VersionUnknown(url)
        return version

    async def _refuse_stopped(self, planned: PlannedCall) -> None:
        # A write is held against what stands in the transaction that lets it out.
        for stop in await self._stops.standing():
            if stop.covers(operation_id=planned.operation_id, api_id=planned.api_id):
                raise Stopped(stop.scope)

    async def _sent(
        self,
        tool: Tool,
        planned: PlannedCall,
        request: httpx.Request,
        plan: CallPlan,
        deadline: float,
        claims: Mapping[str, str],
    ) -> _End:
        try:
            got = await self._door.send(request, plan, tool, claims)
        except CallFailed as error:
            code, content = words.failed(error)
            outcome: CallOutcome = "unknown" if error.outcome == "unknown" else "failed"
            return _End(outcome, content, code, failure=error)
        etag = got.headers.get("etag")
        if got.status == 202 and plan.writes:
            return await self._follow(tool, planned, got, deadline)
        content_type = str(got.headers.get("content-type", ""))
        try:
            if not (plan.writes or got.body.strip() or got.status == 204):
                raise UnreadableAnswer("an empty answer to a read")
            answer.check_readable(content_type, got.body)
        except UnreadableAnswer:
            return _unreadable(got, writes=plan.writes)
        content = shown(tool.operation, planned.arguments, got)
        if got.stale:
            return _End("done", answer.old(content, got.age))
        return _End("done", content, etag=etag)

    async def _follow(
        self, tool: Tool, planned: PlannedCall, first: Answer, deadline: float
    ) -> _End:
        """Ask how far an accepted call has come, until it is over or the time is."""
        classification = tool.operation.classification
        running = _End(
            "unknown",
            words.accepted(first.body),
            words.STILL_RUNNING,
            accepted=_parsed(first.body),
        )
        link = classification.status
        if link is None:
            return running
        known = _as_known(planned, running.accepted)
        headers, pause = first.headers, _FIRST_POLL
        while True:
            asked = asked_wait(headers)
            wait = pause if asked is None else asked
            if self._monotonic() + wait >= deadline:
                return running
            await self._sleep(wait)
            pause = min(pause * 2, _LAST_POLL)
            left = max(deadline - self._monotonic(), 0.001)
            try:
                seen = await self._linked.ask(link, known, classification, within=left)
            except LinkBroken:
                return running
            except CallFailed as error:
                headers = error.headers
                continue
            headers = seen.headers
            match link.progress(seen.body):
                case "done":
                    told = answer.success(200, "application/json", orjson.dumps(seen.body))
                    return _End("done", told)
                case "failed":
                    body = orjson.dumps(seen.body)
                    told = answer.failure(
                        "API_REJECTED", "failed", "The API says that it did not work.", body=body
                    )
                    return _End("failed", told, "API_REJECTED")

    async def _known(self, planned: PlannedCall, known: KnownCall, deadline: float) -> CallResult:
        """The result of a call that was made before, once it has one."""
        while known.state is CallState.SENT and self._monotonic() + _LOOK_AGAIN < deadline:
            await self._sleep(_LOOK_AGAIN)
            known = await self._ledger.call(known.id)
        outcome = _OUTCOMES[known.state]
        content, code = known.content, known.code
        if known.state is CallState.SENT or content is None:
            code = words.UNKNOWN
            content = answer.failure(code, "unknown", words.NO_CLEAR_ANSWER)
        if known.id == planned.id:
            return CallResult(outcome, content, code, ())  # it is in the log already
        if outcome == "done":
            content = answer.repeated(content)
        returned = _returned(planned, _End(outcome, content, code))
        events = await self._ledger.tell(planned.thread_id, [returned])
        return CallResult(outcome, content, code, events)

    async def _finish(
        self, planned: PlannedCall, recorder: Recorder, end: _End
    ) -> tuple[Event, ...]:
        return await self._ledger.finish(
            planned,
            _STATES[end.outcome],
            recorder.attempts,
            _returned(planned, end),
            now=self._clock(),
            etag=end.etag,
            accepted=end.accepted,
        )


async def _whole(work: Coroutine[Any, Any, Result]) -> Result:
    """Do `work` to its end, however often cancelled: whether a row was committed must be known.

    Each wait of the ledger has its own limit, so that the end comes.
    """
    task = asyncio.ensure_future(work)
    stopped: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            stopped = error
    if stopped is None:
        return task.result()
    if not task.cancelled() and (failure := task.exception()) is not None:
        log.warning("stopped_ledger_write_failed", error=type(failure).__name__)
    raise stopped


def _returned(planned: PlannedCall, end: _End) -> ToolReturned:
    return ToolReturned(
        turn_id=planned.turn_id,
        tool_call_id=planned.id,
        outcome=end.outcome,
        content=end.content,
        code=end.code,
    )


def shown(operation: Operation, arguments: Mapping[str, Any], got: Answer) -> str:
    """What the model reads of a good answer."""
    link = got.headers.get("link")
    return answer.success(
        got.status,
        str(got.headers.get("content-type", "")),
        got.body,
        fields=operation.classification.answer_fields,
        cursor=(lambda parsed: next_cursor(operation, arguments, parsed, link))
        if cursor_of(operation)[1]
        else None,
    )


def _unreadable(got: Answer, *, writes: bool) -> _End:
    """The end of a call whose answer is not what it says that it is.

    Whoever answers so may not be the API: a write is then unknown, whatever the status says.
    """
    failure = failed(
        UNREADABLE, "unknown" if writes else "rejected", answered=got.status, headers=got.headers
    )
    code, content = words.failed(failure)
    return _End("unknown" if writes else "failed", content, code, failure=failure)


def _as_known(planned: PlannedCall, accepted: Any) -> KnownCall:
    """A call that is on its way, as a linked read looks at it."""
    return KnownCall(
        id=planned.id,
        thread_id=planned.thread_id,
        turn_id=planned.turn_id,
        operation_id=planned.operation_id,
        api_id=planned.api_id,
        operation=planned.operation,
        access=planned.access,
        arguments=planned.arguments,
        fingerprint=planned.fingerprint,
        state=CallState.SENT,
        effect_key=planned.effect_key,
        accepted=accepted,
    )


def _without_query(url: httpx.URL) -> str:
    return str(url.copy_with(query=None))


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
