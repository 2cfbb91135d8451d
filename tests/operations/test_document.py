import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.operations.documents import openapi, read

from smart_support.operations.document import (
    MAX_DEPTH,
    FileBroken,
    FileEmpty,
    FileNotOpenAPI,
    FileTooComplex,
    FileTooLarge,
    Unresolved,
    Unusable,
    read_document,
)
from smart_support.operations.spec import read_operations

HEAD = "openapi: 3.1.0\ninfo: {title: Shop, version: 1}\npaths: {}\n"


def read_text(text: str, source: str = "shop.yaml") -> dict[str, object]:
    return read_document(text.encode(), source=source).root


class TestRefuses:
    @pytest.mark.parametrize("raw", [b"", b"  \n\t ", b"\xef\xbb\xbf"])
    def test_an_empty_file(self, raw: bytes) -> None:
        with pytest.raises(FileEmpty, match="is empty; choose") as caught:
            read_document(raw, source="a.json")

        assert (caught.value.code, caught.value.status) == ("FILE_EMPTY", 422)

    def test_more_bytes_than_the_limit(self) -> None:
        with pytest.raises(
            FileTooLarge, match=r"a\.json has 11 bytes and the limit is 10"
        ) as caught:
            read_document(b"{} ........", source="a.json", max_bytes=10)

        assert (caught.value.code, caught.value.status) == ("FILE_TOO_LARGE", 413)

    @pytest.mark.parametrize(
        ("raw", "line"),
        [
            (b'{"openapi": "3.1.0",\n "info": {,}}', 2),
            (b"openapi: 3.1.0\ninfo: [1, 2\npaths: {}\n", 3),
            (b"openapi: 3.1.0\ninfo: *nobody\n", 2),
            (b"openapi: 3.1.0\n--- \nopenapi: 3.1.0\n", 2),
            (b"openapi: 3.1.0\n? [a, b]\n: 1\n", 2),
            (b"openapi: 3.1.0\nx: &x [1]\n*x : 2\n", 3),
            (b"openapi: 3.1.0\nx: \x01\n", 2),
            (b"openapi: 3.1.0\nx: \xff\n", 2),
            (b"a: &a [*a]", 1),
        ],
    )
    def test_what_is_neither_json_nor_yaml_with_its_line(self, raw: bytes, line: int) -> None:
        with pytest.raises(FileBroken, match=f"a.json, line {line}: ") as caught:
            read_document(raw, source="a.json")

        assert caught.value.code == "FILE_BROKEN"
        assert caught.value.line == line

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("<html><body>hello</body></html>", "this is a web page"),
            ("[1, 2]", "no object in it"),
            ("just words", "no object in it"),
            ('{"info": {}, "item": []}', "a Postman collection"),
            ("asyncapi: 2.6.0", "an AsyncAPI document"),
            ('{"$schema": "x"}', "a JSON Schema"),
            ("paths: {}", "the field `openapi` .* is missing"),
            ("swagger: '1.2'", "of version '1.2'"),
            ("openapi: 4.0.0", "of version '4.0.0'"),
            ("openapi: [3]", "of version ''"),
            ("openapi: 30.1", "of version '30.1'"),
        ],
    )
    def test_what_is_no_openapi_document(self, text: str, problem: str) -> None:
        with pytest.raises(FileNotOpenAPI, match=problem) as caught:
            read_text(text)

        assert caught.value.code == "FILE_NOT_OPENAPI"
        assert "import a Swagger 2.0 or OpenAPI 3.x document" in str(caught.value)

    @pytest.mark.parametrize(
        "text",
        [
            '{"a":' * 5000 + "1" + "}" * 5000,
            "[" * 100_000,
            "openapi: 3.1.0\na: " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
        ],
    )
    def test_what_is_nested_without_end(self, text: str) -> None:
        with pytest.raises(FileTooComplex) as caught:
            read_text(text)

        assert caught.value.code == "FILE_TOO_COMPLEX"

    def test_aliases_that_multiply_quickly(self) -> None:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
        began = time.process_time()

        with pytest.raises(FileTooComplex, match="aliases"):
            read_text(HEAD + "\n".join(lines))

        assert time.process_time() - began < 2


class TestReads:
    @pytest.mark.parametrize("version", ["2.0", "3.0.0", "3.0.3", "3.1.0", "3.1", "3.2.0"])
    def test_every_version_and_both_forms(self, version: str) -> None:
        as_json = read(openapi({}, version))
        as_yaml = read_text(f"{'swagger' if version == '2.0' else 'openapi'}: {version}")

        assert as_json.dialect == version
        assert as_json.swagger is (version == "2.0")
        assert as_yaml

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    def test_every_encoding_that_yaml_allows(self, encoding: str) -> None:
        raw = f"{HEAD}x: é".encode(encoding)

        assert read_document(raw, source="a").root["x"] == "é"

    def test_yaml_that_begins_like_json_if_it_is_called_yaml(self) -> None:
        assert read_text("{openapi: 3.1.0, paths: {}}")["paths"] == {}
        with pytest.raises(FileBroken, match="not JSON"):
            read_text("{openapi: 3.1.0, paths: {}}", "shop.json")

    @pytest.mark.parametrize(
        ("written", "value"),
        [
            ("no", "no"), ("on", "on"), ("true", True), ("False", False), ("~", None), ("", None),
            ("null", None), ("''", ""), ("'1'", "1"), ("12:30", "12:30"), ("1_000", "1_000"),
            ("2001-01-01", "2001-01-01"), ("0o17", 15), ("0x1F", 31), ("-7", -7), ("007", 7),
            ("1.50", 1.5), ("1e3", 1000.0), (".5", 0.5), ("1e999", "1e999"), (".inf", ".inf"),
            (".nan", ".nan"), ("+x", "+x"), ("!!str 5", "5"), ("!thing 5", "5"), ("1.2.3", "1.2.3"),
            ("18446744073709551615", 2**64 - 1), ("99999999999999999999999", 1e23),
            ("|\n  a\n  b", "a\nb\n"),
        ],
    )  # fmt: skip
    def test_yaml_scalars_by_the_rules_of_1_2(self, written: str, value: object) -> None:
        read = read_text(f"{HEAD}x: {written}\n")["x"]

        assert read == value
        assert type(read) is type(value)

    def test_keys_as_they_are_written(self) -> None:
        assert read_text(HEAD + "x: {200: a, on: b, null: c, 1.10: d}")["x"] == {
            "200": "a", "on": "b", "null": "c", "1.10": "d",
        }  # fmt: skip

    def test_anchors_and_merged_mappings(self) -> None:
        text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\n"
        text += (
            "one: {<<: *a, x: 5}\ntwo: {<<: [*a, *b]}\nlist: [*a]\nno: {<<: 3}\n&k key: &s v\ns: *s"
        )

        root = read_text(HEAD + text)

        assert root["one"] == {"x": 5, "y": 1}
        assert root["two"] == {"x": 1, "y": 1, "z": 2}
        assert root["list"] == [{"x": 1, "y": 1}]
        assert root["no"] == {"<<": 3}
        assert (root["key"], root["s"]) == ("v", "v")

    def test_an_alias_as_a_key(self) -> None:
        assert read_text(HEAD + "a: &a word\n*a : 1")["word"] == 1

    def test_an_operation_given_twice_counts_once_and_is_told(self) -> None:
        text = "openapi: 3.1.0\npaths:\n  /a:\n    get: {summary: one}\n    get: {summary: two}\n"

        spec = read_operations(read_document(text.encode(), source="a.yaml"))

        assert [operation.summary for operation in spec.operations] == ["two"]
        assert [(skipped.key, skipped.line) for skipped in spec.skipped] == [("get", 5)]

    def test_the_same_bytes_have_the_same_hash(self) -> None:
        one, same, other = (
            read_document(x, source="a")
            for x in (b"openapi: 3.1", b"openapi: 3.1", b"openapi: 3.0")
        )

        assert one.hash == same.hash != other.hash


class TestReferences:
    DOCUMENT = read(
        openapi(
            {},
            **{
                "a/b~c": {"list": [10, {"x": 20}]}, "loop": {"$ref": "#/pool"},
                "pool": {"$ref": "#/loop"}, "far": {"$ref": "#/near"}, "near": {"$ref": "#/paths"},
                "é": 5,
            },
        )
    )  # fmt: skip

    @pytest.mark.parametrize(
        ("reference", "value"),
        [("#/a~1b~0c/list/0", 10), ("#/a~1b~0c/list/1/x", 20), ("#/%C3%A9", 5), ("#/paths", {})],
    )
    def test_lead_to_a_place(self, reference: str, value: object) -> None:
        assert self.DOCUMENT.at(reference) == value

    @pytest.mark.parametrize("reference", ["#/no", "#/a~1b~0c/list/2", "#/a~1b~0c/list/x", "#/é/x"])
    def test_lead_nowhere(self, reference: str) -> None:
        with pytest.raises(Unresolved, match="is not there"):
            self.DOCUMENT.at(reference)

    @pytest.mark.parametrize(
        ("reference", "place"),
        [("other.yaml#/a", "another file"), ("https://h/x.json#/a", "another site")],
    )
    def test_never_leave_the_document(self, reference: str, place: str) -> None:
        with pytest.raises(Unusable, match=place):
            self.DOCUMENT.at(reference)

    def test_are_followed_through_each_other_but_not_round_in_circles(self) -> None:
        assert self.DOCUMENT.resolved({"$ref": "#/far"}) == {}
        assert self.DOCUMENT.resolved(5) == 5
        with pytest.raises(Unresolved, match="refers to itself"):
            self.DOCUMENT.resolved({"$ref": "#/loop"})


WORDS = """$ref get post parameters requestBody content application/json schema properties type
    items allOf oneOf enum required in name style servers url variables default readOnly nullable
    description summary tags operationId responses 200 multipart/form-data encoding info title
    version components securitySchemes host basePath schemes exclusiveMinimum minimum consumes
    additionalProperties produces""".split()  # noqa: SIM905 - a list of 40 lines says no more
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["#/paths/~1a/get", "#/paths", "object", "array", "query", "path", "body"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(WORDS)
        | st.text(max_size=5),
        inner,
        max_size=5,
    ),
    max_leaves=30,
)  # fmt: skip


class TestLaws:
    @given(
        st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace"))
    )
    def test_bytes_are_read_or_refused(self, raw: bytes) -> None:
        for data in (raw, HEAD.encode() + raw):
            try:
                read_operations(read_document(data, source="x.yaml"))
            except (FileBroken, FileEmpty, FileNotOpenAPI, FileTooComplex):
                continue

    @given(
        version=st.sampled_from(["2.0", "3.0.3", "3.1.0"]),
        paths=JSON | st.dictionaries(st.sampled_from(["/a", "/b/{c}", "d"]), JSON, max_size=3),
        item=st.dictionaries(st.sampled_from(["get", "post", "parameters", "servers"]), JSON),
        more=st.dictionaries(
            st.sampled_from(["servers", "components", "info", "host", "consumes", "definitions"]),
            JSON,
        ),
    )
    def test_any_json_in_any_place_gives_operations_or_reasons(
        self, version: str, paths: object, item: object, more: dict[str, object]
    ) -> None:
        root = openapi(paths, version) | more
        if isinstance(paths, dict):
            paths["/z"] = item

        spec = read_operations(read_document(json.dumps(root).encode(), source="x.json"))

        assert len({operation.key for operation in spec.operations}) == len(spec.operations)
