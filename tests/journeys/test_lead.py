"""A support lead finds a conversation and reads back what happened, attempt by attempt."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, ViewportSize, expect
from tests.journeys.browser import AXE, PHONE, WIDE, person
from tests.journeys.product import Product, running


@pytest.fixture(scope="module")
async def product(browser: Browser) -> AsyncIterator[Product]:
    async with running() as product:
        yield product


async def test_replays_every_attempt_with_its_status_and_time(
    browser: Browser, product: Product, pictures: Path
) -> None:
    question = "Where is my order 1041?"
    await product.fault("trackOrder", "status", status=503, times=2)
    async with person(browser) as ada:
        await ada.sign_in(product.links["customer"])
        await ada.say(question)
        answer = await ada.answered(1)
        await expect(ada.card("Track an order")).to_contain_text("3 attempts")
        thread = ada.thread
        await ada.picture(pictures / "lead-0-customer.png")

    for size in (WIDE, PHONE):
        await _read_back(browser, product, pictures, size, question, thread, answer)

    tries = [fact for fact in await product.replay(thread) if fact["type"] == "attempt_made"]
    assert [(one["number"], one["status"], one["outcome"]) for one in tries] == [
        (1, 503, "rejected"),
        (2, 503, "rejected"),
        (3, 200, "done"),
    ]
    assert all(one["duration_ms"] > 0 for one in tries)
    assert tries[0]["waited_ms"] == 0
    assert min(tries[1]["waited_ms"], tries[2]["waited_ms"]) >= 0
    assert [call["status"] for call in await product.calls("trackOrder")] == [503, 503, 200]


async def _read_back(
    browser: Browser,
    product: Product,
    pictures: Path,
    size: ViewportSize,
    question: str,
    thread: str,
    answer: str,
) -> None:
    faults: list[str] = []
    async with person(browser, size) as lead:
        await lead.sign_in(product.links["lead"])
        await expect(lead.page.get_by_role("link", name=question)).to_be_visible()
        await lead.picture(pictures / f"lead-{size['width']}-1-list.png")
        sideways = await lead.scrolls_sideways()
        faults += await lead.axe() if AXE.exists() else []

        await lead.open_replay(question)
        assert lead.thread == thread
        attempts = lead.steps.filter(has_text="Attempt ")
        await expect(attempts).to_have_count(3)
        told = [" ".join(text.split()) for text in await attempts.all_inner_texts()]
        await expect(lead.steps.first).to_contain_text(question)
        await lead.picture(pictures / f"lead-{size['width']}-2-replay.png")
        sideways = sideways or await lead.scrolls_sideways()
        faults += await lead.axe() if AXE.exists() else []

        await lead.steps.filter(has_text="Attempt 1 of 3").click()
        step = lead.page.get_by_role("region", name="The selected step")
        await expect(step.get_by_role("definition").filter(has_text="503").first).to_be_visible()
        await lead.picture(pictures / f"lead-{size['width']}-3-attempt.png")

        await lead.page.get_by_text("What the customer saw").click()
        await expect(lead.answers).to_have_count(1)
        seen = await lead.answered(1)
        await lead.picture(pictures / f"lead-{size['width']}-4-seen.png")

    for number, (text, status) in enumerate(zip(told, (503, 503, 200), strict=True), start=1):
        assert f"Attempt {number} of 3" in text
        assert f"· {status}" in text
        assert "took " in text
    assert seen == answer
    assert not sideways
    assert faults == []


async def test_nobody_hides_that_an_outcome_is_unknown(
    browser: Browser, product: Product, pictures: Path
) -> None:
    # It takes a key, so that a lost answer is asked for again: each of them is lost.
    await product.fault("createRefund", "drop_after", times=20)
    async with person(browser) as ada:
        await ada.sign_in(product.links["customer"])
        await ada.say("I want a refund for order 1002")
        await ada.approval("Refund an order").get_by_role("button", name="Approve").click()
        told = await ada.answered(1)
        await expect(ada.card("Refund an order")).to_contain_text("Outcome unknown")
        thread = ada.thread
        await ada.picture(pictures / "lead-5-unknown-customer.png")

    async with person(browser) as lead:
        await lead.sign_in(product.links["lead"])
        await lead.open_replay("I want a refund for order 1002")
        await expect(lead.page.get_by_text("Failed at step")).to_be_visible()
        await expect(lead.steps.filter(has_text="Outcome unknown")).to_have_count(1)
        attempts = lead.steps.filter(has_text="/refunds").filter(has_text="Attempt")
        await expect(attempts).not_to_have_count(0)
        await lead.picture(pictures / "lead-6-unknown-replay.png")

    assert "I do not know whether it took effect" in told
    facts = await product.replay(thread)
    returned = [fact for fact in facts if fact["type"] == "tool_returned"][-1]
    sent = [fact for fact in facts if fact["type"] == "attempt_made" and "POST" in fact["request"]]
    assert (returned["outcome"], returned["code"]) == ("unknown", "TOOL_OUTCOME_UNKNOWN")
    assert {(one["status"], one["outcome"]) for one in sent} == {(None, "unknown")}
    assert [call["effect"] for call in await product.calls("createRefund")].count(True) == 1
    assert len(await product.refunds("1002")) == 1


async def test_sees_that_a_refund_was_asked_for_and_by_whom_it_was_approved(
    browser: Browser, product: Product
) -> None:
    async with person(browser) as ada:
        await ada.sign_in(product.links["customer"])
        await ada.say("I want a refund for order 1050")
        await ada.approval("Refund an order").get_by_role("button", name="Approve").click()
        await ada.answered(1)

    async with person(browser) as lead:
        await lead.sign_in(product.links["lead"])
        await lead.open_replay("I want a refund for order 1050")

        await expect(lead.steps.filter(has_text="Approved after")).to_contain_text("by cus_ada")
        await expect(lead.steps.filter(has_text="Turn done")).to_have_count(1)
        listed = [text.splitlines()[1] for text in await lead.steps.all_inner_texts()]
    assert listed[0] == "Customer wrote"


@pytest.mark.parametrize("role", ["customer", "operator"])
async def test_is_the_only_one_who_may_replay(
    browser: Browser, product: Product, role: str
) -> None:
    async with person(browser, tolerated=("403 (Forbidden)",)) as somebody:
        await somebody.sign_in(product.links[role])
        await somebody.page.goto(f"{product.address}/replay")
        await expect(somebody.page.get_by_text("This page is for another role")).to_be_visible()
    async with product.http(role) as rest:
        answer = await rest.get("/api/threads/01890000-0000-7000-8000-000000000000/replay")
    assert answer.status_code == 403
