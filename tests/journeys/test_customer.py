"""A customer asks, watches, is asked, and what they approved exists in the company afterwards."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, ViewportSize, expect
from tests.journeys.browser import AXE, PHONE, WIDE, Person, person
from tests.journeys.product import Product, running


@pytest.fixture(scope="module")
async def product(browser: Browser) -> AsyncIterator[Product]:
    async with running() as product:
        yield product


# Two orders of Ada that can still be refunded in full, and what each was paid.
@pytest.mark.parametrize(
    ("size", "order", "amount"),
    [pytest.param(WIDE, "1002", "226", id="wide"), pytest.param(PHONE, "1041", None, id="phone")],
)
async def test_asks_is_asked_and_gets_a_refund(
    browser: Browser,
    product: Product,
    pictures: Path,
    size: ViewportSize,
    order: str,
    amount: str | None,
) -> None:
    paid = await product.company.get(f"/orders/{order}", params={"customer_id": "cus_ada"})
    refundable = paid.json()["refundable"]["minor_units"]
    async with person(browser, size) as ada:
        await ada.sign_in(product.links["customer"])
        token_is_gone = product.token("customer") not in await ada.page.evaluate("location.href")
        await expect(ada.page.get_by_role("button", name="Offline model")).to_be_visible()
        await expect(ada.page.get_by_role("heading", name="Hello Ada")).to_be_visible()
        await ada.picture(pictures / f"customer-{size['width']}-1-welcome.png")
        growth = await _watch_last_answer(ada.page)

        await ada.say("Where is my order 1001?")
        where = await ada.answered(1)
        lengths = await growth()
        await expect(ada.card("Track an order")).to_have_attribute("data-state", "done")
        await ada.picture(pictures / f"customer-{size['width']}-2-answer.png")

        await ada.say(f"I want a refund for order {order}")
        question = ada.approval("Refund an order")
        await expect(question.get_by_role("button", name="Approve")).to_be_enabled()
        asked = await question.inner_text()
        refunded_unasked = await product.refunds(order)
        await ada.picture(pictures / f"customer-{size['width']}-3-question.png")
        sideways = await ada.scrolls_sideways()
        faults = await ada.axe() if AXE.exists() else []

        await question.get_by_role("button", name="Approve").click()
        done = await ada.answered(2)
        await expect(question).to_contain_text("Approved")
        await expect(ada.card("Refund an order")).to_have_attribute("data-state", "done")
        await ada.picture(pictures / f"customer-{size['width']}-4-refunded.png")
        await expect(ada.page.get_by_text("What will be sent")).to_have_count(1)
        leaves = await ada.leaves_the_window()

    refunds = await product.refunds(order)
    calls = [c for c in await product.calls("createRefund") if f"/{order}/" in c["path"]]
    assert token_is_gone
    assert "Blue Kestrel Freight" in where
    assert len(lengths) >= 5, "the answer came at once, not as tokens"
    assert refunded_unasked == []
    shown = dict(line.split("\t") for line in asked.splitlines() if "\t" in line)
    assert "POST" in asked
    assert f"{product.company.base_url}/orders/{order}/refunds" in asked
    assert shown["order_id"] == order
    assert shown["customer_id"] == "cus_ada"
    assert round(float(shown["amount"]) * 100) == refundable
    assert amount in (None, shown["amount"])
    assert [refund["amount"]["minor_units"] for refund in refunds] == [refundable]
    assert refunds[0]["id"] in done
    assert [(call["effect"], call["status"]) for call in calls] == [(True, 201)]
    assert calls[0]["key"]
    assert not sideways
    assert not leaves
    assert faults == []


async def test_says_no_and_nothing_is_sent(
    browser: Browser, product: Product, pictures: Path
) -> None:
    before = await product.calls("createRefund")
    async with person(browser) as ada:
        await ada.sign_in(product.links["customer"])
        await ada.say("I want a refund for order 1014")
        question = ada.approval("Refund an order")
        refunds = await product.refunds("1014")

        await question.get_by_role("button", name="Don’t").click()
        await ada.answered(1)

        await expect(question).to_contain_text("Not approved – nothing was sent")
        await expect(ada.card("Refund an order")).to_have_attribute("data-state", "declined")
        await ada.picture(pictures / "customer-1280-5-declined.png")
    assert await product.calls("createRefund") == before
    assert await product.refunds("1014") == refunds


async def test_finds_the_conversation_again(browser: Browser, product: Product) -> None:
    async with person(browser) as ada:
        await ada.sign_in(product.links["customer"])
        await ada.say("When does my parcel of order 1041 arrive?")
        said = await ada.answered(1)
        before = await _words(ada)

        await ada.page.reload()

        await ada.answered(1)
        assert await _words(ada) == before
        assert urlsplit(ada.page.url).fragment == ""
        listed = ada.page.get_by_role("navigation", name="Your conversations").first
        await expect(listed.get_by_role("link", name="When does my parcel")).to_be_visible()
    assert said


async def test_shows_the_same_state_in_the_list_as_above_the_conversation(
    browser: Browser, product: Product
) -> None:
    async with person(browser) as ada:
        await ada.sign_in(product.links["customer"])
        await ada.say("Show me my orders")
        await ada.answered(1)

        await expect(ada.page.get_by_role("main").get_by_text("Your turn")).to_be_visible()
        listed = ada.page.get_by_role("link", name="Show me my orders")
        await expect(listed).to_contain_text("Your turn")


async def _words(ada: Person) -> list[str]:
    return await ada.page.locator("article").all_inner_texts()


async def _watch_last_answer(page: Page) -> Callable[[], Awaitable[list[int]]]:
    """From now on note how long the agent's latest message is, whenever that changes."""
    await page.evaluate(
        """() => {
            window.lengths = [];
            new MutationObserver(() => {
                const all = document.querySelectorAll("article[data-role=assistant]");
                const length = all[all.length - 1]?.textContent.length ?? 0;
                if (length !== window.lengths.at(-1)) window.lengths.push(length);
            }).observe(document.body, { subtree: true, childList: true, characterData: true });
        }"""
    )

    async def lengths() -> list[int]:
        found: list[int] = await page.evaluate("window.lengths")
        return found

    return lengths
