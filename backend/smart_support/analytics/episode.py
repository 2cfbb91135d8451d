"""One conversation as analytics sees it, and what each of its facts adds to the figures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from typing import NamedTuple, TypeVar

from smart_support.analytics.histogram import bucket_of
from smart_support.events.records import (
    ApprovalAsked,
    ApprovalDecided,
    AttemptMade,
    Event,
    HandoffAsked,
    MessageFinished,
    MessageReceived,
    ThreadId,
    ThreadResolved,
    ToolCalled,
    ToolReturned,
    TurnClosed,
    TurnId,
    TurnOpened,
    TurnParked,
)
from smart_support.events.standing import UNHEARD, Standing, Status, stand

_T = TypeVar("_T")

DIMENSION_LENGTH = 120
"""Characters of an operation, a reason or a code that tell it from others."""


class Figure(Enum):
    """What is counted per hour. In brackets: the dimension, and the unit of the total, if any."""

    CONVERSATIONS_OPENED = "conversations_opened"
    CONVERSATIONS_RESOLVED = "conversations_resolved"
    CONVERSATIONS_ABANDONED = "conversations_abandoned"
    CONVERSATIONS_REOPENED = "conversations_reopened"
    MESSAGES = "messages"
    REPLIES = "replies"
    TURNS = "turns"
    """Turns begun; going on after an approval is not another turn."""
    TURNS_DONE = "turns_done"
    TURNS_FAILED = "turns_failed"
    """(error code)"""
    TURNS_CANCELLED = "turns_cancelled"
    """(error code, if there is one)"""
    RESPONSE_MS = "response_ms"
    """(histogram bucket; ms) From a message until its answer or a question for approval."""
    FIRST_TOKEN_MS = "first_token_ms"  # noqa: S105 - the token of a language model
    """(; ms)"""
    TURN_MS = "turn_ms"
    """(; ms) Each run of a turn until its end."""
    INPUT_TOKENS = "input_tokens"
    """(; tokens)"""
    OUTPUT_TOKENS = "output_tokens"
    """(; tokens)"""
    TOOL_CALLS = "tool_calls"
    """(operation) Calls that the model made, whether over or not."""
    TOOL_CALLS_DONE = "tool_calls_done"
    """(operation)"""
    TOOL_CALLS_FAILED = "tool_calls_failed"
    """(operation)"""
    TOOL_CALLS_DECLINED = "tool_calls_declined"
    """(operation)"""
    TOOL_CALLS_UNKNOWN = "tool_calls_unknown"
    """(operation)"""
    ATTEMPTS = "attempts"
    """(operation; ms)"""
    RETRIES = "retries"
    """(operation) Attempts that were not the first of their call."""
    APPROVALS_ASKED = "approvals_asked"
    """(operation)"""
    APPROVALS_APPROVED = "approvals_approved"
    """(operation)"""
    APPROVALS_REJECTED = "approvals_rejected"
    """(operation)"""
    APPROVALS_EXPIRED = "approvals_expired"
    """(operation)"""
    HANDOFFS = "handoffs"
    """(reason)"""


class Key(NamedTuple):
    """What a count belongs to. `hour` is its beginning, in UTC; `dimension` may be empty."""

    hour: datetime
    figure: str
    dimension: str


class Sum(NamedTuple):
    """How often, and how much in all. Whole numbers, so that any order of adding agrees."""

    times: int
    amount: int


NOTHING = Sum(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """A conversation's part in the figures.

    `resolved_at`, `resolved_by` and `abandoned_at` are None again once it is reopened; the
    handoff is the last one and stays. `calls` are the operations of the calls still in progress,
    `unanswered` the times of the messages that have no answer yet, `counted` all that the
    conversation has added to the figures.
    """

    thread_id: ThreadId
    opened_at: datetime
    standing: Standing = UNHEARD
    messages: int = 0
    replies: int = 0
    turns: int = 0
    first_reply_ms: int | None = None
    resolved_at: datetime | None = None
    resolved_by: str | None = None
    handoff_at: datetime | None = None
    handoff_reason: str | None = None
    abandoned_at: datetime | None = None
    reopen_count: int = 0
    calls: Mapping[str, str] = field(default_factory=dict)
    unanswered: Mapping[TurnId, datetime] = field(default_factory=dict)
    counted: Mapping[Key, Sum] = field(default_factory=dict)

    @property
    def handled(self) -> bool:
        """Whether the agent took part: it answered, or handed over to a person."""
        return self.replies > 0 or self.handoff_at is not None

    @property
    def resolved_alone(self) -> bool:
        """Whether the agent answered and the matter is settled without a person's part in it."""
        return self.replies > 0 and self.resolved_at is not None and self.handoff_at is None


def tally(episode: Episode | None, events: Sequence[Event]) -> Episode | None:
    """The episode after `events`; None while there is none.

    Splitting the events in any way gives the same. An unknown fact changes nothing.
    """
    if not events:
        return episode
    counted = dict(episode.counted) if episode else {}
    if episode is None:
        episode = Episode(thread_id=events[0].thread_id, opened_at=events[0].at)
        _add(counted, hour_of(events[0].at), _Increment(Figure.CONVERSATIONS_OPENED))
    for event in events:
        before, episode = episode, _advance(episode, event)
        for increment in _increments(before, episode, event):
            _add(counted, hour_of(event.at), increment)
    return replace(episode, counted=counted)


class Part(Enum):
    """What is counted of the conversations opened in an hour, as they stand now."""

    CONVERSATIONS = "conversations"
    HANDLED = "handled"
    ANSWERED = "answered"
    RESOLVED = "resolved"
    RESOLVED_ALONE = "resolved_alone"
    HANDED_OFF = "handed_off"
    """(reason)"""
    ABANDONED = "abandoned"
    REOPENED = "reopened"
    FIRST_REPLY_MS = "first_reply_ms"
    """(histogram bucket; ms)"""


def cohort_part(episode: Episode | None) -> dict[Key, Sum]:
    """The conversation's part in the cohort of the hour in which it was opened."""
    if episode is None:
        return {}
    first = episode.first_reply_ms
    counts: dict[Part, bool] = {
        Part.CONVERSATIONS: True,
        Part.HANDLED: episode.handled,
        Part.ANSWERED: first is not None,
        Part.RESOLVED: episode.resolved_at is not None,
        Part.RESOLVED_ALONE: episode.resolved_alone,
        Part.ABANDONED: episode.abandoned_at is not None,
        Part.REOPENED: episode.reopen_count > 0,
    }
    hour = hour_of(episode.opened_at)
    found = {Key(hour, part.value, ""): Sum(1, 0) for part, counted in counts.items() if counted}
    if episode.handoff_at is not None:
        found[Key(hour, Part.HANDED_OFF.value, episode.handoff_reason or "")] = Sum(1, 0)
    if first is not None:
        found[Key(hour, Part.FIRST_REPLY_MS.value, str(bucket_of(first)))] = Sum(1, first)
    return found


def difference(after: Mapping[Key, Sum], before: Mapping[Key, Sum]) -> dict[Key, Sum]:
    """What must be added to `before` to have `after`; keys in order, nothing that is zero."""
    changes: dict[Key, Sum] = {}
    for key in sorted({*after, *before}):
        (count, total), (old_count, old_total) = after.get(key, NOTHING), before.get(key, NOTHING)
        change = Sum(count - old_count, total - old_total)
        if change != NOTHING:
            changes[key] = change
    return changes


class _Increment(NamedTuple):
    figure: Figure
    dimension: str | None = ""
    amount: float = 0


def _add(counted: dict[Key, Sum], hour: datetime, increment: _Increment) -> None:
    dimension = (increment.dimension or "")[:DIMENSION_LENGTH]
    key = Key(hour, increment.figure.value, dimension)
    count, total = counted.get(key, NOTHING)
    counted[key] = Sum(count + 1, total + round(increment.amount))


def hour_of(at: datetime) -> datetime:
    """The beginning of the hour of UTC in which `at` lies."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _advance(episode: Episode, event: Event) -> Episode:
    """The episode after `event`, but for what it adds to the figures."""
    standing = stand(episode.standing, event.fact)
    episode = _move(episode, standing, event)
    match event.fact:
        case MessageReceived(turn_id=turn_id):
            return replace(
                episode,
                messages=episode.messages + 1,
                unanswered={**episode.unanswered, turn_id: event.at},
            )
        case TurnOpened(run=1):
            return replace(episode, turns=episode.turns + 1)
        case MessageFinished(turn_id=turn_id):
            first = episode.first_reply_ms
            return replace(
                episode,
                replies=episode.replies + 1,
                first_reply_ms=_since(episode.opened_at, event) if first is None else first,
                unanswered=_without(episode.unanswered, turn_id),
            )
        case TurnParked(turn_id=turn_id) | TurnClosed(turn_id=turn_id):
            return replace(episode, unanswered=_without(episode.unanswered, turn_id))
        case ToolCalled(tool_call_id=call, operation=operation, tool=tool):
            return replace(episode, calls={**episode.calls, call: operation or tool})
        case ToolReturned(tool_call_id=call):
            return replace(episode, calls=_without(episode.calls, call))
        case HandoffAsked(reason=reason):
            return replace(episode, handoff_at=event.at, handoff_reason=reason)
        case _:
            return episode


def _move(episode: Episode, standing: Standing, event: Event) -> Episode:
    """What a change of standing means for when and by whom the conversation was closed."""
    before, after = episode.standing.status, standing.status
    episode = replace(episode, standing=standing)
    if before is after:
        return episode
    if before.closed:
        episode = replace(episode, resolved_at=None, resolved_by=None, abandoned_at=None)
    if before.closed and not after.closed:
        return replace(episode, reopen_count=episode.reopen_count + 1)
    if after is Status.RESOLVED and isinstance(event.fact, ThreadResolved):
        return replace(episode, resolved_at=event.at, resolved_by=event.fact.by)
    if after is Status.ABANDONED:
        return replace(episode, abandoned_at=event.at)
    return episode


def _increments(before: Episode, after: Episode, event: Event) -> Iterator[_Increment]:
    """What `event` adds to the figures of its hour."""
    yield from _closings(before, after)
    match event.fact:
        case MessageReceived():
            yield _Increment(Figure.MESSAGES)
        case TurnOpened(run=1):
            yield _Increment(Figure.TURNS)
        case ToolCalled(tool_call_id=call):
            yield _Increment(Figure.TOOL_CALLS, after.calls[call])
        case AttemptMade(tool_call_id=call, number=number, duration_ms=duration):
            operation = before.calls.get(call)
            yield _Increment(Figure.ATTEMPTS, operation, duration)
            if number > 1:
                yield _Increment(Figure.RETRIES, operation)
        case ToolReturned(tool_call_id=call, outcome=outcome):
            yield _Increment(Figure(f"tool_calls_{outcome}"), before.calls.get(call))
        case ApprovalAsked(tool_call_id=call):
            yield _Increment(Figure.APPROVALS_ASKED, before.calls.get(call))
        case ApprovalDecided(
            tool_call_id=call, decision="approved" | "rejected" | "expired" as decision
        ):
            yield _Increment(Figure(f"approvals_{decision}"), before.calls.get(call))
        case MessageFinished(turn_id=turn_id):
            yield _Increment(Figure.REPLIES)
            yield from _response(before, turn_id, event)
        case TurnParked(turn_id=turn_id):
            yield from _response(before, turn_id, event)
        case HandoffAsked(reason=reason):
            yield _Increment(Figure.HANDOFFS, reason)
        case TurnClosed() as closed:
            yield _Increment(Figure(f"turns_{closed.status}"), closed.code)
            yield _Increment(Figure.TURN_MS, amount=closed.duration_ms)
            if closed.first_token_ms is not None:
                yield _Increment(Figure.FIRST_TOKEN_MS, amount=closed.first_token_ms)
            yield _Increment(Figure.INPUT_TOKENS, amount=closed.input_tokens)
            yield _Increment(Figure.OUTPUT_TOKENS, amount=closed.output_tokens)
        case _:
            pass


def _closings(before: Episode, after: Episode) -> Iterator[_Increment]:
    if after.reopen_count > before.reopen_count:
        yield _Increment(Figure.CONVERSATIONS_REOPENED)
    if after.resolved_at is not None and before.resolved_at is None:
        yield _Increment(Figure.CONVERSATIONS_RESOLVED)
    if after.abandoned_at is not None and before.abandoned_at is None:
        yield _Increment(Figure.CONVERSATIONS_ABANDONED)


def _response(before: Episode, turn_id: TurnId, event: Event) -> Iterator[_Increment]:
    asked = before.unanswered.get(turn_id)
    if asked is not None:
        duration = _since(asked, event)
        yield _Increment(Figure.RESPONSE_MS, str(bucket_of(duration)), duration)


def _since(start: datetime, event: Event) -> int:
    """Milliseconds until the event, never below 0: a clock may be set back."""
    return max(0, round((event.at - start).total_seconds() * 1000))


def _without(mapping: Mapping[str, _T], key: str) -> dict[str, _T]:
    return {other: value for other, value in mapping.items() if other != key}
