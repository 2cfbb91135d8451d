"""What went wrong in the conversations: each error a trouble, with where it was and when it ended.

A trouble is over when the same thing works again in the same conversation: a later turn is
answered, a later call of the operation is done, a call gets over its failed attempts.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import sqrt
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from smart_support.analytics.episode import Key, Sum, hour_of
from smart_support.events.records import (
    AgentChanged,
    AttemptMade,
    Event,
    ThreadId,
    ToolCalled,
    ToolReturned,
    TurnClosed,
    TurnId,
    TurnOpened,
)
from smart_support.resilience.upstream_errors import code_of_attempt

Kind: TypeAlias = Literal["turn", "call", "attempt"]
LABEL_LENGTH = 120
UNNAMED = "SYS_INTERNAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One error: of a turn, of a tool call, or of one of its attempts.

    `fingerprint` is the same for errors that look the same. `subject` is what has to work again.
    """

    seq: int
    at: datetime
    turn_id: TurnId
    kind: Kind
    code: str
    operation: str | None
    upstream: str | None
    agent: str | None
    correlation_id: str | None
    fingerprint: str
    subject: str


@dataclass(slots=True)
class Reading:
    """How far a thread's troubles are read: what the fold needs to go on."""

    operations: dict[str, str] = field(default_factory=dict)
    """Tool call -> operation, of calls that are under way."""
    upstreams: dict[str, str] = field(default_factory=dict)
    """Tool call -> where its last attempt went."""
    agents: dict[TurnId, str] = field(default_factory=dict)
    """Turn -> who answers it, of turns that are under way."""
    correlations: dict[TurnId, str] = field(default_factory=dict)
    open: dict[str, list[int]] = field(default_factory=dict)
    """Subject -> the troubles that are not over."""

    def plain(self) -> dict[str, Any]:
        return {
            "operations": self.operations,
            "upstreams": self.upstreams,
            "agents": self.agents,
            "correlations": self.correlations,
            "open": self.open,
        }


@dataclass(frozen=True, slots=True)
class Recovered:
    """These troubles are over since `at`."""

    seqs: tuple[int, ...]
    at: datetime


def read(reading: Reading, events: Sequence[Event]) -> Iterator[Trouble | Recovered]:
    """What the events, which come after those of `reading`, tell; moves `reading` on."""
    for event in events:
        for found in _read(reading, event):
            if isinstance(found, Trouble):
                reading.open.setdefault(found.subject, []).append(found.seq)
            yield found


def _read(reading: Reading, event: Event) -> Iterator[Trouble | Recovered]:
    match event.fact:
        case TurnOpened() as fact:
            reading.agents[fact.turn_id] = fact.agent
            reading.correlations[fact.turn_id] = fact.correlation_id
        case AgentChanged() as fact:
            reading.agents[fact.turn_id] = fact.after
        case ToolCalled() as fact:
            if fact.operation is not None:
                reading.operations[fact.tool_call_id] = fact.operation[:LABEL_LENGTH]
        case AttemptMade() as fact:
            reading.upstreams[fact.tool_call_id] = upstream_of(fact.request)
            if fact.outcome != "done":
                yield _attempt(reading, event, fact)
        case ToolReturned() as fact:
            yield from _returned(reading, event, fact)
        case TurnClosed() as fact:
            yield from _closed(reading, event, fact)


def _attempt(reading: Reading, event: Event, fact: AttemptMade) -> Trouble:
    code = code_of_attempt(fact.status, fact.category)
    return _trouble(
        reading,
        event,
        kind="attempt",
        code=code,
        turn_id=fact.turn_id,
        call=fact.tool_call_id,
        subject=f"attempts {fact.tool_call_id}",
        text=fact.error or "",
    )


def _returned(reading: Reading, event: Event, fact: ToolReturned) -> Iterator[Trouble | Recovered]:
    operation = reading.operations.get(fact.tool_call_id, "")
    if fact.outcome == "done":
        yield from _over(reading, event, f"attempts {fact.tool_call_id}")
        yield from _over(reading, event, f"operation {operation}")
    elif fact.outcome in {"failed", "unknown"}:
        fallback = "TOOL_OUTCOME_UNKNOWN" if fact.outcome == "unknown" else "API_UNAVAILABLE"
        yield _trouble(
            reading,
            event,
            kind="call",
            code=fact.code or fallback,
            turn_id=fact.turn_id,
            call=fact.tool_call_id,
            subject=f"operation {operation}",
        )
    reading.open.pop(f"attempts {fact.tool_call_id}", None)  # the call is over, one way or another
    reading.operations.pop(fact.tool_call_id, None)
    reading.upstreams.pop(fact.tool_call_id, None)


def _closed(reading: Reading, event: Event, fact: TurnClosed) -> Iterator[Trouble | Recovered]:
    if fact.status == "done":
        yield from _over(reading, event, "turn")
    elif fact.status == "failed":
        yield _trouble(
            reading,
            event,
            kind="turn",
            code=fact.code or UNNAMED,
            turn_id=fact.turn_id,
            call=None,
            subject="turn",
        )
    reading.agents.pop(fact.turn_id, None)
    reading.correlations.pop(fact.turn_id, None)


def _over(reading: Reading, event: Event, subject: str) -> Iterator[Recovered]:
    if seqs := reading.open.pop(subject, None):
        yield Recovered(tuple(seqs), event.at)


def _trouble(
    reading: Reading,
    event: Event,
    *,
    kind: Kind,
    code: str,
    turn_id: TurnId,
    call: str | None,
    subject: str,
    text: str = "",
) -> Trouble:
    operation = reading.operations.get(call) if call else None
    upstream = reading.upstreams.get(call) if call else None
    return Trouble(
        seq=event.seq,
        at=event.at,
        turn_id=turn_id,
        kind=kind,
        code=code[:LABEL_LENGTH],
        operation=operation,
        upstream=upstream,
        agent=reading.agents.get(turn_id),
        correlation_id=reading.correlations.get(turn_id),
        fingerprint=fingerprint_of(kind, code, operation, text),
        subject=subject,
    )


def upstream_of(request: str) -> str:
    """Where a request such as `GET https://shop.test/orders` went: host and port."""
    url = request.partition(" ")[2]
    try:
        host = urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        host = ""
    return (host or "unknown")[:LABEL_LENGTH]


_VARYING = re.compile(
    r"0x[0-9a-f]+|[0-9a-f]{8}-[0-9a-f-]{27}|\"[^\"]*\"|'[^']*'|\d+(\.\d+)?", re.IGNORECASE
)


def fingerprint_of(kind: Kind, code: str, operation: str | None, text: str) -> str:
    """The same for errors that differ only in ids, numbers and what is quoted."""
    shape = _VARYING.sub("#", text)[:300]
    said = "\0".join((kind, code, operation or "", shape))
    return hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()[:12]


Told: TypeAlias = Literal["all", "code", "operation", "upstream", "agent"]
"""What troubles are counted by."""
RECOVERED = " recovered"
"""Behind what is counted: those of them that are over, and after how many microseconds in all."""
PATTERN = "pattern"
PATTERN_CONVERSATIONS = "pattern conversations"
"""Conversations that have such a trouble for the first time."""
HOUR_OF_DAY = "hour of day"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is counted of a trouble. `first`: the first of its conversation that looks like it."""

    at: datetime
    code: str
    operation: str | None
    upstream: str | None
    agent: str | None
    fingerprint: str
    recovered_at: datetime | None
    first: bool


def increments(kept: Kept) -> dict[Key, Sum]:
    """What it adds to the sums of its hour, but for its recovery."""
    hour = hour_of(kept.at)
    found = {
        Key(hour, PATTERN, kept.fingerprint): Sum(1, 0),
        Key(hour, HOUR_OF_DAY, f"{hour:%H}"): Sum(1, 0),
    }
    if kept.first:
        found[Key(hour, PATTERN_CONVERSATIONS, kept.fingerprint)] = Sum(1, 0)
    return found | {Key(hour, told, name): Sum(1, 0) for told, name in _told(kept)}


def recovery(kept: Kept) -> dict[Key, Sum]:
    """What it adds to the sums of its hour once it is over."""
    if kept.recovered_at is None:
        return {}
    took = (kept.recovered_at - kept.at) // timedelta(microseconds=1)
    hour = hour_of(kept.at)
    return {Key(hour, told + RECOVERED, name): Sum(1, took) for told, name in _told(kept)}


def _told(kept: Kept) -> Iterator[tuple[Told, str]]:
    yield "all", ""
    yield "code", kept.code
    if kept.operation is not None:
        yield "operation", kept.operation
    if kept.upstream is not None:
        yield "upstream", kept.upstream
    if kept.agent is not None:
        yield "agent", kept.agent


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How often something went wrong, and how often it got over it."""

    name: str
    troubles: int
    recovered: int
    mean_recovery_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """Troubles that look the same."""

    fingerprint: str
    kind: Kind
    code: str
    operation: str | None
    upstream: str | None
    troubles: int
    conversations: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """One hour, and what is usual for it: the mean of the same hour of the days before.

    `odd`: more than chance explains.
    """

    start: datetime
    troubles: int
    usual: float
    odd: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Troubles:
    """What went wrong in a range."""

    total: Count
    by_code: tuple[Count, ...]
    by_operation: tuple[Count, ...]
    by_upstream: tuple[Count, ...]
    by_agent: tuple[Count, ...]
    patterns: tuple[Pattern, ...]
    hours: tuple[Hour, ...]
    """Of a range of more than `MOST_HOURS` only the odd ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Which troubles of a range; None does not narrow."""

    start: datetime
    end: datetime
    code: str | None = None
    operation: str | None = None
    upstream: str | None = None
    agent: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Troubled:
    """A conversation with so many of the troubles."""

    thread_id: ThreadId
    troubles: int
    last_at: datetime


MOST_HOURS = 1_000

LEAST_ODD = 5
"""Troubles in an hour below which nothing is odd."""
DEVIATIONS = 3.0


def is_odd(troubles: int, usual: float) -> bool:
    """Whether an hour has more troubles than chance explains, if `usual` is its mean.

    Rare things that happen independently scatter by the square root of their mean (Poisson);
    three of those are passed by chance about once in a thousand hours. One is added, since a
    mean of few days is uncertain itself.
    """
    return troubles >= LEAST_ODD and troubles > usual + DEVIATIONS * sqrt(usual + 1)


def restored(plain: Mapping[str, Any]) -> Reading:
    """The reading that `Reading.plain` made this from."""
    return Reading(
        operations=dict(plain["operations"]),
        upstreams=dict(plain["upstreams"]),
        agents=dict(plain["agents"]),
        correlations=dict(plain["correlations"]),
        open={subject: list(seqs) for subject, seqs in plain["open"].items()},
    )
