"""What other systems are to be told, in the database until they have taken it.

Times are the database's, so that processes on several machines agree on what is due.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from smart_support.conversations.tables import webhook_deliveries as deliveries
from smart_support.database import Session, Sessions
from smart_support.events.postgres import storable
from smart_support.events.records import (
    Event,
    GivenBack,
    HandoffAsked,
    PersonTookOver,
    ThreadResolved,
    payload_of,
)

_NOW = sa.func.clock_timestamp()

_TOLD = {
    HandoffAsked: "handoff.asked",
    PersonTookOver: "handoff.taken_over",
    GivenBack: "handoff.given_back",
    ThreadResolved: "thread.resolved",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One thing to tell; `attempts` counts the one that is being made."""

    id: str
    type: str
    payload: Mapping[str, Any]
    attempts: int


async def put(session: Session, events: Sequence[Event]) -> None:
    """Put what is told of these events into the outbox, with the events or not at all."""
    rows = [
        {
            "id": str(uuid4()),
            "thread_id": event.thread_id,
            "type": type_,
            "payload": storable(
                {
                    "thread_id": event.thread_id,
                    "seq": event.seq,
                    "at": event.at.isoformat(),
                    "data": payload_of(event.fact),
                }
            ),
        }
        for event in events
        if (type_ := _TOLD.get(type(event.fact))) is not None
    ]
    if rows:
        await session.execute(insert(deliveries), rows)


class PostgresOutbox:
    """Hands out what is due. Each method is one transaction."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def claim(self, limit: int, lease: timedelta) -> tuple[Delivery, ...]:
        """Take deliveries that are due; who does not say what became of one in `lease` loses it."""
        due = (
            sa.select(deliveries.c.id)
            .where(
                deliveries.c.delivered_at.is_(None),
                deliveries.c.given_up_at.is_(None),
                deliveries.c.due_at <= _NOW,
            )
            .order_by(deliveries.c.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        statement = (
            sa.update(deliveries)
            .where(deliveries.c.id.in_(due.scalar_subquery()))
            .values(due_at=_NOW + lease, attempts=deliveries.c.attempts + 1)
            .returning(
                deliveries.c.id, deliveries.c.type, deliveries.c.payload, deliveries.c.attempts
            )
        )
        async with self._sessions.begin() as session:
            return tuple(Delivery(**row._mapping) for row in await session.execute(statement))

    async def delivered(self, id_: str) -> None:
        """It was taken."""
        await self._set(id_, delivered_at=_NOW, last_error=None)

    async def failed(self, id_: str, error: str, *, again_in: timedelta | None) -> None:
        """It was not taken; None: it is not tried again."""
        if again_in is None:
            await self._set(id_, given_up_at=_NOW, last_error=error)
        else:
            await self._set(id_, due_at=_NOW + again_in, last_error=error)

    async def _set(self, id_: str, **values: Any) -> None:
        async with self._sessions.begin() as session:
            await session.execute(
                sa.update(deliveries).where(deliveries.c.id == id_).values(**values)
            )
