"""What consumers of the log that keep their state in PostgreSQL have in common.

Such a consumer has a table with one row per thread and the columns `thread_id` and `applied`.
"""

import sqlalchemy as sa

from smart_support.database import Prepared, Session
from smart_support.events.records import Event, ThreadId, fact_of
from smart_support.events.tables import event_logs, events

_LOCK = Prepared(
    sa.text("SELECT pg_advisory_xact_lock(hashtext(:what), hashtext(:thread_id))").bindparams(
        sa.bindparam("what", type_=sa.Text), sa.bindparam("thread_id", type_=sa.Text)
    )
)


async def lock_thread(session: Session, table: sa.Table, thread_id: ThreadId) -> None:
    """Wait until no other transaction moves this thread on in `table`; ends with the caller's.

    A row lock would not do: the first time, there is no row. Threads whose hashes are equal wait
    for each other, which is harmless.
    """
    await session.execute(_LOCK, {"what": table.name, "thread_id": thread_id})


async def threads_behind(session: Session, table: sa.Table, limit: int) -> list[ThreadId]:
    """At most `limit` threads whose log is longer than `table` knows, oldest first."""
    statement = (
        sa.select(event_logs.c.thread_id)
        .outerjoin(table, table.c.thread_id == event_logs.c.thread_id)
        .where(event_logs.c.last_seq > sa.func.coalesce(table.c.applied, 0))
        .order_by(event_logs.c.thread_id)
        .limit(limit)
    )
    return list(await session.scalars(statement))


async def read_log(session: Session, thread_id: ThreadId) -> list[Event]:
    """The whole log of the thread, in order.

    Raises:
        KeyError: it holds a type of fact that this version does not know.
    """
    rows = await session.execute(
        sa.select(events.c.seq, events.c.at, events.c.type, events.c.payload)
        .where(events.c.thread_id == thread_id)
        .order_by(events.c.seq)
    )
    return [Event(thread_id, row.seq, row.at, fact_of(row.type, row.payload)) for row in rows]
