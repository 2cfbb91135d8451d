from typing import Any

import pytest

from smart_support.agent.offline.answer import answer, choices, money
from smart_support.agent.offline.tool import Tool, read_tool


def tool(name: str) -> Tool:
    made = read_tool({"function": {"name": name}})
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"display": "1.00 EUR", "currency": "EUR"}, "1.00 EUR"),
        ({"minor_units": 2550, "currency": "EUR"}, "25.50 EUR"),
        ({"amount": 25.5, "currency": "USD"}, "25.50 USD"),
        ({"value": "25.5", "currency": "USD"}, "25.50 USD"),
        ({"amount": "some", "currency": "USD"}, "some USD"),
        ({"amount": 3}, None),
        ({"currency": "USD"}, None),
        (3, None),
    ],
)
def test_money_is_shown_with_its_currency(value: Any, shown: str | None) -> None:
    assert money(value) == shown


@pytest.mark.parametrize(
    ("name", "result", "told"),
    [
        ("listOrders", [], "I found no orders."),
        ("listOrders", {"orders": []}, "I found no orders."),
        ("listCities", ["Kiel", "Rome"], "I found: Kiel, Rome."),
        ("listCategories", [{"name": "tents"}], "I found 1 category:\n\n- **tents**"),
        ("getOrder", {}, "I found nothing about that."),
        ("getOrder", "plain", "The answer is: plain"),
        ("getOrder", {"status": "in_transit"}, "Your order is in transit."),
        (
            "getOrder",
            {"id": 7, "status": "paid", "total": 12, "currency": "EUR", "refunded": 0},
            "Order 7 is paid. The total is 12.00 EUR.",
        ),
        (
            "getWeather",
            {"wind_speed": 3, "sunny": True, "at": "2026-11-24T10:00:00Z"},
            "Here is what I found:\n\n- wind speed: 3\n- sunny: yes\n- at: 24 November 2026",
        ),
        (
            "getOrder",
            {"id": 7, "status": "sent", "placed_at": "2026-99-99"},
            "Order 7 is sent. It was placed on 2026-99-99.",
        ),
        ("cancelOrder", {}, "Done: the order has been cancelled."),
        (
            "createTicket",
            {"id": "t1", "status": "open"},
            "Done: the ticket t1 has been created. Its status is now: open.",
        ),
        (
            "getTicket",
            {"id": "t1", "status": "open", "comments": [{"author": "staff", "text": "Hi"}]},
            "Ticket t1 is open. The last message, from staff: “Hi”",
        ),
    ],
)
def test_tells_what_is_there_and_no_more(name: str, result: Any, told: str) -> None:
    assert answer(tool(name), result, {}) == told


def test_long_lists_are_cut_and_counted() -> None:
    told = answer(tool("listOrders"), [{"id": n, "status": "paid"} for n in range(20)], {})
    assert told.startswith("I found 20 orders:")
    assert told.endswith("There are 12 more.")


def test_a_delivered_parcel_is_not_expected_any_more() -> None:
    parcel = {"id": "s", "status": "delivered", "estimated_delivery": "2026-11-24", "carrier": "X."}
    assert answer(tool("getShipment"), parcel, {}) == "Shipment s is delivered. The carrier is X."


def test_the_place_of_the_latest_news_may_be_missing() -> None:
    event = {"at": "2026-11-24", "status": "picked_up"}
    told = answer(tool("getShipment"), {"id": "s", "events": [event]}, {})
    assert "24 November 2026: picked up." in told


def test_there_may_be_nothing_to_choose_from() -> None:
    assert choices({"id": 1}, "order") == ""
    assert choices("text", "order") == ""
    assert choices({"orders": [{"id": 1}]}, "order") == "- **Order 1**"
