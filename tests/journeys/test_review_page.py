"""An operator brings in an API of six hundred operations in the page, and decides about it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect
from tests.journeys.browser import PHONE, WIDE, person
from tests.journeys.product import Product, running


@pytest.fixture(scope="module")
async def product(browser: Browser) -> AsyncIterator[Product]:
    async with running() as product:
        yield product


def large() -> bytes:
    """Four hundred reads and two hundred writes."""
    found = {"responses": {"200": {"description": "What was found."}}}
    paths = {
        f"/things/{n}": {
            ("get" if n % 3 else "post"): {"summary": f"Thing {n}", "operationId": f"thing{n}"}
            | found
        }
        for n in range(600)
    }
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Large", "version": "1"},
        "servers": [{"url": "https://api.large.test"}],
        "paths": paths,
    }
    return json.dumps(document, indent=2).encode()


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
async def test_imports_approves_takes_back_and_reads_the_evidence(
    product: Product, browser: Browser, pictures: Path, size: dict[str, int]
) -> None:
    name = f"Large {size['width']}"
    async with person(browser, size) as operator:
        page = operator.page
        await operator.sign_in(product.links["operator"])
        await page.get_by_role("textbox", name="Name").fill(name)
        await page.locator("input[type=file]").set_input_files(
            {"name": "large.json", "mimeType": "application/json", "buffer": large()}
        )
        await page.get_by_role("link", name="Review 600 operations").click()
        await expect(page.get_by_role("grid")).to_be_visible()
        await expect(page.get_by_text("600 of 600 left")).to_be_visible()
        await operator.picture(pictures / f"review-{size['width']}.png")
        assert not await operator.scrolls_sideways()
        assert await operator.axe() == []

        await page.get_by_role("button", name="Approve 400 clear reads").click()
        await expect(page.get_by_text("200 of 600 left")).to_be_visible()
        await page.keyboard.press("u")
        await expect(page.get_by_text("600 of 600 left")).to_be_visible()

        await page.get_by_role("searchbox", name="Search operations").fill("things/101")
        await page.get_by_role("row", name="GET /things/101 Thing 101").click()
        lines = page.get_by_role("region", name="Lines of the document")
        await expect(lines).to_contain_text('"summary": "Thing 101"')
        await operator.picture(pictures / f"operation-{size['width']}.png")
        assert not await operator.scrolls_sideways()
        assert await operator.axe() == []
        await page.get_by_role("button", name="Approve", exact=True).click()
        await expect(page.get_by_text("Approved GET /things/101.")).to_be_visible()

    async with product.http("operator") as rest:
        specs = (await rest.get("/api/specs")).json()["specs"]
        (spec,) = [each for each in specs if each["name"] == name]
        approved = await rest.get(
            f"/api/specs/{spec['id']}/operations", params={"state": "approved"}
        )
    assert [each["key"] for each in approved.json()["operations"]] == ["GET /things/101"]
