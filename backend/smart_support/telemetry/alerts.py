"""Rules that look at what was counted, and who is told when one begins or ends to hold.

Each process judges what it has counted itself. For several, Prometheus with the rules of
`deploy/prometheus` sees them together.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol, TypeAlias

import structlog

from smart_support.errors import Severity
from smart_support.telemetry import metrics
from smart_support.telemetry.redaction import redacted

log = structlog.get_logger()

Labels: TypeAlias = tuple[tuple[str, str], ...]
Sample: TypeAlias = Mapping[tuple[str, Labels], float]
HISTORY = 200
MOST_SAMPLES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """An alert that began or ended. `key` is the same for both, and for every repetition."""

    key: str
    rule: str
    state: Literal["firing", "recovered"]
    severity: Severity
    summary: str
    value: float
    threshold: float
    began_at: datetime
    at: datetime
    source: str

    @property
    def seconds(self) -> float:
        """For how long it has held."""
        return (self.at - self.began_at).total_seconds()


class Receiver(Protocol):
    """Somebody who is told."""

    def tell(self, notice: Notice) -> None:
        """Take the notice; returns at once and never raises."""
        ...


class Window:
    """What was counted within the last `seconds`: counters as differences, gauges as they were."""

    def __init__(self, samples: Sequence[tuple[float, Sample]]) -> None:
        """`samples`: with their times in seconds, oldest first; at least one."""
        self._first, self._last = samples[0][1], samples[-1][1]
        self._samples = samples

    def increase(self, name: str, /, **labels: str) -> float:
        """By how much the counters of this name, with at least these labels, grew."""
        wanted = set(labels.items())
        return sum(
            max(0.0, value - self._first.get(key, 0.0))
            for key, value in self._last.items()
            if key[0] == name and wanted <= set(key[1])
        )

    def mean(self, name: str) -> float:
        """The mean of a gauge over the window."""
        values = [sample.get((name, ()), 0.0) for _, sample in self._samples]
        return sum(values) / len(values)

    def latest(self, name: str) -> Mapping[Labels, float]:
        """A gauge now, by its labels."""
        return {key[1]: value for key, value in self._last.items() if key[0] == name}

    def grown(self, name: str) -> Mapping[Labels, float]:
        """Which counters of this name grew, and by how much, by their labels."""
        grown = {
            key[1]: value - self._first.get(key, 0.0)
            for key, value in self._last.items()
            if key[0] == name
        }
        return {labels: value for labels, value in grown.items() if value > 0}


Found: TypeAlias = Mapping[str, float]
"""Subject ('' if there is only one) -> value, for all that the rule can judge just now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Holds where a value is above `threshold`. `words` has {subject}, {value}, {threshold}."""

    name: str
    severity: Severity
    threshold: float
    words: str
    find: Callable[[Window], Found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the rules go by. Shares are of 1, times in seconds."""

    window: float = 300.0
    error_rate: float = 0.05
    slow_turn: float = 30.0
    slow_share: float = 0.05
    resource_use: float = 0.9
    least_turns: int = 10
    repeat: float = 14_400.0


def rules(limits: Limits) -> Sequence[Rule]:
    """The rules of this product."""
    percent = limits.resource_use * 100

    def share(name: str, **labels: str) -> Callable[[Window], Found]:
        def find(window: Window) -> Found:
            turns = window.increase("smart_support_turns_total")
            if turns < limits.least_turns:
                return {}  # two of three says nothing
            return {"": window.increase(name, **labels) / turns}

        return find

    def mean(name: str) -> Callable[[Window], Found]:
        return lambda window: {"": window.mean(name)}

    return (
        Rule(
            name="error_rate",
            severity=Severity.HIGH,
            threshold=limits.error_rate,
            words="{value:.1%} of turns failed, more than {threshold:.1%}.",
            find=share("smart_support_turns_total", status="failed"),
        ),
        Rule(
            name="slow_turns",
            severity=Severity.MEDIUM,
            threshold=limits.slow_share,
            words=f"{{value:.1%}} of turns took longer than {limits.slow_turn:g} s.",
            find=share("smart_support_turns_slow_total"),
        ),
        Rule(
            name="cpu_use",
            severity=Severity.MEDIUM,
            threshold=percent,
            words="The process uses {value:.0f} % of a CPU, more than {threshold:.0f} %.",
            find=mean("smart_support_process_cpu_percent"),
        ),
        Rule(
            name="memory_use",
            severity=Severity.HIGH,
            threshold=percent,
            words="{value:.0f} % of the memory is in use, more than {threshold:.0f} %.",
            find=mean("smart_support_memory_percent"),
        ),
        Rule(
            name="disk_use",
            severity=Severity.CRITICAL,
            threshold=percent,
            words="{value:.0f} % of the disk is in use, more than {threshold:.0f} %.",
            find=mean("smart_support_disk_percent"),
        ),
        Rule(
            name="service_unavailable",
            severity=Severity.CRITICAL,
            threshold=0.0,
            words="{subject} is not available.",
            find=_down,
        ),
        Rule(
            name="breaker_opened",
            severity=Severity.HIGH,
            threshold=0.0,
            words="The circuit breaker of {subject} opened; its calls fail at once.",
            find=_labelled("smart_support_breaker_opened_total", "upstream"),
        ),
        Rule(
            name="ambiguous_writes",
            severity=Severity.CRITICAL,
            threshold=0.0,
            words="{value:.0f} calls of {subject} were sent and nobody knows whether they took "
            "effect. A person has to check them.",
            find=_labelled("smart_support_tool_calls_ambiguous_total", "operation"),
        ),
        Rule(
            name="critical_errors",
            severity=Severity.CRITICAL,
            threshold=0.0,
            words="{value:.0f} critical errors: {subject}.",
            find=_critical,
        ),
        Rule(
            name="telemetry_losses",
            severity=Severity.MEDIUM,
            threshold=0.0,
            words="{value:.0f} log lines or steps of the error handler were lost.",
            find=lambda window: {
                "": window.increase("smart_support_log_lines_dropped_total")
                + window.increase("smart_support_handler_failures_total")
            },
        ),
    )


def _down(window: Window) -> Found:
    found = window.latest("smart_support_dependency_up")
    return {dict(labels)["name"]: 1.0 - up for labels, up in found.items()}


def _labelled(name: str, label: str) -> Callable[[Window], Found]:
    return lambda window: {
        dict(labels)[label]: value for labels, value in window.grown(name).items()
    }


def _critical(window: Window) -> Found:
    found: dict[str, float] = {}
    for labels, value in window.grown("smart_support_errors_total").items():
        if (named := dict(labels))["severity"] == Severity.CRITICAL.value:
            found[named["code"]] = found.get(named["code"], 0.0) + value
    return found


@dataclass(slots=True)
class _Firing:
    notice: Notice
    told_at: float


class Alerts:
    """Judges the rules, each time it is asked to, and tells the receivers of what changed."""

    def __init__(
        self,
        limits: Limits,
        receivers: Sequence[Receiver],
        *,
        source: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        sample: Callable[[], Sample] = metrics.snapshot,
    ) -> None:
        """`source`: which process this is, for those who are told."""
        self._limits = limits
        self._rules = rules(limits)
        self._receivers = receivers
        self._source = source
        self._clock = clock
        self._monotonic = monotonic
        self._sample = sample
        self._samples: deque[tuple[float, Sample]] = deque(maxlen=MOST_SAMPLES)
        self._samples.append((monotonic(), sample()))  # what was before is no news
        self._firing: dict[str, _Firing] = {}
        self._history: deque[Notice] = deque(maxlen=HISTORY)

    @property
    def firing(self) -> Sequence[Notice]:
        """What holds now, oldest first."""
        return [each.notice for each in self._firing.values()]

    @property
    def history(self) -> Sequence[Notice]:
        """What began and ended, newest first, as far back as it is kept."""
        return list(reversed(self._history))

    def judge(self) -> None:
        """Take a sample and judge every rule by the window that ends now."""
        now = self._monotonic()
        self._samples.append((now, self._sample()))
        # One sample from before the window stays: differences need its beginning.
        while len(self._samples) > 2 and self._samples[1][0] <= now - self._limits.window:
            self._samples.popleft()
        window = Window(self._samples)
        for rule in self._rules:
            try:
                found = rule.find(window)
            except Exception:
                log.exception("alert_rule_crashed", rule=rule.name)
                continue
            self._judge(rule, found, now)

    def _judge(self, rule: Rule, found: Found, now: float) -> None:
        above = {subject: value for subject, value in found.items() if value > rule.threshold}
        known = {key for key, each in self._firing.items() if each.notice.rule == rule.name}
        for subject, value in above.items():
            self._hold(rule, subject, value, now)
        for key in known - {_key(rule, subject) for subject in above}:
            self._recover(rule, key, found)
        metrics.ALERTS_FIRING.labels(rule.name).set(len(above))

    def _hold(self, rule: Rule, subject: str, value: float, now: float) -> None:
        key, at = _key(rule, subject), self._clock()
        firing = self._firing.get(key)
        notice = Notice(
            key=key,
            rule=rule.name,
            state="firing",
            severity=rule.severity,
            summary=redacted(
                rule.words.format(subject=subject, value=value, threshold=rule.threshold)
            ),
            value=value,
            threshold=rule.threshold,
            began_at=firing.notice.began_at if firing else at,
            at=at,
            source=self._source,
        )
        if firing is not None and now - firing.told_at < self._limits.repeat:
            firing.notice = notice
            return
        self._firing[key] = _Firing(notice, now)
        self._tell(notice)

    def _recover(self, rule: Rule, key: str, found: Found) -> None:
        before = self._firing.pop(key).notice
        subject = key.removeprefix(rule.name).removeprefix("/")
        self._tell(
            Notice(
                key=key,
                rule=rule.name,
                state="recovered",
                severity=rule.severity,
                summary=f"Over: {before.summary}",
                value=found.get(subject, 0.0),
                threshold=rule.threshold,
                began_at=before.began_at,
                at=self._clock(),
                source=self._source,
            )
        )

    def _tell(self, notice: Notice) -> None:
        self._history.append(notice)
        level = "info" if notice.state == "recovered" else "error"
        getattr(log, level)(
            f"alert_{notice.state}",
            rule=notice.rule,
            key=notice.key,
            severity=notice.severity.value,
            summary=notice.summary,
            seconds=round(notice.seconds, 1),
        )
        for receiver in self._receivers:
            receiver.tell(notice)


def _key(rule: Rule, subject: str) -> str:
    return f"{rule.name}/{subject}" if subject else rule.name
