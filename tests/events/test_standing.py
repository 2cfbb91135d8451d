import pytest
from hypothesis import given, settings
from tests.support.histories import (
    abandoned,
    answered,
    called,
    closed,
    finished,
    handoff,
    histories,
    message,
    opened,
    parked,
    resolved,
)

from smart_support.events.records import Event, Fact, MessageReceived
from smart_support.events.standing import UNHEARD, Standing, Status, stand


def standing_after(*facts: Fact) -> Standing:
    standing = UNHEARD
    for fact in facts:
        standing = stand(standing, fact)
    return standing


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        ([], Status.WAITING),
        ([message()], Status.OPENED),
        ([message(), opened(), called()], Status.OPENED),
        ([message(), opened(), finished()], Status.OPENED),
        (answered(), Status.WAITING),
        ([message(), opened(), parked()], Status.WAITING),
        ([message(), opened(), parked(), opened(run=2)], Status.OPENED),
        ([message(), opened(), parked(), opened(run=2), closed(run=2)], Status.WAITING),
        ([message(), opened(), closed(status="failed")], Status.WAITING),
        ([message(), opened(), parked(), closed(status="cancelled")], Status.WAITING),
        ([message(), opened(), message("t2"), closed()], Status.OPENED),
        ([message(), opened(), message("t2"), parked()], Status.OPENED),
        (
            [message(), opened(), message("t2"), closed(), opened("t2"), closed("t2")],
            Status.WAITING,
        ),
        ([message(), opened(), handoff()], Status.HANDED_OFF),
        ([message(), opened(), handoff(), closed()], Status.HANDED_OFF),
        ([message(), opened(), handoff(), closed(), *answered("t2")], Status.HANDED_OFF),
        ([message(), handoff(), abandoned()], Status.HANDED_OFF),
        ([message(), handoff(), resolved()], Status.RESOLVED),
        ([message(), handoff(), resolved(), message("t2")], Status.OPENED),
        ([*answered(), resolved()], Status.RESOLVED),
        ([*answered(), resolved(), abandoned()], Status.RESOLVED),
        ([*answered(), resolved(), handoff()], Status.HANDED_OFF),
        ([message(), opened(), resolved(), finished(), closed()], Status.RESOLVED),
        ([*answered(), abandoned()], Status.ABANDONED),
        ([*answered(), abandoned(), message("t2")], Status.OPENED),
        ([message(), opened(), parked(), abandoned(), opened(run=2)], Status.OPENED),
        ([*answered(), abandoned(), resolved()], Status.RESOLVED),
        ([message(), abandoned()], Status.OPENED),
    ],
)
def test_stands_as_its_facts_say(facts: list[Fact], status: Status) -> None:
    assert standing_after(*facts).status is status


def test_keeps_the_turns_that_owe_an_answer_in_order() -> None:
    standing = standing_after(message("b"), message("a"), opened("b"), message("c"), closed("a"))

    assert standing.answering == ("b", "c")


@given(histories())
@settings(max_examples=50)
def test_waits_only_when_nothing_is_being_answered(log: list[Event]) -> None:
    standing = UNHEARD
    for event in log:
        standing = stand(standing, event.fact)
        if standing.status is Status.WAITING:
            assert standing.answering == ()
        if standing.status is Status.OPENED:
            assert standing.answering
        if isinstance(event.fact, MessageReceived):
            assert standing.status in (Status.OPENED, Status.HANDED_OFF)
