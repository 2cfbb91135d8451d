"""Tool calls, their attempts, and the approvals that writes need."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Literal

from smart_support.errors import ErrorCategory, Severity, SupportError
from smart_support.events.records import ThreadId, TurnId


class CallState(Enum):
    """Where a tool call stands. Moves are compare-and-set; `SENT` is committed before sending."""

    PLANNED = "planned"
    AWAITING_APPROVAL = "awaiting_approval"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    SENT = "sent"
    DONE = "done"
    FAILED = "failed"
    AMBIGUOUS = "ambiguous"
    """Something was sent and nobody knows what became of it. Never repeated."""


class ApprovalState(Enum):
    """Where an approval stands. `USED` was approved and has let its one call through.

    `ANSWERED`: a message instead of a yes or no. `EDITED`: another question, about changed
    arguments, has taken its place.
    """

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    USED = "used"
    ANSWERED = "answered"
    EDITED = "edited"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCall:
    """A tool call before anything is sent. `arguments` are complete, bound ones included."""

    id: str
    thread_id: ThreadId
    turn_id: TurnId
    operation_id: str
    operation: str
    access: str
    arguments: Mapping[str, Any]
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One HTTP request of a call. Durations in milliseconds."""

    number: int
    started_at: datetime
    duration_ms: float
    waited_ms: float
    request: str
    status: int | None
    category: str | None
    outcome: str
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A question to a person about one exact call, and the answer.

    `actor` is the customer for whom the call is made, also where a lead is asked.
    """

    id: str
    tool_call_id: str
    thread_id: ThreadId
    turn_id: TurnId
    actor: str
    fingerprint: str
    title: str
    method: str
    url: str
    fields: list[dict[str, str]]
    state: ApprovalState
    asked_at: datetime
    expires_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    reason: str | None
    audience: Literal["customer", "lead"]
    why: str | None
    """The rule by which a lead is asked."""
    arguments: Mapping[str, Any] | None
    """As the model sees them, bound ones absent; None for what was asked by an older version."""
    edited: bool
    """The customer changed the arguments before they were asked again."""


class ApprovalSettled(SupportError):
    """The question has its answer already; an approval counts once."""

    code = "CONV_APPROVAL_SETTLED"
    status = 409
    severity = Severity.LOW
    user_message = "That question has been answered already."


class ApprovalExpired(SupportError):
    """A yes came after the time in which it was valid; the customer is asked again."""

    code = "CONV_APPROVAL_EXPIRED"
    status = 409
    severity = Severity.LOW
    user_message = "That confirmation is no longer valid. Shall I ask you again?"


class ApprovalMissing(SupportError):
    """A call that needs a yes has none for exactly these arguments; nothing was sent."""

    code = "TOOL_APPROVAL_MISSING"
    status = 409
    severity = Severity.HIGH
    category = ErrorCategory.NON_RETRYABLE
    user_message = "I may not do that without your yes."


class CallMoved(SupportError):
    """The call is not in the state that the move needs; somebody else moved it first."""

    code = "TOOL_CALL_MOVED"
    status = 409
    severity = Severity.HIGH


def fingerprint_of(operation_id: str, schema_hash: str, arguments: Mapping[str, Any]) -> str:
    """What an approval is bound to: this operation, as reviewed, with exactly these arguments.

    SHA-256, hex, of their canonical JSON (sorted keys, no blanks).
    """
    canonical = json.dumps(
        [operation_id, schema_hash, arguments], sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
