"""Approvals and standing consents in PostgreSQL: who has said yes, and when that is not enough."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from smart_support.database import Prepared, Session, Sessions
from smart_support.errors import NotFound
from smart_support.events.postgres import append
from smart_support.events.records import (
    ApprovalAsked,
    ConsentGiven,
    ConsentRevoked,
    Event,
    ThreadId,
    TurnId,
)
from smart_support.ledger.consent import (
    Demand,
    LimitReached,
    NewConsent,
    StandingConsent,
    Total,
    Verdict,
)
from smart_support.ledger.records import (
    ApprovalExpired,
    ApprovalMissing,
    ApprovalState,
    CallState,
    PlannedCall,
)
from smart_support.ledger.tables import approvals, standing_consents, tool_calls

_MOST_SUMMED = 10_000
_MOST_ARGUMENTS = 200

_OPEN_STATES = (CallState.AWAITING_APPROVAL.value, CallState.APPROVED.value)
# What may have taken effect counts as if it had.
_EFFECTIVE = (
    CallState.SENT.value,
    CallState.DONE.value,
    CallState.AMBIGUOUS.value,
    CallState.RESOLVED_DONE.value,
)


_WRITES = Prepared(
    sa.select(
        tool_calls.c.turn_id,
        tool_calls.c.operation,
        tool_calls.c.arguments,
        tool_calls.c.state,
        tool_calls.c.planned_at,
    )
    .where(tool_calls.c.thread_id == sa.bindparam("thread_id"), tool_calls.c.access == "write")
    .order_by(tool_calls.c.planned_at.desc(), tool_calls.c.id)
    .limit(sa.bindparam("most", type_=sa.BigInteger))
)


class PostgresConsents:
    """Standing consents, and what is known of the approvals of a turn."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def consents(self, thread_id: ThreadId, *, now: datetime) -> tuple[StandingConsent, ...]:
        """Those that stand now."""
        statement = (
            sa.select(standing_consents)
            .where(
                standing_consents.c.thread_id == thread_id,
                standing_consents.c.revoked_at.is_(None),
                standing_consents.c.expires_at > now,
            )
            .order_by(standing_consents.c.given_at)
        )
        async with self._sessions() as session:
            rows = await session.execute(statement)
            return tuple(StandingConsent(**row._mapping) for row in rows)

    async def revoke(
        self, thread_id: ThreadId, consent_id: str, *, by: str, now: datetime
    ) -> tuple[Event, ...]:
        """Let a consent count no more. Revoking it again changes nothing.

        Raises:
            NotFound: there is no such consent in this thread.
        """
        async with self._sessions.begin() as session:
            row = (
                await session.execute(
                    sa.select(standing_consents.c.revoked_at)
                    .where(
                        standing_consents.c.id == consent_id,
                        standing_consents.c.thread_id == thread_id,
                    )
                    .with_for_update()
                )
            ).one_or_none()
            if row is None:
                raise NotFound(f"no consent {consent_id} in thread {thread_id}")
            if row.revoked_at is not None:
                return ()
            await session.execute(
                sa.update(standing_consents)
                .where(standing_consents.c.id == consent_id)
                .values(revoked_at=now)
            )
            return await append(session, thread_id, [ConsentRevoked(consent_id, by)])

    async def verdicts(self, turn_id: TurnId) -> dict[str, Verdict]:
        """Tool call id -> what was decided about it, for one turn.

        A call for which several people are asked is approved when all have said yes; the first
        no, message or silence decides it.
        """
        statement = (
            sa.select(approvals)
            .where(approvals.c.turn_id == turn_id, approvals.c.state != ApprovalState.EDITED.value)
            .order_by(approvals.c.decided_at.nulls_last(), approvals.c.id)
        )
        found: dict[str, list[Any]] = {}
        async with self._sessions() as session:
            for row in await session.execute(statement):
                found.setdefault(row.tool_call_id, []).append(row)
        return {call_id: _verdict(rows) for call_id, rows in found.items()}

    async def open_questions(self, turn_id: TurnId) -> list[str]:
        """Ids of the approvals that a turn waits for."""
        statement = (
            sa.select(approvals.c.id)
            .where(
                approvals.c.turn_id == turn_id,
                approvals.c.state == ApprovalState.PENDING.value,
            )
            .order_by(approvals.c.asked_at, approvals.c.id)
        )
        async with self._sessions() as session:
            return list(await session.scalars(statement))

    async def writes(self, thread_id: ThreadId, limit: int = 40) -> list[tuple[TurnId, str]]:
        """The newest writes of a thread, oldest first: the turn, and the call with its outcome."""
        values = {"thread_id": thread_id, "most": limit}
        async with self._sessions() as session:
            rows = (await session.execute(_WRITES, values)).all()
        return [(row.turn_id, _write_in_words(row)) for row in reversed(rows)]

    async def passed(
        self, call: PlannedCall, actor: str, totals: Sequence[Total], *, now: datetime
    ) -> tuple[str, ...]:
        """The limits, in words, that this call would pass; what still waits for a yes counts."""
        async with self._sessions() as session:
            return await _passed(session, call, actor, totals, now=now, states=_OPEN_STATES)


def _write_in_words(row: Any) -> str:
    arguments = json.dumps(row.arguments, ensure_ascii=False)[:_MOST_ARGUMENTS]
    became = _BECAME.get(row.state, row.state)
    return f"{row.planned_at:%Y-%m-%d %H:%M} {row.operation} {arguments}: {became}"


_BECAME = {
    "sent": "being made",
    "done": "done",
    "failed": "failed, nothing was changed",
    "ambiguous": "UNKNOWN whether it took effect",
    "resolved_done": "done",
    "resolved_not_done": "not done",
    "rejected": "declined, nothing was sent",
    "expired": "not confirmed in time, nothing was sent",
    "awaiting_approval": "waits for a yes, nothing was sent",
    "approved": "confirmed, about to be sent",
}


async def insert_question(
    session: Session,
    call: PlannedCall,
    asked: ApprovalAsked,
    *,
    actor: str,
    edited: bool = False,
) -> None:
    """Store a question about a call."""
    await session.execute(
        insert(approvals).values(
            id=asked.approval_id,
            tool_call_id=call.id,
            thread_id=call.thread_id,
            turn_id=call.turn_id,
            actor=actor,
            fingerprint=call.fingerprint,
            title=asked.title,
            method=asked.method,
            url=asked.url,
            fields=asked.fields,
            state=ApprovalState.PENDING.value,
            expires_at=datetime.fromisoformat(asked.expires_at),
            audience=asked.audience,
            why=asked.why,
            arguments=asked.arguments,
            edited=edited,
        )
    )


async def use_approvals(
    session: Session, call: PlannedCall, demand: Demand, *, actor: str, now: datetime
) -> None:
    """Use up the approvals of exactly this call.

    Raises:
        ApprovalMissing: somebody whose yes it needs has not said yes to it as it stands, or that
            yes was used.
        ApprovalExpired: a yes is too old.
        LimitReached: together with others it passes a limit, and no lead has said yes.
    """
    rows = (
        await session.execute(
            sa.update(approvals)
            .where(
                approvals.c.tool_call_id == call.id,
                approvals.c.thread_id == call.thread_id,
                approvals.c.actor == actor,
                approvals.c.fingerprint == call.fingerprint,
                approvals.c.state == ApprovalState.APPROVED.value,
            )
            .values(state=ApprovalState.USED.value)
            .returning(approvals.c.audience, approvals.c.expires_at)
        )
    ).all()
    given = {row.audience for row in rows}
    needed = {"customer", "lead"} if demand.lead else {"customer"}
    if missing := needed - given:
        who = " and ".join(sorted(missing))
        raise ApprovalMissing(f"no unused approval of the {who} for call {call.id} as it stands")
    if any(now >= row.expires_at for row in rows):
        raise ApprovalExpired(f"the approval of call {call.id} expired")
    if demand.totals and "lead" not in given:
        # Calls of one customer are counted one after the other; two at once would both fit.
        await session.execute(
            sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"{actor}/{call.operation}")))
        )
        if over := await _passed(session, call, actor, demand.totals, now=now, states=()):
            raise LimitReached(f"{'; '.join(over)}: a support lead has to say yes to this")


async def give_consent(
    session: Session, row: Any, wish: NewConsent, *, now: datetime
) -> list[ConsentGiven]:
    """Note the wish, unless it was noted before; `row` is the approval that it came with."""
    await session.execute(
        sa.update(standing_consents)
        .where(
            standing_consents.c.thread_id == row.thread_id,
            standing_consents.c.operation_id == wish.operation_id,
            standing_consents.c.revoked_at.is_(None),
            sa.or_(
                standing_consents.c.expires_at <= now,
                standing_consents.c.schema_hash != wish.schema_hash,
            ),
        )
        .values(revoked_at=now)
    )
    consent_id = await session.scalar(
        insert(standing_consents)
        .values(
            id=str(uuid4()),
            thread_id=row.thread_id,
            actor=row.actor,
            operation_id=wish.operation_id,
            schema_hash=wish.schema_hash,
            operation=wish.operation,
            title=wish.title,
            given_at=now,
            expires_at=wish.expires_at,
        )
        .on_conflict_do_nothing()
        .returning(standing_consents.c.id)
    )
    if consent_id is None:
        return []
    return [
        ConsentGiven(
            consent_id=consent_id,
            operation=wish.operation,
            title=wish.title,
            expires_at=wish.expires_at.isoformat(),
        )
    ]


async def _passed(
    session: Session,
    call: PlannedCall,
    actor: str,
    totals: Sequence[Total],
    *,
    now: datetime,
    states: Sequence[str],
) -> tuple[str, ...]:
    if not totals:
        return ()
    since = now - max(total.window for total in totals)
    of_customer = sa.select(approvals.c.tool_call_id).where(approvals.c.actor == actor)
    rows = (
        await session.execute(
            sa.select(tool_calls.c.arguments, tool_calls.c.sent_at)
            .where(
                tool_calls.c.id.in_(of_customer),
                tool_calls.c.id != call.id,
                tool_calls.c.operation_id == call.operation_id,
                sa.or_(
                    tool_calls.c.state.in_(states),
                    sa.and_(tool_calls.c.state.in_(_EFFECTIVE), tool_calls.c.sent_at > since),
                ),
            )
            .limit(_MOST_SUMMED)
        )
    ).all()
    passed = []
    for total in totals:
        sum_ = total.amount(call.arguments)
        for row in rows:
            if row.sent_at is None or row.sent_at > now - total.window:
                sum_ += total.amount(row.arguments)
        if sum_ > total.limit:
            passed.append(total.words)
    return tuple(passed)


def _verdict(rows: Sequence[Any]) -> Verdict:
    states = {ApprovalState.USED.value: ApprovalState.APPROVED.value}
    against = next(
        (
            row
            for row in rows
            if row.state in {"rejected", "answered", "expired"}
            # Taken back because of another's no.
            and not (row.state == "expired" and row.decided_by == "system" and len(rows) > 1)
        ),
        None,
    )
    decisive = against or next((row for row in rows if row.state == "pending"), rows[0])
    edited = next((row.arguments for row in rows if row.edited), None)
    return Verdict(
        decision=states.get(decisive.state, decisive.state),
        by=decisive.audience,
        message=decisive.reason,
        arguments=None if edited is None else json.loads(json.dumps(edited)),
    )
