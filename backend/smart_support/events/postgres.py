"""The log in PostgreSQL: one statement appends, and it alone gives out numbers."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from smart_support.database import Prepared, Session, Sessions
from smart_support.errors import DatabaseUnavailable
from smart_support.events.fence import WriterReplaced, fence_of
from smart_support.events.records import (
    ApprovalAsked,
    AttemptMade,
    Event,
    Fact,
    ThreadId,
    fact_of,
    payload_of,
)
from smart_support.events.tables import event_logs, events

NOTHING: Mapping[str, Any] = MappingProxyType({})


def appending(beside: str = "", *values: sa.BindParameter[Any]) -> Prepared:
    """The statement of `append`, and what else it writes: all of it is written, or nothing.

    `beside` are more parts of its WITH, which have the `values`. They write for each row of `log`:
    there is none if nothing is appended.
    """
    return Prepared(
        sa.text(
            f"""
    WITH log AS (
        UPDATE event_logs SET last_seq = last_seq + :n
        WHERE thread_id = :thread_id AND epoch = coalesce(:epoch, epoch)
        RETURNING last_seq - :n AS before
    ){", " if beside else ""}{beside}
    INSERT INTO events (thread_id, seq, at, type, payload)
    SELECT :thread_id, log.before + new.place, clock_timestamp(), new.type, new.payload
    FROM log, unnest(:types, :payloads) WITH ORDINALITY AS new (type, payload, place)
    RETURNING seq, at
    """  # noqa: S608 - both parts are ours
        ).bindparams(
            sa.bindparam("n", type_=sa.BigInteger),
            sa.bindparam("thread_id", type_=sa.Uuid(as_uuid=False)),
            sa.bindparam("epoch", type_=sa.BigInteger),
            sa.bindparam("types", type_=sa.ARRAY(sa.Text)),
            sa.bindparam("payloads", type_=sa.ARRAY(sa.dialects.postgresql.JSONB)),
            *values,
        )
    )


_APPEND = appending()

_EVENTS = sa.select(events.c.seq, events.c.at, events.c.type, events.c.payload)

_READ = Prepared(
    _EVENTS.where(
        events.c.thread_id == sa.bindparam("thread_id"), events.c.seq > sa.bindparam("after")
    )
    .order_by(events.c.seq)
    .limit(sa.bindparam("most", type_=sa.BigInteger))
)

_WANTED = (
    sa.func.unnest(
        sa.bindparam("thread_ids", type_=sa.ARRAY(sa.Uuid(as_uuid=False))),
        sa.bindparam("afters", type_=sa.ARRAY(sa.BigInteger)),
    )
    .table_valued("thread_id", "after", name="wanted")
    .render_derived()
)
_FOUND = (
    sa.select(events)
    .where(events.c.thread_id == _WANTED.c.thread_id, events.c.seq > _WANTED.c.after)
    .order_by(events.c.seq)
    .limit(sa.bindparam("most", type_=sa.BigInteger))
    .lateral("found")
)
_READ_SEVERAL = Prepared(
    sa.select(_FOUND.c.thread_id, _FOUND.c.seq, _FOUND.c.at, _FOUND.c.type, _FOUND.c.payload)
    .select_from(_WANTED.join(_FOUND, sa.true()))
    .order_by(_FOUND.c.thread_id, _FOUND.c.seq)
)

_READ_TYPES = Prepared(
    _EVENTS.where(
        events.c.thread_id == sa.bindparam("thread_id"),
        events.c.seq > sa.bindparam("after"),
        events.c.type == sa.any_(sa.bindparam("types", type_=sa.ARRAY(sa.Text))),
    )
    .order_by(events.c.seq.desc())
    .limit(sa.bindparam("most", type_=sa.BigInteger))
)

_LAST_SEQ = Prepared(
    sa.select(event_logs.c.last_seq).where(event_logs.c.thread_id == sa.bindparam("thread_id"))
)

_HOLD = Prepared(
    sa.select(event_logs.c.epoch)
    .where(event_logs.c.thread_id == sa.bindparam("thread_id"))
    # As strong as what an append takes: two calls side by side must not wait for each other.
    .with_for_update(key_share=True)
)


async def open_log(session: Session, thread_id: ThreadId) -> None:
    """Begin the log of a new thread, in the caller's transaction."""
    await session.execute(insert(event_logs).values(thread_id=thread_id).on_conflict_do_nothing())


async def append(
    session: Session,
    thread_id: ThreadId,
    facts: Sequence[Fact],
    statement: Prepared = _APPEND,
    values: Mapping[str, Any] = NOTHING,
) -> tuple[Event, ...]:
    """Add `facts` to the thread's log, in order, in the caller's transaction.

    The events exist for others only once that transaction is committed. `statement` is one of
    `appending`, with the `values` of what it writes beside them.

    Raises:
        WriterReplaced: the caller answers a turn (see `fence`) that is another process's by now.
    """
    if not facts:
        return ()
    fence = fence_of(thread_id)
    payloads = [storable(payload_of(fact)) for fact in facts]
    result = await session.execute(
        statement,
        {
            **values,
            "n": len(facts),
            "thread_id": thread_id,
            "epoch": fence.epoch if fence else None,
            "types": [fact.type for fact in facts],
            "payloads": payloads,
        },
    )
    rows = sorted(result.all())
    if len(rows) != len(facts) and fence is not None:
        raise WriterReplaced(f"thread {thread_id} is not in epoch {fence.epoch} any more")
    if len(rows) != len(facts):
        raise LookupError(f"thread {thread_id} has no log")
    return tuple(
        # As it was stored, so that who is told now and who reads it later see the same.
        Event(thread_id, row.seq, row.at, fact_of(fact.type, payload))
        for row, fact, payload in zip(rows, facts, payloads, strict=True)
    )


async def hold(session: Session, thread_id: ThreadId) -> None:
    """Before something is sent for a turn: keep the turn this process's until the commit.

    Outside of a turn nothing is checked.

    Raises:
        WriterReplaced: another process has taken the turn over.
        DatabaseUnavailable: this process has lost the lock that says that it lives.
    """
    fence = fence_of(thread_id)
    if fence is None:
        return
    if not fence.alive():
        raise DatabaseUnavailable("this process has lost its lock, and may not send now")
    epoch = await session.scalar(_HOLD, {"thread_id": thread_id})
    if epoch != fence.epoch:
        raise WriterReplaced(f"thread {thread_id} is in epoch {epoch}, not {fence.epoch}")


async def next_epoch(session: Session, thread_id: ThreadId) -> int:
    """Let nobody who writes for a turn of this thread write on; the new epoch."""
    found: int = (
        await session.execute(
            sa.update(event_logs)
            .where(event_logs.c.thread_id == thread_id)
            .values(epoch=event_logs.c.epoch + 1)
            .returning(event_logs.c.epoch)
        )
    ).scalar_one()
    return found


class PostgresEventLog:
    """Reads and adds to the logs, each call a transaction of its own."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def append(self, thread_id: ThreadId, facts: Sequence[Fact]) -> tuple[Event, ...]:
        """Add `facts` and commit: one statement, which stands for itself."""
        async with self._sessions() as session:
            return await append(session, thread_id, facts)

    async def read(
        self, thread_id: ThreadId, *, after: int = 0, limit: int | None = None
    ) -> tuple[Event, ...]:
        """The events after `after`, oldest first, at most `limit`."""
        rows = await self.read_plain(thread_id, after=after, limit=limit)
        return tuple(
            Event(thread_id, seq, at, fact_of(type_, payload)) for seq, at, type_, payload in rows
        )

    async def read_plain(
        self, thread_id: ThreadId, *, after: int = 0, limit: int | None = None
    ) -> Sequence[tuple[int, datetime, str, dict[str, Any]]]:
        """The same as they are stored: number, time, type and payload."""
        values = {"thread_id": thread_id, "after": after, "most": limit}
        async with self._sessions() as session:
            return (await session.execute(_READ, values)).all()

    async def read_several(
        self, after: Mapping[ThreadId, int], *, limit: int
    ) -> dict[ThreadId, list[Event]]:
        """Of each thread the events after the one that is named, oldest first, at most `limit`."""
        values = {"thread_ids": list(after), "afters": list(after.values()), "most": limit}
        found: dict[ThreadId, list[Event]] = {thread_id: [] for thread_id in after}
        async with self._sessions() as session:
            rows = await session.execute(_READ_SEVERAL, values)
        for thread_id, seq, at, type_, payload in rows:
            found[thread_id].append(Event(thread_id, seq, at, fact_of(type_, payload)))
        return found

    async def read_turns(
        self, thread_id: ThreadId, types: Iterable[str], *, last: int, after: int = 0
    ) -> tuple[Event, ...]:
        """The `last` newest events of these types after `after`, oldest first."""
        values = {"thread_id": thread_id, "types": list(types), "most": last, "after": after}
        async with self._sessions() as session:
            rows = (await session.execute(_READ_TYPES, values)).all()
        return tuple(
            Event(thread_id, row.seq, row.at, fact_of(row.type, row.payload))
            for row in reversed(rows)
        )

    async def backdate(self, thread_id: ThreadId, by: timedelta) -> None:
        """Let the thread have happened earlier; only for conversations that were made up."""
        async with self._sessions.begin() as session:
            await session.execute(
                sa.update(events).where(events.c.thread_id == thread_id).values(at=events.c.at - by)
            )
            for type_, field in (
                (AttemptMade.type, "started_at"),
                (ApprovalAsked.type, "expires_at"),
            ):
                told = sa.cast(events.c.payload[field].astext, sa.DateTime(timezone=True)) - by
                await session.execute(
                    sa.update(events)
                    .where(events.c.thread_id == thread_id, events.c.type == type_)
                    .values(
                        payload=events.c.payload.op("||")(
                            sa.func.jsonb_build_object(field, sa.func.to_jsonb(told))
                        )
                    )
                )

    async def last_seq(self, thread_id: ThreadId) -> int:
        """How many events the thread has; 0 if it has no log."""
        async with self._sessions() as session:
            return await session.scalar(_LAST_SEQ, {"thread_id": thread_id}) or 0

    async def last_seqs(self, thread_ids: Sequence[ThreadId]) -> dict[ThreadId, int]:
        """How many events each of the threads has."""
        statement = sa.select(event_logs.c.thread_id, event_logs.c.last_seq).where(
            event_logs.c.thread_id.in_(thread_ids)
        )
        async with self._sessions() as session:
            return {row.thread_id: row.last_seq for row in await session.execute(statement)}


def storable(value: Any) -> Any:
    """The same JSON with the two things that PostgreSQL refuses in text replaced by U+FFFD."""
    if isinstance(value, str):
        return (
            value.replace("\x00", "\ufffd")
            .encode("utf-16", "surrogatepass")
            .decode("utf-16", "replace")
        )
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value
