"""How to find out what became of a write: pointers, lookups and states of progress."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_support.operations.effects import (
    CLOCKS_DIFFER,
    MISSING,
    Lookup,
    StatusCheck,
    bad_pointers,
    filled,
    pointed,
)

SENT = datetime(2026, 3, 1, 9, tzinfo=UTC)
CALL = {"arguments": {"order_id": "1", "body": {"amount": 20}}, "answer": None, "key": "k-1"}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", {"a/b": [1, {"~": 2}], "": 3}),
        ("/a~1b/0", 1),
        ("/a~1b/1/~0", 2),
        ("/", 3),
        ("/a~1b/2", MISSING),
        ("/a~1b/-", MISSING),
        ("/nothing/there", MISSING),
    ],
)
def test_pointers_are_those_of_rfc_6901(pointer: str, value: Any) -> None:
    assert pointed({"a/b": [1, {"~": 2}], "": 3}, pointer) == value


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@given(_json, st.text(max_size=20))
def test_no_pointer_breaks_on_any_answer(document: Any, pointer: str) -> None:
    pointed(document, pointer)
    StatusCheck(operation="GET /x", state=pointer).progress(document)
    Lookup(operation="GET /x", items=pointer, equal={pointer: "/key"}).found(document, CALL, SENT)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ({"refunds": [{"amount": 20}]}, True),
        ({"refunds": [{"amount": "20.00"}]}, True),
        ({"refunds": [{"amount": 21}, {"amount": 20}]}, True),
        ({"refunds": [{"amount": 21}]}, False),
        ({"refunds": [{"amount": True}]}, False),
        ({"refunds": []}, False),
        ({"other": 1}, False),
        (None, False),
    ],
)
def test_a_lookup_finds_what_is_equal_and_nothing_else(answer: Any, found: bool) -> None:
    link = Lookup(
        operation="GET /refunds", items="/refunds", equal={"/amount": "/arguments/body/amount"}
    )

    assert link.found(answer, CALL, SENT) is found


@pytest.mark.parametrize(
    ("at", "found"),
    [
        (SENT + timedelta(seconds=1), True),
        (SENT - CLOCKS_DIFFER, True),
        (SENT - CLOCKS_DIFFER - timedelta(seconds=1), False),
        (None, False),
    ],
)
def test_what_was_there_before_the_call_is_not_its_effect(at: datetime | None, found: bool) -> None:
    link = Lookup(operation="GET /x", equal={"/amount": "/arguments/body/amount"}, since="/at")
    item = {"amount": 20, "at": at and at.isoformat()}

    assert link.found(item, CALL, SENT) is found


@pytest.mark.parametrize(
    ("said", "progress"),
    [("COMPLETED", "done"), ("failed", "failed"), ("queued", "running"), (None, "running")],
)
def test_a_word_that_nobody_named_means_that_it_still_runs(said: Any, progress: str) -> None:
    assert StatusCheck(operation="GET /jobs").progress({"status": said}) == progress


def test_arguments_are_filled_from_the_call_or_not_at_all() -> None:
    assert filled({"id": "/arguments/order_id", "ref": "/key"}, CALL) == {"id": "1", "ref": "k-1"}
    assert filled({"id": "/answer/job"}, CALL) is None


def test_pointers_that_point_nowhere_are_named() -> None:
    assert bad_pointers(["/arguments/a", "/answer/b", "/key", "a", "/body"]) == ["a", "/body"]
