"""What the model is told of the past is well-formed and bounded, whatever happened."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.support.histories import (
    called,
    closed,
    events_of,
    finished,
    histories,
    message,
    opened,
    parked,
    returned,
    thread_id,
)
from tests.support.turns import wire_problems

from smart_support.agent.history import HISTORY_TOKENS, HISTORY_TYPES, past_messages
from smart_support.agent.tokens import tokens_of_message
from smart_support.events.records import Event, Fact, MessageReceived

ONE = thread_id(1)


def told(*facts: Fact, current: str = "now", text: str = "And now?") -> list[dict[str, object]]:
    return past_messages(events_of(ONE, facts), current, text)


@given(log=histories(), data=st.data())
def test_is_well_formed_for_any_thread_and_any_piece_of_it(
    log: list[Event], data: st.DataObject
) -> None:
    turns = [event.fact.turn_id for event in log if isinstance(event.fact, MessageReceived)]
    current = data.draw(st.sampled_from([*turns, "unknown"]))
    start = data.draw(st.integers(0, len(log)))
    seen = [event for event in log[start:] if event.fact.type in HISTORY_TYPES]

    messages = past_messages(seen, current, "What now?")

    assert wire_problems(messages) == []
    assert messages[-1] == {"role": "user", "content": "What now?"}


@given(log=histories(), data=st.data())
def test_is_well_formed_in_any_order_of_events(log: list[Event], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(log))

    assert wire_problems(past_messages(shuffled, "unknown", "What now?")) == []


def test_tells_turns_in_order_with_their_calls_and_results() -> None:
    result = replace(returned(), content='{"status":"sent"}')

    messages = told(message(), opened(), called(), result, finished(), closed())

    assert [each["role"] for each in messages] == ["user", "assistant", "tool", "assistant", "user"]
    (wire,) = messages[1]["tool_calls"]  # type: ignore[misc]
    assert wire["function"] == {"name": "get_order", "arguments": '{"order_id": 7}'}
    assert messages[2] == {"role": "tool", "tool_call_id": "c1", "content": '{"status":"sent"}'}


def test_a_call_without_a_result_has_one_that_says_so() -> None:
    messages = told(message(), called(), parked())

    assert messages[2]["role"] == "tool"
    assert "No result yet" in str(messages[2]["content"])


def test_an_old_result_is_cut() -> None:
    messages = told(message(), called(), replace(returned(), content="x" * 5_000))

    assert len(str(messages[2]["content"])) == 1_500


def test_messages_that_wait_for_their_own_answer_are_left_out() -> None:
    messages = told(message("now", "First"), message("later", "Second"), text="First")

    assert messages == [{"role": "user", "content": "First"}]


def test_turns_that_were_answered_since_are_told() -> None:
    messages = told(message("now", "First"), message("later", "Second"), finished("later", "Yes."))

    assert [each["content"] for each in messages] == ["Second", "Yes.", "And now?"]


def test_an_unanswered_message_from_before_is_told() -> None:
    assert [each["content"] for each in told(message(text="Hello?"))] == ["Hello?", "And now?"]


def test_what_of_a_turn_is_seen_without_its_message_is_left_out() -> None:
    assert told(finished("cut"), called("cut"), returned("cut")) == [
        {"role": "user", "content": "And now?"}
    ]


def test_whole_turns_are_left_out_oldest_first() -> None:
    long = "x" * (4 * HISTORY_TOKENS // 3)
    facts = [fact for n in range(5) for fact in (message(f"t{n}", f"{n}{long}"), finished(f"t{n}"))]

    notes, *messages = told(*facts)

    assert [str(each["content"])[0] for each in messages] == ["3", "I", "4", "I", "A"]
    assert sum(map(tokens_of_message, messages[:-1])) <= HISTORY_TOKENS
    assert notes["role"] == "system"
    assert tokens_of_message(notes) < 1_000


def test_a_turn_that_is_too_long_by_itself_is_left_out() -> None:
    messages = told(message(), finished(text="x" * 4 * HISTORY_TOKENS))

    assert [each["role"] for each in messages] == ["system", "user"]
