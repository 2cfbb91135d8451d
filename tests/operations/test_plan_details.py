"""How one operation is sent, detail by detail: forms, files, media types, Swagger's odd corners."""

from typing import Any

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
)

from smart_support.operations.encodings import FILE_SCHEMA
from smart_support.operations.plan import is_own_header


def body_of(content: Any, **more: Any) -> tuple[Any, Any]:
    operation = operation_of({"requestBody": {"content": content, **more}}, method="post")
    return operation.request_plan["body"], operation.schema["properties"]["body"]


def swagger_body(parameters: list[Any], *consumes: str) -> tuple[Any, Any]:
    operation = operation_of(
        {"parameters": parameters, "consumes": list(consumes)}, method="post", version="2.0"
    )
    return operation.request_plan["body"], operation.schema["properties"]["body"]


def form_field(name: str, kind: str = "string", **more: Any) -> dict[str, Any]:
    return {"in": "formData", "name": name, "type": kind, **more}


class TestHeaderNames:
    @pytest.mark.parametrize(
        "name",
        ["Host", "TE", "Via", "http2-settings", "X-HTTP-Method", "X-Method-Override", "X-Real-IP",
         "x-original-url", "X-Rewrite-URL", "Sec-Fetch-Site", "Proxy-Connection", "X-Forwarded-By",
         "Transfer-Encoding", "content-LENGTH", "Expect", "Forwarded", "Upgrade", "Date"],
    )  # fmt: skip
    def test_that_frame_or_reroute_a_message_are_the_executors(self, name: str) -> None:
        assert is_own_header(name)
        listed = [parameter(name, "header")]
        assert operation_of({"parameters": listed}).schema["properties"] == {}

    @pytest.mark.parametrize("name", ["X-Request-Id", "Accept-Language", "If-Match", "Second"])
    def test_that_speak_of_the_matter_are_arguments(self, name: str) -> None:
        assert not is_own_header(name)

    @pytest.mark.parametrize("name", ["a b", "a:b", "a\nb", "", "ä", "a(b)"])
    def test_that_are_no_tokens_are_left_out(self, name: str) -> None:
        listed = [parameter(name, "header")]

        assert operation_of({"parameters": listed}).schema["properties"] == {}

    def test_of_credentials_do_not_depend_on_case_and_those_of_queries_do(self) -> None:
        schemes = {
            "h": {"type": "apiKey", "in": "header", "name": "X-KEY"},
            "q": {"type": "apiKey", "in": "query", "name": "Key"},
            "o": {"type": "oauth2", "in": "query", "name": "code"},
        }
        listed = [parameter("x-key", "header"), parameter("Key"), parameter("key"),
                  parameter("code")]  # fmt: skip

        operation = operation_of({"parameters": listed}, components={"securitySchemes": schemes})

        assert list(operation.schema["properties"]) == ["key", "code"]


class TestDefaults:
    @pytest.mark.parametrize(
        ("place", "name", "required"),
        [("query", "v", False), ("header", "X-V", False), ("header", "If-Match", True)],
    )
    def test_make_what_is_required_optional_but_for_the_version_that_was_seen(
        self, place: str, name: str, required: bool
    ) -> None:
        schema = {"type": "string", "default": "*"}
        listed = [parameter(name, place, required=True, schema=schema)]

        operation = operation_of({"parameters": listed})

        (plan,) = operation.request_plan["parameters"]
        assert (plan["required"], "default" in plan) == (required, not required)
        assert operation.schema["required"] == [name] * required

    def test_of_what_may_be_left_out_are_the_apis(self) -> None:
        schema = {"type": "string", "default": "x"}

        (plan,) = operation_of({"parameters": [parameter("v", schema=schema)]}).request_plan[
            "parameters"
        ]

        assert "default" not in plan


class TestSwaggerForms:
    @pytest.mark.parametrize(
        ("fields", "consumes", "media_type"),
        [
            ([form_field("a")], [], "application/x-www-form-urlencoded"),
            ([form_field("a")], ["multipart/form-data"], "multipart/form-data"),
            (
                [form_field("a")],
                ["multipart/form-data", "application/x-www-form-urlencoded"],
                "application/x-www-form-urlencoded",
            ),
            ([form_field("a", "file")], [], "multipart/form-data"),
            (
                [form_field("a", "file")],
                ["application/x-www-form-urlencoded"],
                "multipart/form-data",
            ),
            ([form_field("a")], ["application/json"], "application/x-www-form-urlencoded"),
        ],
        ids=["default", "multipart", "either", "file", "file in a form", "json has no fields"],
    )
    def test_go_as_what_they_say_or_must(
        self, fields: list[Any], consumes: list[str], media_type: str
    ) -> None:
        assert swagger_body(fields, *consumes)[0]["media_type"] == media_type

    def test_are_required_where_one_field_is(self) -> None:
        free, _ = swagger_body([form_field("a"), form_field("b")])
        bound, schema = swagger_body([form_field("a"), form_field("b", required=True)])

        assert (free["required"], bound["required"]) == (False, True)
        assert schema["required"] == ["b"]
        assert schema["properties"] == {"a": {"type": "string"}, "b": {"type": "string"}}

    def test_write_lists_in_their_collection_format(self) -> None:
        listed = {"items": {"type": "string"}}

        plan, _ = swagger_body([
            form_field("a", "array", collectionFormat="pipes", **listed),
            form_field("b", "array", collectionFormat="multi", **listed),
            form_field("c"),
        ])  # fmt: skip

        assert {name: (e["style"], e["explode"]) for name, e in plan["encoding"].items()} == {
            "a": ("pipeDelimited", False), "b": ("form", True),
        }  # fmt: skip


class TestEncodings:
    @pytest.mark.parametrize(
        ("given", "plan"),
        [
            ({"style": "form"}, ("form", True, False)),
            ({"style": "spaceDelimited"}, ("spaceDelimited", False, False)),
            ({"explode": False}, ("form", False, False)),
            ({"allowReserved": True}, ("form", True, True)),
            ({"style": "form", "contentType": "text/csv"}, ("form", True, False)),
        ],
    )
    def test_with_a_style_ignore_the_content_type(
        self, given: dict[str, Any], plan: tuple[str, bool, bool]
    ) -> None:
        content = {"schema": {"properties": {"a": {}}}, "encoding": {"a": given}}

        sent, _ = body_of({"application/x-www-form-urlencoded": content})

        style, explode, reserved = plan
        assert sent["encoding"] == {
            "a": {"style": style, "explode": explode, "allow_reserved": reserved}
        }

    @pytest.mark.parametrize(
        ("field", "content_type", "is_file"),
        [
            ({"type": "string", "format": "binary"}, None, True),
            ({"type": "array", "items": {"format": "binary"}}, None, True),
            ({"contentMediaType": "image/png"}, None, True),
            ({"contentMediaType": "image/png", "contentEncoding": "base64"}, None, False),
            ({}, "image/png", True),
            ({}, "application/pdf", True),
            ({}, "application/json", False),
            ({"type": "string"}, "image/png", False),
            ({"properties": {}}, "image/png", False),
            ({"type": "string", "format": "byte"}, None, False),
        ],
    )
    def test_of_files_are_told_from_those_of_text(
        self, field: dict[str, Any], content_type: str | None, is_file: bool
    ) -> None:
        encoding = {"a": {"contentType": content_type}} if content_type else {}
        content = {"schema": {"properties": {"a": field}}, "encoding": encoding}

        multipart, offered = body_of({"multipart/form-data": content})
        form, _ = body_of({"application/x-www-form-urlencoded": content})

        assert multipart["encoding"].get("a", {}).get("binary", False) is is_file
        shown = offered["properties"]["a"]
        assert (FILE_SCHEMA in (shown, shown.get("items"))) is is_file
        assert "binary" not in form["encoding"].get("a", {})  # a form holds no files


class TestMediaTypes:
    @pytest.mark.parametrize(
        ("media_type", "binary"),
        [
            ("application/yaml", False), ("application/graphql", False), ("image/svg+xml", False),
            ("application/zip", True), ("application/pdf", True), ("text/x-anything", False),
        ],
    )  # fmt: skip
    def test_of_text_take_text_and_others_a_file(self, media_type: str, binary: bool) -> None:
        plan, schema = body_of({media_type: {}})

        assert plan["binary"] is binary
        assert (schema == FILE_SCHEMA) is binary

    def test_of_json_lines_are_not_json(self) -> None:
        assert body_of({"application/jsonl": {}})[1]["type"] == "string"


class TestArguments:
    def test_have_descriptions_of_bounded_length(self) -> None:
        listed = [parameter("q", description="word " * 400)]

        shown = operation_of({"parameters": listed}).schema["properties"]["q"]

        assert len(shown["description"]) <= 700
        assert shown["description"].endswith("…")

    def test_of_a_path_are_required_whatever_the_document_says(self) -> None:
        operation = operation_of(
            {"parameters": [parameter("a", "path", required=False)]}, path="/p/{a}"
        )

        assert operation.schema["required"] == ["a"]
        assert operation.request_plan["parameters"][0]["required"]

    def test_without_a_schema_are_text(self) -> None:
        listed = [{"name": "q", "in": "query"}]

        assert operation_of({"parameters": listed}).schema["properties"] == {
            "q": {"type": "string"}
        }


class TestNullable:
    @pytest.mark.parametrize(
        ("written", "becomes"),
        [
            ({"const": 4, "nullable": True}, {"anyOf": [{"const": 4}, {"type": "null"}]}),
            ({"enum": [1], "nullable": True}, {"anyOf": [{"enum": [1]}, {"type": "null"}]}),
            (
                {"type": "string", "enum": ["a", None], "nullable": True},
                {"type": ["string", "null"], "enum": ["a", None]},
            ),
            ({"type": "object", "nullable": False}, {"type": "object"}),
            ({"type": "object", "nullable": "true"}, {"type": "object"}),
            ({"type": ["integer", "string"], "nullable": True},
             {"type": ["integer", "string", "null"]}),
        ],
    )  # fmt: skip
    def test_forms_all_let_null_in(self, written: Any, becomes: Any) -> None:
        assert body_schema(written) == becomes

    def test_references_are_nullable_beside_them_since_3_1(self) -> None:
        schema = {"$ref": "#/components/schemas/A", "nullable": True}

        shown = body_schema(schema, components={"schemas": {"A": {"type": "string"}}})

        assert shown == {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]}


class TestDocuments:
    def test_with_one_broken_operation_offer_all_the_others(self) -> None:
        paths = {
            f"/p{n}": {"post": json_body({"$ref": "far.json#/A"} if n % 3 == 0 else {})}
            for n in range(9)
        }

        spec = spec_of(openapi(paths))

        assert len(spec.operations) == 6
        assert [one.key for one in spec.skipped] == ["POST /p0", "POST /p3", "POST /p6"]

    @pytest.mark.parametrize(
        "media",
        [
            {"schema": {"type": "array"}},
            {"itemSchema": {"type": "string"}},
            {"schema": {"$ref": "#/components/schemas/List"}},
        ],
    )
    def test_refuse_a_form_whose_parts_have_no_names(self, media: Any) -> None:
        """RFC 7578, 4.2; no argument may write the Content-Disposition that would name them."""
        body = {"requestBody": {"content": {"multipart/form-data": media}}}
        listed = {"schemas": {"List": {"type": "array"}}}

        reason = skipped_reason(body, method="post", version="3.2.0", components=listed)

        assert "can only be sent as multipart/form-data" in reason
        also = {"requestBody": {"content": {"multipart/form-data": media, "text/plain": {}}}}
        draft = operation_of(also, method="post", version="3.2.0", components=listed)
        assert draft.request_plan["body"]["media_type"] == "text/plain"  # type: ignore[index]

    def test_say_which_types_of_body_they_offer_in_vain(self) -> None:
        body = {"requestBody": {"content": {"multipart/mixed": {}, "multipart/related": {}}}}

        reason = skipped_reason(body, method="post")

        assert reason == (
            "It cannot be used: its body can only be sent as multipart/mixed, multipart/related, "
            "which is not supported."
        )


WORDS = [
    "schema", "itemSchema", "encoding", "prefixEncoding", "itemEncoding", "headers",
    "contentType", "content", "type", "items", "prefixItems", "properties", "required", "const",
    "default", "style", "$ref", "a", "X-A", "Content-Type", "multipart/mixed", "text/plain",
    "array", "object", "string",
]  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)
    ),
    max_leaves=12,
)
KINDS_OF_BODY = [
    "multipart/form-data", "multipart/mixed", "application/jsonl", "application/a+json-seq",
    "application/x-www-form-urlencoded", "application/json",
]  # fmt: skip


@given(st.sampled_from(KINDS_OF_BODY), ANYTHING)
def test_whatever_a_document_says_of_a_body_it_is_an_operation_or_a_reason(
    media_type: str, media: Any
) -> None:
    content = {media_type: media}
    paths = {"/p": {"post": {"requestBody": {"content": content}}}}

    spec = spec_of(openapi(paths, "3.2.0"))

    assert len(spec.operations) + len(spec.skipped) == 1
    assert all(skipped.reason for skipped in spec.skipped)
    for operation in spec.operations:
        assert not {"Content-Type", "content-type"} & operation.schema["properties"].keys()
