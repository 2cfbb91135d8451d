"""Who has said yes to a call, for how long, and when that is not enough."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict

from smart_support.errors import Severity, SupportError
from smart_support.events.records import ThreadId

BY_CONSENT = "standing_consent"
"""Who said yes, where the customer had said so for the whole conversation before."""


class LimitReached(SupportError):
    """The customer's calls together pass a limit above which a lead must say yes."""

    code = "TOOL_LIMIT_REACHED"
    status = 409
    severity = Severity.MEDIUM
    user_message = "That is more than I may do by myself; a colleague has to agree."


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """What one customer's calls of one operation may reach within `window`."""

    amount: Callable[[Mapping[str, Any]], float]
    """What a call with these arguments adds; infinite where that cannot be told."""
    limit: float
    window: timedelta
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Whose yes one call needs beside the customer's, as the operator's rules say."""

    lead: tuple[str, ...] = ()
    """The rules by which a lead must say yes, in words; empty: none must."""
    totals: tuple[Total, ...] = ()
    standing: bool = False
    """Whether the customer's yes may have been given for the whole conversation."""


NO_DEMAND = Demand()


class Verdict(TypedDict):
    """What was decided about a call, plain enough for a checkpoint."""

    decision: Literal["pending", "approved", "rejected", "expired", "answered"]
    by: Literal["customer", "lead"]
    """Whose the no, the message or the silence was."""
    message: str | None
    """What was said instead of yes or no, or the reason of a no."""
    arguments: dict[str, Any] | None
    """What the customer changed the arguments to; None if nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewConsent:
    """A customer's wish not to be asked about an operation again in this conversation."""

    operation_id: str
    schema_hash: str
    operation: str
    title: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingConsent:
    """A customer's yes to every call of one operation in one conversation."""

    id: str
    thread_id: ThreadId
    actor: str
    operation_id: str
    schema_hash: str
    operation: str
    title: str
    given_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
