"""Alert rules: what makes each hold, that it is told once, and that its end is told too."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.turns import START, Clock

from smart_support.errors import Severity
from smart_support.telemetry.alerts import Alerts, Limits, Notice, Rule, Window, rules


class Receiver:
    def __init__(self) -> None:
        self.told: list[Notice] = []

    def tell(self, notice: Notice) -> None:
        self.told.append(notice)

    @property
    def states(self) -> list[tuple[str, str]]:
        return [(notice.key, notice.state) for notice in self.told]


class Counted:
    """The metrics of a process, as a test sets them."""

    def __init__(self) -> None:
        self.values: dict[Any, float] = {}

    def __call__(self) -> Mapping[Any, float]:
        return dict(self.values)

    def add(self, name: str, amount: float = 1.0, /, **labels: str) -> None:
        key = (f"smart_support_{name}", tuple(sorted(labels.items())))
        self.values[key] = self.values.get(key, 0.0) + amount

    def set(self, name: str, value: float, /, **labels: str) -> None:
        self.values[f"smart_support_{name}", tuple(sorted(labels.items()))] = value


class Desk:
    """Alerts that are judged every 30 seconds of a clock that the test moves."""

    def __init__(self, **limits: float) -> None:
        self.clock = Clock()
        self.counted = Counted()
        self.receiver = Receiver()
        self.alerts = Alerts(
            Limits(**limits),  # type: ignore[arg-type]
            [self.receiver],
            source="here:1",
            clock=self.clock,
            monotonic=self.clock.monotonic,
            sample=self.counted,
        )

    def later(self, seconds: float = 30.0) -> list[tuple[str, str]]:
        """What was told so far, after time has passed."""
        for _ in range(max(1, int(seconds // 30))):
            self.clock.pass_by(min(30.0, seconds))
            self.alerts.judge()
        return self.receiver.states


def test_a_quiet_product_alerts_nobody() -> None:
    desk = Desk()
    desk.counted.add("turns_total", 1_000, status="done")
    desk.counted.add("turns_total", 50, status="failed")
    desk.counted.set("disk_percent", 90.0)

    assert desk.later(600) == []


def test_failed_turns_alert_and_the_end_is_told() -> None:
    desk = Desk()
    desk.counted.add("turns_total", 94, status="done")
    desk.counted.add("turns_total", 6, status="failed")

    assert desk.later() == [("error_rate", "firing")]
    assert desk.receiver.told[0].summary == "6.0% of turns failed, more than 5.0%."
    assert desk.alerts.firing[0].value == pytest.approx(0.06)

    assert desk.later(300)[-1] == ("error_rate", "recovered")
    assert desk.alerts.firing == []
    over = desk.receiver.told[-1]
    assert over.summary.startswith("Over: 6.0% of turns failed")
    assert over.began_at == START + timedelta(seconds=30)
    assert over.seconds == 300


def test_two_of_three_say_nothing() -> None:
    desk = Desk()
    desk.counted.add("turns_total", 1, status="done")
    desk.counted.add("turns_total", 2, status="failed")

    assert desk.later() == []


def test_what_was_counted_before_the_start_is_no_news() -> None:
    counted, receiver, clock = Counted(), Receiver(), Clock()
    counted.add("turns_total", 100, status="failed")
    alerts = Alerts(Limits(), [receiver], source="x", clock=clock, sample=counted)

    alerts.judge()

    assert receiver.told == []


def test_slow_turns_alert() -> None:
    desk = Desk()
    desk.counted.add("turns_total", 20, status="done")
    desk.counted.add("turns_slow_total", 2)

    assert desk.later() == [("slow_turns", "firing")]
    assert "30 s" in desk.receiver.told[0].summary


@pytest.mark.parametrize(
    ("gauge", "rule"),
    [
        ("process_cpu_percent", "cpu_use"),
        ("memory_percent", "memory_use"),
        ("disk_percent", "disk_use"),
    ],
)
def test_a_resource_alerts_by_its_mean_over_the_window(gauge: str, rule: str) -> None:
    desk = Desk(window=120.0)
    desk.counted.set(gauge, 50.0)
    desk.later(120)
    desk.counted.set(gauge, 99.0)

    assert desk.later(30) == []  # a moment is no trouble
    assert desk.later(120) == [(rule, "firing")]
    desk.counted.set(gauge, 10.0)
    assert desk.later(120)[-1] == (rule, "recovered")


def test_a_dependency_alerts_while_it_is_down_each_by_itself() -> None:
    desk = Desk()
    desk.counted.set("dependency_up", 0, name="model")
    desk.counted.set("dependency_up", 0, name="database")
    desk.later()
    desk.counted.set("dependency_up", 1, name="model")

    assert desk.later() == [
        ("service_unavailable/model", "firing"),
        ("service_unavailable/database", "firing"),
        ("service_unavailable/model", "recovered"),
    ]
    assert desk.receiver.told[0].severity is Severity.CRITICAL


@pytest.mark.parametrize(
    ("name", "labels", "key"),
    [
        ("breaker_opened_total", {"upstream": "shop"}, "breaker_opened/shop"),
        (
            "tool_calls_ambiguous_total",
            {"operation": "POST /refunds"},
            "ambiguous_writes/POST /refunds",
        ),
        (
            "errors_total",
            {"code": "DB_UNAVAILABLE", "severity": "critical", "place": "turn"},
            "critical_errors/DB_UNAVAILABLE",
        ),
        ("log_lines_dropped_total", {}, "telemetry_losses"),
        ("handler_failures_total", {"step": "log"}, "telemetry_losses"),
    ],
)
def test_what_must_never_happen_alerts_at_once(name: str, labels: dict[str, str], key: str) -> None:
    desk = Desk()
    desk.later()
    desk.counted.add(name, **labels)

    assert desk.later() == [(key, "firing")]
    assert desk.later(300)[-1] == (key, "recovered")


def test_errors_that_are_not_critical_do_not_alert_by_themselves() -> None:
    desk = Desk()
    desk.counted.add("errors_total", 50, code="VAL_X", severity="low", place="rest")

    assert desk.later() == []


def test_what_goes_on_is_told_once_and_again_after_a_while() -> None:
    desk = Desk(repeat=600.0)
    desk.counted.set("dependency_up", 0, name="model")

    assert desk.later(570) == [("service_unavailable/model", "firing")]
    assert desk.later(60) == [("service_unavailable/model", "firing")] * 2
    first, again = desk.receiver.told
    assert (first.began_at, first.key) == (again.began_at, again.key)


def test_no_secret_and_no_personal_data_is_told() -> None:
    desk = Desk()
    desk.counted.set("dependency_up", 0, name="https://u:hunter2@shop.test of ada@example.org")
    desk.later()

    assert "hunter2" not in desk.receiver.told[0].summary
    assert "ada@" not in desk.receiver.told[0].summary


def test_a_rule_that_breaks_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Window) -> Mapping[str, float]:
        raise ZeroDivisionError

    broken = Rule(name="broken", severity=Severity.LOW, threshold=0, words="", find=fail)
    monkeypatch.setattr(
        "smart_support.telemetry.alerts.rules", lambda limits: (broken, *rules(limits))
    )
    desk = Desk()
    desk.counted.set("dependency_up", 0, name="model")

    assert desk.later() == [("service_unavailable/model", "firing")]


@given(values=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=30))
def test_each_alert_begins_and_ends_in_turn(values: list[tuple[int, int]]) -> None:
    desk = Desk(window=60.0)
    for done, failed in values:
        desk.counted.add("turns_total", done, status="done")
        desk.counted.add("turns_total", failed, status="failed")
        desk.later()
    desk.later(120)

    states = [state for _, state in desk.receiver.states]
    assert states == ["firing", "recovered"] * (len(states) // 2)
    assert desk.alerts.firing == []
