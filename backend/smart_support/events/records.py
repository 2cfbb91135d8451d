"""The facts of a thread. Replay, resuming, lifecycle and analytics all read them from one log."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from datetime import datetime
from typing import Any, ClassVar, Literal, TypeAlias

ThreadId: TypeAlias = str
TurnId: TypeAlias = str
Json: TypeAlias = Any

CallOutcome: TypeAlias = Literal["done", "failed", "declined", "unknown"]
Resolution: TypeAlias = Literal["done", "not_done"]
ResolvedHow: TypeAlias = Literal["key", "lookup", "status", "person"]
AttemptOutcome: TypeAlias = Literal["done", "not_sent", "rejected", "unknown"]


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """The customer wrote. `message_id` is the client's own.

    `to_person`: a person has the conversation, so that no agent answers it.
    """

    type: ClassVar[str] = "message_received"
    turn_id: TurnId
    message_id: str
    text: str
    to_person: bool = False


@dataclass(frozen=True, slots=True)
class TurnOpened:
    """Answering began (`run` 1), or went on after an approval (`run` 2 and more)."""

    type: ClassVar[str] = "turn_opened"
    turn_id: TurnId
    run: int
    agent: str
    versions: Mapping[str, str]
    correlation_id: str


@dataclass(frozen=True, slots=True)
class TurnTakenOver:
    """Whoever answered was gone; somebody else goes on where the log ends, for the `time`-th time.

    What was shown of an unfinished answer may be written anew.
    """

    type: ClassVar[str] = "turn_taken_over"
    turn_id: TurnId
    run: int
    time: int
    correlation_id: str


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """The model decided to use a tool. `arguments` are as it gave them, bound ones absent."""

    type: ClassVar[str] = "tool_called"
    turn_id: TurnId
    tool_call_id: str
    tool: str
    operation_id: str | None
    operation: str | None
    title: str
    access: str | None
    arguments: Json


@dataclass(frozen=True, slots=True)
class AttemptMade:
    """One HTTP request for a tool call. Times in milliseconds; `waited_ms` is the pause before."""

    type: ClassVar[str] = "attempt_made"
    turn_id: TurnId
    tool_call_id: str
    number: int
    started_at: str
    duration_ms: float
    waited_ms: float
    request: str
    status: int | None
    category: str | None
    outcome: AttemptOutcome
    error: str | None


@dataclass(frozen=True, slots=True)
class ToolReturned:
    """The call is over. `content` is what the model reads; `code` names the error, if any."""

    type: ClassVar[str] = "tool_returned"
    turn_id: TurnId
    tool_call_id: str
    outcome: CallOutcome
    content: str
    code: str | None


@dataclass(frozen=True, slots=True)
class CallResolved:
    """It is known now what became of a call whose outcome was unknown.

    `how`: the same request with its key was answered, a lookup or the status operation showed
    it, or a person looked. `content` is what the model reads from now on; `remark` is for leads
    and agents, not for the customer.
    """

    type: ClassVar[str] = "call_resolved"
    turn_id: TurnId
    tool_call_id: str
    resolution: Resolution
    how: ResolvedHow
    by: str
    remark: str
    content: str


@dataclass(frozen=True, slots=True)
class ApprovalAsked:
    """A write waits for a yes. `fields` are the exact values that will be sent, in order.

    `audience`: the customer, or a support lead where a rule (`why`) demands one. `arguments` are
    those that the customer may change; `standing`: the yes may be given for the conversation.
    """

    type: ClassVar[str] = "approval_asked"
    turn_id: TurnId
    tool_call_id: str
    approval_id: str
    title: str
    method: str
    url: str
    fields: list[dict[str, str]]
    expires_at: str
    audience: Literal["customer", "lead"] = "customer"
    why: str | None = None
    arguments: Json = None
    standing: bool = False


@dataclass(frozen=True, slots=True)
class ApprovalDecided:
    """Somebody said yes or no, or the time ran out.

    `answered`: a message came instead of a yes or no, as the `reason`. `edited`: the arguments
    were changed, so that another question takes the place of this one.
    """

    type: ClassVar[str] = "approval_decided"
    turn_id: TurnId
    tool_call_id: str
    approval_id: str
    decision: Literal["approved", "rejected", "expired", "answered", "edited"]
    by: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class ConsentGiven:
    """From now on the customer is not asked about one operation in this conversation."""

    type: ClassVar[str] = "consent_given"
    consent_id: str
    operation: str
    title: str
    expires_at: str


@dataclass(frozen=True, slots=True)
class ConsentRevoked:
    """A standing consent counts no more."""

    type: ClassVar[str] = "consent_revoked"
    consent_id: str
    by: str


@dataclass(frozen=True, slots=True)
class TurnParked:
    """The turn waits for approvals; the thread is free for other messages meanwhile."""

    type: ClassVar[str] = "turn_parked"
    turn_id: TurnId
    run: int
    approval_ids: list[str]


@dataclass(frozen=True, slots=True)
class MessageFinished:
    """The agent's answer, whole."""

    type: ClassVar[str] = "message_finished"
    turn_id: TurnId
    message_id: str
    text: str
    agent: str


@dataclass(frozen=True, slots=True)
class AgentChanged:
    """One agent handed over to another within a turn; `reason` is the model's."""

    type: ClassVar[str] = "agent_changed"
    turn_id: TurnId
    tool_call_id: str
    before: str
    after: str
    reason: str


@dataclass(frozen=True, slots=True)
class ConnectionAsked:
    """A call needs the customer's own permission at an API: they are shown a button to give it."""

    type: ClassVar[str] = "connection_asked"
    turn_id: TurnId
    tool_call_id: str
    spec_id: str
    scheme: str
    title: str
    """What was to be done."""


@dataclass(frozen=True, slots=True)
class ModelSwitched:
    """Another language model goes on; `code` names the failure of the one before."""

    type: ClassVar[str] = "model_switched"
    turn_id: TurnId
    before: str
    after: str
    code: str


@dataclass(frozen=True, slots=True)
class HandoffAsked:
    """A person is asked to take over. `by` is `agent` or `customer`, who asks outside of a turn."""

    type: ClassVar[str] = "handoff_asked"
    turn_id: TurnId | None
    reason: str
    note: str
    by: str = "agent"


@dataclass(frozen=True, slots=True)
class PersonTookOver:
    """A support lead has the conversation now; the agents are silent."""

    type: ClassVar[str] = "person_took_over"
    by: str
    name: str


@dataclass(frozen=True, slots=True)
class PersonAnswered:
    """A support lead wrote to the customer. `message_id` is the client's own."""

    type: ClassVar[str] = "person_answered"
    message_id: str
    text: str
    by: str
    name: str


@dataclass(frozen=True, slots=True)
class GivenBack:
    """The agents answer again. `remark` is for them and for other leads, not for the customer."""

    type: ClassVar[str] = "given_back"
    by: str
    name: str
    remark: str


@dataclass(frozen=True, slots=True)
class TurnClosed:
    """The turn is over. `code` and `message` say why when it failed; durations in milliseconds.

    `first_token_ms` is None when no token was shown. Tokens count this run only.
    """

    type: ClassVar[str] = "turn_closed"
    turn_id: TurnId
    run: int
    status: Literal["done", "failed", "cancelled"]
    duration_ms: float
    first_token_ms: float | None
    model_calls: int
    input_tokens: int
    output_tokens: int
    code: str | None
    message: str | None
    correlation_id: str


@dataclass(frozen=True, slots=True)
class ThreadResolved:
    """The customer or a lead said that the matter is settled."""

    type: ClassVar[str] = "thread_resolved"
    by: str


@dataclass(frozen=True, slots=True)
class ThreadAbandoned:
    """The customer stayed silent for longer than the installation waits."""

    type: ClassVar[str] = "thread_abandoned"
    idle_seconds: float


Fact: TypeAlias = (
    MessageReceived
    | TurnOpened
    | TurnTakenOver
    | ToolCalled
    | AttemptMade
    | ToolReturned
    | CallResolved
    | ApprovalAsked
    | ApprovalDecided
    | ConsentGiven
    | ConsentRevoked
    | TurnParked
    | MessageFinished
    | AgentChanged
    | ConnectionAsked
    | ModelSwitched
    | HandoffAsked
    | PersonTookOver
    | PersonAnswered
    | GivenBack
    | TurnClosed
    | ThreadResolved
    | ThreadAbandoned
)

FACTS: Mapping[str, type[Fact]] = {
    fact.type: fact
    for fact in (
        MessageReceived,
        TurnOpened,
        TurnTakenOver,
        ToolCalled,
        AttemptMade,
        ToolReturned,
        CallResolved,
        ApprovalAsked,
        ApprovalDecided,
        ConsentGiven,
        ConsentRevoked,
        TurnParked,
        MessageFinished,
        AgentChanged,
        ConnectionAsked,
        ModelSwitched,
        HandoffAsked,
        PersonTookOver,
        PersonAnswered,
        GivenBack,
        TurnClosed,
        ThreadResolved,
        ThreadAbandoned,
    )
}


@dataclass(frozen=True, slots=True)
class Event:
    """A committed fact: the `seq`-th of its thread, counted from 1 without gaps."""

    thread_id: ThreadId
    seq: int
    at: datetime
    fact: Fact


def payload_of(fact: Fact) -> dict[str, Json]:
    """The fact as JSON, without its type."""
    return asdict(fact)


def fact_of(type_: str, payload: Mapping[str, Json]) -> Fact:
    """The fact that `payload_of` made this JSON from.

    Keys that this version does not know are left out, so that an older process can read what a
    newer one wrote.

    Raises:
        KeyError: no fact has this type.
    """
    known = _FIELDS[type_]
    return FACTS[type_](**{name: value for name, value in payload.items() if name in known})


def whole_payload(type_: str, payload: Mapping[str, Json]) -> dict[str, Json]:
    """The same as `payload_of(fact_of(type_, payload))`, without the detour, with the type first.

    Raises:
        KeyError: no fact has this type, or a field is missing.
    """
    fields_of = _FIELDS[type_]
    if payload.keys() == fields_of.keys():
        return {"type": type_, **payload}
    found: dict[str, Json] = {"type": type_}
    for name, default in fields_of.items():
        found[name] = payload[name] if name in payload or default is MISSING else default
    return found


_FIELDS: Mapping[str, Mapping[str, Json]] = {
    type_: {field.name: field.default for field in fields(kind)} for type_, kind in FACTS.items()
}
"""The fields of each fact, and what they are where an older version did not write them."""
