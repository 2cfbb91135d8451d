"""With a key the same works against any endpoint that speaks OpenAI's protocol."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect
from tests.journeys.browser import person
from tests.journeys.product import Product, running
from tests.support.model_endpoint import ModelEndpoint, calls, fails, says

KEY = "sk-journey-4c5f09d1e8b7"


@pytest.fixture(scope="module")
async def model() -> AsyncIterator[ModelEndpoint]:
    async with ModelEndpoint() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
async def product(browser: Browser, model: ModelEndpoint) -> AsyncIterator[Product]:
    async with running(
        OPENAI_API_KEY=KEY,
        OPENAI_BASE_URL=model.base_url,
        OPENAI_MODEL="journey-model",
        SMART_SUPPORT_LOG_LEVEL="DEBUG",
    ) as product:
        yield product


async def test_answers_and_refunds_with_the_model_of_a_key_that_nobody_sees(
    browser: Browser, product: Product, model: ModelEndpoint, pictures: Path
) -> None:
    refund = {"order_id": "1002", "body": {"amount": 20.5, "reason": "A pole arrived bent"}}
    model.queue(
        calls(("trackOrder", {"order_id": "1001"}), ids=["call_a"]),
        says("Blue Kestrel has it; it comes on Thursday."),
        calls(("createRefund", refund), ids=["call_b"]),
        says("You get 20.50 EUR back."),
    )
    async with person(browser) as ada:
        await ada.sign_in(product.links["customer"])
        await ada.say("Where is my order 1001?")
        first = await ada.answered(1)
        await ada.say("A pole is bent. Can I have something back?")
        question = ada.approval("Refund an order")
        await expect(question.get_by_role("cell", name="20.5")).to_be_visible()
        await expect(question.get_by_role("cell", name="A pole arrived bent")).to_be_visible()
        await question.get_by_role("button", name="Approve").click()
        second = await ada.answered(2)
        await expect(ada.page.get_by_role("button", name="Offline model")).to_have_count(0)
        await ada.picture(pictures / "model-1.png")
        kept = await ada.page.evaluate("JSON.stringify({...sessionStorage, ...localStorage})")
        page = await ada.page.content()
        thread = ada.thread

    answers = []
    for role, paths in {
        "customer": ["/api/me", "/api/threads", "/api/approvals", "/api/health"],
        "lead": [f"/api/threads/{thread}/replay", "/api/specs"],
        "operator": ["/api/specs", "/api/openapi.json", "/metrics"],
    }.items():
        async with product.http(role) as rest:
            answers += [(await rest.get(path)).text for path in paths]
    assert first == "Blue Kestrel has it; it comes on Thursday."
    assert second == "You get 20.50 EUR back."
    assert [one["amount"]["minor_units"] for one in await product.refunds("1002")] == [2050]
    assert {request.headers["authorization"] for request in model.requests} == {f"Bearer {KEY}"}
    assert {request.body["model"] for request in model.requests} == {"journey-model"}
    assert "Model: journey-model" in product.said
    told = "\n".join([*product.said, *answers, page, kept])
    assert "journey-model" in told
    assert KEY not in told


async def test_says_so_when_the_model_cannot_answer(
    browser: Browser, product: Product, model: ModelEndpoint, pictures: Path
) -> None:
    model.queue(fails(401, f"Incorrect API key provided: {KEY}"))
    async with person(browser) as ada:
        await ada.sign_in(product.links["customer"])
        await ada.say("Where is my order 1001?")
        told = ada.page.locator("[data-tone=error]")
        await expect(told).to_be_visible()
        shown = await told.inner_text()
        await ada.picture(pictures / "model-2-refused.png")
        model.queue(says("Here I am again."))
        await ada.say("Are you there?")
        await ada.answered(1)
        facts = await product.replay(ada.thread)
    assert KEY not in shown
    assert "401" not in shown
    assert KEY not in str(facts)
    assert KEY not in "\n".join(product.said)
    assert [fact["status"] for fact in facts if fact["type"] == "turn_closed"] == ["failed", "done"]
