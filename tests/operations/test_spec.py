import pickle
from typing import Any

import pytest
from tests.operations.documents import (
    json_body,
    openapi,
    operation_of,
    parameter,
    read,
    skipped_reason,
    spec_of,
)

from smart_support.operations.encodings import FILE_SCHEMA
from smart_support.operations.plan import is_own_header
from smart_support.operations.records import Location, ParameterPlan
from smart_support.operations.spec import base_url_of, read_operations


def plans(**options: Any) -> list[ParameterPlan]:
    return operation_of(**options).request_plan["parameters"]


class TestIndex:
    def test_keeps_the_documents_order_and_counts_all_methods(self) -> None:
        item = {method: {} for method in ("query", "patch", "get", "trace", "x-thing", "summary")}

        spec = spec_of(openapi({"/b": item, "/a": {"post": {}}, "x-y": {"get": {}}}, "3.2.0"))

        assert [operation.key for operation in spec.operations] == [
            "GET /b", "PATCH /b", "TRACE /b", "QUERY /b", "POST /a",
        ]  # fmt: skip

    def test_knows_methods_of_3_2(self) -> None:
        more = {
            "additionalOperations": {"COPY": {"summary": "Copy"}, "bad name": {}, "CONNECT": {}}
        }

        (operation,) = spec_of(openapi({"/a": more}, "3.2.0")).operations

        assert (operation.key, operation.method) == ("COPY /a", "COPY")
        assert operation.pointer == "#/paths/~1a/additionalOperations/COPY"

    def test_follows_references_of_path_items(self) -> None:
        components = {"pathItems": {"A": {"get": {"operationId": "a"}, "parameters": []}}}
        item = {"$ref": "#/components/pathItems/A", "post": {"operationId": "b"}}

        spec = spec_of(openapi({"/a~b": item}, components=components))

        assert [operation.operation_id for operation in spec.operations] == ["a", "b"]
        assert spec.operations[0].pointer == "#/paths/~1a~0b/get"

    def test_says_what_it_left_out_and_why(self) -> None:
        paths = {
            "/loop": {"$ref": "#/paths/~1loop"},
            "/far": {"$ref": "https://h/a.yaml#/x"},
            "/none": {"get": None},
            "/invis\u200bible": {"get": {}},
            "same": {"get": {}},
            "/same": {"get": {}},
            "/odd": 3,
        }

        spec = spec_of(openapi(paths))

        assert [operation.key for operation in spec.operations] == ["GET /same"]
        assert {skipped.key: skipped.reason for skipped in spec.skipped} == {
            "/loop": "It cannot be used: #/paths/~1loop refers to itself.",
            "/far": "It cannot be used: it refers to another site (https://h/a.yaml#/x), "
            "which is not read.",
            "GET /none": "It cannot be used: it is not described.",
            "/invisible": "Its path has invisible characters.",
            "GET /same": "It cannot be used: the document has it twice.",
        }

    @pytest.mark.parametrize("paths", [None, [], "no"])
    def test_a_document_without_operations_is_an_empty_spec(self, paths: Any) -> None:
        spec = spec_of(openapi(paths))

        assert (spec.operations, spec.skipped) == ((), ())

    def test_paths_elsewhere(self) -> None:
        far = spec_of(openapi({"$ref": "b.json"}))
        near = spec_of(openapi({"$ref": "#/x-paths"}, **{"x-paths": {"/a": {"get": {}}}}))

        assert [skipped.key for skipped in far.skipped] == ["paths"]
        assert len(near.operations) == 1


class TestFacts:
    def test_are_read_and_cleaned(self) -> None:
        described = {
            "operationId": "get\u200bIt", "summary": "Get it", "description": "All of it.",
            "tags": ["A\u202e", 3], "deprecated": True,
        }  # fmt: skip

        operation = operation_of(described, item={"summary": "not this"})

        assert operation.operation_id == operation.tool_name == "getIt"
        assert operation.description == "Get it\n\nAll of it."
        assert (operation.tags, operation.deprecated) == (("A", "3"), True)

    @pytest.mark.parametrize(
        ("described", "description"),
        [
            ({}, "GET /things"),
            ({"summary": "Sum"}, "Sum"),
            ({"summary": "Sum.", "description": "Sum of all"}, "Sum of all"),
            ({"description": "x" * 2000}, "x" * 1023 + "…"),
        ],
    )
    def test_the_model_always_has_something_to_read(
        self, described: dict[str, str], description: str
    ) -> None:
        assert operation_of(described).description == description

    def test_of_the_document(self) -> None:
        spec = spec_of(openapi({}, info={"title": "Sh\u200bop", "version": 1.5}))
        bare = spec_of({"openapi": "3.0.0", "info": None}, "a.json")

        assert (spec.title, spec.version_text, spec.dialect) == ("Shop", "1.5", "3.1.0")
        assert (bare.title, bare.version_text) == ("a.json", "")

    def test_survive_pickling(self) -> None:
        spec = spec_of(openapi({"/a": {"get": {}}}))

        assert pickle.loads(pickle.dumps(spec)) == spec

    def test_hashes_change_with_what_a_call_depends_on_alone(self) -> None:
        def hash_of(**described: Any) -> str:
            return operation_of(described).schema_hash

        same = hash_of(summary="a", tags=["x"]), hash_of(summary="b", operationId="c")
        other = (
            hash_of(parameters=[parameter("q")]),
            hash_of(parameters=[parameter("q", required=True)]),
        )

        assert same[0] == same[1]
        assert len({same[0], *other}) == 3

    def test_a_nul_cannot_be_stored_but_a_pattern_about_it_can(self) -> None:
        assert "NUL" in skipped_reason({"parameters": [parameter("q", schema={"enum": ["a\0"]})]})
        assert operation_of({"parameters": [parameter("q", schema={"pattern": r"^[^\u0000]*$"})]})

    def test_half_a_character_costs_the_operation(self) -> None:
        document = read(openapi({"/a": {"get": {"parameters": [parameter("q")]}}}))
        document.root["paths"]["/a"]["get"]["parameters"][0]["schema"]["enum"] = ["\ud800"]

        (skipped,) = read_operations(document).skipped

        assert "not valid" in skipped.reason


class TestParameters:
    def test_of_the_path_item_are_overridden_by_the_operations(self) -> None:
        inherited = [parameter("a", schema={"type": "integer"}), parameter("b")]

        operation = operation_of(
            {"parameters": [parameter("a", required=True)]}, item={"parameters": inherited}
        )

        assert operation.schema["properties"] == {"a": {"type": "string"}, "b": {"type": "string"}}
        assert operation.schema["required"] == ["a"]
        assert operation.schema["additionalProperties"] is False

    def test_with_one_name_carry_their_place(self) -> None:
        operation = operation_of(
            {
                "parameters": [parameter("id"), parameter("body"), parameter("id__path", "header")],
                **json_body({}),
            },
            method="put",
            path="/a/{id}",
        )

        assert set(operation.schema["properties"]) == {
            "id__query", "id__path_", "id__path", "body__query", "body",
        }  # fmt: skip
        assert operation.schema["required"] == ["id__path_"]

    def test_that_the_path_needs_are_there_even_if_not_described(self) -> None:
        operation = operation_of(
            {"parameters": [parameter("unused", "path")]}, path="/a/{b}/c{d}?e={f}"
        )

        assert operation.schema["required"] == ["b", "d", "f"]

    @pytest.mark.parametrize(
        "name",
        ["Authorization", "HOST", "cookie", "Accept", "content-type", "X-Forwarded-For", "bad name",
         "Proxy-Authorization", "X-HTTP-Method-Override", "X-Api-Key", ""],
    )  # fmt: skip
    def test_that_are_the_executors_are_left_out(self, name: str) -> None:
        schemes = {
            "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            "far": {"$ref": "x.json"},
        }

        operation = operation_of(
            {"parameters": [parameter(name, "header", required=True), parameter("X-Ok", "header")]},
            components={"securitySchemes": schemes},
        )

        assert list(operation.schema["properties"]) == ["X-Ok"]
        assert operation.schema["required"] == []

    def test_that_are_api_keys_are_left_out_in_2_0_too(self) -> None:
        operation = operation_of(
            {"parameters": [{"name": "key", "in": "query", "type": "string"}]},
            version="2.0",
            securityDefinitions={"k": {"type": "apiKey", "in": "query", "name": "key"}},
        )

        assert operation.schema["properties"] == {}

    def test_that_make_no_sense_are_left_out(self) -> None:
        listed = [3, {}, {"name": "a"}, {"in": "query"}, parameter("a", "nowhere"), parameter("b")]

        assert list(operation_of({"parameters": listed}).schema["properties"]) == ["b"]

    def test_that_contradict_each_other_cost_the_operation(self) -> None:
        twice = [parameter("a"), parameter("a")]
        different = [parameter("a"), parameter("a", required=True)]

        assert operation_of({"parameters": twice})
        assert "two different parameters 'a' in its query" in skipped_reason(
            {"parameters": different}
        )

    def test_behind_references(self) -> None:
        shared = {"parameters": {"P": parameter("p", description="what it is")}}
        listed = {"parameters": [{"$ref": "#/components/parameters/P"}]}

        operation = operation_of(listed, components=shared)

        assert operation.schema["properties"] == {
            "p": {"type": "string", "description": "what it is"}
        }
        assert "is not there" in skipped_reason(listed)

    @pytest.mark.parametrize(
        ("place", "given", "style", "explode"),
        [
            ("query", {}, "form", True),
            ("query", {"style": "pipeDelimited"}, "pipeDelimited", False),
            ("query", {"style": "simple"}, "form", True),
            ("query", {"style": ["x"]}, "form", True),
            ("query", {"explode": False}, "form", False),
            ("header", {}, "simple", False),
            ("header", {"explode": True}, "simple", True),
            ("cookie", {}, "form", True),
            ("cookie", {"style": "cookie"}, "cookie", True),
        ],
    )  # fmt: skip
    def test_have_the_styles_of_3_x(
        self, place: Location, given: dict[str, Any], style: str, explode: bool
    ) -> None:
        given = {k: v for k, v in given.items() if not isinstance(v, list)}

        (plan,) = plans(operation={"parameters": [parameter("a", place, **given)]})

        assert (plan["location"], plan["style"], plan["explode"]) == (place, style, explode)

    @pytest.mark.parametrize(
        ("place", "how", "style", "explode"),
        [
            ("query", "csv", "form", False), ("query", "multi", "form", True),
            ("query", "ssv", "spaceDelimited", False), ("query", "tsv", "tabDelimited", False),
            ("query", "pipes", "pipeDelimited", False), ("header", "csv", "simple", False),
            ("query", None, "form", False),
        ],
    )  # fmt: skip
    def test_have_the_collection_formats_of_2_0(
        self, place: str, how: str | None, style: str, explode: bool
    ) -> None:
        listed = {"name": "a", "in": place, "type": "array", "items": {"type": "integer"}}

        (plan,) = plans(
            operation={"parameters": [{**listed, "collectionFormat": how}]}, version="2.0"
        )

        assert (plan["style"], plan["explode"]) == (style, explode)

    def test_with_content_are_serialised_first(self) -> None:
        listed = {
            "name": "f",
            "in": "query",
            "content": {"application/json; x=1": {"schema": {"type": "object"}}},
        }

        operation = operation_of({"parameters": [listed]})

        assert operation.schema["properties"] == {"f": {"type": "object"}}
        assert operation.request_plan["parameters"][0]["media_type"] == "application/json"

    def test_that_are_the_whole_query(self) -> None:
        listed = {"name": "q", "in": "querystring", "content": {"application/json": None}}

        (plan,) = plans(operation={"parameters": [listed]}, version="3.2.0")

        assert (plan["location"], plan["style"]) == ("query", "querystring")


class TestBodies:
    def body_of(self, content: Any, **more: Any) -> tuple[Any, Any]:
        operation = operation_of({"requestBody": {"content": content, **more}}, method="post")
        return operation.request_plan["body"], operation.schema["properties"].get("body")

    @pytest.mark.parametrize(
        ("offered", "chosen"),
        [
            (["application/xml", "application/json"], "application/json"),
            (["text/plain", "application/vnd.api+json"], "application/vnd.api+json"),
            (
                ["multipart/form-data", "application/x-www-form-urlencoded"],
                "application/x-www-form-urlencoded",
            ),
            (["image/png", "multipart/form-data"], "multipart/form-data"),
            (["application/json; charset=utf-8"], "application/json; charset=utf-8"),
            (["*/*"], "application/json"),
            (["multipart/mixed", "text/csv"], "text/csv"),
        ],
    )
    def test_go_as_what_arguments_fit_best(self, offered: list[str], chosen: str) -> None:
        plan, _ = self.body_of({media_type: {} for media_type in offered})

        assert plan["media_type"] == chosen

    def test_that_cannot_be_sent_cost_the_operation(self) -> None:
        body = {"requestBody": {"content": {"multipart/mixed": {}, "a\nb": {}}}}

        assert "only be sent as multipart/mixed" in skipped_reason(body, method="post")

    @pytest.mark.parametrize("content", [None, {}, []])
    def test_that_say_nothing_are_none(self, content: Any) -> None:
        assert self.body_of(content) == (None, None)

    def test_of_text_are_strings_and_of_bytes_are_files(self) -> None:
        xml = self.body_of({"application/xml": {"schema": {"type": "object"}}}, required=True)
        text = self.body_of({"text/plain": {"schema": {"type": "string", "maxLength": 3}}})
        image = self.body_of({"image/png": {}}, description="A picture")

        assert xml[0]["required"]
        assert xml[1] == {"type": "string", "description": "Text of type application/xml."}
        assert text[1] == {"type": "string", "maxLength": 3}
        assert image[0]["binary"]
        assert image[1] == {**FILE_SCHEMA, "description": "A picture"}

    def test_of_forms_keep_the_encoding_of_each_field(self) -> None:
        properties = {
            "one": {"type": "string", "format": "binary", "description": "The one"},
            "many": {"type": "array", "items": {"type": "string", "format": "binary"}},
            "new": {"contentMediaType": "image/png"},
            "pic": {}, "text": {"type": "string", "contentEncoding": "base64"}, "styled": {},
            "gone": {"$ref": "#/nowhere"},
        }  # fmt: skip
        encoding = {
            "pic": {"contentType": "image/png, image/jpeg"}, "styled": {"style": "deepObject"},
            "text": {"contentType": "a\r\nb"}, "odd": 3,
        }  # fmt: skip
        schema = {"properties": properties}

        plan, offered = self.body_of(
            {"multipart/form-data": {"schema": schema, "encoding": encoding}}
        )

        assert plan["encoding"] == {
            "one": {"binary": True}, "many": {"binary": True}, "new": {"binary": True},
            "pic": {"content_type": "image/png", "binary": True,
                    "content_types": ["image/png", "image/jpeg"]},
            "text": {"content_type": "application/octet-stream",
                     "headers": {"Content-Transfer-Encoding": "base64"}},
            "styled": {"style": "deepObject", "explode": False, "allow_reserved": False},
        }  # fmt: skip
        assert offered["properties"]["one"] == {**FILE_SCHEMA, "description": "The one"}
        assert offered["properties"]["many"] == {"type": "array", "items": FILE_SCHEMA}

    def test_of_forms_behind_references_and_compositions(self) -> None:
        file = {"properties": {"f": {"type": "string", "format": "binary"}}}
        schemas = {"F": file, "Both": {"allOf": [{"$ref": "#/components/schemas/F"}]}}
        operations = [
            operation_of(
                {"requestBody": {"content": {"multipart/form-data": {"schema": schema}}}},
                method="post",
                components={"schemas": schemas},
            )
            for schema in ({"$ref": f"#/components/schemas/{name}"} for name in schemas)
        ]

        for operation in operations:
            assert operation.request_plan["body"]
            assert operation.request_plan["body"]["encoding"] == {"f": {"binary": True}}
        assert operations[0].schema["properties"]["body"]["properties"] == {"f": FILE_SCHEMA}

    def test_of_2_0(self) -> None:
        def read_body(parameters: list[Any], **more: Any) -> tuple[Any, Any]:
            operation = operation_of(
                {"parameters": parameters, **more}, method="post", version="2.0",
                consumes=["application/x-www-form-urlencoded", "text/plain"],
            )  # fmt: skip
            return operation.request_plan["body"], operation.schema["properties"]["body"]

        whole = {
            "in": "body",
            "name": "x",
            "schema": {"type": "string"},
            "description": "It",
            "required": True,
        }
        field = {
            "in": "formData",
            "name": "a",
            "type": "array",
            "items": {"type": "string"},
            "required": True,
        }
        file = {"in": "formData", "name": "f", "type": "file"}

        assert read_body([whole])[0]["media_type"] == "text/plain"
        assert read_body([whole])[1] == {"type": "string", "description": "It"}
        assert (
            read_body([whole], consumes=["multipart/form-data"])[0]["media_type"]
            == "application/json"
        )
        assert read_body([whole], consumes=3)[0]["media_type"] == "application/json"
        plan, schema = read_body([field])
        assert plan["media_type"] == "application/x-www-form-urlencoded"
        assert plan["required"]
        assert plan["encoding"]["a"] == {"style": "form", "explode": False, "allow_reserved": False}
        assert schema["required"] == ["a"]
        plan, schema = read_body([file])
        assert (plan["media_type"], plan["encoding"]) == (
            "multipart/form-data",
            {"f": {"binary": True}},
        )
        assert schema["properties"]["f"] == FILE_SCHEMA

    @pytest.mark.parametrize(
        ("listed", "reason"),
        [
            ([{"in": "body", "name": "a"}, {"in": "body", "name": "b"}], "more than one body"),
            ([{"in": "body", "name": "a"}, {"in": "formData", "name": "b"}], "both a body"),
        ],
    )
    def test_of_2_0_that_contradict_each_other(self, listed: list[Any], reason: str) -> None:
        assert reason in skipped_reason({"parameters": listed}, method="post", version="2.0")


class TestServers:
    @pytest.mark.parametrize(
        ("servers", "source", "url"),
        [
            (
                [{"url": "https://api.shop/v1/"}, {"url": "https://b"}],
                "a.json",
                "https://api.shop/v1",
            ),
            ([{"url": "/v1"}], "https://docs.shop:8443/x/a.json", "https://docs.shop:8443/v1"),
            ([{"url": "v1"}], "https://docs.shop/x/a.json", "https://docs.shop/x/v1"),
            ([{"url": "/v1"}], "a.json", None),
            ([{"url": "ftp://x"}], "a.json", None),
            ([{"url": "https://user:pass@x/a?b#c"}], "a.json", "https://x/a"),
            ([{"url": "http://[::1]:80/a"}], "a.json", "http://[::1]:80/a"),
            ([{"url": "http://["}], "a.json", None),
            ([{"url": "https://x:999999"}], "a.json", None),
            (
                [
                    {
                        "url": "https://{r}.x/{v}",
                        "variables": {"r": {"default": "eu"}, "v": {"enum": ["1"]}},
                    }
                ],
                "a",
                "https://eu.x/1",
            ),
            ([{"url": "https://{r}.x"}], "a.json", None),
            ([{"url": "https://{r}.x", "variables": {"r": 3}}], "a.json", None),
            ([3], "a.json", None),
            ([], "https://docs.shop/a.json", "https://docs.shop"),
            (None, "a.json", None),
        ],
    )
    def test_of_3_x(self, servers: Any, source: str, url: str | None) -> None:
        assert base_url_of(read(openapi({}, servers=servers), source)) == url

    @pytest.mark.parametrize(
        ("fields", "source", "url"),
        [
            ({"host": "x", "basePath": "/v1/"}, "a.json", "https://x/v1"),
            ({"host": "x:81", "schemes": ["http"]}, "a.json", "http://x:81"),
            ({"host": "x", "schemes": ["http", "https"]}, "a.json", "https://x"),
            ({"basePath": "/v1"}, "http://h/a/b.json", "http://h/v1"),
            ({"basePath": "/v1"}, "a.json", None),
        ],
    )
    def test_of_2_0(self, fields: dict[str, Any], source: str, url: str | None) -> None:
        assert base_url_of(read(openapi({}, "2.0", **fields), source)) == url

    @pytest.mark.parametrize(
        ("own", "item", "server"),
        [
            ([{"url": "https://b/v2"}], [], "https://b/v2"),
            ([], [{"url": "https://c"}], "https://c"),
            ([{"url": "https://a"}], [{"url": "https://c"}], None),
            ([{"url": "/v3/"}], [], "/v3"),
            ([{"url": "nonsense"}], [], None),
            (None, None, None),
        ],
    )
    def test_of_one_operation(self, own: Any, item: Any, server: str | None) -> None:
        operation = operation_of(
            {"servers": own}, item={"servers": item}, servers=[{"url": "https://a/"}]
        )

        assert operation.request_plan["server"] == server

    def test_of_one_operation_are_not_known_in_2_0(self) -> None:
        operation = operation_of({"servers": [{"url": "https://b"}]}, version="2.0")

        assert operation.request_plan["server"] is None


class TestAccept:
    @pytest.mark.parametrize(
        ("responses", "accept"),
        [
            ({"200": {"content": {"text/html": {}, "application/json": {}}}}, "application/json"),
            (
                {"200": {"content": {"text/csv": {}}}, "404": {"content": {"a/json": {}}}},
                "text/csv",
            ),
            (
                {"200": {"$ref": "#/components/responses/R"}, "201": {"$ref": "#/no"}},
                "application/xml",
            ),
            ({"204": {}, "2XX": 3}, None),
            ({"200": {"content": {"a\nb": {}}}}, None),
            (None, None),
        ],
    )
    def test_is_what_a_good_answer_is(self, responses: Any, accept: str | None) -> None:
        shared = {"responses": {"R": {"content": {"application/xml": {}}}}}

        operation = operation_of({"responses": responses}, components=shared)

        assert operation.request_plan["accept"] == accept

    def test_comes_from_produces_in_2_0(self) -> None:
        more = {"version": "2.0", "produces": ["text/csv"]}

        assert operation_of({}, **more).request_plan["accept"] == "text/csv"
        assert operation_of({"produces": ["a/json", 3]}, **more).request_plan["accept"] == "a/json"
        assert operation_of({"produces": None}, **more).request_plan["accept"] is None


def test_names_of_headers_that_are_the_executors_do_not_depend_on_case() -> None:
    assert is_own_header("x-forwarded-HOST")
    assert not is_own_header("X-Request-Id")
