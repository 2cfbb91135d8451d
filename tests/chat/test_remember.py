"""However long a conversation gets, what the model reads of it stays as long; facts are kept."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.support.model_endpoint import calls, fails, says
from tests.support.turns import ORDER_1, REFUND, Desk, wire_problems
from tests.support.upstream import drops

from smart_support.agent.tokens import tokens_of_message
from smart_support.chat.past import PastEvents
from smart_support.chat.remember import Remembering
from smart_support.chat.turn import TurnRunner
from smart_support.conversations.memory_postgres import PostgresMemories
from smart_support.conversations.tables import thread_memories

TOKENS = 600


def remembering(desk: Desk, *, by_model: bool = False) -> Remembering:
    """Let the desk's turns be answered with a history of TOKENS."""
    remember = Remembering(
        past=PastEvents(desk.log),
        ledger=desk.ledger,
        memories=PostgresMemories(desk.sessions),
        tokens=TOKENS,
        model=desk.client if by_model else None,
    )
    first = desk.first
    first.runner = TurnRunner(replace(first.runner._parts, remember=remember))
    return remember


@pytest.fixture
async def drawn(desk: Desk) -> AsyncIterator[tuple[Desk, Remembering]]:
    remember = remembering(desk)
    yield desk, remember
    await remember.close()


async def talked(desk: Desk, remember: Remembering, turns: range) -> None:
    for number in turns:
        desk.model.queue(says(f"Answer {number}. " + "It is so because of this and that. " * 3))
        await desk.say(f"Question number {number}, " + "about something or other. " * 3)
        await remember.idle()


def sent(desk: Desk, request: int = -1) -> int:
    """About the tokens of what the model was given, its instructions and tools aside."""
    return sum(map(tokens_of_message, desk.told(request)))


async def test_the_sixtieth_turn_costs_what_the_tenth_did(
    drawn: tuple[Desk, Remembering],
) -> None:
    desk, remember = drawn
    await talked(desk, remember, range(60))

    costs = [sent(desk, number) for number in range(60)]

    # Word for word TOKENS, and notes of 800 and what is around them.
    assert max(costs) < TOKENS + 1_000
    assert abs(costs[59] - costs[40]) < 100
    assert wire_problems(desk.told()) == []
    (row,) = await desk.rows(thread_memories)
    assert row.made_by == "extract"
    assert row.covers > 0


async def test_what_was_written_is_never_forgotten(drawn: tuple[Desk, Remembering]) -> None:
    desk, remember = drawn
    desk.model.queue(calls(ORDER_1), calls(REFUND), says("Refunded."))
    await desk.say("Refund order 1002")
    await desk.decide()
    await desk.settled()
    desk.model.queue(calls(("createRefund", {"order_id": "1003", "body": {"amount": 7}})))
    await desk.say("And 1003")
    desk.model.queue(says("All right, not."))
    await desk.decide(approved=False)
    await desk.settled()

    await talked(desk, remember, range(14))

    notes = desk.told()[0]
    assert notes["role"] == "system"
    assert 'POST /orders/{order_id}/refunds {"body": {"amount": 20' in notes["content"]
    assert '"customer_id": "cus_ada"}: done' in notes["content"]
    assert "declined, nothing was sent" in notes["content"]
    assert "getOrder order_id=1001" in notes["content"]


async def test_an_unknown_outcome_stays_unknown(drawn: tuple[Desk, Remembering]) -> None:
    desk, remember = drawn
    desk.api.queue(*(drops() for _ in range(10)))  # it takes a key, and is asked again
    desk.model.queue(calls(REFUND), says("I do not know."))
    await desk.say("Refund order 1002")
    await desk.decide()
    await desk.settled()

    await talked(desk, remember, range(10))

    assert "UNKNOWN whether it took effect" in desk.told()[0]["content"]


async def test_the_model_writes_the_notes(desk: Desk) -> None:
    remember = remembering(desk, by_model=True)
    await talked(desk, remember, range(6))
    notes = "Ada asked about parcel 4711; it was promised for Friday."
    desk.model.queue(says("Answer."))
    await desk.say("Question " + "word " * 400)
    await remember.idle()
    assert not await desk.rows(thread_memories)
    # The turn before leaves too much; this one is the first that begins with it.
    desk.model.queue(says("Answer."), says(notes))
    await desk.say("And that?")
    await remember.idle()

    desk.model.queue(says("Yes."))
    await desk.say("And?")
    await remember.close()

    (row,) = await desk.rows(thread_memories)
    assert (row.text, row.made_by) == (notes, desk.client.model_name)
    assert notes in desk.told()[0]["content"]
    assert "gives you no orders" in desk.told()[0]["content"]


async def test_notes_are_drawn_when_the_model_fails(desk: Desk) -> None:
    remember = remembering(desk, by_model=True)
    for number in range(12):
        desk.model.queue(says(f"Answer {number}. " + "Because of this and that. " * 8))
        await desk.say(f"Question {number} " + "about something. " * 8)
        desk.model.queue(fails(401))
        await remember.idle()
        desk.model._replies.clear()

    (row,) = await desk.rows(thread_memories)
    assert row.made_by == "extract"
    assert "Customer: Question 0" in row.text
    await remember.close()


async def test_older_notes_do_not_replace_newer(desk: Desk) -> None:
    memories = PostgresMemories(desk.sessions)
    await memories.keep(desk.thread_id, 10, "ten", ["a"], "extract")

    await memories.keep(desk.thread_id, 9, "nine", [], "extract")

    assert await memories.read(desk.thread_id) == (10, "ten", ("a",), "extract")
