"""The life of a turn: admitted, opened, answered, parked or closed. The application owns it.

A turn is a task of the application. Sockets come and go; the turn goes on.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from uuid_utils import uuid7

from smart_support.chat.answering import Answerer, Run, TurnParts
from smart_support.chat.customers import Customers
from smart_support.chat.follow import Waiting
from smart_support.chat.limits import FewAtOnce
from smart_support.chat.places import Busy, Place
from smart_support.chat.questions import Asking
from smart_support.conversations.records import Thread, Turn, TurnNotOpen, TurnStatus
from smart_support.errors import (
    DatabaseUnavailable,
    ErrorCategory,
    NotAllowed,
    Severity,
    SupportError,
)
from smart_support.events.fence import Fence, WriterReplaced, fenced
from smart_support.events.records import (
    Event,
    Fact,
    HandoffAsked,
    MessageFinished,
    ThreadId,
    TurnClosed,
    TurnId,
    TurnParked,
)
from smart_support.identity.people import Person, Role
from smart_support.ledger.postgres import Decided
from smart_support.ledger.records import Approval
from smart_support.telemetry import metrics
from smart_support.telemetry.handler import ErrorContext
from smart_support.telemetry.logs import new_correlation_id
from smart_support.telemetry.tracing import Attributes, span

log = structlog.get_logger()
Result = TypeVar("Result")

STORED_AT_ONCE = 4
"""Messages of one thread that this process stores at the same time, each on a connection."""


class TurnTimeout(SupportError):
    """Answering took longer than a turn may."""

    code = "CONV_TURN_TIMEOUT"
    status = 504
    category = ErrorCategory.TIMEOUT
    severity = Severity.MEDIUM
    user_message = (
        "That took longer than I can wait. Somebody of our team has been asked to go on here."
    )


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a message: which turn answers it, and whether it was known or has to wait."""

    turn_id: TurnId
    status: str


class TurnRunner:
    """Answers messages. Owns the tasks that do so."""

    def __init__(self, parts: TurnParts) -> None:
        self._parts = parts
        self._tasks: dict[TurnId, asyncio.Task[None]] = {}
        self._open: dict[ThreadId, TurnId] = {}
        self._answering: set[TurnId] = set()
        """Turns that may be interrupted."""
        self._waiting: set[TurnId] = set()
        """Those of them that wait for a place, and have done nothing yet."""
        self._settling: set[TurnId] = set()
        """Turns that are being closed or parked, and are not interrupted any more."""
        self._cancelled: set[TurnId] = set()
        self._set_aside: set[TurnId] = set()
        """Turns that stopped because the database was away; they are still open."""
        self._admitting: set[asyncio.Task[Any]] = set()
        self._storing = FewAtOnce(STORED_AT_ONCE)
        self._customers = Customers(parts.conversations)
        self._closing = False
        self._asking = Asking(
            ledger=parts.ledger,
            operations=parts.operations,
            caller=parts.caller,
            clock=parts.clock,
            ttl=parts.limits.approval_ttl,
        )
        self._answerer = Answerer(parts, self._customers, self._asking)

    async def open_thread(self, person: Person) -> Thread:
        """Begin a conversation of a customer.

        Raises:
            NotAllowed: only customers talk.
        """
        if person.role is not Role.CUSTOMER:
            raise NotAllowed("only a customer opens a thread")
        return await self._parts.conversations.open_thread(
            str(uuid7()),
            customer_id=person.id,
            customer_name=person.name,
            customer_email=person.email,
        )

    async def send(
        self, person: Person, thread_id: ThreadId, message_id: str, text: str
    ) -> Accepted:
        """Take a message in; it is stored when this returns, and answered by a task of its own.

        Raises:
            NotFound: no such thread of this person.
            RateLimited, QueueFull, Busy: not now; nothing is stored.
        """
        await self._customers.of(thread_id, only=person)
        # Who gives up while it waits here has stored nothing.
        async with self._storing.of(thread_id):
            return await self._whole(self._receive_if_room(thread_id, message_id, text))

    async def _receive_if_room(self, thread_id: ThreadId, message_id: str, text: str) -> Accepted:
        places = self._parts.places
        if places.full(thread_id) and await self._needs_place(thread_id, message_id):
            raise self.busy(f"{places.waiting} turns wait already", thread_id)
        with places.promised(thread_id):
            return await self._receive(thread_id, message_id, text)

    async def _needs_place(self, thread_id: ThreadId, message_id: str) -> bool:
        """Whether this message would make one turn more for an agent to answer now."""
        if thread_id in self._open:
            return False
        # Said to be refused, a message that is stored would be sent a second time.
        return await self._parts.conversations.needs_turn(thread_id, message_id)

    async def _receive(self, thread_id: ThreadId, message_id: str, text: str) -> Accepted:
        parts = self._parts
        admitted = parts.limiter.admit(thread_id)
        try:
            received = await parts.conversations.receive(thread_id, str(uuid7()), message_id, text)
        except BaseException:
            parts.limiter.give_back(thread_id, admitted)
            raise
        if received.duplicate:
            parts.limiter.give_back(thread_id, admitted)
            return Accepted(received.turn.id, "duplicate")
        correlation_id = new_correlation_id() if received.turn.status is TurnStatus.OPEN else None
        # One that waits gets an id of its own once it is answered, by whatever process.
        log.info(
            "message_accepted",
            thread_id=thread_id,
            message_id=message_id,
            turn_id=received.turn.id,
            status=received.turn.status.value,
            turn_correlation_id=correlation_id,
        )
        self.publish(thread_id, received.events)
        if received.turn.status is TurnStatus.OPEN:
            self._spawn(received.turn, correlation_id=correlation_id)
        elif received.turn.status is TurnStatus.QUEUED and parts.limits.interrupt:
            self.stop(thread_id)
        status = received.turn.status
        return Accepted(
            received.turn.id, "to_person" if status is TurnStatus.DONE else status.value
        )

    async def _whole(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do `work` to its end, also if the caller is gone: what is committed must be followed."""
        task = asyncio.create_task(work)
        self._admitting.add(task)
        task.add_done_callback(self._admitting.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(self._done_alone)
            raise

    def _done_alone(self, task: asyncio.Task[Any]) -> None:
        """Nobody waits for it any more, so that what it raises is heard of here or nowhere."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._parts.errors.handle(error, ErrorContext(place="job", operation="store"))

    async def cancel(self, person: Person, thread_id: ThreadId) -> bool:
        """Stop answering; False if this process answers nothing there. Others are asked to stop.

        Raises:
            NotFound: no such thread of this person.
        """
        await self._customers.of(thread_id, only=person)
        return self.stop(thread_id)

    def stop(self, thread_id: ThreadId, *, here_only: bool = False) -> bool:
        """Cancel the turn that is being answered in the thread, here or elsewhere."""
        turn_id = self._open.get(thread_id)
        task = self._tasks.get(turn_id) if turn_id else None
        if turn_id is None or task is None:
            if not here_only:
                self._parts.cancel_elsewhere(thread_id)
            return False
        if turn_id in self._settling:
            return False
        self._cancelled.add(turn_id)
        if turn_id in self._answering:  # a task that has not begun will see it when it does
            task.cancel()
        return True

    async def decide(
        self,
        person: Person,
        approval_id: str,
        *,
        approved: bool,
        reason: str | None,
        answered: bool = False,
        standing: bool = False,
    ) -> Decided:
        """Answer a question for approval; the last answer that a turn waits for lets it go on.

        The errors are those of `Asking.decide`.
        """

        async def work() -> Decided:
            decided = await self._asking.decide(
                person,
                approval_id,
                approved=approved,
                reason=reason,
                answered=answered,
                standing=standing,
            )
            await self.go_on(decided)
            return decided

        return await self._whole(work())

    async def change(
        self, person: Person, approval_id: str, arguments: Mapping[str, Any]
    ) -> Approval:
        """Change the arguments of a call that waits for a yes; the question is asked again.

        The errors are those of `Asking.change`.
        """

        async def work() -> Approval:
            approval, events = await self._asking.change(person, approval_id, arguments)
            self.publish(approval.thread_id, events)
            return approval

        return await self._whole(work())

    async def revoke_consent(self, person: Person, thread_id: ThreadId, consent_id: str) -> None:
        """Let a standing consent count no more.

        Raises:
            NotFound: there is none with this id in this thread.
        """
        events = await self._parts.ledger.revoke(
            thread_id, consent_id, by=person.role.value, now=self._parts.clock()
        )
        self.publish(thread_id, events)

    async def go_on(self, decided: Decided) -> None:
        """Tell of a decision; let its turn go on if it waits for nothing else."""
        approval = decided.approval
        self.publish(approval.thread_id, decided.events)
        if decided.waiting == 0:
            await self.unpark(approval.turn_id)

    async def unpark(self, turn_id: TurnId) -> None:
        """Go on with a parked turn whose questions all have answers.

        If it is not parked, nothing happens: either it is about to be, and then looks for its
        answers itself, or somebody else was quicker.
        """
        try:
            turn = await self._parts.conversations.unpark(turn_id)
        except TurnNotOpen:
            log.info("turn_not_parked", turn_id=turn_id)
            return
        if turn.status is TurnStatus.OPEN:
            self._spawn(turn)

    async def record(self, thread_id: ThreadId, facts: Sequence[Fact]) -> None:
        """As `TurnParts.record`."""
        await self._parts.record(thread_id, facts)

    def publish(self, thread_id: ThreadId, events: Sequence[Event]) -> None:
        """As `TurnParts.publish`."""
        self._parts.publish(thread_id, events)

    def resume(self, turn: Turn) -> None:
        """Begin to answer a turn that has just become the thread's open one."""
        self._spawn(turn)

    @property
    def running(self) -> int:
        """How many turns this process answers now."""
        return self._parts.places.taken

    @property
    def waiting(self) -> int:
        """How many turns wait until this process can answer them."""
        return self._parts.places.waiting

    @property
    def at_once(self) -> int:
        """How many turns this process may answer at once now."""
        return self._parts.places.at_once

    def busy(self, reason: str, thread_id: ThreadId) -> Busy:
        """What a thread's message is refused with that this process has no time to take in."""
        metrics.TURNS_REFUSED.inc()
        return self._parts.places.busy(reason, thread_id)

    def take_up(self, turn: Turn, after: float) -> None:
        """Go on with a turn that was taken over, open for `after` seconds, where its log ends."""
        self._set_aside.discard(turn.id)
        self._spawn(turn, after)

    def was_set_aside(self, turn_id: TurnId) -> bool:
        """Whether this process stopped answering the turn since it could write nothing down."""
        return turn_id in self._set_aside

    def answers(self, turn_id: TurnId) -> bool:
        """Whether a task of this process answers the turn."""
        return turn_id in self._tasks

    async def idle(self) -> None:
        """Wait until no turn is being answered."""
        while working := {*self._admitting, *self._tasks.values()}:
            await asyncio.wait(working)

    async def close(self, grace: float) -> None:
        """Let turns finish for `grace` seconds, then leave the rest open.

        Once the lock of this process is free, whoever comes next goes on with them.
        """
        self._closing = True
        if self._admitting:
            await asyncio.wait(set(self._admitting))
        for turn_id in list(self._waiting):  # whoever comes next is sooner there for them
            self._tasks[turn_id].cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=grace)
        for turn_id in list(self._answering):
            self._tasks[turn_id].cancel()
        while self._tasks:
            await asyncio.wait(self._tasks.values())
        context = ErrorContext(place="job", operation="take back unsent calls")
        with self._parts.errors.guarding(context):
            await self.take_back_unsent()

    async def take_back_unsent(self) -> None:
        """As `ToolCaller.take_back_unsent`."""
        await self._parts.caller.take_back_unsent()

    def _spawn(
        self, turn: Turn, taken_over: float | None = None, correlation_id: str | None = None
    ) -> None:
        self._open[turn.thread_id] = turn.id
        self._settling.discard(turn.id)
        correlation_id = correlation_id or new_correlation_id()
        place = self._parts.places.ask()
        task = asyncio.create_task(
            self._run(turn, place, taken_over, correlation_id), name=f"turn {turn.id}"
        )
        self._tasks[turn.id] = task
        task.add_done_callback(lambda done: self._ended(turn, place, done))

    def _ended(self, turn: Turn, place: Place, task: asyncio.Task[None]) -> None:
        self._parts.places.give_up(place)
        # The next run of a turn can begin before the task of the one before is quite over.
        if self._tasks.get(turn.id) is task:
            del self._tasks[turn.id]
            if turn.id not in self._set_aside:  # else it is remembered for when it is taken up
                self._cancelled.discard(turn.id)
            self._settling.discard(turn.id)
            if self._open.get(turn.thread_id) == turn.id:
                del self._open[turn.thread_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            context = ErrorContext(
                place="job", operation="turn_task", thread_id=turn.thread_id, turn_id=turn.id
            )
            self._parts.errors.handle(error, context)

    async def _run(
        self, turn: Turn, place: Place, taken_over: float | None, correlation_id: str
    ) -> None:
        run = Run(turn, correlation_id, self._parts.monotonic(), place, taken_over)
        with (
            structlog.contextvars.bound_contextvars(
                thread_id=turn.thread_id, turn_id=turn.id, correlation_id=run.correlation_id
            ),
            fenced(Fence(turn.thread_id, turn.epoch or 0, self._parts.alive)),
            span("invoke_agent", _traced(turn), correlation_id=run.correlation_id),
        ):
            try:
                await self._answer_and_settle(run)
            except WriterReplaced:
                log.warning("turn_lost_to_another_process")
                self._parts.followers.stop_writing(turn.thread_id)
            except DatabaseUnavailable as error:
                # Nothing can be written down, its end included. Recovery goes on with it.
                self._handled(run, error)
                log.warning("turn_set_aside")
                self._set_aside.add(turn.id)

    async def _answer_and_settle(self, run: Run) -> None:
        try:
            await self._answer_in_time(run)
        except asyncio.CancelledError:
            if run.turn.id in self._cancelled:
                await self._close(run, "cancelled", None)
            else:
                log.warning("turn_left_open", reason="the process is stopping")
            raise
        except TimeoutError:
            await self._hand_off_at_deadline(run)
            error = self._handled(run, TurnTimeout("the turn's time is over"))
            await self._close(run, "failed", error)
        except (WriterReplaced, DatabaseUnavailable):
            raise
        except Exception as failure:  # noqa: BLE001 - the handler has them all
            await self._close(run, "failed", self._handled(run, failure))
        else:
            if run.waiting_for:
                await self._park(run)
            else:
                await self._close(run, "done", None)

    async def _hand_off_at_deadline(self, run: Run) -> None:
        turn = run.turn
        asked = HandoffAsked(
            turn_id=turn.id,
            reason="usage_limit",
            note=f"The agent stopped after {self._parts.limits.timeout:g} seconds.",
        )
        self.publish(turn.thread_id, await self._parts.handoffs.ask(turn.thread_id, asked))

    def _handled(self, run: Run, error: Exception) -> SupportError:
        """The error as the catalogue names it, after the handler has seen it."""
        context = ErrorContext(place="turn", operation=run.agent)
        return self._parts.errors.handle(error, context).error

    async def _answer_in_time(self, run: Run) -> None:
        if run.turn.id in self._cancelled:
            self._settling.add(run.turn.id)
            raise asyncio.CancelledError
        self._answering.add(run.turn.id)
        try:
            await self._wait_for_place(run)
            async with asyncio.timeout(self._parts.limits.timeout):
                await self._answerer.answer(run)
        finally:
            self._answering.discard(run.turn.id)
            self._settling.add(run.turn.id)

    async def _wait_for_place(self, run: Run) -> None:
        turn = run.turn

        def tell(before: int) -> None:
            self._parts.followers.publish(
                turn.thread_id, [Waiting(turn_id=turn.id, run=turn.run, before=before)]
            )

        self._waiting.add(turn.id)
        try:
            waited = await run.place.wait(tell)
        finally:
            self._waiting.discard(turn.id)
        metrics.TURN_WAITED.observe(waited)
        run.started = self._parts.monotonic()
        log.info("turn_begun", run=turn.run, waited_ms=_milliseconds(waited))

    async def _park(self, run: Run) -> None:
        turn = run.turn
        approvals = run.approvals or await self._parts.ledger.open_questions(turn.id)
        fact = TurnParked(turn_id=turn.id, run=turn.run, approval_ids=approvals)
        await self._settle(run, TurnStatus.PARKED, [fact])
        if "pending" not in (await self._parts.ledger.decisions(turn.id)).values():
            await self.unpark(turn.id)  # answered while it was being parked

    async def _close(self, run: Run, status: str, error: SupportError | None) -> None:
        parts, turn = self._parts, run.turn
        if status != "done":
            await parts.calls.lose(turn.thread_id, turn.id)
            withdrawn = await parts.ledger.withdraw(turn.id, now=parts.clock())
            self.publish(turn.thread_id, withdrawn)
            await parts.calls.close_unsent(turn.thread_id, turn.id)
        facts: list[Fact] = []
        if (said := self._answerer.said(run)) is not None:
            facts.append(
                MessageFinished(
                    turn_id=turn.id, message_id=said.message_id, text=said.text, agent=run.agent
                )
            )
        facts.append(
            TurnClosed(
                turn_id=turn.id,
                run=turn.run,
                status=status,  # type: ignore[arg-type]
                duration_ms=_milliseconds(parts.monotonic() - run.started),
                first_token_ms=None
                if run.first_token is None
                else _milliseconds(run.first_token - run.started),
                model_calls=run.model_calls,
                input_tokens=run.input_tokens,
                output_tokens=run.output_tokens,
                code=error.code if error else None,
                message=error.user_message if error else None,
                correlation_id=run.correlation_id,
            )
        )
        await self._settle(run, TurnStatus(status), facts)
        if parts.remember is not None and run.crowded:
            parts.remember.notice(turn.thread_id)
        if turn.run > 1 or turn.recoveries or run.asked:  # else there is no checkpoint
            await parts.forget(turn.id)

    async def _settle(self, run: Run, status: TurnStatus, facts: Sequence[Fact]) -> None:
        turn = run.turn
        events, following = await self._parts.conversations.settle(
            turn.thread_id, turn.id, status, facts, open_next=not self._closing
        )
        self.publish(turn.thread_id, events)
        self._parts.followers.stop_writing(turn.thread_id)
        self._parts.places.give_up(run.place)  # else whatever follows it here would count twice
        if following is not None:
            self._spawn(following)


def _traced(turn: Turn) -> Attributes:
    return {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.conversation.id": turn.thread_id,
        "smart_support.turn.id": turn.id,
        "smart_support.turn.run": turn.run,
    }


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
