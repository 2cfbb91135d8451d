"""Whose the threads are. That never changes, so it is read once."""

from collections import OrderedDict

from smart_support.conversations.postgres import PostgresConversations
from smart_support.errors import NotFound
from smart_support.events.records import ThreadId
from smart_support.identity.people import Person, Role

KEPT = 10_000
"""Threads of which it is remembered, those asked for last."""


class Customers:
    """The customer of each thread, as they were when it was opened."""

    def __init__(self, conversations: PostgresConversations, most: int = KEPT) -> None:
        self._conversations = conversations
        self._most = most
        self._known: OrderedDict[ThreadId, Person] = OrderedDict()

    async def of(self, thread_id: ThreadId, *, only: Person | None = None) -> Person:
        """Whose the thread is; with `only`, if it is theirs.

        Raises:
            NotFound: no such thread, or somebody else's.
        """
        found = self._known.pop(thread_id, None)
        if found is None:
            thread = await self._conversations.thread(thread_id)
            found = Person(
                id=thread.customer_id,
                role=Role.CUSTOMER,
                name=thread.customer_name,
                email=thread.customer_email,
            )
        self._known[thread_id] = found
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        if only is not None and only.id != found.id:
            raise NotFound(f"no thread {thread_id} for this person")
        return found
