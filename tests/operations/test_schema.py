from typing import Any

import jsonschema_rs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.operations.documents import (
    body_schema,
    json_body,
    openapi,
    operation_of,
    parameter,
    skipped_reason,
    spec_of,
    stored,
)

from smart_support.operations.records import Classification
from smart_support.operations.schema import MAX_NESTING, SCHEMA_BUDGET, fit, size_of, tool_schema


class TestKeywords:
    @pytest.mark.parametrize(
        ("written", "becomes"),
        [
            ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
            ({"type": "string", "x-nullable": True}, {"type": ["string", "null"]}),
            ({"type": ["string", "null"], "nullable": True}, {"type": ["string", "null"]}),
            (
                {"type": "string", "enum": ["a"], "nullable": True},
                {"type": ["string", "null"], "enum": ["a", None]},
            ),
            (
                {"allOf": [{"type": "object"}], "nullable": True},
                {"anyOf": [{"allOf": [{"type": "object"}]}, {"type": "null"}]},
            ),
            ({"nullable": True, "description": "any"}, {"description": "any"}),
            ({"minimum": 1, "exclusiveMinimum": True}, {"exclusiveMinimum": 1}),
            ({"maximum": 9, "exclusiveMaximum": True}, {"exclusiveMaximum": 9}),
            ({"minimum": 1, "exclusiveMinimum": False}, {"minimum": 1}),
            ({"exclusiveMinimum": 3}, {"exclusiveMinimum": 3}),
            ({"exclusiveMinimum": True}, {}),
            ({"type": "file"}, {"type": "string"}),
            ({"type": "Int"}, {"type": "integer"}),
            ({"type": "any"}, {}),
            ({"type": []}, {}),
            ({"type": None}, {}),
            ({"type": ["string", "string", "weird"]}, {"type": ["string"]}),
            (
                {"type": "string", "enum": [1, 1.5, True, "x"]},
                {"type": "string", "enum": ["1", "1.5", "true", "x"]},
            ),
            ({"enum": []}, {}),
            ({"required": True}, {}),
            ({"required": ["a", "a", 3]}, {"required": ["a"]}),
            ({"items": [{"type": "string"}]}, {"prefixItems": [{"type": "string"}]}),
            ({"items": []}, {}),
            ({"items": {"type": "string"}}, {"items": {"type": "string"}}),
            ({"properties": [], "allOf": {}, "additionalProperties": "no"}, {}),
            (
                {"additionalProperties": {"type": "int"}},
                {"additionalProperties": {"type": "integer"}},
            ),
            (
                {"properties": {"description": 5, "type": True}},
                {"properties": {"description": {}, "type": True}},
            ),
            ({"pattern": "("}, {}),
            ({"pattern": "^a$"}, {"pattern": "^a$"}),
            ({"minLength": -1, "maxLength": 2.5, "maxItems": 3}, {"maxItems": 3}),
            ({"multipleOf": 0}, {}),
            ({"dependentRequired": {"a": ["b"]}}, {"dependentRequired": {"a": ["b"]}}),
            ({"dependentRequired": 3}, {}),
            (
                {
                    "example": 1,
                    "examples": [1],
                    "discriminator": {},
                    "xml": {},
                    "title": "T",
                    "x-y": 1,
                    "$id": "u",
                    "format": "date",
                    "default": 4,
                    "const": 4,
                },
                {"format": "date", "default": 4, "const": 4},
            ),
            ({"description": "a\u200bb"}, {"description": "ab"}),
            (
                {"if": {"type": "int"}, "then": {}, "not": False},
                {"if": {"type": "integer"}, "then": {}, "not": False},
            ),
            (True, True),
            ("nonsense", {}),
        ],
    )
    def test_are_rewritten_to_2020_12(self, written: Any, becomes: Any) -> None:
        assert body_schema(written) == becomes

    def test_beside_a_reference_count_since_3_1_only(self) -> None:
        schema = {"$ref": "#/components/schemas/A", "maxLength": 3, "description": "the a"}
        more = {"components": {"schemas": {"A": {"type": "string"}}}}

        assert body_schema(schema, "3.0.3", **more) == {
            "$ref": "#/$defs/A", "description": "the a",
        }  # fmt: skip
        assert body_schema(schema, "3.1.0", **more) == {
            "$ref": "#/$defs/A", "maxLength": 3, "description": "the a",
        }  # fmt: skip


def with_schemas(schema: Any, version: str = "3.1.0", **schemas: Any) -> dict[str, Any]:
    operation = operation_of(
        json_body(schema), method="post", version=version, components={"schemas": schemas}
    )
    return dict(operation.schema)


def ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


class TestReferences:
    def test_bring_all_they_need_and_nothing_else(self) -> None:
        schema = with_schemas(
            ref("A"), A={"properties": {"b": ref("B")}}, B={"type": "string"}, C={"type": "null"}
        )

        assert schema["$defs"] == {
            "A": {"properties": {"b": {"$ref": "#/$defs/B"}}}, "B": {"type": "string"},
        }  # fmt: skip

    def test_in_circles_stay_references(self) -> None:
        schema = with_schemas(
            ref("Node"), Node={"type": "object", "properties": {"children": {"items": ref("Node")}}}
        )

        assert list(schema["$defs"]) == ["Node"]
        deep = {"body": {"children": [{"children": [{"children": []}]}]}}
        assert jsonschema_rs.is_valid(schema, deep)
        assert not jsonschema_rs.is_valid(schema, {"body": {"children": [{"children": [3]}]}})

    def test_to_nothing_are_said_and_do_not_cost_the_operation(self) -> None:
        assert body_schema(ref("Gone")) == {
            "description": "The document does not say what this is."
        }

    def test_to_other_files_cost_the_operation_and_no_other(self) -> None:
        far = {"properties": {"x": {"$ref": "other.json#/A"}}}
        paths = {
            "/bad": {"post": json_body(ref("Far"))},
            "/bad2": {"post": json_body(ref("Far"))},
            "/good": {"post": json_body({})},
        }

        spec = spec_of(openapi(paths, components={"schemas": {"Far": far}}))

        assert [operation.path for operation in spec.operations] == ["/good"]
        assert [skipped.key for skipped in spec.skipped] == ["POST /bad", "POST /bad2"]
        assert all("another file (other.json#/A)" in skipped.reason for skipped in spec.skipped)

    def test_are_named_by_where_they_lead(self) -> None:
        schema = with_schemas(
            {"prefixItems": [ref("a b"), ref("a_b"), ref("a b/properties/x")]},
            **{"a b": {"properties": {"x": {"type": "string"}}}, "a_b": {"type": "integer"}},
        )

        names = list(schema["$defs"])
        assert len(names) == 3
        assert "a_b" in names
        assert all(name.startswith(("a_b", "x_")) for name in names)

    def test_may_not_be_nested_without_end(self) -> None:
        schema: Any = {"type": "string"}
        for _ in range(MAX_NESTING + 1):
            schema = {"items": schema}

        assert "nested more than" in skipped_reason(json_body(schema), method="post")


class TestReadOnly:
    def test_properties_are_not_offered(self) -> None:
        schema = with_schemas(
            {
                "properties": {"id": ref("Id"), "at": {"allOf": [{"readOnly": True}]}, "name": {}},
                "required": ["id", "at", "name"],
            },
            Id={"type": "string", "readOnly": True},
        )

        assert schema["properties"]["body"] == {"properties": {"name": {}}, "required": ["name"]}
        assert "$defs" not in schema

    def test_properties_are_not_asked_for_by_another_part(self) -> None:
        schema = with_schemas(
            {"allOf": [ref("Base"), ref("New"), {"required": ["id"]}]},
            Base={"properties": {"id": {"readOnly": True}, "name": {"type": "string"}}},
            New={"required": ["id", "name"]},
        )

        assert jsonschema_rs.is_valid(schema, {"body": {"name": "x"}})
        assert not jsonschema_rs.is_valid(schema, {"body": {}})
        assert "id" not in orjson.dumps(schema).decode().replace('"additional', "")

    def test_is_not_looked_for_in_circles(self) -> None:
        schema = with_schemas(
            {
                "allOf": [ref("A")],
                "properties": {"a": ref("A"), "x": {"readOnly": True}, "g": ref("No")},
            },
            A={"allOf": [ref("A")], "$ref": "#/components/schemas/A", "required": ["x"]},
        )

        assert schema["properties"]["body"]["properties"].keys() == {"a", "g"}


class TestBombs:
    """Small documents whose parts multiply; each takes no longer than it is long."""

    def test_chains_and_diamonds_of_references_are_walked_once(self) -> None:
        schemas: dict[str, Any] = {
            f"S{n}": {"allOf": [ref(f"S{n + 1}")] * 3, "properties": {f"p{n}": ref(f"S{n + 1}")}}
            for n in range(300)
        }
        form = {"requestBody": {"content": {"multipart/form-data": {"schema": ref("S0")}}}}
        paths = {"/json": {"post": json_body(ref("S0"))}, "/form": {"post": form}}

        spec = spec_of(openapi(paths, components={"schemas": schemas}))

        assert [size_of(operation.schema) <= SCHEMA_BUDGET for operation in spec.operations] == [
            True
        ] * 2

    def test_parts_that_must_be_written_out_are_not_written_without_end(self) -> None:
        schemas: dict[str, Any] = {
            f"S{n}": {"allOf": [ref(f"S{n + 1}")] * 3, "required": ["id"]} for n in range(60)
        }
        whole = {"allOf": [ref("S0")], "properties": {"id": {"readOnly": True}}}

        reason = skipped_reason(json_body(whole), method="post", components={"schemas": schemas})

        assert "too entangled" in reason or "nested more than" in reason


class TestBudget:
    def nested(self, levels: int, words: str = "") -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "string", "description": words}
        for level in range(levels):
            schema = {
                "type": "object",
                "description": words,
                "required": ["next"],
                "properties": {"next": schema, f"other{level}": {"type": "integer", "default": 1}},
            }
        return schema

    def test_is_no_matter_for_small_schemas(self) -> None:
        schema = self.nested(3)

        assert fit(schema) == (schema, False)

    def test_is_met_by_shorter_words_if_that_is_enough(self) -> None:
        smaller, cut = fit(self.nested(10, "word " * 130))

        assert not cut
        assert size_of(smaller) <= SCHEMA_BUDGET
        assert smaller["properties"]["next"]["description"].endswith("…")

    def test_is_met_by_leaving_out_what_lies_deepest(self) -> None:
        definitions = {
            f"D{n}": {
                "type": "object",
                "properties": {f"p{i}": {"$ref": f"#/$defs/D{(n + i) % 90}"} for i in range(12)},
            }
            for n in range(90)
        }
        schema = {
            "type": "object",
            "properties": {"body": {"oneOf": [{"$ref": "#/$defs/D1"}, {"$ref": "#/$defs/D2"}]}},
            "$defs": definitions | {"T": True},
        }

        smaller, cut = fit(schema)

        assert cut
        assert size_of(smaller) <= SCHEMA_BUDGET
        assert jsonschema_rs.meta.is_valid(smaller)
        assert jsonschema_rs.is_valid(smaller, {"body": {"p0": {"p3": {}}}})
        assert not jsonschema_rs.is_valid(smaller, {"body": {"p0": 3}})

    def test_of_the_model_is_told_in_the_description(self) -> None:
        schema: Any = {"type": "object", "properties": {f"p{i}": self.nested(4) for i in range(60)}}

        operation = operation_of({**json_body(schema), "description": "long " * 500}, method="post")

        assert size_of(operation.schema) <= SCHEMA_BUDGET
        assert operation.description.endswith("Details of large inputs are left out here.")
        assert len(operation.description) <= 1024
        assert operation.schema["properties"]["body"]["properties"].keys() == {
            f"p{i}" for i in range(60)
        }

    def test_never_costs_the_outermost_level(self) -> None:
        many = [
            parameter(f"parameter_{n}", schema={"enum": [*"abcdefghijklmnopqrstuvwxyz"]})
            for n in range(400)
        ]

        operation = operation_of({"parameters": many})

        assert len(operation.schema["properties"]) == 400
        assert b"enum" not in orjson.dumps(operation.schema)

    @given(
        st.recursive(
            st.sampled_from([{"type": "string"}, {"type": "integer"}, {}, True]),
            lambda inner: (
                st.fixed_dictionaries(
                    {
                        "type": st.just("object"),
                        "properties": st.dictionaries(st.sampled_from("abc"), inner),
                    }
                )
                | st.fixed_dictionaries({"type": st.just("array"), "items": inner})
                | st.fixed_dictionaries({"oneOf": st.lists(inner, min_size=1, max_size=2)})
                | st.fixed_dictionaries(
                    {"anyOf": st.lists(inner, min_size=1, max_size=2), "not": inner}
                )
            ),
            max_leaves=12,
        ),
        st.recursive(
            st.integers() | st.text(max_size=2),
            lambda inner: (
                st.dictionaries(st.sampled_from("abc"), inner) | st.lists(inner, max_size=2)
            ),
            max_leaves=8,
        ),
    )
    def test_never_refuses_what_was_valid(self, body: Any, value: Any) -> None:
        schema = {"type": "object", "properties": {"body": body}}

        smaller, _ = fit(schema, budget=60)

        assert jsonschema_rs.meta.is_valid(smaller)
        if jsonschema_rs.is_valid(schema, {"body": value}):
            assert jsonschema_rs.is_valid(smaller, {"body": value})


class TestToolSchema:
    def test_hides_what_is_bound_to_the_customer(self) -> None:
        draft = operation_of(
            {"parameters": [parameter("customer_id", required=True), parameter("q")]}
        )
        bound = Classification(
            access=draft.suggestion.access, confirm=False, bindings={"customer_id": "customer_id"}
        )

        schema = tool_schema(stored(draft, classification=bound))

        assert schema["properties"].keys() == {"q"}
        assert schema["required"] == []
        assert draft.schema["properties"].keys() == {"customer_id", "q"}
        assert draft.schema["required"] == ["customer_id"]
