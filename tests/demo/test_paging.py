"""Pages of orders: cursors, limits, filters, and a list that grows while it is read."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.demo.support import ADA, START, OpenShop, running_shop
from tests.demo.test_orders import problem

from smart_support.demo import shop as desk
from smart_support.demo.problems import Problem
from smart_support.demo.records import Order
from smart_support.demo.seed import seed

SEEDED = seed(START)


@pytest.fixture(scope="module")
async def reading(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OpenShop]:
    """One shop for all tests here that only read."""
    async with running_shop(tmp_path_factory.mktemp("shop")) as opened:
        yield opened


def orders_of(customer_id: str = "cus_ada") -> list[Order]:
    return desk.newest_first(SEEDED, SEEDED.orders, customer_id)


class TestPage:
    @pytest.mark.parametrize(
        ("cursor", "limit", "shown", "next_cursor"),
        [
            (None, 3, ["1063", "1057", "1050"], "1050"),
            ("1050", 3, ["1041", "1023", "1014"], "1014"),
            ("1014", 3, ["1002", "1001"], None),
            (None, 8, ["1063", "1057", "1050", "1041", "1023", "1014", "1002", "1001"], None),
            (None, 7, ["1063", "1057", "1050", "1041", "1023", "1014", "1002"], "1002"),
            ("1002", 1, ["1001"], None),
            ("1014", 1, ["1002"], "1002"),
            ("1001", 5, [], None),
        ],
        ids=["first", "middle", "last", "all in one", "all but one", "rest", "one", "past the end"],
    )
    def test_goes_on_after_its_cursor(
        self, cursor: str | None, limit: int, shown: list[str], next_cursor: str | None
    ) -> None:
        page, following = desk.page(orders_of(), cursor, limit)

        assert [order.id for order in page] == shown
        assert following == next_cursor

    @pytest.mark.parametrize("cursor", ["", "1003", "9999", "cus_ada", "1050 "])
    def test_of_a_cursor_that_was_never_given_is_refused(self, cursor: str) -> None:
        with pytest.raises(Problem, match="invalid_cursor") as caught:
            desk.page(orders_of(), cursor, 3)

        assert caught.value.details.status == 422

    def test_of_nothing_is_empty_and_the_last(self) -> None:
        assert desk.page([], None, 5) == ([], None)

    @given(limit=st.integers(1, 12), start=st.sampled_from(sorted(SEEDED.customers)))
    def test_walks_over_everything_once_for_any_size(self, limit: int, start: str) -> None:
        whole = orders_of(start)

        seen: list[Order] = []
        cursor: str | None = None
        for _ in range(len(whole) + 1):
            page, cursor = desk.page(whole, cursor, limit)
            seen += page
            if cursor is None:
                break

        assert seen == whole


class TestOverHttp:
    async def test_twenty_is_the_limit_where_none_is_named(self, reading: OpenShop) -> None:
        products = (await reading.http.get("/products", params={"limit": 100})).json()["products"]
        unlimited = (await reading.http.get("/products")).json()["products"]

        assert len(products) == 18 == len(unlimited)
        assert len((await reading.get("/orders"))["orders"]) == 8
        for operation in ("/orders", "/products"):
            listed = reading.document["paths"][operation]["get"]["parameters"]
            (limit,) = (one["schema"] for one in listed if one["name"] == "limit")
            assert (limit["default"], limit["minimum"], limit["maximum"]) == (20, 1, 100)

    @pytest.mark.parametrize("limit", ["0", "101", "-1", "1.5", "", "all"])
    @pytest.mark.parametrize("path", ["/orders", "/products"])
    async def test_a_limit_is_between_one_and_a_hundred(
        self, reading: OpenShop, path: str, limit: str
    ) -> None:
        response = await reading.http.get(path, params=ADA | {"limit": limit})

        assert problem(response) == (422, "invalid_request")
        assert response.json()["errors"][0]["field"] == "query.limit"

    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            ("placed", ["1063"]),
            ("paid", ["1057"]),
            ("packed", ["1050"]),
            ("shipped", ["1041", "1001"]),
            ("delivered", ["1014", "1002"]),
            ("cancelled", ["1023"]),
        ],
    )
    async def test_every_status_has_its_orders(
        self, reading: OpenShop, status: str, expected: list[str]
    ) -> None:
        page = await reading.get("/orders", status=status)

        assert [order["id"] for order in page["orders"]] == expected
        assert {order["status"] for order in page["orders"]} == {status}

    async def test_a_filter_pages_too_and_its_cursor_stays_inside_of_it(
        self, reading: OpenShop
    ) -> None:
        first = await reading.get("/orders", status="shipped", limit=1)
        second = await reading.get(
            "/orders", status="shipped", limit=1, cursor=first["next_cursor"]
        )
        strayed = await reading.http.get(
            "/orders", params=ADA | {"status": "delivered", "cursor": first["next_cursor"]}
        )

        assert [order["id"] for order in first["orders"]] == ["1041"]
        assert [order["id"] for order in second["orders"]] == ["1001"]
        assert second["next_cursor"] is None
        assert problem(strayed) == (422, "invalid_cursor")

    async def test_a_cursor_is_worth_nothing_to_another_customer(self, reading: OpenShop) -> None:
        cursor = (await reading.get("/orders", limit=1))["next_cursor"]

        response = await reading.http.get(
            "/orders", params={"customer_id": "cus_bruno", "cursor": cursor}
        )

        assert problem(response) == (422, "invalid_cursor")
        assert cursor not in response.text

    @pytest.mark.parametrize("path", ["/orders", "/returns", "/refunds", "/tickets", "/account"])
    async def test_nobody_has_no_lists(self, reading: OpenShop, path: str) -> None:
        response = await reading.http.get(path, params={"customer_id": "cus_nobody"})

        assert problem(response) == (404, "customer_not_found")
        assert "'cus_nobody'" in response.json()["detail"]

    @pytest.mark.parametrize("path", ["/returns", "/refunds"])
    async def test_the_lists_of_one_order_hold_nothing_of_another(
        self, reading: OpenShop, path: str
    ) -> None:
        kind = path.removeprefix("/")
        all_of_them = (await reading.get(path))[kind]
        of_one = (await reading.get(path, order_id="1014"))[kind]
        of_none = (await reading.get(path, order_id="1063"))[kind]
        of_others = (await reading.get(path, order_id="1003"))[kind]

        assert of_one == [one for one in all_of_them if one["order_id"] == "1014"] != []
        assert (of_none, of_others) == ([], [])

    @pytest.mark.parametrize(
        "customer_id",
        ["ada", "CUS_ADA", "cus_", "cus_a b", "cus_" + "a" * 41, "", "cus_ada\n"],
    )
    async def test_a_customer_id_has_a_form(self, reading: OpenShop, customer_id: str) -> None:
        response = await reading.http.get("/orders", params={"customer_id": customer_id})

        assert problem(response) == (422, "invalid_request")

    @pytest.mark.parametrize("number", ["1", "abcd", "12345678901", "1001x", "%31"])
    async def test_an_order_number_has_a_form(self, reading: OpenShop, number: str) -> None:
        response = await reading.http.get(f"/orders/{number}", params=ADA)

        assert problem(response)[0] == 422
        assert response.json()["errors"][0]["field"] == "path.order_id"

    async def test_every_wrong_field_is_named_and_the_first_is_in_the_sentence(
        self, reading: OpenShop
    ) -> None:
        response = await reading.http.get("/orders", params={"cursor": "1", "limit": 0})

        fields = [error["field"] for error in response.json()["errors"]]
        assert sorted(fields) == ["query.customer_id", "query.limit"]
        assert f" {fields[0]}: " in response.json()["detail"]
        assert all(error["message"] for error in response.json()["errors"])


class TestSearch:
    @pytest.mark.parametrize(
        ("words", "category", "in_stock", "expected"),
        [
            ("TENT", None, False, {"TENT-2P", "TENT-4P", "TARP-3X3"}),
            ("  eider   down ", None, False, {"BAG-DOWN", "JKT-DOWN"}),
            ("eider jacket", None, False, {"JKT-DOWN"}),
            ("merino", None, False, {"SOCK-WOOL"}),
            ("pack-60", None, False, {"PACK-60"}),
            ("wool", "clothing", False, {"HAT-WOOL"}),
            ("wool", "Clothing", False, set()),
            (None, "packs", True, {"PACK-35"}),
            ("scree", None, True, {"PACK-35"}),
            ("tent boot", None, False, set()),
            (None, "cook", False, set()),
            ("", "light", False, {"LAMP-HEAD"}),
        ],
        ids=[
            "any case and category", "every word", "both words", "description", "sku",
            "and category",
            "category as written", "stock", "words and stock", "no word may miss",
            "whole category", "no words",
        ],
    )  # fmt: skip
    def test_finds(
        self, words: str | None, category: str | None, in_stock: bool, expected: set[str]
    ) -> None:
        found = desk.search(SEEDED.products.values(), words, category, in_stock)

        assert {product.sku for product in found} == expected

    def test_everything_without_a_wish_in_the_order_of_the_catalog(self) -> None:
        found = desk.search(SEEDED.products.values(), None, None, in_stock=False)

        assert [product.sku for product in found] == list(SEEDED.products)

    async def test_refuses_a_question_longer_than_any_name(self, reading: OpenShop) -> None:
        async def ask(**params: Any) -> Any:
            return await reading.http.get("/products", params=params)

        assert (await ask(q="x" * 200, category="y" * 40)).json() == {"products": []}
        assert problem(await ask(q="x" * 201)) == (422, "invalid_request")
        assert problem(await ask(category="y" * 41)) == (422, "invalid_request")
        assert problem(await ask(in_stock="perhaps")) == (422, "invalid_request")
