"""How each conversation stands, in PostgreSQL: one row per thread, locked while it is moved on."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
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
from smart_support.conversations.tables import HAS_NUMBER, threads
from smart_support.conversations.tables import conversation_states as states
from smart_support.conversations.tables import thread_titles as titles
from smart_support.database import Prepared, Row, Session, Sessions, upsert
from smart_support.errors import NotFound
from smart_support.events.consumer import News, unseen
from smart_support.events.consumer_postgres import (
    lock_threads,
    places,
    places_of_threads,
    read_log,
    rows_of_threads,
    threads_behind,
)
from smart_support.events.records import ThreadId
from smart_support.events.standing import Standing, Status

TRIGRAM = 3
"""Characters below which a text cannot be looked up."""
PASSED = (200, 2_000, 8_000)
"""How many conversations are passed one by one in search of a text, before it is looked up: a few,
and more where those had it often enough to fill a page."""

_NUMBER = re.compile("[0-9]{4}")
"""What makes a number of a text: titles have an index of theirs, by so many digits in a row."""

_KEPT = [field.name for field in fields(Lifecycle) if field.name != "standing"]


_OPENED_AT = Prepared(
    sa.select(states.c.opened_at).where(states.c.thread_id == sa.bindparam("thread_id"))
)
_STATES = rows_of_threads(states)
_PLACES = places_of_threads(states)
_STATE = Prepared(sa.select(states).where(states.c.thread_id == sa.bindparam("thread_id")))
_STORED = [*_KEPT, "applied", "status", "answering"]
_STORE_TITLE = upsert(titles, ("thread_id", "title"), "thread_id")
_STORE = upsert(states, _STORED, "thread_id")


class PostgresConversationTracker:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def applied(self, thread_ids: Collection[ThreadId]) -> dict[ThreadId, int]:
        return await places(self._sessions, _PLACES, thread_ids)

    async def apply(self, news: News) -> None:
        async with self._sessions.begin() as session:
            await lock_threads(session, states, news)
            rows = await session.execute(_STATES, {"thread_ids": list(news)})
            known = {row.thread_id: row for row in rows}
            moved: list[tuple[Lifecycle, int]] = []
            for thread_id, events in news.items():
                row = known.get(thread_id)
                fresh = unseen(thread_id, events, row.applied if row else 0)
                lifecycle = fold_all(lifecycle_of(row) if row else None, fresh)
                if fresh and lifecycle is not None:
                    moved.append((lifecycle, fresh[-1].seq))
            await _store(session, moved)
            await _store_titles(
                session,
                [
                    lifecycle
                    for lifecycle, _ in moved
                    if lifecycle.title
                    != (row.title if (row := known.get(lifecycle.thread_id)) else "")
                ],
            )

    async def behind(self, limit: int) -> list[ThreadId]:
        async with self._sessions() as session:
            return await threads_behind(session, states, limit)

    async def rebuild(self, thread_id: ThreadId) -> None:
        async with self._sessions.begin() as session:
            await lock_threads(session, states, [thread_id])
            log = await read_log(session, thread_id)
            lifecycle = fold_all(None, log)
            await session.execute(sa.delete(titles).where(titles.c.thread_id == thread_id))
            if lifecycle is None:
                await session.execute(sa.delete(states).where(states.c.thread_id == thread_id))
            else:
                await _store(session, [(lifecycle, log[-1].seq)])
                await _store_titles(session, [lifecycle])

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
            row = (await session.execute(_STATE, {"thread_id": thread_id})).one_or_none()
        if row is None:
            raise NotFound(f"nothing is known of thread {thread_id}")
        return lifecycle_of(row)

    async def threads(
        self, which: ThreadFilter = EVERY_THREAD, after: ThreadId | None = None, limit: int = 50
    ) -> ThreadPage:
        rows, next_after = await self.lines(which, after, limit)
        return ThreadPage(threads=tuple(_summary(row) for row in rows), next_after=next_after)

    async def lines(
        self, which: ThreadFilter = EVERY_THREAD, after: ThreadId | None = None, limit: int = 50
    ) -> tuple[Sequence[Row], ThreadId | None]:
        """The same as they are stored, with whose they are; and what gives the next page."""
        values: dict[str, Any] = {}
        if which.status is not None:
            values["status"] = which.status.value
        if which.among is not None:
            values["among"] = list(which.among)
        if which.customer_id is not None:
            values["customer_id"] = which.customer_id
        async with self._sessions() as session:
            if after is not None:
                opened_at = await session.scalar(_OPENED_AT, {"thread_id": after})
                if opened_at is None:
                    return (), None
                values |= {"after": after, "opened_before": opened_at}
            rows = await _search(session, values, which.text, limit + 1)
        return rows[:limit], rows[limit - 1]["thread_id"] if len(rows) > limit else None

    async def idle_since(self, before: datetime, limit: int) -> list[ThreadId]:
        statement = (
            sa.select(states.c.thread_id)
            .where(states.c.status == Status.WAITING.value, states.c.last_event_at < before)
            .order_by(states.c.last_event_at)
            .limit(limit)
        )
        async with self._sessions() as session:
            return list(await session.scalars(statement))


def with_lines(page: sa.CTE) -> sa.Select[Any]:
    """What `lines` has of the threads of a page, beside the page's own columns.

    Nothing of a thread that has no state yet.
    """
    told = [column for column in states.c if column.name not in page.c]
    told += [threads.c.customer_id, threads.c.customer_name]
    return sa.select(*page.c, *told).select_from(
        page.outerjoin(states, states.c.thread_id == page.c.thread_id).outerjoin(
            threads, threads.c.id == states.c.thread_id
        )
    )


async def _search(
    session: Session, values: Mapping[str, Any], text: str | None, most: int
) -> Sequence[Row]:
    """The newest `most` that have the text and are as `values` say.

    What many titles have is found among the newest ones; only what is rare is looked up. A text
    of one or two characters has nothing to be looked up by, and a customer has few conversations.
    """
    if text is None:
        return await _rows(session, values, most)
    values = {**values, "text": _as_pattern(text)}
    if "customer_id" in values or len(text) < TRIGRAM:
        return await _rows(session, values, most)
    for passed, more in pairwise((*PASSED, 0)):
        rows = await _rows(session, values, most, passed)
        if len(rows) == most:
            return rows
        often = passed == PASSED[0] or len(rows) * more >= most * passed
        if not (rows and often):
            break
    found_by = "digits" if _NUMBER.search(text) else "words"
    return await _rows(session, {**values, found_by: text}, most)


async def _rows(
    session: Session, values: Mapping[str, Any], most: int, passed: int | None = None
) -> Sequence[Row]:
    return (await session.execute(_page(frozenset(values), most, passed), values)).all()


def _as_pattern(text: str) -> str:
    """What `ILIKE` finds this text by, as it is written; `/` makes the next character plain."""
    return re.sub("([/%_])", r"/\1", text)


@lru_cache(maxsize=1_000)
def _page(given: frozenset[str], most: int, passed: int | None) -> Prepared:
    """The newest `most` conversations with whose they are, narrowed by what is `given`.

    `words` looks titles up by three characters each, `digits` by four digits each. With `passed`
    only so many of the newest are looked at. Both numbers are written into the statement: only then
    does PostgreSQL know how little it has to read, and can keep its plan.
    """
    looked_up = not given.isdisjoint(("words", "digits"))
    row: Any = states.c
    statement = sa.select(states)
    if looked_up:
        found = _found("digits" if "digits" in given else "words")
        there = (
            sa.select(states)
            .where(states.c.thread_id == found.c.thread_id)
            .offset(sa.literal_column("0"))  # looked up for each by its key
            .lateral("there")
        )
        row = there.c
        statement = sa.select(*row).select_from(found.join(there, sa.true()))
    if "status" in given:
        statement = statement.where(row.status == sa.bindparam("status"))
    if "among" in given:
        among = sa.bindparam("among", type_=sa.ARRAY(row.thread_id.type))
        statement = statement.where(row.thread_id == sa.any_(among))
    if "after" in given:
        # Two plain values, not a subquery: the index can then start at the right row.
        last = sa.tuple_(
            sa.bindparam("opened_before", type_=row.opened_at.type),
            sa.bindparam("after", type_=row.thread_id.type),
        )
        statement = statement.where(sa.tuple_(row.opened_at, row.thread_id) < last)
    if passed is not None or looked_up:
        row = _newest(statement, passed or most).subquery().c
        statement = sa.select(*row)
    statement = statement.add_columns(threads.c.customer_id, threads.c.customer_name).where(
        threads.c.id == row.thread_id
    )
    if "customer_id" in given:
        statement = statement.where(threads.c.customer_id == sa.bindparam("customer_id"))
    if "text" in given and not looked_up:
        statement = statement.where(_has_text(row.title))
    return Prepared(_newest(statement, most))


def _found(by: str) -> sa.CTE:
    """The threads whose titles have the text, by an index that `by` names the function of."""
    title, text = titles.c.title, sa.bindparam(by, type_=sa.Text)
    # Behind a SELECT, so that no plan knows the text: each would be made for one search alone.
    if by == "digits":
        has = sa.and_(
            sa.func.numbers(title).op("@>")(sa.select(sa.func.numbers(text)).scalar_subquery()),
            title.regexp_match(sa.literal_column(HAS_NUMBER)),
        )
    else:
        has = sa.func.trigrams(title).op("@>")(sa.select(sa.func.trigrams(text)).scalar_subquery())
    statement = sa.select(titles.c.thread_id).where(has, _has_text(title))
    return statement.cte("found").prefix_with("MATERIALIZED")


def _has_text(title: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    return title.icontains(sa.bindparam("text", type_=sa.Text), escape="/")


def _newest(statement: sa.Select[Any], most: int) -> sa.Select[Any]:
    row = statement.selected_columns
    return statement.order_by(row.opened_at.desc(), row.thread_id.desc()).limit(
        sa.literal_column(str(most), sa.Integer)
    )


async def _store_titles(session: Session, lifecycles: Iterable[Lifecycle]) -> None:
    titled = [
        {"thread_id": lifecycle.thread_id, "title": lifecycle.title}
        for lifecycle in lifecycles
        if lifecycle.title
    ]
    await session.execute(_STORE_TITLE, titled)


async def _store(session: Session, moved: Iterable[tuple[Lifecycle, int]]) -> None:
    values: list[dict[str, Any]] = [
        {name: getattr(lifecycle, name) for name in _KEPT}
        | {
            "applied": applied,
            "status": lifecycle.status.value,
            "answering": list(lifecycle.standing.answering),
        }
        for lifecycle, applied in moved
    ]
    await session.execute(_STORE, values)


def lifecycle_of(row: Row) -> Lifecycle:
    """How a conversation stands, from a row that has the columns of its state."""
    return Lifecycle(
        standing=Standing(Status(row["status"]), tuple(row["answering"])),
        **{name: row[name] for name in _KEPT},
    )


def _summary(row: Row) -> ThreadSummary:
    return ThreadSummary(
        lifecycle=lifecycle_of(row),
        customer_id=row["customer_id"],
        customer_name=row["customer_name"],
    )
