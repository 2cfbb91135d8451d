from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.demo.support import ADA, START, OpenShop
from tests.demo.test_orders import problem

from smart_support.demo import shop as desk
from smart_support.demo.problems import Problem
from smart_support.demo.records import money
from smart_support.demo.requests import NewRefund
from smart_support.demo.seed import seed

SEEDED = seed(START)


async def test_gives_money_back_and_remembers_it(shop: OpenShop) -> None:
    response = await shop.refund(20.5, reason="A seam opened", currency="EUR")

    refund = response.json()
    assert response.status_code == 201
    assert refund["amount"]["minor_units"] == 2050
    assert refund["reason"] == "A seam opened"
    assert refund["status"] == "completed"
    order = await shop.get("/orders/1002")
    assert order["refunded"]["display"] == "20.50 EUR"
    assert order["refundable"]["minor_units"] == order["paid"]["minor_units"] - 2050
    assert await shop.get(f"/refunds/{refund['id']}") == refund
    assert (await shop.get("/refunds"))["refunds"][0] == refund
    assert (await shop.get("/refunds", order_id="1002"))["refunds"] == [refund]


async def test_gives_back_all_but_not_a_cent_more(shop: OpenShop) -> None:
    assert problem(await shop.refund(226.01)) == (409, "refund_exceeds_remaining")
    assert (await shop.refund(226)).status_code == 201
    nothing_left = await shop.refund(0.01)

    assert problem(nothing_left) == (409, "refund_exceeds_remaining")
    assert "0.00 EUR" in nothing_left.json()["detail"]


@pytest.mark.parametrize(
    "amount", [0, -1, 0.001, 1e-300, 1_000_000.01, "20", True, None, [], {}, 10**400]
)
async def test_refuses_an_amount_that_is_none(shop: OpenShop, amount: Any) -> None:
    assert problem(await shop.refund(amount)) == (422, "invalid_request")


@pytest.mark.parametrize("text", ["", "{", '{"amount": NaN}', '{"amount": 1e999}', "[1]", "\x00"])
async def test_refuses_a_body_that_is_no_refund(shop: OpenShop, text: str) -> None:
    response = await shop.http.post(
        "/orders/1002/refunds",
        params=ADA,
        content=text,
        headers={"Content-Type": "application/json"},
    )

    assert problem(response) == (422, "invalid_request")


async def test_a_body_in_another_encoding_is_a_problem_not_a_crash(shop: OpenShop) -> None:
    response = await shop.http.post(
        "/orders/1002/refunds",
        params=ADA,
        content=b'{"amount": 1, "reason": "\xff"}',
        headers={"Content-Type": "application/json"},
    )

    assert problem(response)[0] in (400, 422)


async def test_refuses_another_currency(shop: OpenShop) -> None:
    assert problem(await shop.refund(5, currency="USD")) == (422, "currency_mismatch")


async def test_refuses_to_refund_what_was_not_paid(shop: OpenShop) -> None:
    assert problem(await shop.refund(5, order="1063")) == (409, "order_not_paid")


@settings(deadline=None)
@given(amounts=st.lists(st.decimals(Decimal("0.01"), 300, places=2), max_size=12))
def test_never_refunds_more_than_was_paid(amounts: list[Decimal]) -> None:
    order = SEEDED.orders["1002"].model_copy(deep=True)
    fresh = {"orders": {order.id: order}, "refunds": {}, "next_number": {"rfd": 1}}
    state = SEEDED.model_copy(update=fresh)

    given_back = Decimal(0)
    for amount in amounts:
        wanted = NewRefund(amount=amount)
        fits = given_back + amount <= Decimal("226.00")
        if fits:
            desk.refund(state, "1002", "cus_ada", wanted, START)
            given_back += amount
        else:
            with pytest.raises(Problem, match="refund_exceeds_remaining"):
                desk.refund(state, "1002", "cus_ada", wanted, START)
        assert order.refunded.minor_units == given_back * 100
        assert order.refunded.minor_units + order.refundable.minor_units == order.paid.minor_units
    made = [one for one in state.refunds.values() if one.order_id == "1002"]
    assert sum(one.amount.minor_units for one in made) == order.refunded.minor_units


@given(amount=st.floats())
def test_every_float_is_an_exact_number_of_cents_or_refused(amount: float) -> None:
    try:
        wanted = NewRefund.model_validate({"amount": amount})
    except ValidationError:
        return
    minor_units = wanted.amount * 100
    assert minor_units == int(minor_units) > 0
    assert Decimal(str(amount)) == wanted.amount


@given(minor_units=st.integers(0, 10**12))
def test_money_reads_as_what_it_is(minor_units: int) -> None:
    shown = money(minor_units, "GBP")

    number, currency = shown.display.split()
    assert currency == shown.currency
    assert Decimal(number) * 100 == minor_units == round(shown.amount * 100)


async def test_announces_a_return(shop: OpenShop) -> None:
    body = {
        "order_id": "1002",
        "lines": [{"sku": "SOCK-WOOL", "quantity": 2}],
        "reason": "Too warm",
    }

    response = await shop.post("/returns", body)

    announced = response.json()
    assert response.status_code == 201
    assert announced["status"] == "requested"
    assert announced["lines"] == body["lines"]
    assert (await shop.get("/returns"))["returns"][0] == announced
    assert (await shop.get("/returns", order_id="1014"))["returns"] != [announced]
    assert (await shop.get("/orders/1002"))["refunded"]["minor_units"] == 0


@pytest.mark.parametrize(
    ("order", "lines", "code"),
    [
        ("1001", [("TENT-2P", 1)], "order_not_delivered"),
        ("1002", [("SOCK-WOOL", 4)], "not_returnable"),
        ("1002", [("SOCK-WOOL", 2), ("SOCK-WOOL", 2)], "not_returnable"),
        ("1002", [("TENT-2P", 1)], "not_returnable"),
        ("1014", [("BAG-LITE", 2)], "not_returnable"),  # one of the two came back already
    ],
)
async def test_refuses_a_return_that_cannot_be(
    shop: OpenShop, order: str, lines: list[tuple[str, int]], code: str
) -> None:
    body = {
        "order_id": order,
        "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in lines],
        "reason": "Changed my mind",
    }

    assert problem(await shop.post("/returns", body)) == (409, code)


async def test_takes_nothing_back_after_thirty_days(shop: OpenShop) -> None:
    body = {
        "order_id": "1002",
        "lines": [{"sku": "SOCK-WOOL", "quantity": 1}],
        "reason": "Too warm",
    }
    delivered_at = shop.company.store.state.orders["1002"].delivered_at

    shop.clock.now = delivered_at + timedelta(days=30)
    assert (await shop.post("/returns", body)).status_code == 201
    shop.clock.pass_by(timedelta(seconds=1))
    assert problem(await shop.post("/returns", body)) == (409, "return_window_closed")


async def test_withdraws_a_return_whose_goods_have_not_arrived(shop: OpenShop) -> None:
    lines = [{"sku": "SOCK-WOOL", "quantity": 3}]
    body = {"order_id": "1002", "lines": lines, "reason": "Too warm"}
    path = f"/returns/{(await shop.post('/returns', body)).json()['id']}"

    assert problem(await shop.http.delete(path, params={"customer_id": "cus_bruno"}))[0] == 404
    assert (await shop.http.delete(path, params=ADA)).status_code == 204
    assert problem(await shop.http.delete(path, params=ADA)) == (404, "return_not_found")
    assert (await shop.post("/returns", body)).status_code == 201  # the goods are free again


async def test_does_not_withdraw_what_has_arrived(shop: OpenShop) -> None:
    (arrived,) = (await shop.get("/returns", order_id="1014"))["returns"]

    response = await shop.http.delete(f"/returns/{arrived['id']}", params=ADA)

    assert problem(response) == (409, "return_received")
    assert (await shop.get("/returns", order_id="1014"))["returns"] == [arrived]
