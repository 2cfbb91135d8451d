"""What a document says twice is told, with its line, and nothing else is."""

import io
import json
import zipfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.operations.documents import openapi

from smart_support.operations.document import DEFAULT_MAX_BYTES
from smart_support.operations.duplicates import MOST_TOLD, TWICE, written_twice
from smart_support.operations.reading import read_draft
from smart_support.operations.records import DraftSpec

HEAD = "openapi: 3.1.0\ninfo: {title: Shop, version: '1'}\n"


def draft_of(text: str | bytes, source: str) -> DraftSpec:
    raw = text.encode() if isinstance(text, str) else text
    return read_draft(raw, source=source, max_bytes=DEFAULT_MAX_BYTES)


def told(draft: DraftSpec) -> list[tuple[str, int | None]]:
    return [(each.key, each.line) for each in draft.skipped if each.reason == TWICE]


class Pairs(list[tuple[str, Any]]):
    """An object whose names need not differ."""


def written(value: Any) -> str:
    match value:
        case Pairs():
            return "{" + ",".join(f"{json.dumps(k)}:{written(v)}" for k, v in value) + "}"
        case list():
            return "[" + ",".join(map(written, value)) + "]"
        case _:
            return json.dumps(value)


def extra(value: Any) -> int:
    match value:
        case Pairs():
            inside = sum(extra(each) for _, each in value)
            return inside + len(value) - len({key for key, _ in value})
        case list():
            return sum(map(extra, value))
        case _:
            return 0


class TestJson:
    def test_names_each_key_and_the_line_of_its_second_place(self) -> None:
        text = (
            '{"openapi": "3.1.0", "info": {"title": "Shop", "version": "1"},\n'
            ' "paths": {\n'
            '  "/a": {"get": {"summary": "one"}},\n'
            '  "/b": {"get": {"summary": "b", "description": "x", "summary": "c"}},\n'
            '  "/a": {"get": {"summary": "two"}}\n'
            " }}"
        )

        draft = draft_of(text, "shop.json")

        assert told(draft) == [("summary", 4), ("/a", 5)]
        assert [each.summary for each in draft.operations] == ["two", "c"]

    @pytest.mark.parametrize(
        "text",
        [
            '{"a": 1, "b": {"a": 1}, "c": [{"a": 1}, {"a": 1}]}',
            '{"a": "a\\": {}", "b": "a", "c": ":"}',
            '[{"a": 1}, {"a": 2}]',
            "{a: 1, a: 2}",
            "[" * 5_000 + "]" * 5_000,
        ],
    )
    def test_says_nothing_of_what_is_there_once(self, text: str) -> None:
        assert written_twice(text) == []

    @pytest.mark.parametrize(
        "text",
        [
            '{"a": 1, "\\u0061": 2}',
            '{"a" : {"b": [1, {"c": "}"}]}, "a"\t:\n2}',
            '{"x": NaN, "a": 1, "a": "\\ud800"}',
            '{"x": "two\nlines", "a": 1, "a": 2}',
        ],
    )
    def test_reads_keys_as_they_are_meant_and_as_careless_programs_write(self, text: str) -> None:
        assert [each.key for each in written_twice(text)] == ["a"]

    def test_of_very_many_the_first_are_named(self) -> None:
        text = "{" + ",\n".join(f'"k{n}": 1, "k{n}": 2' for n in range(3 * MOST_TOLD)) + "}"

        found = written_twice(text)

        assert [each.line for each in found] == list(range(1, MOST_TOLD + 2))
        assert found[-1].reason == "More names of the document are written twice."

    @given(
        st.recursive(
            st.none() | st.text(max_size=4),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.lists(st.tuples(st.sampled_from("ab{}[]:,"), inner), max_size=3).map(Pairs)
            ),
            max_leaves=12,
        )
    )
    def test_finds_as_many_as_there_are_wherever_they_are(self, value: Any) -> None:
        assert len(written_twice(written(value))) == extra(value)


class TestYaml:
    def test_names_each_key_wherever_it_stands(self) -> None:
        text = HEAD + (
            "paths:\n"
            "  /a:\n"
            "    get:\n"
            "      summary: one\n"
            "      summary: two\n"
            "components:\n"
            "  schemas:\n"
            "    Pet: {type: object}\n"
            "    Pet: {type: string}\n"
        )

        assert told(draft_of(text, "shop.yaml")) == [("summary", 7), ("Pet", 11)]

    def test_taking_over_another_mapping_writes_nothing_twice(self) -> None:
        text = HEAD + (
            "x-base: &base {description: shared, tags: [a]}\n"
            "paths:\n"
            "  /a:\n"
            "    get:\n"
            "      <<: *base\n"
            "      description: own\n"
            "    put:\n"
            "      description: own\n"
            "      <<: *base\n"
            "    post:\n"
            "      <<: *base\n"
            "      description: own\n"
            "      description: again\n"
        )

        draft = draft_of(text, "shop.yaml")

        assert told(draft) == [("description", 15)]
        assert [each.description for each in draft.operations] == ["own", "own", "again"]

    def test_of_very_many_the_first_are_named(self) -> None:
        keys = "".join(f"  k{n}: 1\n  k{n}: 2\n" for n in range(2 * MOST_TOLD))

        draft = draft_of(HEAD + "paths: {}\nx-all:\n" + keys, "shop.yaml")

        assert len(told(draft)) == MOST_TOLD
        assert len(draft.skipped) == MOST_TOLD + 1


def test_other_files_of_the_document_are_told_of_with_their_names() -> None:
    main = openapi({"/a": {"$ref": "a.yaml"}, "/b": {"$ref": "b.json"}})
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("openapi.json", json.dumps(main))
        archive.writestr("a.yaml", "get:\n  summary: one\n  summary: two\n")
        archive.writestr("b.json", '{"get": {},\n"get": {"summary": "b"}}')

    draft = draft_of(held.getvalue(), "shop.zip")

    assert told(draft) == [("a.yaml, line 3: summary", None), ("b.json, line 2: get", None)]
    assert {each.summary for each in draft.operations} == {"two", "b"}
