import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_support.agent.offline import found
from smart_support.agent.offline.found import Amount


@pytest.mark.parametrize(
    ("text", "value", "currency"),
    [
        ("$25", "25", "USD"),
        ("give me €25.50", "25.50", "EUR"),
        ("25,50 EUR please", "25.50", "EUR"),
        ("refund 1,250.00 dollars", "1250.00", "USD"),
        ("20 pounds", "20", "GBP"),
        ("USD 12", "12", "USD"),
        ("it was 12.99 in all", "12.99", None),
        ("30€", "30", "EUR"),
    ],
)
def test_reads_amounts(text: str, value: str, currency: str | None) -> None:
    assert found.amounts(text) == [Amount(Decimal(value), currency)]


@pytest.mark.parametrize("text", ["order 1002", "#1002", "on 24.11.2026", "2 boots", "v1.2", ""])
def test_what_is_no_amount_is_none(text: str) -> None:
    assert found.amounts(text) == []


@pytest.mark.parametrize(
    ("text", "kind", "pattern", "expected"),
    [
        ("order 1002", "order", None, "1002"),
        ("orders number: #1002", "order", None, "1002"),
        ("refund $25.50 of 1002", "order", r"^\d{4}$", "1002"),
        ("I paid 1500 EUR for 1002", "order", r"^\d{4}$", "1002"),
        ("parcel SHP-77 please", "shipment", r"^SHP-\d+$", "SHP-77"),
        ("order 1002 of ticket 5", "ticket", None, "5"),
        ("order 1002", "order", "(unclosed", "1002"),
    ],
)
def test_reads_numbers_of_things(text: str, kind: str, pattern: str | None, expected: str) -> None:
    assert found.numbered(text, kind, pattern, alone=True)[0] == expected


def test_a_number_that_was_called_something_comes_first() -> None:
    text = "I have 2000 reasons, order 1002"
    assert found.numbered(text, "order", r"^\d{4}$", alone=True) == ["1002", "2000"]
    assert found.numbered("there are 2000", "order", r"^\d{4}$", alone=False) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("my last 3 orders", 3),
        ("my latest order", 1),
        ("the last five orders", 5),
        ("my last orders", None),
        ("top 0", None),
        ("orders", None),
    ],
)
def test_reads_how_many_are_wanted(text: str, expected: int | None) -> None:
    assert found.count(text) == expected


def test_reads_quantities() -> None:
    assert found.quantity("return two boots", "boot") == 2
    assert found.quantity("return 3 wool socks", "sock") == 3
    assert found.quantity("return the boots", "boot") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "to Ada Quist, Hafenstrasse 12, 24103 Kiel, Germany",
            {
                "name": "Ada Quist",
                "street": "Hafenstrasse 12",
                "postal_code": "24103",
                "city": "Kiel",
                "country": "DE",
            },
        ),
        (
            "My new address is 12 Mill Lane, London, SW1A 1AA, UK.",
            {
                "street": "12 Mill Lane",
                "city": "London",
                "postal_code": "SW1A 1AA",
                "country": "GB",
            },
        ),
        (
            "Hill 3, 75001 Paris, FR",
            {"street": "Hill 3", "postal_code": "75001", "city": "Paris", "country": "FR"},
        ),
        ("somewhere else, please", {}),
        ("no comma here 12", {}),
    ],
)
def test_reads_addresses(text: str, expected: dict[str, str]) -> None:
    assert found.address(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("refund 1002 because it is broken", "It is broken"),
        ("cancel 1002, I found it cheaper", "I found it cheaper"),
        ("return it. Too small!", "Too small!"),
        ("the lamp is damaged and I want money", "The lamp is damaged"),
        ("refund 1002 and I want it now", None),
        ("refund order 1002", None),
    ],
)
def test_reads_reasons(text: str, expected: str | None) -> None:
    assert found.reason(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("open a ticket: the zip is stuck", "The zip is stuck"),
        ('write "please call me" in my ticket', "please call me"),
        ("the zip of my tent is stuck", "The zip of my tent is stuck"),
        ("please open a ticket", None),
        ("I have a complaint", None),
        ("I have a question", None),
    ],
)
def test_reads_messages(text: str, expected: str | None) -> None:
    assert found.message(text) == expected


@given(st.text(max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    found.amounts(text)
    found.address(text)
    found.reason(text)
    found.message(text)
    found.count(text)
    found.numbered(text, "order", None, alone=True)


@pytest.mark.parametrize("unit", ["a ", "1", "1 ", "1,000", "it is ", "#", ", ", "to a,", "i and "])
def test_a_long_message_does_not_hold_everybody_up(unit: str) -> None:
    text = (unit * 4000)[:4000]
    began = time.process_time()
    test_any_text_can_be_read.hypothesis.inner_test(text)  # type: ignore[attr-defined]
    assert time.process_time() - began < 0.5
