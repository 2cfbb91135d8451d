"""Threads as they could really have gone, for tests that must hold for all of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from smart_support.events.records import (
    ApprovalAsked,
    ApprovalDecided,
    AttemptMade,
    Event,
    Fact,
    HandoffAsked,
    MessageFinished,
    MessageReceived,
    ThreadAbandoned,
    ThreadId,
    ThreadResolved,
    ToolCalled,
    ToolReturned,
    TurnClosed,
    TurnOpened,
    TurnParked,
)

BEGINNING = datetime(2026, 3, 1, 21, 30, tzinfo=UTC)
OPERATIONS = ("getOrder", "createRefund", "cancelShipment")
REASONS = ("customer_request", "tool_failure", "missing_knowledge")
CODES = ("MODEL_UNAVAILABLE", "TURN_TIMEOUT")


def thread_id(number: int) -> ThreadId:
    """A thread id that is larger for a larger number."""
    return str(UUID(int=(number << 64) | 0x7000_8000_0000_0000_0001))


def events_of(
    thread: ThreadId, facts: Iterable[Fact], start: datetime = BEGINNING, step: float = 1.0
) -> list[Event]:
    """The log that has these facts, `step` seconds apart."""
    return [
        Event(thread, seq, start + timedelta(seconds=step * (seq - 1)), fact)
        for seq, fact in enumerate(facts, start=1)
    ]


def message(turn: str = "t1", text: str = "Where is my order?") -> MessageReceived:
    return MessageReceived(turn_id=turn, message_id=f"m-{turn}", text=text)


def opened(turn: str = "t1", run: int = 1, agent: str = "support") -> TurnOpened:
    return TurnOpened(
        turn_id=turn, run=run, agent=agent, versions={"prompt": "1"}, correlation_id="c"
    )


def called(turn: str = "t1", call: str = "c1", operation: str | None = "getOrder") -> ToolCalled:
    return ToolCalled(
        turn_id=turn,
        tool_call_id=call,
        tool="get_order",
        operation_id="op-1",
        operation=operation,
        title="Look up an order",
        access="read",
        arguments={"order_id": 7},
    )


def attempt(
    turn: str = "t1", call: str = "c1", number: int = 1, duration_ms: float = 12.5
) -> AttemptMade:
    return AttemptMade(
        turn_id=turn,
        tool_call_id=call,
        number=number,
        started_at="2026-03-01T21:30:00Z",
        duration_ms=duration_ms,
        waited_ms=0.0,
        request="GET /orders/7",
        status=200,
        category=None,
        outcome="done",
        error=None,
    )


def returned(turn: str = "t1", call: str = "c1", outcome: Any = "done") -> ToolReturned:
    return ToolReturned(turn_id=turn, tool_call_id=call, outcome=outcome, content="{}", code=None)


def asked(turn: str = "t1", call: str = "c1") -> ApprovalAsked:
    return ApprovalAsked(
        turn_id=turn,
        tool_call_id=call,
        approval_id=f"a-{call}",
        title="Refund 12 EUR",
        method="POST",
        url="http://127.0.0.1/refunds",
        fields=[{"name": "amount", "value": "12"}],
        expires_at="2026-03-02T21:30:00Z",
    )


def decided(turn: str = "t1", call: str = "c1", decision: Any = "approved") -> ApprovalDecided:
    return ApprovalDecided(
        turn_id=turn,
        tool_call_id=call,
        approval_id=f"a-{call}",
        decision=decision,
        by="cus_ada",
        reason=None,
    )


def parked(turn: str = "t1", run: int = 1, call: str = "c1") -> TurnParked:
    return TurnParked(turn_id=turn, run=run, approval_ids=[f"a-{call}"])


def finished(turn: str = "t1", text: str = "It is on its way.") -> MessageFinished:
    return MessageFinished(turn_id=turn, message_id=f"r-{turn}", text=text, agent="support")


def handoff(turn: str = "t1", reason: str = "customer_request") -> HandoffAsked:
    return HandoffAsked(turn_id=turn, reason=reason, note="Please call back.")


def closed(
    turn: str = "t1",
    run: int = 1,
    status: Any = "done",
    code: str | None = None,
    duration_ms: float = 900.0,
    first_token_ms: float | None = 300.0,
) -> TurnClosed:
    return TurnClosed(
        turn_id=turn,
        run=run,
        status=status,
        duration_ms=duration_ms,
        first_token_ms=first_token_ms,
        model_calls=2,
        input_tokens=120,
        output_tokens=30,
        code=code,
        message=None,
        correlation_id="c",
    )


def resolved(by: str = "cus_ada") -> ThreadResolved:
    return ThreadResolved(by=by)


def abandoned() -> ThreadAbandoned:
    return ThreadAbandoned(idle_seconds=86_400.0)


def answered(turn: str = "t1") -> list[Fact]:
    """The shortest turn that ends well."""
    return [message(turn), opened(turn), finished(turn), closed(turn)]


_pauses = st.one_of(
    st.integers(0, 3_000).map(lambda ms: timedelta(milliseconds=ms)),
    st.integers(0, 200).map(lambda minutes: timedelta(minutes=minutes)),
)
_durations = st.integers(0, 60_000).map(lambda tenths: tenths / 10)


@dataclass
class _Story:
    """Draws a thread. Keeps what is open, so that only what can happen does."""

    draw: st.DrawFn
    facts: list[Fact] = field(default_factory=list)
    queue: list[str] = field(default_factory=list)
    parked: list[tuple[str, str, int]] = field(default_factory=list)
    turns: int = 0
    calls: int = 0

    def chance(self, one_in: int) -> bool:
        return self.draw(st.integers(1, one_in)) == one_in

    def write(self) -> None:
        self.turns += 1
        turn = f"t{self.turns}"
        self.facts.append(message(turn, self.draw(st.text("ab \n", max_size=100))))
        self.queue.append(turn)

    def answer(self, turn: str, run: int) -> None:
        self.facts.append(opened(turn, run, self.draw(st.sampled_from(("support", "billing")))))
        for _ in range(self.draw(st.integers(0, 2))):
            self.calls += 1
            call = f"c{self.calls}"
            self.facts.append(called(turn, call, self.draw(st.sampled_from(OPERATIONS))))
            if self.chance(3):
                self.facts += [asked(turn, call), parked(turn, run, call)]
                self.parked.append((turn, call, run))
                return
            self.use(turn, call)
        if self.chance(4):
            self.write()
        self.close(turn, run)

    def use(self, turn: str, call: str) -> None:
        for number in range(1, self.draw(st.integers(1, 3)) + 1):
            self.facts.append(attempt(turn, call, number, self.draw(_durations)))
        outcome = self.draw(st.sampled_from(("done", "done", "failed", "unknown")))
        self.facts.append(returned(turn, call, outcome))

    def close(self, turn: str, run: int) -> None:
        status = self.draw(st.sampled_from(("done", "done", "done", "failed", "cancelled")))
        if status == "done":
            if self.chance(4):
                self.facts.append(handoff(turn, self.draw(st.sampled_from(REASONS))))
            self.facts.append(finished(turn))
        code = self.draw(st.sampled_from(CODES)) if status == "failed" else None
        first_token_ms = self.draw(st.none() | _durations)
        self.facts.append(closed(turn, run, status, code, self.draw(_durations), first_token_ms))

    def decide(self) -> None:
        turn, call, run = self.parked.pop(0)
        decision = self.draw(st.sampled_from(("approved", "rejected", "expired")))
        self.facts += [decided(turn, call, decision), opened(turn, run + 1)]
        if decision == "approved":
            self.use(turn, call)
        else:
            self.facts.append(returned(turn, call, "declined"))
        self.close(turn, run + 1)

    def go(self) -> None:
        for _ in range(self.draw(st.integers(1, 3))):
            self.write()
            while self.queue:
                self.answer(self.queue.pop(0), run=1)
            if self.parked and self.chance(2):
                self.decide()
            ending = self.draw(st.sampled_from(("goes on", "goes on", "resolved", "abandoned")))
            if ending == "resolved":
                self.facts.append(resolved(self.draw(st.sampled_from(("cus_ada", "lead")))))
            elif ending == "abandoned":
                self.facts.append(abandoned())


@st.composite
def histories(draw: st.DrawFn, number: int = 1) -> list[Event]:
    """The whole log of one thread, or what of it is written so far."""
    story = _Story(draw)
    story.go()
    facts = story.facts[: draw(st.integers(1, len(story.facts)))]
    at = BEGINNING + draw(_pauses)
    log = []
    for seq, fact in enumerate(facts, start=1):
        log.append(Event(thread_id(number), seq, at, fact))
        at += draw(_pauses) if seq % 3 == 0 else timedelta(milliseconds=40)
    return log


@st.composite
def companies(draw: st.DrawFn) -> list[list[Event]]:
    """The logs of several threads."""
    return [draw(histories(number)) for number in range(1, draw(st.integers(1, 3)) + 1)]


@st.composite
def batches(draw: st.DrawFn, log: Sequence[Event]) -> list[Sequence[Event]]:
    """`log` in pieces as a consumer may be given them: in order, some a second time."""
    cuts = sorted(draw(st.lists(st.integers(0, len(log)), max_size=4)))
    pieces = []
    for start, end in zip([0, *cuts], [*cuts, len(log)], strict=True):
        again = draw(st.integers(0, start))
        pieces.append(log[again:end])
    return pieces
