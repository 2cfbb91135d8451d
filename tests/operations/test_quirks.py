"""What real documents do wrong, or in ways that few expect: none of it costs an operation."""

import json
from typing import Any

import jsonschema_rs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.operations.documents import body_schema, json_body, openapi, spec_of
from tests.operations.test_shared_documents import references

from smart_support.operations.document import read_document
from smart_support.operations.reading import read_draft
from smart_support.operations.records import DraftSpec
from smart_support.operations.schema import SCHEMA_BUDGET, _compiles


def usable(spec: DraftSpec) -> None:
    """Fail unless every operation is one that any model and any validator takes."""
    names = [operation.tool_name for operation in spec.operations]
    assert len(set(names)) == len(names)
    for operation in spec.operations:
        schema = dict(operation.schema)
        jsonschema_rs.Draft202012Validator(schema)
        assert references(schema) == {f"#/$defs/{name}" for name in schema.get("$defs", {})}
        assert len(orjson.dumps(schema)) <= SCHEMA_BUDGET


def text_of(document: str, source: str = "api.yaml") -> DraftSpec:
    return read_draft(document.encode(), source=source, max_bytes=10**6)


ODD: dict[str, Any] = {
    "nulls everywhere": (
        {"parameters": None, "requestBody": None, "responses": None, "tags": None,
         "security": None, "description": None, "summary": None, "operationId": None,
         "servers": None, "deprecated": None, "callbacks": None},
        {},
    ),
    "a null schema": (json_body(None), {}),
    "null members": (json_body({"properties": {"a": None}, "required": None, "items": None}), {}),
    "an old required": (
        json_body({"properties": {"a": {"type": "string", "required": True}}, "required": True}),
        {},
    ),
    "types of other languages": (
        json_body({"properties": {"a": {"type": "file"}, "b": {"type": "int"}, "c": {"type": 3}}}),
        {},
    ),
    "a pattern of another engine": (
        json_body({"pattern": "(?<=x)y++", "patternProperties": {"[": {}, "^x": {}}}),
        {},
    ),
    "limits that are none": (
        json_body({"minLength": -1, "maximum": "9", "multipleOf": 0, "maxItems": 1.5,
                   "exclusiveMinimum": True, "exclusiveMaximum": "no"}),
        {},
    ),
    "an empty enum": (json_body({"enum": []}), {}),
    "a dangling reference": (json_body({"$ref": "#/components/schemas/No"}), {}),
    "a circle of parts": (
        json_body({"$ref": "#/components/schemas/A"}),
        {"A": {"allOf": [{"$ref": "#/components/schemas/B"}]},
         "B": {"allOf": [{"$ref": "#/components/schemas/A"}], "discriminator": {
             "propertyName": "k", "mapping": {"a": "A", "b": "other.json"}}}},
    ),
    "a reference that is not one": (
        json_body({"properties": {"$ref": {"type": "string"}, "x": {"$ref": 3}}}),
        {},
    ),
    "names that need encoding": (
        json_body({"allOf": [{"$ref": "#/components/schemas/A%20B"},
                             {"$ref": "#/components/schemas/C<D>"},
                             {"$ref": "#/components/schemas/E~1F"},
                             {"$ref": "#/components/schemas/G%7EH"}]}),
        {"A B": {"type": "object"}, "C<D>": {}, "E/F": {}, "G~H": {}},
    ),
    "a bare name": (json_body({"$ref": "Pet"}), {"Pet": {"type": "object"}}),
    "a pointer without its first slash": (
        json_body({"$ref": "#components/schemas/Pet"}), {"Pet": {"type": "object"}},
    ),
    "booleans for schemas": (
        json_body({"properties": {"a": True, "b": False}, "items": True, "not": False}), {},
    ),
    "a default of another type": (
        json_body({"type": "integer", "default": "x", "example": {}, "examples": "no"}), {},
    ),
    "a parameter that has nothing": (
        {"parameters": [{}, None, 3, {"name": "a"}, {"in": "query"}, {"name": 7, "in": "query"},
                        {"name": "ok", "in": "Query", "schema": None},
                        {"name": "st", "in": "query", "style": {}, "explode": "yes"}]},
        {},
    ),
    "bodies as 2.0 had them": (
        {"parameters": [{"name": "b", "in": "body", "schema": {"type": "object"}}]}, {},
    ),
}  # fmt: skip


class TestOddities:
    @pytest.mark.parametrize("version", ["3.0.3", "3.1.0", "3.2.0"])
    @pytest.mark.parametrize("name", ODD)
    def test_cost_nothing(self, name: str, version: str) -> None:
        operation, schemas = ODD[name]

        spec = spec_of(
            openapi(
                {"/a": {"post": operation, "parameters": None, "servers": None}, "/b": None},
                version,
                components={"schemas": schemas, "securitySchemes": None},
                servers=None,
                tags=None,
            )
        )

        assert spec.skipped == ()
        assert len(spec.operations) == 1
        usable(spec)

    def test_a_body_as_2_0_had_it_is_a_body(self) -> None:
        for version in ("2.0", "3.0.3"):
            (operation,) = spec_of(
                openapi({"/a": {"post": ODD["bodies as 2.0 had them"][0]}}, version)
            ).operations

            assert operation.request_plan["body"] is not None
            assert operation.schema["properties"].keys() == {"body"}

    @pytest.mark.parametrize(
        ("reference", "expected"),
        [
            ("#/paths/~1a~1%7Bid%7D/get/parameters/0/schema", {"type": "string", "maxLength": 5}),
            ("#/paths/~1a~1{id}/get/parameters/0/schema", {"type": "string", "maxLength": 5}),
            ("#/x-parts/Part/properties/n", {"type": "integer"}),
            ("#/components/schemas/Ref/properties/n", {"type": "integer"}),
            ("#/components/schemas/Tuple/prefixItems/1", {"type": "boolean"}),
            ("#here", {"type": "number", "minimum": 3}),
            ("https://shop.example/schemas/money", {"type": "number", "maximum": 9}),
            ("#/$defs/Inner", {"type": "string", "const": "i"}),
        ],
    )
    def test_references_lead_to_any_place(self, reference: str, expected: Any) -> None:
        read = {"name": "id", "in": "path", "schema": {"type": "string", "maxLength": 5}}
        more = {
            "x-parts": {"Part": {"properties": {"n": {"type": "integer"}}}},
            "components": {"schemas": {
                "Ref": {"$ref": "#/x-parts/Part"},
                "Tuple": {"prefixItems": [{}, {"type": "boolean"}]},
                "Named": {"$anchor": "here", "type": "number", "minimum": 3},
                "Money": {
                    "$id": "https://shop.example/schemas/money", "type": "number", "maximum": 9,
                },
                "Outer": {"$defs": {"Inner": {"type": "string", "const": "i"}}},
            }},
        }  # fmt: skip
        paths = {
            "/a/{id}": {"get": {"parameters": [read]}},
            "/b": {"post": json_body({"$ref": reference})},
        }

        spec = spec_of(openapi(paths, **more))

        assert spec.skipped == ()
        usable(spec)
        (body,) = [each for each in spec.operations if each.method == "POST"]
        target = body.schema["properties"]["body"]["$ref"].removeprefix("#/$defs/")
        assert body.schema["$defs"][target] == expected

    def test_a_dynamic_reference_is_one(self) -> None:
        tree = {"$dynamicAnchor": "node", "properties": {"next": {"$dynamicRef": "#node"}}}

        schema = body_schema(
            {"$ref": "#/components/schemas/T"}, components={"schemas": {"T": tree}}
        )

        assert schema == {"$ref": "#/$defs/T"}

    @pytest.mark.parametrize("pattern", ["^.{0,262144}$", "(a{100}){100}", "x" * 3_000, "("])
    def test_patterns_that_cost_too_much_are_left_out(self, pattern: str) -> None:
        assert body_schema({"type": "string", "pattern": pattern}) == {"type": "string"}

    @given(st.text(st.sampled_from([*"abzAZ09 _-@:/.[]^$\\dws+*?(){},1|&~!"]), max_size=12))
    def test_patterns_that_are_taken_can_be_compiled(self, pattern: str) -> None:
        if _compiles(pattern):
            jsonschema_rs.Draft202012Validator({"pattern": pattern})


class TestYaml:
    def test_is_read_by_the_core_schema(self) -> None:
        spec = text_of(
            "\ufeffopenapi: 3.1.0\ninfo: {title: Shop, version: 1.0}\npaths:\n"
            "  /a:\n    get:\n      operationId: on\n      parameters:\n"
            "      - {name: since, in: query, schema: {type: string, default: 2020-01-01}}\n"
            "      - {name: no, in: query, schema: {enum: [yes, no, 012, 0x1F, 1_000, 12:30]}}\n"
            "      responses: {200: {description: ok, content: {application/json: {}}}}\n"
            "  /a/{id}:\n    get: &get\n      summary: Look\n    head: *get\n"
            "  ? /b\n  : post: {<<: *get, operationId: 7}\n"
        )  # fmt: skip

        assert spec.skipped == ()
        usable(spec)
        first = spec.operations[0]
        assert first.tool_name == "on"
        assert first.request_plan["accept"] == "application/json"
        assert first.schema["properties"]["since"]["default"] == "2020-01-01"
        kept = first.schema["properties"]["no"]["enum"]
        assert kept == ["yes", "no", 12, 31, "1_000", "12:30"]
        assert [each.key for each in spec.operations] == [
            "GET /a", "GET /a/{id}", "HEAD /a/{id}", "POST /b",
        ]  # fmt: skip

    def test_says_where_it_is_broken(self) -> None:
        with pytest.raises(Exception, match=r"api\.yaml, line 3"):
            text_of("openapi: 3.1.0\npaths:\n\t/a: {}\n")


class TestJson:
    @pytest.mark.parametrize(
        "odd",
        ["NaN", "-Infinity", "1e999", '"\\ud800"', '"a\tb"', "123456789012345678901234567890"],
    )
    def test_of_careless_programs_is_read(self, odd: str) -> None:
        raw = json.dumps(openapi({"/a": {"get": {"parameters": [
            {"name": "q", "in": "query", "schema": {"maximum": "ODD", "description": "ODD"}},
        ]}}}))  # fmt: skip

        spec = text_of(raw.replace('"ODD"', odd), "api.json")

        assert spec.skipped == ()
        usable(spec)

    def test_may_begin_with_a_mark_and_be_indented_with_tabs(self) -> None:
        text = "\ufeff" + json.dumps(openapi({"/a": {"get": {}}}), indent="\t")

        assert len(text_of(text, "api.json").operations) == 1


LEAVES = st.sampled_from([
    {}, True, None, 3, "x", [], {"type": "string"}, {"type": ["string", "null"]},
    {"type": "file"}, {"nullable": True, "type": "integer"}, {"$ref": "#/components/schemas/A"},
    {"$ref": "#/components/schemas/B", "description": "beside"}, {"$ref": "#/definitions/A"},
    {"$ref": "#/paths/~1a/post"}, {"$ref": "other.yaml#/x"}, {"$ref": None}, {"enum": [1, None]},
    {"const": None}, {"minimum": 1, "exclusiveMinimum": True}, {"pattern": "["},
    {"format": 3, "default": {"a": [1]}}, {"readOnly": True, "type": "string"},
    {"type": "object", "required": True}, {"type": "array"}, {"$dynamicRef": "#a"},
    {"description": "d" * 3_000}, {"enum": ["e" * 40] * 300},
])  # fmt: skip
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "array", "string", ["object", "null"]]),
            "properties": st.dictionaries(st.sampled_from(["a", "b", "", "$ref"]), inner),
            "required": st.sampled_from([["a"], ["a", "a", 3], True, None]),
            "items": inner | st.lists(inner, max_size=2),
            "additionalProperties": inner,
            "allOf": st.lists(inner, max_size=2),
            "oneOf": st.lists(inner, max_size=2),
            "anyOf": st.lists(inner, max_size=2),
            "not": inner,
            "nullable": st.booleans(),
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "["]), inner),
        },
    ),
    max_leaves=12,
)


class TestAnySchemas:
    @given(
        version=st.sampled_from(["2.0", "3.0.3", "3.1.0"]),
        body=SCHEMAS,
        parameter=SCHEMAS,
        a=SCHEMAS,
        b=SCHEMAS,
    )
    def test_give_usable_operations_or_reasons_with_their_lines(
        self, version: str, body: Any, parameter: Any, a: Any, b: Any
    ) -> None:
        schemas = {"A": a, "B": b}
        listed = [{"name": "q", "in": "query", "schema": parameter}]
        operation = {"parameters": listed, **json_body(body)}
        if version == "2.0":
            operation = {"parameters": [*listed, {"name": "b", "in": "body", "schema": body}]}
        root = openapi(
            {"/a": {"post": operation}, "/b": {"get": {"operationId": "fine"}}},
            version,
            components={"schemas": schemas},
            definitions=schemas,
        )

        spec = read_draft(json.dumps(root, indent=1).encode(), source="api.json", max_bytes=10**7)

        usable(spec)
        assert "fine" in [each.tool_name for each in spec.operations]
        assert len(spec.operations) + len(spec.skipped) == 2
        assert all(each.line and "other.yaml" in each.reason for each in spec.skipped)


class TestLines:
    def test_of_what_is_left_out_are_those_of_the_document(self) -> None:
        paths = {
            "/a": {"get": json_body({"$ref": "far.yaml"})},
            "/b": {"get": {}, "post": json_body({"$ref": "https://far.example/x"})},
            "/none": {"get": 3},
            "/loop": {"$ref": "#/paths/~1loop"},
        }
        text = json.dumps(openapi(paths), indent=2)

        spec = text_of(text, "api.json")

        written = text.split("\n")
        said = {each.key: written[(each.line or 0) - 1].strip() for each in spec.skipped}
        assert said == {
            "GET /a": '"get": {', "POST /b": '"post": {', "GET /none": '"get": 3',
            "/loop": '"/loop": {',
        }  # fmt: skip

    def test_are_not_guessed(self) -> None:
        document = read_document(json.dumps(openapi({"$ref": "far.json"})).encode(), source="a")

        assert document.root["paths"] == {"$ref": "far.json"}
        (skipped,) = text_of(json.dumps(document.root), "a.json").skipped
        assert skipped.line == 1
