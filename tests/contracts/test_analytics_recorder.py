"""What every AnalyticsRecorder promises."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import zip_longest

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.contracts.conftest import Kind, in_memory, in_postgres
from tests.support.consumers import PostgresLogs
from tests.support.histories import (
    abandoned,
    answered,
    asked,
    attempt,
    batches,
    called,
    closed,
    companies,
    decided,
    events_of,
    finished,
    handoff,
    message,
    opened,
    parked,
    resolved,
    returned,
    thread_id,
)
from tests.support.tiles import activity_tiles, cohort_tiles

from smart_support.analytics.listings import Counted, Listing, Selection
from smart_support.analytics.records import (
    LONGEST_SERIES,
    ApprovalFigures,
    Bucket,
    Cohort,
    OperationFigures,
    widen,
)
from smart_support.errors import InvalidInput
from smart_support.events.records import Event, Fact, ThreadId

DAY = datetime(2026, 3, 2, tzinfo=UTC)
NEXT_DAY = DAY + timedelta(days=1)
HOUR = timedelta(hours=1)


async def tell(
    kind: Kind, number: int, facts: list[Fact], at: datetime = DAY, step: float = 1.0
) -> ThreadId:
    name = thread_id(number)
    await kind.recorder.apply({name: events_of(name, facts, at, step)})
    return name


async def test_an_empty_range_has_no_rates(kind: Kind) -> None:
    cohort = await kind.recorder.cohort(DAY, NEXT_DAY)
    activity = await kind.recorder.activity(DAY, NEXT_DAY)

    assert cohort == Cohort(
        conversations=0,
        handled=0,
        resolved=0,
        resolved_alone=0,
        handed_off=0,
        abandoned=0,
        reopened=0,
        answered=0,
        handoff_reasons={},
        median_first_reply_ms=None,
    )
    assert cohort.auto_resolution_rate is None
    assert cohort.handoff_rate is None
    assert activity.response.median_ms is None
    assert activity.mean_turn_ms is None
    assert activity.operations == ()


async def test_rates_are_of_the_conversations_opened_in_the_range(kind: Kind) -> None:
    await tell(kind, 1, [*answered(), resolved()])
    await tell(kind, 2, [*answered(), handoff(reason="tool_failure"), resolved()], step=3)
    await tell(kind, 3, [*answered(), abandoned()], step=5)
    await tell(kind, 4, [message(), opened(), handoff(reason="customer_request"), closed()])
    await tell(kind, 5, [message(), resolved()])
    await tell(kind, 6, [*answered(), resolved(), message("t2")])
    await tell(kind, 7, [*answered(), resolved()], at=DAY - HOUR)
    await tell(kind, 8, [*answered(), resolved()], at=NEXT_DAY)

    cohort = await kind.recorder.cohort(DAY, NEXT_DAY)

    assert cohort == Cohort(
        conversations=6,
        handled=5,
        resolved=3,
        resolved_alone=1,
        handed_off=2,
        abandoned=1,
        reopened=1,
        answered=4,
        handoff_reasons={"customer_request": 1, "tool_failure": 1},
        median_first_reply_ms=2000,
    )
    assert cohort.auto_resolution_rate == 1 / 5
    assert cohort.handoff_rate == 2 / 5


async def test_a_conversation_counts_where_it_was_opened_and_its_events_where_they_were(
    kind: Kind,
) -> None:
    await tell(kind, 1, [*answered(), resolved()], at=DAY - HOUR, step=3600 / 4)

    cohorts = [await kind.recorder.cohort(start, start + HOUR) for start in (DAY - HOUR, DAY)]
    before, after = [
        await kind.recorder.activity(start, start + HOUR) for start in (DAY - HOUR, DAY)
    ]

    assert [(cohort.conversations, cohort.resolved_alone) for cohort in cohorts] == [(1, 1), (0, 0)]
    assert (before.opened, before.replies, before.resolved) == (1, 1, 0)
    assert (after.opened, after.resolved, after.turns_done) == (0, 1, 0)


async def test_counts_tool_calls_by_operation(kind: Kind) -> None:
    facts: list[Fact] = [message(), opened()]
    for number, outcome in enumerate(("done", "done", "failed", "unknown", "declined")):
        call = f"c{number}"
        facts += [called(call=call), attempt(call=call), returned(call=call, outcome=outcome)]
    facts += [called(call="x", operation="createRefund")]
    facts += [attempt(call="x", number=n, duration_ms=100 * n) for n in (1, 2, 3)]
    facts += [called(call="y", operation=None)]
    await tell(kind, 1, facts)

    refund, order, own = (await kind.recorder.activity(DAY, NEXT_DAY)).operations

    assert order == OperationFigures(
        operation="getOrder",
        calls=5,
        done=2,
        failed=1,
        declined=1,
        unknown=1,
        attempts=5,
        retries=0,
        mean_attempt_ms=12,
    )
    assert (order.error_rate, order.retries_per_call) == (2 / 4, 0)
    assert (refund.operation, refund.calls, refund.attempts) == ("createRefund", 1, 3)
    assert (refund.error_rate, refund.retries_per_call) == (None, 2)
    assert refund.mean_attempt_ms == 200
    assert (own.operation, own.calls) == ("get_order", 1)


async def test_counts_approvals(kind: Kind) -> None:
    facts: list[Fact] = [message(), opened()]
    for number, decision in enumerate(("approved", "approved", "rejected", "expired", None)):
        call = f"c{number}"
        facts += [called(call=call), asked(call=call)]
        facts += [decided(call=call, decision=decision)] if decision else []
    await tell(kind, 1, facts)

    activity = await kind.recorder.activity(DAY, NEXT_DAY)

    assert activity.approvals == ApprovalFigures(asked=5, approved=2, rejected=1, expired=1)


async def test_counts_turns_and_what_they_took(kind: Kind) -> None:
    await tell(
        kind,
        1,
        [
            message("t1"),
            opened("t1"),
            closed("t1", status="failed", code="MODEL_UNAVAILABLE", first_token_ms=None),
            message("t2"),
            opened("t2"),
            closed("t2", status="cancelled", duration_ms=100, first_token_ms=50),
            message("t3"),
            opened("t3"),
            parked("t3"),
            opened("t3", run=2),
            finished("t3"),
            closed("t3", run=2, duration_ms=500, first_token_ms=150),
        ],
    )

    activity = await kind.recorder.activity(DAY, NEXT_DAY)

    assert (activity.messages, activity.replies) == (3, 1)
    assert (activity.turns, activity.turns_done, activity.turns_cancelled) == (3, 1, 1)
    assert activity.turns_failed == {"MODEL_UNAVAILABLE": 1}
    assert activity.mean_turn_ms == (900 + 100 + 500) / 3
    assert activity.mean_first_token_ms == (50 + 150) / 2
    assert (activity.input_tokens, activity.output_tokens) == (360, 90)


async def test_response_time_ends_with_an_answer_or_a_question(kind: Kind) -> None:
    for number, seconds in enumerate((1, 2, 3, 4, 100), start=1):
        await tell(kind, number, [message(), finished(), closed()], step=seconds)
    await tell(kind, 6, [message(), parked(), finished()], step=3)
    await tell(kind, 7, [message(), closed(status="failed", code="X")], step=50)

    response = (await kind.recorder.activity(DAY, NEXT_DAY)).response

    assert response.answered == 6
    assert response.median_ms == pytest.approx(3_000, rel=0.025)
    assert response.p95_ms == pytest.approx(100_000, rel=0.025)


async def test_widens_a_range_to_whole_hours(kind: Kind) -> None:
    await tell(kind, 1, answered(), at=DAY + timedelta(minutes=50))
    start, end = DAY + timedelta(minutes=55), DAY + timedelta(minutes=56)

    assert widen(start, end) == (DAY, DAY + HOUR)
    assert (await kind.recorder.cohort(start, end)).conversations == 1
    assert (await kind.recorder.activity(start, end)).opened == 1
    [point] = await kind.recorder.series(start, end, "day")
    assert (point.start, point.end, point.activity.opened) == (DAY, DAY + HOUR, 1)
    listed = await kind.recorder.counted(
        Selection(listing=Listing.CONVERSATIONS, start=start, end=end)
    )
    assert listed.total == 1


async def test_takes_times_of_any_zone(kind: Kind) -> None:
    await tell(kind, 1, answered(), at=DAY)
    india = timezone(timedelta(hours=5, minutes=30))

    start, end = DAY.astimezone(india), (DAY + HOUR).astimezone(india)

    assert (await kind.recorder.activity(start, end)).opened == 1
    assert [point.start for point in await kind.recorder.series(start, end, "hour")] == [DAY]


async def test_a_series_has_every_hour(kind: Kind) -> None:
    await tell(kind, 1, [*answered(), resolved()], at=DAY + HOUR, step=1800)

    series = await kind.recorder.series(DAY, DAY + 4 * HOUR, "hour")

    assert [point.start for point in series] == [DAY + n * HOUR for n in range(4)]
    assert [point.activity.messages for point in series] == [0, 1, 0, 0]
    assert [point.activity.replies for point in series] == [0, 0, 1, 0]
    assert [point.activity.resolved for point in series] == [0, 0, 0, 1]


async def test_a_series_of_days_is_the_sum_of_its_hours(kind: Kind) -> None:
    await tell(kind, 1, answered(), at=DAY + 23 * HOUR, step=1800)
    await tell(kind, 2, answered(), at=DAY + 5 * HOUR)

    series = await kind.recorder.series(DAY + 3 * HOUR, NEXT_DAY + HOUR, "day")

    assert [point.start for point in series] == [DAY + 3 * HOUR, NEXT_DAY]
    assert [point.end for point in series] == [NEXT_DAY, NEXT_DAY + HOUR]
    assert [point.activity.messages for point in series] == [2, 0]
    assert [point.activity.replies for point in series] == [1, 1]


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        (DAY, DAY, "must be after its start"),
        (NEXT_DAY, DAY, "must be after its start"),
        (DAY.replace(tzinfo=None), NEXT_DAY, "time zone"),
        (DAY, NEXT_DAY.replace(tzinfo=None), "time zone"),
    ],
)
async def test_refuses_what_is_no_range(
    kind: Kind, start: datetime, end: datetime, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        await kind.recorder.cohort(start, end)
    with pytest.raises(InvalidInput, match=words):
        await kind.recorder.activity(start, end)
    with pytest.raises(InvalidInput, match=words):
        await kind.recorder.counted(Selection(listing=Listing.TURNS, start=start, end=end))
    with pytest.raises(InvalidInput, match=words):
        await kind.recorder.series(start, end, "hour")


async def test_refuses_a_series_that_is_too_long(kind: Kind) -> None:
    longest = await kind.recorder.series(DAY, DAY + LONGEST_SERIES * HOUR, "hour")
    assert len(longest) == LONGEST_SERIES

    with pytest.raises(InvalidInput, match="1001 points"):
        await kind.recorder.series(DAY, DAY + (LONGEST_SERIES + 1) * HOUR, "hour")


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data(), logs=companies())
async def test_rollups_equal_a_full_recount(
    engine: AsyncEngine, data: st.DataObject, logs: list[list[Event]]
) -> None:
    await PostgresLogs(engine).clear()
    one, other = in_postgres(engine).recorder, in_memory().recorder
    pieces = {log[0].thread_id: data.draw(batches(log)) for log in logs}
    for several in zip_longest(*pieces.values(), fillvalue=()):
        await one.apply(dict(zip(pieces, several, strict=True)))
    for log in logs:
        await other.apply({log[0].thread_id: log})
    start, end = data.draw(ranges(logs))

    assert await one.cohort(start, end) == await other.cohort(start, end)
    assert await one.activity(start, end) == await other.activity(start, end)
    assert await one.series(start, end, "day") == await other.series(start, end, "day")


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data(), logs=companies())
async def test_every_figure_is_the_total_of_its_list(
    engine: AsyncEngine, data: st.DataObject, logs: list[list[Event]]
) -> None:
    await PostgresLogs(engine).clear()
    one, other = in_postgres(engine).recorder, in_memory().recorder
    for log in logs:
        for batch in data.draw(batches(log)):
            await one.apply({log[0].thread_id: batch})
        await other.apply({log[0].thread_id: log})
    start, end = data.draw(ranges(logs))

    tiles = [
        *cohort_tiles(await one.cohort(start, end)),
        *activity_tiles(await one.activity(start, end)),
    ]

    assert {tile.listing for tile in tiles} | NEVER_ALONE == set(Listing)
    for listing, dimension, number in tiles:
        which = Selection(listing=listing, start=start, end=end, dimension=dimension)
        page = await one.counted(which)
        assert (which, page) == (which, await other.counted(which))
        assert page.total == number == sum(counted.part for counted in page.threads), which
        assert page.conversations == len({counted.thread_id for counted in page.threads})
        assert all(counted.part > 0 for counted in page.threads)


NEVER_ALONE = {
    Listing.TOOL_CALLS_DONE,
    Listing.TOOL_CALLS_FAILED,
    Listing.TOOL_CALLS_DECLINED,
    Listing.TOOL_CALLS_UNKNOWN,
    Listing.ATTEMPTS,
}
"""Shown for single operations only, so that a range without calls does not have them."""


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data(), logs=companies(), bucket=st.sampled_from(["hour", "day"]))
async def test_the_points_of_a_series_add_up_to_its_range(
    engine: AsyncEngine, data: st.DataObject, logs: list[list[Event]], bucket: Bucket
) -> None:
    await PostgresLogs(engine).clear()
    recorder = in_postgres(engine).recorder
    for log in logs:
        await recorder.apply({log[0].thread_id: log})
    start, end = data.draw(ranges(logs))

    series = await recorder.series(start, end, bucket)

    whole = await recorder.activity(start, end)
    assert [point.end for point in series[:-1]] == [point.start for point in series[1:]]
    assert (series[0].start, series[-1].end) == widen(start, end)
    for name in ("opened", "resolved", "messages", "replies", "turns", "input_tokens"):
        assert sum(getattr(point.activity, name) for point in series) == getattr(whole, name)
    assert sum(point.activity.response.answered for point in series) == whole.response.answered


async def test_pages_through_a_list_those_opened_last_first(kind: Kind) -> None:
    names = [
        await tell(kind, number, [message(), *[called(call=f"c{n}") for n in range(number)]], at=at)
        for number, at in ((3, DAY), (1, DAY + HOUR), (2, DAY + HOUR), (4, DAY - HOUR))
    ]
    which = Selection(listing=Listing.TOOL_CALLS, start=DAY - HOUR, end=NEXT_DAY)

    first = await kind.recorder.counted(which, limit=3)
    second = await kind.recorder.counted(which, first.next_after, limit=3)

    found = [(counted.thread_id, counted.part) for counted in (*first.threads, *second.threads)]
    assert found == [(names[2], 2), (names[1], 1), (names[0], 3), (names[3], 4)]
    assert first.total == second.total == 10
    assert first.conversations == second.conversations == 4
    assert second.next_after is None
    unknown = await kind.recorder.counted(which, thread_id(99))
    assert (unknown.threads, unknown.total, unknown.next_after) == ((), 10, None)


async def test_a_list_narrows_to_one_dimension_the_empty_one_too(kind: Kind) -> None:
    facts = [message(), opened(), closed(status="failed"), closed("t2", status="failed", code="X")]
    name = await tell(kind, 1, facts)

    def which(dimension: str | None) -> Selection:
        return Selection(listing=Listing.TURNS_FAILED, start=DAY, end=NEXT_DAY, dimension=dimension)

    totals = [(await kind.recorder.counted(which(x))).total for x in (None, "", "X", "Y")]
    assert totals == [2, 1, 1, 0]
    assert (await kind.recorder.counted(which("Y"))).threads == ()
    assert (await kind.recorder.counted(which("X"))).threads == (Counted(thread_id=name, part=1),)


def test_refuses_a_dimension_of_what_is_not_divided() -> None:
    with pytest.raises(InvalidInput, match="reopened is not divided"):
        Selection(listing=Listing.REOPENED, start=DAY, end=NEXT_DAY, dimension="x")


@st.composite
def ranges(draw: st.DrawFn, logs: list[list[Event]]) -> tuple[datetime, datetime]:
    """A range that holds something, and may cut a conversation in two."""
    times = sorted(event.at for log in logs for event in log)
    start = draw(st.sampled_from(times))
    return start, max(draw(st.sampled_from(times)), start) + draw(st.sampled_from([HOUR, 3 * HOUR]))
