"""The audit log in PostgreSQL, which itself refuses to change it and chains its entries."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
import structlog

from smart_support.database import Session, Sessions
from smart_support.security.audit import Act, Entry
from smart_support.security.tables import audit


async def record(
    session: Session,
    act: Act,
    *,
    actor: str,
    role: str,
    subject: str,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write down an act in the caller's transaction: both are committed, or neither is.

    Make it the transaction's last statement, since all that is recorded waits for its end.
    `details` are plain JSON without anything secret.
    """
    correlation_id = structlog.contextvars.get_contextvars().get("correlation_id")
    await session.execute(
        sa.insert(audit).values(
            number=0,  # the trigger gives it
            actor=actor,
            role=role,
            act=act.value,
            subject=subject,
            details=dict(details or {}),
            correlation_id=correlation_id if isinstance(correlation_id, str) else None,
        )
    )


class PostgresAudit:
    """Reads the audit log, and adds to it what belongs to no other transaction."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def add(
        self,
        act: Act,
        *,
        actor: str,
        role: str,
        subject: str,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Write down an act in a transaction of its own."""
        async with self._sessions.begin() as session:
            await record(session, act, actor=actor, role=role, subject=subject, details=details)

    async def add_once(self, act: Act, *, actor: str, role: str, subject: str) -> None:
        """Write down an act unless it is written down for this subject."""
        async with self._sessions.begin() as session:
            known = sa.select(audit.c.number).where(
                audit.c.act == act.value, audit.c.actor == actor, audit.c.subject == subject
            )
            if await session.scalar(known.limit(1)) is None:
                await record(session, act, actor=actor, role=role, subject=subject)

    async def page(
        self,
        *,
        before: int | None = None,
        act: str | None = None,
        actor: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
    ) -> tuple[Entry, ...]:
        """Entries, the newest first; those with a number below `before`, from `since` to `until`.

        The one at `since` is among them, the one at `until` is not.
        """
        statement = sa.select(audit).order_by(audit.c.number.desc()).limit(limit)
        if before is not None:
            statement = statement.where(audit.c.number < before)
        if act is not None:
            statement = statement.where(audit.c.act == act)
        if actor is not None:
            statement = statement.where(audit.c.actor == actor)
        if since is not None:
            statement = statement.where(audit.c.at >= since)
        if until is not None:
            statement = statement.where(audit.c.at < until)
        async with self._sessions() as session:
            return tuple(Entry(**row._mapping) for row in await session.execute(statement))

    async def first_broken(self) -> int | None:
        """The number of the first entry that is not as it was written; None if all are.

        Also found is an entry after which one is missing. That the newest ones were cut off can
        only be told from a hash that was kept elsewhere.
        """
        statement = sa.text(
            """
            SELECT min(number) FROM (
              SELECT number, hash = audit_hash(
                  coalesce(lag(hash) OVER (ORDER BY number), ''), audit) AS whole,
                number = row_number() OVER (ORDER BY number) AS counted
              FROM audit
            ) entries WHERE NOT (whole AND counted)
            """
        )
        async with self._sessions() as session:
            broken: int | None = await session.scalar(statement)
        return broken
