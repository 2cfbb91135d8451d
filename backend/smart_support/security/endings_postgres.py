"""Ended sign-ins in PostgreSQL: each process remembers them, and is told when there are more."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from smart_support.database import Sessions
from smart_support.database.life import CHANNEL
from smart_support.security.audit import Act
from smart_support.security.audit_postgres import record
from smart_support.security.endings import Ending
from smart_support.security.tables import ended_sign_ins

HINT = '{"k":"sign_ins_ended"}'
"""What every process is told, in the form of its other hints; the table says what was ended."""

_LONGEST_TRANSACTION = timedelta(minutes=1)
"""A row may appear so much later than it says; more than any transaction of ours may take."""


class PostgresEndings:
    """What was ended. Each method is one transaction."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def end(
        self,
        endings: Sequence[Ending],
        *,
        actor: str,
        role: str,
        subject: str,
        details: Mapping[str, Any],
    ) -> None:
        """Write them down, tell every process, and forget what no token can be as old as.

        What was ended before stays ended, up to the later moment.
        """
        table = ended_sign_ins
        given = insert(table)
        upsert = given.on_conflict_do_update(
            index_elements=[table.c.whose],
            set_={
                "ended_at": sa.func.greatest(table.c.ended_at, given.excluded.ended_at),
                "forget_at": sa.func.greatest(table.c.forget_at, given.excluded.forget_at),
                "noted_at": sa.func.now(),
            },
        )
        rows = [
            {"whose": one.whose, "ended_at": one.ended_at, "forget_at": one.forget_at}
            for one in sorted(endings, key=lambda one: one.whose)  # so that nobody deadlocks
        ]
        async with self._sessions.begin() as session:
            await session.execute(sa.delete(table).where(table.c.forget_at <= sa.func.now()))
            await session.execute(upsert, rows)
            await session.execute(sa.select(sa.func.pg_notify(CHANNEL, HINT)))
            await record(
                session,
                Act.SIGN_INS_ENDED,
                actor=actor,
                role=role,
                subject=subject,
                details=details,
            )

    async def noted(self, since: datetime | None) -> tuple[tuple[Ending, ...], datetime]:
        """What was ended since then, or altogether; and the `since` to ask with the next time.

        Some of it comes again: a row may have been written before others that were read already.
        """
        table = ended_sign_ins
        statement = sa.select(table.c.whose, table.c.ended_at, table.c.forget_at)
        if since is not None:
            statement = statement.where(table.c.noted_at > since - _LONGEST_TRANSACTION)
        async with self._sessions() as session:
            now: datetime = await session.scalar(sa.select(sa.func.now()))
            rows = (await session.execute(statement)).all()
        return tuple(Ending(**row._mapping) for row in rows), now
