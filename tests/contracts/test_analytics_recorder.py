"""What every AnalyticsRecorder promises."""

from datetime import UTC, datetime, timedelta, timezone

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

from smart_support.analytics.records import (
    LONGEST_SERIES,
    ApprovalFigures,
    Cohort,
    OperationFigures,
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
    await kind.recorder.apply(name, events_of(name, facts, at, step))
    return name


async def test_an_empty_range_has_no_rates(kind: Kind) -> None:
    figures = await kind.recorder.figures(DAY, NEXT_DAY)

    assert figures.cohort == Cohort(
        conversations=0,
        handled=0,
        resolved=0,
        resolved_alone=0,
        handed_off=0,
        abandoned=0,
        reopened=0,
        handoff_reasons={},
        median_first_reply_ms=None,
    )
    assert figures.cohort.auto_resolution_rate is None
    assert figures.cohort.handoff_rate is None
    assert figures.activity.response.median_ms is None
    assert figures.activity.mean_turn_ms is None
    assert figures.activity.operations == ()


async def test_rates_are_of_the_conversations_opened_in_the_range(kind: Kind) -> None:
    await tell(kind, 1, [*answered(), resolved()])
    await tell(kind, 2, [*answered(), handoff(reason="tool_failure"), resolved()], step=3)
    await tell(kind, 3, [*answered(), abandoned()], step=5)
    await tell(kind, 4, [message(), opened(), handoff(reason="customer_request"), closed()])
    await tell(kind, 5, [message(), resolved()])
    await tell(kind, 6, [*answered(), resolved(), message("t2")])
    await tell(kind, 7, [*answered(), resolved()], at=DAY - HOUR)
    await tell(kind, 8, [*answered(), resolved()], at=NEXT_DAY)

    cohort = (await kind.recorder.figures(DAY, NEXT_DAY)).cohort

    assert cohort == Cohort(
        conversations=6,
        handled=5,
        resolved=3,
        resolved_alone=1,
        handed_off=2,
        abandoned=1,
        reopened=1,
        handoff_reasons={"customer_request": 1, "tool_failure": 1},
        median_first_reply_ms=2000,
    )
    assert cohort.auto_resolution_rate == 1 / 5
    assert cohort.handoff_rate == 2 / 5


async def test_a_conversation_counts_where_it_was_opened_and_its_events_where_they_were(
    kind: Kind,
) -> None:
    await tell(kind, 1, [*answered(), resolved()], at=DAY - HOUR, step=3600 / 4)

    before = await kind.recorder.figures(DAY - HOUR, DAY)
    after = await kind.recorder.figures(DAY, DAY + HOUR)

    assert (before.cohort.conversations, before.cohort.resolved_alone) == (1, 1)
    assert (before.activity.opened, before.activity.replies, before.activity.resolved) == (1, 1, 0)
    assert (after.cohort.conversations, after.activity.opened) == (0, 0)
    assert (after.activity.resolved, after.activity.turns_done) == (1, 0)


async def test_counts_tool_calls_by_operation(kind: Kind) -> None:
    facts: list[Fact] = [message(), opened()]
    for number, outcome in enumerate(("done", "done", "failed", "unknown", "declined")):
        call = f"c{number}"
        facts += [called(call=call), attempt(call=call), returned(call=call, outcome=outcome)]
    facts += [called(call="x", operation="createRefund")]
    facts += [attempt(call="x", number=n, duration_ms=100 * n) for n in (1, 2, 3)]
    facts += [called(call="y", operation=None)]
    await tell(kind, 1, facts)

    refund, order, own = (await kind.recorder.figures(DAY, NEXT_DAY)).activity.operations

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

    activity = (await kind.recorder.figures(DAY, NEXT_DAY)).activity

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

    activity = (await kind.recorder.figures(DAY, NEXT_DAY)).activity

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

    response = (await kind.recorder.figures(DAY, NEXT_DAY)).activity.response

    assert response.answered == 6
    assert response.median_ms == pytest.approx(3_000, rel=0.025)
    assert response.p95_ms == pytest.approx(100_000, rel=0.025)


async def test_widens_a_range_to_whole_hours_and_says_so(kind: Kind) -> None:
    await tell(kind, 1, answered(), at=DAY + timedelta(minutes=50))
    start, end = DAY + timedelta(minutes=55), DAY + timedelta(minutes=56)

    figures = await kind.recorder.figures(start, end)

    assert (figures.start, figures.end) == (DAY, DAY + HOUR)
    assert figures.cohort.conversations == figures.activity.opened == 1


async def test_takes_times_of_any_zone(kind: Kind) -> None:
    await tell(kind, 1, answered(), at=DAY)
    india = timezone(timedelta(hours=5, minutes=30))

    figures = await kind.recorder.figures(DAY.astimezone(india), (DAY + HOUR).astimezone(india))

    assert (figures.start, figures.end) == (DAY, DAY + HOUR)
    assert figures.activity.opened == 1


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

    assert [point.start for point in series] == [DAY, NEXT_DAY]
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
        await kind.recorder.figures(start, end)
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
    one, other = in_postgres(engine), in_memory()
    for log in logs:
        name = log[0].thread_id
        for batch in data.draw(batches(log)):
            await one.recorder.apply(name, batch)
        await other.recorder.apply(name, log)
    times = [event.at for log in logs for event in log]
    start, end = min(times), max(times) + data.draw(st.sampled_from([-HOUR, HOUR]))
    end = max(end, start + HOUR)

    assert await one.recorder.figures(start, end) == await other.recorder.figures(start, end)
    assert await one.recorder.series(start, end, "day") == await other.recorder.series(
        start, end, "day"
    )
