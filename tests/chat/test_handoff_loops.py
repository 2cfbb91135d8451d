"""A conversation that agents give to people again and again for one reason stays with people."""

import asyncio

import pytest
from tests.support.model_endpoint import calls, says
from tests.support.turns import ADA, LEAD, ORDER_1, REFUND, Desk
from tests.support.upstream import answers, waits

from smart_support.agent.prompts import HANDOFF
from smart_support.chat.desk import Desk as SupportDesk
from smart_support.conversations.postgres import PostgresHandoffs
from smart_support.conversations.records import HandoffLoop
from smart_support.events.records import GivenBack, HandoffAsked, ToolReturned


@pytest.fixture
def support(desk: Desk) -> SupportDesk:
    return SupportDesk(PostgresHandoffs(desk.sessions), desk.runner.publish)


async def handed_off(desk: Desk, reason: str = "missing_knowledge") -> None:
    desk.model.queue(calls((HANDOFF, {"reason": reason})), says("A person comes."))
    await desk.say("What is the meaning of it all?")


async def test_the_third_time_for_the_same_reason_it_stays(
    desk: Desk, support: SupportDesk
) -> None:
    for _ in range(2):
        await handed_off(desk)
        await support.give_back(LEAD, desk.thread_id, "Try again")
    await handed_off(desk)

    with pytest.raises(HandoffLoop) as refused:
        await support.give_back(LEAD, desk.thread_id, "And again")

    assert "missing knowledge" in refused.value.user_message
    facts = await desk.facts()
    assert len(desk.of(facts, GivenBack)) == 2
    assert "it stays with people" in desk.of(facts, HandoffAsked)[-1].note
    before = len(desk.model.requests)
    await desk.say("Hello?")
    assert len(desk.model.requests) == before


async def test_other_reasons_are_counted_by_themselves(desk: Desk, support: SupportDesk) -> None:
    for reason in ("missing_knowledge", "tool_failure", "missing_knowledge", "tool_failure"):
        await handed_off(desk, reason)
        await support.give_back(LEAD, desk.thread_id, "Try again")

    assert len(desk.of(await desk.facts(), GivenBack)) == 4


async def test_once_settled_it_begins_anew(desk: Desk, support: SupportDesk) -> None:
    for _ in range(2):
        await handed_off(desk)
        await support.give_back(LEAD, desk.thread_id, "Try again")
    await handed_off(desk)
    await support.resolve(LEAD, desk.thread_id)

    await handed_off(desk)
    await support.give_back(LEAD, desk.thread_id, "Try again")

    assert len(desk.of(await desk.facts(), GivenBack)) == 3


async def test_a_customer_may_ask_as_often_as_they_like(desk: Desk, support: SupportDesk) -> None:
    for _ in range(5):
        await support.ask(desk.thread_id, note="", by=ADA.role.value)
        await support.give_back(LEAD, desk.thread_id, "Done")

    assert len(desk.of(await desk.facts(), GivenBack)) == 5


async def test_who_is_taken_over_in_the_middle_of_a_turn_says_no_more(
    desk: Desk, support: SupportDesk
) -> None:
    """What was begun is done and recorded: a call that is on its way must not become unclear."""
    until = asyncio.Event()
    desk.api.queue(waits(until, answers({"status": "sent"})))
    desk.model.queue(calls(ORDER_1))
    await desk.send("Where is it?")
    await desk.api.received(1)

    await support.take_over(LEAD, desk.thread_id)
    until.set()
    await desk.settled()

    facts = await desk.facts()
    assert len(desk.model.requests) == 1
    assert [fact.outcome for fact in desk.of(facts, ToolReturned)] == ["done"]
    assert desk.said(facts) == []
    assert desk.closings(facts) == [("done", None)]


async def test_a_yes_after_the_take_over_is_kept_without_a_word(
    desk: Desk, support: SupportDesk
) -> None:
    desk.model.queue(calls(REFUND))
    await desk.say("Refund order 1002")
    await support.take_over(LEAD, desk.thread_id)

    await desk.decide()
    await desk.settled()

    assert len(desk.api.requests) == 1
    assert desk.said(await desk.facts()) == []
