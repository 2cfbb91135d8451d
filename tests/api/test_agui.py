"""Facts and live text as AG-UI events, whatever is live, replayed, dropped or told twice."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from ag_ui.core import Event as AGUIEvent
from ag_ui.core import TextMessageContentEvent, TextMessageStartEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from tests.support.chat_client import Frame, Transcript, transcript_of
from tests.support.histories import (
    asked,
    attempt,
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

from smart_support.agent.state import LiveText
from smart_support.api.agui import Speaker
from smart_support.chat.follow import Followers, Waiting
from smart_support.events.records import (
    FACTS,
    AgentChanged,
    CallResolved,
    ConnectionAsked,
    ConsentGiven,
    ConsentRevoked,
    Event,
    Fact,
    GivenBack,
    MessageFinished,
    ModelSwitched,
    PersonAnswered,
    PersonTookOver,
    ThreadAbandoned,
    TurnTakenOver,
)

EVENT: TypeAdapter[Any] = TypeAdapter(AGUIEvent)
THREAD = thread_id(1)
ONE_OF_EACH: list[Fact] = [
    message(),
    opened(),
    TurnTakenOver(turn_id="t1", run=1, time=1, correlation_id="c"),
    called(),
    attempt(),
    returned(),
    CallResolved(
        turn_id="t1",
        tool_call_id="c1",
        resolution="done",
        how="person",
        by="lead",
        remark="seen in the back office",
        content="{}",
    ),
    asked(),
    parked(),
    decided(),
    finished(),
    handoff(),
    closed(),
    resolved(),
    ThreadAbandoned(idle_seconds=5.0),
    AgentChanged(turn_id="t1", tool_call_id="c1", before="support", after="billing", reason="?"),
    ConnectionAsked("t1", "c1", spec_id="s1", scheme="login", title="Look up an order"),
    PersonTookOver(by="lead", name="Lena"),
    PersonAnswered(message_id="p1", text="I am a person.", by="lead", name="Lena"),
    GivenBack(by="lead", name="Lena", remark="a difficult one"),
    ConsentGiven(
        consent_id="s1",
        operation="POST /notes",
        title="Leave a note",
        expires_at="2026-03-02T09:00:00+00:00",
    ),
    ConsentRevoked(consent_id="s1", by="customer"),
    ModelSwitched(turn_id="t1", before="gpt", after="gpt (stand-by 1)", code="MODEL_UNAVAILABLE"),
]


def frames_of(items: Sequence[Event | LiveText | Waiting], last_seq: int = 0) -> list[Frame]:
    speaker = Speaker(THREAD, last_seq)
    return [frame for item in items for frame in speaker.frames(item)]


def said(*facts: Fact) -> list[dict[str, Any]]:
    """The AG-UI events of a log that has these facts."""
    return [frame["event"] for frame in frames_of(events_of(THREAD, facts))]


def test_no_fact_is_forgotten_here() -> None:
    assert {fact.type for fact in ONE_OF_EACH} == set(FACTS)


@pytest.mark.parametrize("fact", ONE_OF_EACH, ids=lambda fact: fact.type)
def test_each_fact_is_told_in_events_of_the_standard(fact: Fact) -> None:
    events = said(fact)

    assert events
    for event in events:
        assert (
            EVENT.validate_python(event).model_dump(mode="json", by_alias=True, exclude_none=True)
            == event
        )


@given(log=histories())
def test_every_history_is_told_in_valid_events_with_each_number_once(log: list[Event]) -> None:
    frames = frames_of(log)

    for frame in frames:
        EVENT.validate_python(frame["event"])
        assert frame["thread_id"] == log[0].thread_id or frame["thread_id"] == THREAD
    assert [frame["seq"] for frame in frames if frame["seq"]] == [event.seq for event in log]


def test_a_piece_of_an_answer_is_an_event_of_the_standard() -> None:
    frames = list(Speaker("t1", 0).frames(LiveText("m1", 0, "Hello")))

    assert [frame["event"] for frame in frames] == [
        event.model_dump(mode="json", by_alias=True, exclude_none=True)
        for event in (
            TextMessageStartEvent(message_id="m1", role="assistant"),
            TextMessageContentEvent(message_id="m1", delta="Hello"),
        )
    ]


@given(log=histories())
def test_only_the_last_event_of_a_fact_carries_its_number(log: list[Event]) -> None:
    for event in log:
        *before, last = frames_of([event])
        assert last["seq"] == event.seq
        assert [frame["seq"] for frame in before] == [None] * len(before)
        assert {frame["at"] for frame in [*before, last]} == {event.at.isoformat()}


def test_an_answer_after_an_approval_is_a_run_of_its_own() -> None:
    first, second = said(opened(run=1), opened(run=2))

    assert first["runId"] != second["runId"]
    assert second["runId"].startswith(first["runId"])


def test_a_parked_run_names_what_it_waits_for() -> None:
    *_, ended = said(opened(), called(), asked(), parked())

    (interrupt,) = ended["outcome"]["interrupts"]
    assert ended["outcome"]["type"] == "interrupt"
    assert interrupt["id"] == "a-c1"
    assert interrupt["message"] == "Refund 12 EUR"
    assert interrupt["toolCallId"] == "c1"


def test_a_parked_run_is_told_also_to_who_has_had_the_question_before() -> None:
    log = events_of(THREAD, [asked(), parked()])

    (ended,) = frames_of(log[1:], last_seq=1)

    assert ended["event"]["outcome"]["interrupts"] == [{"id": "a-c1", "reason": "approval"}]


@pytest.mark.parametrize(
    ("status", "type_", "outcome"),
    [("done", "RUN_FINISHED", "success"), ("cancelled", "RUN_FINISHED", "cancelled")],
)
def test_a_run_that_ends_says_how_and_what_it_took(status: str, type_: str, outcome: str) -> None:
    (ended,) = said(closed(status=status))

    assert (ended["type"], ended["outcome"]["type"]) == (type_, outcome)
    assert ended["usage"] == [{"inputTokens": 120, "outputTokens": 30}]


def test_a_run_that_fails_names_the_error_and_where_to_find_it() -> None:
    (ended,) = said(closed(status="failed", code="TURN_TIMEOUT"))

    assert ended["type"] == "RUN_ERROR"
    assert ended["code"] == "TURN_TIMEOUT"
    assert ended["metadata"] == {"correlation_id": "c", "action": "retry"}


def test_what_our_systems_said_to_each_other_is_not_told() -> None:
    told = str(said(attempt(), returned(), closed(), *ONE_OF_EACH[-1:]))

    assert "a difficult one" not in told
    assert "GET /orders/7" not in told
    assert "12.5" not in told


class TestWaiting:
    def test_is_a_frame_of_its_own_with_the_run_that_will_begin(self) -> None:
        (frame,) = frames_of([Waiting(turn_id="t1", run=2, before=3)])

        (began,) = frames_of(events_of(THREAD, [opened("t1", 2)]))
        run_id = began["event"]["runId"]
        assert frame == {"waiting": {"thread_id": THREAD, "run_id": run_id, "before": 3}}

    def test_is_over_for_who_has_read_that_the_answer_began(self) -> None:
        """The log is read ahead of what was told meanwhile."""
        log = events_of(THREAD, [opened("t1", 1)])

        frames = frames_of([*log, Waiting(turn_id="t1", run=1, before=0)])

        assert [frame["event"]["type"] for frame in frames] == ["RUN_STARTED"]


class TestLiveText:
    def test_comes_in_pieces_and_the_end_brings_the_rest(self) -> None:
        pieces = [LiveText("r-t1", 0, "It is "), LiveText("r-t1", 6, "on its")]

        frames = frames_of([*pieces, *events_of(THREAD, [finished()])])

        assert [frame["event"]["type"] for frame in frames] == [
            "TEXT_MESSAGE_START",
            "TEXT_MESSAGE_CONTENT",
            "TEXT_MESSAGE_CONTENT",
            "TEXT_MESSAGE_CONTENT",
            "TEXT_MESSAGE_END",
        ]
        assert [frame.get("offset") for frame in frames] == [None, 0, 6, None, None]
        assert [frame["event"]["delta"] for frame in frames[1:4]] == ["It is ", "on its", " way."]
        assert [frame["seq"] for frame in frames] == [None, None, None, None, 1]

    def test_needs_no_rest_when_all_was_shown(self) -> None:
        log = events_of(THREAD, [finished()])

        frames = frames_of([LiveText("r-t1", 0, "It is on its way."), *log])

        assert [frame["event"]["type"] for frame in frames[2:]] == ["TEXT_MESSAGE_END"]

    def test_that_overlaps_is_told_once(self) -> None:
        frames = frames_of(
            [LiveText("a", 0, "abc"), LiveText("a", 1, "bcd"), LiveText("a", 0, "a")]
        )

        assert [frame["event"].get("delta") for frame in frames] == [None, "abc", "d"]

    def test_that_turned_out_otherwise_begins_again(self) -> None:
        frames = frames_of([LiveText("r-t1", 0, "Wait"), *events_of(THREAD, [finished()])])

        assert transcript_of(frames).texts == [("assistant", "It is on its way.")]

    def test_after_the_end_is_not_told(self) -> None:
        log = events_of(THREAD, [finished()])

        assert frames_of([*log, LiveText("r-t1", 0, "It is")]) == frames_of(log)

    def test_is_in_doubt_for_who_comes_back_until_the_log_was_asked(self) -> None:
        piece, speaker = LiveText("r-t1", 0, "It is"), Speaker(THREAD, 3)
        new = LiveText("r-t2", 0, "And")

        assert speaker.doubts(piece)
        assert not Speaker(THREAD).doubts(piece)
        speaker.believe(piece, ["r-t1"])
        speaker.believe(new, [])

        assert not speaker.doubts(piece)
        assert not speaker.doubts(new)
        assert list(speaker.frames(piece)) == []
        assert [frame["event"].get("delta") for frame in speaker.frames(new)] == [None, "And"]

    def test_a_fact_that_was_had_is_not_told_again(self) -> None:
        log = events_of(THREAD, [message(), opened()])

        assert frames_of([*log, *log]) == frames_of(log)
        assert frames_of(log, last_seq=2) == []


@dataclass
class Delivery:
    """What happens in a thread, as a server tells it and connections that break hear it."""

    draw: st.DrawFn
    log: list[Event]

    def happenings(self) -> Iterator[Event | LiveText]:
        """The log with the tokens that came before each answer, not always its own."""
        for event in self.log:
            if isinstance(event.fact, MessageFinished):
                text = self.draw(st.sampled_from([event.fact.text, "Something else", "It is"]))
                at = 0
                for size in self.draw(st.lists(st.integers(1, 9), max_size=4)):
                    if piece := text[at : at + size]:
                        yield LiveText(event.fact.message_id, at, piece)
                        at += size
            yield event

    def heard(self) -> Transcript:
        """What a client shows that was cut off again and again, and resumed each time."""
        followers, shown = Followers(), Transcript()
        happenings = list(self.happenings())
        cuts = sorted(self.draw(st.lists(st.integers(0, len(happenings)), max_size=5)))
        for start, end in zip([0, *cuts], [*cuts, len(happenings)], strict=True):
            ahead = self.draw(st.integers(0, 2))  # committed already, and told a moment later
            committed = [each for each in happenings[: start + ahead] if isinstance(each, Event)]
            with followers.follow(THREAD) as follower:
                for item in happenings[start:end]:
                    followers.publish(THREAD, [item])
                told = list(self._told(follower, committed, shown.last_seq))
            lost = 0 if end == len(happenings) else self.draw(st.integers(0, len(told)))
            transcript_of(told[: len(told) - lost], shown)
        return shown

    def _told(self, follower: Any, committed: list[Event], last_seq: int) -> Iterator[Frame]:
        speaker = Speaker(THREAD, last_seq)
        for event in committed:
            if event.seq > last_seq:
                yield from speaker.frames(event)
        had = max([last_seq, *(event.seq for event in committed)])
        while follower.waiting:
            item = follower._items.pop(0)
            if speaker.doubts(item):
                answers = [event.fact for event in self.log[:had]]
                names = [fact.message_id for fact in answers if isinstance(fact, MessageFinished)]
                speaker.believe(item, names)
            yield from speaker.frames(item)


@given(data=st.data())
def test_any_cut_of_live_and_replayed_ends_in_the_same_transcript(data: st.DataObject) -> None:
    log = data.draw(histories())
    whole = transcript_of(frames_of(log))

    heard = data.draw(st.composite(lambda draw: Delivery(draw, log).heard())())

    assert heard.seqs == whole.seqs == [event.seq for event in log]
    assert dict(heard.messages) == dict(whole.messages)
    assert heard.calls == whole.calls
    assert [told["type"] for told in heard.told] == [told["type"] for told in whole.told]


def test_an_answer_that_is_written_anew_takes_the_place_of_what_was_shown() -> None:
    pieces = [
        LiveText("m1", 0, "Your order "),
        LiveText("m1", 11, "left."),
        LiveText("m1", 0, "Your"),  # written by another process, from the beginning
        LiveText("m1", 4, " parcel"),
        LiveText("m1", 11, " is lost."),
    ]

    frames = [frame for frame in frames_of(pieces) if "offset" in frame]

    text = ""
    for frame in frames:
        text = text[: frame["offset"]] + frame["event"]["delta"]
    assert text == "Your parcel is lost."
    assert [frame["offset"] for frame in frames] == [0, 11, 5, 11]
