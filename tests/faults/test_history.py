"""The checker itself: it finds what it is for, and nothing in a history that is as it must be."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.support.chat_client import Transcript
from tests.support.histories import (
    called,
    closed,
    events_of,
    finished,
    message,
    opened,
    returned,
    thread_id,
)
from tests.support.history import check

from smart_support.events.records import Event, Fact, ToolCalled

THREAD = thread_id(1)
GOOD: list[Fact] = [message(), opened(), called(), returned(), finished(), closed()]
ACKNOWLEDGED = {message().message_id}


def name_of(_: ToolCalled) -> str:
    return "the effect"


def problems(facts: Sequence[Fact], times: int = 1) -> list[str]:
    log = events_of(THREAD, facts)
    return check(log, acknowledged=ACKNOWLEDGED, effects={"the effect": times}, names=name_of)


def test_finds_nothing_in_a_good_history() -> None:
    assert problems(GOOD) == []


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ([], "acknowledged and is lost"),
        ([*GOOD, message()], "stored 2 times"),
        (GOOD[:-1], "does not end exactly once"),
        ([*GOOD, closed()], "does not end exactly once"),
        ([message(), opened(), called(), returned(), closed()], "says nothing"),
        ([*GOOD[:-2], replace(closed(status="failed"), code=None, message=None)], "without words"),
        ([message(), opened(), called(), finished(), closed()], "returns 0 times"),
        ([*GOOD[:4], returned(), *GOOD[4:]], "returns 2 times"),
        ([*GOOD[:3], called(), *GOOD[3:]], "is made 2 times"),
        ([*GOOD[:5], finished(), closed()], "finished 2 times"),
        (
            [message("t1"), message("t2"), opened("t1"), opened("t2"), closed("t2"), closed("t1")],
            "begins while",
        ),
        (
            [
                message("t1"),
                message("t2"),
                *(fact for t in ("t2", "t1") for fact in (opened(t), finished(t), closed(t))),
            ],
            "in the order",
        ),
    ],
)
def test_finds_what_is_wrong_with_a_log(facts: list[Fact], word: str) -> None:
    assert any(word in said for said in problems(facts))


def test_finds_effects_that_are_not_once() -> None:
    assert any("took effect 2 times" in said for said in problems(GOOD, times=2))
    assert any("is done, but" in said for said in problems(GOOD, times=0))


def test_finds_gaps_and_clocks_that_run_back() -> None:
    log: list[Event] = list(events_of(THREAD, GOOD))
    gap = [*log[:2], *log[3:]]
    back = [*log[:-1], replace(log[-1], at=log[0].at.replace(year=2000))]

    assert any("stands at place" in said for said in check(gap, acknowledged=set()))
    assert any("earlier" in said for said in check(back, acknowledged=set()))


def test_finds_what_a_client_missed_had_twice_or_shows_wrongly() -> None:
    log = events_of(THREAD, GOOD)
    texts = {message().message_id: ["user", message().text]}
    texts[finished().message_id] = ["assistant", finished().text]
    good = Transcript(messages=texts, seqs=[1, 2, 3, 4, 5, 6])

    def said(shown: Transcript) -> list[str]:
        return check(log, acknowledged=set(), seen=[shown])

    assert said(good) == []
    assert said(replace(good, seqs=[1, 2, 2, 3, 4, 5, 6]))
    assert said(replace(good, seqs=[1, 2, 4, 5, 6]))
    assert said(replace(good, messages={**texts, finished().message_id: ["assistant", "?"]}))
    assert said(replace(good, messages={message().message_id: ["user", message().text]}))
