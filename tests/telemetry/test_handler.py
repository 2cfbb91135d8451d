"""The one handler: it names, logs, counts and tells, and nothing that it meets can hurt it."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, get_args

import httpx
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from tests.support.server import logged

from smart_support.cli.catalogue import all_errors
from smart_support.errors import (
    DatabaseUnavailable,
    Family,
    InternalError,
    NotFound,
    RateLimited,
    Severity,
    SupportError,
)
from smart_support.resilience.upstream_errors import UpstreamAuth, error_of_upstream
from smart_support.telemetry import metrics
from smart_support.telemetry.debug import DEBUG
from smart_support.telemetry.handler import (
    LONGEST_TEXT,
    ErrorContext,
    ErrorHandler,
    Place,
    Remedy,
    safe_text,
)

HERE = ErrorContext(place="job", operation="test")


def counted(code: str, place: str = "job") -> float:
    return sum(
        value
        for (name, labels), value in metrics.snapshot().items()
        if name == "smart_support_errors_total"
        and dict(labels)["code"] == code
        and dict(labels)["place"] == place
    )


def failures(step: str) -> float:
    labels = (("step", step),)
    return metrics.snapshot().get(("smart_support_handler_failures_total", labels), 0.0)


class Unspeakable(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("not even this")


@pytest.mark.parametrize("place", get_args(Place))
def test_says_counts_and_logs_a_known_error(place: Place) -> None:
    before = counted("VAL_NOT_FOUND", place)

    with logged() as lines:
        handled = ErrorHandler().handle(
            NotFound("thread t9"),
            ErrorContext(
                place=place, operation="GET /x", correlation_id="c1", user_id="ada", attempt=2
            ),
        )

    assert (handled.code, handled.status, handled.message) == (
        "VAL_NOT_FOUND",
        404,
        "I could not find that.",
    )
    assert counted("VAL_NOT_FOUND", place) == before + 1
    (line,) = lines
    assert line["error"] == "thread t9"
    assert (line["correlation_id"], line["user_id"], line["attempt"]) == ("c1", "ada", 2)
    assert line["operation"] == "GET /x"
    assert not line.get("exc_info")


def test_says_nothing_of_what_nobody_foresaw_and_logs_all_of_it() -> None:
    with logged() as lines:
        handled = ErrorHandler().handle(KeyError("db7.internal"), HERE)

    assert handled.code == "SYS_INTERNAL"
    assert "db7" not in handled.message
    assert lines[0]["event"] == "job_crashed"
    assert isinstance(lines[0]["exc_info"], KeyError)


def test_takes_from_what_is_bound_whose_error_it_is() -> None:
    bound = {"correlation_id": "c7", "thread_id": "t7", "turn_id": "u7"}

    with structlog.contextvars.bound_contextvars(**bound), logged() as lines:
        handled = ErrorHandler().handle(NotFound("x"), HERE)

    assert handled.correlation_id == "c7"
    assert {name: lines[0][name] for name in bound} == bound


def test_names_what_other_libraries_raise() -> None:
    handler = ErrorHandler()
    handler.map(error_of_upstream)
    request = httpx.Request("GET", "http://shop.test/orders?email=ada@example.org")
    refusal = httpx.HTTPStatusError(
        "no", request=request, response=httpx.Response(401, request=request)
    )

    assert handler.handle(refusal, HERE).code == UpstreamAuth.code
    assert handler.handle(httpx.ConnectError("x"), HERE).code == "API_UNREACHABLE"
    assert handler.handle(httpx.ReadTimeout("x"), HERE).code == "API_TIMEOUT"


def test_a_mapper_that_breaks_hides_nothing() -> None:
    def broken(_: BaseException) -> SupportError:
        raise ZeroDivisionError

    handler = ErrorHandler()
    handler.map(broken)
    handler.map(error_of_upstream)
    before = failures("map")

    assert handler.handle(httpx.ConnectError("x"), HERE).code == "API_UNREACHABLE"
    assert failures("map") == before + 1


class TestBadExceptions:
    def test_one_whose_text_cannot_be_had(self) -> None:
        with logged() as lines:
            handled = ErrorHandler().handle(Unspeakable(), HERE)

        assert handled.code == "SYS_INTERNAL"
        assert lines[0]["error"] == "(its text cannot be had)"

    def test_one_of_ours_whose_text_cannot_be_had(self) -> None:
        class Mute(NotFound, Unspeakable):
            pass

        assert ErrorHandler().handle(Mute(), HERE).code == "VAL_NOT_FOUND"

    def test_one_with_a_megabyte_of_text(self) -> None:
        with logged() as lines:
            ErrorHandler().handle(NotFound("x" * 2**20), HERE)

        assert len(lines[0]["error"]) < LONGEST_TEXT + 50
        assert "1048576 characters" in lines[0]["error"]

    def test_a_group_is_as_bad_as_its_worst(self) -> None:
        group = ExceptionGroup(
            "several",
            [NotFound("a"), ExceptionGroup("deeper", [DatabaseUnavailable("b"), NotFound("c")])],
        )

        with logged() as lines:
            handled = ErrorHandler().handle(group, HERE)

        assert handled.code == "DB_UNAVAILABLE"
        assert lines[0]["errors"] == ["a", "b", "c"]

    def test_a_group_with_something_unforeseen_is_unforeseen(self) -> None:
        group = ExceptionGroup("several", [DatabaseUnavailable("a"), KeyError("b")])

        assert ErrorHandler().handle(group, HERE).code == "SYS_INTERNAL"

    def test_a_group_of_ten_thousand_in_depth_of_five_hundred(self) -> None:
        group: Exception = NotFound("at the bottom")
        for _ in range(500):
            group = ExceptionGroup("down", [group])
        wide = ExceptionGroup("wide", [group, *(KeyError(n) for n in range(10_000))])

        assert ErrorHandler().handle(wide, HERE).code == "SYS_INTERNAL"

    @pytest.mark.parametrize("order", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
    def test_an_order_to_stop_is_no_error(self, order: type[BaseException]) -> None:
        with pytest.raises(order):
            ErrorHandler().handle(order(), HERE)
        with pytest.raises(order):
            ErrorHandler().handle(BaseExceptionGroup("x", [order(), NotFound("y")]), HERE)


@given(text=st.text(max_size=50), wait=st.none() | st.floats() | st.text(max_size=3) | st.binary())
def test_whatever_an_error_of_ours_says_is_handled(text: str, wait: Any) -> None:
    class Odd(NotFound):
        retry_after = wait

    with logged():
        handled = ErrorHandler().handle(Odd(text), HERE)

    assert handled.code == "VAL_NOT_FOUND"
    assert handled.retry_after is None or isinstance(handled.retry_after, float)


@contextlib.contextmanager
def broken(target: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(target, name, fail)
        yield


@pytest.mark.parametrize(
    ("target", "name", "step"),
    [
        (metrics.ERRORS, "labels", "count"),
        (metrics.ERROR_HANDLING, "observe", "count"),
        ("smart_support.telemetry.handler.tracing", "note_error", "trace"),
        ("smart_support.telemetry.handler", "_log", "log"),
    ],
)
def test_a_step_that_fails_does_not_hurt_the_answer(
    monkeypatch: pytest.MonkeyPatch, target: Any, name: str, step: str
) -> None:
    before = failures(step)
    if isinstance(target, str):
        parent, _, last = target.rpartition(".")
        module = __import__(parent, fromlist=[last])
        target = getattr(module, last)

    with broken(target, name, monkeypatch):
        handled = ErrorHandler().handle(RateLimited(2.0), HERE)

    assert (handled.code, handled.retry_after) == ("RATE_LIMITED", 2.0)
    assert failures(step) == before + 1


class TestCallbacks:
    async def test_are_told_by_class_and_by_family(self) -> None:
        told: list[str] = []
        handler = ErrorHandler()

        def teller(name: str) -> Any:
            async def tell(error: SupportError, context: ErrorContext) -> None:
                told.append(f"{name} {error.code} {context.operation}")

            return tell

        handler.on(NotFound, teller("class"))
        handler.on(Family.VAL, teller("family"))
        handler.on(Family.DB, teller("other"))
        handler.on(SupportError, teller("all"))
        async with handler.running():
            handler.handle(NotFound("x"), HERE)
            await handler.idle()

        assert sorted(told) == [
            "all VAL_NOT_FOUND test",
            "class VAL_NOT_FOUND test",
            "family VAL_NOT_FOUND test",
        ]

    async def test_one_that_fails_or_hangs_hurts_nobody(self) -> None:
        told: list[str] = []
        handler = ErrorHandler(callback_seconds=0.05)

        async def fail(_error: SupportError, _context: ErrorContext) -> None:
            raise Unspeakable

        async def hang(_error: SupportError, _context: ErrorContext) -> None:
            await asyncio.Event().wait()

        async def tell(error: SupportError, _context: ErrorContext) -> None:
            told.append(error.code)

        for work in (fail, hang, tell):
            handler.on(SupportError, work)
        async with handler.running():
            for _ in range(20):
                assert handler.handle(NotFound("x"), HERE).code == "VAL_NOT_FOUND"
            await handler.idle()

        assert told == ["VAL_NOT_FOUND"] * 20

    async def test_a_flood_is_cut_and_counted(self) -> None:
        handler = ErrorHandler()
        gate = asyncio.Event()

        async def slow(_error: SupportError, _context: ErrorContext) -> None:
            await gate.wait()

        handler.on(NotFound, slow)
        before = failures("queue")
        async with handler.running():
            for _ in range(1_100):
                handler.handle(NotFound("x"), HERE)
            gate.set()
            await handler.idle()

        assert failures("queue") - before >= 100 - 4

    async def test_a_recovery_is_run_and_counted(self) -> None:
        degraded: list[str] = []
        handler = ErrorHandler()

        async def degrade(error: SupportError, _context: ErrorContext) -> None:
            degraded.append(error.code)

        handler.recover(Family.DB, Remedy.DEGRADE, degrade)
        with logged() as lines:
            async with handler.running():
                handler.handle(DatabaseUnavailable("x"), HERE)
                await handler.idle()

        assert degraded == ["DB_UNAVAILABLE"]
        assert [line["recovery"] for line in lines if line["event"] == "recovery_run"] == [
            "degrade"
        ]

    async def test_leave_no_task_behind(self) -> None:
        before = asyncio.all_tasks()
        handler = ErrorHandler()

        async def hang(_error: SupportError, _context: ErrorContext) -> None:
            await asyncio.Event().wait()

        handler.on(SupportError, hang)
        async with handler.running():
            handler.handle(NotFound("x"), HERE)
            await asyncio.sleep(0)

        assert asyncio.all_tasks() == before
        assert handler.handle(NotFound("x"), HERE).code == "VAL_NOT_FOUND"


class TestGuarding:
    async def test_a_job_goes_on_after_its_errors(self) -> None:
        before = counted("SYS_INTERNAL")

        with ErrorHandler().guarding(HERE):
            raise ZeroDivisionError

        assert counted("SYS_INTERNAL") == before + 1

    async def test_a_job_can_be_stopped(self) -> None:
        with pytest.raises(asyncio.CancelledError), ErrorHandler().guarding(HERE):
            raise asyncio.CancelledError


def test_debug_mode_shows_where_a_known_error_came_from() -> None:
    DEBUG.switch(whole=False, threads=["t1"])
    try:
        with logged() as lines:
            ErrorHandler().handle(NotFound("x"), ErrorContext(place="turn", thread_id="t1"))
            ErrorHandler().handle(NotFound("x"), ErrorContext(place="turn", thread_id="t2"))
    finally:
        DEBUG.switch(whole=False)

    assert [bool(line.get("exc_info")) for line in lines] == [True, False]


@pytest.mark.parametrize("severity", Severity)
def test_every_severity_has_a_level(severity: Severity) -> None:
    class Odd(InternalError):
        pass

    Odd.severity = severity
    with logged() as lines:
        ErrorHandler().handle(Odd(), HERE)

    assert lines[0]["severity"] == severity.value


def test_no_error_of_the_catalogue_is_too_odd_for_its_own_page() -> None:
    for kind in all_errors():
        assert kind.operator_hint()
        assert safe_text(kind.__new__(kind))
