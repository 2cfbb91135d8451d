"""Errors of no conversation: each counted once, stored when that is possible, and not for ever."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.turns import Clock

from smart_support.analytics import outside_postgres
from smart_support.analytics.outside_postgres import KEPT_DAYS, OutsideErrors
from smart_support.analytics.tables import outside_errors
from smart_support.database import Sessions
from smart_support.errors import (
    DatabaseUnavailable,
    InternalError,
    InvalidInput,
    NotAllowed,
    SupportError,
)
from smart_support.telemetry.handler import ErrorContext, ErrorHandler, Place

KINDS: dict[str, Callable[[], SupportError]] = {
    InternalError.code: InternalError,
    InvalidInput.code: lambda: InvalidInput("no"),
    NotAllowed.code: lambda: NotAllowed("no"),
}


def opened(sessions: Sessions, clock: Clock | None = None) -> tuple[OutsideErrors, Clock]:
    clock = clock or Clock()
    return OutsideErrors(sessions, clock=clock), clock


def context(place: Place = "rest", operation: str = "GET /x", id_: str = "c") -> ErrorContext:
    return ErrorContext(place=place, operation=operation, correlation_id=id_)


async def counted(outside: OutsideErrors, clock: Clock, hours: float = 48.0) -> dict[str, int]:
    span = timedelta(hours=hours)
    found = await outside.summary(clock.now - span, clock.now + timedelta(hours=1))
    return {each.code: each.errors for each in found.by_code}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.sampled_from([*KINDS]),
            st.just("store"),
            st.just("refuse"),
            st.integers(1, 7_200).map(lambda seconds: timedelta(seconds=seconds)),
        ),
        max_size=30,
    )
)
async def test_every_error_is_counted_once_whatever_cannot_be_stored_when(
    sessions: Sessions, steps: list[Any]
) -> None:
    outside, clock = opened(sessions)
    async with sessions.begin() as session:  # of the example before
        await session.execute(sa.delete(outside_errors))
    expected: dict[str, int] = {}
    for step in steps:
        if isinstance(step, timedelta):
            clock.pass_by(step.total_seconds())
        elif step == "store":
            await outside.store()
        elif step == "refuse":
            await store_in_vain(outside)
        else:
            outside.count(KINDS[step](), context())
            expected[step] = expected.get(step, 0) + 1
    await outside.store()

    assert await counted(outside, clock, hours=24 * 14) == expected


async def store_in_vain(outside: OutsideErrors) -> None:
    async def refuse(_: object) -> None:
        raise DatabaseUnavailable("away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outside, "_store", refuse)
        await outside.store()


async def test_two_processes_add_up_and_the_last_one_is_named(sessions: Sessions) -> None:
    one, clock = opened(sessions)
    other, _ = opened(sessions, clock)
    start = clock.now
    for at, outside in enumerate((one, other, one)):
        clock.pass_by(1)
        outside.count(NotAllowed("no"), context("socket", "send", f"c-{at}"))
    await one.store()
    await other.store()
    clock.pass_by(1)
    one.count(NotAllowed("no"), context("job", "sweep", "c-9"))
    await one.store()

    found = await one.summary(start, clock.now + timedelta(hours=1))

    (code,) = found.by_code
    assert (code.code, code.errors, code.last_correlation_id) == (NotAllowed.code, 4, "c-9")
    assert code.last_at == clock.now
    assert [(each.place, each.operation, each.errors) for each in found.by_place] == [
        ("socket", "send", 3),
        ("job", "sweep", 1),
    ]


async def test_those_of_conversations_are_left_to_their_log(sessions: Sessions) -> None:
    outside, clock = opened(sessions)

    for place in ("turn", "tool"):
        outside.count(InternalError(), context(place))
    await outside.store()

    assert await counted(outside, clock) == {}


async def test_a_flood_of_different_ones_keeps_to_its_room(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside_postgres, "MOST_WAITING", 10)
    outside, clock = opened(sessions)

    for number in range(100):
        outside.count(InternalError(), context(operation=f"GET /{number}"))
    await outside.store()

    found = await outside.summary(clock.now, clock.now + timedelta(hours=1))
    assert [each.errors for each in found.by_code] == [100]
    assert len(found.by_place) == 11


async def test_what_is_old_goes(sessions: Sessions) -> None:
    outside, clock = opened(sessions)
    outside.count(InternalError(), context())
    await outside.store()
    long_ago = clock.now
    clock.pass_by(timedelta(days=KEPT_DAYS, hours=2).total_seconds())
    await outside.store()

    found = await outside.summary(long_ago, long_ago + timedelta(hours=1))

    assert found.by_code == ()


async def test_is_counted_by_the_handler_and_costs_it_nothing(sessions: Sessions) -> None:
    outside, clock = opened(sessions, Clock())
    errors = ErrorHandler()

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    errors.count_with(outside.count)
    errors.count_with(fail)

    handled = errors.handle(KeyError("x"), context("cli", "serve"))
    await outside.store()

    assert handled.code == InternalError.code
    assert await counted(outside, clock) == {InternalError.code: 1}


def test_an_hour_begins_at_its_full_hour() -> None:
    at = datetime(2026, 3, 1, 9, 59, 59, 999_999, tzinfo=UTC)

    assert outside_postgres._hour(at) == datetime(2026, 3, 1, 9, tzinfo=UTC)
