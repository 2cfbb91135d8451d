"""Whatever the arguments, the request says them again to whoever reads it as the texts say."""

import base64
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, unquote

import httpx
import jsonschema_rs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.operations.documents import operation_of, parameter
from tests.tools.test_request import BASE, form_of, parts_of, query_of, target_of

from smart_support.tools.arguments import ArgumentsInvalid
from smart_support.tools.request import build_request

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = st.booleans() | st.integers(-(2**53), 2**53) | TEXTS
LISTS = st.lists(TEXTS, min_size=1, max_size=4)
OBJECTS = st.dictionaries(TEXTS.filter(bool), TEXTS, min_size=1, max_size=4)
JSON = st.recursive(
    st.none() | SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
NESTED = st.recursive(
    TEXTS,
    lambda inner: st.dictionaries(
        st.text("abcxyz_", min_size=1, max_size=3), inner, min_size=1, max_size=3
    ),
    max_leaves=8,
).filter(lambda value: isinstance(value, dict))
PART_WITH_HEADER = {
    "requestBody": {
        "content": {
            "multipart/form-data": {
                "schema": {"properties": {"a": {"type": "string"}}},
                "encoding": {"a": {"headers": {"X-A": {"schema": {"type": "string"}}}}},
            }
        }
    }
}
PARTS_INSIDE_WITH_HEADER = {
    "requestBody": {
        "content": {
            "multipart/mixed": {
                "itemSchema": {"type": "array", "items": {"type": "string"}},
                "itemEncoding": {
                    "contentType": "multipart/mixed",
                    "itemEncoding": {"headers": {"X-A": {"schema": {"type": "string"}}}},
                },
            }
        }
    }
}
URLENCODED = "application/x-www-form-urlencoded"


SEQUENCES = [
    "application/jsonl", "application/x-ndjson", "application/json-seq", "application/a+json-seq",
]  # fmt: skip


def whole_of(request: httpx.Request) -> Message:
    """The body, with its type, as a reader of RFC 2046 has it."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    return BytesParser(policy=HTTP).parsebytes(head + request.content)


def pairs_of(query: str) -> list[tuple[str, str]]:
    return parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def segment_of(value: Any, **given: Any) -> str:
    """What stands between `/p/` and `/end`, as written."""
    listed = [parameter("a", "path", required=True, **given)]
    target = target_of(operation_of({"parameters": listed}, path="/p/{a}/end"), a=value)
    assert target.startswith("/v1/p/")
    assert target.endswith("/end")
    segment = target.removeprefix("/v1/p/").removesuffix("/end")
    assert "/" not in segment
    assert "?" not in segment
    assert "#" not in segment
    return segment


class TestPaths:
    @given(LISTS, st.booleans())
    def test_bring_back_lists(self, value: list[str], explode: bool) -> None:
        try:
            simple = segment_of(value, explode=explode)
        except ArgumentsInvalid:
            assert ",".join(value) in {"", ".", ".."}
        else:
            assert [unquote(part) for part in simple.split(",")] == value
        matrix = segment_of(value, style="matrix", explode=explode)
        if explode:
            written = [part.partition("=") for part in matrix.split(";")[1:]]
            assert [unquote(text) for _, _, text in written] == value
            assert {name for name, _, _ in written} == {"a"}
        else:
            name, _, rest = matrix.partition("=")
            assert name == ";a"
            assert [unquote(part) for part in rest.split(",")] == value

    @given(OBJECTS)
    def test_bring_back_objects(self, value: dict[str, str]) -> None:
        simple = segment_of(value, explode=True)
        matrix = segment_of(value, style="matrix", explode=True)

        read = [tuple(map(unquote, part.split("="))) for part in simple.split(",")]
        assert dict(read) == value
        members = [part.partition("=") for part in matrix.split(";")[1:]]
        assert {unquote(name): unquote(text) for name, _, text in members} == value

    @given(TEXTS.filter(lambda text: text not in {"", ".", ".."}))
    def test_bring_back_one_value_in_each_style(self, value: str) -> None:
        assert unquote(segment_of(value)) == value
        assert unquote(segment_of(value, style="label")) == f".{value}"
        assert unquote(segment_of(value, style="matrix")) == f";a={value}"


class TestQueries:
    @given(SCALARS)
    def test_bring_back_one_value(self, value: Any) -> None:
        assert pairs_of(query_of(value)) == [("a", text_of(value))]

    @given(LISTS)
    def test_bring_back_lists(self, value: list[str]) -> None:
        assert pairs_of(query_of(value)) == [("a", text) for text in value]
        joined = query_of(value, explode=False).removeprefix("a=")
        assert [unquote(text) for text in joined.split(",")] == value
        piped = query_of(value, style="pipeDelimited").removeprefix("a=")
        assert [unquote(unquote(piped))] == [unquote("|".join(value))]

    @given(OBJECTS)
    def test_bring_back_objects(self, value: dict[str, str]) -> None:
        assert dict(pairs_of(query_of(value))) == value
        parts = query_of(value, explode=False).removeprefix("a=").split(",")
        read = [unquote(part) for part in parts]
        assert dict(zip(read[::2], read[1::2], strict=True)) == value

    @given(NESTED)
    def test_bring_back_nested_objects(self, value: dict[str, Any]) -> None:
        found: dict[str, Any] = {}
        for name, text in pairs_of(query_of(value, style="deepObject")):
            *path, last = name.removeprefix("a[").removesuffix("]").split("][")
            here = found
            for step in path:
                here = here.setdefault(step, {})
            here[last] = text

        assert found == value

    @given(JSON)
    def test_bring_back_any_json_of_a_content_parameter(self, value: Any) -> None:
        query = query_of(value, content={"application/json": {}})

        if value is None:
            assert query == ""
        else:
            ((name, text),) = pairs_of(query)
            assert (name, orjson.loads(text)) == ("a", value)


class TestCookiesAndHeaders:
    @given(LISTS)
    def test_cookies_bring_back_lists(self, value: list[str]) -> None:
        listed = [parameter("a", "cookie", explode=False), parameter("z", "cookie")]
        plan = operation_of({"parameters": listed}).request_plan

        request = build_request(plan, {"a": value, "z": "end"}, base_url=BASE)

        cookie = SimpleCookie(request.headers["cookie"])
        assert [unquote(text) for text in cookie["a"].value.split(",")] == value
        assert cookie["z"].value == "end"

    @given(TEXTS)
    def test_headers_bring_back_one_line_or_nothing_is_sent(self, value: str) -> None:
        plan = operation_of({"parameters": [parameter("X-A", "header")]}).request_plan

        try:
            request = build_request(plan, {"X-A": value}, base_url=BASE)
        except ArgumentsInvalid:
            assert any(ord(character) < 32 or ord(character) == 127 for character in value)
        else:
            (raw,) = (v for n, v in request.headers.raw if n.lower() == b"x-a")
            assert raw.decode() == value.strip()

    @given(
        st.sampled_from(
            ["Authorization", "Host", "Cookie", "X-Forwarded-For", "X-Forwarded-Host", "Forwarded",
             "Proxy-Authorization", "Content-Length", "Transfer-Encoding", "Connection",
             "X-Real-IP", "X-HTTP-Method-Override", "Content-Type", "Accept", "Via", "TE"]
        ).flatmap(lambda name: st.sampled_from([name, name.lower(), name.upper()])),
        TEXTS,
    )  # fmt: skip
    def test_no_argument_writes_a_header_of_the_executors(self, name: str, value: str) -> None:
        operation = operation_of({"parameters": [parameter(name, "header")]})
        assert name not in operation.schema["properties"]
        plan = operation.request_plan
        forged = {**plan, "parameters": [
            {"argument": "x", "name": name, "location": "header", "style": "simple",
             "explode": False, "allow_reserved": False, "media_type": None, "required": False},
        ]}  # fmt: skip

        request = build_request(forged, {"x": value}, base_url=BASE)  # type: ignore[arg-type]

        plain = build_request(plan, {}, base_url=BASE)
        assert request.headers.raw == plain.headers.raw


class TestBodies:
    @given(JSON)
    def test_of_json_are_the_value(self, value: Any) -> None:
        content = {"application/json": {}}
        plan = operation_of({"requestBody": {"content": content}}, method="post").request_plan

        assert orjson.loads(build_request(plan, {"body": value}, base_url=BASE).content) == value

    @given(OBJECTS)
    def test_of_forms_are_the_fields(self, value: dict[str, str]) -> None:
        request = form_of(value, media_type=URLENCODED)

        assert dict(pairs_of(request.content.decode())) == value
        assert request.headers["content-type"] == URLENCODED

    @given(TEXTS)
    def test_of_parts_have_headers_of_one_line_or_nothing_is_sent(self, value: str) -> None:
        plan = operation_of(PART_WITH_HEADER, method="post").request_plan

        try:
            request = build_request(plan, {"body": {"a": "text"}, "X-A": value}, base_url=BASE)
        except ArgumentsInvalid:
            assert any(ord(character) < 32 or ord(character) == 127 for character in value)
        else:
            boundary = request.headers["content-type"].partition("boundary=")[2]
            _, part, _ = request.content.split(f"--{boundary}".encode())
            head, _, content = part.partition(b"\r\n\r\n")
            assert head.split(b"\r\n")[1:] == [
                b'Content-Disposition: form-data; name="a"',
                b"Content-Type: text/plain",
                f"X-A: {value.strip()}".encode(),
            ]
            assert content == b"text\r\n"

    @given(
        st.sampled_from(["Content-Disposition", "content-type", "Content-Transfer-Encoding",
                         "Authorization", "Content-Length"]),
        TEXTS,
    )  # fmt: skip
    def test_of_parts_keep_what_frames_them(self, name: str, value: str) -> None:
        plan = operation_of(PART_WITH_HEADER, method="post").request_plan
        forged = {**plan, "parameters": [{**plan["parameters"][0], "name": name}]}

        request = build_request(
            forged,  # type: ignore[arg-type]
            {"body": {"a": "text"}, "X-A": value},
            base_url=BASE,
        )

        assert parts_of(request) == [("a", None, "text/plain", b"text")]
        assert request.content.lower().count(name.lower().encode()) <= 1

    @given(
        st.sampled_from(["Content-Disposition", "content-type", "Content-Transfer-Encoding",
                         "Authorization", "Content-Length"]),
        TEXTS,
    )  # fmt: skip
    def test_of_parts_inside_keep_what_frames_them(self, name: str, value: str) -> None:
        plan = operation_of(PARTS_INSIDE_WITH_HEADER, method="post", version="3.2.0").request_plan
        forged = {**plan, "parameters": [{**plan["parameters"][0], "name": name}]}

        request = build_request(
            forged,  # type: ignore[arg-type]
            {"body": [["x"]], "X-A": value},
            base_url=BASE,
        )

        outer, inner, leaf = whole_of(request).walk()
        assert [part.keys() for part in (outer, inner, leaf)] == [["Content-Type"]] * 3
        assert leaf["Content-Type"] == "text/plain"

    @given(st.lists(st.lists(st.none() | TEXTS, max_size=3), max_size=3))
    def test_of_parts_inside_have_each_its_own_header(self, values: list[list[str | None]]) -> None:
        plan = operation_of(PARTS_INSIDE_WITH_HEADER, method="post", version="3.2.0").request_plan
        body = [["text"] * len(inner) for inner in values]
        given_ = [value for inner in values for value in inner]

        try:
            request = build_request(plan, {"body": body, "X-A": given_}, base_url=BASE)
        except ArgumentsInvalid:
            assert any(ord(c) < 32 or ord(c) == 127 for value in given_ for c in value or "")
            return
        heads = [
            head.partition(b"X-A: ")[1:] if b"X-A" in head else None
            for head in request.content.split(b"\r\n\r\ntext\r\n")[:-1]
        ]
        assert [head and head[1].decode() for head in heads] == [
            None if value is None else value.strip() for value in given_
        ]

    @given(st.lists(JSON, max_size=5), st.sampled_from(SEQUENCES))
    def test_of_sequences_are_the_items(self, value: list[Any], media_type: str) -> None:
        content = {media_type: {"itemSchema": {}}}
        operation = operation_of(
            {"requestBody": {"content": content}}, method="post", version="3.2.0"
        )

        request = build_request(operation.request_plan, {"body": value}, base_url=BASE)

        assert jsonschema_rs.is_valid(operation.schema, {"body": value})
        assert request.headers["content-type"] == media_type
        *texts, end = request.content.split(b"\n")
        assert end == b""
        if media_type.endswith("json-seq"):
            assert all(text.startswith(b"\x1e") for text in texts)
            assert request.content.count(b"\x1e") == len(texts)
            texts = [text[1:] for text in texts]
        assert [orjson.loads(text) for text in texts] == value

    @given(JSON.filter(lambda value: not isinstance(value, list)), st.sampled_from(SEQUENCES))
    def test_of_sequences_are_never_made_of_something_else(
        self, value: Any, media_type: str
    ) -> None:
        content = {media_type: {"itemSchema": {}}}
        operation = operation_of(
            {"requestBody": {"content": content}}, method="post", version="3.2.0"
        )

        assert not jsonschema_rs.is_valid(operation.schema, {"body": value})
        with pytest.raises(ArgumentsInvalid, match="body: must be a list"):
            build_request(operation.request_plan, {"body": value}, base_url=BASE)

    @given(OBJECTS)
    def test_of_parts_are_the_fields_or_nothing_is_sent(self, value: dict[str, str]) -> None:
        def plain(text: str) -> bool:
            return not any(ord(c) < 32 or ord(c) == 127 or c in '"%\\' for c in text)

        try:
            request = form_of(value)
        except ArgumentsInvalid:
            assert not all(map(plain, value))
            return
        if all(name.isascii() and plain(name) for name in value):
            read = {name: content.decode() for name, _, _, content in parts_of(request)}
            if all(text.isprintable() for text in value.values()):
                assert read == value
        assert isinstance(request, httpx.Request)


@st.composite
def documents_of_parts(draw: st.DrawFn, depth: int = 2) -> tuple[Any, Any, Any]:
    """A list of parts, some of which are lists of parts: its schema, its encoding, the list."""
    schemas, encodings, values = [], [], []
    for _ in range(draw(st.integers(1, 3))):
        if depth and draw(st.booleans()):
            schema, encoding, value = draw(documents_of_parts(depth - 1))
            encoding |= {"contentType": draw(st.sampled_from(["multipart/mixed", "multipart/x-y"]))}
        elif draw(st.booleans()):
            schema, encoding = {}, {"contentType": "image/png"}
            value = {"base64": base64.b64encode(draw(st.binary(max_size=20))).decode()}
        else:
            schema, encoding, value = {"type": "string"}, {}, draw(TEXTS)
        schemas.append(schema)
        encodings.append(encoding)
        values.append(value)
    return {"type": "array", "prefixItems": schemas}, {"prefixEncoding": encodings}, values


def read_part(part: Message) -> Any:
    """A part as an argument says it again."""
    if part.is_multipart():
        return [read_part(each) for each in part.get_payload()]  # type: ignore[arg-type, union-attr]
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    if part.get_content_type() == "image/png":
        return {"base64": base64.b64encode(content).decode()}
    return content.decode()


@given(documents_of_parts())
def test_parts_inside_of_parts_are_brought_back(document: tuple[Any, Any, Any]) -> None:
    schema, encoding, value = document
    content = {"multipart/mixed": {"schema": schema, **encoding}}
    operation = operation_of({"requestBody": {"content": content}}, method="post")

    request = build_request(operation.request_plan, {"body": value}, base_url=BASE)

    assert jsonschema_rs.is_valid(operation.schema, {"body": value})
    assert read_part(whole_of(request)) == value
