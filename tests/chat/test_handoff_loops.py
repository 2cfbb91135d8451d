"""A conversation that agents give to people again and again for one reason stays with people."""

import pytest
from tests.support.model_endpoint import calls, says
from tests.support.turns import ADA, LEAD, Desk

from smart_support.agent.prompts import HANDOFF
from smart_support.chat.desk import Desk as SupportDesk
from smart_support.conversations.postgres import PostgresHandoffs
from smart_support.conversations.records import HandoffLoop
from smart_support.events.records import GivenBack, HandoffAsked


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
