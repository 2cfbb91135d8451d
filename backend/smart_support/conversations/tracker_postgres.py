"""How each conversation stands, in PostgreSQL: one row per thread, locked while it is moved on."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from smart_support.conversations.lifecycle import (
    EVERY_THREAD,
    Lifecycle,
    ThreadFilter,
    ThreadPage,
    ThreadSummary,
    fold_all,
)
from smart_support.conversations.tables import conversation_states as states
from smart_support.conversations.tables import thread_titles as titles
from smart_support.conversations.tables import threads
from smart_support.database import Prepared, Row, Session, Sessions, upsert
from smart_support.errors import NotFound
from smart_support.events.consumer import unseen
from smart_support.events.consumer_postgres import lock_thread, read_log, threads_behind
from smart_support.events.records import Event, ThreadId
from smart_support.events.standing import Standing, Status

TRIGRAM = 3
"""Characters below which a text cannot be looked up."""
PASSED = 2_000
"""Conversations that are passed one by one in search of a text, before it is looked up."""

_KEPT = [field.name for field in fields(Lifecycle) if field.name != "standing"]


_APPLIED = Prepared(
    sa.select(states.c.applied).where(states.c.thread_id == sa.bindparam("thread_id"))
)
_STATE = Prepared(sa.select(states).where(states.c.thread_id == sa.bindparam("thread_id")))
_STORED = [*_KEPT, "applied", "status", "answering"]
_STORE_TITLE = upsert(titles, ("thread_id", "title"), "thread_id")
_STORE = upsert(states, _STORED, "thread_id")


class PostgresConversationTracker:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def applied(self, thread_id: ThreadId) -> int:
        async with self._sessions() as session:
            found = await session.scalar(_APPLIED, {"thread_id": thread_id})
        return found or 0

    async def apply(self, thread_id: ThreadId, events: Sequence[Event]) -> None:
        async with self._sessions.begin() as session:
            await lock_thread(session, states, thread_id)
            row = (await session.execute(_STATE, {"thread_id": thread_id})).one_or_none()
            fresh = unseen(thread_id, events, row.applied if row else 0)
            lifecycle = fold_all(_lifecycle(row) if row else None, fresh)
            if fresh and lifecycle is not None:
                await _store(session, lifecycle, fresh[-1].seq)
                if lifecycle.title != (row.title if row else ""):
                    await _store_title(session, lifecycle)

    async def behind(self, limit: int) -> list[ThreadId]:
        async with self._sessions() as session:
            return await threads_behind(session, states, limit)

    async def rebuild(self, thread_id: ThreadId) -> None:
        async with self._sessions.begin() as session:
            await lock_thread(session, states, thread_id)
            log = await read_log(session, thread_id)
            lifecycle = fold_all(None, log)
            await session.execute(sa.delete(titles).where(titles.c.thread_id == thread_id))
            if lifecycle is None:
                await session.execute(sa.delete(states).where(states.c.thread_id == thread_id))
            else:
                await _store(session, lifecycle, log[-1].seq)
                await _store_title(session, lifecycle)

    async def complete_titles(self) -> None:
        """Let titles be found that a server of the release before has stored, beside ours."""
        missing = sa.select(states.c.thread_id, states.c.title).where(
            states.c.title != "",
            ~sa.exists().where(titles.c.thread_id == states.c.thread_id),
        )
        async with self._sessions.begin() as session:
            await session.execute(
                insert(titles)
                .from_select([titles.c.thread_id, titles.c.title], missing)
                .on_conflict_do_nothing()
            )

    async def lifecycle(self, thread_id: ThreadId) -> Lifecycle:
        async with self._sessions() as session:
            row = (
                await session.execute(sa.select(states).where(states.c.thread_id == thread_id))
            ).one_or_none()
        if row is None:
            raise NotFound(f"nothing is known of thread {thread_id}")
        return _lifecycle(row)

    async def threads(
        self, which: ThreadFilter = EVERY_THREAD, after: ThreadId | None = None, limit: int = 50
    ) -> ThreadPage:
        statement = sa.select(states)
        if which.status is not None:
            statement = statement.where(states.c.status == which.status.value)
        if which.among is not None:
            statement = statement.where(states.c.thread_id.in_(which.among))
        async with self._sessions() as session:
            if after is not None:
                opened_at = await session.scalar(
                    sa.select(states.c.opened_at).where(states.c.thread_id == after)
                )
                if opened_at is None:
                    return ThreadPage(threads=(), next_after=None)
                # Two plain values, not a subquery: the index can then start at the right row.
                last = sa.tuple_(
                    sa.literal(opened_at, states.c.opened_at.type),
                    sa.literal(after, states.c.thread_id.type),
                )
                newest = sa.tuple_(states.c.opened_at, states.c.thread_id)
                statement = statement.where(newest < last)
            rows = await _search(session, statement, which, limit + 1)
        return ThreadPage(
            threads=tuple(_summary(row) for row in rows[:limit]),
            next_after=rows[limit - 1].thread_id if len(rows) > limit else None,
        )

    async def idle_since(self, before: datetime, limit: int) -> list[ThreadId]:
        statement = (
            sa.select(states.c.thread_id)
            .where(states.c.status == Status.WAITING.value, states.c.last_event_at < before)
            .order_by(states.c.last_event_at)
            .limit(limit)
        )
        async with self._sessions() as session:
            return list(await session.scalars(statement))


async def _search(
    session: Session, statement: sa.Select[Any], which: ThreadFilter, limit: int
) -> Sequence[Row]:
    """The newest `limit` of `statement` that have the text and the customer.

    What many titles have is found among the newest ones; only what is rare is looked up. A text
    of one or two characters has nothing to be looked up by.
    """
    text = which.text or ""
    if which.customer_id is not None or len(text) < TRIGRAM:
        return await _rows(session, _page(statement, which, limit))
    recent = _newest(statement, PASSED).subquery()
    rows = await _rows(session, _page(sa.select(recent), which, limit))
    if len(rows) == limit:
        return rows
    found = (
        sa.select(titles.c.thread_id)
        .where(
            sa.func.trigrams(titles.c.title).op("@>")(sa.func.trigrams(text)),
            titles.c.title.icontains(text, autoescape=True),
        )
        .cte("found")
        .prefix_with("MATERIALIZED")
    )
    rare = statement.where(states.c.thread_id.in_(sa.select(found.c.thread_id)))
    return await _rows(session, _page(rare, which, limit))


async def _rows(session: Session, statement: sa.Select[Any]) -> Sequence[Row]:
    found: Sequence[Row] = (await session.execute(statement)).all()
    return found


def _newest(statement: sa.Select[Any], limit: int) -> sa.Select[Any]:
    row = statement.selected_columns
    return statement.order_by(row.opened_at.desc(), row.thread_id.desc()).limit(limit)


def _page(statement: sa.Select[Any], which: ThreadFilter, limit: int) -> sa.Select[Any]:
    """The newest of `statement` that have the text and the customer, with whose they are."""
    row = statement.selected_columns
    statement = statement.add_columns(threads.c.customer_id, threads.c.customer_name).where(
        threads.c.id == row.thread_id
    )
    if which.customer_id is not None:
        statement = statement.where(threads.c.customer_id == which.customer_id)
    if which.text is not None:
        statement = statement.where(row.title.icontains(which.text, autoescape=True))
    return _newest(statement, limit)


async def _store_title(session: Session, lifecycle: Lifecycle) -> None:
    if lifecycle.title:
        values = {"thread_id": lifecycle.thread_id, "title": lifecycle.title}
        await session.execute(_STORE_TITLE, values)


async def _store(session: Session, lifecycle: Lifecycle, applied: int) -> None:
    values: dict[str, Any] = {name: getattr(lifecycle, name) for name in _KEPT}
    values |= {
        "applied": applied,
        "status": lifecycle.status.value,
        "answering": list(lifecycle.standing.answering),
    }
    await session.execute(_STORE, values)


def _lifecycle(row: Row) -> Lifecycle:
    return Lifecycle(
        standing=Standing(Status(row.status), tuple(row.answering)),
        **{name: getattr(row, name) for name in _KEPT},
    )


def _summary(row: Row) -> ThreadSummary:
    return ThreadSummary(
        lifecycle=_lifecycle(row),
        customer_id=row.customer_id,
        customer_name=row.customer_name,
    )
