"""A support desk in one process: a scripted model, a scripted API, a real database, our turns.

    async with open_desk(sessions, database_url) as desk:
        desk.model.queue(calls(("getOrder", {"order_id": "1001"})), says("It is on its way."))
        await desk.say("Where is order 1001?")
        assert desk.said(await desk.facts()) == ["It is on its way."]

`desk.process()` is another process on the same database; `desk.kill()` leaves the first one
behind as if its machine had gone: what it was doing stands still, its lock is free.
"""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from pydantic import SecretStr
from structlog.testing import capture_logs
from tests.operations.documents import openapi, parameter, spec_of
from tests.support.model_endpoint import ModelEndpoint
from tests.support.upstream import Upstream

from smart_support.agent.agents import Agents, read_agents
from smart_support.agent.checkpoints import StoredCheckpoints, forget, stored_checkpoints
from smart_support.agent.graph import build_graph
from smart_support.agent.model import StreamingChatOpenAI, open_model
from smart_support.chat.answering import TURNS_AT_ONCE, TURNS_WAITING, TurnLimits, TurnParts
from smart_support.chat.calls import CallRecovery
from smart_support.chat.derive import Derivation
from smart_support.chat.follow import Followers
from smart_support.chat.limits import MessageLimiter
from smart_support.chat.past import PastEvents
from smart_support.chat.places import Places
from smart_support.chat.recovery import Recovery
from smart_support.chat.turn import Accepted, TurnRunner
from smart_support.conversations.postgres import (
    PostgresConversations,
    PostgresConversationTracker,
    PostgresHandoffs,
)
from smart_support.conversations.records import Turn
from smart_support.database import Sessions
from smart_support.database.engine import psycopg_dsn
from smart_support.events.consumer import EventConsumer
from smart_support.events.postgres import PostgresEventLog
from smart_support.events.records import ApprovalAsked, Event, Fact, MessageFinished, TurnClosed
from smart_support.identity.people import Person, Role
from smart_support.ledger.departures import Departures
from smart_support.ledger.postgres import Decided, PostgresLedger
from smart_support.ledger.stops_postgres import PostgresStops
from smart_support.ledger.tables import approvals, tool_attempts, tool_calls
from smart_support.ledger.unknown_postgres import PostgresUnknownCalls
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import Access, Operation, ReviewState
from smart_support.operations.review import Correction, decide
from smart_support.operations.suggest import suggest
from smart_support.resilience.address import AddressPolicy
from smart_support.resilience.upstream import Upstreams, UpstreamSettings
from smart_support.settings import Settings
from smart_support.tools.build import Tool, build_tools
from smart_support.tools.call import Limits, ToolCaller
from smart_support.tools.linked import LinkedReads
from smart_support.tools.resolve import CallResolver

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
ADA = Person(id="cus_ada", role=Role.CUSTOMER, name="Ada Quist", email="ada@example.org")
BOB = Person(id="cus_bob", role=Role.CUSTOMER, name="Bob Rey")
LEAD = Person(id="lead", role=Role.LEAD, name="Lena")

FactT = TypeVar("FactT")


class Clock:
    """Time that passes when it is told to: of day, and since some beginning."""

    def __init__(self) -> None:
        self.now = START
        self.seconds = 1_000.0
        self.waits: list[float] = []

    def __call__(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.seconds

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.seconds += seconds

    async def sleep(self, seconds: float) -> None:
        """A pause that takes no time but the clock's own."""
        self.waits.append(seconds)
        self.pass_by(seconds)
        await asyncio.sleep(0)


CUSTOMER = parameter("customer_id", required=True)
ORDER = parameter("order_id", "path", required=True)


def _body(**properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": [next(iter(properties))]}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


TEXT = {"type": "string"}
DOCUMENT = openapi(
    {
        "/orders/{order_id}": {
            "get": {
                "operationId": "getOrder",
                "summary": "Look up an order",
                "parameters": [ORDER, CUSTOMER],
            }
        },
        "/orders/{order_id}/refunds": {
            "post": {
                "operationId": "createRefund",
                "summary": "Refund an order",
                "parameters": [ORDER, CUSTOMER, parameter("Idempotency-Key", "header")],
                "requestBody": _body(amount={"type": "number"}, reason=TEXT),
            }
        },
        "/notes": {
            "post": {
                "operationId": "addNote",
                "summary": "Leave a note",
                "requestBody": _body(text=TEXT),
            }
        },
        "/mails": {
            "get": {
                "operationId": "listMails",
                "summary": "List the customer's mails",
                "parameters": [parameter("email", required=True)],
            }
        },
        "/secrets": {"get": {"operationId": "listSecrets", "summary": "List secrets"}},
    }
)
CORRECTIONS = {
    "getOrder": Correction(bindings={"customer_id": "customer_id"}),
    "createRefund": Correction(bindings={"customer_id": "customer_id"}),
    "addNote": Correction(confirm=False),
    "listMails": Correction(bindings={"email": "email"}),
}
"""What the operator says; operations that are not named stay unapproved."""


async def import_shop(operations: PostgresOperations, base_url: str) -> dict[str, Operation]:
    """Import DOCUMENT for the API at `base_url`, approve what CORRECTIONS names; by tool name."""
    draft = spec_of(DOCUMENT | {"servers": [{"url": base_url}]})
    draft = replace(
        draft,
        operations=tuple(replace(each, suggestion=suggest(each)) for each in draft.operations),
    )
    imported = await operations.save_draft(draft, name="shop", document=b"{}", by="op")
    for operation in await operations.operations(imported.spec.id):
        if (correction := CORRECTIONS.get(operation.tool_name)) is not None:
            await decide(
                operations,
                operation,
                state=ReviewState.APPROVED,
                correction=correction,
                by="op",
                reason=None,
                version=operation.version,
            )
    return {each.tool_name: each for each in await operations.operations(imported.spec.id)}


@dataclass
class Process:
    """One process of ours: it owns turns and followers, the rest is in the database."""

    runner: TurnRunner
    recovery: Recovery
    calls: CallRecovery
    followers: Followers
    derivation: Derivation
    conversations: PostgresConversations
    limiter: MessageLimiter
    life: psycopg.AsyncConnection[Any]
    noticed: list[str]
    departures: Departures

    async def die(self) -> None:
        """Lose the locks that say that this process lives."""
        self.departures.close()
        await self.life.close()


@dataclass
class Desk:
    """Everything there is, and the first process of ours."""

    url: str
    sessions: Sessions
    model: ModelEndpoint
    api: Upstream
    clock: Clock
    client: StreamingChatOpenAI
    upstreams: Upstreams
    stops: PostgresStops
    linked: LinkedReads
    call_limits: Limits
    saver: StoredCheckpoints
    log: PostgresEventLog
    ledger: PostgresLedger
    operations: PostgresOperations
    tracker: PostgresConversationTracker
    limits: TurnLimits
    consumers: Sequence[EventConsumer]
    stack: AsyncExitStack
    folder: Path
    """Of the machine that all processes run on."""
    places: Callable[[], Places] = lambda: Places(TURNS_AT_ONCE, TURNS_WAITING)
    """Makes the places of each process."""
    agents: Agents = field(default_factory=lambda: read_agents(None))
    """Who new turns are answered by; a test may put others here."""
    shop: dict[str, Operation] = field(default_factory=dict)
    thread_id: str = ""
    _first: Process | None = None
    _messages: int = 0

    @property
    def first(self) -> Process:
        assert self._first is not None
        return self._first

    @cached_property
    def caller(self) -> ToolCaller:
        """Calls tools outside of any turn."""
        return self.caller_of(self.ledger)

    @property
    def runner(self) -> TurnRunner:
        return self.first.runner

    async def process(self) -> Process:
        """A process of its own on this database."""
        owner = secrets.randbits(62)
        life = await psycopg.AsyncConnection.connect(psycopg_dsn(self.url), autocommit=True)
        self.stack.push_async_callback(life.close)
        await life.execute("SELECT pg_advisory_lock(%s)", (owner,))
        conversations = PostgresConversations(self.sessions, owner=owner)
        followers = Followers()
        noticed: list[str] = []
        limiter = MessageLimiter(1_000, 10.0, clock=self.clock.monotonic)

        def tell(thread_id: str, events: Sequence[Event]) -> None:
            followers.publish(thread_id, events)
            noticed.append(thread_id)

        resolver = CallResolver(
            self.upstreams,
            self.operations,
            self.stops,
            self.linked,
            self.call_limits,
            clock=self.clock,
            monotonic=self.clock.monotonic,
        )
        ledger = PostgresLedger(self.sessions, owner=owner)
        departures = self.stack.enter_context(Departures(self.folder, owner).kept())
        calls = CallRecovery(
            ledger,
            PostgresUnknownCalls(self.sessions),
            self.log,
            resolver,
            tell,
            clock=self.clock,
            departures=departures,
        )
        runner = TurnRunner(
            TurnParts(
                conversations=conversations,
                handoffs=PostgresHandoffs(self.sessions),
                log=self.log,
                past=PastEvents(self.log),
                ledger=ledger,
                calls=calls,
                operations=self.operations,
                graph=build_graph(self.saver),
                model=self.client,
                caller=self.caller_of(ledger, departures.leaves),
                followers=followers,
                limiter=limiter,
                limits=self.limits,
                places=self.places(),
                noticed=noticed.append,
                agents=lambda: self.agents,
                forget=partial(forget, self.saver),
                clock=self.clock,
                monotonic=self.clock.monotonic,
            )
        )
        self.stack.push_async_callback(runner.close, 0.0)
        derivation = Derivation(self.log, self.consumers)
        recovery = Recovery(
            runner,
            conversations,
            ledger,
            self.tracker,
            derivation,
            abandon_after=3_600.0,
            clock=self.clock,
        )
        return Process(
            runner,
            recovery,
            calls,
            followers,
            derivation,
            conversations,
            limiter,
            life,
            noticed,
            departures,
        )

    def caller_of(
        self, ledger: PostgresLedger, leaves: Callable[[str], None] = lambda _: None
    ) -> ToolCaller:
        """What calls tools, in one process."""
        return ToolCaller(
            self.upstreams,
            ledger,
            self.stops,
            self.linked,
            self.call_limits,
            operations=self.operations,
            leaves=leaves,
            clock=self.clock,
            monotonic=self.clock.monotonic,
            sleep=self.clock.sleep,
        )

    async def kill(self) -> Process:
        """Leave the first process behind; the one that takes its place, which is now the first."""
        await self.first.die()
        self._first = await self.process()
        return self._first

    async def send(self, text: str, message_id: str | None = None) -> Accepted:
        """Take in a message of Ada's, without waiting for its answer."""
        self._messages += 1
        return await self.runner.send(ADA, self.thread_id, message_id or f"m{self._messages}", text)

    async def say(self, text: str) -> Accepted:
        """Take in a message of Ada's, and wait until nothing is being answered."""
        accepted = await self.send(text)
        await self.settled()
        return accepted

    async def settled(self) -> None:
        async with asyncio.timeout(20):
            await self.runner.idle()

    async def decide(self, approved: bool = True, by: Person = ADA, place: int = -1) -> Decided:
        """Answer a question that was asked in this thread, by default the newest."""
        asked = self.of(await self.facts(), ApprovalAsked)[place]
        return await self.runner.decide(by, asked.approval_id, approved=approved, reason=None)

    async def facts(self, thread_id: str | None = None) -> list[Fact]:
        """What happened in the thread, in order."""
        return [event.fact for event in await self.log.read(thread_id or self.thread_id)]

    async def types(self) -> list[str]:
        return [fact.type for fact in await self.facts()]

    def of(self, facts: Sequence[Fact], kind: type[FactT]) -> list[FactT]:
        """The facts of one kind."""
        return [fact for fact in facts if isinstance(fact, kind)]

    def said(self, facts: Sequence[Fact]) -> list[str]:
        """The agent's words."""
        return [fact.text for fact in self.of(facts, MessageFinished)]

    def closings(self, facts: Sequence[Fact]) -> list[tuple[str, str | None]]:
        """How each turn ended: its status and the code of its error."""
        return [(fact.status, fact.code) for fact in self.of(facts, TurnClosed)]

    def told(self, request: int = -1) -> list[dict[str, Any]]:
        """The messages that the model was given, without the instructions."""
        messages = self.model.requests[request].body["messages"]
        assert messages[0]["role"] == "system"
        return list(messages[1:])

    async def rows(self, table: sa.Table) -> list[Any]:
        """Every row of a table, in the order of its primary key."""
        async with self.sessions() as session:
            return list(
                await session.execute(sa.select(table).order_by(*table.primary_key.columns))
            )

    async def calls(self) -> list[tuple[str, str]]:
        """Every tool call of the ledger: its operation and its state."""
        return [(row.operation, row.state) for row in await self.rows(tool_calls)]

    async def attempts(self) -> list[Any]:
        return await self.rows(tool_attempts)

    async def forget_calls(self) -> None:
        """Empty the ledger."""
        async with self.sessions.begin() as session:
            await session.execute(sa.delete(tool_calls))

    async def questions(self) -> list[str]:
        """The state of every approval."""
        return [row.state for row in await self.rows(approvals)]

    async def checkpoints(self) -> int:
        """How many rows LangGraph keeps."""
        await self.saver.open()  # its tables are made when a turn first waits for a yes
        found = 0
        async with self.sessions() as session:
            for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes"):
                found += await session.scalar(sa.text(f"SELECT count(*) FROM {table}")) or 0
        return found

    async def turn(self, turn_id: str) -> Turn:
        return await self.first.conversations.turn(turn_id)

    async def tool(self, name: str, person: Person = ADA) -> Tool:
        """The tool as it is offered to this person."""
        return build_tools(await self.operations.approved(), person.claims())[name]


REFUND = ("createRefund", {"order_id": "1002", "body": {"amount": 20, "reason": "torn"}})
ORDER_1 = ("getOrder", {"order_id": "1001"})
NOTE = ("addNote", {"body": {"text": "Leave it at the door"}})


def wire_problems(messages: Sequence[dict[str, Any]]) -> list[str]:
    """What is wrong with a conversation by OpenAI's rules; nothing, if it is well-formed."""
    wrong = []
    # Notes on what is too old to be told may stand before everything.
    notes = bool(messages) and messages[0]["role"] == "system"
    messages = messages[1:] if notes else messages
    if messages and messages[0]["role"] != "user":
        wrong.append(f"begins with {messages[0]['role']}")
    waiting: list[str] = []
    for place, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                wrong.append(f"{place}: a result that nobody waits for")
                continue
            waiting.remove(message["tool_call_id"])
        elif waiting:
            wrong.append(f"{place}: {message['role']} before the results of {waiting}")
        waiting += [call["id"] for call in message.get("tool_calls", ())]
    return [*wrong, *(f"no result of {call}" for call in waiting)]


def access_of(operation: Operation) -> Access:
    return operation.classification.access


@asynccontextmanager
async def open_desk(
    sessions: Sessions,
    url: str,
    *,
    limits: TurnLimits | None = None,
    call_limits: Limits | None = None,
    consumers: Callable[[Sessions], Sequence[EventConsumer]] = lambda _: (),
    places: Callable[[], Places] = lambda: Places(TURNS_AT_ONCE, TURNS_WAITING),
) -> AsyncIterator[Desk]:
    """A desk with Ada's thread open and the shop's operations approved."""
    async with AsyncExitStack() as stack:
        # Drawing a traceback with all its values takes seconds.
        stack.enter_context(capture_logs())
        model = await stack.enter_async_context(ModelEndpoint())
        api = await stack.enter_async_context(Upstream())
        saver = await stack.enter_async_context(stored_checkpoints(psycopg_dsn(url)))
        settings = Settings(_env_file=None, openai_api_key=SecretStr("test-key"))
        client = open_model(settings, base_url_override=model.base_url)
        stack.push_async_callback(client.close)
        clock = Clock()
        upstreams = await stack.enter_async_context(
            Upstreams(
                UpstreamSettings(addresses=AddressPolicy.parse(["127.0.0.1"])),
                clock=clock.monotonic,
                sleep=clock.sleep,
                chance=lambda: 0.5,
            )
        )
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sst-")))
        ledger = PostgresLedger(sessions)
        operations = PostgresOperations(sessions, monotonic=clock.monotonic)
        chosen = call_limits or Limits()
        stops = PostgresStops(sessions, monotonic=clock.monotonic)
        linked = LinkedReads(
            upstreams, operations, attempt=chosen.attempt, max_bytes=chosen.max_bytes
        )
        desk = Desk(
            url=url,
            sessions=sessions,
            model=model,
            api=api,
            clock=clock,
            client=client,
            upstreams=upstreams,
            stops=stops,
            linked=linked,
            call_limits=chosen,
            saver=saver,
            log=PostgresEventLog(sessions),
            ledger=ledger,
            operations=operations,
            tracker=PostgresConversationTracker(sessions),
            limits=limits or TurnLimits(),
            consumers=consumers(sessions),
            stack=await stack.enter_async_context(AsyncExitStack()),
            folder=folder,
            places=places,
        )
        desk.shop = await import_shop(desk.operations, api.base_url)
        desk._first = await desk.process()
        desk.thread_id = (await desk.runner.open_thread(ADA)).id
        yield desk
