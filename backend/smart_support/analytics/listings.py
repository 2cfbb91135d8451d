"""Behind every figure stands a list: the conversations that it counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Literal

from smart_support.analytics.episode import Figure
from smart_support.errors import InvalidInput
from smart_support.events.records import ThreadId


class Listing(Enum):
    """A figure of the dashboard that can be opened. In brackets: what a dimension narrows it to."""

    CONVERSATIONS = "conversations"
    """The first eight: opened in the range, as they stand now."""
    HANDLED = "handled"
    ANSWERED = "answered"
    RESOLVED = "resolved"
    RESOLVED_ALONE = "resolved_alone"
    HANDED_OFF = "handed_off"
    """(reason)"""
    ABANDONED = "abandoned"
    REOPENED = "reopened"
    OPENED = "conversations_opened"
    """From here on: what happened in the range, whenever the conversation was opened."""
    SETTLED = "conversations_resolved"
    GIVEN_UP = "conversations_abandoned"
    WENT_ON = "conversations_reopened"
    HANDOFFS = "handoffs"
    """(reason)"""
    MESSAGES = "messages"
    REPLIES = "replies"
    RESPONSES = "response_ms"
    TURNS = "turns"
    TURNS_DONE = "turns_done"
    TURNS_FAILED = "turns_failed"
    """(error code)"""
    TURNS_CANCELLED = "turns_cancelled"
    """(error code)"""
    TOOL_CALLS = "tool_calls"
    """(operation), and so on to the approvals."""
    TOOL_CALLS_DONE = "tool_calls_done"
    TOOL_CALLS_FAILED = "tool_calls_failed"
    TOOL_CALLS_DECLINED = "tool_calls_declined"
    TOOL_CALLS_UNKNOWN = "tool_calls_unknown"
    TOOL_ERRORS = "tool_errors"
    """Failed or unknown."""
    ATTEMPTS = "attempts"
    RETRIES = "retries"
    APPROVALS_ASKED = "approvals_asked"
    APPROVALS_APPROVED = "approvals_approved"
    APPROVALS_REJECTED = "approvals_rejected"
    APPROVALS_EXPIRED = "approvals_expired"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    TOKENS = "tokens"
    """Input and output."""


Unit = Literal["count", "total"]


@dataclass(frozen=True, slots=True)
class Summed:
    """A figure that is a sum over what was counted: how often, or how much in all."""

    figures: tuple[Figure, ...]
    unit: Unit = "count"


SUMMED: Mapping[Listing, Summed] = {
    **{
        listing: Summed((Figure(listing.value),))
        for listing in Listing
        if listing.value in {figure.value for figure in Figure}
    },
    Listing.TOOL_ERRORS: Summed((Figure.TOOL_CALLS_FAILED, Figure.TOOL_CALLS_UNKNOWN)),
    Listing.INPUT_TOKENS: Summed((Figure.INPUT_TOKENS,), "total"),
    Listing.OUTPUT_TOKENS: Summed((Figure.OUTPUT_TOKENS,), "total"),
    Listing.TOKENS: Summed((Figure.INPUT_TOKENS, Figure.OUTPUT_TOKENS), "total"),
}
"""Listings of what happened in the range. All others count conversations that were opened in it."""

DIVIDED = frozenset(
    {
        Figure.TURNS_FAILED,
        Figure.TURNS_CANCELLED,
        Figure.TOOL_CALLS,
        Figure.TOOL_CALLS_DONE,
        Figure.TOOL_CALLS_FAILED,
        Figure.TOOL_CALLS_DECLINED,
        Figure.TOOL_CALLS_UNKNOWN,
        Figure.ATTEMPTS,
        Figure.RETRIES,
        Figure.APPROVALS_ASKED,
        Figure.APPROVALS_APPROVED,
        Figure.APPROVALS_REJECTED,
        Figure.APPROVALS_EXPIRED,
        Figure.HANDOFFS,
    }
)
"""Figures whose lists a dimension narrows. Others have none, or one that no list is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """One figure of [start, end), widened to whole hours.

    `dimension` narrows it to one operation, reason or code; it may be the empty one.

    Raises:
        InvalidInput: the figure is not divided, but a dimension is given.
    """

    listing: Listing
    start: datetime
    end: datetime
    dimension: str | None = None

    def __post_init__(self) -> None:
        summed = SUMMED.get(self.listing)
        divided = (
            self.listing is Listing.HANDED_OFF
            if summed is None
            else DIVIDED.issuperset(summed.figures)
        )
        if self.dimension is not None and not divided:
            raise InvalidInput(f"The figure {self.listing.value} is not divided by anything.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A conversation, and how much of the figure is its part: 1 where conversations are counted.

    `told` is what else the recorder was made to tell of it.
    """

    thread_id: ThreadId
    part: int
    told: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedPage:
    """Some of the conversations that a figure counts, those opened last first.

    `total` is the figure itself: the sum of all parts. `conversations` is how many have a part,
    None if those are too many to be counted. Both are of the whole list, not of this page.
    `next_after` gives the next page, None if there is none.
    """

    total: int
    conversations: int | None
    threads: tuple[Counted, ...]
    next_after: ThreadId | None
