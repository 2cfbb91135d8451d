"""Threads and turns in PostgreSQL. Each method is one transaction; the database decides races."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert

from smart_support.conversations.handoff_postgres import PostgresHandoffs
from smart_support.conversations.lifecycle import Lifecycle
from smart_support.conversations.records import (
    MessageLimit,
    QueueFull,
    Received,
    Thread,
    Turn,
    TurnNotOpen,
    TurnStatus,
)
from smart_support.conversations.tables import conversation_states as states
from smart_support.conversations.tables import threads, turns
from smart_support.conversations.tracker_postgres import (
    PostgresConversationTracker,
    lifecycle_of,
    with_lines,
)
from smart_support.database import Prepared, Row, Session, Sessions
from smart_support.errors import NotFound, RateLimited
from smart_support.events.fence import WriterReplaced, fence_of
from smart_support.events.postgres import next_epoch, open_log, storable
from smart_support.events.records import (
    Event,
    Fact,
    MessageReceived,
    ThreadId,
    TurnId,
    fact_of,
    payload_of,
)
from smart_support.events.tables import event_logs

__all__ = [
    "PostgresConversationTracker",
    "PostgresConversations",
    "PostgresHandoffs",
    "with_lines",
]

QUEUE_LIMIT = 20
"""Messages of one thread that may wait for an answer."""


class PostgresConversations:
    """Who talks, and which message is being answered. Events are written with what they tell of."""

    def __init__(
        self, sessions: Sessions, *, owner: int, limit: MessageLimit | None = None
    ) -> None:
        """`owner` marks this process's turns, so that those of a dead process are known."""
        self._sessions = sessions
        self._owner = owner
        self._limit = limit

    async def open_thread(
        self,
        thread_id: ThreadId,
        *,
        customer_id: str,
        customer_name: str,
        customer_email: str | None,
    ) -> Thread:
        """Begin a conversation of this customer."""
        async with self._sessions.begin() as session:
            row = (
                await session.execute(
                    insert(threads)
                    .values(
                        id=thread_id,
                        customer_id=customer_id,
                        customer_name=customer_name,
                        customer_email=customer_email,
                    )
                    .returning(threads)
                )
            ).one()
            await open_log(session, thread_id)
        return _thread(row)

    async def thread(self, thread_id: ThreadId, *, customer_id: str | None = None) -> Thread:
        """The thread; with `customer_id`, only if it is theirs.

        Raises:
            NotFound: no such thread, or somebody else's.
        """
        async with self._sessions() as session:
            row = (await session.execute(_THREAD, {"thread_id": thread_id})).one_or_none()
        if row is None or customer_id not in (None, row.customer_id):
            raise NotFound(f"no thread {thread_id} for this person")
        return _thread(row)

    async def standing(
        self, thread_id: ThreadId, *, customer_id: str | None = None
    ) -> tuple[Thread, Lifecycle | None, bool]:
        """The thread, how it stands as far as that is derived, and whether its log has more.

        Raises:
            NotFound: as in `thread`.
        """
        async with self._sessions() as session:
            row = (await session.execute(_STANDING, {"thread_id": thread_id})).one_or_none()
        if row is None or customer_id not in (None, row["own_customer_id"]):
            raise NotFound(f"no thread {thread_id} for this person")
        thread = Thread(**{name: row[f"own_{name}"] for name in threads.c.keys()})  # noqa: SIM118
        applied = row["applied"]
        lifecycle = None if applied is None else lifecycle_of(row)
        return thread, lifecycle, (applied or 0) < (row["last_seq"] or 0)

    async def needs_turn(self, thread_id: ThreadId, message_id: str) -> bool:
        """Whether agents would answer the message: it is not stored, and no person has the thread.

        Raises:
            NotFound: no such thread.
        """
        message = {"thread_id": thread_id, "message_id": message_id}
        async with self._sessions() as session:
            row = (await session.execute(_NEEDS_TURN, message)).one_or_none()
        if row is None:
            raise NotFound(f"no thread {thread_id}")
        return bool(row.needed)

    async def receive(
        self, thread_id: ThreadId, turn_id: TurnId, message_id: str, text: str
    ) -> Received:
        """Store a message once, and open its turn, or queue it behind the open one.

        While a person has the conversation its turn is done as soon as it is stored: no agent
        answers it.

        The limit of messages is exact across processes, since it is counted here: by the
        database's clock, behind the lock that all messages of a thread pass one by one.

        Raises:
            QueueFull: as many messages as are allowed wait already; nothing is stored.
            RateLimited: as many as are allowed were received just before; nothing is stored.
        """
        fact = MessageReceived(turn_id=turn_id, message_id=message_id, text=text)
        payload = storable(payload_of(fact))
        limit = self._limit
        async with self._sessions() as session:
            row = (
                await session.execute(
                    _RECEIVE,
                    {
                        "thread_id": thread_id,
                        "turn_id": turn_id,
                        "message_id": message_id,
                        "text": storable(text),
                        "owner": self._owner,
                        "fact": payload,
                        "most": limit.count if limit else None,
                        "within": limit.window if limit else 0.0,
                        "queue": QUEUE_LIMIT,
                    },
                )
            ).one()
        match row.outcome:
            case "full":
                raise QueueFull(f"{QUEUE_LIMIT} turns of thread {thread_id} wait")
            case "limited":
                raise RateLimited(row.wait)
            case "known":
                return Received(turn=_turn(row), duplicate=True, events=())
        turn = _turn(row)
        payload["to_person"] = turn.status is TurnStatus.DONE
        stored = fact_of(fact.type, payload)
        event = Event(thread_id, row.event_seq, row.event_at, stored)
        return Received(turn=turn, duplicate=False, events=(event,))

    async def _waiting(self, session: Session, thread_id: ThreadId) -> list[TurnStatus]:
        statement = sa.select(turns.c.status).where(
            turns.c.thread_id == thread_id,
            turns.c.status.in_(_WAITING),
        )
        return [TurnStatus(found) for found in await session.scalars(statement)]

    async def unpark(self, turn_id: TurnId) -> Turn:
        """Go on with a parked turn: open it for its next run, or queue it behind the open one.

        Raises:
            TurnNotOpen: the turn is not parked.
        """
        async with self._sessions.begin() as session:
            thread_id = await self._lock_thread_of(session, turn_id)
            busy = TurnStatus.OPEN in await self._waiting(session, thread_id)
            return await self._move(
                session,
                turn_id,
                TurnStatus.PARKED,
                TurnStatus.QUEUED if busy else TurnStatus.OPEN,
                run=turns.c.run + 1,
                queued_at=sa.func.clock_timestamp(),
            )

    async def settle(
        self,
        thread_id: ThreadId,
        turn_id: TurnId,
        status: TurnStatus,
        facts: Sequence[Fact],
        *,
        open_next: bool = True,
    ) -> tuple[tuple[Event, ...], Turn | None]:
        """Take the turn out of the open place with its last facts; open the next queued turn.

        A process that stops leaves the next one to whoever comes after it (`open_next` False).

        Returns the events, and the turn that is open now, if any.

        Raises:
            TurnNotOpen: the turn is not open; nothing is written.
            WriterReplaced: another process has taken the turn over; nothing is written.
        """
        fence = fence_of(thread_id)
        payloads = [storable(payload_of(fact)) for fact in facts]
        async with self._sessions() as session:
            row = (
                await session.execute(
                    _SETTLE,
                    {
                        "thread_id": thread_id,
                        "turn_id": turn_id,
                        "after": status.value,
                        "types": [fact.type for fact in facts],
                        "payloads": payloads,
                        "fence": fence.epoch if fence else None,
                        "process": self._owner,
                        "open_next": open_next,
                    },
                )
            ).one()
        match row.outcome:
            case "not_open":
                raise TurnNotOpen(f"turn {turn_id} is not open")
            case "replaced":
                raise WriterReplaced(f"turn {turn_id} is another process's by now")
        events = tuple(
            Event(thread_id, row.seq_before + place, at, fact_of(fact.type, payload))
            for place, (at, fact, payload) in enumerate(
                zip(row.stamps or (), facts, payloads, strict=True), start=1
            )
        )
        return events, None if row.id is None else _turn(row)

    async def backdate(self, thread_id: ThreadId, by: timedelta) -> None:
        """Let the thread have happened earlier; only for conversations that were made up."""
        async with self._sessions.begin() as session:
            await session.execute(
                sa.update(threads)
                .where(threads.c.id == thread_id)
                .values(opened_at=threads.c.opened_at - by)
            )
            await session.execute(
                sa.update(turns)
                .where(turns.c.thread_id == thread_id)
                .values(queued_at=turns.c.queued_at - by, closed_at=turns.c.closed_at - by)
            )

    async def turn(self, turn_id: TurnId) -> Turn:
        """The turn.

        Raises:
            NotFound: there is none with this id.
        """
        async with self._sessions() as session:
            row = (
                await session.execute(sa.select(turns).where(turns.c.id == turn_id))
            ).one_or_none()
        if row is None:
            raise NotFound(f"no turn {turn_id}")
        return _turn(row)

    async def answering(self, thread_id: ThreadId) -> bool:
        """Whether a message of the thread is being answered, or waits for that."""
        async with self._sessions() as session:
            return bool(await self._waiting(session, thread_id))

    async def take_over(self, turn: Turn) -> tuple[Turn, float]:
        """Make an open turn this process's own: whoever had it writes nothing more for it.

        Returns the turn as it is now, and for how many seconds it has been open.

        Raises:
            TurnNotOpen: it is over, or somebody else was quicker.
        """
        async with self._sessions.begin() as session:
            thread_id = await self._lock_thread_of(session, turn.id)
            row = (
                await session.execute(
                    sa.update(turns)
                    .where(
                        turns.c.id == turn.id,
                        turns.c.status == TurnStatus.OPEN.value,
                        turns.c.epoch.is_not_distinct_from(turn.epoch),
                    )
                    .values(
                        owner=self._owner,
                        epoch=await next_epoch(session, thread_id),
                        recoveries=turns.c.recoveries + 1,
                    )
                    .returning(
                        turns,
                        sa.extract(
                            "epoch",
                            sa.func.clock_timestamp()
                            - sa.func.coalesce(turns.c.opened_at, turns.c.queued_at),
                        ).label("age"),
                    )
                )
            ).one_or_none()
            if row is None:
                raise TurnNotOpen(f"turn {turn.id} is not open in epoch {turn.epoch}")
        return _turn(row), float(row.age)

    async def orphans(self, restart_grace: float = 0.0) -> tuple[Turn, ...]:
        """Open turns of processes that are gone: nobody holds their owner's advisory lock.

        For `restart_grace` seconds after PostgreSQL was started there are none: it lost all
        locks, and who lives takes its own again.

        The turns are read first: a process takes its lock before it opens any.
        """
        held = sa.text(
            "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks"
            " WHERE locktype = 'advisory' AND objsubid = 1 AND granted"
        )
        started = sa.text(
            "SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())"
        )
        async with self._sessions() as session:
            if restart_grace and float(await session.scalar(started) or 0) < restart_grace:
                return ()
            rows = (
                await session.execute(
                    sa.select(turns).where(turns.c.status == TurnStatus.OPEN.value)
                )
            ).all()
            owners = set(await session.scalars(held))
        # Its own are not among them: it lives, also while it has to take its lock again.
        return tuple(_turn(row) for row in rows if row.owner not in {*owners, self._owner})

    async def own_open(self) -> tuple[Turn, ...]:
        """Open turns of this process."""
        statement = sa.select(turns).where(
            turns.c.status == TurnStatus.OPEN.value, turns.c.owner == self._owner
        )
        async with self._sessions() as session:
            return tuple(_turn(row) for row in await session.execute(statement))

    async def parked(self) -> tuple[Turn, ...]:
        """Every turn that waits for approvals."""
        statement = sa.select(turns).where(turns.c.status == TurnStatus.PARKED.value)
        async with self._sessions() as session:
            return tuple(_turn(row) for row in await session.execute(statement))

    async def queued_without_open(self) -> tuple[ThreadId, ...]:
        """Threads with messages that wait although nothing is being answered."""
        statement = (
            sa.select(turns.c.thread_id)
            .where(turns.c.status.in_(_WAITING))
            .group_by(turns.c.thread_id)
            .having(sa.func.count().filter(turns.c.status == TurnStatus.OPEN.value) == 0)
        )
        async with self._sessions() as session:
            return tuple(await session.scalars(statement))

    async def queued(self) -> int:
        """How many messages wait for a turn, in all threads."""
        statement = (
            sa.select(sa.func.count())
            .select_from(turns)
            .where(turns.c.status == TurnStatus.QUEUED.value)
        )
        async with self._sessions() as session:
            return await session.scalar(statement) or 0

    async def open_next(self, thread_id: ThreadId) -> Turn | None:
        """Open the oldest queued turn if none is open."""
        async with self._sessions.begin() as session:
            await session.execute(
                sa.select(threads.c.id).where(threads.c.id == thread_id).with_for_update()
            )
            if TurnStatus.OPEN in await self._waiting(session, thread_id):
                return None
            following = await session.scalar(_FOLLOWING, {"thread_id": thread_id})
            if following is None:
                return None
            return await self._move(session, following, TurnStatus.QUEUED, TurnStatus.OPEN)

    async def _lock_thread_of(self, session: Session, turn_id: TurnId) -> ThreadId:
        found: ThreadId | None = await session.scalar(_LOCK_THREAD_OF, {"turn_id": turn_id})
        if found is None:
            raise TurnNotOpen(f"no turn {turn_id}")
        return found

    async def _move(
        self,
        session: Session,
        turn_id: TurnId,
        before: TurnStatus,
        after: TurnStatus,
        **values: object,
    ) -> Turn:
        row = (
            await session.execute(
                sa.update(turns)
                .where(turns.c.id == turn_id, turns.c.status == before.value)
                .values(status=after.value, **self._owned(after), **values)
                .returning(turns)
            )
        ).one_or_none()
        if row is None:
            raise TurnNotOpen(f"turn {turn_id} is not {before.value}")
        return _turn(row)

    def _owned(self, after: TurnStatus) -> dict[str, Any]:
        if after is not TurnStatus.OPEN:
            return {"owner": None}
        return {
            "owner": self._owner,
            "epoch": _epoch_of(turns.c.thread_id),
            "opened_at": sa.func.clock_timestamp(),
        }


_RECEIVE = Prepared(
    sa.text(
        """
    SELECT r.outcome, r.wait, r.event_seq, r.event_at, (r.turn).*
    FROM receive_message(:thread_id, :turn_id, :message_id, :text, :owner, :fact, :most, :within,
      :queue) AS r
    """
    )
    .bindparams(
        sa.bindparam("thread_id", type_=sa.Uuid(as_uuid=False)),
        sa.bindparam("turn_id", type_=sa.Uuid(as_uuid=False)),
        sa.bindparam("owner", type_=sa.BigInteger),
        sa.bindparam("fact", type_=JSONB),
        sa.bindparam("most", type_=sa.Integer),
        sa.bindparam("within", type_=sa.Double),
        sa.bindparam("queue", type_=sa.Integer),
    )
    .columns(id=sa.Uuid(as_uuid=False), thread_id=sa.Uuid(as_uuid=False))
)

_THREAD = Prepared(sa.select(threads).where(threads.c.id == sa.bindparam("thread_id")))

_NEEDS_TURN = Prepared(
    sa.select(
        sa.and_(
            sa.not_(threads.c.with_person),
            ~sa.exists().where(
                turns.c.thread_id == threads.c.id,
                turns.c.message_id == sa.bindparam("message_id"),
            ),
        ).label("needed")
    ).where(threads.c.id == sa.bindparam("thread_id"))
)

_STANDING = Prepared(
    sa.select(*(column.label(f"own_{column.name}") for column in threads.c), states)
    .add_columns(event_logs.c.last_seq)
    .select_from(
        threads.outerjoin(states, states.c.thread_id == threads.c.id).outerjoin(
            event_logs, event_logs.c.thread_id == threads.c.id
        )
    )
    .where(threads.c.id == sa.bindparam("thread_id"))
)

_LOCK_THREAD_OF = Prepared(
    sa.select(threads.c.id)
    .join(turns, turns.c.thread_id == threads.c.id)
    .where(turns.c.id == sa.bindparam("turn_id"))
    .with_for_update(of=threads)
)

_SETTLE = Prepared(
    sa.text(
        """
    SELECT r.outcome, r.seq_before, r.stamps, (r.following).*
    FROM settle_turn(:thread_id, :turn_id, :after, :types, :payloads, :fence, :process,
      :open_next) AS r
    """
    ).bindparams(
        sa.bindparam("thread_id", type_=sa.Uuid(as_uuid=False)),
        sa.bindparam("turn_id", type_=sa.Uuid(as_uuid=False)),
        sa.bindparam("types", type_=sa.ARRAY(sa.Text)),
        sa.bindparam("payloads", type_=sa.ARRAY(JSONB)),
        sa.bindparam("fence", type_=sa.BigInteger),
        sa.bindparam("process", type_=sa.BigInteger),
        sa.bindparam("open_next", type_=sa.Boolean),
    )
)

_FOLLOWING = Prepared(
    sa.select(turns.c.id)
    .where(
        turns.c.thread_id == sa.bindparam("thread_id"),
        turns.c.status == TurnStatus.QUEUED.value,
    )
    .order_by(turns.c.queued_at, turns.c.id)
    .limit(1)
)

_WAITING = (TurnStatus.OPEN.value, TurnStatus.QUEUED.value)


def _epoch_of(thread_id: Any) -> Any:
    """The epoch that the thread is in, as a part of a statement."""
    found = sa.select(event_logs.c.epoch).where(event_logs.c.thread_id == thread_id)
    return found.scalar_subquery()


def _thread(row: Row) -> Thread:
    return Thread(**row._mapping)


def _turn(row: Row) -> Turn:
    return Turn(
        id=row.id,
        thread_id=row.thread_id,
        message_id=row.message_id,
        text=row.text,
        status=TurnStatus(row.status),
        run=row.run,
        epoch=row.epoch,
        recoveries=row.recoveries,
    )
