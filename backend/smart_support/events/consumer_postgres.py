"""What consumers of the log that keep their state in PostgreSQL have in common.

Such a consumer has a table with one row per thread and the columns `thread_id` and `applied`.
"""

from collections.abc import Collection, Iterable

import sqlalchemy as sa

from smart_support.database import Prepared, Session, Sessions
from smart_support.events.records import Event, ThreadId, fact_of
from smart_support.events.tables import event_logs, events

_LOCK = Prepared(
    # In one order for all, so that two who lock several do not wait for each other.
    sa.text(
        """
    SELECT pg_advisory_xact_lock(hashtext(:what), thread.hash)
    FROM (SELECT DISTINCT hashtext(id) AS hash FROM unnest(:thread_ids) AS id ORDER BY 1) AS thread
    """
    ).bindparams(
        sa.bindparam("what", type_=sa.Text), sa.bindparam("thread_ids", type_=sa.ARRAY(sa.Text))
    )
)

_IDS = sa.bindparam("thread_ids", type_=sa.ARRAY(sa.Uuid(as_uuid=False)))


async def lock_threads(session: Session, table: sa.Table, thread_ids: Iterable[ThreadId]) -> None:
    """Wait until nobody else moves these threads on in `table`; ends with the transaction.

    A row lock would not do: the first time, there is no row. Threads whose hashes are equal wait
    for each other, which is harmless.
    """
    await session.execute(_LOCK, {"what": table.name, "thread_ids": list(thread_ids)})


def rows_of_threads(table: sa.Table) -> Prepared:
    """Reads the rows of `thread_ids`."""
    return Prepared(sa.select(table).where(table.c.thread_id == sa.any_(_IDS)))


def places_of_threads(table: sa.Table) -> Prepared:
    """Reads how far `table` has come with `thread_ids`."""
    return Prepared(
        sa.select(table.c.thread_id, table.c.applied).where(table.c.thread_id == sa.any_(_IDS))
    )


async def places(
    sessions: Sessions, statement: Prepared, thread_ids: Collection[ThreadId]
) -> dict[ThreadId, int]:
    """What a statement of `places_of_threads` says of each of them; 0 for what it does not know."""
    async with sessions() as session:
        rows = await session.execute(statement, {"thread_ids": list(thread_ids)})
    return dict.fromkeys(thread_ids, 0) | {row.thread_id: row.applied for row in rows}


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
