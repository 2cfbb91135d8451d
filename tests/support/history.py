"""What must be true of a finished run, whatever was killed in it: checked offline, from records.

    problems = check(log, acknowledged={"m1"}, seen=[transcript], effects=Counter({"note 1": 1}))
    assert problems == []

`log` is a thread's events; `seen` what each client showed in the end; `effects` how often each
write took effect upstream, by what names it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise

from tests.support.chat_client import Transcript

from smart_support.events.records import (
    Event,
    MessageFinished,
    MessageReceived,
    ToolCalled,
    ToolReturned,
    TurnClosed,
    TurnOpened,
    TurnTakenOver,
)

Rule = Callable[[Sequence[Event]], Iterable[str]]


def check(
    log: Sequence[Event],
    *,
    acknowledged: AbstractSet[str],
    seen: Sequence[Transcript] = (),
    effects: Mapping[str, int] | None = None,
    names: Callable[[ToolCalled], str | None] = lambda _: None,
) -> list[str]:
    """Everything that is wrong; nothing, if it is as promised.

    `names` says what a call's effect is called in `effects`; None for a call without one.
    """
    wrong = [said for rule in RULES for said in rule(log)]
    wrong += _acknowledged(log, acknowledged)
    for transcript in seen:
        wrong += _seen(log, transcript)
    wrong += _effects(log, effects or {}, names)
    return wrong


def numbers_have_no_gap(log: Sequence[Event]) -> Iterable[str]:
    """Numbers begin with 1 and go up by one."""
    for place, event in enumerate(log, 1):
        if event.seq != place:
            yield f"event {event.seq} stands at place {place}"


def time_does_not_run_back(log: Sequence[Event]) -> Iterable[str]:
    for before, after in pairwise(log):
        if after.at < before.at:
            yield f"event {after.seq} is earlier than the one before"


def messages_are_stored_once(log: Sequence[Event]) -> Iterable[str]:
    counted = Counter(
        event.fact.message_id for event in log if isinstance(event.fact, MessageReceived)
    )
    yield from (f"message {name} is stored {n} times" for name, n in counted.items() if n > 1)


def every_turn_ends_once_and_visibly(log: Sequence[Event]) -> Iterable[str]:
    """Each message is answered, or fails with words for the customer."""
    closings = [event.fact for event in log if isinstance(event.fact, TurnClosed)]
    counted = Counter(fact.turn_id for fact in closings)
    said = {event.fact.turn_id for event in log if isinstance(event.fact, MessageFinished)}
    for event in log:
        if isinstance(event.fact, MessageReceived) and counted.pop(event.fact.turn_id, 0) != 1:
            yield f"the turn of message {event.fact.message_id} does not end exactly once"
    yield from (f"turn {turn_id} ends, but nobody began it" for turn_id in counted)
    for fact in closings:
        if fact.status == "done" and fact.turn_id not in said:
            yield f"turn {fact.turn_id} is done, but says nothing"
        if fact.status == "failed" and not (fact.code and fact.message):
            yield f"turn {fact.turn_id} fails without words"


def turns_are_answered_one_by_one_in_order(log: Sequence[Event]) -> Iterable[str]:
    order = [event.fact.turn_id for event in log if isinstance(event.fact, MessageReceived)]
    ended = [event.fact.turn_id for event in log if isinstance(event.fact, TurnClosed)]
    if ended != order[: len(ended)]:
        yield "turns do not end in the order of their messages"
    answering: str | None = None
    for event in log:
        match event.fact:
            case TurnOpened(turn_id=turn_id) | TurnTakenOver(turn_id=turn_id):
                if answering not in {None, turn_id}:
                    yield f"turn {turn_id} begins while {answering} is being answered"
                answering = turn_id
            case TurnClosed(turn_id=turn_id):
                answering = None
            case MessageFinished(turn_id=turn_id) | ToolCalled(turn_id=turn_id):
                if answering not in {None, turn_id}:
                    yield f"turn {turn_id} goes on while {answering} is being answered"


def every_call_has_one_result(log: Sequence[Event]) -> Iterable[str]:
    called = Counter(event.fact.tool_call_id for event in log if isinstance(event.fact, ToolCalled))
    returned = Counter(
        event.fact.tool_call_id for event in log if isinstance(event.fact, ToolReturned)
    )
    failed = {
        event.fact.turn_id
        for event in log
        if isinstance(event.fact, TurnClosed) and event.fact.status != "done"
    }
    given_up = {
        event.fact.tool_call_id
        for event in log
        if isinstance(event.fact, ToolCalled) and event.fact.turn_id in failed
    }
    for call_id, times in called.items():
        results = returned.pop(call_id, 0)
        # A turn that was given up may leave a call that it never made.
        if times != 1 or (results != 1 and not (results == 0 and call_id in given_up)):
            yield f"call {call_id} is made {times} times and returns {results} times"
    yield from (f"a result of call {call_id}, which nobody made" for call_id in returned)


def messages_are_finished_once(log: Sequence[Event]) -> Iterable[str]:
    counted = Counter(
        event.fact.message_id for event in log if isinstance(event.fact, MessageFinished)
    )
    yield from (f"message {name} is finished {n} times" for name, n in counted.items() if n > 1)


RULES: tuple[Rule, ...] = (
    numbers_have_no_gap,
    time_does_not_run_back,
    messages_are_stored_once,
    every_turn_ends_once_and_visibly,
    turns_are_answered_one_by_one_in_order,
    every_call_has_one_result,
    messages_are_finished_once,
)


def _acknowledged(log: Sequence[Event], acknowledged: AbstractSet[str]) -> list[str]:
    stored = {event.fact.message_id for event in log if isinstance(event.fact, MessageReceived)}
    return [f"message {name} was acknowledged and is lost" for name in acknowledged - stored]


def _seen(log: Sequence[Event], shown: Transcript) -> list[str]:
    """A client that was cut off and came back ends with what the log has, and had each once."""
    wrong = []
    numbers = [event.seq for event in log]
    if shown.seqs != numbers:
        wrong.append(f"a client had the numbers {shown.seqs} instead of 1 to {len(numbers)}")
    texts = {
        event.fact.message_id: event.fact.text
        for event in log
        if isinstance(event.fact, MessageReceived | MessageFinished)
    }
    for message_id, (_, text) in shown.messages.items():
        if message_id in texts and texts[message_id] != text:
            wrong.append(f"a client shows {text!r} for {texts[message_id]!r}")
    missing = texts.keys() - shown.messages.keys()
    return wrong + [f"a client does not show message {name}" for name in missing]


def _effects(
    log: Sequence[Event],
    effects: Mapping[str, int],
    names: Callable[[ToolCalled], str | None],
) -> list[str]:
    """A write that is done took effect once, one whose outcome is unknown at most once."""
    wrong = [f"{name} took effect {times} times" for name, times in effects.items() if times > 1]
    results = {
        event.fact.tool_call_id: event.fact.outcome
        for event in log
        if isinstance(event.fact, ToolReturned)
    }
    for event in log:
        if isinstance(event.fact, ToolCalled) and (name := names(event.fact)) is not None:
            outcome = results.get(event.fact.tool_call_id)
            times = effects.get(name, 0)
            if outcome == "done" and times != 1:
                wrong.append(f"{name} is done, but took effect {times} times")
            if outcome in {"declined", None} and times:
                wrong.append(f"{name} took effect, but the log does not say so")
    return wrong
