"""Take the pictures of the README: `python -m tests.journeys.pictures`, on a built page."""

import asyncio

from playwright.async_api import async_playwright, expect
from tests.journeys.browser import ROOT, chromium, person
from tests.journeys.product import Product, running

IMAGES = ROOT / "docs/images"


async def take() -> None:
    """Start the product, play a customer and a support lead, and keep what they see."""
    async with running() as product, async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=chromium())
        async with person(opened) as ada:
            await ada.sign_in(product.links["customer"])
            await product.fault("trackOrder", "status", status=503, times=2)
            await ada.say("Where is my order 1001?")
            await ada.answered(1)
            thread = ada.thread
        async with person(opened) as ada:
            await ada.sign_in(product.links["customer"])
            await ada.say("I want a refund for order 1002")
            question = ada.approval("Refund an order")
            await expect(question.get_by_role("button", name="Approve")).to_be_enabled()
            await _settled(product, ada.thread)
            await ada.page.reload()
            await expect(question.get_by_role("button", name="Approve")).to_be_enabled()
            await expect(ada.page.get_by_role("button", name="Offline model")).to_be_visible()
            await ada.picture(IMAGES / "chat.png")
        async with person(opened) as lead:
            await lead.sign_in(product.links["lead"])
            await lead.page.goto(f"{product.address}/replay/{thread}?step=5")
            await expect(lead.steps.filter(has_text="Attempt 3 of 3")).to_be_visible()
            await expect(lead.page.get_by_role("button", name="Offline model")).to_be_visible()
            await lead.page.mouse.move(0, 0)
            await lead.picture(IMAGES / "replay.png")
        await opened.close()


async def _settled(product: Product, thread: str) -> None:
    async with product.http("customer") as rest:
        (await rest.get(f"/api/threads/{thread}")).raise_for_status()


if __name__ == "__main__":
    asyncio.run(take())
