"""What is counted and measured, for Prometheus and as JSON.

Labels come from our code and from the approved catalogue, never from what somebody sent; those
that could grow all the same go through `Bounded`.

With several worker processes on one machine, PROMETHEUS_MULTIPROC_DIR is set before they start
(`for_several_workers`): each then keeps its numbers there, and any of them answers for all.
"""

import asyncio
import functools
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from smart_support.telemetry.debug import DEBUG

log = structlog.get_logger()
Function = TypeVar("Function", bound=Callable[..., Any])

REGISTRY = CollectorRegistry()
SEVERAL_WORKERS = "PROMETHEUS_MULTIPROC_DIR"
OTHER = "other"
MOST_LABELS = 200
LONGEST_LABEL = 120

_FAST = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)
_CALLS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_TURNS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 180.0)
_PEOPLE = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0)


def _counter(name: str, meaning: str, *labels: str) -> Counter:
    return Counter(f"smart_support_{name}", meaning, labels, registry=REGISTRY)


def _gauge(name: str, meaning: str, *labels: str, over_workers: str = "livesum") -> Gauge:
    return Gauge(
        f"smart_support_{name}",
        meaning,
        labels,
        registry=REGISTRY,
        multiprocess_mode=cast("Any", over_workers),
    )


def _seconds(name: str, meaning: str, *labels: str, buckets: Iterable[float] = _CALLS) -> Histogram:
    return Histogram(
        f"smart_support_{name}_seconds", meaning, labels, registry=REGISTRY, buckets=tuple(buckets)
    )


ERRORS = _counter("errors", "Errors that passed the handler", "code", "severity", "place")
ERROR_HANDLING = _seconds("error_handling", "Time the handler took for one error", buckets=_FAST)
HANDLER_FAILURES = _counter("handler_failures", "Steps of the handler that failed", "step")
RECOVERIES = _counter("recoveries", "Registered recoveries that were run", "name", "outcome")

TURNS = _counter("turns", "Runs of turns that ended", "status")
TURN_SECONDS = _seconds("turn", "From the beginning of a run of a turn to its end", buckets=_TURNS)
FIRST_TOKEN = _seconds("first_token", "Until the first words of an answer", buckets=_TURNS)
TURNS_SLOW = _counter("turns_slow", "Turns that took longer than the alert's limit")
MODEL_CALLS = _counter("model_calls", "Calls of the model in turns that ended")
MODEL_TOKENS = _counter("model_tokens", "Tokens of the model", "direction")
MODEL_COST = _counter("model_cost", "Cost of the model's tokens, in the unit of the price setting")
MESSAGES = _counter("messages", "Messages taken in", "status")
HANDOFFS = _counter("handoffs", "Conversations for which a person was asked", "by")

TOOL_CALLS = _counter("tool_calls", "Tool calls that ended", "operation", "outcome")
TOOL_ATTEMPTS = _counter("tool_attempts", "HTTP requests of tool calls", "operation", "outcome")
ATTEMPT_SECONDS = _seconds("tool_attempt", "One HTTP request of a tool call", "operation")
TOOL_RETRIES = _counter("tool_retries", "Attempts after the first", "operation")
AMBIGUOUS = _counter("tool_calls_ambiguous", "Calls whose outcome nobody knows", "operation")
RETRY_BUDGET = _gauge("retry_budget", "Retries that an upstream has left", "upstream")
RETRIES_REFUSED = _counter(
    "retries_refused", "Retries that were not made since too many had been", "upstream"
)
BREAKER = _gauge(
    "breaker_state", "0 closed, 1 half open, 2 open", "upstream", over_workers="livemax"
)
BREAKER_OPENED = _counter("breaker_opened", "Times that a breaker opened", "upstream")

APPROVALS = _counter("approvals", "Questions for a yes, by what became of them", "decision")
APPROVAL_SECONDS = _seconds("approval", "From the question to its answer", buckets=_PEOPLE)

SOCKETS = _gauge("sockets", "Chat sockets that are open")
FOLLOWED = _gauge("threads_followed", "Threads that somebody of this process follows")
QUEUE_DEPTH = _gauge("queue_depth", "Messages that wait for a turn", over_workers="livemax")
TURNS_RUNNING = _gauge("turns_running", "Turns that are being answered")
TURNS_WAITING = _gauge("turns_waiting", "Turns that wait until one of those is done")
TURNS_AT_ONCE = _gauge("turns_at_once", "Turns that may be answered at once now")
TURN_WAITED = _seconds("turn_waited", "Until a turn could be answered", buckets=_TURNS)
TURNS_REFUSED = _counter("turns_refused", "Messages refused since too many turns waited")
RATE_LIMITED = _counter("rate_limited", "Refusals for asking too often", "place")
POOL_IN_USE = _gauge("db_pool_in_use", "Database connections in use")
POOL_SIZE = _gauge("db_pool_size", "Database connections that may be open")

CPU_PERCENT = _gauge("process_cpu_percent", "CPU of this process", over_workers="liveall")
MEMORY_BYTES = _gauge("process_memory_bytes", "Resident memory", over_workers="liveall")
MEMORY_PERCENT = _gauge("memory_percent", "Memory of the machine in use", over_workers="livemax")
DISK_PERCENT = _gauge("disk_percent", "Disk of the data folder in use", over_workers="livemax")
DESCRIPTORS = _gauge("process_open_fds", "Open file descriptors", over_workers="liveall")
TASKS = _gauge("process_tasks", "Tasks of the event loop", over_workers="liveall")
LOOP_LAG = _gauge("loop_lag_seconds", "How late the event loop woke", over_workers="livemax")
DEPENDENCY_UP = _gauge(
    "dependency_up", "1 if it was well last time", "name", over_workers="livemin"
)
ALERTS_FIRING = _gauge("alerts_firing", "Alerts that are firing", "rule", over_workers="livemax")
ALERTS_SENT = _counter("alert_notices", "Notices by receiver and outcome", "receiver", "outcome")
LOG_DROPPED = _counter("log_lines_dropped", "Log lines that found no room in the queue")

CODE_SECONDS = _seconds("code", "Named pieces of our code", "name", "outcome", buckets=_FAST)


class Bounded:
    """Label values of a kind that could grow: after `most` different ones, each new is `other`."""

    def __init__(self, most: int = MOST_LABELS) -> None:
        self._most = most
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, value: str | None) -> str:
        """The label for `value`."""
        if not value:
            return OTHER
        text = value[:LONGEST_LABEL]
        if text in self._known:
            return text
        with self._lock:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(text)
        return text


operation_label = Bounded()
upstream_label = Bounded()
code_label = Bounded(500)


class timed:  # noqa: N801 - read as a word: `with timed("import")`, `@timed("import")`
    """Measure a named piece of code: `with`, `async with`, or a decorator of either kind.

    `name` is a constant of the code. `seconds` is known at the end.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.seconds = 0.0
        self._began = 0.0

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.seconds = time.perf_counter() - self._began
        outcome = "done" if error is None else "stopped" if _stopped(error) else "failed"
        CODE_SECONDS.labels(self.name, outcome).observe(self.seconds)
        if DEBUG.covers_here():
            log.debug(
                "timed",
                name=self.name,
                outcome=outcome,
                ms=round(self.seconds * 1000, 3),
                memory_mb=round(memory_bytes() / 1e6, 1),
            )

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self, function: Function) -> Function:
        name = self.name
        if asyncio.iscoroutinefunction(function):

            @functools.wraps(function)
            async def measured_async(*args: Any, **kwargs: Any) -> Any:
                with timed(name):
                    return await function(*args, **kwargs)

            return cast("Function", measured_async)

        @functools.wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            with timed(name):
                return function(*args, **kwargs)

        return cast("Function", measured)


def _stopped(error: BaseException) -> bool:
    return not isinstance(error, Exception)


def memory_bytes() -> int:
    """Resident memory of this process, in bytes; 0 where the system does not say."""
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


_STATM = Path("/proc/self/statm")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def _registry() -> CollectorRegistry:
    """Where the numbers of all worker processes are."""
    if not os.environ.get(SEVERAL_WORKERS):
        return REGISTRY
    merged = CollectorRegistry()
    MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
    return merged


def exposition(accept: str | None = None) -> tuple[bytes, str]:
    """Everything in Prometheus' text form or in OpenMetrics', as `accept` asks; and its type."""
    encode, content_type = choose_encoder(accept or "")
    return encode(_registry()), content_type


def as_json() -> list[dict[str, Any]]:
    """Everything as plain data: name, kind, meaning, and each sample with its labels."""
    return [_plain(family) for family in _registry().collect()]


def _plain(family: Metric) -> dict[str, Any]:
    return {
        "name": family.name,
        "type": family.type,
        "help": family.documentation,
        "samples": [
            {"name": sample.name, "labels": dict(sample.labels), "value": sample.value}
            for sample in family.samples
            if not sample.name.endswith("_created")
        ],
    }


def snapshot() -> Mapping[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The counters and gauges of this process alone, by name and sorted labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_created"))
    }


def for_several_workers(folder: Path) -> Mapping[str, str]:
    """Make an empty folder for the numbers of workers; what their environment must have."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return {SEVERAL_WORKERS: str(folder)}


def worker_ended(pid: int, folder: Path) -> None:
    """Forget the gauges of a worker process that is gone; counters keep what it counted."""
    mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
