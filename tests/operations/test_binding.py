"""Arguments that the signed-in customer fills: not shown, and set whatever the model says."""

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.operations.documents import json_body, operation_of, parameter, stored

from smart_support.operations.binding import arguments_of, can_bind, fill, without
from smart_support.operations.records import Access, Classification
from smart_support.operations.schema import tool_schema

CLAIMS = {"customer_id": "cus_ada", "email": "ada@example.org"}
TEXT = {"type": "string"}


def schema_of(body: Any, **more: Any) -> dict[str, Any]:
    """The arguments of a POST with this body, which is required."""
    operation = json_body(body, required=True)
    return dict(operation_of(operation, method="post", **more).schema)


def takes(schema: dict[str, Any], **arguments: Any) -> bool:
    return jsonschema_rs.Draft202012Validator(schema).is_valid(arguments)


ORDER = {
    "type": "object",
    "properties": {
        "customer_id": TEXT,
        "note": TEXT,
        "buyer": {"type": "object", "properties": {"id": TEXT, "name": TEXT}, "required": ["id"]},
    },
    "required": ["customer_id", "note", "buyer"],
    "additionalProperties": False,
}


class TestInsideTheBody:
    def test_it_vanishes_and_is_not_asked_for(self) -> None:
        schema = without(schema_of(ORDER), ["/body/customer_id", "/body/buyer/id"])

        assert takes(schema, body={"note": "x", "buyer": {"name": "Ada"}})
        assert not takes(schema, body={"note": "x", "buyer": {}, "customer_id": "cus_bob"})
        assert "customer_id" not in str(schema["properties"])

    def test_an_object_of_which_nothing_is_left_vanishes_too(self) -> None:
        only = {"type": "object", "properties": {"customer_id": TEXT}, "required": ["customer_id"]}

        schema = without(schema_of(only), ["/body/customer_id"])

        assert (schema["properties"], schema["required"]) == ({}, [])
        assert fill({}, {"/body/customer_id": "customer_id"}, CLAIMS) == {
            "body": {"customer_id": "cus_ada"}
        }

    def test_behind_a_reference_others_keep_it(self) -> None:
        components = {
            "schemas": {
                "Person": {"type": "object", "properties": {"id": TEXT, "mail": TEXT},
                           "required": ["id"]},
                "Order": {"type": "object", "properties": {
                    "buyer": {"$ref": "#/components/schemas/Person"},
                    "friend": {"$ref": "#/components/schemas/Person"}}},
            }
        }  # fmt: skip
        schema = schema_of({"$ref": "#/components/schemas/Order"}, components=components)

        bound = without(schema, ["/body/buyer/id"])

        assert takes(bound, body={"buyer": {"mail": "x"}, "friend": {"id": "1"}})
        assert not takes(bound, body={"friend": {}})
        assert schema == schema_of({"$ref": "#/components/schemas/Order"}, components=components)

    @pytest.mark.parametrize("kind", ["allOf", "anyOf", "oneOf"])
    def test_in_parts_of_a_whole(self, kind: str) -> None:
        schema = schema_of({kind: [ORDER, {**ORDER, "properties": {"customer_id": TEXT}}]})

        assert "'customer_id'" not in str(without(schema, ["/body/customer_id"]))

    def test_in_a_schema_that_goes_in_circles(self) -> None:
        components = {
            "schemas": {
                "Node": {
                    "properties": {"owner": TEXT, "next": {"$ref": "#/components/schemas/Node"}},
                    "required": ["owner"],
                }
            }
        }
        schema = schema_of({"$ref": "#/components/schemas/Node"}, components=components)

        bound = without(schema, ["/body/owner"])

        assert takes(bound, body={"next": {"owner": "x"}})
        assert not takes(bound, body={"next": {}})
        assert len(arguments_of(schema)) <= 200
        assert not can_bind(schema, "/body/next/next/nothing")

    def test_only_places_that_there_are_can_be_bound(self) -> None:
        schema = schema_of(
            {**ORDER, "properties": {**ORDER["properties"], "lines": {"items": ORDER}}}
        )

        for argument in ("body", "/body/customer_id", "/body/buyer/id"):
            assert can_bind(schema, argument)
            assert argument in arguments_of(schema)
        for argument in (
            "", "/", "/body/", "/body/nothing", "customer_id", "/body/lines/customer_id",
            "/body/lines/0/customer_id", "/body/customer_id/x", "body/customer_id",
        ):  # fmt: skip
            assert not can_bind(schema, argument), argument

    def test_names_with_slashes_and_tildes(self) -> None:
        schema = schema_of({"type": "object", "properties": {"a/b~c": TEXT, "d": TEXT}})

        assert "/body/a~1b~0c" in arguments_of(schema)
        assert list(without(schema, ["/body/a~1b~0c"])["properties"]["body"]["properties"]) == ["d"]
        assert fill({}, {"/body/a~1b~0c": "email"}, CLAIMS)["body"] == {"a/b~c": "ada@example.org"}

    def test_is_suggested_where_it_is_clear(self) -> None:
        body = {"properties": {"customer_id": TEXT, "text": TEXT, "user_id": TEXT}}

        suggested = operation_of(json_body(body), method="post", path="/notes").suggestion

        assert suggested.bindings == {"/body/customer_id": "customer_id"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["customer_id", "buyer", "id", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(arguments=st.dictionaries(st.sampled_from(["who", "body", "x"]), VALUES, max_size=3))
def test_what_the_model_says_never_counts(arguments: dict[str, Any]) -> None:
    before = repr(arguments)
    bindings = {
        "who": "email", "/body/customer_id": "customer_id", "/body/buyer/id": "customer_id"
    }  # fmt: skip

    filled = fill(arguments, bindings, CLAIMS)

    assert filled["who"] == "ada@example.org"
    assert filled["body"]["customer_id"] == filled["body"]["buyer"]["id"] == "cus_ada"
    assert repr(arguments) == before
    if isinstance(said := arguments.get("body"), dict):
        assert {k: v for k, v in filled["body"].items() if k == "x"} == {
            k: v for k, v in said.items() if k == "x"
        }


def test_a_claim_that_is_not_known_fills_nothing() -> None:
    with pytest.raises(KeyError, match="email"):
        fill({}, {"who": "email"}, {"customer_id": "cus_bob"})


def test_the_tool_is_shown_without_it() -> None:
    draft = operation_of(
        {**json_body(ORDER, required=True), "parameters": [parameter("customer_id")]},
        method="post",
    )
    bound = Classification(
        access=Access.WRITE,
        confirm=True,
        bindings={"customer_id": "customer_id", "/body/customer_id": "customer_id"},
    )

    shown = tool_schema(stored(draft, classification=bound))

    assert list(shown["properties"]) == ["body"]
    assert "customer_id" not in str(shown["properties"]["body"])
