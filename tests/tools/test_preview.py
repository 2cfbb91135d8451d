"""What a person reads before saying yes."""

import httpx
import pytest

from smart_support.ledger.records import PlannedCall
from smart_support.tools.preview import address_of, fields_of


def shown(**arguments: object) -> list[tuple[str, str]]:
    planned = PlannedCall(
        id="c", thread_id="t", turn_id="t", operation_id="o", operation="POST /x",
        access="write", arguments=arguments, fingerprint="f",
    )  # fmt: skip
    return [(field["name"], field["value"]) for field in fields_of(planned)]


def test_shows_every_value_under_its_name() -> None:
    assert shown(order_id="7", body={"amount": 5, "to": {"name": "Ada", "ok": True}}) == [
        ("order_id", "7"),
        ("amount", "5"),
        ("to.name", "Ada"),
        ("to.ok", "yes"),
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "(empty)"),
        (False, "no"),
        (1.5, "1.5"),
        ([1, None, True], "1, (empty), yes"),
        ("", ""),
    ],
)
def test_writes_values_for_people(value: object, text: str) -> None:
    assert shown(a=value) == [("a", text)]


def test_lists_of_things_are_counted() -> None:
    assert shown(body={"items": [{"sku": "a"}, {"sku": "b", "n": [1, 2]}]}) == [
        ("items[0].sku", "a"),
        ("items[1].sku", "b"),
        ("items[1].n", "1, 2"),
    ]


def test_what_is_left_out_is_counted() -> None:
    found = shown(**{f"a{number}": number for number in range(70)})

    assert len(found) == 61
    assert found[-1] == ("…", "10 more values")


def test_a_long_value_is_cut() -> None:
    assert len(shown(a="x" * 5_000)[0][1]) == 2_000


def test_the_address_has_no_query_and_is_readable() -> None:
    request = httpx.Request("POST", "https://api.example.org:8443/a%20b/%C3%BC?secret=1")

    assert address_of(request) == "https://api.example.org:8443/a b/ü"
