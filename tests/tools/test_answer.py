"""What the model reads of an answer: short, and JSON whatever came."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_support.resilience.payload import UnreadableAnswer
from smart_support.tools.answer import MAX_CHARACTERS, failure, success

JSON = "application/json"


def read(body: bytes, content_type: str = JSON, status: int = 200) -> Any:
    return json.loads(success(status, content_type, body))


@pytest.mark.parametrize("value", [{"a": [1, None, "x"]}, [], {}, "text", 1.5, True, None])
def test_small_json_is_left_as_it_is(value: Any) -> None:
    expected = {"status": 200, "text": "null"} if value is None else value

    assert read(json.dumps(value).encode(), "" if value is None else JSON) == expected


def test_an_empty_answer_is_a_confirmation() -> None:
    assert read(b" \n", status=204)["status"] == 204
    assert "confirmed" in read(b"")["result"]


def test_json_is_known_without_being_named() -> None:
    assert read(b'{"a": 1}', "text/plain") == {"a": 1}
    assert read(b"[1]", "") == [1]


def test_what_says_that_it_is_json_and_is_none_cannot_be_read() -> None:
    assert read(b"{oops", "") == {"status": 200, "text": "{oops"}
    with pytest.raises(UnreadableAnswer):
        success(200, JSON, b"{oops")


def test_what_could_not_be_stored_is_replaced() -> None:
    assert read(b'{"a": "x\\u0000y\\ud800"}') == {"a": "x\ufffdy\ufffd"}


def test_nan_is_nothing() -> None:
    assert read(b'{"a": NaN, "b": [Infinity]}') == {"a": None, "b": [None]}


def test_bytes_are_described() -> None:
    assert read(b"\x89PNG....", "image/png; q=1")["result"] == "8 bytes of image/png, not shown."


def test_broken_text_is_shown_as_far_as_it_can_be() -> None:
    assert read(b"caf\xe9", "text/plain")["text"] == "caf\ufffd"


def test_long_lists_say_how_much_is_missing() -> None:
    found = read(json.dumps(list(range(80))).encode())

    assert found[:50] == list(range(50))
    assert found[50:] == ["[30 more not shown]"]


def test_long_texts_say_how_long_they_are() -> None:
    found = read(json.dumps({"a": "x" * 3_000}).encode())

    assert found["a"] == "x" * 2_000 + "… [3000 characters]"


def test_what_lies_too_deep_is_counted() -> None:
    deep: Any = {"end": 1}
    deep_list: Any = [1, 2]
    for _ in range(12):
        deep, deep_list = {"in": deep}, [deep_list]

    assert "[object with 1 fields]" in success(200, JSON, json.dumps(deep).encode())
    assert "[list of 2]" in success(200, JSON, json.dumps(deep_list).encode())


def test_what_is_deeper_than_any_reader_goes_cannot_be_read() -> None:
    with pytest.raises(UnreadableAnswer):
        success(200, JSON, b"[" * 200_000 + b"]" * 200_000)


def test_what_does_not_fit_at_all_is_cut() -> None:
    wide = {f"field {number}": number for number in range(5_000)}

    found = read(json.dumps(wide).encode())

    assert found["shortened"] is True
    assert len(found["beginning"]) == MAX_CHARACTERS // 2


class TestFailure:
    def test_says_what_happened(self) -> None:
        assert json.loads(failure("API_X", "failed", "No.")) == {
            "error": {"code": "API_X", "outcome": "failed", "message": "No."}
        }

    def test_repeats_the_words_of_the_api_and_nothing_else(self) -> None:
        body = json.dumps({"title": "Gone", "stack": "secret", "detail": "Order 1"}).encode()

        found = json.loads(failure("API_X", "failed", "No.", status=404, body=body))["error"]

        assert found["status"] == 404
        assert found["api_said"] == {"title": "Gone", "detail": "Order 1"}

    @pytest.mark.parametrize("body", [b"", b"<html>", b"{oops", b"[1]", b'{"stack": 1}'])
    def test_without_such_words_has_none(self, body: bytes) -> None:
        found = json.loads(failure("API_X", "failed", "No.", status=500, body=body))["error"]

        assert "api_said" not in found


_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=60) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=40,
)


@given(_values | st.binary(max_size=200), st.sampled_from([JSON, "text/plain", "", "image/png"]))
def test_is_json_of_bounded_length_whatever_came(value: Any, content_type: str) -> None:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()

    try:
        text = success(200, content_type, body)
    except UnreadableAnswer:
        assert content_type == JSON
        return
    text.encode()
    json.loads(text)

    assert len(text) <= 2 * MAX_CHARACTERS
