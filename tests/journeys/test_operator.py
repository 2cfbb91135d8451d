"""An operator brings in APIs, and the agent can press exactly those buttons that were approved."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, expect
from tests.journeys.browser import ROOT, Person, person
from tests.journeys.product import Product, running
from tests.support.model_endpoint import ModelEndpoint, calls, says

Json = dict[str, Any]

SPECS = ROOT.parent / "shared/specs"


def warehouse(address: str) -> Json:
    """A document of two operations that the demo company happens to serve."""
    found = {"responses": {"200": {"description": "What was found."}}}
    words = {"name": "query", "in": "query", "schema": {"type": "string"}}
    order = {"name": "order_id", "in": "path", "required": True, "schema": {"type": "string"}}
    customer = {"name": "customer_id", "in": "query", "required": True}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Warehouse", "version": "7"},
        "servers": [{"url": address}],
        "paths": {
            "/products": {
                "get": {"operationId": "lookIntoStock", "summary": "Look into the stock"}
                | found
                | {"parameters": [words]}
            },
            "/orders/{order_id}/cancel": {
                "post": {"operationId": "callBack", "summary": "Cancel an order"}
                | found
                | {"parameters": [order, customer | {"schema": {"type": "string"}}]}
            },
        },
    }


@pytest.fixture(scope="module")
async def model() -> AsyncIterator[ModelEndpoint]:
    async with ModelEndpoint() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
async def product(browser: Browser, model: ModelEndpoint) -> AsyncIterator[Product]:
    async with running(
        OPENAI_API_KEY="sk-of-the-operator", OPENAI_BASE_URL=model.base_url
    ) as product:
        yield product


@pytest.fixture
async def rest(product: Product) -> AsyncIterator[httpx.AsyncClient]:
    async with product.http("operator") as client:
        yield client


async def test_only_what_was_approved_can_be_called(
    browser: Browser, product: Product, model: ModelEndpoint, rest: httpx.AsyncClient
) -> None:
    document = json.dumps(warehouse(str(product.company.base_url)))
    uploaded = await rest.post("/api/specs", params={"name": "Warehouse"}, content=document)
    spec = uploaded.json()["spec"]
    found = await _operations(rest, spec["id"])
    look, cancel = found["GET /products"], found["POST /orders/{order_id}/cancel"]

    async with person(browser) as ada:
        await ada.sign_in(product.links["customer"])
        unapproved = await _ask_to_use(ada, model, look["tool_name"], 1)
        before = await _stock_calls(product)
        approved = await _decide(rest, look, "approved")
        called = await _ask_to_use(ada, model, look["tool_name"], 2)
        meanwhile = await _stock_calls(product)
        await expect(ada.card("Look into the stock")).to_have_attribute("data-state", "done")
        await _decide(rest, approved, "rejected")
        rejected = await _ask_to_use(ada, model, look["tool_name"], 3)
        after = await _stock_calls(product)
        facts = await product.replay(ada.thread)

    assert (uploaded.status_code, uploaded.json()["added"]) == (201, 2)
    assert (look["state"], look["suggestion"]["access"]) == ("pending", "read")
    assert cancel["suggestion"]["access"] == "write"
    assert cancel["suggestion"]["confirm"]
    assert cancel["suggestion"]["bindings"] == {"customer_id": "customer_id"}
    assert all(operation["suggestion"]["reasons"] for operation in found.values())
    assert (unapproved, called, rejected) == (False, True, False)
    assert (before, meanwhile, after) == (0, 1, 1)
    outcomes = [fact["outcome"] for fact in facts if fact["type"] == "tool_returned"]
    assert outcomes == ["failed", "done", "failed"]


async def test_corrects_a_suggestion_but_never_lowers_what_is_locked(
    product: Product, rest: httpx.AsyncClient
) -> None:
    spec = (
        await rest.post("/api/specs/from-url", json={"url": product.document, "name": "Twin"})
    ).json()
    found = await _operations(rest, spec["spec"]["id"])
    track, refund = (
        found["GET /orders/{order_id}/tracking"],
        found["POST /orders/{order_id}/refunds"],
    )

    corrected = await rest.post(
        f"/api/operations/{track['id']}/decision",
        json={
            "version": track["version"],
            "state": "approved",
            "confirm": True,
            "agent": "parcels",
        },
    )
    lowered = await rest.post(
        f"/api/operations/{refund['id']}/decision",
        json={"version": refund["version"], "state": "approved", "confirm": False},
    )
    outdated = await rest.post(
        f"/api/operations/{track['id']}/decision",
        json={"version": track["version"], "state": "rejected"},
    )

    assert spec["spec"]["source"] == product.document
    assert {operation["state"] for operation in found.values()} == {"pending"}
    assert corrected.json()["classification"]["confirm"]
    assert corrected.json()["classification"]["agent"] == "parcels"
    assert not corrected.json()["suggestion"]["confirm"]
    assert refund["suggestion"]["confirm_locked"]
    assert lowered.status_code in {409, 422}
    assert outdated.status_code == 409
    assert outdated.headers["content-type"] == "application/problem+json"


async def test_imports_from_the_command_line_while_the_server_runs(
    product: Product, rest: httpx.AsyncClient, tmp_path: Path
) -> None:
    file = tmp_path / "warehouse.json"
    file.write_text(json.dumps(warehouse(str(product.company.base_url))))

    status, said = await product.run("import-spec", str(file), "--name", "By hand")
    decided, described = await product.run("decide", "By hand", "GET /products", "approve")

    specs = {spec["name"]: spec for spec in (await rest.get("/api/specs")).json()["specs"]}
    found = await _operations(rest, specs["By hand"]["id"])
    assert (status, decided) == (0, 0), said
    assert "2 added, 0 changed, 0 removed, 0 unchanged" in said
    assert "because: " in described
    assert found["GET /products"]["state"] == "approved"
    assert found["POST /orders/{order_id}/cancel"]["state"] == "pending"


async def test_hears_why_a_document_is_refused(
    product: Product, rest: httpx.AsyncClient, tmp_path: Path
) -> None:
    before = (await rest.get("/api/specs")).json()
    file = tmp_path / "document"
    file.write_text("<html></html>")

    status, said = await product.run("import-spec", str(file))
    answers = {
        content: await rest.post("/api/specs", content=content)
        for content in ("", "{", "<html></html>", '{"a": 1}')
    }

    assert status == 1
    assert "OpenAPI" in said
    assert "Traceback" not in said
    for content, answer in answers.items():
        assert answer.status_code == 422, content
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]
    assert "empty" in answers[""].text
    assert "OpenAPI" in answers["<html></html>"].text
    assert (await rest.get("/api/specs")).json() == before


@pytest.mark.skipif(not SPECS.exists(), reason="the shared documents are not on this machine")
@pytest.mark.parametrize(
    ("name", "dialect"),
    [
        ("paypal__openapi_catalogs_products_v1.json", "3.0"),
        ("intercom__descriptions_2.16_api.intercom.io.yaml", "3.0"),
        ("go-swagger__testdata_canary_ms-cog-sci_swagger.json", "2.0"),
    ],
)
async def test_imports_real_documents(rest: httpx.AsyncClient, name: str, dialect: str) -> None:
    content = (SPECS / name).read_bytes()

    answer = await rest.post("/api/specs", params={"name": name[:50]}, content=content)

    assert answer.status_code == 201, answer.text
    spec = answer.json()["spec"]
    found = await _operations(rest, spec["id"])
    assert spec["dialect"].startswith(dialect)
    assert len(found) == answer.json()["added"] > 0
    assert all(operation["suggestion"]["reasons"] for operation in found.values())
    assert {operation["state"] for operation in found.values()} == {"pending"}


async def _operations(rest: httpx.AsyncClient, spec_id: str) -> dict[str, Json]:
    answer = await rest.get(f"/api/specs/{spec_id}/operations", params={"limit": 500})
    return {operation["key"]: operation for operation in answer.json()["operations"]}


async def _decide(rest: httpx.AsyncClient, operation: Json, state: str) -> Json:
    answer = await rest.post(
        f"/api/operations/{operation['id']}/decision",
        json={"version": operation["version"], "state": state, "reason": "For the journey"},
    )
    assert answer.status_code == 200, answer.text
    decided: Json = answer.json()
    return decided


async def _ask_to_use(ada: Person, model: ModelEndpoint, tool: str, turn: int) -> bool:
    """Have the model use a tool, whether it was offered or not; say whether it was."""
    arguments = {"query": "tent"}
    model.queue(calls((tool, arguments), ids=[f"call_{turn}"]), says("That is all I know."))
    await ada.say(f"Question {turn}: what do you have in stock?")
    await ada.answered(turn)
    return any(offered["function"]["name"] == tool for offered in model.requests[-2].body["tools"])


async def _stock_calls(product: Product) -> int:
    return len(await product.calls("searchProducts"))


async def test_what_was_done_can_be_read_back_and_leads_to_the_document(
    browser: Browser, product: Product, rest: httpx.AsyncClient
) -> None:
    document = warehouse(str(product.company.base_url))
    document["paths"]["/products"]["get"]["security"] = [{"key": []}]
    key = {"type": "apiKey", "in": "header", "name": "X-Api-Key"}
    document["components"] = {"securitySchemes": {"key": key}}
    uploaded = await rest.post(
        "/api/specs", params={"name": "Audited"}, content=json.dumps(document)
    )
    spec_id = uploaded.json()["spec"]["id"]
    await _decide(rest, (await _operations(rest, spec_id))["GET /products"], "approved")

    async with person(browser) as lu:
        await lu.sign_in(product.links["operator"])
        await lu.page.goto(f"{lu.page.url.partition('/review')[0]}/review/{spec_id}")
        await lu.page.get_by_role("button", name="Credentials").click()
        await lu.page.get_by_role("button", name="Set key").click()
        await lu.page.get_by_label(re.compile("^API key")).fill("canary-0123456789")
        await lu.page.get_by_role("button", name="Save", exact=True).click()
        await lu.page.get_by_role("button", name="Test key").click()
        await lu.page.get_by_role("button", name="Send it").click()
        await expect(lu.page.get_by_text("by GET /products")).to_be_visible()

        await lu.page.keyboard.press("Escape")
        await lu.page.get_by_role("link", name="Audit log").click()
        # Not "What…" of the page that is being left.
        await lu.page.get_by_label("What", exact=True).select_option("credential_tested")
        row = lu.page.get_by_role("row").filter(has_text="Tested a credential")
        await expect(row).to_have_count(1)
        await expect(row).to_contain_text("name key")
        await row.get_by_role("link", name="Audited").click()
        await expect(lu.page).to_have_url(re.compile(f"/review/{spec_id}"))
        assert "canary" not in await lu.page.content()
