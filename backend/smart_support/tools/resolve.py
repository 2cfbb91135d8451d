"""Finds out what became of a call whose outcome is unknown, without doing it a second time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import structlog

from smart_support.errors import SupportError
from smart_support.events.records import Resolution, ResolvedHow
from smart_support.ledger.records import Attempt, KnownCall, fingerprint_of
from smart_support.ledger.stops_postgres import PostgresStops
from smart_support.operations.effects import Lookup, StatusCheck
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import Operation
from smart_support.resilience.records import CallFailed, CallPlan
from smart_support.resilience.upstream import Upstreams
from smart_support.tools import answer, words
from smart_support.tools.attempts import Recorder
from smart_support.tools.authorize import NOT_LET_IN, Door
from smart_support.tools.build import Tool
from smart_support.tools.call import Limits, shown
from smart_support.tools.linked import LinkedReads, Seen
from smart_support.tools.planning import breaker_group, version_argument
from smart_support.tools.request import build_request

log = structlog.get_logger()

SETTLED = timedelta(seconds=60)
"""How long after it was sent a request can surely not take effect any more, nor stay unseen."""

_CONFLICTS = {409, 422}
"""An API whose key is gone may answer so because the first request took effect."""


@dataclass(frozen=True, slots=True)
class Found:
    """What became of a call, how that is known, and the requests that it took."""

    resolution: Resolution
    how: ResolvedHow
    content: str
    remark: str
    attempts: Sequence[Attempt] = ()


class CallResolver:
    """Looks after ambiguous calls, each in the first of these ways that it has.

    A call that was accepted (202) is asked about with its status operation. One with a key is
    sent again as it was, for as long as the API keeps the key. One with a lookup is looked up.
    All others wait for a person.
    """

    def __init__(
        self,
        upstreams: Upstreams,
        operations: PostgresOperations,
        stops: PostgresStops,
        linked: LinkedReads,
        limits: Limits,
        *,
        door: Door | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._door = door or Door(upstreams)
        self._operations = operations
        self._stops = stops
        self._linked = linked
        self._limits = limits
        self._clock = clock
        self._monotonic = monotonic

    async def find_out(self, call: KnownCall) -> Found | None:
        """What became of `call`; None if that cannot be said now."""
        found = await self._operations.approved([call.operation_id])
        if not found:
            return None  # gone, or not approved any more: nothing of it is sent
        operation, base_url = found[0]
        try:
            if call.accepted is not None and operation.classification.status is not None:
                return await self._progress(call, operation, operation.classification.status)
            again = await self._send_again(call, operation, base_url)
            if again is None and operation.classification.lookup is not None:
                again = await self._look_up(call, operation, operation.classification.lookup)
        except SupportError as error:
            log.info("call_not_resolved", call=call.id, code=error.code, error=str(error))
            return None
        return again

    async def _progress(
        self, call: KnownCall, operation: Operation, link: StatusCheck
    ) -> Found | None:
        seen = await self._ask(link, call, operation)
        match link.progress(seen.body):
            case "done":
                return Found("done", "status", _seen(seen.body), f"{link.operation} says so")
            case "failed":
                return Found(
                    "not_done", "status", words.not_done(), f"{link.operation} says that it failed"
                )
        return None

    async def _send_again(
        self, call: KnownCall, operation: Operation, base_url: str | None
    ) -> Found | None:
        """The same request with the same key, while the API surely knows the key."""
        header = operation.classification.idempotency_header
        address = base_url or operation.request_plan["server"]
        last = timedelta(seconds=self._limits.total)
        if (
            call.keyed_until is None
            or call.effect_key is None
            or header is None
            or address is None
            or self._clock() + last >= call.keyed_until
            # Described or reviewed anew: it would not be the same request.
            or fingerprint_of(operation.id, operation.schema_hash, call.arguments)
            != call.fingerprint
            # The version that was sent is not kept.
            or version_argument(operation.request_plan) is not None
            or await self._is_stopped(operation)
        ):
            return None
        request = build_request(
            operation.request_plan,
            call.arguments,
            base_url=address,
            headers={header: call.effect_key},
        )
        recorder = Recorder(request, clock=self._clock, monotonic=self._monotonic)
        plan = CallPlan(
            group=breaker_group(operation),
            writes=True,
            repeatable=True,
            keyed=True,
            total=self._limits.total,
            attempt=self._limits.attempt,
            max_bytes=self._limits.max_bytes,
            on_attempt=recorder,
        )
        bound = operation.classification.bindings
        claims = {claim: str(call.arguments[name]) for name, claim in bound.items()}
        tool = Tool(operation.tool_name, operation, address)
        try:
            got = await self._door.send(request, plan, tool, claims)
        except NOT_LET_IN:
            return None  # the API says nothing to us
        except CallFailed as error:
            if error.outcome == "rejected" and error.answered not in {*_CONFLICTS, 429, 401, 403}:
                return Found(
                    "not_done",
                    "key",
                    words.not_done(),
                    f"asked again with its key, the API refused it with {error.answered}",
                    recorder.attempts,
                )
            return None
        if got.status == 202:
            return None
        content = shown(operation, call.arguments, got)
        return Found("done", "key", content, "asked again with its key", recorder.attempts)

    async def _look_up(self, call: KnownCall, operation: Operation, link: Lookup) -> Found | None:
        sent_at = call.sent_at
        if sent_at is None:
            return None
        seen = await self._ask(link, call, operation)
        if seen.status != 404 and link.found(seen.body, call.pointers(), sent_at):
            return Found("done", "lookup", _seen(seen.body), f"{link.operation} shows it")
        if self._clock() < sent_at + SETTLED:
            return None  # it may be on its way still
        return Found("not_done", "lookup", words.not_done(), f"{link.operation} does not show it")

    async def _ask(self, link: Lookup | StatusCheck, call: KnownCall, operation: Operation) -> Seen:
        within = self._limits.attempt
        return await self._linked.ask(link, call, operation.classification, within=within)

    async def _is_stopped(self, operation: Operation) -> bool:
        return any(
            stop.covers(operation_id=operation.id, api_id=operation.spec_id)
            for stop in await self._stops.standing()
        )


def _seen(body: Any) -> str:
    return answer.checked(answer.success(200, "application/json", orjson.dumps(body)))
