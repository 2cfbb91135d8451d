"""Turns that broke off for good although they were taken over: what a lead should look at."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from smart_support.conversations.records import (
    Interrupted,
    Interruption,
    TurnStatus,
    WhichInterrupted,
)
from smart_support.conversations.tables import threads, turns
from smart_support.database import Row, Sessions
from smart_support.events.records import (
    MessageFinished,
    PersonAnswered,
    ThreadResolved,
    TurnClosed,
    TurnId,
)
from smart_support.events.tables import events

_ANSWERS = [MessageFinished.type, PersonAnswered.type, ThreadResolved.type]

_closing = (
    sa.select(events.c.seq, events.c.payload["code"].astext.label("code"))
    .where(
        events.c.thread_id == turns.c.thread_id,
        events.c.type == TurnClosed.type,
        events.c.payload["turn_id"].astext == sa.cast(turns.c.id, sa.Text),
    )
    .order_by(events.c.seq.desc())
    .limit(1)
    .lateral("closing")
)
_answered = (
    sa.exists()
    .where(
        events.c.thread_id == turns.c.thread_id,
        events.c.seq > _closing.c.seq,
        events.c.type.in_(_ANSWERS),
    )
    .correlate(turns, _closing)
)


class PostgresInterruptions:
    """Reads from the turns and the log; there is nothing to be kept for it."""

    def __init__(self, sessions: Sessions, *, code: str, most: int) -> None:
        """`code` is the error of a turn that is given up, `most` how often one is taken over."""
        self._sessions = sessions
        self._kind = sa.case(
            (_closing.c.code != code, Interruption.FAILED.value),
            (turns.c.recoveries > most, Interruption.GIVEN_UP.value),
            else_=Interruption.TOO_LATE.value,
        )

    async def interrupted(
        self, which: WhichInterrupted, *, after: TurnId | None = None, limit: int = 50
    ) -> tuple[Interrupted, ...]:
        """At most `limit` of them, the one that was closed last first, beginning behind `after`.

        An unknown `after` gives none.
        """
        statement = self._statement(which).limit(limit)
        async with self._sessions() as session:
            if after is not None:
                closed_at: datetime | None = await session.scalar(
                    sa.select(turns.c.closed_at).where(turns.c.id == after)
                )
                if closed_at is None:
                    return ()
                last = sa.tuple_(
                    sa.literal(closed_at, turns.c.closed_at.type),
                    sa.literal(after, turns.c.id.type),
                )
                statement = statement.where(sa.tuple_(turns.c.closed_at, turns.c.id) < last)
            return tuple(_interrupted(row) for row in await session.execute(statement))

    def _statement(self, which: WhichInterrupted) -> sa.Select[Any]:
        statement = (
            sa.select(
                turns,
                threads.c.customer_name,
                _closing.c.seq,
                _closing.c.code,
                self._kind.label("kind"),
                _answered.label("answered"),
            )
            .join(threads, threads.c.id == turns.c.thread_id)
            .join(_closing, sa.true())
            # As the index says it, so that it is used.
            .where(turns.c.status == TurnStatus.FAILED.value, turns.c.recoveries > 0)
            .order_by(turns.c.closed_at.desc(), turns.c.id.desc())
        )
        if which.start is not None:
            statement = statement.where(turns.c.closed_at >= which.start)
        if which.end is not None:
            statement = statement.where(turns.c.closed_at < which.end)
        if which.kind is not None:
            statement = statement.where(self._kind == which.kind.value)
        if which.unanswered:
            statement = statement.where(~_answered)
        return statement


def _interrupted(row: Row) -> Interrupted:
    return Interrupted(
        turn_id=row.id,
        thread_id=row.thread_id,
        customer_name=row.customer_name,
        text=row.text,
        kind=Interruption(row.kind),
        code=row.code,
        recoveries=row.recoveries,
        received_at=row.received_at,
        closed_at=row.closed_at,
        closed_seq=row.seq,
        answered=row.answered,
    )
