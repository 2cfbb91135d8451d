"""A customer asks for a person; a support lead takes over, answers, and gives back."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, ViewportSize, expect
from tests.journeys.browser import AXE, PHONE, WIDE, Person, person
from tests.journeys.product import Product, running


@pytest.fixture(scope="module")
async def product(browser: Browser) -> AsyncIterator[Product]:
    async with running() as product:
        yield product


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
async def test_is_asked_for_taken_answered_and_given_back(
    browser: Browser, product: Product, pictures: Path, size: ViewportSize
) -> None:
    question = f"Where is my order 1001? I ask on {size['width']} pixels"
    wrong: list[str] = []

    async def look(somebody: Person, name: str) -> None:
        await somebody.picture(pictures / f"handoff-{size['width']}-{name}.png")
        wrong.extend(await somebody.axe() if AXE.exists() else [])
        wrong.extend(["too wide"] if await somebody.scrolls_sideways() else [])

    async with person(browser, size) as ada, person(browser, size) as lead:
        await ada.sign_in(product.links["customer"])
        await ada.say(question)
        await ada.answered(1)
        await ada.page.get_by_role("button", name="Talk to a person").click()
        await ada.page.get_by_role("textbox", name="What should they know?").fill("It is a gift")
        await look(ada, "1-ask")
        await ada.page.get_by_role("button", name="Ask for a person").click()
        log = ada.page.get_by_role("log", name="Conversation")
        await expect(log.get_by_text("is asked to take over")).to_be_visible()
        await ada.say("Are you there?")
        await expect(ada.own_messages).to_have_count(2)
        thread = ada.thread

        await lead.sign_in(product.links["lead"])
        await lead.page.get_by_role("button", name="Waiting for a person (1)").click()
        await lead.page.wait_for_url("**/replay?status=handed_off")
        await look(lead, "2-list")
        await lead.page.get_by_role("link", name=question).click()
        desk = lead.page.get_by_role("region", name="Desk")
        await expect(desk.get_by_role("status")).to_contain_text("waits for a person")
        await look(lead, "3-waits")
        await desk.get_by_role("button", name="Take over").click()
        await expect(desk.get_by_role("status")).to_contain_text("You have this conversation")
        answer = desk.get_by_role("textbox", name="Your answer to")
        await answer.fill("Hello, it arrives tomorrow.")
        await answer.press("Enter")

        heard = (await ada.answered(2)).splitlines()
        assert (heard[0], heard[-1]) == ("Support lead", "Hello, it arrives tomorrow.")
        await ada.say("Thank you!")
        await look(ada, "4-answered")
        await expect(lead.own_messages.filter(has_text="Thank you!")).to_be_visible()
        await look(lead, "5-answers")
        await desk.get_by_role("button", name="Give back").click()
        await desk.get_by_role("textbox", name="Remark").fill("All is said")
        await look(lead, "6-remark")
        await desk.get_by_role("button", name="Give back to the agents").click()
        await expect(desk.get_by_role("status")).to_contain_text("The agents answer here")
        await expect(log.get_by_text("has left")).to_be_visible()
        await ada.say("Where is my order 1001?")
        assert "1001" in await ada.answered(3)
        await look(ada, "7-back")

    assert wrong == []
    told = [fact["type"] for fact in await product.replay(thread)]
    people = [
        "handoff_asked",
        "message_received",
        "person_took_over",
        "person_answered",
        "message_received",
        "given_back",
    ]
    place = told.index("handoff_asked")
    assert told[place : place + len(people)] == people
