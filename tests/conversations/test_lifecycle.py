from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.histories import (
    BEGINNING,
    abandoned,
    answered,
    batches,
    called,
    closed,
    decided,
    events_of,
    handoff,
    histories,
    message,
    opened,
    parked,
    resolved,
    returned,
    thread_id,
)

from smart_support.conversations.lifecycle import TITLE_LENGTH, Lifecycle, fold, fold_all
from smart_support.events.records import Event, Fact
from smart_support.events.standing import Status

ONE = thread_id(1)


def told(*facts: Fact, step: float = 1.0) -> Lifecycle:
    lifecycle = fold_all(None, events_of(ONE, facts, step=step))
    assert lifecycle is not None
    return lifecycle


def test_before_its_first_event_there_is_nothing_to_tell() -> None:
    assert fold_all(None, []) is None


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Where is it?", "Where is it?"),
        ("  one\n\ttwo  ", "one two"),
        ("x" * 81, "x" * TITLE_LENGTH),
        (" \n ", ""),
    ],
)
def test_is_titled_by_the_first_message(text: str, title: str) -> None:
    assert told(message(text=text)).title == title


def test_a_second_message_does_not_change_the_title() -> None:
    assert told(message(text="First"), message("t2", "Second")).title == "First"


def test_the_first_message_with_words_gives_the_title() -> None:
    assert told(message(text="  "), message("t2", "Second")).title == "Second"


def test_counts_a_turn_once_however_often_it_runs() -> None:
    assert told(message(), opened(), parked(), opened(run=2, agent="refunds")).turns == 1


def test_names_the_agent_that_answered_last() -> None:
    assert told(opened(agent="support"), opened("t2", agent="refunds")).agent == "refunds"


@pytest.mark.parametrize(
    ("fact", "errors"),
    [
        (closed(status="failed", code="X"), 1),
        (closed(status="done"), 0),
        (closed(status="cancelled"), 0),
        (returned(outcome="failed"), 1),
        (returned(outcome="unknown"), 1),
        (returned(outcome="declined"), 0),
        (returned(outcome="done"), 0),
    ],
)
def test_counts_errors(fact: Fact, errors: int) -> None:
    assert told(message(), called(), fact).errors == errors


@pytest.mark.parametrize(
    ("decision", "approved", "rejected"),
    [("approved", 1, 0), ("rejected", 0, 1), ("expired", 0, 0)],
)
def test_counts_decisions(decision: str, approved: int, rejected: int) -> None:
    found = told(decided(decision=decision))

    assert (found.approvals_approved, found.approvals_rejected) == (approved, rejected)


def test_is_closed_when_it_was_resolved_first() -> None:
    found = told(*answered(), resolved(), resolved())

    assert found.status is Status.RESOLVED
    assert found.closed_at == BEGINNING + timedelta(seconds=4)


def test_is_open_again_after_a_message() -> None:
    found = told(*answered(), resolved(), message("t2"))

    assert (found.status, found.closed_at) == (Status.OPENED, None)


def test_what_was_abandoned_and_then_resolved_is_closed_when_it_was_resolved() -> None:
    found = told(*answered(), abandoned(), resolved())

    assert found.closed_at == BEGINNING + timedelta(seconds=5)


def test_keeps_the_reason_of_a_handoff_after_it_is_resolved() -> None:
    found = told(message(), handoff(reason="tool_failure"), resolved())

    assert (found.status, found.handoff_reason) == (Status.RESOLVED, "tool_failure")


def test_time_never_goes_back() -> None:
    assert told(*answered(), step=-60).last_event_at == BEGINNING


@dataclass(frozen=True)
class FromTheFuture:
    type = "from_the_future"


@given(histories(), st.data())
@settings(max_examples=50)
def test_an_unknown_fact_is_only_a_sign_of_life(log: list[Event], data: st.DataObject) -> None:
    before = fold_all(None, log[: data.draw(st.integers(1, len(log)))])
    assert before is not None
    later = before.last_event_at + timedelta(hours=1)

    after = fold(before, Event(ONE, 99, later, FromTheFuture()))  # type: ignore[arg-type]

    assert after == replace(before, last_event_at=later)


@given(st.data(), histories())
@settings(max_examples=50)
def test_any_splitting_gives_the_same(data: st.DataObject, log: list[Event]) -> None:
    lifecycle, taken = None, 0
    for batch in data.draw(batches(log)):
        lifecycle = fold_all(lifecycle, [event for event in batch if event.seq > taken])
        taken = max([taken, *(event.seq for event in batch)])

    assert lifecycle == fold_all(None, log)


@given(histories())
@settings(max_examples=50)
def test_is_closed_exactly_while_it_has_a_closing_time(log: list[Event]) -> None:
    lifecycle = None
    for event in log:
        lifecycle = fold(lifecycle, event)
        assert (lifecycle.closed_at is not None) == lifecycle.status.closed
        assert lifecycle.opened_at == log[0].at
