"""Requests held against the texts they follow: RFC 6570's own table, RFC 3986, OpenAPI, Swagger."""

from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.operations.documents import json_body, operation_of, parameter, stored
from tests.tools.test_request import BASE, form_of, parts_of, path_of, query_of, target_of

from smart_support.operations.binding import fill
from smart_support.operations.changes import changes_between
from smart_support.operations.records import Classification, Operation
from smart_support.operations.schema import tool_schema
from smart_support.tools.arguments import MAX_PROBLEMS, ArgumentsInvalid, validate_arguments
from smart_support.tools.dry_run import dry_run
from smart_support.tools.request import build_request

# RFC 6570, 3.2: the variables of its examples.
COUNT = ["one", "two", "three"]
HELLO = "Hello World!"
HALF = "50%"
LIST = ["red", "green", "blue"]
KEYS = {"semi": ";", "dot": ".", "comma": ","}


class TestRfc6570:
    """Section 3.2, with one difference that is meant: reserved characters are always encoded."""

    @pytest.mark.parametrize(
        ("value", "explode", "written"),
        [
            ("value", False, "value"),
            (HELLO, False, "Hello%20World%21"),
            (HALF, False, "50%25"),
            (LIST, False, "red,green,blue"),
            (LIST, True, "red,green,blue"),
            (KEYS, False, "semi,%3B,dot,.,comma,%2C"),
            (KEYS, True, "semi=%3B,dot=.,comma=%2C"),
        ],
    )
    def test_simple_expansion_3_2_2(self, value: Any, explode: bool, written: str) -> None:
        assert path_of(value, explode=explode) == written

    @pytest.mark.parametrize(
        ("value", "explode", "written"),
        [
            ("fred", False, ".fred"),
            (HALF, False, ".50%25"),
            (LIST, False, ".red,green,blue"),
            (LIST, True, ".red.green.blue"),
            (KEYS, False, ".semi,%3B,dot,.,comma,%2C"),
            (KEYS, True, ".semi=%3B.dot=..comma=%2C"),
        ],
    )
    def test_label_expansion_3_2_5(self, value: Any, explode: bool, written: str) -> None:
        assert path_of(value, style="label", explode=explode) == written

    @pytest.mark.parametrize(
        ("value", "explode", "written"),
        [
            ("fred", False, ";a=fred"),
            ("", False, ";a"),
            ("", True, ";a"),
            (HALF, False, ";a=50%25"),
            (COUNT, False, ";a=one,two,three"),
            (COUNT, True, ";a=one;a=two;a=three"),
            (["", "x"], True, ";a;a=x"),
            (KEYS, False, ";a=semi,%3B,dot,.,comma,%2C"),
            (KEYS, True, ";semi=%3B;dot=.;comma=%2C"),
        ],
    )
    def test_path_style_expansion_3_2_7(self, value: Any, explode: bool, written: str) -> None:
        assert path_of(value, style="matrix", explode=explode) == written

    @pytest.mark.parametrize(
        ("value", "explode", "written"),
        [
            ("fred", True, "a=fred"),
            ("", True, "a="),
            (HALF, True, "a=50%25"),
            (COUNT, True, "a=one&a=two&a=three"),
            (COUNT, False, "a=one,two,three"),
            (KEYS, False, "a=semi,%3B,dot,.,comma,%2C"),
            (KEYS, True, "semi=%3B&dot=.&comma=%2C"),
            ([], True, ""),
            ({}, False, ""),
            ({"x": None}, False, ""),
        ],
    )
    def test_form_query_expansion_3_2_8(self, value: Any, explode: bool, written: str) -> None:
        assert query_of(value, explode=explode) == written


class TestOpenApiStyles:
    """OpenAPI 3.1.1, "Style Examples": delimiters are encoded, and so is what looks like one."""

    @pytest.mark.parametrize(
        ("style", "value", "written"),
        [
            ("spaceDelimited", ["blue", "black", "brown"], "a=blue%20black%20brown"),
            ("pipeDelimited", ["blue", "black", "brown"], "a=blue%7Cblack%7Cbrown"),
            ("spaceDelimited", {"R": 100, "G": 200}, "a=R%20100%20G%20200"),
            ("pipeDelimited", {"R": 100, "G": 200}, "a=R%7C100%7CG%7C200"),
            ("pipeDelimited", ["one"], "a=one"),
            ("deepObject", {"R": 100, "G": 200}, "a%5BR%5D=100&a%5BG%5D=200"),
            ("deepObject", {"x": ["p", "q"]}, "a%5Bx%5D%5B0%5D=p&a%5Bx%5D%5B1%5D=q"),
            ("deepObject", {}, ""),
            ("deepObject", "plain", "a=plain"),
        ],
    )
    def test_of_the_query(self, style: str, value: Any, written: str) -> None:
        assert query_of(value, style=style) == written

    @pytest.mark.parametrize("levels", [19, 20, 21])
    def test_deep_objects_go_twenty_levels_deep(self, levels: int) -> None:
        value: Any = "x"
        for _ in range(levels):
            value = {"k": value}

        if levels <= 20:
            assert query_of(value, style="deepObject").count("%5Bk%5D") == levels
        else:
            with pytest.raises(ArgumentsInvalid, match="nested too deeply"):
                query_of(value, style="deepObject")

    @pytest.mark.parametrize(
        ("how", "written"),
        [
            ("csv", "a=1,x%20y"), ("ssv", "a=1%20x%20y"), ("tsv", "a=1%09x%20y"),
            ("pipes", "a=1%7Cx%20y"), ("multi", "a=1&a=x%20y"), (None, "a=1,x%20y"),
        ],
    )  # fmt: skip
    def test_of_swagger_are_its_collection_formats(self, how: str | None, written: str) -> None:
        listed = {"name": "a", "in": "query", "type": "array", "items": {"type": "string"}}
        listed |= {"collectionFormat": how} if how else {}
        operation = operation_of({"parameters": [listed]}, version="2.0")

        assert target_of(operation, a=[1, "x y"]) == f"/v1/things?{written}"

    def test_of_swagger_paths_and_headers_are_lists_with_commas(self) -> None:
        listed = {"type": "array", "items": {"type": "string"}, "required": True}
        operation = operation_of(
            {"parameters": [{"name": "a", "in": "path", **listed},
                            {"name": "X-A", "in": "header", **listed}]},
            version="2.0", path="/p/{a}",
        )  # fmt: skip

        request = build_request(
            operation.request_plan, {"a": ["x", "y"], "X-A": [1, 2]}, base_url=BASE
        )

        assert request.url.raw_path == b"/v1/p/x,y"
        assert request.headers["x-a"] == "1,2"


class TestNumbers:
    @pytest.mark.parametrize(
        ("value", "written"),
        [
            (1.0, "1"), (-2.0, "-2"), (0.1, "0.1"), (1e21, "1e+21"), (1e-7, "1e-07"),
            (2.0**53, "9007199254740992.0"), (2.0**53 - 1, "9007199254740991"),
            (True, "true"), (2**63, "9223372036854775808"), ("1.0", "1.0"),
        ],
    )  # fmt: skip
    def test_are_spelt_as_in_json_whole_ones_without_a_fraction(
        self, value: Any, written: str
    ) -> None:
        assert unquote(query_of(value)) == f"a={written}"


class TestRfc3986:
    @pytest.mark.parametrize("value", [".", "..", "%2e", "%2E%2e", "a/..", "../..", "..;"])
    def test_no_value_climbs_out_of_its_segment_5_2_4(self, value: str) -> None:
        try:
            target = target_of(operation_of({}, path="/p/{a}/end"), a=value)
        except ArgumentsInvalid:
            assert value in {".", ".."}
            return
        assert target.count("/") == 4
        assert unquote(target.split("/")[3]) == value

    def test_two_values_cannot_climb_together(self) -> None:
        operation = operation_of({}, path="/p/{a}{b}/end")

        with pytest.raises(ArgumentsInvalid, match="a, b: must not be empty"):
            target_of(operation, a=".", b=".")
        assert target_of(operation, a=".", b="x") == "/v1/p/.x/end"

    def test_what_the_document_wrote_stays_as_it_is_written(self) -> None:
        path = "/a%20b/c+d/@me/(x)/é"

        assert target_of(operation_of({}, path=path)) == "/v1/a%20b/c+d/@me/(x)/%C3%A9"

    @pytest.mark.parametrize(
        ("character", "kept"),
        [(c, True) for c in "/:?@!$'()*,;="] + [(c, False) for c in '&#+%[] "<>'],
    )
    def test_reserved_characters_are_kept_only_where_they_cannot_end_the_value(
        self, character: str, kept: bool
    ) -> None:
        written = query_of(f"x{character}y", allowReserved=True)

        assert (written == f"a=x{character}y") is kept
        assert query_of(f"x{character}y") == f"a=x%{ord(character):02X}y"

    def test_names_are_encoded_as_well(self) -> None:
        operation = operation_of({"parameters": [parameter("a&b=c")]})

        assert target_of(operation, **{"a&b=c": "1"}) == "/v1/things?a%26b%3Dc=1"

    @given(st.text(max_size=12), st.text(max_size=12))
    def test_two_parameters_never_run_into_each_other(self, one: str, other: str) -> None:
        operation = operation_of({"parameters": [parameter("a"), parameter("b")]})

        url = build_request(operation.request_plan, {"a": one, "b": other}, base_url=BASE).url

        assert list(url.params.multi_items()) == [("a", one), ("b", other)]


class TestAddress:
    @pytest.mark.parametrize(
        ("base", "server", "expected"),
        [
            ("http://shop.test", None, "http://shop.test/things"),
            ("http://shop.test/", None, "http://shop.test/things"),
            ("http://shop.test/v1/", None, "http://shop.test/v1/things"),
            ("http://shop.test/v1", "/v2", "http://shop.test/v2/things"),
            ("http://shop.test/v1", "https://b.test/", "https://b.test/things"),
            ("http://[::1]:8080/v1", None, "http://[::1]:8080/v1/things"),
        ],
    )
    def test_is_the_operators_unless_the_operation_has_its_own(
        self, base: str, server: str | None, expected: str
    ) -> None:
        plan = operation_of({}).request_plan
        plan["server"] = server

        assert str(build_request(plan, {}, base_url=base).url) == expected

    def test_an_object_in_the_query_cannot_add_to_what_is_fixed(self) -> None:
        owner, wish = parameter("owner"), parameter("filter", schema={"type": "object"})
        operation = operation_of({"parameters": [owner, wish]})

        with pytest.raises(ArgumentsInvalid, match="filter: owner is an argument of its own"):
            target_of(operation, owner="me", filter={"owner": "you"})
        assert target_of(operation, owner="me", filter={"filter": 1, "x": 2}) == (
            "/v1/things?owner=me&filter=1&x=2"
        )


class TestHeaders:
    def request(self, operation: dict[str, Any], **arguments: Any) -> httpx.Request:
        return build_request(operation_of(operation).request_plan, arguments, base_url=BASE)

    def test_ask_for_the_type_that_the_document_names_or_for_any(self) -> None:
        named = {"responses": {"200": {"content": {"application/hal+json": {}}}}}

        assert self.request(named).headers["accept"] == "application/hal+json"
        assert self.request({}).headers["accept"] == "*/*"

    def test_hold_all_cookies_in_one_line(self) -> None:
        listed = [parameter("a", "cookie"), parameter("b", "cookie")]

        request = self.request({"parameters": listed}, a="1", b="x y")

        assert request.headers.get_list("cookie") == ["a=1; b=x%20y"]

    @pytest.mark.parametrize("name", ["a=b", "a b"])
    def test_cookie_names_hold_no_sign_of_their_own(self, name: str) -> None:
        listed = [parameter(name, "cookie", style="cookie")]

        if "=" in name:
            with pytest.raises(ArgumentsInvalid, match="cannot hold"):
                self.request({"parameters": listed}, **{name: "1"})
        else:
            assert (
                self.request({"parameters": listed}, **{name: "1"}).headers["cookie"] == "a%20b=1"
            )

    @pytest.mark.parametrize("code", [0, 9, 10, 13, 27, 127])
    def test_refuse_every_control_character(self, code: int) -> None:
        listed = [parameter("X-A", "header")]

        with pytest.raises(ArgumentsInvalid, match="one line of plain text"):
            self.request({"parameters": listed}, **{"X-A": f"a{chr(code)}b"})

    @pytest.mark.parametrize(
        ("method", "length"),
        [("post", "0"), ("put", "0"), ("patch", "0"), ("get", None), ("delete", None)],
    )
    def test_say_that_a_body_is_empty_where_one_is_expected(
        self, method: str, length: str | None
    ) -> None:
        plan = operation_of({}, method=method).request_plan

        request = build_request(plan, {}, base_url=BASE)

        assert request.headers.get("content-length") == length


class TestBodies:
    def test_that_are_required_may_be_null_but_not_absent(self) -> None:
        plan = operation_of(json_body({}, required=True), method="post").request_plan

        assert build_request(plan, {"body": None}, base_url=BASE).content == b"null"
        with pytest.raises(ArgumentsInvalid, match="required: body"):
            build_request(plan, {}, base_url=BASE)

    def test_of_forms_encode_names_and_write_space_as_plus(self) -> None:
        request = form_of(
            {"a b&": "1 2+3", "list": ["x y", "z"]},
            media_type="application/x-www-form-urlencoded",
        )

        assert request.content == b"a+b%26=1+2%2B3&list=x+y&list=z"

    def test_of_forms_follow_a_style_for_objects(self) -> None:
        encoding = {"a": {"style": "deepObject", "explode": True}}

        request = form_of({"a": {"x": 1}}, encoding, "application/x-www-form-urlencoded")

        assert request.content == b"a%5Bx%5D=1"

    def test_of_parts_give_each_kind_its_type(self) -> None:
        request = form_of({"s": "text", "n": 1.0, "o": {"a": 1}, "l": [[1], "x"]})

        assert parts_of(request) == [
            ("s", None, "text/plain", b"text"),
            ("n", None, "text/plain", b"1"),
            ("o", None, "application/json", b'{"a":1}'),
            ("l", None, "application/json", b"[1]"),
            ("l", None, "text/plain", b"x"),
        ]

    def test_of_files_have_a_name_and_a_type_that_is_one(self) -> None:
        data = {"base64": "AP8="}

        (plain,) = parts_of(form_of({"file": data}))
        (wild,) = parts_of(form_of({"file": data}, {"file": {"contentType": "image/*"}}))

        assert plain == ("file", "file", "application/octet-stream", b"\x00\xff")
        assert wild[2] == "application/octet-stream"

    @pytest.mark.parametrize("text", ["AP8", "AP8=\n", "A P8=", "AP8*", "é", "===="])
    def test_of_files_are_strict_base64(self, text: str) -> None:
        with pytest.raises(ArgumentsInvalid, match="file: this is not base64"):
            form_of({"file": {"base64": text}})

    @pytest.mark.parametrize("value", ["x", 7, None, True])
    def test_inside_of_a_part_are_parts_too(self, value: Any) -> None:
        content = {
            "multipart/mixed": {
                "schema": {"type": "array", "items": {"type": "array"}},
                "itemEncoding": {"contentType": "multipart/mixed"},
            }
        }
        draft = operation_of({"requestBody": {"content": content}}, method="post")

        with pytest.raises(ArgumentsInvalid, match="must be an object"):
            build_request(draft.request_plan, {"body": [value]}, base_url=BASE)

    def test_of_parts_take_a_header_from_who_is_signed_in(self) -> None:
        encoding = {"a": {"headers": {"X-Customer": {"schema": {"type": "string"}}}}}
        schema = {"properties": {"a": {"type": "string"}}}
        content = {"multipart/form-data": {"schema": schema, "encoding": encoding}}
        draft = operation_of({"requestBody": {"content": content}}, method="post")
        bound = replace(draft.suggestion, bindings={"X-Customer": "customer_id"})
        operation = stored(draft, classification=bound)

        filled = fill({"body": {"a": "x"}}, bound.bindings, {"customer_id": "c-1"})
        request = build_request(operation.request_plan, filled, base_url=BASE)

        assert "X-Customer" not in tool_schema(operation)["properties"]
        assert b"\r\nX-Customer: c-1\r\n" in request.content

    def test_of_parts_inside_take_a_header_from_who_is_signed_in(self) -> None:
        headers = {"X-Customer": {"required": True, "schema": {"type": "string"}}}
        inside = {"contentType": "multipart/mixed", "itemEncoding": {"headers": headers}}
        media = {"itemSchema": {"type": "array"}, "itemEncoding": inside}
        content = {"multipart/mixed": media}
        draft = operation_of({"requestBody": {"content": content}}, method="post", version="3.2.0")
        bound = replace(draft.suggestion, bindings={"X-Customer": "customer_id"})
        operation = stored(draft, classification=bound)

        filled = fill({"body": [["x", "y"], ["z"]]}, bound.bindings, {"customer_id": "c-1"})
        request = build_request(operation.request_plan, filled, base_url=BASE)

        assert "X-Customer" not in tool_schema(operation)["properties"]
        assert request.content.count(b"\r\nX-Customer: c-1\r\n") == 3


class TestSequences:
    """A body of JSON texts, in all that other bodies are in."""

    def operation(self, item: Any, media_type: str = "application/jsonl") -> Operation:
        content = {media_type: {"itemSchema": item}}
        body = {"description": "The rows.", "required": True, "content": content}
        draft = operation_of(
            {"operationId": "load", "requestBody": body}, method="post", version="3.2.0"
        )
        return stored(draft)

    def test_are_offered_as_a_list_with_its_words(self) -> None:
        operation = self.operation({"type": "integer"})

        assert tool_schema(operation)["properties"]["body"] == {
            "type": "array", "items": {"type": "integer"}, "description": "The rows.",
        }  # fmt: skip
        assert tool_schema(operation)["required"] == ["body"]

    def test_are_validated_item_by_item(self) -> None:
        with pytest.raises(ArgumentsInvalid, match=r"body\[1\]: \"x\" is not of type"):
            validate_arguments(self.operation({"type": "integer"}), {"body": [1, "x"]})

    def test_are_shown_as_they_are_sent(self) -> None:
        shown = dry_run(self.operation({"type": "integer"}), BASE, {"body": [1, 2]})

        assert (shown.body, shown.body_bytes) == ("1\n2\n", 4)
        assert ("content-type", "application/jsonl") in [(n.lower(), v) for n, v in shown.headers]

    def test_are_shown_with_the_separators_that_nobody_sees(self) -> None:
        shown = dry_run(self.operation({}, "application/json-seq"), BASE, {"body": [1, {}]})

        assert (shown.body, shown.body_bytes) == ("‹U+001E›1\n‹U+001E›{}\n", 7)

    def test_that_are_framed_in_another_way_wait_for_a_person_again(self) -> None:
        before = self.operation({})
        after = self.operation({}, "application/json-seq")

        assert before.schema_hash != after.schema_hash
        (change,) = changes_between(before, after)
        assert (change.field, change.before, change.after, change.breaking) == (
            "media type of the body", "application/jsonl", "application/json-seq", True,
        )  # fmt: skip


class TestValidation:
    def operation(self, **schemas: Any) -> Any:
        listed = [parameter(name, schema=schema) for name, schema in schemas.items()]
        return stored(operation_of({"operationId": "make", "parameters": listed}))

    @pytest.mark.parametrize("wrong", [1, 5, 6, 7])
    def test_names_five_problems_and_counts_the_rest(self, wrong: int) -> None:
        operation = self.operation(**{f"n{i}": {"type": "integer"} for i in range(wrong)})

        with pytest.raises(ArgumentsInvalid) as caught:
            validate_arguments(operation, {f"n{i}": f"x{i}" for i in range(wrong)})

        told = str(caught.value)
        assert told.count("is not of type") == min(wrong, MAX_PROBLEMS)
        assert (f"; and {wrong - MAX_PROBLEMS} more" in told) is (wrong > MAX_PROBLEMS)
        assert ("more" in told) is (wrong > MAX_PROBLEMS)

    def test_says_the_same_once(self) -> None:
        schema = {"allOf": [{"type": "integer"}, {"type": "integer"}]}

        with pytest.raises(ArgumentsInvalid) as caught:
            validate_arguments(self.operation(n=schema), {"n": "x"})

        assert str(caught.value).count("is not of type") == 1

    def test_cuts_a_sentence_that_quotes_too_much(self) -> None:
        with pytest.raises(ArgumentsInvalid) as caught:
            validate_arguments(self.operation(n={"type": "integer"}), {"n": "x" * 5000})

        assert len(str(caught.value)) == len("make: n: ") + 300
        assert str(caught.value).endswith("…")

    def test_is_of_what_the_model_was_shown_not_of_what_is_sent(self) -> None:
        operation = self.operation(owner={"type": "string"}, q={"type": "string"})
        bound = Classification(
            access=operation.classification.access, confirm=False, bindings={"owner": "email"}
        )

        validate_arguments(operation, {"owner": "me"})
        with pytest.raises(ArgumentsInvalid, match="'owner' was unexpected"):
            validate_arguments(replace(operation, classification=bound), {"owner": "me"})


class TestCorners:
    """Each of these was once broken on purpose, and nothing noticed."""

    def test_an_encoded_dot_in_the_document_and_one_in_a_value_do_not_climb(self) -> None:
        operation = operation_of({}, path="/p/%2e{a}/end")

        with pytest.raises(ArgumentsInvalid, match="a: must not be empty"):
            target_of(operation, a=".")

    def test_a_text_that_is_sent_as_json_has_its_quotes(self) -> None:
        assert query_of("x", content={"application/json": {}}) == "a=%22x%22"

    @pytest.mark.parametrize("media_type", ["application/vnd.api+json", "application/json"])
    def test_a_body_of_any_kind_of_json_is_json(self, media_type: str) -> None:
        plan = operation_of({"requestBody": {"content": {media_type: {}}}}, method="post")

        request = build_request(plan.request_plan, {"body": "text"}, base_url=BASE)

        assert request.content == b'"text"'

    def test_a_file_stays_a_file_whatever_its_style(self) -> None:
        (part,) = parts_of(form_of({"file": {"base64": "AP8="}}, {"file": {"style": "form"}}))

        assert part == ("file", "file", "application/octet-stream", b"\x00\xff")

    def test_a_file_without_a_name_has_that_of_its_field(self) -> None:
        kinds = {"photo": {"type": "string", "format": "binary"}}
        content = {"multipart/form-data": {"schema": {"properties": kinds}}}
        plan = operation_of({"requestBody": {"content": content}}, method="post").request_plan

        request = build_request(plan, {"body": {"photo": "x"}}, base_url=BASE)

        assert [part[:2] for part in parts_of(request)] == [("photo", "photo")]
