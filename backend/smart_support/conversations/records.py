"""What a thread and a turn are."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from smart_support.errors import (
    ClientAction,
    ErrorCategory,
    RetryStrategy,
    Severity,
    SupportError,
)
from smart_support.events.records import Event, ThreadId, TurnId


class TurnStatus(Enum):
    """Where a turn stands. At most one turn of a thread is OPEN."""

    QUEUED = "queued"
    OPEN = "open"
    PARKED = "parked"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """One conversation and whose it is."""

    id: ThreadId
    customer_id: str
    customer_name: str
    customer_email: str | None
    with_person: bool
    """A person has it, or was asked to take it; the agents are silent."""
    assigned_to: str | None
    """Id of the support lead who has taken over."""
    assigned_name: str | None
    opened_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message until its final answer. `run` counts how often answering began.

    `epoch` is the thread's in which its owner got it; `recoveries` counts how often it was taken
    over because whoever answered was gone.
    """

    id: TurnId
    thread_id: ThreadId
    message_id: str
    text: str
    status: TurnStatus
    run: int
    epoch: int | None = None
    recoveries: int = 0


class Interruption(Enum):
    """Why a turn that was taken over has no answer."""

    GIVEN_UP = "given_up"
    """It was taken over as often as a turn may be, and each time whoever answered was gone."""
    TOO_LATE = "too_late"
    """When somebody could go on with it, nobody waited for the answer any more."""
    FAILED = "failed"
    """It was gone on with, and failed for a reason of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """A turn that failed after it was taken over. `closed_seq` is the event that says so.

    `answered`: there was an answer in its thread since, of an agent or a person, or the thread
    is resolved.
    """

    turn_id: TurnId
    thread_id: ThreadId
    customer_name: str
    text: str
    kind: Interruption
    code: str
    recoveries: int
    received_at: datetime | None
    closed_at: datetime
    closed_seq: int
    answered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WhichInterrupted:
    """Which of them to list: closed in [start, end); what is None does not narrow the list."""

    start: datetime | None = None
    end: datetime | None = None
    kind: Interruption | None = None
    unanswered: bool = False


@dataclass(frozen=True, slots=True)
class MessageLimit:
    """At most `count` messages of one thread in any `window` seconds."""

    count: int
    window: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What became of a message: the turn that answers it and the events of storing it.

    `duplicate` means that this message id was stored before; then there are no events.
    """

    turn: Turn
    duplicate: bool
    events: tuple[Event, ...]


class TurnNotOpen(SupportError):
    """The turn is not (or no longer) being answered, so that it cannot be moved on."""

    code = "CONV_TURN_NOT_OPEN"
    status = 409
    category = ErrorCategory.NON_RETRYABLE
    severity = Severity.MEDIUM
    user_message = "That is already settled."


class TakenByAnother(SupportError):
    """Another support lead has this conversation."""

    code = "CONV_TAKEN_BY_ANOTHER"
    status = 409
    severity = Severity.LOW
    user_message = "Somebody else has taken this conversation."


class NotTaken(SupportError):
    """Only who has taken over a conversation writes in it as a person."""

    code = "CONV_NOT_TAKEN"
    status = 409
    severity = Severity.LOW
    user_message = "Take the conversation over first."


class HandoffLoop(SupportError):
    """Agents have given this conversation to people for the same reason again and again."""

    code = "CONV_HANDOFF_LOOP"
    status = 409
    severity = Severity.LOW

    def __init__(self, reason: str, times: int) -> None:
        super().__init__(f"handed off {times} times because of {reason}")
        self.user_message = (
            f"The agents have handed this conversation over {times} times for the same reason "
            f"({reason.replace('_', ' ')}). It stays with you; resolve it once it is settled."
        )


class QueueFull(SupportError):
    """Too many messages of this thread wait for an answer."""

    code = "CONV_QUEUE_FULL"
    status = 429
    category = ErrorCategory.RETRYABLE
    severity = Severity.LOW
    user_message = "I still have several of your messages to answer. One moment, please."
    retry = RetryStrategy.AFTER_TIME
    action = ClientAction.WAIT
