"""Whose a thread is, is read once, and told to nobody else."""

import pytest
from tests.support.turns import ADA, Desk

from smart_support.chat.customers import Customers
from smart_support.conversations.postgres import PostgresConversations
from smart_support.conversations.records import Thread
from smart_support.errors import NotFound
from smart_support.events.records import ThreadId
from smart_support.identity.people import Person, Role

BOB = Person(id="cus_bob", role=Role.CUSTOMER, name="Bob")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[ThreadId]:
    """The threads that the database was asked for."""
    asked: list[ThreadId] = []
    thread = PostgresConversations.thread

    async def counted(self: PostgresConversations, thread_id: ThreadId) -> Thread:
        asked.append(thread_id)
        return await thread(self, thread_id)

    monkeypatch.setattr(PostgresConversations, "thread", counted)
    return asked


async def test_a_thread_is_read_once(desk: Desk, read: list[ThreadId]) -> None:
    customers = Customers(desk.first.conversations)

    found = [await customers.of(desk.thread_id, only=ADA) for _ in range(3)]

    assert found == [ADA] * 3
    assert read == [desk.thread_id]


async def test_nobody_else_has_it_known_or_not(desk: Desk, read: list[ThreadId]) -> None:
    customers = Customers(desk.first.conversations)

    for _ in range(2):
        with pytest.raises(NotFound):
            await customers.of(desk.thread_id, only=BOB)

    assert len(read) == 1


async def test_only_the_last_are_remembered(desk: Desk, read: list[ThreadId]) -> None:
    other = (await desk.runner.open_thread(ADA)).id
    customers = Customers(desk.first.conversations, most=1)

    for thread_id in (desk.thread_id, other, desk.thread_id):
        await customers.of(thread_id)

    assert read == [desk.thread_id, other, desk.thread_id]
