"""Counts what happens in the conversations, from the events that this process commits."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

import structlog

from smart_support.errors import ErrorCategory
from smart_support.events.records import (
    ApprovalAsked,
    ApprovalDecided,
    AttemptMade,
    Event,
    HandoffAsked,
    MessageReceived,
    ToolCalled,
    ToolReturned,
    TurnClosed,
)
from smart_support.resilience.origin import OriginState
from smart_support.resilience.records import Hooks
from smart_support.telemetry import metrics

log = structlog.get_logger()
Value = TypeVar("Value")

REMEMBERED = 10_000
"""Tool calls and questions that are under way at once; an older one is `other`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What a million tokens cost, in whatever unit the installation reckons in."""

    input: float = 0.0
    output: float = 0.0

    def of(self, input_tokens: int, output_tokens: int) -> float:
        return (self.input * input_tokens + self.output * output_tokens) / 1e6


class _Recent(Generic[Value]):
    """The last `REMEMBERED` things, by their ids."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Value] = OrderedDict()

    def keep(self, name: str, value: Value) -> None:
        self._kept[name] = value
        if len(self._kept) > REMEMBERED:
            self._kept.popitem(last=False)

    def get(self, name: str) -> Value | None:
        return self._kept.get(name)

    def take(self, name: str) -> Value | None:
        return self._kept.pop(name, None)


class Observer:
    """Takes each committed event once and adds it to the metrics."""

    def __init__(
        self,
        *,
        slow_turn: float = 30.0,
        prices: Prices | None = None,
        model_answered: Callable[[], None] = lambda: None,
    ) -> None:
        """`slow_turn`: seconds from which on a turn counts as slow.

        `model_answered` is called when a turn shows that the model works.
        """
        self._slow = slow_turn
        self._prices = prices or Prices()
        self._model_answered = model_answered
        self._operations: _Recent[str] = _Recent()
        self._asked: _Recent[datetime] = _Recent()

    def take(self, events: Sequence[Event]) -> None:
        """Count these events. Never raises: it stands in the way of an answer."""
        try:
            for event in events:
                self._count(event)
        except Exception:
            log.exception("events_not_counted")

    def _count(self, event: Event) -> None:
        fact = event.fact
        match fact:
            case MessageReceived():
                metrics.MESSAGES.labels("to_person" if fact.to_person else "to_agent").inc()
            case ToolCalled():
                if fact.operation is not None:
                    self._operations.keep(fact.tool_call_id, fact.operation)
            case AttemptMade():
                self._attempt(fact)
            case ToolReturned():
                self._returned(fact)
            case ApprovalAsked():
                self._asked.keep(fact.approval_id, event.at)
                metrics.APPROVALS.labels("asked").inc()
            case ApprovalDecided():
                metrics.APPROVALS.labels(fact.decision).inc()
                if (asked_at := self._asked.take(fact.approval_id)) is not None:
                    waited = (event.at - asked_at).total_seconds()
                    metrics.APPROVAL_SECONDS.observe(max(0.0, waited))
            case HandoffAsked():
                metrics.HANDOFFS.labels("customer" if fact.by == "customer" else "agent").inc()
            case TurnClosed():
                self._closed(fact)

    def _attempt(self, fact: AttemptMade) -> None:
        operation = metrics.operation_label(self._operations.get(fact.tool_call_id))
        metrics.TOOL_ATTEMPTS.labels(operation, fact.outcome).inc()
        metrics.ATTEMPT_SECONDS.labels(operation).observe(fact.duration_ms / 1000)
        if fact.number > 1:
            metrics.TOOL_RETRIES.labels(operation).inc()
        log.debug(
            "attempt_made",
            operation=operation,
            number=fact.number,
            outcome=fact.outcome,
            status=fact.status,
            ms=fact.duration_ms,
            waited_ms=fact.waited_ms,
            category=fact.category,
        )

    def _returned(self, fact: ToolReturned) -> None:
        known = self._operations.take(fact.tool_call_id)
        if known is None:
            return  # the product's own, such as handing over
        operation = metrics.operation_label(known)
        metrics.TOOL_CALLS.labels(operation, fact.outcome).inc()
        if fact.outcome == "unknown":
            metrics.AMBIGUOUS.labels(operation).inc()

    def _closed(self, fact: TurnClosed) -> None:
        seconds = fact.duration_ms / 1000
        metrics.TURNS.labels(fact.status).inc()
        metrics.TURN_SECONDS.observe(seconds)
        if seconds > self._slow:
            metrics.TURNS_SLOW.inc()
        if fact.first_token_ms is not None:
            metrics.FIRST_TOKEN.observe(fact.first_token_ms / 1000)
        metrics.MODEL_CALLS.inc(fact.model_calls)
        metrics.MODEL_TOKENS.labels("input").inc(fact.input_tokens)
        metrics.MODEL_TOKENS.labels("output").inc(fact.output_tokens)
        metrics.MODEL_COST.inc(self._prices.of(fact.input_tokens, fact.output_tokens))
        if fact.status == "done" and fact.model_calls:
            self._model_answered()
        log.debug(
            "turn_closed",
            status=fact.status,
            ms=fact.duration_ms,
            first_token_ms=fact.first_token_ms,
            model_calls=fact.model_calls,
            memory_mb=round(metrics.memory_bytes() / 1e6, 1),
        )


_BREAKER_VALUES = {"closed": 0, "half_open": 1, "open": 2}


def upstream_hooks(moved: Callable[[], None] = lambda: None) -> Hooks:
    """What the calls of APIs tell of themselves, as metrics and log lines.

    `moved` is called after a breaker has opened or closed.
    """

    def breaker(origin: str, group: str, state: str) -> None:
        name = metrics.upstream_label(f"{origin} {group}".strip())
        metrics.BREAKER.labels(name).set(_BREAKER_VALUES[state])
        if state == "open":
            metrics.BREAKER_OPENED.labels(name).inc()
        log.warning("breaker_moved", upstream=name, state=state)
        moved()

    def budget_exhausted(origin: str) -> None:
        metrics.RETRIES_REFUSED.labels(metrics.upstream_label(origin)).inc()

    def retry(origin: str, group: str, category: ErrorCategory, wait: float) -> None:
        log.debug("retrying", upstream=origin, group=group, category=category.value, wait=wait)

    return Hooks(breaker=breaker, budget_exhausted=budget_exhausted, retry=retry)


def note_budgets(origins: Iterable[OriginState]) -> None:
    """Set how many retries each API has left."""
    for origin in origins:
        label = metrics.upstream_label(origin.origin)
        metrics.RETRY_BUDGET.labels(label).set(origin.retry_budget)
