"""Calls whose outcome is unknown: found, looked after, and at last resolved."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from smart_support.database import Session, Sessions
from smart_support.errors import NotFound
from smart_support.events.postgres import append, storable
from smart_support.events.records import CallResolved, Event, TurnId
from smart_support.ledger.postgres import attempt_facts, known_call
from smart_support.ledger.records import Attempt, CallSettled, CallState, KnownCall
from smart_support.ledger.tables import tool_attempts, tool_calls

FIRST_CHECK = timedelta(seconds=5)
LAST_CHECK = timedelta(hours=1)
"""From one look at a call until the next: doubled each time, up to this."""

_ENDS = {"done": CallState.RESOLVED_DONE, "not_done": CallState.RESOLVED_NOT_DONE}


class PostgresUnknownCalls:
    """The ambiguous calls of the ledger. Each method is one transaction, its events included."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def waiting(self, limit: int) -> tuple[KnownCall, ...]:
        """The calls whose outcome is unknown now, the one that waits longest first."""
        statement = (
            sa.select(tool_calls)
            .where(tool_calls.c.state == CallState.AMBIGUOUS.value)
            .order_by(tool_calls.c.finished_at, tool_calls.c.id)
            .limit(limit)
        )
        async with self._sessions() as session:
            return tuple(known_call(row) for row in await session.execute(statement))

    async def take_due(
        self, now: datetime, limit: int, turn_id: TurnId | None = None
    ) -> tuple[KnownCall, ...]:
        """The calls that should be looked after now. Nobody else is given them for a while."""
        due = (
            sa.select(tool_calls.c.id)
            .where(
                tool_calls.c.state == CallState.AMBIGUOUS.value,
                tool_calls.c.check_at <= now,
                sa.true() if turn_id is None else tool_calls.c.turn_id == turn_id,
            )
            .order_by(tool_calls.c.check_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        seconds = sa.func.least(
            FIRST_CHECK.total_seconds()
            * sa.func.power(2.0, sa.func.least(tool_calls.c.checks, 20), type_=sa.Float),
            LAST_CHECK.total_seconds(),
            type_=sa.Float,
        )
        pause = sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds, type_=sa.Interval)
        following = sa.literal(now, sa.DateTime(timezone=True)) + pause
        async with self._sessions.begin() as session:
            rows = await session.execute(
                sa.update(tool_calls)
                .where(tool_calls.c.id.in_(due))
                .values(checks=tool_calls.c.checks + 1, check_at=following)
                .returning(tool_calls)
            )
            return tuple(known_call(row) for row in rows)

    async def resolve(
        self, resolved: CallResolved, attempts: Sequence[Attempt] = (), *, now: datetime
    ) -> tuple[Event, ...]:
        """Write down what became of a call, and who or what says so.

        Raises:
            NotFound: there is no such call.
            CallSettled: its outcome is not unknown, or somebody was quicker.
        """
        call_id = resolved.tool_call_id
        async with self._sessions.begin() as session:
            row = (
                await session.execute(
                    sa.update(tool_calls)
                    .where(
                        tool_calls.c.id == call_id,
                        tool_calls.c.state == CallState.AMBIGUOUS.value,
                    )
                    .values(
                        state=_ENDS[resolved.resolution].value,
                        content=storable(resolved.content),
                        code=None if resolved.resolution == "done" else "TOOL_NOT_DONE",
                        check_at=None,
                        resolved_by=resolved.by,
                        resolved_at=now,
                        resolution=resolved.how,
                        remark=storable(resolved.remark),
                    )
                    .returning(tool_calls.c.thread_id, tool_calls.c.turn_id)
                )
            ).one_or_none()
            if row is None:
                state = await session.scalar(
                    sa.select(tool_calls.c.state).where(tool_calls.c.id == call_id)
                )
                if state is None:
                    raise NotFound(f"no tool call {call_id}")
                raise CallSettled(f"call {call_id} is {state}")
            numbered = await self._numbered(session, call_id, attempts)
            facts = attempt_facts(row.turn_id, call_id, numbered)
            return await append(session, row.thread_id, [*facts, resolved])

    async def _numbered(
        self, session: Session, call_id: str, attempts: Sequence[Attempt]
    ) -> list[Attempt]:
        """Store attempts behind those that there are."""
        if not attempts:
            return []
        last = await session.scalar(
            sa.select(sa.func.max(tool_attempts.c.number)).where(
                tool_attempts.c.tool_call_id == call_id
            )
        )
        numbered = [
            replace(attempt, number=(last or 0) + place)
            for place, attempt in enumerate(attempts, start=1)
        ]
        await session.execute(
            insert(tool_attempts),
            [
                {
                    "tool_call_id": call_id,
                    **storable({name: getattr(one, name) for name in one.__slots__}),
                }
                for one in numbered
            ],
        )
        return numbered
