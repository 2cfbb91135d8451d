"""Facts and live text as AG-UI 1.0 events (ag-ui-protocol), as `docs/protocol.md` says.

A customer sees what is done for them, not what our systems said to each other: results of calls
and the reasons of failed attempts stay out of these events.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from ag_ui.core import (
    PROTOCOL_VERSION,
    BaseEvent,
    CustomEvent,
    Interrupt,
    RunErrorEvent,
    RunFinishedCancelledOutcome,
    RunFinishedEvent,
    RunFinishedInterruptOutcome,
    RunFinishedSuccessOutcome,
    RunStartedEvent,
    TextMessageContentEvent,
    TextMessageEndEvent,
    TextMessageStartEvent,
    TokenUsage,
    ToolCallArgsEvent,
    ToolCallEndEvent,
    ToolCallResultEvent,
    ToolCallStartEvent,
)

from smart_support.agent.state import LiveText
from smart_support.chat.follow import Live, Waiting
from smart_support.errors import action_of
from smart_support.events.records import (
    AgentChanged,
    ApprovalAsked,
    ApprovalDecided,
    AttemptMade,
    CallResolved,
    ConnectionAsked,
    ConsentGiven,
    ConsentRevoked,
    Event,
    Fact,
    GivenBack,
    HandoffAsked,
    MessageFinished,
    MessageReceived,
    ModelSwitched,
    PersonAnswered,
    PersonTookOver,
    ThreadAbandoned,
    ThreadId,
    ThreadResolved,
    ToolCalled,
    ToolReturned,
    TurnClosed,
    TurnId,
    TurnOpened,
    TurnParked,
    TurnTakenOver,
)


class Speaker:
    """Turns what happens in one thread into frames for one connection.

    It remembers how much of an unfinished answer this connection has, so that the end of it
    brings exactly the rest.
    """

    def __init__(self, thread_id: ThreadId, last_seq: int = 0) -> None:
        """`last_seq` is the last fact that this connection has had."""
        self._thread_id = thread_id
        self._asked: dict[str, ApprovalAsked] = {}
        self._shown: dict[str, str] = {}
        self._finished: set[str] = set()
        self._unfinished: set[str] = set()
        self._resumed = last_seq > 0
        self._last_seq = last_seq
        self._last_run: tuple[TurnId, int] | None = None

    def doubts(self, item: Event | Live) -> bool:
        """Whether it may be a piece of a message that the client has had finished.

        Words of another process arrive a moment after what was read from the log, and a process
        still has the words of its own for a moment after the end of them was committed. Who has
        read that, and comes back in this moment, would be told to begin the message again.
        """
        return (
            self._resumed
            and isinstance(item, LiveText)
            and item.message_id not in self._shown.keys() | self._finished | self._unfinished
        )

    def believe(self, item: Event | Live, finished: Iterable[str]) -> None:
        """Take the log's word for a piece in doubt: `finished` are the newest of its messages."""
        self._finished.update(finished)
        if isinstance(item, LiveText) and item.message_id not in self._finished:
            self._unfinished.add(item.message_id)

    def frames(self, item: Event | Live) -> Iterator[dict[str, Any]]:
        """The frames of one item; nothing for what this connection has had already."""
        if isinstance(item, LiveText):
            yield from self._live(item)
            return
        if isinstance(item, Waiting):
            # What was read from the log may be ahead of what was told.
            if self._last_run != (item.turn_id, item.run):
                run_id = _run_id(item.turn_id, item.run)
                about = {"thread_id": self._thread_id, "run_id": run_id, "before": item.before}
                yield {"waiting": about}
            return
        if item.seq <= self._last_seq:
            return
        self._last_seq = item.seq
        if isinstance(item.fact, TurnOpened | TurnClosed):
            self._last_run = (item.fact.turn_id, item.fact.run)
        events = list(self._events(item.fact))
        for place, event in enumerate(events):
            last = place == len(events) - 1
            yield {
                "thread_id": self._thread_id,
                "seq": item.seq if last else None,
                "at": item.at.isoformat(),
                "event": _wire(event),
            }

    def _live(self, item: LiveText) -> Iterator[dict[str, Any]]:
        message_id = item.message_id
        if message_id in self._finished:
            return
        shown = self._shown.get(message_id)
        if item.restart and shown is not None:
            # A start of a message that was begun before begins it again from empty.
            shown = None
        if item.offset > len(shown or ""):
            return  # what comes before is not here yet; the finished message brings it all
        if shown is None:
            yield self._unnumbered(_started(message_id, "assistant"))
            shown = ""
        place = _first_difference(shown, item)
        if text := item.text[place - item.offset :]:
            # A TextMessageContentEvent, written by hand: one is made for every token.
            content = {"type": "TEXT_MESSAGE_CONTENT", "messageId": message_id, "delta": text}
            yield {
                "thread_id": self._thread_id,
                "seq": None,
                "at": None,
                "event": content,
                "offset": place,
            }
            shown = shown[:place] + text
        self._shown[message_id] = shown

    def _unnumbered(self, event: BaseEvent) -> dict[str, Any]:
        return {"thread_id": self._thread_id, "seq": None, "at": None, "event": _wire(event)}

    def _events(self, fact: Fact) -> Iterator[BaseEvent]:
        match fact:
            case MessageReceived():
                yield from _message(fact.message_id, "user", fact.text)
            case MessageFinished():
                yield from self._answer(fact)
            case TurnOpened():
                yield RunStartedEvent(
                    thread_id=self._thread_id,
                    run_id=_run_id(fact.turn_id, fact.run),
                    protocol_version=PROTOCOL_VERSION,
                )
            case TurnTakenOver():
                yield _custom("turn_resumed", run_id=_run_id(fact.turn_id, fact.run))
            case ToolCalled():
                yield from _tool_call(fact)
            case AttemptMade():
                yield _custom(
                    "attempt",
                    tool_call_id=fact.tool_call_id,
                    number=fact.number,
                    outcome=fact.outcome,
                )
            case ToolReturned():
                yield ToolCallResultEvent(
                    message_id=f"{fact.tool_call_id}.result",
                    tool_call_id=fact.tool_call_id,
                    content=json.dumps({"outcome": fact.outcome}),
                )
            case CallResolved():
                yield _custom(
                    "call_resolved",
                    tool_call_id=fact.tool_call_id,
                    resolution=fact.resolution,
                )
            case ApprovalAsked():
                self._asked[fact.approval_id] = fact
                yield _custom(
                    "approval_asked",
                    approval_id=fact.approval_id,
                    tool_call_id=fact.tool_call_id,
                    title=fact.title,
                    method=fact.method,
                    url=fact.url,
                    fields=fact.fields,
                    expires_at=fact.expires_at,
                    audience=fact.audience,
                    arguments=fact.arguments,
                    standing=fact.standing,
                )
            case ConsentGiven():
                yield _custom(
                    "consent_given",
                    consent_id=fact.consent_id,
                    title=fact.title,
                    expires_at=fact.expires_at,
                )
            case ConsentRevoked():
                yield _custom("consent_revoked", consent_id=fact.consent_id)
            case TurnParked():
                yield self._parked(fact)
            case ApprovalDecided():
                yield _custom(
                    "approval_decided",
                    approval_id=fact.approval_id,
                    tool_call_id=fact.tool_call_id,
                    decision=fact.decision,
                    by=fact.by,
                )
            case AgentChanged():
                yield _custom(
                    "agent_changed",
                    tool_call_id=fact.tool_call_id,
                    before=fact.before,
                    after=fact.after,
                )
            case ConnectionAsked():
                yield _custom(
                    "connection_asked",
                    tool_call_id=fact.tool_call_id,
                    spec_id=fact.spec_id,
                    scheme=fact.scheme,
                    title=fact.title,
                )
            case ModelSwitched():
                yield _custom("model_switched", stand_by=True)
            case HandoffAsked():
                yield _custom("handoff", reason=fact.reason, note=fact.note)
            case PersonTookOver():
                yield _custom("person_joined", person=fact.name)
            case PersonAnswered():
                yield from _message(fact.message_id, "assistant", fact.text, person=fact.name)
            case GivenBack():
                yield _custom("person_left", person=fact.name)
            case ThreadResolved():
                yield _custom("thread_status", status="resolved")
            case ThreadAbandoned():
                yield _custom("thread_status", status="abandoned")
            case TurnClosed():
                yield self._closed(fact)

    def _answer(self, fact: MessageFinished) -> Iterator[BaseEvent]:
        shown = self._shown.pop(fact.message_id, None)
        self._finished.add(fact.message_id)
        if shown is None or not fact.text.startswith(shown):
            yield from _message(fact.message_id, "assistant", fact.text)
            return
        if rest := fact.text[len(shown) :]:
            yield TextMessageContentEvent(message_id=fact.message_id, delta=rest)
        yield TextMessageEndEvent(message_id=fact.message_id)

    def _parked(self, fact: TurnParked) -> BaseEvent:
        interrupts = []
        for approval_id in fact.approval_ids:
            asked = self._asked.get(approval_id)
            interrupts.append(
                Interrupt(
                    id=approval_id,
                    reason="approval",
                    message=asked.title if asked else None,
                    tool_call_id=asked.tool_call_id if asked else None,
                    expires_at=asked.expires_at if asked else None,
                )
            )
        return RunFinishedEvent(
            thread_id=self._thread_id,
            run_id=_run_id(fact.turn_id, fact.run),
            outcome=RunFinishedInterruptOutcome(interrupts=interrupts),
        )

    def _closed(self, fact: TurnClosed) -> BaseEvent:
        if fact.status == "failed":
            return RunErrorEvent(
                message=fact.message or "",
                code=fact.code,
                metadata={
                    "correlation_id": fact.correlation_id,
                    "action": action_of(fact.code).value,
                },
            )
        done = fact.status == "done"
        usage = TokenUsage(input_tokens=fact.input_tokens, output_tokens=fact.output_tokens)
        return RunFinishedEvent(
            thread_id=self._thread_id,
            run_id=_run_id(fact.turn_id, fact.run),
            outcome=RunFinishedSuccessOutcome() if done else RunFinishedCancelledOutcome(),
            usage=[usage],
        )


def _first_difference(shown: str, item: LiveText) -> int:
    """Where the piece begins to say something that is not shown already, in characters.

    A piece may overlap with what is shown, and an answer that is written anew differs from it.
    """
    known = shown[item.offset : item.offset + len(item.text)]
    if item.text.startswith(known):
        return item.offset + len(known)
    return item.offset + next(
        place
        for place, pair in enumerate(zip(known, item.text, strict=False))
        if pair[0] != pair[1]
    )


def _run_id(turn_id: TurnId, run: int) -> str:
    return turn_id if run == 1 else f"{turn_id}.{run}"


def _custom(name: str, **value: Any) -> CustomEvent:
    return CustomEvent(name=name, value=value)


def _started(message_id: str, role: Any, person: str | None = None) -> TextMessageStartEvent:
    metadata = {"person": person} if person else None
    return TextMessageStartEvent(message_id=message_id, role=role, metadata=metadata)


def _message(
    message_id: str, role: str, text: str, *, person: str | None = None
) -> Iterator[BaseEvent]:
    yield _started(message_id, role, person)
    yield TextMessageContentEvent(message_id=message_id, delta=text)
    yield TextMessageEndEvent(message_id=message_id)


def _tool_call(fact: ToolCalled) -> Iterator[BaseEvent]:
    yield ToolCallStartEvent(
        tool_call_id=fact.tool_call_id,
        tool_call_name=fact.tool,
        metadata={"title": fact.title, "operation": fact.operation, "access": fact.access},
    )
    yield ToolCallArgsEvent(
        tool_call_id=fact.tool_call_id, delta=json.dumps(fact.arguments, ensure_ascii=False)
    )
    yield ToolCallEndEvent(tool_call_id=fact.tool_call_id)


def _wire(event: BaseEvent) -> dict[str, Any]:
    wire: dict[str, Any] = event.model_dump(mode="json", by_alias=True, exclude_none=True)
    return wire
