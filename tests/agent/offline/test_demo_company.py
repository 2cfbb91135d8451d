"""Sentences that customers write, against the demo company's own document and answers."""

from typing import Any

import pytest
from tests.agent.offline.desk import Desk

ADDRESS = {
    "name": "Ada Quist",
    "street": "Hafenstrasse 12",
    "city": "Kiel",
    "postal_code": "24103",
    "country": "DE",
}

SENTENCES: list[tuple[str, str, dict[str, Any]]] = [
    ("Where is my order 1041?", "trackOrder", {"order_id": "1041"}),
    ("Track order #1041 please", "trackOrder", {"order_id": "1041"}),
    ("When did you ship 1041?", "trackOrder", {"order_id": "1041"}),
    ("Has order no. 1041 arrived yet?", "trackOrder", {"order_id": "1041"}),
    ("Where is shipment shp_1041?", "getShipment", {"shipment_id": "shp_1041"}),
    ("Show my orders", "listOrders", {}),
    ("what did I order recently?", "listOrders", {}),
    ("Show me my last 2 orders", "listOrders", {"limit": 2}),
    ("Which orders have been delivered?", "listOrders", {"status": "delivered"}),
    ("What is the status of order 1057?", "getOrder", {"order_id": "1057"}),
    ("What's in order 1002?", "getOrder", {"order_id": "1002"}),
    (
        "I want a refund for order 1002",
        "createRefund",
        {"order_id": "1002", "body": {"amount": 226}},
    ),
    (
        "Please refund 20 EUR for order 1002 because a seam is open",
        "createRefund",
        {
            "order_id": "1002",
            "body": {"amount": 20, "currency": "EUR", "reason": "A seam is open"},
        },
    ),
    (
        "My tent from order 1001 is broken and I want my money back",
        "createRefund",
        {
            "order_id": "1001",
            "body": {"amount": 249, "reason": "My tent from order 1001 is broken"},
        },
    ),
    ("Show my refunds", "listRefunds", {}),
    ("Has my refund for order 1014 been paid?", "listRefunds", {"order_id": "1014"}),
    ("Can you tell me about refund rfd_4001", "getRefund", {"refund_id": "rfd_4001"}),
    ("Cancel order 1057", "cancelOrder", {"order_id": "1057"}),
    (
        "I'd like to call off my order 1063, it was ordered by mistake",
        "cancelOrder",
        {"order_id": "1063", "body": {"reason": "It was ordered by mistake"}},
    ),
    (
        "I want to return the boots from order 1002, they are too small",
        "createReturn",
        {
            "body": {
                "order_id": "1002",
                "lines": [{"sku": "BOOT-MID", "quantity": 1}],
                "reason": "They are too small",
            }
        },
    ),
    (
        "I want to send back one sock of order 1002 since it has a hole",
        "createReturn",
        {
            "body": {
                "order_id": "1002",
                "lines": [{"sku": "SOCK-WOOL", "quantity": 1}],
                "reason": "It has a hole",
            }
        },
    ),
    ("Show my returns", "listReturns", {}),
    ("Withdraw return ret_3001", "cancelReturn", {"return_id": "ret_3001"}),
    (
        (
            "Change the shipping address of order 1057 to Ada Quist, Hafenstrasse 12, 24103 Kiel, "
            "Germany"
        ),
        "updateShippingAddress",
        {"order_id": "1057", "body": ADDRESS},
    ),
    (
        "Open a ticket: my tent leaks. It rains inside.",
        "createTicket",
        {"body": {"subject": "My tent leaks", "message": "My tent leaks. It rains inside."}},
    ),
    ("Show my tickets", "listTickets", {}),
    ("Is ticket tic_2001 still open?", "getTicket", {"ticket_id": "tic_2001"}),
    (
        "Add a comment to ticket tic_2001: It has arrived, thanks.",
        "addTicketComment",
        {"ticket_id": "tic_2001", "body": {"text": "It has arrived, thanks."}},
    ),
    ("Do you have tents in stock?", "searchProducts", {"q": "tent", "in_stock": True}),
    ("How much is the rain jacket?", "searchProducts", {"q": "rain jacket"}),
    ("What is my address on file?", "getCustomer", {}),
]


async def test_chooses_the_operation_and_its_arguments(desk: Desk) -> None:
    wrong = {}
    for sentence, tool, arguments in SENTENCES:
        conversation = Desk(desk.operations, desk._shop)
        await conversation.says(sentence)
        if conversation.calls[-1:] != [(tool, arguments)]:
            wrong[sentence] = conversation.calls

    assert wrong == {}


@pytest.mark.parametrize(
    ("sentence", "facts"),
    [
        ("Where is my order 1041?", ["1041", "in transit", "Swiftwing Parcel", "SW001041DE"]),
        ("Show my orders", ["8 orders", "- **Order 1041**: shipped, 179.00 EUR"]),
        ("What's in order 1002?", ["delivered", "226.00 EUR", "1 × Tarn mid hiking boot"]),
        ("Which orders have been packed?", ["1 order", "1050"]),
        ("I want a refund for order 1002", ["Done", "226.00 EUR", "order 1002"]),
        ("refund 900 EUR of order 1002", ["did not work", "226.00 EUR", "Nothing was changed"]),
        ("refund order 9999", ["could not find", "9999"]),
        ("refund order 1023", ["Nothing is left to be refunded"]),
        ("Track order 1063", ["No parcel has been sent yet"]),
        ("Is ticket tic_2001 still open?", ["tic_2001", "open"]),
        ("Withdraw return ret_3001", ["did not work", "arrived already"]),
    ],
)
async def test_tells_what_the_company_answered(desk: Desk, sentence: str, facts: list[str]) -> None:
    told = await desk.says(sentence)
    assert [fact for fact in facts if fact not in told] == []


async def test_asks_for_what_is_missing_and_goes_on_with_the_answer(desk: Desk) -> None:
    asked = await desk.says("I want to return something")
    assert "Which order is it about?" in asked
    assert "Order 1002" in asked

    assert "Which products" in await desk.says("1002")
    assert "What is the reason?" in await desk.says("the socks")
    assert "Done" in await desk.says("They itch")
    line = {"sku": "SOCK-WOOL", "quantity": 3}
    body = {"order_id": "1002", "lines": [line], "reason": "They itch"}
    assert desk.calls == [("createReturn", {"body": body})]


async def test_an_amount_comes_from_the_order_it_is_about_and_no_other(desk: Desk) -> None:
    await desk.says("What's in order 1014?")
    await desk.says("Please refund order 1002")
    assert desk.calls[-1] == ("createRefund", {"order_id": "1002", "body": {"amount": 226}})


async def test_remembers_the_order_that_was_spoken_of(desk: Desk) -> None:
    await desk.says("Where is order 1041?")
    await desk.says("and order 1057?")
    assert desk.calls == [("trackOrder", {"order_id": "1057"})]
    await desk.says("cancel it")
    assert desk.calls == [("cancelOrder", {"order_id": "1057"})]


async def test_a_new_request_is_not_taken_for_an_answer(desk: Desk) -> None:
    assert (await desk.says("I want a refund")).endswith("order number.")
    await desk.says("show my tickets")
    assert [name for name, _ in desk.calls] == ["listTickets"]


async def test_an_address_may_come_later_and_keeps_the_name(desk: Desk) -> None:
    asked = await desk.says("Please send order 1057 to a different address")
    assert "full address" in asked
    told = await desk.says("Hafenstrasse 12, 24103 Kiel")
    assert desk.calls[-1] == ("updateShippingAddress", {"order_id": "1057", "body": ADDRESS})
    assert "Done: the address of order 1057 has been changed." in told


async def test_a_complaint_without_words_is_asked_for_them(desk: Desk) -> None:
    assert "What should I write?" in await desk.says("I have a complaint")
    await desk.says("The stove from order 1050 makes a loud noise")
    said = "The stove from order 1050 makes a loud noise"
    body = {"subject": said, "message": said, "order_id": "1050"}
    assert desk.calls == [("createTicket", {"body": body})]


@pytest.mark.parametrize(
    "text", ["what is the weather on mars", "asdf qwer", "", "🙂", "tell me a joke", "1002"]
)
async def test_what_it_does_not_understand_changes_nothing(desk: Desk, text: str) -> None:
    told = await desk.says(text)
    assert all(name.startswith(("get", "list", "track", "search")) for name, _ in desk.calls)
    assert told
