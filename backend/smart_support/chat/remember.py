"""The history that a turn is answered with, and the notes that keep it short."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from smart_support.agent.history import divide, messages_of
from smart_support.agent.memory import Memory, extended, summarised
from smart_support.agent.state import ChatModel
from smart_support.chat.past import PastEvents
from smart_support.conversations.memory_postgres import PostgresMemories
from smart_support.conversations.records import Turn
from smart_support.errors import SupportError
from smart_support.events.records import Event, ThreadId
from smart_support.ledger.postgres import PostgresLedger

log = structlog.get_logger()

_SUMMARY_SECONDS = 60.0
_SHORT = 100
"""Events of a thread whose notes are not asked for before it shows that something is left out."""
_LEAST_TURNS = 4
"""Turns that must be too old before the notes are written anew; until then they are drawn out."""


@dataclass(frozen=True, slots=True)
class History:
    """What the model is told before it answers, in OpenAI's wire form."""

    messages: list[dict[str, Any]]
    crowded: bool
    """Whether so much does not fit word for word that notes may be due after the turn."""


@dataclass(slots=True, kw_only=True)
class Remembering:
    """Keeps what the model reads of a thread within `tokens`, however long the thread gets."""

    past: PastEvents
    ledger: PostgresLedger
    memories: PostgresMemories
    tokens: int
    model: ChatModel | None = None
    """Writes the notes; None: they are drawn from the messages."""
    _writing: dict[ThreadId, asyncio.Task[None]] = field(default_factory=dict)

    async def history(self, turn: Turn, past: Sequence[Event]) -> History:
        """The messages before the turn's own, and that."""
        divided = divide(past, turn.id, tokens=self.tokens) if len(past) < _SHORT else None
        if divided is not None and not divided.left_out:  # nothing has to stand for anything
            return History(messages_of(divided, turn.id, turn.text), crowded=False)
        memory = await self._memory(turn.thread_id)
        if divided is None or memory is not None:
            divided = divide(past, turn.id, tokens=self.tokens, memory=memory)
        writes = await self.ledger.writes(turn.thread_id)
        return History(
            messages_of(divided, turn.id, turn.text, memory=memory, certain=writes),
            crowded=len(divided.left_out) >= _LEAST_TURNS - 1,  # this turn leaves out one more
        )

    def notice(self, thread_id: ThreadId) -> None:
        """Write the thread's notes in the background, if enough has become old."""
        if thread_id not in self._writing:
            task = asyncio.create_task(self._update(thread_id), name=f"notes {thread_id}")
            self._writing[thread_id] = task
            task.add_done_callback(lambda _: self._writing.pop(thread_id, None))

    async def idle(self) -> None:
        """Wait until no notes are being written."""
        while self._writing:
            await asyncio.wait(self._writing.values())

    async def close(self) -> None:
        """Stop writing notes; they are written another time."""
        for task in self._writing.values():
            task.cancel()
        await self.idle()

    async def _update(self, thread_id: ThreadId) -> None:
        """Cover what has become too old. A failure costs nothing but a longer extract."""
        try:
            memory = await self._memory(thread_id)
            events = await self.past.read(thread_id)
            left_out = divide(events, None, tokens=self.tokens, memory=memory).left_out
            if len(left_out) < _LEAST_TURNS:
                return
            after = None
            if self.model is not None:
                try:
                    async with asyncio.timeout(_SUMMARY_SECONDS):
                        after = await summarised(
                            self.model, self.model.model_name, memory, left_out
                        )
                except (SupportError, TimeoutError) as error:
                    log.warning("notes_by_model_failed", thread_id=thread_id, error=str(error))
            if after is None:
                after = extended(memory, left_out)
            await self.memories.keep(
                thread_id, after.covers, after.text, after.facts, after.made_by
            )
        except SupportError as error:
            log.warning("notes_failed", thread_id=thread_id, code=error.code)
        except Exception:
            log.exception("notes_crashed", thread_id=thread_id)

    async def _memory(self, thread_id: ThreadId) -> Memory | None:
        found = await self.memories.read(thread_id)
        if found is None:
            return None
        covers, text, facts, made_by = found
        return Memory(covers=covers, text=text, facts=tuple(facts), made_by=made_by)
