import base64
import re
from email.message import Message
from email.parser import BytesParser
from typing import Any
from urllib.parse import parse_qsl, unquote

import httpx
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tests.operations.documents import json_body, operation_of, parameter, stored

from smart_support.operations.records import DraftOperation
from smart_support.tools.arguments import ArgumentsInvalid, validate_arguments
from smart_support.tools.request import build_request

BASE = "http://shop.test/v1"


def request_of(operation: DraftOperation, **arguments: Any) -> httpx.Request:
    return build_request(operation.request_plan, arguments, base_url=BASE)


def target_of(operation: DraftOperation, **arguments: Any) -> str:
    return request_of(operation, **arguments).url.raw_path.decode()


def query_of(value: Any, *others: Any, **given: Any) -> str:
    operation = operation_of({"parameters": [parameter("a", **given), *others]})
    return target_of(operation, a=value).removeprefix("/v1/things").removeprefix("?")


def path_of(value: Any, **given: Any) -> str:
    operation = operation_of({"parameters": [parameter("a", "path", **given)]}, path="/p/{a}/end")
    return target_of(operation, a=value).removeprefix("/v1/p/").removesuffix("/end")


def form_of(
    value: Any, encoding: Any = None, media_type: str = "multipart/form-data"
) -> httpx.Request:
    kinds = {"file": {"type": "string", "format": "binary"}}
    content = {media_type: {"schema": {"properties": kinds}, "encoding": encoding or {}}}
    operation = operation_of({"requestBody": {"content": content}}, method="post")
    return request_of(operation, body=value)


def parts_of(request: httpx.Request) -> list[tuple[Any, Any, str, Any]]:
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    found = []
    for part in BytesParser().parsebytes(head + request.content).get_payload():
        assert isinstance(part, Message)
        name = part.get_param("name", header="content-disposition")
        found.append(
            (name, part.get_filename(), part.get_content_type(), part.get_payload(decode=True))
        )
    return found


OBJECT = {"R": 100, "G": None, "B": "a,b"}


class TestPath:
    @pytest.mark.parametrize(
        ("value", "given", "written"),
        [
            (5.0, {}, "5"),
            (True, {}, "true"),
            (1.5, {}, "1.5"),
            ("é/%", {}, "%C3%A9%2F%25"),
            (["a", "b,c"], {}, "a,b%2Cc"),
            (OBJECT, {}, "R,100,B,a%2Cb"),
            (OBJECT, {"explode": True}, "R=100,B=a%2Cb"),
            (["a", "b"], {"style": "label"}, ".a,b"),
            (OBJECT, {"style": "label", "explode": True}, ".R=100.B=a%2Cb"),
            (["a", "b"], {"style": "matrix"}, ";a=a,b"),
            ("", {"style": "matrix"}, ";a"),
            (OBJECT, {"style": "matrix", "explode": True}, ";R=100;B=a%2Cb"),
            ({"x": 1}, {"content": {"application/json": {}}}, "%7B%22x%22%3A1%7D"),
        ],
    )
    def test_is_written_in_its_style(self, value: Any, given: dict[str, Any], written: str) -> None:
        assert path_of(value, **given) == written

    @pytest.mark.parametrize(
        ("value", "given"),
        [
            (".", {}),
            ("..", {}),
            ("", {}),
            ([], {}),
            ("", {"style": "label"}),
            (".", {"style": "label"}),
        ],
    )
    def test_never_becomes_another_path(self, value: Any, given: dict[str, Any]) -> None:
        with pytest.raises(ArgumentsInvalid, match="a: must not be empty"):
            path_of(value, **given)

    @given(st.text(min_size=1, max_size=20).filter(lambda t: t not in {".", ".."}))
    def test_keeps_any_text_in_its_segment(self, value: str) -> None:
        target = target_of(operation_of({}, path="/p/{a}/end"), a=value)

        segments = target.split("/")
        assert [*segments[:3], *segments[4:]] == ["", "v1", "p", "end"]
        assert unquote(segments[3]) == value

    def test_may_carry_a_query_of_its_own(self) -> None:
        operation = operation_of({"parameters": [parameter("q")]}, path="/a?do={x}&z=1#part")

        assert target_of(operation, x="1&2", q="y") == "/v1/a?do=1%262&z=1&q=y"

    @pytest.mark.parametrize(
        ("path", "target"),
        [
            ("/f/{+a}", "/v1/f/x%2Fy"),
            ("/f/{a*}", "/v1/f/x%2Fy"),
            ("/f{?a}", "/v1/f?a=x%2Fy"),
            ("/f/{b}{?a,c*}", "/v1/f/z?a=x%2Fy"),
        ],
    )
    def test_may_be_a_template_with_operators(self, path: str, target: str) -> None:
        given = {"a": "x/y"} | ({"b": "z"} if "{b}" in path else {})

        assert target_of(operation_of({}, path=path), **given) == target


class TestQuery:
    @pytest.mark.parametrize(
        ("value", "given", "written"),
        [
            ("", {}, "a="),
            (0, {}, "a=0"),
            (False, {}, "a=false"),
            (None, {}, ""),
            ([], {}, ""),
            ([], {"explode": False}, ""),
            ("a b+c", {}, "a=a%20b%2Bc"),
            (["x,y", 1], {"explode": False}, "a=x%2Cy,1"),
            ([{"x": 1}], {}, "a=%7B%22x%22%3A1%7D"),
            (OBJECT, {"explode": False}, "a=R,100,B,a%2Cb"),
            ({"x": {"y": [1, {"z": None}]}}, {"style": "deepObject"}, "a%5Bx%5D%5By%5D%5B0%5D=1"),
            ("x&b=1#c+%/?", {"allowReserved": True}, "a=x%26b=1%23c%2B%25/?"),
            ("a%2Fb%zz%", {"allowReserved": True}, "a=a%2Fb%25zz%25"),
            ("a%2Fb", {}, "a=a%252Fb"),
            ({"x": [1]}, {"content": {"application/json": {}}}, "a=%7B%22x%22%3A%5B1%5D%7D"),
            ("x", {"content": {"text/plain": {}}}, "a=x"),
            ({"x": "1 2", "y": [3, 4]}, {"in": "querystring"}, "x=1%202&y=3&y=4"),
            (
                {"x": 1},
                {"in": "querystring", "content": {"application/json": {}}},
                "%7B%22x%22%3A1%7D",
            ),
        ],
    )
    def test_is_written_in_its_style(self, value: Any, given: dict[str, Any], written: str) -> None:
        assert query_of(value, **given) == written

    def test_has_tabs_in_2_0(self) -> None:
        listed = {"name": "a", "in": "query", "type": "array", "collectionFormat": "tsv"}

        assert target_of(operation_of({"parameters": [listed]}, version="2.0"), a=[1, 2]).endswith(
            "a=1%092"
        )

    def test_of_an_object_cannot_stand_in_for_another_argument(self) -> None:
        with pytest.raises(ArgumentsInvalid, match="customer_id is an argument of its own"):
            query_of({"customer_id": "other"}, parameter("customer_id"))

    def test_is_not_nested_without_end(self) -> None:
        value: Any = 1
        for _ in range(30):
            value = [value]
        with pytest.raises(ArgumentsInvalid, match="nested too deeply"):
            query_of(value, style="deepObject")

    @given(st.text(max_size=30), st.booleans())
    def test_brings_any_text_to_a_parser_unchanged(self, value: str, reserved: bool) -> None:
        assume(not (reserved and re.search("%[0-9A-Fa-f]{2}", value)))
        query = query_of(value, allowReserved=reserved)

        assert parse_qsl(query, keep_blank_values=True, strict_parsing=True) == [("a", value)]


class TestHeadersAndCookies:
    def header_of(self, value: Any, **given: Any) -> str:
        operation = operation_of({"parameters": [parameter("X-A", "header", **given)]})
        return request_of(operation, **{"X-A": value}).headers["x-a"]

    def cookie_of(self, value: Any, **given: Any) -> str | None:
        operation = operation_of({"parameters": [parameter("a", "cookie", **given)]})
        return request_of(operation, a=value).headers.get("cookie")

    def test_headers_are_written_in_their_style(self) -> None:
        assert self.header_of([1, "b"]) == "1,b"
        assert self.header_of(OBJECT) == "R,100,B,a,b"
        assert self.header_of(OBJECT, explode=True) == "R=100,B=a,b"
        assert self.header_of({"é": 1}, content={"application/json": {}}) == '{"\\u00e9":1}'
        assert self.header_of(" é ") == "é"

    @pytest.mark.parametrize("value", ["a\r\nHost: evil", "a\nb", "a\0b", ["a", "\r"], {"a": "\n"}])
    def test_headers_are_one_line(self, value: Any) -> None:
        with pytest.raises(ArgumentsInvalid, match="X-A: must be one line"):
            self.header_of(value)

    def test_cookies_are_written_in_their_style(self) -> None:
        assert self.cookie_of("a; b=c") == "a=a%3B%20b%3Dc"
        assert self.cookie_of([1, 2]) == "a=1; a=2"
        assert self.cookie_of([]) is None
        assert self.cookie_of({"x": 1}, content={"application/json": {}}) == "a=%7B%22x%22%3A1%7D"
        assert self.cookie_of("a%2", style="cookie") == "a=a%2"
        with pytest.raises(ArgumentsInvalid, match="a cookie cannot hold"):
            self.cookie_of("a; b=c", style="cookie")

    def test_a_plan_never_replaces_what_is_the_executors(self) -> None:
        plan = operation_of({"parameters": [parameter("X-A", "header")]}).request_plan
        plan["parameters"][0]["name"] = "Authorization"

        request = build_request(plan, {"X-A": "evil"}, base_url=BASE, headers={"Accept": "a/b"})

        assert "authorization" not in request.headers
        assert request.headers["accept"] == "a/b"
        assert request.headers["host"] == "shop.test"

    def test_the_executors_headers_win(self) -> None:
        plan = operation_of({"parameters": [parameter("X-A", "header")]}).request_plan

        request = build_request(plan, {"X-A": "b"}, base_url=BASE, headers={"x-a": "mine"})

        assert request.headers.get_list("x-a") == ["mine"]


class TestBody:
    def test_of_json_keeps_null_and_absence_apart(self) -> None:
        operation = operation_of(json_body({}), method="patch")

        assert request_of(operation, body={"a": None}).content == b'{"a":null}'
        assert request_of(operation, body=None).content == b"null"
        absent = request_of(operation)
        assert (absent.content, "content-type" in absent.headers) == (b"", False)

    def test_of_a_form(self) -> None:
        encoding = {"s": {"style": "pipeDelimited"}}
        value = {"a": "x y&", "o": {"b": 1}, "n": None, "l": [1, 2], "s": ["p", "q"], "t": False}

        request = form_of(value, encoding, "application/x-www-form-urlencoded")

        assert request.content == b"a=x+y%26&o=%7B%22b%22%3A1%7D&l=1&l=2&s=p%7Cq&t=false"
        with pytest.raises(ArgumentsInvalid, match="must be an object"):
            form_of([1])

    def test_of_a_form_has_json_where_the_document_says_so(self) -> None:
        encoding = {name: {"contentType": "application/json"} for name in ("l", "s", "o")}

        request = form_of(
            {"l": [1, {"a": None}], "s": "x", "o": {"b": 1}, "p": [1]},
            encoding,
            "application/x-www-form-urlencoded",
        )

        assert parse_qsl(request.content.decode()) == [
            ("l", '[1,{"a":null}]'), ("s", '"x"'), ("o", '{"b":1}'), ("p", "1"),
        ]  # fmt: skip

    def test_of_json_and_forms_leaves_out_what_only_answers_have(self) -> None:
        base = {"properties": {"id": {"readOnly": True}, "name": {}}}
        schema = {"allOf": [{"$ref": "#/components/schemas/Base"}], "properties": {"x": {}}}
        for media_type in ("application/json", "application/x-www-form-urlencoded"):
            content = {media_type: {"schema": schema}}
            operation = operation_of(
                {"requestBody": {"content": content}},
                method="post",
                components={"schemas": {"Base": base}},
            )

            request = request_of(operation, body={"id": 7, "name": "n", "x": 1})

            assert b"id" not in request.content
            assert b"name" in request.content

    def test_of_parts_with_files(self) -> None:
        data = {"base64": base64.b64encode(b"\x00\xff").decode(), "filename": "a.png"}
        encoding = {
            "file": {"contentType": "image/png"}, "j": {"contentType": "application/json"},
            "s": {"style": "form", "explode": False}, "c": {"contentType": "text/csv"},
        }  # fmt: skip

        request = form_of(
            {"file": [data, "text"], "j": "x", "s": [1, 2], "c": "a;b", "n": None, "o": {}},
            encoding,
        )

        assert parts_of(request) == [
            ("file", "a.png", "image/png", b"\x00\xff"), ("file", "file", "image/png", b"text"),
            ("j", None, "application/json", b'"x"'), ("s", None, "text/plain", b"1,2"),
            ("c", None, "text/csv", b"a;b"), ("o", None, "application/json", b"{}"),
        ]  # fmt: skip
        assert parts_of(form_of({"file": {"x": 1}}))[0][2:] == (
            "application/octet-stream",
            b'{"x":1}',
        )
        assert form_of({}).headers["content-type"].startswith("multipart/form-data; boundary=")

    @pytest.mark.parametrize(
        ("value", "problem"),
        [
            ({"file": {"base64": "***"}}, "file: this is not base64"),
            ({"file": {"base64": "", "filename": "a\r\nb"}}, "one line"),
            ({"a\nb": 1}, "one line"),
        ],
    )
    def test_of_parts_refuses_what_would_break_out(self, value: Any, problem: str) -> None:
        with pytest.raises(ArgumentsInvalid, match=problem):
            form_of(value)

    @pytest.mark.parametrize(
        ("media_type", "value", "content", "sent_as"),
        [
            ("text/plain", "é", "é".encode(), "text/plain; charset=utf-8"),
            ("text/plain; charset=UTF-8", "é", "é".encode(), "text/plain; charset=UTF-8"),
            ("application/xml", "<a/>", b"<a/>", "application/xml"),
            ("image/png", {"base64": "AP8="}, b"\x00\xff", "image/png"),
            ("application/octet-stream", "text", b"text", "application/octet-stream"),
            ("application/json", "text", b'"text"', "application/json"),
        ],
    )
    def test_of_other_types(
        self, media_type: str, value: Any, content: bytes, sent_as: str
    ) -> None:
        operation = operation_of({"requestBody": {"content": {media_type: {}}}}, method="post")

        request = request_of(operation, body=value)

        assert (request.content, request.headers["content-type"]) == (content, sent_as)


class TestUnsendable:
    @pytest.mark.parametrize("value", ["\ud800", 2**70, [2**70]])
    @pytest.mark.parametrize("name", ["body", "X-A"])
    def test_values_are_refused(self, name: str, value: Any) -> None:
        operation = operation_of(
            {"parameters": [parameter("X-A", "header")], **json_body({})}, method="post"
        )
        if name == "X-A" and value == 2**70:
            assert request_of(operation, **{name: value}).headers["x-a"] == str(2**70)
            return
        with pytest.raises(ArgumentsInvalid, match="half a character or a number"):
            request_of(operation, **{name: [value]})


class TestWhere:
    @pytest.mark.parametrize(
        ("server", "url"),
        [
            ("https://other.test/x", "https://other.test/x/things"),
            ("/v9", "http://shop.test/v9/things"),
        ],
    )
    def test_an_operation_may_have_its_own_server(self, server: str, url: str) -> None:
        assert request_of(operation_of({"servers": [{"url": server}]})).url == url

    def test_required_arguments_are_required(self) -> None:
        more = {"parameters": [parameter("q", required=True)], **json_body({}, required=True)}
        operation = operation_of(more, method="post", path="/a/{id}")

        with pytest.raises(ArgumentsInvalid, match="required: q, id, body") as caught:
            request_of(operation, q=None)
        assert (caught.value.code, caught.value.status) == ("TOOL_ARGUMENTS_INVALID", 422)


class TestValidation:
    OPERATION = stored(
        operation_of(
            {
                "operationId": "make",
                "parameters": [
                    parameter("customer_id", required=True),
                    parameter("n", schema={"type": "integer"}),
                ],
                **json_body(
                    {
                        "properties": {
                            "lines": {"items": {"properties": {"qty": {"type": "integer"}}}}
                        }
                    }
                ),
            },
            method="post",
        )
    )

    def test_takes_what_fits(self) -> None:
        validate_arguments(self.OPERATION, {"n": 1, "body": {"lines": [{"qty": 1}]}})

    def test_names_place_and_problem(self) -> None:
        with pytest.raises(ArgumentsInvalid) as caught:
            validate_arguments(self.OPERATION, {"n": "x", "body": {"lines": [{}, {"qty": "y"}]}})

        assert str(caught.value).startswith("make: ")
        assert 'n: "x" is not of type "integer"' in str(caught.value)
        assert 'body.lines[1].qty: "y" is not of type "integer"' in str(caught.value)

    def test_refuses_what_is_bound_and_what_is_unknown(self) -> None:
        for name in ("customer_id", "other"):
            with pytest.raises(ArgumentsInvalid, match=f"arguments: .*'{name}' was unexpected"):
                validate_arguments(self.OPERATION, {name: "c1"})

    def test_stays_short(self) -> None:
        lines = [{"qty": "y" * 1000}] * 50

        with pytest.raises(ArgumentsInvalid, match="; and 45 more") as caught:
            validate_arguments(self.OPERATION, {"body": {"lines": lines}})

        assert len(str(caught.value)) < 2500


@given(
    st.dictionaries(
        st.sampled_from(["q", "o", "X-H", "c", "id", "body"]),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(max_size=4), inner, max_size=3)
            ),
            max_leaves=6,
        ),
    ),
    st.sampled_from(
        ["application/json", "multipart/form-data", "application/x-www-form-urlencoded"]
    ),
)
@example({"id": "1", "X-H": [["\n"]]}, "application/json")
@example({"id": "1", "X-H": "a\r\nCookie: b"}, "application/json")
@example({"id": "1", "c": "a\nb"}, "application/json")
def test_any_arguments_make_a_request_there_or_none(arguments: Any, media_type: str) -> None:
    listed = [
        parameter("q"),
        parameter("o", style="deepObject"),
        parameter("X-H", "header"),
        parameter("c", "cookie"),
    ]
    body = {"requestBody": {"content": {media_type: {}}}}
    operation = operation_of({"parameters": listed, **body}, method="post", path="/a/{id}")

    try:
        request = build_request(operation.request_plan, arguments, base_url=BASE)
    except ArgumentsInvalid:
        return

    assert (request.url.scheme, request.url.host) == ("http", "shop.test")
    assert request.url.raw_path.split(b"?")[0].startswith(b"/v1/a/")
    assert request.url.raw_path.split(b"?")[0].count(b"/") == 3
    # A line break ends a header; `\n` inside JSON is two characters and does not.
    written = b"".join(part for pair in request.headers.raw for part in pair)
    assert not {*b"\r\n\0"} & {*written}
