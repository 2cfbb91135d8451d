"""The lines shown beside a suggestion are the ones that the operation was read from."""

import json
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.operations.documents import SHARED, openapi

from smart_support.operations.evidence import (
    LONG_LINE,
    LONGEST_SHOWN,
    MAX_LINES,
    evidence_of,
    locate,
)

YAML = """\
openapi: 3.1.0
info: {title: Shop, version: '1'}
paths:
  /orders/{id}:
    parameters: &id
      - {name: id, in: path}
    get:
      summary: Look up
      description: |
        Several lines
        of it.

    delete: {summary: Remove it,
      operationId: removeOrder}
  /again:
    $ref: '#/paths/~1orders~1{id}'
  "/a~b":
    get:
      summary: With a tilde
"""
GET = "#/paths/~1orders~1{id}/get"


def shown(text: str, pointer: str, source: str = "shop.yaml") -> list[str]:
    """The lines that are highlighted."""
    found = evidence_of(text.encode(), source=source, pointer=pointer, place=None)
    first, last = (n - found.first_line for n in (found.highlight_first, found.highlight_last))
    return list(found.lines[first : last + 1])


class TestYaml:
    def test_shows_the_operation_from_its_key_to_its_last_line(self) -> None:
        assert shown(YAML, GET) == [
            "    get:",
            "      summary: Look up",
            "      description: |",
            "        Several lines",
            "        of it.",
        ]

    def test_shows_what_stands_in_braces(self) -> None:
        assert shown(YAML, "#/paths/~1orders~1{id}/delete") == [
            "    delete: {summary: Remove it,",
            "      operationId: removeOrder}",
        ]

    def test_reads_the_escapes_of_a_pointer(self) -> None:
        assert shown(YAML, "#/paths/~1a~0b/get")[0] == "    get:"

    def test_numbers_the_lines_as_the_document_does(self) -> None:
        found = evidence_of(YAML.encode(), source="shop.yaml", pointer=GET, place=None)

        numbered = dict(enumerate(found.lines, start=found.first_line))
        document = dict(enumerate(YAML.split("\n"), start=1))
        assert found.document_line == 7
        assert numbered == {n: document[n] for n in numbered}
        assert (min(numbered), max(numbered)) == (4, 14)

    def test_shows_what_holds_the_reference_that_leads_to_it(self) -> None:
        assert shown(YAML, "#/paths/~1again/get") == [
            "  /again:",
            "    $ref: '#/paths/~1orders~1{id}'",
        ]

    def test_shows_nothing_of_what_is_not_there(self) -> None:
        found = evidence_of(b"paths: {}\n", source="s.yaml", pointer="#/paths/~1x/get", place=None)

        assert found.lines == ()
        assert (found.document_line, found.left_out) == (0, 0)

    def test_follows_windows_lines_and_a_byte_order_mark(self) -> None:
        raw = b"\xef\xbb\xbf" + YAML.replace("\n", "\r\n").encode()

        found = evidence_of(raw, source="shop.yaml", pointer=GET, place=None)

        assert found.lines[found.highlight_first - found.first_line] == "    get:"
        assert found.document_line == 7

    def test_counts_characters_not_bytes(self) -> None:
        text = YAML.replace("title: Shop", "title: Лавка 🛒")

        assert shown(text, GET)[0] == "    get:"


class TestJson:
    def test_shows_the_operation_from_its_key_to_its_bracket(self) -> None:
        document = openapi({'/a"b': {"get": {"summary": '}{][ \\ " : ,'}}})
        text = json.dumps(document, indent=2)

        lines = shown(text, '#/paths/~1a"b/get', "shop.json")

        assert json.loads("{" + "\n".join(lines) + "}") == {"get": {"summary": '}{][ \\ " : ,'}}

    def test_indents_what_stands_on_one_long_line(self) -> None:
        get = {"summary": "x" * LONG_LINE, "tags": ["ü"]}
        raw = json.dumps(openapi({"/a": {"get": get}})).encode()

        found = evidence_of(raw, source="shop.json", pointer="#/paths/~1a/get", place=None)

        assert found.reformatted
        assert found.lines[0] == '"get": {'
        assert json.loads("{" + "\n".join(found.lines) + "}") == {"get": get}
        assert (found.document_line, found.first_line, found.highlight_first) == (1, 1, 1)
        assert found.highlight_last == len(found.lines)

    def test_leaves_a_short_line_as_it_is(self) -> None:
        text = json.dumps(openapi({"/a": {"get": {}}, "/b": {"get": {}}}))

        found = evidence_of(text.encode(), source="s.json", pointer="#/paths/~1b/get", place=None)

        assert found.lines == (text,)
        assert not found.reformatted

    def test_cuts_what_is_too_much_and_says_how_much(self) -> None:
        get = {"tags": [str(n) for n in range(1000)], "summary": "s" * 5000}
        text = json.dumps(openapi({"/a": {"get": get}}), indent=1)

        found = evidence_of(text.encode(), source="s.json", pointer="#/paths/~1a/get", place=None)

        own = json.dumps({"get": get}, indent=1).count("\n") - 1
        assert found.highlight_last - found.highlight_first + 1 == MAX_LINES
        assert found.left_out == own - MAX_LINES
        assert max(map(len, found.lines)) <= LONGEST_SHOWN + 1

    def test_yaml_that_begins_with_a_brace_is_read_as_yaml(self) -> None:
        text = "{openapi: 3.1.0, paths: {/a: {get: {summary: " + "w" * LONG_LINE + "}}}}"

        found = evidence_of(text.encode(), source="s.yaml", pointer="#/paths/~1a/get", place=None)

        assert not found.reformatted
        assert "get: {summary" in found.lines[0]


keys = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=6
)
# Others are written as `? key` over two lines, which no document does.
plain_keys = st.text("abcé/~:#'\"{", min_size=1, max_size=6)


def mappings(keys: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    values = st.recursive(
        st.none() | st.integers(0, 9) | keys,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=12,
    )
    return st.dictionaries(keys, values, max_size=3)


def pointers_in(node: Any, pointer: str = "#") -> dict[str, Any]:
    """Every pointer into mappings, and what it points at."""
    found: dict[str, Any] = {}
    for key, value in node.items() if isinstance(node, dict) else ():
        at = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}".replace("%", "%25")
        found |= {at: value} | pointers_in(value, at)
    return found


@settings(max_examples=80)
@given(root=mappings(keys), indent=st.sampled_from([None, 2]))
def test_what_is_located_in_json_is_what_is_pointed_at(root: Any, indent: int | None) -> None:
    text = json.dumps(root, indent=indent, ensure_ascii=indent is None)
    pointed = {p: value for p, value in pointers_in(root).items() if "%25" not in p}

    found = locate(text, pointed)

    assert found.keys() == pointed.keys()
    for pointer, (start, end) in found.items():
        (value,) = orjson.loads("{" + text[start:end] + "}").values()
        assert value == pointed[pointer]


@settings(max_examples=80)
@given(root=mappings(plain_keys))
def test_what_is_located_in_yaml_holds_what_is_pointed_at(root: Any) -> None:
    text = yaml.safe_dump(root, allow_unicode=True)
    pointed = {p: value for p, value in pointers_in(root).items() if "%25" not in p}

    found = locate(text, pointed)

    assert found.keys() == pointed.keys()
    for pointer, (start, end) in found.items():
        line_start = text.rfind("\n", 0, start) + 1
        own = " " * (start - line_start) + text[start:end]
        (value,) = yaml.safe_load(own).values()
        assert value == pointed[pointer]


@pytest.mark.skipif(not SHARED.exists(), reason="the shared documents are not on this machine")
def test_every_operation_of_real_documents_is_found_where_it_is_described() -> None:
    for name in ("OAI30__uspto.yaml", "paypal__openapi_catalogs_products_v1.json"):
        raw = (SHARED / "specs" / name).read_bytes()
        root = yaml.safe_load(raw)
        wanted = {
            f"#/paths/{path.replace('/', '~1')}/{method}": method
            for path, item in root["paths"].items()
            for method in item
            if method in {"get", "post", "patch"}
        }
        for pointer, method in wanted.items():
            found = evidence_of(raw, source=name, pointer=pointer, place=None)
            first = found.lines[found.highlight_first - found.first_line]
            assert first.strip().strip('"').startswith(method)
