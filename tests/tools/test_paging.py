"""Pages behind one cursor: found in the document, shown to the model, turned in the request."""

import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.operations.documents import operation_of, parameter, stored

from smart_support.operations.records import Operation
from smart_support.operations.schema import tool_schema
from smart_support.tools.answer import success
from smart_support.tools.arguments import validate_arguments
from smart_support.tools.build import Tool
from smart_support.tools.call import complete_arguments
from smart_support.tools.paging import CursorInvalid, next_cursor, turned
from smart_support.tools.request import build_request

BASE = "https://shop.test"
NUMBER = {"type": "integer"}


def query(name: str, **schema: Any) -> dict[str, Any]:
    return parameter(name, schema=schema or NUMBER)


def answers(schema: Any, **headers: Any) -> dict[str, Any]:
    response = {"content": {"application/json": {"schema": schema}}, "headers": headers}
    return {"200": response}


def fields(*names: str) -> dict[str, Any]:
    """The schema of an object with these fields; `a.b` lies in another object."""
    properties: dict[str, Any] = {"data": {"type": "array", "items": {}}}
    for name in names:
        *path, last = name.split(".")
        here = properties
        for step in path:
            here = here.setdefault(step, {"properties": {}})["properties"]
        here[last] = {}
    return {"type": "object", "properties": properties}


def listing(parameters: list[Any], schema: Any, **headers: Any) -> Operation:
    draft = operation_of(
        {"operationId": "list", "parameters": parameters, "responses": answers(schema, **headers)},
        method="get",
    )
    return stored(draft)


def pagination_of(operation: Operation) -> Any:
    return operation.classification.pagination


def page(operation: Operation, answer: Any, link: str | None = None, **arguments: Any) -> Any:
    """What the model reads, and the query of the page after it."""
    read = json.loads(
        success(
            200,
            "application/json",
            json.dumps(answer).encode(),
            cursor=lambda parsed: next_cursor(operation, arguments, parsed, link),
        )
    )
    assert read["has_more"] is ("cursor" in read)
    if not read["has_more"]:
        return read, None
    following = turned(operation, {**arguments, "cursor": read["cursor"]})
    request = build_request(operation.request_plan, following, base_url=BASE)
    return read, dict(parse_qsl(request.url.query.decode()))


class TestFinding:
    @pytest.mark.parametrize(
        ("names", "schema", "headers", "style", "parameter_name", "found"),
        [
            (["cursor", "limit"], fields("next_cursor"), (), "cursor", "cursor", ["next_cursor"]),
            (["after", "limit"], fields("paging.next.after"), (), "cursor", "after",
             ["paging", "next", "after"]),
            (["pageToken"], fields("nextPageToken"), (), "cursor", "pageToken", ["nextPageToken"]),
            (["page[after]"], fields("meta.after_cursor"), (), "cursor", "page[after]",
             ["meta", "after_cursor"]),
            (["PageToken"], fields("next_page_uri"), (), "cursor", "PageToken", ["next_page_uri"]),
            (["cursor"], fields("response_metadata.next_cursor"), (), "cursor", "cursor",
             ["response_metadata", "next_cursor"]),
            (["starting_after"], fields("has_more"), (), "cursor", "starting_after", None),
            (["page", "per_page"], {"type": "array"}, ("Link",), "link", "page", None),
            (["page", "per_page"], {"type": "array"}, (), "page", "page", None),
            (["offset", "limit"], fields(), (), "offset", "offset", None),
            (["skip", "take"], fields("total"), (), "offset", "skip", None),
        ],
    )  # fmt: skip
    def test_reads_the_way_from_the_document(
        self, names: list[str], schema: Any, headers: Any, style: str, parameter_name: str,
        found: Any,
    ) -> None:  # fmt: skip
        operation = listing(
            [query(name) for name in names], schema, **{name: {} for name in headers}
        )

        way = pagination_of(operation)

        assert (way["style"], way["parameter"], way["next"]) == (style, parameter_name, found)

    @pytest.mark.parametrize(
        ("parameters", "schema"),
        [
            ([query("q")], fields("next_cursor")),
            ([query("after", type="string")], fields()),
            ([query("page", type="string")], fields()),
            ([query("cursor", type="string")], {}),
        ],
    )
    def test_says_nothing_of_what_the_document_does_not_show(
        self, parameters: list[Any], schema: Any
    ) -> None:
        assert pagination_of(listing(parameters, schema)) is None

    def test_is_for_reading_alone(self) -> None:
        draft = operation_of(
            {"parameters": [query("page"), query("limit")], "responses": answers(fields())},
            method="post",
        )

        assert draft.suggestion.pagination is None

    def test_a_number_may_be_null_too(self) -> None:
        operation = listing([query("page", type=["integer", "null"]), query("limit")], fields())

        assert pagination_of(operation)["parameter"] == "page"

    def test_goes_through_references(self) -> None:
        draft = operation_of(
            {
                "parameters": [query("cursor", type="string")],
                "responses": {"200": {"$ref": "#/components/responses/Page"}},
            },
            components={
                "responses": {"Page": answers({"$ref": "#/components/schemas/Page"})["200"]},
                "schemas": {"Page": {"allOf": [fields("next_cursor")]}},
            },
        )

        assert draft.suggestion.pagination is not None


class TestTool:
    def test_shows_one_cursor_in_place_of_the_argument(self) -> None:
        operation = listing([query("page"), query("per_page"), query("q")], {"type": "array"})

        schema = tool_schema(operation)

        assert schema["properties"].keys() == {"cursor", "per_page", "q"}
        validate_arguments(operation, {"q": 1})

    def test_a_person_may_take_it_away(self) -> None:
        operation = listing([query("page"), query("per_page")], {"type": "array"})
        plain = replace(
            operation, classification=replace(operation.classification, pagination=None)
        )

        assert tool_schema(plain)["properties"].keys() == {"page", "per_page"}

    def test_another_argument_of_that_name_keeps_it(self) -> None:
        operation = listing(
            [query("page"), query("per_page"), parameter("cursor", "header")], {"type": "array"}
        )

        assert tool_schema(operation)["properties"].keys() == {"page_cursor", "per_page", "cursor"}

    @given(st.text(max_size=30) | st.sampled_from(["e30", "W10", "bnVsbA", "dHJ1ZQ", "MS41"]))
    def test_takes_no_cursor_but_its_own(self, cursor: str) -> None:
        operation = listing([query("page"), query("per_page")], {"type": "array"})

        try:
            found = turned(operation, {"cursor": cursor, "per_page": 5})
        except CursorInvalid:
            return
        assert found.keys() == {"page", "per_page"}
        assert isinstance(found["page"], (int, str))

    def test_says_what_a_cursor_is(self) -> None:
        operation = listing([query("page"), query("per_page")], {"type": "array"})

        with pytest.raises(CursorInvalid, match="the one that the last answer gave"):
            validate_arguments(operation, {"cursor": "mine"})

    def test_a_cursor_never_replaces_what_is_bound(self) -> None:
        operation = listing([query("page", type="integer"), query("per_page")], {"type": "array"})
        bound = replace(
            operation,
            classification=replace(operation.classification, bindings={"page": "customer_id"}),
        )
        _, following = page(bound, [1] * 5, per_page=5)
        assert following == {"page": "2", "per_page": "5"}

        complete = complete_arguments(
            Tool("list", bound, BASE), {"cursor": "Mg", "per_page": 5}, {"customer_id": "me"}
        )

        assert complete == {"page": "me", "per_page": 5}


class TestWalking:
    @pytest.mark.parametrize(
        ("name", "place", "answer", "mark"),
        [
            ("cursor", "next_cursor", {"data": [1], "next_cursor": "abc="}, "abc="),
            ("cursor", "next_cursor", {"data": [1], "next_cursor": None}, None),
            ("cursor", "next_cursor", {"data": [1], "next_cursor": ""}, None),
            ("cursor", "next_cursor", {"data": [1]}, None),
            ("cursor", "meta.next_cursor", {"meta": {"next_cursor": 7, "has_more": True}}, "7"),
            ("cursor", "meta.next_cursor", {"meta": {"next_cursor": 7, "has_more": False}}, None),
            ("PageToken", "next_page_uri",
             {"next_page_uri": "/2010/Calls?Page=1&PageToken=PAxyz"}, "PAxyz"),
            ("page[after]", "links.next",
             {"links": {"next": "https://h/x?page%5Bafter%5D=a%20b"}}, "a b"),
            ("cursor", "_links.next",
             {"_links": {"next": {"href": "https://h/x?cursor=a"}}}, "a"),
            ("cursor", "links.next", {"links": {"next": "https://h/x?other=a"}}, None),
        ],
    )  # fmt: skip
    def test_by_marks(self, name: str, place: str, answer: Any, mark: str | None) -> None:
        operation = listing([query(name, type="string")], fields(place))

        _, following = page(operation, answer)

        assert following == (None if mark is None else {name: mark})

    def test_by_the_last_entry(self) -> None:
        operation = listing([query("starting_after", type="string")], fields("has_more"))

        _, following = page(operation, {"data": [{"id": "a"}, {"id": "b"}], "has_more": True})
        _, end = page(operation, {"data": [{"id": "c"}], "has_more": False}, starting_after="b")

        assert following == {"starting_after": "b"}
        assert end is None

    @pytest.mark.parametrize(
        ("answer", "arguments", "after"),
        [
            ([1, 2], {"per_page": 2}, "2"),
            ([1], {"per_page": 2}, None),
            ([], {}, None),
            ([1, 2], {"per_page": 2, "page": 4}, "5"),
            ({"data": [1, 2], "total_pages": 2}, {"page": 1}, "2"),
            ({"data": [1, 2], "total_pages": 2}, {"page": 2}, None),
            ({"data": [1, 2], "meta": {"total": 5}}, {"per_page": 2, "page": 2}, "3"),
            ({"data": [1], "meta": {"total": 5}}, {"per_page": 2, "page": 3}, None),
            ({"data": [1], "has_more": True}, {"per_page": 2}, "2"),
            ({"data": [1, 2], "is_last": True}, {"per_page": 2}, None),
        ],
    )
    def test_by_pages(self, answer: Any, arguments: Any, after: str | None) -> None:
        operation = listing([query("page"), query("per_page")], fields())

        _, following = page(operation, answer, **arguments)

        assert (following or {}).get("page") == after

    @pytest.mark.parametrize(
        ("answer", "arguments", "after"),
        [
            ([1, 2], {"limit": 2}, "2"),
            ([1, 2], {"limit": 2, "offset": 4}, "6"),
            ([1], {"limit": 2}, None),
            ({"items": [1, 2], "total": 4}, {"offset": 2}, None),
            ({"items": [1, 2], "total": 5}, {"offset": 2}, "4"),
        ],
    )
    def test_by_what_to_leave_out(self, answer: Any, arguments: Any, after: str | None) -> None:
        operation = listing([query("offset"), query("limit")], fields())

        _, following = page(operation, answer, **arguments)

        assert (following or {}).get("offset") == after

    @pytest.mark.parametrize(
        ("link", "after"),
        [
            (
                '<https://api.test/x?page=2>; rel="next", <https://api.test/x?page=9>; rel="last"',
                "2",
            ),
            ("</x?page=3>; rel=next", "3"),
            ('<https://api.test/x?a=1,2&page=4>; title="a, b"; rel="prev next"', "4"),
            ('<https://api.test/x?page=1>; rel="prev"', None),
            ("garbage", None),
            (None, None),
        ],
    )
    def test_by_the_link_header(self, link: str | None, after: str | None) -> None:
        operation = listing([query("page"), query("per_page")], {"type": "array"}, Link={})

        _, following = page(operation, [1] * 30, link)

        assert (following or {}).get("page") == after

    def test_ends_where_the_next_page_is_this_one(self) -> None:
        operation = listing([query("cursor", type="string")], fields("next_cursor"))

        read, _ = page(operation, {"data": [1], "next_cursor": "a"}, cursor="a")

        assert read["has_more"] is False

    def test_a_long_page_is_shortened_and_its_cursor_is_not(self) -> None:
        operation = listing([query("cursor", type="string")], fields("next_cursor"))
        mark = "m" * 1_500

        read, following = page(
            operation, {"data": [{"text": "x" * 900}] * 200, "next_cursor": mark}
        )

        assert following == {"cursor": mark}
        assert read["data"]["data"][-1].endswith("more not shown]")

    @given(st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
            st.sampled_from(["data", "meta", "next", "next_cursor", "has_more", "total", "id"]),
            inner, max_size=4,
        ), max_leaves=10,
    ), st.sampled_from(["cursor", "page", "offset"]), st.none() | st.text(max_size=20))  # fmt: skip
    def test_any_answer_has_a_next_page_or_none(
        self, answer: Any, name: str, link: str | None
    ) -> None:
        operation = listing([query(name), query("limit")], fields("meta.next_cursor"))

        cursor = next_cursor(operation, {}, answer, link)

        if cursor is not None:
            assert turned(operation, {"cursor": cursor}).keys() == {name}
