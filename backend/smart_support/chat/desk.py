"""The support team's desk: a conversation is asked for, taken, answered and given back here."""

from collections.abc import Callable, Sequence

from smart_support.conversations.postgres import PostgresHandoffs
from smart_support.events.records import Event, HandoffAsked, ThreadId
from smart_support.identity.people import Person


class Desk:
    """Moves conversations between agents and people, and tells everybody who follows them.

    The errors are those of `PostgresHandoffs`.
    """

    def __init__(
        self, handoffs: PostgresHandoffs, publish: Callable[[ThreadId, Sequence[Event]], None]
    ) -> None:
        self._handoffs = handoffs
        self._publish = publish

    async def ask(self, thread_id: ThreadId, *, note: str, by: str) -> None:
        """Ask for a person on behalf of a customer or a lead."""
        asked = HandoffAsked(turn_id=None, reason="customer_request", note=note, by=by)
        self._publish(thread_id, await self._handoffs.ask(thread_id, asked))

    async def take_over(self, lead: Person, thread_id: ThreadId) -> None:
        """Have the conversation; the agents are silent from now on."""
        events = await self._handoffs.take_over(thread_id, by=lead.id, name=lead.name)
        self._publish(thread_id, events)

    async def answer(self, lead: Person, thread_id: ThreadId, message_id: str, text: str) -> None:
        """Write to the customer."""
        events = await self._handoffs.answer(
            thread_id, by=lead.id, name=lead.name, message_id=message_id, text=text
        )
        self._publish(thread_id, events)

    async def give_back(self, lead: Person, thread_id: ThreadId, remark: str) -> None:
        """Let the agents answer again, with a remark for them."""
        events = await self._handoffs.give_back(
            thread_id, by=lead.id, name=lead.name, remark=remark
        )
        self._publish(thread_id, events)

    async def resolve(self, person: Person, thread_id: ThreadId) -> None:
        """Say that the matter is settled."""
        events = await self._handoffs.resolve(thread_id, by=person.role.value)
        self._publish(thread_id, events)
