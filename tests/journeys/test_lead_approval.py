"""A refund over a threshold: the customer changes it, a lead agrees, then it is made."""

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


async def _demand_a_lead(product: Product, over: float) -> None:
    threshold = {"argument": "/body/amount", "comparison": "gt", "value": over, "who": "lead"}
    async with product.http("operator") as operator:
        (spec,) = (await operator.get("/api/specs")).json()["specs"]
        page = await operator.get(f"/api/specs/{spec['id']}/operations?limit=200")
        (refund,) = [
            each for each in page.json()["operations"] if each["tool_name"] == "createRefund"
        ]
        answer = await operator.post(
            f"/api/operations/{refund['id']}/decision",
            json={
                "version": refund["version"],
                "state": "approved",
                "approval_rules": {"thresholds": [threshold]},
            },
        )
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("size", "order"),
    [pytest.param(WIDE, "1002", id="wide"), pytest.param(PHONE, "1041", id="phone")],
)
async def test_is_changed_by_the_customer_and_agreed_to_by_a_lead(
    browser: Browser, product: Product, pictures: Path, size: ViewportSize, order: str
) -> None:
    await _demand_a_lead(product, 10)
    width = size["width"]
    async with person(browser, size) as ada, person(browser, size) as lead:
        await ada.sign_in(product.links["customer"])
        await ada.say(f"I want a refund for order {order}")
        question = ada.approval("Refund an order")
        await question.first.get_by_role("button", name="Change").click()
        amount = question.first.get_by_role("textbox", name="amount")
        await amount.fill("12.5")
        await ada.picture(pictures / f"approval-{width}-1-change.png")
        faults = await ada.axe() if AXE.exists() else []
        await question.first.get_by_role("button", name="Ask me again with this").click()
        await expect(question.first).to_contain_text("you are asked again")
        again = (
            ada.approval("Refund an order")
            .filter(has_text="12.5")
            .filter(has=ada.page.get_by_role("button", name="Approve"))
        )
        await again.get_by_role("button", name="Approve").click()
        await expect(
            ada.page.get_by_text("Somebody of the team has to agree too").last
        ).to_be_visible()
        await ada.picture(pictures / f"approval-{width}-2-waits-for-lead.png")
        unasked = await product.refunds(order)

        await lead.sign_in(product.links["lead"])
        await lead.page.goto(f"{product.address}/replay")
        waiting = lead.page.get_by_role("region", name="Waiting for your yes")
        await expect(waiting).to_contain_text("/body/amount > 10")
        await expect(waiting.get_by_role("row", name="amount 12.5")).to_be_visible()
        await lead.picture(pictures / f"approval-{width}-3-lead.png")
        faults += await lead.axe() if AXE.exists() else []
        sideways = await lead.scrolls_sideways() or await ada.scrolls_sideways()
        await waiting.get_by_role("button", name="Approve").first.click()
        await expect(waiting).to_have_count(0)
        await ada.answered(1)

    refunds = await product.refunds(order)
    assert unasked == []
    assert [refund["amount"]["minor_units"] for refund in refunds] == [1250]
    assert faults == []
    assert not sideways
