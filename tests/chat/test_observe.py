"""What the metrics say of events and of calls, also of those that nobody should have written."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from tests.support.histories import called, closed, companies, events_of, returned

from smart_support.chat.observe import Observer, Prices, note_budgets, upstream_hooks
from smart_support.errors import ErrorCategory
from smart_support.events.records import Event, ToolReturned, TurnClosed
from smart_support.resilience.origin import OriginState
from smart_support.telemetry import metrics

THREAD = "00000000-0000-7000-8000-000000000001"


def value(name: str, /, **labels: str) -> float:
    return metrics.snapshot().get((f"smart_support_{name}", tuple(sorted(labels.items()))), 0.0)


def total(name: str) -> float:
    return sum(
        v for (found, _), v in metrics.snapshot().items() if found == f"smart_support_{name}"
    )


@given(logs=companies())
def test_counts_every_turn_and_call_once(logs: Sequence[Sequence[Event]]) -> None:
    before = total("turns_total"), total("tool_calls_total"), total("tool_calls_ambiguous_total")
    facts = [event.fact for log in logs for event in log]

    observer = Observer()
    for log in logs:
        observer.take(log)

    returns = [fact for fact in facts if isinstance(fact, ToolReturned)]
    assert total("turns_total") - before[0] == sum(isinstance(f, TurnClosed) for f in facts)
    assert total("tool_calls_total") - before[1] == len(returns)
    unknown = sum(fact.outcome == "unknown" for fact in returns)
    assert total("tool_calls_ambiguous_total") - before[2] == unknown


def test_a_slow_turn_is_counted_and_tokens_have_their_price() -> None:
    before = value("turns_slow_total"), value("model_cost_total")
    observer = Observer(slow_turn=1.0, prices=Prices(input=2.0, output=10.0))

    observer.take(events_of(THREAD, [closed(duration_ms=1_001.0), closed(duration_ms=999.0)]))

    assert value("turns_slow_total") - before[0] == 1
    assert value("model_cost_total") - before[1] == pytest.approx(2 * (120 * 2 + 30 * 10) / 1e6)


def test_says_that_the_model_works_only_when_it_answered() -> None:
    told: list[bool] = []
    observer = Observer(model_answered=lambda: told.append(True))

    observer.take(events_of(THREAD, [closed(status="failed"), replace(closed(), model_calls=0)]))
    assert told == []
    observer.take(events_of(THREAD, [closed()]))
    assert told == [True]


def test_an_event_that_cannot_be_counted_stops_nothing() -> None:
    broken: Any = replace(closed(), duration_ms="long")

    Observer().take(events_of(THREAD, [broken]))


def test_operations_beyond_the_bound_are_one_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "operation_label", metrics.Bounded(3))
    observer = Observer()
    before = value("tool_calls_total", operation=metrics.OTHER, outcome="done")

    for place in range(10):
        call = f"c{place}"
        facts = [called(call=call, operation=f"odd {place}"), returned(call=call)]
        observer.take(events_of(THREAD, facts))

    other = value("tool_calls_total", operation=metrics.OTHER, outcome="done")
    assert other - before == 7


def test_breakers_and_budgets_are_told() -> None:
    hooks = upstream_hooks()
    name = "https://shop.test orders"
    for state, number in (("open", 2), ("half_open", 1), ("closed", 0)):
        hooks.breaker("https://shop.test", "orders", state)
        assert value("breaker_state", upstream=name) == number
    hooks.budget_exhausted("https://shop.test")
    hooks.retry("https://shop.test", "orders", ErrorCategory.TIMEOUT, 0.5)
    note_budgets([OriginState("https://shop.test", 0, 0, 7.5, {})])

    assert value("breaker_opened_total", upstream=name) == 1
    assert value("retries_refused_total", upstream="https://shop.test") == 1
    assert value("retry_budget", upstream="https://shop.test") == 7.5
