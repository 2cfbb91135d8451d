"""The support lead reads the dashboard, and every number opens exactly what it counts."""

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.async_api import Browser, ViewportSize, expect
from tests.journeys.browser import AXE, PHONE, WIDE, Person, person
from tests.journeys.product import Product, running


@pytest.fixture(scope="module")
async def product(browser: Browser) -> AsyncIterator[Product]:
    """A day of support: an answer, a call that was tried three times, a refund that is declined."""
    async with running() as product:
        await product.fault("trackOrder", "status", status=503, times=2)
        async with person(browser) as ada:
            await ada.sign_in(product.links["customer"])
            await ada.say("Where is my order 1041?")
            await ada.answered(1)
        async with person(browser) as ada:
            await ada.sign_in(product.links["customer"])
            await ada.say("I want a refund for order 1014")
            await ada.approval("Refund an order").get_by_role("button", name="Don’t").click()
            await ada.answered(1)
        yield product


@pytest.mark.parametrize("size", [pytest.param(WIDE, id="wide"), pytest.param(PHONE, id="phone")])
async def test_every_number_opens_what_it_counts(
    browser: Browser, product: Product, pictures: Path, size: ViewportSize
) -> None:
    width = size["width"]
    async with person(browser, size) as lead:
        await lead.sign_in(product.links["lead"])
        await _open(lead, "Dashboard")
        await lead.page.get_by_text("24 hours").click()
        await lead.page.wait_for_url("**/dashboard?range=24h")
        conversations = lead.page.get_by_role("region", name="Conversations", exact=True)
        await expect(conversations).to_contain_text("2")
        await expect(lead.page.locator("svg.recharts-surface").nth(3)).to_be_visible()
        await lead.picture(pictures / f"dashboard-{width}-1-cards.png")
        await lead.page.get_by_role("heading", name="Over time").scroll_into_view_if_needed()
        main = lead.page.get_by_role("main")
        await main.evaluate("element => element.scrollBy(0, 500)")
        await lead.picture(pictures / f"dashboard-{width}-2-charts.png")
        await lead.page.get_by_text("The numbers of the charts").click()
        await main.evaluate("element => element.scrollTo(0, element.scrollHeight)")
        await lead.picture(pictures / f"dashboard-{width}-3-tables.png")
        sideways = await lead.scrolls_sideways()
        faults = await lead.axe() if AXE.exists() else []
        links = await _links(lead)

        retries = lead.page.get_by_role("region", name="Retries", exact=True)
        await expect(retries.get_by_role("link").first).to_have_text("2")
        await retries.get_by_role("link").first.click()
        await expect(lead.page.get_by_text("2 retries in 1 conversation")).to_be_visible()
        await expect(lead.page.get_by_role("link", name="Where is my order 1041?")).to_be_visible()
        await lead.picture(pictures / f"dashboard-{width}-4-list.png")
        faults += await lead.axe() if AXE.exists() else []
        await lead.page.get_by_role("button", name="Remove this filter").click()
        await expect(lead.page.get_by_role("link", name="I want a refund")).to_be_visible()

    assert len(links) > 60
    assert await _wrong(product, links) == []
    assert not sideways
    assert faults == []


@pytest.mark.parametrize("size", [pytest.param(WIDE, id="wide"), pytest.param(PHONE, id="phone")])
async def test_sees_how_the_installation_is(
    browser: Browser, product: Product, pictures: Path, size: ViewportSize
) -> None:
    async with person(browser, size) as operator:
        await operator.sign_in(product.links["operator"])
        await _open(operator, "Settings")
        await expect(operator.page.get_by_text("Database: Embedded PostgreSQL")).to_be_visible()
        works = operator.page.get_by_role("listitem").filter(has_text="Works")
        await expect(works).to_have_count(3)
        await operator.picture(pictures / f"settings-{size['width']}.png")
        sideways = await operator.scrolls_sideways()
        faults = await operator.axe() if AXE.exists() else []
        said = await operator.page.get_by_role("main").inner_text()

    assert str(product.company.base_url).rstrip("/") in said
    assert not sideways
    assert faults == []


async def test_says_that_a_range_ends_before_it_begins(browser: Browser, product: Product) -> None:
    async with person(browser) as lead:
        await lead.sign_in(product.links["lead"])
        await lead.page.goto(f"{product.address}/dashboard?from=2026-11-05&to=2026-11-02")

        await expect(lead.page.get_by_role("alert")).to_contain_text("ends before it begins")


async def _open(somebody: Person, name: str) -> None:
    pages = somebody.page.get_by_role("navigation", name="Pages")
    await pages.get_by_role("link", name=name).click()
    await expect(somebody.page.get_by_role("heading", name=name, level=1)).to_be_visible()


async def _links(lead: Person) -> list[tuple[str, int]]:
    """Where each number leads, and the total that it promises."""
    found: list[list[str]] = await lead.page.eval_on_selector_all(
        "main a[data-counts]", "links => links.map(link => [link.href, link.dataset.counts])"
    )
    return [(href, int(counts)) for href, counts in found]


async def _wrong(product: Product, links: list[tuple[str, int]]) -> list[str]:
    """The links whose list has another total."""
    wrong = []
    async with product.http("lead") as rest:
        for href, counts in dict.fromkeys(links):
            params = parse_qsl(urlsplit(href).query, keep_blank_values=True)
            answer = await rest.get("/api/dashboard/conversations", params=params)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            parts = sum(thread["part"] for thread in page["threads"])
            if not page["total"] == parts == counts:
                wrong.append(f"{href}: {counts} but {page['total']} and {parts}")
    return wrong
