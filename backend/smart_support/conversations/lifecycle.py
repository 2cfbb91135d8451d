"""How each conversation stands, derived from its log."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from smart_support.events.consumer import EventConsumer
from smart_support.events.records import (
    ApprovalAsked,
    ApprovalDecided,
    AttemptMade,
    Event,
    HandoffAsked,
    MessageReceived,
    ThreadId,
    ToolCalled,
    ToolReturned,
    TurnClosed,
    TurnOpened,
)
from smart_support.events.standing import UNHEARD, Standing, Status, stand

TITLE_LENGTH = 80
"""Characters of the first message that make the title."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """A conversation from afar.

    `agent` is the one that answered last; `handoff_reason` the one given last, kept after the
    matter is resolved. `errors` counts failed turns, and tool calls that failed or whose outcome
    is unknown. `closed_at` is when it was resolved or abandoned, None while it is neither.
    """

    thread_id: ThreadId
    standing: Standing
    title: str
    opened_at: datetime
    last_event_at: datetime
    closed_at: datetime | None = None
    agent: str | None = None
    handoff_reason: str | None = None
    turns: int = 0
    tool_calls: int = 0
    attempts: int = 0
    errors: int = 0
    approvals_asked: int = 0
    approvals_approved: int = 0
    approvals_rejected: int = 0

    @property
    def status(self) -> Status:
        return self.standing.status


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadFilter:
    """Which conversations to list; what is None does not narrow the list.

    `text` is looked for in the titles, as it is written, in upper or lower case. `among` are ids.
    """

    status: Status | None = None
    customer_id: str | None = None
    text: str | None = None
    among: frozenset[ThreadId] | None = None


EVERY_THREAD = ThreadFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadSummary:
    """One line of the list."""

    lifecycle: Lifecycle
    customer_id: str
    customer_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadPage:
    """`next_after` is what gives the next page; None if this is the last."""

    threads: tuple[ThreadSummary, ...]
    next_after: ThreadId | None


class ConversationTracker(EventConsumer, Protocol):
    """Remembers how each conversation stands. Each method is one transaction."""

    async def lifecycle(self, thread_id: ThreadId) -> Lifecycle:
        """How the conversation stands.

        Raises:
            NotFound: nothing was taken in of this thread.
        """
        ...

    async def threads(
        self, which: ThreadFilter = EVERY_THREAD, after: ThreadId | None = None, limit: int = 50
    ) -> ThreadPage:
        """At most `limit` conversations, those opened last first, beginning behind `after`.

        The order is by when they were opened, so that none is skipped or seen twice because
        something happened in it between two pages. An unknown `after` gives an empty page.
        """
        ...

    async def idle_since(self, before: datetime, limit: int) -> list[ThreadId]:
        """Conversations that wait for a customer who was last heard of before `before`.

        At most `limit`, the most silent first.
        """
        ...


def fold(lifecycle: Lifecycle | None, event: Event) -> Lifecycle:
    """How the conversation stands after `event`; `lifecycle` is None before its first.

    A fact that is not understood moves `last_event_at` and nothing else. That time never goes
    back, also if the clock did.
    """
    now = lifecycle or Lifecycle(
        thread_id=event.thread_id,
        standing=UNHEARD,
        title="",
        opened_at=event.at,
        last_event_at=event.at,
    )
    standing = stand(now.standing, event.fact)
    closed_at = None
    if standing.status.closed:
        closed_at = now.closed_at if standing.status is now.status else event.at
    now = replace(
        now,
        standing=standing,
        closed_at=closed_at,
        last_event_at=max(now.last_event_at, event.at),
    )
    match event.fact:
        case MessageReceived(text=text) if not now.title:
            return replace(now, title=" ".join(text.split())[:TITLE_LENGTH])
        case TurnOpened(run=run, agent=agent):
            return replace(now, agent=agent, turns=now.turns + (run == 1))
        case ToolCalled():
            return replace(now, tool_calls=now.tool_calls + 1)
        case AttemptMade():
            return replace(now, attempts=now.attempts + 1)
        case ToolReturned(outcome="failed" | "unknown") | TurnClosed(status="failed"):
            return replace(now, errors=now.errors + 1)
        case ApprovalAsked():
            return replace(now, approvals_asked=now.approvals_asked + 1)
        case ApprovalDecided(decision="approved"):
            return replace(now, approvals_approved=now.approvals_approved + 1)
        case ApprovalDecided(decision="rejected"):
            return replace(now, approvals_rejected=now.approvals_rejected + 1)
        case HandoffAsked(reason=reason):
            return replace(now, handoff_reason=reason)
        case _:
            return now


def fold_all(lifecycle: Lifecycle | None, events: Sequence[Event]) -> Lifecycle | None:
    """`fold` over `events`, in order."""
    for event in events:
        lifecycle = fold(lifecycle, event)
    return lifecycle
