"""How a conversation stands after each of its facts. Lifecycle and analytics share this answer."""

from dataclasses import dataclass
from enum import Enum

from smart_support.events.records import (
    Fact,
    GivenBack,
    HandoffAsked,
    MessageReceived,
    PersonTookOver,
    ThreadAbandoned,
    ThreadResolved,
    TurnClosed,
    TurnId,
    TurnOpened,
    TurnParked,
)


class Status(Enum):
    """Whose move it is."""

    OPENED = "opened"
    """A message is being answered."""
    WAITING = "waiting"
    """The agent has answered or asks for approval: the customer's move."""
    HANDED_OFF = "handed_off"
    """A person was asked to take over; stays so until it is given back or resolved."""
    RESOLVED = "resolved"
    ABANDONED = "abandoned"

    @property
    def closed(self) -> bool:
        return self in (Status.RESOLVED, Status.ABANDONED)


@dataclass(frozen=True, slots=True)
class Standing:
    """`answering` are the turns that owe the customer something, in the order they began."""

    status: Status
    answering: tuple[TurnId, ...] = ()


UNHEARD = Standing(Status.WAITING)
"""How a conversation stands before its first fact."""


def stand(standing: Standing, fact: Fact) -> Standing:
    """How the conversation stands after `fact`.

    A message, or a turn that goes on, reopens what was closed. Silence closes only what waits
    for the customer: a log may hold a `thread_abandoned` that a message has overtaken.
    """
    status, answering = standing.status, standing.answering
    match fact:
        case MessageReceived(to_person=True):
            status = Status.HANDED_OFF
        case MessageReceived(turn_id=turn_id) | TurnOpened(turn_id=turn_id):
            if turn_id not in answering:
                answering = (*answering, turn_id)
            status = Status.HANDED_OFF if status is Status.HANDED_OFF else Status.OPENED
        case TurnParked(turn_id=turn_id) | TurnClosed(turn_id=turn_id):
            answering = tuple(turn for turn in answering if turn != turn_id)
            if status is Status.OPENED and not answering:
                status = Status.WAITING
        case HandoffAsked() | PersonTookOver():
            status = Status.HANDED_OFF
        case GivenBack() if status is Status.HANDED_OFF:
            status = Status.OPENED if answering else Status.WAITING
        case ThreadResolved():
            status = Status.RESOLVED
        case ThreadAbandoned() if status is Status.WAITING:
            status = Status.ABANDONED
        case _:
            pass
    return Standing(status, answering)
