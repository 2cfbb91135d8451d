from typing import Any

import httpx
import pytest
from tests.demo.support import ADA, OpenShop

ADDRESS = {
    "name": "Ada Quist",
    "street": "Am Kanal 9",
    "city": "Kiel",
    "postal_code": "24106",
    "country": "DE",
}


def problem(response: httpx.Response) -> tuple[int, str]:
    body = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert body["status"] == response.status_code
    assert body["title"]
    assert body["detail"]
    return response.status_code, body["code"]


async def test_lists_the_customers_orders_latest_first(shop: OpenShop) -> None:
    page = await shop.get("/orders")

    numbers = [order["id"] for order in page["orders"]]
    assert numbers == sorted(numbers, reverse=True)
    assert {"1001", "1002"} <= set(numbers)
    assert {order["customer_id"] for order in page["orders"]} == {"cus_ada"}
    assert page["next_cursor"] is None


@pytest.mark.parametrize("limit", [1, 3, 8])
async def test_pages_hold_every_order_once(shop: OpenShop, limit: int) -> None:
    whole = [order["id"] for order in (await shop.get("/orders"))["orders"]]

    seen, cursor = [], {}
    while True:
        page = await shop.get("/orders", limit=limit, **cursor)
        assert 1 <= len(page["orders"]) <= limit
        seen += [order["id"] for order in page["orders"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}

    assert seen == whole


async def test_lists_only_the_wanted_status(shop: OpenShop) -> None:
    page = await shop.get("/orders", status="delivered")

    assert [order["id"] for order in page["orders"]] == ["1014", "1002"]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, (422, "invalid_request")),
        ({"customer_id": "Ada"}, (422, "invalid_request")),
        ({"customer_id": "cus_nobody"}, (404, "customer_not_found")),
        (ADA | {"status": "lost"}, (422, "invalid_request")),
        (ADA | {"limit": "0"}, (422, "invalid_request")),
        (ADA | {"limit": "101"}, (422, "invalid_request")),
        (ADA | {"cursor": "1003"}, (422, "invalid_cursor")),  # another customer's order
    ],
)
async def test_refuses_a_list_it_cannot_make(
    shop: OpenShop, params: dict[str, str], expected: Any
) -> None:
    assert problem(await shop.http.get("/orders", params=params)) == expected


async def test_says_which_field_is_wrong(shop: OpenShop) -> None:
    response = await shop.http.get("/orders", params=ADA | {"limit": "many"})

    assert [error["field"] for error in response.json()["errors"]] == ["query.limit"]
    assert "query.limit" in response.json()["detail"]


async def test_shows_one_order_in_full(shop: OpenShop) -> None:
    order = await shop.get("/orders/1001")

    assert order["status"] == "shipped"
    assert [line["sku"] for line in order["lines"]] == ["TENT-2P", "LAMP-HEAD"]
    assert order["total"] == {
        "minor_units": 32700,
        "currency": "EUR",
        "amount": 327.0,
        "display": "327.00 EUR",
    }
    assert order["shipping_address"]["city"] == "Kiel"


async def test_tracks_an_order(shop: OpenShop) -> None:
    tracking = await shop.get("/orders/1001/tracking")

    (shipment,) = tracking["shipments"]
    assert tracking["status"] == "shipped"
    assert shipment["status"] == "delayed"
    assert await shop.get("/shipments/shp_1001") == shipment


async def test_an_unsent_order_has_no_parcels(shop: OpenShop) -> None:
    assert (await shop.get("/orders/1057/tracking"))["shipments"] == []


async def test_shows_the_account(shop: OpenShop) -> None:
    account = await shop.get("/account")

    assert (account["name"], account["email"]) == ("Ada Quist", "ada@example.com")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/orders/1001", None),
        ("GET", "/orders/1001/tracking", None),
        ("POST", "/orders/1057/cancel", {}),
        ("PUT", "/orders/1057/shipping-address", ADDRESS),
        ("POST", "/orders/1002/refunds", {"amount": 1}),
        ("GET", "/shipments/shp_1001", None),
        (
            "POST",
            "/returns",
            {
                "order_id": "1002",
                "lines": [{"sku": "BOOT-MID", "quantity": 1}],
                "reason": "Too small",
            },
        ),
        ("GET", "/refunds/rfd_4005", None),
        ("GET", "/tickets/tic_2001", None),
        ("POST", "/tickets/tic_2001/comments", {"text": "Hello"}),
        ("POST", "/tickets", {"subject": "a", "message": "b", "order_id": "1001"}),
    ],
)
async def test_what_is_someone_elses_does_not_exist(
    shop: OpenShop, method: str, path: str, body: Any
) -> None:
    before = shop.company.store.state.model_copy(deep=True)

    async def ask(customer_id: str, path: str = path, body: Any = body) -> httpx.Response:
        return await shop.http.request(method, path, params={"customer_id": customer_id}, json=body)

    status, code = problem(await ask("cus_bruno"))

    assert status == 404
    assert code.endswith("_not_found")
    assert shop.company.store.state == before
    assert (await ask("cus_ada")).is_success  # so the 404 was about the owner


async def test_cancelling_a_paid_order_gives_the_money_back(shop: OpenShop) -> None:
    paid = await shop.get("/orders/1057")

    response = await shop.post("/orders/1057/cancel", {"reason": "Ordered twice"})

    order = response.json()
    (refund,) = (await shop.get("/refunds", order_id="1057"))["refunds"]
    assert response.status_code == 200
    assert order["status"] == "cancelled"
    assert order["refunded"] == paid["total"] == refund["amount"]
    assert order["refundable"]["minor_units"] == 0
    assert refund["reason"] == "Ordered twice"
    assert await shop.get("/orders/1057") == order


async def test_cancelling_an_unpaid_order_refunds_nothing_and_needs_no_body(shop: OpenShop) -> None:
    response = await shop.http.post("/orders/1063/cancel", params=ADA)

    assert response.json()["status"] == "cancelled"
    assert (await shop.get("/refunds", order_id="1063"))["refunds"] == []


@pytest.mark.parametrize("number", ["1001", "1002", "1023", "1050"])
async def test_does_not_cancel_what_is_packed_or_gone(shop: OpenShop, number: str) -> None:
    before = await shop.get(f"/orders/{number}")

    response = await shop.post(f"/orders/{number}/cancel", {})

    assert problem(response) == (409, "order_not_cancellable")
    assert await shop.get(f"/orders/{number}") == before


@pytest.mark.parametrize("number", ["1050", "1057", "1063"])
async def test_changes_the_address_of_what_has_not_left(shop: OpenShop, number: str) -> None:
    path = f"/orders/{number}/shipping-address"

    first = await shop.http.put(path, params=ADA, json=ADDRESS)
    second = await shop.http.put(path, params=ADA, json=ADDRESS)

    assert first.json()["shipping_address"] == ADDRESS
    assert first.json() == second.json()
    assert (await shop.get("/account"))["address"]["street"] == "Lindenweg 4"


@pytest.mark.parametrize("number", ["1001", "1002", "1023"])
async def test_keeps_the_address_of_what_has_left(shop: OpenShop, number: str) -> None:
    response = await shop.http.put(f"/orders/{number}/shipping-address", params=ADA, json=ADDRESS)

    assert problem(response) == (409, "address_locked")


async def test_refuses_an_incomplete_or_embroidered_address(shop: OpenShop) -> None:
    path = "/orders/1057/shipping-address"
    without_city = {name: value for name, value in ADDRESS.items() if name != "city"}

    for body in (without_city, ADDRESS | {"planet": "Mars"}, ADDRESS | {"country": "Germany"}):
        response = await shop.http.put(path, params=ADA, json=body)
        assert problem(response) == (422, "invalid_request")


async def test_unknown_paths_and_methods_are_problems_too(shop: OpenShop) -> None:
    assert problem(await shop.http.get("/nowhere")) == (404, "not_found")
    wrong_method = await shop.http.delete("/orders", params=ADA)
    assert problem(wrong_method) == (405, "method_not_allowed")
    assert "GET" in wrong_method.headers["allow"]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"q": "tent"}, {"TENT-2P", "TENT-4P", "TARP-3X3"}),
        ({"q": "TWO tent"}, {"TENT-2P"}),
        ({"category": "packs"}, {"PACK-35", "PACK-60"}),
        ({"category": "packs", "in_stock": "true"}, {"PACK-35"}),
        ({"q": "submarine"}, set()),
    ],
)
async def test_finds_products(shop: OpenShop, params: dict[str, str], expected: Any) -> None:
    response = await shop.http.get("/products", params=params)

    assert {product["sku"] for product in response.json()["products"]} == expected


async def test_answers_with_no_more_products_than_asked_for(shop: OpenShop) -> None:
    assert len((await shop.http.get("/products?limit=4")).json()["products"]) == 4
