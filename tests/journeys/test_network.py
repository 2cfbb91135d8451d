"""The line breaks, the server dies, and nothing that was said is lost or said twice."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from playwright.async_api import Browser, expect
from tests.journeys.browser import BROKEN_CONNECTION, PHONE, person
from tests.journeys.network import line_to
from tests.journeys.product import Ended, Product, running
from tests.support.chat_client import ENDS, connected
from tests.support.model_endpoint import ModelEndpoint, calls, says, stalled

KEY = "sk-journey-of-the-network"


@pytest.fixture(scope="module")
async def model() -> AsyncIterator[ModelEndpoint]:
    async with ModelEndpoint() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
async def product(browser: Browser, model: ModelEndpoint) -> AsyncIterator[Product]:
    async with running(OPENAI_API_KEY=KEY, OPENAI_BASE_URL=model.base_url) as product:
        yield product


async def test_an_answer_that_the_line_cut_is_whole_and_there_once(
    browser: Browser, product: Product, model: ModelEndpoint, pictures: Path
) -> None:
    go_on = asyncio.Event()
    answer = "The parcel is on its way, and it should be with you on Thursday before noon."
    model.queue(stalled(says(answer), go_on, after=6), says("You are welcome."))
    async with (
        line_to(product.address) as line,
        person(browser, PHONE, tolerated=BROKEN_CONNECTION) as ada,
    ):
        await ada.sign_in(line.through(product.links["customer"]))
        await ada.say("Is it on its way?")
        await expect(ada.answers).to_contain_text("The parcel is on")

        line.cut()
        await expect(ada.page.get_by_text("The connection is lost")).to_be_visible()
        await ada.say("Thank you!")
        await expect(ada.page.get_by_text("Waiting for the connection")).to_be_visible()
        await ada.picture(pictures / "network-1-cut.png")
        go_on.set()
        await _turn_over(product, ada.thread)
        cut_short = await ada.answers.inner_text()
        line.mend()
        await ada.page.get_by_role("button", name="Try now").click()

        assert await ada.answered(2) == "You are welcome."
        assert await ada.answered(1) == answer
        await expect(ada.own_messages).to_have_count(2)
        await expect(ada.answers).to_have_count(2)
        await expect(ada.page.get_by_text("The connection is lost")).to_be_hidden()
        await ada.picture(pictures / "network-2-whole.png")
        facts = await product.replay(ada.thread)
    assert answer not in cut_short
    said = [fact["text"] for fact in facts if fact["type"] == "message_received"]
    assert said == ["Is it on its way?", "Thank you!"]
    assert [fact["text"] for fact in facts if fact["type"] == "message_finished"] == [
        answer,
        "You are welcome.",
    ]


async def test_a_turn_that_a_kill_cut_goes_on_and_makes_no_call_again(
    browser: Browser, product: Product, model: ModelEndpoint, pictures: Path
) -> None:
    never = asyncio.Event()
    model.queue(
        calls(("trackOrder", {"order_id": "1001"}), ids=["call_before_the_kill"]),
        stalled(says("It left the depot this morning."), never, after=4),
    )
    async with person(browser, tolerated=(*BROKEN_CONNECTION, "503")) as ada:
        await ada.sign_in(product.links["customer"])
        await ada.say("Where is my order 1001?")
        await expect(ada.answers).to_contain_text("It left the")
        thread = ada.thread
        postmaster = psutil.Process(product.postmaster)

        await product.kill()

        await expect(ada.page.get_by_text("The connection is lost")).to_be_visible()
        assert postmaster.is_running()
        again = len(product.said)
        model.queue(says("It is on its way again."), says("It has arrived."))
        await product.start()

        await expect(ada.answers.last).to_contain_text("It is on its way again.")
        await expect(ada.page.get_by_text("It left the")).to_have_count(0)
        await expect(ada.card("Track an order")).to_have_attribute("data-state", "done")
        await ada.picture(pictures / "network-3-gone-on.png")
        await ada.say("And now?")
        await expect(ada.answers.last).to_contain_text("It has arrived.")
        await expect(ada.own_messages).to_have_count(2)

    assert product.postmaster == postmaster.pid
    assert not [line for line in product.said[again:] if "embedded_postgres_started" in line]
    facts = await product.replay(thread)
    closed = [fact for fact in facts if fact["type"] == "turn_closed"]
    assert [(one["status"], one["code"]) for one in closed] == [("done", None), ("done", None)]
    assert "turn_taken_over" in [fact["type"] for fact in facts]
    assert [fact["outcome"] for fact in facts if fact["type"] == "tool_returned"] == ["done"]


async def test_ctrl_c_ends_everything_and_the_next_start_has_it_all(
    browser: Browser, product: Product, model: ModelEndpoint
) -> None:
    model.queue(says("Noted."))
    async with person(browser, tolerated=BROKEN_CONNECTION) as ada:
        await ada.sign_in(product.links["customer"])
        await ada.say("Please remember this")
        await ada.answered(1)
        postmaster = product.postmaster

        ended = await product.stop()
        await product.start()

        await expect(ada.page.get_by_text("The connection is lost")).to_be_hidden()
        await ada.page.reload()
        assert await ada.answered(1) == "Noted."
    assert ended == Ended(0, [])
    assert product.postmaster != postmaster
    assert "Stopping" in product.said


async def _turn_over(product: Product, thread: str) -> None:
    """Wait until the first turn of a thread has ended, over a connection of its own."""
    async with connected(product.address) as chat:
        await chat.hello(product.token("customer"))
        past = await chat.follow(thread)
        if not any(frame.get("event", {}).get("type") in ENDS for frame in past):
            await chat.turn()
