import contextlib
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.model_endpoint import Script, calls, says

from smart_support.agent.model_errors import ModelBrokenAnswer, ModelRefused, ModelUnavailable
from smart_support.agent.model_stream import Assembly, EventReader
from smart_support.agent.reply import Reply, ToolCallRequest, Usage
from smart_support.errors import SupportError


def read(*pieces: bytes) -> list[Any]:
    reader = EventReader()
    events: list[Any] = []
    for piece in pieces:
        events += reader.feed(piece)
    return events + reader.finish()


def assembled(*events: Any) -> Reply:
    assembly = Assembly()
    for event in events:
        assembly.add(event)
    return assembly.reply()


def delta(finish_reason: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"id": "x", "choices": [{"index": 0, "delta": fields, "finish_reason": finish_reason}]}


def fragment(index: int | None = 0, call_id: str | None = None, **function: Any) -> dict[str, Any]:
    wire: dict[str, Any] = {"function": function}
    if index is not None:
        wire["index"] = index
    if call_id is not None:
        wire["id"] = call_id
    return delta(tool_calls=[wire])


END = delta("tool_calls")


WHOLE = st.integers(-(2**63), 2**63 - 1)
"""What orjson reads as a whole number; beyond, it reads a float."""


class TestEventReader:
    @pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
    def test_takes_every_line_end(self, end: bytes) -> None:
        lines = [b": comment", b"event: message", b'data: {"a":', b"data: 1}", b"id: 3", b""]
        assert read(end.join([*lines, b'data:"b"', b"", b""])) == [{"a": 1}, "b"]

    def test_nothing_after_done_counts(self) -> None:
        reader = EventReader()
        assert reader.feed(b'data: 1\n\ndata: [DONE]\n\ndata: {"half') == [1]
        assert reader.done
        assert reader.finish() == []

    def test_the_last_event_needs_no_empty_line(self) -> None:
        assert read(b'data: {"a": 1}') == [{"a": 1}]
        assert read(b"data: [DONE]") == []

    def test_a_byte_order_mark_and_empty_data_are_passed_over(self) -> None:
        assert read(b"\xef\xbb\xbfdata: 1\n\n", b"data:\n\ndata: \n\n") == [1]

    def test_what_is_no_json_is_refused(self) -> None:
        with pytest.raises(ModelBrokenAnswer):
            read(b"data: {no\n\n")

    @pytest.mark.parametrize("piece", [b"x" * 60, b"data: " + b"1" * 60 + b"\n"])
    def test_an_endless_event_is_refused(self, piece: bytes) -> None:
        reader = EventReader(max_event_bytes=100)
        reader.feed(piece)
        with pytest.raises(ModelBrokenAnswer, match="longer"):
            reader.feed(piece)

    @given(
        values=st.lists(st.dictionaries(st.text(), st.text() | WHOLE), max_size=5),
        end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
        data=st.data(),
    )
    def test_where_the_bytes_are_cut_does_not_matter(
        self, values: list[Any], end: bytes, data: st.DataObject
    ) -> None:
        stream = b"".join(
            b"data: " + json.dumps(value, ensure_ascii=False).encode() + end * 2 for value in values
        )
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
        edges = [0, *cuts, len(stream)]

        pieces = [stream[a:b] for a, b in itertools.pairwise(edges)]

        assert read(*pieces) == values

    @given(st.lists(st.binary(max_size=40), max_size=8))
    def test_any_bytes_give_events_or_a_named_error(self, pieces: list[bytes]) -> None:
        with contextlib.suppress(ModelBrokenAnswer):
            read(*pieces)


class TestAssembly:
    @given(
        text=st.text(max_size=60),
        arguments=st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
        fragment_size=st.integers(1, 9),
    )
    def test_fragments_join_to_what_was_meant(
        self, text: str, arguments: dict[str, int], fragment_size: int
    ) -> None:
        script = calls(("do", arguments), ("undo", {}), text=text, fragment=fragment_size)

        reply = assembled(*read(*[piece for piece in script.pieces if isinstance(piece, bytes)]))

        assert reply.text == text
        assert [call.name for call in reply.tool_calls] == ["do", "undo"]
        assert json.loads(reply.tool_calls[0].arguments_json) == arguments

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        [
                            "choices",
                            "delta",
                            "content",
                            "tool_calls",
                            "index",
                            "id",
                            "function",
                            "usage",
                            "name",
                            "arguments",
                            "finish_reason",
                            "error",
                            "refusal",
                            "prompt_tokens",
                        ]
                    ),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=12,
        )
    )
    def test_any_json_gives_a_reply_or_a_named_error(self, event: Any) -> None:
        with contextlib.suppress(SupportError):
            assembled(event, delta("stop", content="x"))

    def test_parallel_calls_may_share_an_index(self) -> None:
        reply = assembled(
            fragment(0, "a", name="one", arguments="{}"),
            fragment(0, "b", name="two", arguments='{"x":'),
            fragment(0, "b", arguments="1}"),
            END,
        )
        assert reply.tool_calls == (
            ToolCallRequest("a", "one", "{}"),
            ToolCallRequest("b", "two", '{"x":1}'),
        )

    def test_calls_may_have_no_index_or_id(self) -> None:
        reply = assembled(
            fragment(None, "a", name="one", arguments='{"x":'),
            fragment(None, arguments="1}"),
            fragment(None, "b", name="two"),
            END,
        )
        assert [(c.id, c.arguments_json) for c in reply.tool_calls] == [
            ("a", '{"x":1}'),
            ("b", "{}"),
        ]
        assert assembled(fragment(0, name="one"), END).tool_calls[0].id == "call_x_0"

    def test_arguments_may_come_as_an_object(self) -> None:
        reply = assembled(fragment(0, "a", name="one", arguments={"x": 1}), END)
        assert reply.tool_calls[0].arguments_json == '{"x":1}'

    def test_other_choices_are_not_ours(self) -> None:
        other = {"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": "stop"}]}
        assert assembled(delta(content="yes"), other, delta("stop")).text == "yes"

    def test_usage_is_the_last_that_was_told(self) -> None:
        counted = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
        assert assembled(delta("stop", content="a"), counted).usage == Usage(3, 4)

    @pytest.mark.parametrize(
        ("events", "expected"),
        [
            ([delta(content="half")], ModelBrokenAnswer),
            ([delta("stop", content=" \n")], ModelBrokenAnswer),
            ([delta("content_filter", content="so")], ModelRefused),
            ([fragment(0, "a", name="one", arguments='{"x"'), delta("length")], ModelBrokenAnswer),
            ([fragment(0, "a", arguments="{}"), END], ModelBrokenAnswer),
            ([fragment(0, 7, name="one"), END], ModelBrokenAnswer),  # type: ignore[list-item]
            (["text"], ModelBrokenAnswer),
            ([{"error": {"message": "overloaded"}}], ModelUnavailable),
            ([{"usage": {"prompt_tokens": "many", "completion_tokens": 0}}], ModelBrokenAnswer),
        ],
    )
    def test_what_is_no_whole_answer_is_refused(
        self, events: list[Any], expected: type[SupportError]
    ) -> None:
        with pytest.raises(expected):
            assembled(*events)


def test_scripts_of_the_test_endpoint_are_whole_answers() -> None:
    for script in (says("hello there"), calls(("a", {}))):
        assert isinstance(script, Script)
        assert assembled(*read(*[p for p in script.pieces if isinstance(p, bytes)])).finish_reason
