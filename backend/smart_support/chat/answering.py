"""What one run of a turn is: what it works with, what it begins with, and what it says and does."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog

from smart_support.agent.agents import Agents, read_agents
from smart_support.agent.caps import DEFAULT_CAPS, Caps
from smart_support.agent.graph import TurnGraph
from smart_support.agent.history import SoFar, past_messages, turn_so_far
from smart_support.agent.prompts import PROMPT_VERSION
from smart_support.agent.routing import choose_agent
from smart_support.agent.run import Asked, Step, Thought, run_turn
from smart_support.agent.state import Answer, ChatModel, LiveText, ToolCallState, TurnContext
from smart_support.agent.work import at_work, last_agent
from smart_support.chat.calls import CallRecovery
from smart_support.chat.customers import Customers
from smart_support.chat.follow import Followers
from smart_support.chat.limits import MessageLimiter
from smart_support.chat.offer import PER_TURN, Offered, offer_tools
from smart_support.chat.past import PastEvents
from smart_support.chat.places import Place, Places
from smart_support.chat.questions import Asking
from smart_support.chat.remember import Remembering
from smart_support.conversations.postgres import PostgresConversations, PostgresHandoffs
from smart_support.conversations.records import Turn
from smart_support.errors import ClientAction, Severity, SupportError
from smart_support.events.postgres import PostgresEventLog
from smart_support.events.records import (
    AgentChanged,
    ApprovalAsked,
    Event,
    Fact,
    ThreadId,
    TurnId,
    TurnOpened,
    TurnTakenOver,
)
from smart_support.identity.people import Person
from smart_support.ledger.consent import Verdict
from smart_support.ledger.postgres import PostgresLedger
from smart_support.operations.postgres import PostgresOperations
from smart_support.telemetry.handler import ERROR_HANDLER, ErrorHandler
from smart_support.tools.build import Tool
from smart_support.tools.call import ToolCaller

log = structlog.get_logger()

_ONE_AGENT = read_agents(None)

MAX_RECOVERIES = 3
"""How often a turn is taken over before it is given up: what it does may be what kills us."""

RESUME_WITHIN = 900.0
"""Seconds after which a turn is not gone on with any more: nobody waits for its answer."""

TURNS_AT_ONCE, TURNS_WAITING = 128, 64
"""Turns that a process answers at once, and how many more it takes in that wait for that."""


class TurnInterrupted(SupportError):
    """The process that answered stopped before it was done."""

    code = "REC_TURN_INTERRUPTED"
    status = 503
    severity = Severity.HIGH
    user_message = (
        "I was interrupted while answering. Anything that I had already done is listed above; "
        "please ask again if something is missing."
    )
    close_code = 1001
    action = ClientAction.RETRY


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnLimits:
    """How long a turn may take, in seconds, and how often it may ask the model."""

    timeout: float = 180.0
    max_model_calls: int = 8
    approval_ttl: float = 86_400.0
    caps: Caps = DEFAULT_CAPS
    interrupt: bool = False
    """Whether a message stops the answer before it; otherwise it waits for its turn."""
    tools_per_turn: int = PER_TURN
    """Tools that each agent is offered for a message; the model can find more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnParts:
    """What a TurnRunner works with."""

    conversations: PostgresConversations
    handoffs: PostgresHandoffs
    log: PostgresEventLog
    past: PastEvents
    ledger: PostgresLedger
    calls: CallRecovery
    operations: PostgresOperations
    graph: TurnGraph
    model: ChatModel
    caller: ToolCaller
    followers: Followers
    limiter: MessageLimiter
    limits: TurnLimits
    noticed: Callable[[ThreadId], None]
    """Told of each thread that has new events."""
    agents: Callable[[], Agents] = lambda: _ONE_AGENT
    """The agents as they are now; they may be loaded anew between turns."""
    places: Places = field(default_factory=lambda: Places(TURNS_AT_ONCE, TURNS_WAITING))
    """Bounds how many turns are answered at once."""
    forget: Callable[[TurnId], Any]
    """Deletes the checkpoints of a turn that is over."""
    remember: Remembering | None = None
    """Keeps the history short; without it old turns are drawn out anew for each turn."""
    alive: Callable[[], bool] = lambda: True
    """Whether this process still holds the lock that says that its turns are answered."""
    cancel_elsewhere: Callable[[ThreadId], None] = lambda _: None
    """Asks the other processes to stop answering in a thread."""
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic: Callable[[], float] = time.monotonic
    errors: ErrorHandler = ERROR_HANDLER
    observed: Callable[[Sequence[Event]], None] = lambda _: None
    """Told once of each committed event."""

    def publish(self, thread_id: ThreadId, events: Sequence[Event]) -> None:
        """Tell those who follow the thread, and what is derived from it, of committed events."""
        self.followers.publish(thread_id, events)
        self.noticed(thread_id)
        self.observed(events)

    async def record(self, thread_id: ThreadId, facts: Sequence[Fact]) -> None:
        """Add facts to a thread's log and tell everybody."""
        self.publish(thread_id, await self.log.append(thread_id, facts))


@dataclass(slots=True)
class Run:
    """What is counted while a turn runs. `taken_over`: after how many seconds, if it was."""

    turn: Turn
    correlation_id: str
    started: float
    """When answering began: whatever the turn waited before does not count."""
    place: Place
    taken_over: float | None = None
    agent: str = _ONE_AGENT.first
    crowded: bool = False
    """Whether notes of the thread may be due after the turn."""
    first_token: float | None = None
    model_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    answer: Answer | None = None
    asked: tuple[ToolCallState, ...] = ()
    approvals: list[str] = field(default_factory=list)
    waiting_for: tuple[str, ...] = ()
    """Ids of the tool calls that need a yes before the turn can go on."""
    so_far: SoFar | None = None
    """What the log has of earlier runs."""


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Do `work` beside the block, which does not end before it; yields what waits for it.

    What it raises, waiting for it raises.
    """
    task = asyncio.create_task(work)

    async def done() -> None:
        await asyncio.shield(task)  # whoever waits is not the only one

    try:
        yield done
    finally:
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise
        finally:
            if task.done() and not task.cancelled():
                task.exception()  # it was told to who waited, or what the block raised is told


class Answerer:
    """Answers a turn, as far as one run of it goes. What becomes of it then is the runner's."""

    def __init__(self, parts: TurnParts, customers: Customers, asking: Asking) -> None:
        self._parts = parts
        self._customers = customers
        self._asking = asking

    async def answer(self, run: Run) -> None:
        """Answer until the end, or until a call needs a yes; `run` has what came of it.

        Raises:
            TurnInterrupted: it was taken over, and is not worth going on with.
            WriterReplaced, DatabaseUnavailable: nothing can be written down here now.
        """
        parts, turn = self._parts, run.turn
        if run.taken_over is not None and not await self._may_go_on(run, run.taken_over):
            return
        person = await self._customers.of(turn.thread_id)
        past = await parts.past.read(turn.thread_id)
        agents = parts.agents()
        offered = await offer_tools(
            parts.operations,
            agents,
            person.claims(),
            past,
            text=turn.text,
            turn_id=turn.id,
            per_turn=parts.limits.tools_per_turn,
        )
        tools = offered.tools
        run.agent = self._agent_for(run, past, agents, tools)
        beginning = self._beginning(run, agents, past)
        # It takes as long as a commit does, in which the model can be asked already.
        async with _beside(parts.record(turn.thread_id, [beginning])) as opened:
            context = await self._context(run, past, person, agents, offered, opened)
            await self._go_through(run, context)

    async def _context(
        self,
        run: Run,
        past: Sequence[Event],
        person: Person,
        agents: Agents,
        offered: Offered,
        opened: Callable[[], Awaitable[None]],
    ) -> TurnContext:
        parts, turn = self._parts, run.turn
        decided: dict[str, Verdict] = {}
        if turn.run > 1 or run.taken_over is not None:
            decided = {
                call_id: verdict
                for call_id, verdict in (await parts.ledger.verdicts(turn.id)).items()
                if verdict["decision"] != "pending"
            }
            run.so_far = turn_so_far(past, turn.id)
        return TurnContext(
            thread_id=turn.thread_id,
            turn_id=turn.id,
            correlation_id=run.correlation_id,
            agent=run.agent,
            agents=at_work(
                agents,
                offered.tools,
                customer=person.name,
                today=parts.clock().date(),
                more=offered.more,
            ),
            actor=person.id,
            claims=person.claims(),
            history=await self._history(run, past),
            model=parts.model,
            caller=parts.caller,
            log=parts.log,
            handoffs=parts.handoffs,
            max_model_calls=parts.limits.max_model_calls,
            caps=parts.limits.caps,
            seconds=lambda: parts.monotonic() - run.started,
            decisions=decided,
            opened=opened,
            find=offered.find,
        )

    async def _go_through(self, run: Run, context: TurnContext) -> None:
        turn = run.turn
        # The checkpoint of a turn that was taken over knows less than the log.
        decisions = context.decisions if turn.run > 1 and run.taken_over is None else None
        steps = run_turn(self._parts.graph, context, decisions, run.so_far)
        async with contextlib.aclosing(steps):
            async for step in steps:
                await context.opened()
                self._take(run, step)
        await context.opened()
        if run.asked:
            await self._ask(run, context)
            run.waiting_for = tuple(called["id"] for called in run.asked)

    def said(self, run: Run) -> Answer | None:
        """The answer, or as much of it as the customer has seen when it broke off."""
        if run.answer is not None:
            return run.answer if run.answer.text else None
        writing = self._parts.followers.written(run.turn.thread_id)
        return Answer(writing.message_id, writing.text) if writing and writing.text else None

    async def _history(self, run: Run, past: Sequence[Event]) -> list[dict[str, Any]]:
        turn, remember = run.turn, self._parts.remember
        if remember is None:
            return past_messages(past, turn.id, turn.text)
        history = await remember.history(turn, past)
        run.crowded = history.crowded
        return history.messages

    async def _may_go_on(self, run: Run, after: float) -> bool:
        """See to what the one before left behind; False if the turn only waits for a yes.

        Raises:
            TurnInterrupted: it is too late, or was tried too often.
        """
        parts, turn = self._parts, run.turn
        await parts.calls.find_lost(turn.thread_id, turn.id)
        if turn.recoveries > MAX_RECOVERIES or after > RESUME_WITHIN:
            raise TurnInterrupted(f"taken over {turn.recoveries} times, after {after:.0f} s")
        log.warning("turn_taken_over", time=turn.recoveries, after=round(after, 1))
        states = await parts.ledger.decisions(turn.id)
        if "pending" not in states.values():
            return True
        run.waiting_for = tuple(call_id for call_id, state in states.items() if state == "pending")
        return False

    def _beginning(self, run: Run, agents: Agents, past: Sequence[Event]) -> Fact:
        turn = run.turn
        begun = any(
            isinstance(event.fact, TurnOpened)
            and (event.fact.turn_id, event.fact.run) == (turn.id, turn.run)
            for event in past
        )
        if begun and run.taken_over is not None:
            return TurnTakenOver(
                turn_id=turn.id,
                run=turn.run,
                time=turn.recoveries,
                correlation_id=run.correlation_id,
            )
        return TurnOpened(
            turn_id=turn.id,
            run=turn.run,
            agent=run.agent,
            versions={
                "agents": agents.version,
                "prompt": PROMPT_VERSION,
                "model": self._parts.model.model_name,
            },
            correlation_id=run.correlation_id,
        )

    def _agent_for(
        self,
        run: Run,
        past: Sequence[Event],
        agents: Agents,
        tools: Mapping[str, Mapping[str, Tool]],
    ) -> str:
        turn = run.turn
        if (
            turn.run > 1 or run.taken_over is not None
        ):  # whoever asked for the yes goes on, unless there is no such agent now
            before = last_agent(past, turn.id)
            return before if before is not None and before in agents.by_name else agents.first
        return choose_agent(turn.text, agents, tools, last_agent(past))

    def _take(self, run: Run, step: Step) -> None:
        match step:
            case LiveText():
                if run.first_token is None:
                    run.first_token = self._parts.monotonic()
                self._parts.followers.publish(run.turn.thread_id, [step])
            case Answer():
                run.answer = step
            case Thought():
                run.model_calls += 1
                run.input_tokens += step.input_tokens
                run.output_tokens += step.output_tokens
            case Asked():
                run.asked = step.calls
            case _:
                for event in step:
                    if isinstance(event.fact, AgentChanged):
                        run.agent = event.fact.after
                self._parts.publish(run.turn.thread_id, step)

    async def _ask(self, run: Run, context: TurnContext) -> None:
        events = await self._asking.ask(
            run.asked,
            context.at(run.agent).tools,
            context.claims,
            thread_id=context.thread_id,
            turn_id=context.turn_id,
            actor=context.actor,
        )
        run.approvals = [
            event.fact.approval_id for event in events if isinstance(event.fact, ApprovalAsked)
        ]
        self._parts.publish(run.turn.thread_id, events)
