"""Handing a conversation to a person and back. While a person has it, no agent answers."""

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from smart_support.conversations.outbox_postgres import put
from smart_support.conversations.records import HandoffLoop, NotTaken, TakenByAnother, TurnStatus
from smart_support.conversations.tables import threads, turns
from smart_support.database import Prepared, Row, Session, Sessions
from smart_support.errors import NotFound
from smart_support.events.postgres import append
from smart_support.events.records import (
    Event,
    Fact,
    GivenBack,
    HandoffAsked,
    PersonAnswered,
    PersonTookOver,
    ThreadId,
    ThreadResolved,
    TurnClosed,
)
from smart_support.events.tables import events as stored_events

LOOP_LIMIT = 3
"""Handoffs by agents for one reason after which a conversation stays with people."""


_WITH_PERSON = Prepared(
    sa.select(threads.c.with_person).where(threads.c.id == sa.bindparam("thread_id"))
)


class PostgresHandoffs:
    """Who has each conversation. Each method is one transaction, its events included.

    All of them raise NotFound when there is no such thread.
    """

    def __init__(self, sessions: Sessions, *, announce: bool = False) -> None:
        """`announce`: put what happens into the outbox, for other systems."""
        self._sessions = sessions
        self._announce = announce

    async def ask(self, thread_id: ThreadId, asked: HandoffAsked) -> tuple[Event, ...]:
        """Ask for a person; from now on messages wait for one. Asking again changes nothing.

        Messages that were queued for an agent are left to the person too.
        """
        async with self._sessions.begin() as session:
            if (await _lock(session, thread_id)).with_person:
                return ()
            await _set(session, thread_id, with_person=True)
            if await _times_asked(session, thread_id, asked.reason) + 1 >= LOOP_LIMIT:
                stays = f"Asked for {LOOP_LIMIT} times for this reason; it stays with people."
                asked = replace(asked, note=f"{asked.note} {stays}".strip())
            return await self._tell(
                session, thread_id, [asked, *await _leave_queued(session, thread_id)]
            )

    async def _tell(
        self, session: Session, thread_id: ThreadId, facts: Sequence[Fact]
    ) -> tuple[Event, ...]:
        events = await append(session, thread_id, facts)
        if self._announce:
            await put(session, events)
        return events

    async def with_person(self, thread_id: ThreadId) -> bool:
        """Whether a person has the conversation, or was asked to take it."""
        async with self._sessions() as session:
            return bool(await session.scalar(_WITH_PERSON, {"thread_id": thread_id}))

    async def take_over(self, thread_id: ThreadId, *, by: str, name: str) -> tuple[Event, ...]:
        """Take the conversation. Taking what one has already changes nothing.

        Raises:
            TakenByAnother: another lead has it; the text says who.
        """
        async with self._sessions.begin() as session:
            row = await _lock(session, thread_id)
            if row.assigned_to == by:
                return ()
            if row.assigned_to is not None:
                raise TakenByAnother(f"{row.assigned_name} has this conversation.")
            await _set(session, thread_id, with_person=True, assigned_to=by, assigned_name=name)
            facts: list[Fact] = [PersonTookOver(by=by, name=name)]
            return await self._tell(
                session, thread_id, [*facts, *await _leave_queued(session, thread_id)]
            )

    async def answer(
        self, thread_id: ThreadId, *, by: str, name: str, message_id: str, text: str
    ) -> tuple[Event, ...]:
        """Write to the customer; the same `message_id` again is not a second message.

        Raises:
            NotTaken: this lead has not taken the conversation over.
        """
        async with self._sessions.begin() as session:
            if (await _lock(session, thread_id)).assigned_to != by:
                raise NotTaken(f"{name} has not taken thread {thread_id} over.")
            said = await session.scalar(
                sa.select(stored_events.c.seq).where(
                    stored_events.c.thread_id == thread_id,
                    stored_events.c.type == PersonAnswered.type,
                    stored_events.c.payload["message_id"].astext == message_id,
                )
            )
            if said is not None:
                return ()
            answered = PersonAnswered(message_id=message_id, text=text, by=by, name=name)
            return await append(session, thread_id, [answered])

    async def give_back(
        self, thread_id: ThreadId, *, by: str, name: str, remark: str
    ) -> tuple[Event, ...]:
        """Let the agents answer again; a lead may also give back what nobody has taken.

        Raises:
            TakenByAnother: another lead has it.
            NotTaken: the agents have it already.
            HandoffLoop: the agents have asked for a person too often for the same reason.
        """
        async with self._sessions.begin() as session:
            row = await _lock(session, thread_id)
            if not row.with_person:
                raise NotTaken(f"thread {thread_id} is with the agents.")
            if row.assigned_to not in {None, by}:
                raise TakenByAnother(f"{row.assigned_name} has this conversation.")
            if reason := await _loops(session, thread_id):
                raise HandoffLoop(reason, LOOP_LIMIT)
            await _release(session, thread_id)
            given = GivenBack(by=by, name=name, remark=remark)
            return await self._tell(session, thread_id, [given])

    async def resolve(self, thread_id: ThreadId, *, by: str) -> tuple[Event, ...]:
        """The matter is settled; a further message goes to the agents again."""
        async with self._sessions.begin() as session:
            await _lock(session, thread_id)
            await _release(session, thread_id)
            return await self._tell(session, thread_id, [ThreadResolved(by=by)])


async def _times_asked(session: Session, thread_id: ThreadId, reason: str) -> int:
    """How often agents have asked for a person for this reason since it was settled last."""
    settled = (
        sa.select(sa.func.coalesce(sa.func.max(stored_events.c.seq), 0))
        .where(stored_events.c.thread_id == thread_id, stored_events.c.type == ThreadResolved.type)
        .scalar_subquery()
    )
    found = await session.scalar(
        sa.select(sa.func.count()).where(
            stored_events.c.thread_id == thread_id,
            stored_events.c.type == HandoffAsked.type,
            stored_events.c.payload["reason"].astext == reason,
            stored_events.c.payload["by"].astext == "agent",
            stored_events.c.seq > settled,
        )
    )
    return found or 0


async def _loops(session: Session, thread_id: ThreadId) -> str | None:
    """The reason of the last handoff, if agents have had it too often."""
    last = await session.scalar(
        sa.select(stored_events.c.payload["reason"].astext)
        .where(stored_events.c.thread_id == thread_id, stored_events.c.type == HandoffAsked.type)
        .order_by(stored_events.c.seq.desc())
        .limit(1)
    )
    if last is not None and await _times_asked(session, thread_id, last) >= LOOP_LIMIT:
        return str(last)
    return None


async def _lock(session: Session, thread_id: ThreadId) -> Row:
    row = (
        await session.execute(sa.select(threads).where(threads.c.id == thread_id).with_for_update())
    ).one_or_none()
    if row is None:
        raise NotFound(f"no thread {thread_id}")
    return row


async def _set(session: Session, thread_id: ThreadId, **values: object) -> None:
    await session.execute(sa.update(threads).where(threads.c.id == thread_id).values(**values))


async def _release(session: Session, thread_id: ThreadId) -> None:
    await _set(session, thread_id, with_person=False, assigned_to=None, assigned_name=None)


async def _leave_queued(session: Session, thread_id: ThreadId) -> list[Fact]:
    """Close the queued messages without an answer; turns that go on after a yes stay."""
    left = await session.scalars(
        sa.update(turns)
        .where(
            turns.c.thread_id == thread_id,
            turns.c.status == TurnStatus.QUEUED.value,
            turns.c.run == 1,
        )
        .values(status=TurnStatus.DONE.value, closed_at=sa.func.now())
        .returning(turns.c.id)
    )
    return [
        TurnClosed(
            turn_id=turn_id,
            run=1,
            status="done",
            duration_ms=0.0,
            first_token_ms=None,
            model_calls=0,
            input_tokens=0,
            output_tokens=0,
            code=None,
            message=None,
            correlation_id="",
        )
        for turn_id in left
    ]
