"""Tool calls, their attempts, and the approvals that writes need."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Literal
from uuid import NAMESPACE_URL, UUID, uuid5

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
    RESOLVED_DONE = "resolved_done"
    """Was ambiguous; it is known now that it took effect."""
    RESOLVED_NOT_DONE = "resolved_not_done"
    """Was ambiguous; it is known now that it did not."""


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
    api_id: str | None = None
    """The spec that the operation is of."""
    keyed_for: float | None = None
    """Seconds that the API keeps an idempotency key; None if it takes none."""
    url: str | None = None
    """What it is about: the request's URL without its query."""
    asks: bool = False
    """Whether it needs a yes."""

    @property
    def effect_key(self) -> str:
        """One per effect: of a call said twice in a turn the same, of a new approval another."""
        asked = approval_id_of(self.id) if self.asks else "unasked"
        return str(
            uuid5(
                NAMESPACE_URL,
                f"{self.thread_id}/{self.turn_id}/{self.operation_id}/{self.fingerprint}/{asked}",
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCall:
    """A call as the ledger has it."""

    id: str
    thread_id: ThreadId
    turn_id: TurnId
    operation_id: str
    api_id: str | None
    operation: str
    access: str
    arguments: Mapping[str, Any]
    fingerprint: str
    state: CallState
    content: str | None = None
    code: str | None = None
    effect_key: str | None = None
    keyed_until: datetime | None = None
    accepted: Any = None
    """What the API said when it accepted the call without having done it."""
    sent_at: datetime | None = None
    sent_by: int | None = None
    """The process that noted it as sent."""
    finished_at: datetime | None = None
    checks: int = 0
    check_at: datetime | None = None
    """When to find out next what became of it."""
    resolved_by: str | None = None
    resolved_at: datetime | None = None
    remark: str | None = None

    def pointers(self) -> dict[str, Any]:
        """The call as the pointers of a lookup or status operation see it."""
        return {"arguments": self.arguments, "answer": self.accepted, "key": self.effect_key}


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


class CallMade(SupportError):
    """The same effect was asked for before; `known` says what became of it. Nothing was sent."""

    code = "TOOL_CALL_MADE"
    status = 409
    severity = Severity.LOW

    def __init__(self, known: KnownCall) -> None:
        super().__init__(f"call {known.id} is {known.state.value}")
        self.known = known


class CallSettled(SupportError):
    """Its outcome is not unknown, or not any more."""

    code = "TOOL_CALL_SETTLED"
    status = 409
    severity = Severity.LOW
    user_message = "It is known already what became of that call."


def approval_id_of(tool_call_id: str) -> str:
    """The id of the question about a tool call; a call has one, however often it is asked."""
    return str(uuid5(UUID(tool_call_id), "approval"))


def fingerprint_of(operation_id: str, schema_hash: str, arguments: Mapping[str, Any]) -> str:
    """What an approval is bound to: this operation, as reviewed, with exactly these arguments.

    SHA-256, hex, of their canonical JSON (sorted keys, no blanks).
    """
    canonical = json.dumps(
        [operation_id, schema_hash, arguments], sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
