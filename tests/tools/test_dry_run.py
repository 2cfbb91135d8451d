"""A request shown and not sent, also with arguments that were made up."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.operations.documents import json_body, operation_of, parameter, stored

from smart_support.errors import InvalidInput
from smart_support.operations.example import example_of
from smart_support.operations.records import Operation
from smart_support.tools.arguments import ArgumentsInvalid, validate_arguments
from smart_support.tools.dry_run import LATER, SAMPLE, dry_run

BASE = "https://api.shop.test"
TEXT = {"type": "string"}


def operation(method: str = "get", path: str = "/things", **more: Any) -> Operation:
    return stored(operation_of(more, method=method, path=path))


def test_is_the_request_that_would_be_sent() -> None:
    body = json_body({"properties": {"amount": {"type": "number"}}}, required=True)
    listed = [parameter("id", "path", required=True), parameter("Idempotency-Key", "header")]

    shown = dry_run(
        operation("post", "/orders/{id}/refunds", parameters=listed, **body),
        BASE,
        {"id": "a b", "body": {"amount": 2.5}},
    )

    assert (shown.method, shown.url) == ("POST", f"{BASE}/orders/a%20b/refunds")
    assert (shown.body, shown.body_bytes) == ('{"amount":2.5}', 14)
    assert dict(shown.headers)["Idempotency-Key"] == LATER
    assert shown.arguments == shown.filled


def test_the_customer_fills_what_is_bound_whatever_is_given() -> None:
    bound = operation(parameters=[parameter("customer_id", required=True), parameter("q")])

    shown = dry_run(bound, BASE, {"q": "x"}, {"customer_id": "cus_7"})

    assert shown.url == f"{BASE}/things?customer_id=cus_7&q=x"
    with pytest.raises(ArgumentsInvalid):
        dry_run(bound, BASE, {"customer_id": "cus_8"})
    with pytest.raises(InvalidInput, match="customer_id"):
        dry_run(bound, BASE, {}, {"name": "Ada"})


def test_needs_an_address() -> None:
    with pytest.raises(InvalidInput, match="base URL"):
        dry_run(operation(), None)


@pytest.mark.parametrize("version", ["3.1.0", "3.2.0"])
def test_makes_up_the_headers_that_a_part_needs(version: str) -> None:
    header = {"X-Lang": {"required": True, "schema": {"enum": ["en", "de"]}}}
    inside = {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}
    schema, encoding = inside, {"a": {"headers": header}}
    if version == "3.2.0":
        schema = {"type": "object", "properties": {"form": inside}, "required": ["form"]}
        encoding = {"form": {"contentType": "multipart/form-data", "encoding": encoding}}
    content = {"multipart/form-data": {"schema": schema, "encoding": encoding}}
    needed = stored(
        operation_of(
            {"requestBody": {"required": True, "content": content}}, method="post", version=version
        )
    )

    shown = dry_run(needed, BASE)

    assert "\nX-Lang: en\n" in (shown.body or "")
    with pytest.raises(ArgumentsInvalid, match="X-Lang: is required together with"):
        dry_run(needed, BASE, {"body": shown.arguments["body"]})


def test_makes_up_what_is_required() -> None:
    schema = {
        "type": "object",
        "properties": {
            "kind": {"enum": ["gift", "sale"]}, "count": {"type": "integer", "minimum": 3},
            "when": {"type": "string", "format": "date"}, "who": {"$ref": "#/components/schemas/W"},
            "lines": {"type": "array", "minItems": 1, "items": TEXT}, "either": {"oneOf": [TEXT]},
            "free": {}, "optional": TEXT,
        },
        "required": ["kind", "count", "when", "who", "lines", "either", "free"],
    }  # fmt: skip
    made = operation_of(
        json_body(schema, required=True),
        method="post",
        components={"schemas": {"W": {"properties": {"id": TEXT}, "required": ["id"]}}},
    )

    shown = dry_run(stored(made), BASE)

    assert shown.arguments["body"] == {
        "kind": "gift", "count": 3, "when": "2026-01-31", "who": {"id": "id"}, "lines": ["lines"],
        "either": "either", "free": "free",
    }  # fmt: skip
    validate_arguments(stored(made), shown.arguments)


def test_making_up_ends_in_circles() -> None:
    loop = {"properties": {"next": {"$ref": "#/$defs/Loop"}}, "required": ["next"]}
    schema = {"properties": {"body": {"$ref": "#/$defs/Loop"}}, "required": ["body"]}

    assert "next" in example_of({**schema, "$defs": {"Loop": loop}})["body"]


@given(properties=st.dictionaries(st.text(max_size=4), st.fixed_dictionaries({}, optional={
    "type": st.sampled_from(["string", "integer", "array", "object", ["null", "string"]]),
    "enum": st.lists(st.integers(), min_size=1, max_size=3), "minItems": st.integers(0, 2),
    "allOf": st.lists(st.just({"type": "string"}), min_size=1, max_size=2),
}), max_size=4))  # fmt: skip
def test_making_up_is_total(properties: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": properties, "required": list(properties)}

    assert example_of(schema).keys() == properties.keys()


def test_a_lookup_of_what_is_approved_needs_no_claims() -> None:
    one = operation()

    assert dry_run(replace(one, decided_by=None), BASE, claims={}).url == f"{BASE}/things"
    assert set(SAMPLE) == {"customer_id", "email", "name"}
