"""The kill switch in PostgreSQL: read again at every write, and by everybody each second."""

import time
from collections.abc import Callable
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from uuid_utils import uuid7

from smart_support.database import Prepared, Row, Session, Sessions
from smart_support.errors import NotFound
from smart_support.ledger.stops import Stop, Stopped, StopScope
from smart_support.ledger.tables import stops

FRESH_SECONDS = 0.5
"""How long this process may take what it read last for true."""


_STANDING = Prepared(sa.select(stops).where(stops.c.lifted_at.is_(None)))


class PostgresStops:
    """What is switched off. Each method is one transaction."""

    def __init__(
        self, sessions: Sessions, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._sessions = sessions
        self._monotonic = monotonic
        self._read: tuple[float, tuple[Stop, ...]] | None = None

    async def stop(
        self,
        scope: StopScope,
        target: str | None,
        *,
        title: str,
        by: str,
        reason: str,
        at: datetime,
    ) -> Stop:
        """Switch it off from now on. Once it is, it stays as it was switched off first."""
        async with self._sessions.begin() as session:
            await session.execute(
                insert(stops)
                .values(
                    id=str(uuid7()),
                    scope=scope.value,
                    target=target,
                    title=title,
                    stopped_by=by,
                    stopped_at=at,
                    reason=reason,
                )
                .on_conflict_do_nothing()
            )
            row = (
                await session.execute(
                    sa.select(stops).where(
                        stops.c.scope == scope.value,
                        stops.c.target.is_not_distinct_from(target),
                        stops.c.lifted_at.is_(None),
                    )
                )
            ).one()
        self._read = None
        return _stop(row)

    async def lift(self, stop_id: str, *, by: str, reason: str, at: datetime) -> Stop:
        """Switch it on again.

        Raises:
            NotFound: nothing stands under this id.
        """
        async with self._sessions.begin() as session:
            row = (
                await session.execute(
                    sa.update(stops)
                    .where(stops.c.id == stop_id, stops.c.lifted_at.is_(None))
                    .values(lifted_by=by, lifted_at=at, lifted_reason=reason)
                    .returning(stops)
                )
            ).one_or_none()
        if row is None:
            raise NotFound(f"nothing is switched off under {stop_id}")
        self._read = None
        return _stop(row)

    async def history(self, limit: int = 100) -> tuple[Stop, ...]:
        """What stands, and then what was lifted, the newest first."""
        order = (stops.c.lifted_at.is_not(None), stops.c.stopped_at.desc(), stops.c.id.desc())
        async with self._sessions() as session:
            rows = await session.execute(sa.select(stops).order_by(*order).limit(limit))
            return tuple(_stop(row) for row in rows)

    async def standing(self) -> tuple[Stop, ...]:
        """What is switched off, as of at most FRESH_SECONDS ago."""
        now = self._monotonic()
        if self._read is None or now - self._read[0] >= FRESH_SECONDS:
            async with self._sessions() as session:
                rows = await session.execute(_STANDING)
                self._read = (now, tuple(_stop(row) for row in rows))
        return self._read[1]

    def seen_last(self) -> tuple[Stop, ...]:
        """What was switched off when this process looked last."""
        return () if self._read is None else self._read[1]


async def refuse_stopped(session: Session, *, operation_id: str, api_id: str | None) -> None:
    """Raise if a call of this operation is switched off, in the caller's transaction.

    Raises:
        Stopped: it is.
    """
    covers = sa.or_(
        stops.c.scope == StopScope.EVERYTHING.value,
        stops.c.target == operation_id,
        stops.c.target == api_id,
    )
    scope = await session.scalar(
        sa.select(stops.c.scope).where(stops.c.lifted_at.is_(None), covers).limit(1)
    )
    if scope is not None:
        raise Stopped(StopScope(scope))


def _stop(row: Row) -> Stop:
    return Stop(**{**row._mapping, "scope": StopScope(row.scope)})
