"""The ledger in PostgreSQL. A move that does not find its row in the right state fails loudly."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import asyncpg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert

from smart_support.database import Prepared, Row, Session, Sessions
from smart_support.errors import NotFound
from smart_support.events.postgres import append, appending, hold, storable
from smart_support.events.records import (
    ApprovalAsked,
    ApprovalDecided,
    AttemptMade,
    Event,
    Fact,
    ThreadId,
    ToolReturned,
    TurnId,
)
from smart_support.ledger.consent import BY_CONSENT, NO_DEMAND, Demand, NewConsent
from smart_support.ledger.consent_postgres import (
    PostgresConsents,
    give_consent,
    insert_question,
    use_approvals,
)
from smart_support.ledger.records import (
    Approval,
    ApprovalExpired,
    ApprovalMissing,
    ApprovalSettled,
    ApprovalState,
    Attempt,
    CallMade,
    CallMoved,
    CallState,
    KnownCall,
    PlannedCall,
)
from smart_support.ledger.stops_postgres import refuse_stopped
from smart_support.ledger.tables import approvals, tool_attempts, tool_calls
from smart_support.security.audit import Act
from smart_support.security.audit_postgres import record

Refuse: TypeAlias = Callable[[Session], Awaitable[None]]
"""Raises, in the transaction that lets a call out, if it may not be made."""


@dataclass(frozen=True, slots=True)
class Decided:
    """An approval with its answer. `waiting` more of the same turn are still open."""

    approval: Approval
    waiting: int
    events: tuple[Event, ...]


class PostgresLedger(PostgresConsents):
    """Remembers every call. Each method is one transaction, its events included."""

    def __init__(self, sessions: Sessions, *, owner: int | None = None) -> None:
        """`owner` marks the calls that this process sends."""
        super().__init__(sessions)
        self._owner = owner

    async def ask(
        self,
        questions: Sequence[tuple[PlannedCall, ApprovalAsked]],
        *,
        actor: str,
        consented: Collection[str] = (),
        now: datetime | None = None,
    ) -> tuple[Event, ...]:
        """Plan calls that need a yes, and ask for it; `actor` is the customer they are for.

        `consented`: ids of the questions that a standing consent answers, as of `now`.
        """
        async with self._sessions.begin() as session:
            for call in {call.id: call for call, _ in questions}.values():
                await session.execute(_insert(call, CallState.AWAITING_APPROVAL))
            for call, asked in questions:
                await insert_question(session, call, asked, actor=actor)
            thread_id = questions[0][0].thread_id
            events = await append(session, thread_id, [asked for _, asked in questions])
            for approval_id in consented:
                row = await _locked(session, approval_id)
                settled = await self._settle(
                    session, row, ApprovalState.APPROVED, by=BY_CONSENT, reason=None, now=now
                )
                events += settled.events
            return events

    async def ask_again(
        self,
        approval_id: str,
        questions: Sequence[tuple[PlannedCall, ApprovalAsked]],
        *,
        actor: str,
        now: datetime,
    ) -> tuple[Event, ...]:
        """Put questions about changed arguments into the place of one that `actor` was asked.

        Raises:
            NotFound: no such question for this customer.
            ApprovalSettled: it was answered before, or a lead has said yes to what it was about.
            ApprovalExpired: its time is over.
        """
        async with self._sessions.begin() as session:
            row = await self._pending(session, approval_id, actor=actor)
            if now >= row.expires_at:
                raise ApprovalExpired(f"approval {approval_id} expired")
            call = questions[0][0]
            superseded = await session.scalars(
                sa.update(approvals)
                .where(
                    approvals.c.tool_call_id == row.tool_call_id,
                    approvals.c.state != ApprovalState.EDITED.value,
                )
                .values(state=ApprovalState.EDITED.value, decided_by=actor, decided_at=now)
                .returning(approvals.c.id)
            )
            edited: list[Fact] = [
                ApprovalDecided(
                    turn_id=row.turn_id,
                    tool_call_id=row.tool_call_id,
                    approval_id=superseded_id,
                    decision="edited",
                    by=actor,
                    reason=None,
                )
                for superseded_id in superseded
            ]
            await _move(
                session,
                row.tool_call_id,
                CallState.AWAITING_APPROVAL,
                CallState.AWAITING_APPROVAL,
                arguments=dict(call.arguments),
                fingerprint=call.fingerprint,
            )
            for planned, asked in questions:
                await insert_question(session, planned, asked, actor=actor, edited=True)
            return await append(
                session, row.thread_id, [*edited, *(asked for _, asked in questions)]
            )

    async def decide(
        self,
        approval_id: str,
        *,
        actor: str,
        approved: bool,
        reason: str | None,
        now: datetime,
        lead: bool = False,
        answered: bool = False,
        consent: NewConsent | None = None,
    ) -> Decided:
        """Answer a question, once, as the person that was asked.

        A yes after the expiry is recorded as `expired`, so that the turn can go on and say so.

        With `lead`, `actor` answers as a support lead what leads are asked. `answered`: `reason`
        is a message instead of a yes or a no. `consent`: a yes, and no question about this
        operation any more in this conversation.

        Raises:
            NotFound: no such question for this person.
            ApprovalSettled: it was answered before.
        """
        async with self._sessions.begin() as session:
            row = await self._pending(session, approval_id, actor=None if lead else actor)
            state = ApprovalState.APPROVED if approved else ApprovalState.REJECTED
            if answered:
                state = ApprovalState.ANSWERED
            if now >= row.expires_at:
                state = ApprovalState.EXPIRED
            decided = await self._settle(session, row, state, by=actor, reason=reason, now=now)
            if consent is not None and state is ApprovalState.APPROVED:
                given = await give_consent(session, row, consent, now=now)
                events = await append(session, row.thread_id, given) if given else ()
                decided = replace(decided, events=(*decided.events, *events))
            return decided

    async def question(self, approval_id: str, *, actor: str) -> tuple[Approval, str]:
        """A question to this customer, and the id of the operation that it is about.

        Raises:
            NotFound: no such question for this person.
        """
        statement = (
            sa.select(approvals, tool_calls.c.operation_id)
            .join(tool_calls, tool_calls.c.id == approvals.c.tool_call_id)
            .where(
                approvals.c.id == approval_id,
                approvals.c.actor == actor,
                approvals.c.audience == "customer",
            )
        )
        async with self._sessions() as session:
            row = (await session.execute(statement)).one_or_none()
        if row is None:
            raise NotFound(f"no approval {approval_id} for {actor}")
        fields = {column.name: row._mapping[column.name] for column in approvals.c}
        return Approval(**{**fields, "state": ApprovalState(row.state)}), row.operation_id

    async def _pending(self, session: Session, approval_id: str, *, actor: str | None) -> Row:
        """The open question to the customer `actor`, or to leads; all of its turn's are locked."""
        asked = sa.select(approvals.c.turn_id).where(
            approvals.c.id == approval_id,
            approvals.c.audience == "lead"
            if actor is None
            else sa.and_(approvals.c.actor == actor, approvals.c.audience == "customer"),
        )
        # All questions of the turn are locked, so that of two last answers one sees that
        # nothing is left to wait for.
        rows = await session.execute(
            sa.select(approvals)
            .where(approvals.c.turn_id == asked.scalar_subquery())
            .order_by(approvals.c.id)
            .with_for_update()
        )
        row = next((found for found in rows if found.id == approval_id), None)
        if row is None:
            raise NotFound(f"no approval {approval_id} for {actor or 'a lead'}")
        if row.state != ApprovalState.PENDING.value:
            raise ApprovalSettled(f"approval {approval_id} is {row.state}")
        return row

    async def expire(self, now: datetime) -> tuple[Decided, ...]:
        """Answer every question whose time has run out with `expired`."""
        async with self._sessions.begin() as session:
            rows = (
                await session.execute(
                    sa.select(approvals)
                    .where(
                        approvals.c.state == ApprovalState.PENDING.value,
                        approvals.c.expires_at <= now,
                    )
                    .with_for_update(skip_locked=True)
                )
            ).all()
            # The end of one question can take back another of the same call.
            return tuple(
                [
                    await self._settle(
                        session, row, ApprovalState.EXPIRED, by="clock", reason=None, now=now
                    )
                    for row in {row.tool_call_id: row for row in rows}.values()
                ]
            )

    async def withdraw(self, turn_id: TurnId, *, now: datetime) -> tuple[Event, ...]:
        """Take back the questions of a turn that is over: nobody would act on the answer."""
        async with self._sessions.begin() as session:
            rows = (
                await session.execute(
                    sa.select(approvals)
                    .where(
                        approvals.c.turn_id == turn_id,
                        approvals.c.state == ApprovalState.PENDING.value,
                    )
                    .order_by(approvals.c.id)
                    .with_for_update()
                )
            ).all()
            events: list[Event] = []
            for row in {row.tool_call_id: row for row in rows}.values():
                settled = await self._settle(
                    session, row, ApprovalState.EXPIRED, by="system", reason=None, now=now
                )
                events += settled.events
            return tuple(events)

    async def _settle(
        self,
        session: Session,
        row: Row,
        state: ApprovalState,
        *,
        by: str,
        reason: str | None,
        now: datetime | None,
    ) -> Decided:
        settled = (
            await session.execute(
                sa.update(approvals)
                .where(approvals.c.id == row.id)
                .values(state=state.value, decided_by=by, decided_at=now, reason=reason)
                .returning(approvals)
            )
        ).one()
        others = await self._others(session, row, state, now)
        if state is not ApprovalState.APPROVED or not others:
            after = (
                CallState.REJECTED if state is ApprovalState.ANSWERED else CallState(state.value)
            )
            await _move(session, row.tool_call_id, CallState.AWAITING_APPROVAL, after)
        taken_back = [other.id for other in others if state is not ApprovalState.APPROVED]
        waiting = await session.scalar(
            sa.select(sa.func.count()).where(
                approvals.c.turn_id == row.turn_id,
                approvals.c.state == ApprovalState.PENDING.value,
            )
        )
        facts: list[Fact] = [
            ApprovalDecided(
                turn_id=row.turn_id,
                tool_call_id=row.tool_call_id,
                approval_id=row.id,
                decision=state.value,  # type: ignore[arg-type]  # those that are decisions
                by=by,
                reason=reason,
            )
        ]
        facts += [
            ApprovalDecided(
                turn_id=row.turn_id,
                tool_call_id=row.tool_call_id,
                approval_id=other_id,
                decision="expired",
                by="system",
                reason=None,
            )
            for other_id in taken_back
        ]
        events = await append(session, row.thread_id, facts)
        await record(
            session,
            Act.APPROVAL_DECIDED,
            actor=by,
            role="system" if by == "system" else row.audience,
            subject=row.id,
            details={"decision": state.value, "thread_id": row.thread_id, "title": row.title},
        )
        return Decided(_approval(settled), waiting or 0, events)

    async def _others(
        self, session: Session, row: Row, state: ApprovalState, now: datetime | None
    ) -> Sequence[Row]:
        """The open questions to others about the same call; a no to one takes them back."""
        of_call = sa.and_(
            approvals.c.tool_call_id == row.tool_call_id,
            approvals.c.state == ApprovalState.PENDING.value,
            approvals.c.id != row.id,
        )
        if state is ApprovalState.APPROVED:
            found = await session.execute(sa.select(approvals.c.id).where(of_call))
            return found.all()
        taken_back = (
            sa.update(approvals)
            .where(of_call)
            .values(state=ApprovalState.EXPIRED.value, decided_by="system", decided_at=now)
            .returning(approvals.c.id)
        )
        rows: Sequence[Row] = (await session.execute(taken_back)).all()
        return rows

    async def send_approved(
        self,
        call: PlannedCall,
        *,
        actor: str,
        now: datetime,
        demand: Demand = NO_DEMAND,
        refuse: Refuse | None = None,
    ) -> None:
        """Use the approvals of exactly this call, and note that it is being sent.

        `refuse` is asked first, in the same transaction; what it raises, this raises.

        Raises:
            ApprovalMissing, ApprovalExpired, LimitReached: as of `use_approvals`.
            CallMade: it was sent before.
            Stopped: an operator has switched it off.
        """
        async with self._sessions.begin() as session:
            await hold(session, call.thread_id)
            await refuse_stopped(session, operation_id=call.operation_id, api_id=call.api_id)
            if refuse is not None:
                await refuse(session)
            try:
                await use_approvals(session, call, demand, actor=actor, now=now)
            except ApprovalMissing:
                known = await _known(session, tool_calls.c.id == call.id)
                if known is not None and _is_over(known, call):
                    raise CallMade(known) from None
                raise
            await _move(
                session, call.id, CallState.APPROVED, CallState.SENT, **self._sent(call, now)
            )

    async def send_unasked(
        self, call: PlannedCall, *, now: datetime, refuse: Refuse | None = None
    ) -> None:
        """Note that a write which needs no yes is being sent; `refuse` as of `send_approved`.

        Raises:
            CallMade: this effect was asked for before in this turn.
            CallMoved: a call with this id and other arguments was made before.
            Stopped: an operator has switched it off.
        """
        async with self._sessions.begin() as session:
            await hold(session, call.thread_id)
            await refuse_stopped(session, operation_id=call.operation_id, api_id=call.api_id)
            if refuse is not None:
                await refuse(session)
            statement = _insert(
                call, CallState.SENT, **self._sent(call, now)
            ).on_conflict_do_nothing()
            if (await session.execute(statement.returning(tool_calls.c.id))).one_or_none() is None:
                same = sa.and_(
                    tool_calls.c.effect_key == call.effect_key,
                    tool_calls.c.state.in_(_COUNTING),
                )
                known = await _known(session, sa.or_(tool_calls.c.id == call.id, same))
                if known is not None and known.fingerprint == call.fingerprint:
                    raise CallMade(known)
                raise CallMoved(f"call {call.id} was made before with other arguments")

    def _sent(self, call: PlannedCall, now: datetime) -> dict[str, Any]:
        keyed = None if call.keyed_for is None else now + timedelta(seconds=call.keyed_for)
        return {
            "sent_at": now,
            "sent_by": self._owner,
            "effect_key": call.effect_key,
            "keyed_until": keyed,
            "url": call.url,
        }

    async def take_back(self, call_id: str, thread_id: ThreadId) -> bool:
        """Undo that a call was noted as being sent, for whoever knows that nothing was.

        As if that commit had never been made: the call can still be made, with its approvals.
        False if there is nothing to undo.

        Raises:
            WriterReplaced: another process has taken the turn over, and may have sent it.
            DatabaseUnavailable: it cannot be written now.
        """
        marked = (tool_calls.c.id == call_id, tool_calls.c.state == CallState.SENT.value)
        async with self._sessions.begin() as session:
            await hold(session, thread_id)
            locked = sa.select(tool_calls.c.id).where(*marked).with_for_update()
            if (await session.execute(locked)).one_or_none() is None:
                return False
            used = await session.execute(
                sa.update(approvals)
                .where(
                    approvals.c.tool_call_id == call_id,
                    approvals.c.state == ApprovalState.USED.value,
                )
                .values(state=ApprovalState.APPROVED.value)
                .returning(approvals.c.id)
            )
            if used.all():
                before = {"sent_at": None, "sent_by": None, "effect_key": None, "keyed_until": None}
                await _move(session, call_id, CallState.SENT, CallState.APPROVED, **before)
            else:  # it had no row before
                await session.execute(sa.delete(tool_calls).where(*marked))
            return True

    async def on_their_way(self, turn_id: TurnId) -> tuple[KnownCall, ...]:
        """The calls of a turn that are noted as sent and have no end."""
        statement = sa.select(tool_calls).where(
            tool_calls.c.turn_id == turn_id, tool_calls.c.state == CallState.SENT.value
        )
        async with self._sessions() as session:
            return tuple(known_call(row) for row in await session.execute(statement))

    async def finish(
        self,
        call: PlannedCall,
        state: CallState,
        attempts: Sequence[Attempt],
        returned: ToolReturned,
        *,
        now: datetime,
        etag: str | None = None,
        accepted: Any = None,
    ) -> tuple[Event, ...]:
        """Write down how a call ended.

        A read has no row before. A write was `SENT`; one that FAILED may not have come that far.

        Raises:
            CallMade: this read has its result already; nothing is written.
            CallMoved: the write is not on its way any more.
        """
        values = {
            "content": storable(returned.content),
            "code": returned.code,
            "finished_at": now,
            "url": call.url,
            "etag": storable(etag),
            "accepted": storable(accepted),
            "check_at": now if state is CallState.AMBIGUOUS else None,
        }
        facts = [*attempt_facts(call.turn_id, call.id, attempts), returned]
        if call.access == "read" and not call.asks:
            return await self._finish_read(call, _planned(call, state) | values, attempts, facts)
        async with self._sessions.begin() as session:
            await _end(session, call, state, values)
            if attempts:
                await session.execute(
                    _ADD_ATTEMPT,
                    [
                        {"tool_call_id": call.id, **storable(_columns(attempt))}
                        for attempt in attempts
                    ],
                )
            return await append(session, call.thread_id, facts)

    async def _finish_read(
        self,
        call: PlannedCall,
        values: dict[str, Any],
        attempts: Sequence[Attempt],
        facts: Sequence[Fact],
    ) -> tuple[Event, ...]:
        """One statement, which stands for itself: a read is written down only here."""
        values["attempts"] = [storable(_columns(attempt)) for attempt in attempts]
        try:
            async with self._sessions() as session:
                return await append(session, call.thread_id, facts, _ADD_READ, values)
        except asyncpg.UniqueViolationError:
            async with self._sessions() as session:
                known = await _known(session, tool_calls.c.id == call.id)
            if known is None:
                raise
            raise CallMade(known) from None

    async def tell(self, thread_id: ThreadId, facts: Sequence[Fact]) -> tuple[Event, ...]:
        """Add facts about calls whose rows stay as they are."""
        async with self._sessions.begin() as session:
            return await append(session, thread_id, facts)

    async def call(self, call_id: str) -> KnownCall:
        """A call, whatever its state.

        Raises:
            NotFound: nothing was asked of anybody under this id.
        """
        async with self._sessions() as session:
            known = await _known(session, tool_calls.c.id == call_id)
        if known is None:
            raise NotFound(f"no tool call {call_id}")
        return known

    async def last_etag(self, thread_id: ThreadId, url: str) -> str | None:
        """The version that the API last gave, in this thread, of what is at this URL."""
        statement = (
            sa.select(tool_calls.c.etag)
            .where(
                tool_calls.c.thread_id == thread_id,
                tool_calls.c.url == url,
                tool_calls.c.etag.is_not(None),
            )
            .order_by(tool_calls.c.finished_at.desc())
            .limit(1)
        )
        async with self._sessions() as session:
            found: str | None = await session.scalar(statement)
        return found

    async def call_content(self, tool_call_id: str) -> tuple[CallState, str | None] | None:
        """The state of a call and what the model read of it; None if it was never written."""
        statement = sa.select(tool_calls.c.state, tool_calls.c.content).where(
            tool_calls.c.id == tool_call_id
        )
        async with self._sessions() as session:
            row = (await session.execute(statement)).one_or_none()
        return None if row is None else (CallState(row.state), row.content)

    async def lose_sent(self, turn_id: TurnId, content: str, *, now: datetime) -> tuple[Event, ...]:
        """Mark the calls that a dead process had sent as ambiguous: nobody knows their outcome."""
        async with self._sessions.begin() as session:
            rows = (
                await session.execute(
                    sa.update(tool_calls)
                    .where(
                        tool_calls.c.turn_id == turn_id,
                        tool_calls.c.state == CallState.SENT.value,
                    )
                    .values(
                        state=CallState.AMBIGUOUS.value,
                        content=content,
                        code="TOOL_OUTCOME_UNKNOWN",
                        finished_at=now,
                        check_at=now,
                    )
                    .returning(tool_calls.c.id, tool_calls.c.thread_id)
                )
            ).all()
            facts = [
                ToolReturned(
                    turn_id=turn_id,
                    tool_call_id=row.id,
                    outcome="unknown",
                    content=content,
                    code="TOOL_OUTCOME_UNKNOWN",
                )
                for row in rows
            ]
            return await append(session, rows[0].thread_id, facts) if rows else ()

    async def close_unsent(
        self, turn_id: TurnId, content: str, *, now: datetime
    ) -> tuple[Event, ...]:
        """End the calls of a turn that is over which never were sent: they have failed, surely."""
        async with self._sessions.begin() as session:
            rows = (
                await session.execute(
                    sa.update(tool_calls)
                    .where(
                        tool_calls.c.turn_id == turn_id,
                        tool_calls.c.state.in_([CallState.PLANNED.value, CallState.APPROVED.value]),
                    )
                    .values(
                        state=CallState.FAILED.value,
                        content=content,
                        code="TOOL_NOT_SENT",
                        finished_at=now,
                    )
                    .returning(tool_calls.c.id, tool_calls.c.thread_id)
                )
            ).all()
            facts = [
                ToolReturned(
                    turn_id=turn_id,
                    tool_call_id=row.id,
                    outcome="failed",
                    content=content,
                    code="TOOL_NOT_SENT",
                )
                for row in rows
            ]
            return await append(session, rows[0].thread_id, facts) if rows else ()

    async def backdate(self, thread_id: ThreadId, by: timedelta) -> None:
        """Let the thread's calls have happened earlier; only for what was made up."""
        of_thread = sa.select(tool_calls.c.id).where(tool_calls.c.thread_id == thread_id)
        async with self._sessions.begin() as session:
            for statement in (
                sa.update(tool_attempts)
                .where(tool_attempts.c.tool_call_id.in_(of_thread))
                .values(started_at=tool_attempts.c.started_at - by),
                sa.update(tool_calls)
                .where(tool_calls.c.thread_id == thread_id)
                .values(
                    planned_at=tool_calls.c.planned_at - by,
                    sent_at=tool_calls.c.sent_at - by,
                    finished_at=tool_calls.c.finished_at - by,
                ),
                sa.update(approvals)
                .where(approvals.c.thread_id == thread_id)
                .values(
                    asked_at=approvals.c.asked_at - by,
                    expires_at=approvals.c.expires_at - by,
                    decided_at=approvals.c.decided_at - by,
                ),
            ):
                await session.execute(statement)

    async def decisions(self, turn_id: TurnId) -> dict[str, str]:
        """Tool call id -> state of its approval, for one turn."""
        return {
            call_id: verdict["decision"]
            for call_id, verdict in (await self.verdicts(turn_id)).items()
        }

    async def approvals(
        self,
        *,
        actor: str | None,
        state: ApprovalState | None,
        limit: int,
        audience: str | None = None,
    ) -> tuple[Approval, ...]:
        """The newest questions, about calls for one customer or for all."""
        newest = (approvals.c.asked_at.desc(), approvals.c.id)  # an id tells nothing of its time
        statement = sa.select(approvals).order_by(*newest).limit(limit)
        if actor is not None:
            statement = statement.where(approvals.c.actor == actor)
        if state is not None:
            statement = statement.where(approvals.c.state == state.value)
        if audience is not None:
            statement = statement.where(approvals.c.audience == audience)
        async with self._sessions() as session:
            return tuple(_approval(row) for row in await session.execute(statement))


_COUNTING = [
    state.value
    for state in (CallState.SENT, CallState.DONE, CallState.AMBIGUOUS, CallState.RESOLVED_DONE)
]
"""States of a call that has had its effect, or may have."""

_OPEN_BEFORE_FAILURE = [CallState.PLANNED.value, CallState.APPROVED.value, CallState.SENT.value]


def attempt_facts(turn_id: TurnId, call_id: str, attempts: Sequence[Attempt]) -> list[Fact]:
    """What the log says of the requests that were made for a call."""
    return [
        AttemptMade(
            turn_id=turn_id,
            tool_call_id=call_id,
            **_columns(attempt) | {"started_at": attempt.started_at.isoformat()},
        )
        for attempt in attempts
    ]


def known_call(row: Row) -> KnownCall:
    """The call in a row of `tool_calls`."""
    values = {name: row._mapping[name] for name in KnownCall.__slots__}
    return KnownCall(**values | {"state": CallState(row.state)})


async def _known(session: Session, which: sa.ColumnElement[bool]) -> KnownCall | None:
    statement = sa.select(tool_calls).where(which).order_by(tool_calls.c.sent_at.desc()).limit(1)
    row = (await session.execute(statement)).one_or_none()
    return None if row is None else known_call(row)


def _is_over(known: KnownCall, call: PlannedCall) -> bool:
    """Whether it is this very call, and past the point where it could be sent."""
    over = {*_COUNTING, CallState.FAILED.value, CallState.RESOLVED_NOT_DONE.value}
    same = (known.fingerprint, known.thread_id) == (call.fingerprint, call.thread_id)
    return same and known.state.value in over


async def _locked(session: Session, approval_id: str) -> Row:
    return (
        await session.execute(
            sa.select(approvals).where(approvals.c.id == approval_id).with_for_update()
        )
    ).one()


def _planned(call: PlannedCall, state: CallState) -> dict[str, Any]:
    return {
        "id": call.id,
        "thread_id": call.thread_id,
        "turn_id": call.turn_id,
        "operation_id": call.operation_id,
        "api_id": call.api_id,
        "operation": call.operation,
        "access": call.access,
        "arguments": dict(call.arguments),
        "fingerprint": call.fingerprint,
        "state": state.value,
    }


def _insert(call: PlannedCall, state: CallState, **values: Any) -> Any:
    return insert(tool_calls).values(_planned(call, state) | values)


_PLANNED = (
    "id",
    "thread_id",
    "turn_id",
    "operation_id",
    "api_id",
    "operation",
    "access",
    "arguments",
    "fingerprint",
    "state",
)
_ENDED = ("content", "code", "finished_at", "url", "etag", "accepted", "check_at")

_TRIED = tuple(field.name for field in fields(Attempt))
_ADD_ATTEMPT = Prepared(insert(tool_attempts), ("tool_call_id", *_TRIED))


def _listed(names: Sequence[str], before: str = "") -> str:
    return ", ".join(before + name for name in names)


_OF_READ = tuple(name for name in (*_PLANNED, *_ENDED) if name != "thread_id")

_ADD_READ = appending(
    f"""
    made AS (
        INSERT INTO tool_calls (thread_id, {_listed(_OF_READ)})
        SELECT :thread_id, {_listed(_OF_READ, ":")} FROM log
        RETURNING id
    ),
    tried AS (
        INSERT INTO tool_attempts (tool_call_id, {_listed(_TRIED)})
        SELECT made.id, {_listed(_TRIED, "attempt.")}
        FROM made, jsonb_populate_recordset(null::tool_attempts, :attempts) AS attempt
    )
    """,  # noqa: S608 - names of columns
    *(sa.bindparam(name, type_=tool_calls.c[name].type) for name in _OF_READ),
    sa.bindparam("attempts", type_=JSONB),
)
"""A read that has ended, unless there is one with this id: then a `UniqueViolationError`."""


async def _end(
    session: Session, call: PlannedCall, state: CallState, values: dict[str, Any]
) -> None:
    """Move a write to its end; one that failed before it was sent may have no row yet."""
    if state is not CallState.FAILED:
        await _move(session, call.id, CallState.SENT, state, **values)
        return
    moved = await session.execute(
        sa.update(tool_calls)
        .where(tool_calls.c.id == call.id, tool_calls.c.state.in_(_OPEN_BEFORE_FAILURE))
        .values(state=state.value, **values)
        .returning(tool_calls.c.id)
    )
    if moved.one_or_none() is None:
        made = await session.execute(
            _insert(call, state, **values).on_conflict_do_nothing().returning(tool_calls.c.id)
        )
        if made.one_or_none() is None:
            raise CallMoved(f"call {call.id} has ended before")


async def _move(
    session: Session, call_id: str, before: CallState, after: CallState, **values: Any
) -> None:
    moved = await session.execute(
        sa.update(tool_calls)
        .where(tool_calls.c.id == call_id, tool_calls.c.state == before.value)
        .values(state=after.value, **values)
        .returning(tool_calls.c.id)
    )
    if moved.one_or_none() is None:
        raise CallMoved(f"call {call_id} is not {before.value}")


def _columns(attempt: Attempt) -> dict[str, Any]:
    return {name: getattr(attempt, name) for name in attempt.__slots__}


def _approval(row: Row) -> Approval:
    return Approval(**{**row._mapping, "state": ApprovalState(row.state)})
