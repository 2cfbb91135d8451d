"""Conversations as a company has them, made up from a seed: their facts, and when each happened.

A story is one whole thread. There are a few hundred; `tests.bench.years` multiplies them.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from smart_support.events.records import (
    AgentChanged,
    ApprovalAsked,
    ApprovalDecided,
    AttemptMade,
    Event,
    Fact,
    HandoffAsked,
    MessageFinished,
    MessageReceived,
    PersonTookOver,
    ThreadAbandoned,
    ThreadResolved,
    ToolCalled,
    ToolReturned,
    TurnClosed,
    TurnOpened,
)

PREFIX_LENGTH = 24
"""Characters that all ids of one thread share; the twelve behind them tell its parts apart."""
UNNUMBERED = "#00000000"
"""What the number of an order is in a story's first message; each copy gets one of its own."""

_AGENTS = ("support", "billing", "shipping")
_OPERATIONS = (
    ("getOrder", "GET", "Look up an order", "shop.test"),
    ("listOrders", "GET", "List orders", "shop.test"),
    ("getShipment", "GET", "Follow a parcel", "parcels.test"),
    ("getInvoice", "GET", "Look up an invoice", "billing.test"),
    ("searchProducts", "GET", "Search products", "shop.test"),
    ("createRefund", "POST", "Refund a payment", "billing.test"),
    ("cancelOrder", "POST", "Cancel an order", "shop.test"),
    ("changeAddress", "PUT", "Change an address", "shop.test"),
)
_OPENERS = (
    "Where is my order",
    "I want my money back for order",
    "Please cancel order",
    "The parcel of order arrived broken:",
    "Wo bleibt meine Bestellung",
    "Ich möchte die Adresse ändern, Bestellung",
    "Où est ma commande",
    "¿Dónde está mi pedido",
    "注文はどこですか",
    "My invoice is wrong for order",
    "Can you still change order",
    "I was charged twice for order",
)
_THINGS = (
    "the blue kettle",
    "two garden chairs",
    "a winter coat",
    "the coffee machine",
    "running shoes",
    "a wool blanket",
    "the desk lamp",
    "a fahrradhelm",
    "une théière",
    "a mechanical keyboard",
    "the bookshelf",
    "a hammock",
)
_ANSWERS = (
    "It left our warehouse yesterday and should be with you by Friday.",
    "I have looked it up: the parcel waits at the pick-up point in Bremen until Saturday.",
    "Your money is on its way back; banks take two to three days for it.",
    "Die Bestellung ist unterwegs und kommt morgen zwischen 10 und 12 Uhr an.",
    "That is settled now. Is there anything else that I can do for you?",
)
_REASONS = ("customer_request", "tool_failure", "missing_knowledge", "policy", "complaint")
_CODES = ("MODEL_UNAVAILABLE", "CONV_TURN_TIMEOUT", "MODEL_RATE_LIMITED", "SYS_INTERNAL")


@dataclass
class Story:
    """One thread. `customer` stands for whoever it is; `start` is in its first hour."""

    prefix: str
    start: datetime
    customer: str
    events: list[Event] = field(default_factory=list)
    turns: list[dict[str, Any]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    approvals: list[dict[str, Any]] = field(default_factory=list)
    with_person: bool = False

    @property
    def thread_id(self) -> str:
        return self.prefix + "0" * 12


def prefix_of(start: datetime, number: int) -> str:
    """How UUIDs of version 7 made at `start` begin; `number`, below 2**26, tells threads apart."""
    at = f"{int(start.timestamp() * 1000):012x}"
    return f"{at[:8]}-{at[8:]}-7{number >> 14:03x}-{0x8000 | number & 0x3FFF:04x}-"


def stories(chance: random.Random, many: int, start: datetime) -> Iterator[Story]:
    """`many` stories, most of them short; each begins in the hour of `start`."""
    for number in range(many):
        turns = min(40, 1 + int(chance.expovariate(1 / 5)))
        yield tell(chance, number, start, turns)


def tell(chance: random.Random, number: int, start: datetime, turns: int) -> Story:
    """A story of so many turns."""
    began = start + timedelta(seconds=chance.uniform(0, 3_000))
    # The last two digits of the version's random part are the story's own; copies begin above.
    story = Story(prefix_of(start, number), began, f"cus_{number}")
    _Teller(chance, story, began).tell(turns)
    return story


@dataclass
class _Teller:
    chance: random.Random
    story: Story
    now: datetime
    ids: int = 0

    def tell(self, turns: int) -> None:
        agent = self.chance.choice(_AGENTS)
        for number in range(turns):
            if number:
                self.wait(3, 240)
                if self.chance.random() < 0.04:
                    self.wait(3_600, 30_000)
            self.turn(first=number == 0, agent=agent)
        end = self.chance.random()
        if end < 0.55:
            self.wait(5, 900)
            self.add(ThreadResolved(by="customer"))
        elif end < 0.75:
            self.wait(86_400, 86_460)
            self.add(ThreadAbandoned(idle_seconds=86_400.0))
        elif end < 0.83:
            self.add(
                HandoffAsked(turn_id=None, reason=self.chance.choice(_REASONS), note="", by="agent")
            )
            self.wait(30, 3_000)
            self.add(PersonTookOver(by="lead_1", name="Lee"))
            self.wait(60, 3_000)
            if self.chance.random() < 0.7:
                self.add(ThreadResolved(by="lead_1"))
            else:
                self.story.with_person = True

    def add(self, fact: Fact) -> None:
        seq = len(self.story.events) + 1
        self.story.events.append(Event(self.story.thread_id, seq, self.now, fact))

    def wait(self, least: float, most: float) -> None:
        self.now += timedelta(seconds=self.chance.uniform(least, most))

    def id(self) -> str:
        self.ids += 1
        return f"{self.story.prefix}{self.ids:012x}"

    def turn(self, *, first: bool, agent: str) -> None:
        chance, turn_id, began = self.chance, self.id(), self.now
        if first:
            text = f"{chance.choice(_OPENERS)} {UNNUMBERED}, {chance.choice(_THINGS)}?"
        else:
            text = chance.choice(("Thanks, and", "Hm,", "Yes.", "No, I meant")) + " "
            text += " ".join(chance.choices(_THINGS, k=chance.randint(1, 6)))
        message_id, correlation = f"m-{turn_id[-6:]}", turn_id.replace("-", "")
        self.add(MessageReceived(turn_id=turn_id, message_id=message_id, text=text))
        self.wait(0.01, 0.05)
        versions = {"agents": "5f0c21ab90de", "prompt": "3", "model": "gpt-5.4-mini"}
        self.add(
            TurnOpened(
                turn_id=turn_id, run=1, agent=agent, versions=versions, correlation_id=correlation
            )
        )
        if chance.random() < 0.05:
            before, agent = agent, chance.choice(_AGENTS)
            self.add(
                AgentChanged(
                    turn_id=turn_id,
                    tool_call_id=self.id(),
                    before=before,
                    after=agent,
                    reason="It is about the invoice.",
                )
            )
        for _ in range(chance.choices((0, 1, 2, 3), weights=(15, 45, 28, 12))[0]):
            self.wait(0.3, 1.5)
            self.call(turn_id)
        self.wait(0.6, 4.0)
        status, code = "done", None
        dice = chance.random()
        if dice < 0.006:
            status, code = "failed", chance.choice(_CODES)
        elif dice < 0.012:
            status = "cancelled"
        else:
            answer = " ".join(chance.choices(_ANSWERS, k=chance.randint(1, 3)))
            self.add(
                MessageFinished(turn_id=turn_id, message_id=self.id(), text=answer, agent=agent)
            )
        took = (self.now - began).total_seconds() * 1000
        self.add(
            TurnClosed(
                turn_id=turn_id,
                run=1,
                status=status,  # type: ignore[arg-type]
                duration_ms=round(took, 3),
                first_token_ms=None if code else round(took * 0.6, 3),
                model_calls=2,
                input_tokens=chance.randint(400, 4_000),
                output_tokens=chance.randint(20, 300),
                code=code,
                message="That took too long." if code else None,
                correlation_id=correlation,
            )
        )
        self.story.turns.append(
            {
                "id": turn_id,
                "thread_id": self.story.thread_id,
                "message_id": message_id,
                "text": text,
                "status": status,
                "run": 1,
                "opened_at": began,
                "received_at": began,
                "queued_at": began,
                "closed_at": self.now,
            }
        )

    def call(self, turn_id: str) -> None:
        chance, call_id, planned = self.chance, self.id(), self.now
        place = min(int(chance.expovariate(0.45)), len(_OPERATIONS) - 1)
        name, method, title, host = _OPERATIONS[place]
        writes = method != "GET"
        arguments = {"order_id": str(chance.randint(1_000, 99_999)), "fields": ["state", "items"]}
        self.add(
            ToolCalled(
                turn_id=turn_id,
                tool_call_id=call_id,
                tool=name,
                operation_id=f"01900000-0000-7000-8000-{place:012x}",
                operation=name,
                title=title,
                access="write" if writes else "read",
                arguments=arguments,
            )
        )
        url = f"https://{host}/orders/{arguments['order_id']}"
        outcome, code = "done", None
        if writes and not self.approve(turn_id, call_id, title, method, url):
            outcome = "declined"
        else:
            outcome, code = self.attempt(turn_id, call_id, f"{method} {url}")
        content = f'{{"id":"{arguments["order_id"]}","state":"shipped","weight":2.5}}'
        if outcome != "done":
            content = "The call did not work."
        self.add(
            ToolReturned(
                turn_id=turn_id,
                tool_call_id=call_id,
                outcome=outcome,  # type: ignore[arg-type]
                content=content,
                code=code,
            )
        )
        states = {"done": "done", "failed": "failed", "unknown": "resolved_done"}
        self.story.calls.append(
            {
                "id": call_id,
                "thread_id": self.story.thread_id,
                "turn_id": turn_id,
                "operation_id": f"01900000-0000-7000-8000-{place:012x}",
                "operation": name,
                "access": "write" if writes else "read",
                "arguments": arguments,
                "fingerprint": "9" * 64,
                "state": states.get(outcome, "rejected"),
                "content": content,
                "code": code,
                "planned_at": planned,
                "sent_at": planned,
                "finished_at": self.now,
                "url": url,
            }
        )

    def approve(self, turn_id: str, call_id: str, title: str, method: str, url: str) -> bool:
        approval_id = self.id()
        expires = self.now + timedelta(hours=1)
        fields = [{"name": "order_id", "value": "1001"}]
        asked: dict[str, Any] = {
            "turn_id": turn_id,
            "tool_call_id": call_id,
            "title": title,
            "method": method,
            "url": url,
            "fields": fields,
        }
        asked_at = self.now
        self.add(ApprovalAsked(approval_id=approval_id, expires_at=expires.isoformat(), **asked))
        self.wait(2, 60)
        decision = "approved" if self.chance.random() < 0.85 else "rejected"
        self.add(
            ApprovalDecided(
                turn_id=turn_id,
                tool_call_id=call_id,
                approval_id=approval_id,
                decision=decision,  # type: ignore[arg-type]
                by=self.story.customer,
                reason=None,
            )
        )
        row = {
            "id": approval_id,
            "thread_id": self.story.thread_id,
            "actor": self.story.customer,
            "fingerprint": "9" * 64,
            "state": "used" if decision == "approved" else "rejected",
            "asked_at": asked_at,
            "expires_at": expires,
            "decided_by": self.story.customer,
            "decided_at": self.now,
        }
        self.story.approvals.append(asked | row)
        return decision == "approved"

    def attempt(self, turn_id: str, call_id: str, request: str) -> tuple[str, str | None]:
        """Try up to three times; how the call ends."""
        for number in (1, 2, 3):
            started, took = self.now, self.chance.lognormvariate(4.5, 0.8)
            self.now += timedelta(milliseconds=took)
            dice = self.chance.random()
            failed, lost = dice < 0.03, dice > 0.999
            row: dict[str, Any] = {
                "number": number,
                "duration_ms": round(took, 3),
                "waited_ms": 0.0 if number == 1 else 150.0,
                "request": request,
                "status": 503 if failed else None if lost else 200,
                "category": "retryable" if failed else "timeout" if lost else None,
                "outcome": "rejected" if failed else "unknown" if lost else "done",
                "error": "ReadTimeout: 10.0" if lost else None,
            }
            self.add(
                AttemptMade(
                    turn_id=turn_id, tool_call_id=call_id, started_at=started.isoformat(), **row
                )
            )
            self.story.attempts.append(row | {"tool_call_id": call_id, "started_at": started})
            if lost:
                return "unknown", "TOOL_OUTCOME_UNKNOWN"
            if not failed:
                return "done", None
        return "failed", "API_UNAVAILABLE"
