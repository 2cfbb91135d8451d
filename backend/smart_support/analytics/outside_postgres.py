"""Errors that belong to no conversation: of requests, sockets and jobs, counted by the hour.

No log has them, so they are counted as they are handled and stored a little later, together. What
a process that is killed had not stored is lost; the metrics are not.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert

from smart_support.analytics.records import check_days, widen
from smart_support.analytics.tables import outside_errors
from smart_support.database import Prepared, Sessions
from smart_support.errors import DatabaseUnavailable, SupportError
from smart_support.telemetry.handler import ErrorContext

log = structlog.get_logger()

STORE_SECONDS = 5.0
KEPT_DAYS = 90
MOST_WAITING = 2_000
"""Different errors that wait to be stored; of more, only the code is kept."""
MOST_NAMES = 100
_LONGEST_NAME = 120
_INSIDE = frozenset({"turn", "tool"})
"""Places whose errors are in the log of a conversation."""

Key = tuple[datetime, str, str, str]
"""Hour, code, place, operation."""


@dataclass(slots=True)
class _Waiting:
    count: int
    last_at: datetime
    correlation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeOutside:
    """How often an error came outside of conversations, and the last time."""

    code: str
    errors: int
    last_at: datetime
    last_correlation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceOutside:
    """How many errors came where: a route, a kind of frame, a job."""

    place: str
    operation: str
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What went wrong outside of conversations in a range."""

    by_code: tuple[CodeOutside, ...]
    by_place: tuple[PlaceOutside, ...]


class OutsideErrors:
    """Counts them for this process, and adds up what all have stored."""

    def __init__(
        self,
        sessions: Sessions,
        *,
        clock: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sessions = sessions
        self._clock = clock
        self._sleep = sleep
        self._waiting: dict[Key, _Waiting] = {}
        self._tidied: datetime | None = None

    def count(self, error: SupportError, context: ErrorContext) -> None:
        """Count this error, unless it is one of a conversation, whose log has it."""
        if context.place in _INSIDE:
            return
        now = self._clock()
        operation = context.operation[:_LONGEST_NAME]
        if len(self._waiting) >= MOST_WAITING:
            operation = ""
        key = (_hour(now), error.code[:_LONGEST_NAME], context.place, operation)
        self._add(key, _Waiting(1, now, context.correlation_id or ""))

    async def run(self) -> None:
        """Store what was counted, again and again, until cancelled."""
        while True:
            await self._sleep(STORE_SECONDS)
            await self.store()

    async def store(self) -> None:
        """Store what was counted; what cannot be stored now waits for the next time."""
        waiting, self._waiting = self._waiting, {}
        try:
            await self._store(waiting)
        except BaseException as error:
            for key, counted in waiting.items():
                self._add(key, counted)
            if not isinstance(error, DatabaseUnavailable):
                raise
            log.info("outside_errors_not_stored", waiting=len(self._waiting))

    async def summary(self, start: datetime, end: datetime) -> Outside:
        """What went wrong in [start, end), widened to whole hours, the most frequent first.

        Raises:
            InvalidInput: `end` is not after `start`, one has no time zone, or it is too long.
        """
        start, end = widen(start, end)
        check_days(start, end)
        values = {"start": start, "end": end}
        async with self._sessions() as session:
            rows = (await session.execute(_SUMMARY, values)).all()
        return Outside(
            by_code=tuple(
                CodeOutside(
                    code=each.code,
                    errors=each.errors,
                    last_at=each.at,
                    last_correlation_id=each.correlation,
                )
                for each in sorted(rows, key=lambda row: (-row.errors, row.code or ""))
                if each.code is not None
            ),
            by_place=tuple(
                PlaceOutside(place=each.place, operation=each.operation, errors=each.errors)
                for each in sorted(
                    rows, key=lambda row: (-row.errors, row.place or "", row.operation or "")
                )
                if each.code is None
            ),
        )

    def _add(self, key: Key, counted: _Waiting) -> None:
        known = self._waiting.get(key)
        if known is None:
            self._waiting[key] = counted
            return
        known.count += counted.count
        if counted.last_at >= known.last_at:
            known.last_at, known.correlation_id = counted.last_at, counted.correlation_id

    async def _store(self, waiting: dict[Key, _Waiting]) -> None:
        hour = _hour(self._clock())
        if not waiting and self._tidied == hour:
            return
        async with self._sessions.begin() as session:
            if waiting:
                # In one order, so that two processes do not wait for each other in a circle.
                statement = insert(outside_errors).values(
                    [
                        {
                            "hour": key[0],
                            "code": key[1],
                            "place": key[2],
                            "operation": key[3],
                            "count": counted.count,
                            "last_at": counted.last_at,
                            "last_correlation_id": counted.correlation_id,
                        }
                        for key, counted in sorted(waiting.items(), key=lambda item: item[0])
                    ]
                )
                new = statement.excluded
                await session.execute(
                    statement.on_conflict_do_update(
                        index_elements=list(outside_errors.primary_key.columns),
                        set_={
                            "count": outside_errors.c.count + new.count,
                            "last_at": new.last_at,
                            "last_correlation_id": new.last_correlation_id,
                        },
                    )
                )
            if self._tidied != hour:
                oldest = hour - timedelta(days=KEPT_DAYS)
                await session.execute(
                    sa.delete(outside_errors).where(outside_errors.c.hour < oldest)
                )
        self._tidied = hour


_WITHIN = (
    outside_errors.c.hour >= sa.bindparam("start"),
    outside_errors.c.hour < sa.bindparam("end"),
)
_ERRORS = sa.cast(sa.func.sum(outside_errors.c.count), sa.BigInteger).label("errors")
_CODES = (
    sa.select(
        outside_errors.c.code,
        _ERRORS,
        sa.func.max(outside_errors.c.last_at).label("at"),
        sa.func.array_agg(
            sa.dialects.postgresql.aggregate_order_by(
                outside_errors.c.last_correlation_id, outside_errors.c.last_at.desc()
            )
        )[1].label("correlation"),
    )
    .where(*_WITHIN)
    .group_by(outside_errors.c.code)
    .order_by(sa.desc("errors"), outside_errors.c.code)
    .limit(MOST_NAMES)
)
_PLACES = (
    sa.select(outside_errors.c.place, outside_errors.c.operation, _ERRORS)
    .where(*_WITHIN)
    .group_by(outside_errors.c.place, outside_errors.c.operation)
    .order_by(sa.desc("errors"), outside_errors.c.place, outside_errors.c.operation)
    .limit(MOST_NAMES)
)


def _summary() -> Prepared:
    """Both at once: a row has a code, or a place and an operation."""
    codes, places = _CODES.subquery("codes").c, _PLACES.subquery("places").c

    def null(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.cast(sa.null(), column.type).label(column.name)

    return Prepared(
        sa.union_all(
            sa.select(*codes, null(places.place), null(places.operation)),
            sa.select(
                null(codes.code),
                places.errors,
                null(codes.at),
                null(codes.correlation),
                places.place,
                places.operation,
            ),
        )
    )


_SUMMARY = _summary()


def _hour(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
