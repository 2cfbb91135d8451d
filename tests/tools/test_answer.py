"""What the model reads of an answer: short, and JSON whatever came."""

import json
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_support.tools.answer import MAX_CHARACTERS, MAX_TOKENS, failure, success, tokens_of

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


def test_what_claims_to_be_json_and_is_not_is_text() -> None:
    assert read(b"{oops", "") == {"status": 200, "text": "{oops"}
    assert read(b"{oops", JSON) == {
        "status": 200,
        "result": "5 bytes of application/json, not shown.",
    }


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


def test_what_is_deeper_than_any_reader_goes_is_not_json() -> None:
    assert "not shown" in read(b"[" * 200_000 + b"]" * 200_000)["result"]


def test_keys_are_kept_as_long_as_they_fit() -> None:
    some = {f"field {number}": "x" * 2_000 for number in range(100)}
    many = {f"field {number}": number for number in range(5_000)}

    kept = read(json.dumps(some).encode())
    cut = read(json.dumps(many).encode())

    assert kept.keys() == some.keys()
    assert all(text.endswith("… [2000 characters]") for text in kept.values())
    assert [*cut][:2] == ["field 0", "field 1"]
    assert cut["…"] == f"[{5_001 - len(cut)} more fields not shown]"


def test_the_budget_is_of_tokens() -> None:
    body = json.dumps([{"id": n, "text": "wörter " * 40} for n in range(200)]).encode()

    for most in (100, 1_000, MAX_TOKENS):
        text = success(200, JSON, body, max_tokens=most)
        assert tokens_of(text) <= most
        assert json.loads(text)[-1].endswith("more not shown]")


def test_what_cannot_be_seen_is_taken_out() -> None:
    hidden = "a\u202eb\u200b\U000e0041\x1b[31m\ud800c\r\nd"

    assert read(json.dumps({hidden: [hidden]}).encode()) == {"ab[31mc\nd": ["ab[31mc\nd"]}
    assert read(hidden.encode("utf-8", "replace"), "text/plain")["text"] == "ab[31m?c\nd"


@pytest.mark.parametrize(
    ("content_type", "body", "shown"),
    [
        ("application/x-ndjson", b'{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}]),
        ("application/json-seq", b'\x1e{"a": 1}\n', [{"a": 1}]),
        ("application/json", b"\xef\xbb\xbf[1]", [1]),
        ("text/xml; charset=iso-8859-1", b"<a>\xe9</a>", {"status": 200, "text": "<a>é</a>"}),
        ("text/plain; charset=nonsense", b"a", {"status": 200, "text": "a"}),
        ("text/csv", b"\x00\x01", {"status": 200, "result": "2 bytes of text/csv, not shown."}),
        ("application/x-ndjson", b"{}\n{", {
            "status": 200, "result": "4 bytes of application/x-ndjson, not shown.",
        }),
    ],
)  # fmt: skip
def test_each_kind_is_read_as_what_it_is(content_type: str, body: bytes, shown: Any) -> None:
    assert read(body, content_type) == shown


class TestFields:
    ANSWER: ClassVar[dict[str, Any]] = {
        "data": [
            {"id": 1, "card": {"number": "4111", "brand": "x"}, "gone": None},
            {"id": 2, "card": {"number": "4222"}},
        ],
        "total": 2,
        "secret": "s",
    }

    @pytest.mark.parametrize(
        ("fields", "shown"),
        [
            (["total"], {"total": 2}),
            (["data.id"], {"data": [{"id": 1}, {"id": 2}]}),
            (["data[].card.brand"], {"data": [{"card": {"brand": "x"}}, {"card": {}}]}),
            (["data.gone"], {"data": [{"gone": None}, {}]}),
            (["data.card.number", "data.card"], {
                "data": [{"card": {"number": "4111", "brand": "x"}}, {"card": {"number": "4222"}}],
            }),
            (["none", "total.id"], {
                "result": "None of the fields that may be shown is in the answer.",
            }),
        ],
    )  # fmt: skip
    def test_are_all_that_is_shown(self, fields: list[str], shown: Any) -> None:
        body = json.dumps(self.ANSWER).encode()

        assert json.loads(success(200, JSON, body, fields=fields)) == shown

    def test_of_a_list_are_those_of_its_entries(self) -> None:
        body = json.dumps(self.ANSWER["data"]).encode()

        assert json.loads(success(200, JSON, body, fields=["id"])) == [{"id": 1}, {"id": 2}]


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

    def test_keeps_problem_details_whole(self) -> None:
        problem = {
            "type": "https://shop.example/out-of-stock", "title": "Out of stock", "status": 409,
            "detail": "Two are left", "instance": "/orders/1", "left": 2, "\u202esku": ["a"],
        }  # fmt: skip

        text = failure("API_X", "failed", "No.", status=409, body=json.dumps(problem).encode())

        del problem["\u202esku"]
        assert json.loads(text)["error"]["api_said"] == {**problem, "sku": ["a"]}

    def test_repeats_a_sentence(self) -> None:
        text = failure("API_X", "failed", "No.", body=b"No such\x1b order.\n")

        assert json.loads(text)["error"]["api_said"] == "No such order."

    @pytest.mark.parametrize("body", [b"Traceback\n  File", b"x" * 301, b"\xff\xfe", b" "])
    def test_repeats_nothing_longer(self, body: bytes) -> None:
        assert "api_said" not in json.loads(failure("API_X", "failed", "No.", body=body))["error"]

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

    text = success(200, content_type, body)
    text.encode()
    json.loads(text)

    assert len(text) <= 2 * MAX_CHARACTERS
