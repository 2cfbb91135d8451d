from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.histories import (
    BEGINNING,
    abandoned,
    answered,
    attempt,
    batches,
    called,
    closed,
    decided,
    events_of,
    finished,
    handoff,
    histories,
    message,
    opened,
    parked,
    resolved,
    returned,
    thread_id,
)

from smart_support.analytics.episode import (
    DIMENSION_LENGTH,
    Episode,
    Figure,
    Key,
    Sum,
    difference,
    tally,
)
from smart_support.conversations.lifecycle import fold_all
from smart_support.events.records import (
    AttemptMade,
    Event,
    Fact,
    HandoffAsked,
    MessageFinished,
    MessageReceived,
    ToolCalled,
    ToolReturned,
    TurnClosed,
)
from smart_support.events.standing import Status

ONE = thread_id(1)
HOUR = datetime(2026, 3, 1, 21, tzinfo=UTC)


def told(*facts: Fact, step: float = 1.0) -> Episode:
    episode = tally(None, events_of(ONE, facts, step=step))
    assert episode is not None
    return episode


def at(seconds: float) -> datetime:
    return BEGINNING + timedelta(seconds=seconds)


def test_before_its_first_event_there_is_no_episode() -> None:
    assert tally(None, []) is None


def test_remembers_when_it_was_resolved_and_by_whom_first() -> None:
    episode = told(*answered(), resolved("cus_ada"), resolved("lead"))

    assert (episode.resolved_at, episode.resolved_by) == (at(4), "cus_ada")
    assert episode.counted[Key(HOUR, "conversations_resolved", "")] == Sum(1, 0)
    assert episode.resolved_alone


def test_a_message_reopens_it() -> None:
    episode = told(*answered(), resolved(), message("t2"))

    assert (episode.resolved_at, episode.resolved_by, episode.reopen_count) == (None, None, 1)
    assert episode.counted[Key(HOUR, "conversations_reopened", "")] == Sum(1, 0)


def test_can_be_resolved_twice() -> None:
    episode = told(*answered(), resolved(), *answered("t2"), resolved("lead"))

    assert (episode.resolved_by, episode.reopen_count) == ("lead", 1)
    assert episode.counted[Key(HOUR, "conversations_resolved", "")] == Sum(2, 0)


def test_what_was_abandoned_can_still_be_resolved() -> None:
    episode = told(*answered(), abandoned(), resolved())

    assert (episode.abandoned_at, episode.resolved_at) == (None, at(5))
    assert episode.reopen_count == 0
    assert episode.counted[Key(HOUR, "conversations_abandoned", "")] == Sum(1, 0)


def test_silence_that_a_message_has_ended_is_not_abandonment() -> None:
    episode = told(message(), abandoned())

    assert episode.abandoned_at is None
    assert Key(HOUR, "conversations_abandoned", "") not in episode.counted


def test_a_handoff_stays_with_it() -> None:
    episode = told(message(), handoff(reason="a"), handoff(reason="b"), resolved(), message("t2"))

    assert (episode.handoff_at, episode.handoff_reason) == (at(2), "b")
    assert episode.handled
    assert not episode.resolved_alone


def test_without_answer_or_handoff_the_agent_had_no_part() -> None:
    episode = told(message(), opened(), closed(status="failed", code="X"), resolved())

    assert not episode.handled
    assert not episode.resolved_alone


def test_only_the_first_answer_is_the_first_reply() -> None:
    assert told(*answered(), *answered("t2")).first_reply_ms == 2000


def test_a_clock_that_was_set_back_gives_no_negative_times() -> None:
    episode = told(message(), finished(), step=-5.0)

    assert episode.first_reply_ms == 0
    assert episode.counted[Key(HOUR, "response_ms", "0")] == Sum(1, 0)


def test_each_message_is_answered_once() -> None:
    episode = told(message(), parked(), opened(run=2), finished(), closed(run=2), finished("t9"))

    responses = [key for key in episode.counted if key.figure == Figure.RESPONSE_MS.value]
    assert [episode.counted[key] for key in responses] == [Sum(1, 1000)]
    assert episode.unanswered == {}


def test_counts_by_the_hour_of_utc() -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    event = Event(ONE, 1, datetime(2026, 3, 2, 3, 45, tzinfo=zone), message())

    episode = tally(None, [event])

    assert episode is not None
    assert {key.hour for key in episode.counted} == {datetime(2026, 3, 1, 22, tzinfo=UTC)}


def test_what_came_without_its_call_is_counted_without_operation() -> None:
    episode = told(attempt(number=2), returned(outcome="failed"), decided(), decided())

    assert episode.counted[Key(HOUR, "attempts", "")].times == 1
    assert episode.counted[Key(HOUR, "retries", "")].times == 1
    assert episode.counted[Key(HOUR, "tool_calls_failed", "")].times == 1
    assert episode.counted[Key(HOUR, "approvals_approved", "")].times == 2


def test_a_long_reason_is_cut() -> None:
    episode = told(handoff(reason="x" * 500))

    assert Key(HOUR, "handoffs", "x" * DIMENSION_LENGTH) in episode.counted


def test_keeps_only_the_calls_in_progress() -> None:
    episode = told(called(call="a"), called(call="b"), returned(call="a"))

    assert episode.calls == {"b": "getOrder"}


def test_every_outcome_has_its_figure() -> None:
    for outcome in ("done", "failed", "declined", "unknown"):
        Figure(f"tool_calls_{outcome}")
    for decision in ("approved", "rejected", "expired"):
        Figure(f"approvals_{decision}")
    for status in ("done", "failed", "cancelled"):
        Figure(f"turns_{status}")


@dataclass(frozen=True)
class FromTheFuture:
    type = "from_the_future"


@given(histories(), st.data())
@settings(max_examples=50)
def test_an_unknown_fact_changes_nothing(log: list[Event], data: st.DataObject) -> None:
    place = data.draw(st.integers(1, len(log)))
    strange = replace(log[place - 1], fact=FromTheFuture())  # type: ignore[arg-type]

    assert tally(None, [*log[:place], strange, *log[place:]]) == tally(None, log)


@given(st.data(), histories())
@settings(max_examples=50)
def test_any_splitting_gives_the_same(data: st.DataObject, log: list[Event]) -> None:
    episode, taken = None, 0
    for batch in data.draw(batches(log)):
        episode = tally(episode, [event for event in batch if event.seq > taken])
        taken = max([taken, *(event.seq for event in batch)])

    assert episode == tally(None, log)


@given(histories())
@settings(max_examples=50)
def test_agrees_with_a_count_of_the_log_itself(log: list[Event]) -> None:
    episode = tally(None, log)
    assert episode is not None
    operation = {
        event.fact.tool_call_id: event.fact.operation
        for event in log
        if isinstance(event.fact, ToolCalled)
    }
    expected: Counter[tuple[str, str]] = Counter()
    for event in log:
        match event.fact:
            case MessageReceived():
                expected["messages", ""] += 1
            case MessageFinished():
                expected["replies", ""] += 1
            case AttemptMade(tool_call_id=call, number=number):
                expected["attempts", operation[call]] += 1
                expected["retries", operation[call]] += number > 1
            case ToolReturned(tool_call_id=call, outcome=outcome):
                expected[f"tool_calls_{outcome}", operation[call]] += 1
            case HandoffAsked(reason=reason):
                expected["handoffs", reason] += 1
            case TurnClosed(status="failed", code=code):
                expected["turns_failed", code or ""] += 1

    found: Counter[tuple[str, str]] = Counter()
    for (hour, figure, dimension), counted in episode.counted.items():
        assert (hour.minute, hour.second, hour.tzinfo) == (0, 0, UTC)
        found[figure, dimension] += counted.times

    assert {name: found[name] for name in expected} == dict(expected)
    assert found["conversations_opened", ""] == 1


@given(histories())
@settings(max_examples=50)
def test_never_disagrees_with_the_lifecycle(log: list[Event]) -> None:
    episode, lifecycle = tally(None, log), fold_all(None, log)
    assert episode is not None
    assert lifecycle is not None

    assert episode.standing == lifecycle.standing
    assert episode.turns == lifecycle.turns
    assert (episode.resolved_at is not None) == (lifecycle.status is Status.RESOLVED)
    assert (episode.abandoned_at is not None) == (lifecycle.status is Status.ABANDONED)
    assert lifecycle.closed_at == (episode.resolved_at or episode.abandoned_at)
    assert episode.handoff_reason == lifecycle.handoff_reason


def test_a_difference_is_what_must_be_added() -> None:
    one, two, three = (Key(HOUR, name, "") for name in ("a", "b", "c"))

    changes = difference({three: Sum(2, 5), one: Sum(1, 1)}, {two: Sum(4, 0), one: Sum(1, 1)})

    assert list(changes.items()) == [(two, Sum(-4, 0)), (three, Sum(2, 5))]
