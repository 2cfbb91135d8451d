"""What is kept of each thread's older turns: a cache that can be made again from the log."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from smart_support.conversations.tables import thread_memories
from smart_support.database import Prepared, Sessions
from smart_support.events.postgres import storable
from smart_support.events.records import ThreadId

_READ = Prepared(
    sa.select(
        thread_memories.c.covers,
        thread_memories.c.text,
        thread_memories.c.facts,
        thread_memories.c.made_by,
    ).where(thread_memories.c.thread_id == sa.bindparam("thread_id"))
)


class PostgresMemories:
    """One row per thread. A memory never goes back to covering less."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def read(self, thread_id: ThreadId) -> tuple[int, str, Sequence[str], str] | None:
        """The event up to which it covers, the text, the facts, and who made it."""
        async with self._sessions() as session:
            row = (await session.execute(_READ, {"thread_id": thread_id})).one_or_none()
        return None if row is None else (row.covers, row.text, tuple(row.facts), row.made_by)

    async def keep(
        self, thread_id: ThreadId, covers: int, text: str, facts: Sequence[str], made_by: str
    ) -> None:
        """Keep it, unless one that covers as much is there already."""
        values = {
            "covers": covers,
            "text": storable(text),
            "facts": storable(list(facts)),
            "made_by": made_by,
            "made_at": sa.func.now(),
        }
        statement = (
            insert(thread_memories)
            .values(thread_id=thread_id, **values)
            .on_conflict_do_update(
                index_elements=[thread_memories.c.thread_id],
                set_=values,
                where=thread_memories.c.covers < covers,
            )
        )
        async with self._sessions.begin() as session:
            await session.execute(statement)
