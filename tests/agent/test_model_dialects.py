"""Errors and streams as the servers out there write them: each spelling has its meaning.

The shapes are those that OpenAI, Azure, vLLM, llama.cpp, OpenRouter and gateways in front of them
are known to send; the words are ours.
"""

from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_support.agent.model_errors import (
    ModelAuth,
    ModelBrokenAnswer,
    ModelContextTooLong,
    ModelRateLimited,
    ModelRefused,
    ModelRejected,
    ModelUnavailable,
    error_of_answer,
    error_of_client,
    retry_after,
)
from smart_support.agent.model_stream import Assembly, EventReader, complete
from smart_support.agent.reply import Reply, ToolCallRequest, Usage
from smart_support.errors import ErrorCategory, Severity, SupportError

REQUEST = httpx2.Request("POST", "http://127.0.0.1/v1/chat/completions")


def error(**fields: Any) -> dict[str, Any]:
    return {"error": fields}


class TestErrorBodies:
    @pytest.mark.parametrize(
        ("status", "body", "expected"),
        [
            # The key
            (400, error(type="authentication_error"), ModelAuth),
            (500, error(code="invalid_api_key"), ModelAuth),
            (403, "blocked by the proxy", ModelAuth),
            # Room and money
            (400, error(type="insufficient_quota"), ModelRateLimited),
            (400, error(code="rate_limit_exceeded"), ModelRateLimited),
            (503, error(type="rate_limit_error"), ModelRateLimited),
            # Too much to read, in five spellings
            (400, error(message="your prompt is too long"), ModelContextTooLong),
            (400, error(message="It fills the context window."), ModelContextTooLong),
            (400, error(message="Tokens exceed the configured limit of 8"), ModelContextTooLong),
            (413, error(code="context_length_exceeded"), ModelContextTooLong),
            (500, error(message="MAXIMUM CONTEXT LENGTH is 4096"), ModelContextTooLong),
            # Filters
            (400, error(message="see our content management policy"), ModelRefused),
            (400, error(code="content_policy_violation"), ModelRefused),
            (400, error(innererror={"code": "ResponsibleAIPolicyViolation"}), ModelRefused),
            (400, error(innererror="ResponsibleAIPolicyViolation"), ModelRejected),
            # Wrong on our side
            (400, error(message="Unknown field: flavour"), ModelRejected),
            (404, {"detail": "Not Found"}, ModelRejected),
            (405, "", ModelRejected),
            (422, {"detail": [{"loc": ["body", "model"]}]}, ModelRejected),
            (499, {}, ModelRejected),
            # Trouble on theirs, which may pass
            (409, error(message="being moved"), ModelUnavailable),
            (425, {}, ModelUnavailable),
            (500, error(message=None), ModelUnavailable),
            (529, error(type="overloaded_error"), ModelUnavailable),
            (302, "<a href>", ModelUnavailable),
        ],
        ids=str,
    )
    def test_have_their_meaning(self, status: int, body: Any, expected: type[SupportError]) -> None:
        assert type(error_of_answer(status, body)) is expected

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            (error(code=503, message="no room"), ModelUnavailable),
            (error(code="429"), ModelRateLimited),
            (error(code=404, message="no such model"), ModelRejected),
            (error(status=401), ModelAuth),
            (error(code="server_error", status="404"), ModelRejected),
            (error(code="200", status=0), ModelUnavailable),
            (error(code="301"), ModelUnavailable),
            (error(code="4042"), ModelUnavailable),
            (error(code=True, message="odd"), ModelUnavailable),
            ({"code": 429, "message": "not wrapped"}, ModelRateLimited),
            ({"object": "error", "message": "prompt is too long"}, ModelContextTooLong),
            ("rate_limit reached", ModelRateLimited),
        ],
        ids=str,
    )
    def test_in_the_middle_of_a_stream_bring_their_own_status(
        self, body: Any, expected: type[SupportError]
    ) -> None:
        assert type(error_of_answer(None, body)) is expected

    def test_a_true_is_no_status(self) -> None:
        assert "in mid-stream" in str(error_of_answer(None, error(code=True)))

    @pytest.mark.parametrize(
        ("status", "body", "category"),
        [
            (408, {}, ErrorCategory.TIMEOUT),
            (504, "<html>gateway timeout</html>", ErrorCategory.TIMEOUT),
            (500, {}, ErrorCategory.RETRYABLE),
            (429, {}, ErrorCategory.RETRYABLE),
            (402, {}, ErrorCategory.NON_RETRYABLE),
            (429, error(code="insufficient_quota"), ErrorCategory.NON_RETRYABLE),
            (401, {}, ErrorCategory.AUTH_FAILURE),
            (400, {}, ErrorCategory.NON_RETRYABLE),
        ],
    )
    def test_say_whether_trying_again_can_help(
        self, status: int, body: Any, category: ErrorCategory
    ) -> None:
        assert error_of_answer(status, body).category is category

    def test_an_empty_purse_wakes_somebody_and_a_busy_hour_does_not(self) -> None:
        spent = error_of_answer(402, {}, {"retry-after": "5"})
        busy = error_of_answer(429, {}, {"retry-after": "5"})

        assert (spent.severity, busy.severity) == (Severity.CRITICAL, Severity.HIGH)
        assert isinstance(spent, ModelRateLimited)
        assert isinstance(busy, ModelRateLimited)
        assert (spent.retry_after, busy.retry_after) == (None, 5.0)
        # The class itself has not changed for those that come after.
        assert ModelRateLimited("x", None).severity is Severity.HIGH

    def test_are_quoted_in_one_short_line(self) -> None:
        told = str(error_of_answer(500, error(code="x", type="y", message="a\n\n b " + "z" * 999)))

        assert told.startswith("model endpoint answered 500: x y a b zzz")
        assert len(told) <= len("model endpoint answered 500: ") + 300

    def test_in_plain_text_are_quoted_too(self) -> None:
        assert str(error_of_answer(502, "upstream is away")) == (
            "model endpoint answered 502: upstream is away"
        )

    @pytest.mark.parametrize(
        "secret", ["sk-abcdefgh12345678", "sk-proj-ABC_def-123", "Bearer abcdef123456",
                   "key-0123456789", "key 0123456789abcdef"],
    )  # fmt: skip
    @pytest.mark.parametrize("status", [400, 404, 429, 500])
    def test_never_quote_a_key(self, status: int, secret: str) -> None:
        told = str(error_of_answer(status, error(message=f"You sent {secret}, it is wrong")))

        assert secret not in told
        assert secret[-6:] not in told
        assert "it is wrong" in told


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("0", 0.0),
            ("120", 120.0),
            ("999999999", 999_999_999.0),
            ("1.123456", 1.123456),
            ("1.1234567", None),
            ("9999999999", None),
            ("1e3", None),
            ("+3", None),
            ("3s", None),
            ("3, 4", None),
            ("Tue, 24 Nov 2026 10:01:00 GMT", 60.0),
            ("Tue, 24 Nov 2026 12:00:30 +0200", 30.0),
            ("Tuesday", None),
            ("Tue, 99 Nov 2026 10:01:00 GMT", None),
        ],
    )
    def test_is_read_as_rfc_9110_writes_it(self, value: str, seconds: float | None) -> None:
        headers = {"retry-after": value, "date": "Tue, 24 Nov 2026 10:00:00 GMT"}

        assert retry_after(headers) == seconds

    @given(st.text(max_size=40))
    def test_any_text_is_seconds_from_now_or_nothing(self, value: str) -> None:
        seconds = retry_after({"retry-after": value, "date": value})

        assert seconds is None or seconds >= 0


class TestClientErrors:
    @pytest.mark.parametrize(
        ("raised", "expected", "category"),
        [
            (openai.APITimeoutError(REQUEST), ModelUnavailable, ErrorCategory.TIMEOUT),
            (openai.APIConnectionError(request=REQUEST), ModelUnavailable, ErrorCategory.NETWORK),
            (
                openai.APIStatusError(
                    "x", response=httpx2.Response(504, request=REQUEST), body=None
                ),
                ModelUnavailable,
                ErrorCategory.TIMEOUT,
            ),
            (
                openai.APIError("the words count", REQUEST, body=None),
                ModelUnavailable,
                ErrorCategory.RETRYABLE,
            ),
            (
                openai.APIError("prompt is too long", REQUEST, body=None),
                ModelContextTooLong,
                ErrorCategory.NON_RETRYABLE,
            ),
            (openai.OpenAIError("sk-abc"), ModelBrokenAnswer, ErrorCategory.RETRYABLE),
        ],
        ids=["timeout", "connection", "status", "in stream", "words", "other"],
    )
    def test_are_the_same_failures(
        self, raised: openai.OpenAIError, expected: type[SupportError], category: ErrorCategory
    ) -> None:
        named = error_of_client(raised)

        assert type(named) is expected
        assert named.category is category
        assert "sk-" not in str(named)


def read(*pieces: bytes, **options: Any) -> list[Any]:
    reader = EventReader(**options)
    return [event for piece in pieces for event in reader.feed(piece)] + reader.finish()


class TestEventStream:
    """WHATWG HTML, 9.2.6, as far as `data` goes."""

    @pytest.mark.parametrize(
        ("stream", "events"),
        [
            (b"data: 1\n\ndata: 2\n\n", [1, 2]),
            (b"data:1\n\n", [1]),
            (b'data: "  two spaces"\n\n', ["  two spaces"]),
            (b"data: [1,\ndata: 2]\n\n", [[1, 2]]),
            (b'data: "a\ndata: b"\n\n', None),  # the lines are joined by a line end: no JSON
            (b"data: 1\nevent: done\nretry: 5\nid: 7\n\n", [1]),
            (b": ping\n\n: ping\n\ndata: 1\n\n", [1]),
            (b"\n\n\n\ndata: 1\n\n\n\n", [1]),
            (b"data\n\ndata: 1\n\n", [1]),
            (b"dataset: 3\n\ndata: 1\n\n", [1]),
            (b" data: 3\n\ndata: 1\n\n", [1]),
            (b"\xef\xbb\xbfdata: 1\n\n", [1]),
            (b"data: 1\n\n\xef\xbb\xbfdata: 2\n\n", [1]),  # a mark counts at the beginning alone
            (b"data: [DONE]\n\ndata: 1\n\n", []),
            (b"data:[DONE]\n\ndata: 1\n\n", []),
            (b"data:  [DONE] \n\ndata: 1\n\n", []),
            (b"data: 1\r\n\r\ndata: 2\r\rdata: 3\n\n", [1, 2, 3]),
            (b"data: 1\n", [1]),
            (b"data: 1", [1]),
            (b"", []),
        ],
        ids=repr,
    )
    def test_is_read_whole_and_byte_by_byte_alike(
        self, stream: bytes, events: list[Any] | None
    ) -> None:
        for pieces in ([stream], [stream[at : at + 1] for at in range(len(stream))]):
            if events is None:
                with pytest.raises(ModelBrokenAnswer, match="no JSON"):
                    read(*pieces)
            else:
                assert read(*pieces) == events

    def test_says_that_it_is_done_and_only_then(self) -> None:
        reader = EventReader()

        reader.feed(b"data: 1\n\ndata: [DONE]")
        assert not reader.done
        reader.feed(b"\n\n")
        assert reader.done

    def test_an_event_may_be_as_long_as_the_limit_and_no_longer(self) -> None:
        def longest(size: int) -> list[Any]:
            text = b'data: "' + b"x" * (size - 8) + b'"'
            assert len(text) == size
            return read(text, b"\n\n", max_event_bytes=100)

        assert longest(100) == ["x" * 92]
        with pytest.raises(ModelBrokenAnswer, match="longer than 100 bytes"):
            longest(101)

    def test_many_lines_of_one_event_count_together(self) -> None:
        with pytest.raises(ModelBrokenAnswer, match="longer than 100 bytes"):
            read(*[b"data: 1234567890\n"] * 12, max_event_bytes=100)

    def test_many_events_do_not(self) -> None:
        assert read(*[b"data: 1234567890\n\n"] * 50, max_event_bytes=100) == [1234567890] * 50


def chunk(finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def call(index: int | None, call_id: str | None, name: str, arguments: Any) -> dict[str, Any]:
    wire = {"function": {"name": name or None, "arguments": arguments}}
    wire |= {} if index is None else {"index": index}
    return chunk(tool_calls=[wire | ({} if call_id is None else {"id": call_id})])


def assembled(*events: Any) -> Reply:
    assembly = Assembly()
    for event in events:
        assembly.add(event)
    return assembly.reply()


class TestReplies:
    @pytest.mark.parametrize(
        ("fragments", "expected"),
        [
            (
                [call(0, "a", "get", ""), call(0, None, "", '{"x"'), call(0, None, "", ":1}")],
                [("a", "get", '{"x":1}')],
            ),
            (
                [call(0, "a", "get", '{"x":'), call(0, "a", "get", "1}")],  # id and name repeated
                [("a", "get", '{"x":1}')],
            ),
            (
                [call(0, "a", "one", "{}"), call(1, "b", "two", "["), call(0, None, "", ""),
                 call(1, None, "", "]")],
                [("a", "one", "{}"), ("b", "two", "[]")],
            ),
            (
                [call(5, "a", "one", "{}"), call(3, "b", "two", "{}")],  # as they came
                [("a", "one", "{}"), ("b", "two", "{}")],
            ),
            (
                [call(None, "a", "one", "{}"), call(None, "b", "two", "{"),
                 call(None, None, "", "}")],
                [("a", "one", "{}"), ("b", "two", "{}")],
            ),
            (
                [call(0, None, "one", "{"), call(0, "late", "", "}")],  # an id that comes late
                [("late", "one", "{}")],
            ),
            (
                [call(0, "", "one", None), call(1, "", "two", None)],
                [("call_x_0", "one", "{}"), ("call_x_1", "two", "{}")],
            ),
            ([call(0, "a", "one", {"x": [1]})], [("a", "one", '{"x":[1]}')]),
        ],
        ids=[
            "fragments", "repeated names", "interleaved", "any index", "no index", "late id",
            "no ids", "an object",
        ],
    )  # fmt: skip
    def test_put_tool_calls_together(
        self, fragments: list[Any], expected: list[tuple[str, str, str]]
    ) -> None:
        reply = assembled(*fragments, chunk("tool_calls"))

        assert reply.tool_calls == tuple(ToolCallRequest(*one) for one in expected)

    def test_keep_their_finish_reason_when_later_events_have_none(self) -> None:
        usage = {"choices": [{"index": 0, "delta": {}}], "usage": None}

        assert assembled(chunk("length", content="cut"), usage).finish_reason == "length"

    def test_keep_their_id_for_calls_that_have_none(self) -> None:
        nameless = {"choices": [], "usage": {"prompt_tokens": "3", "completion_tokens": 4.0}}

        reply = assembled(call(0, None, "one", "{}"), chunk("tool_calls"), nameless)

        assert reply.tool_calls[0].id == "call_x_0"
        assert reply.usage == Usage(3, 4)

    def test_count_text_of_whole_messages_too(self) -> None:
        whole = {
            "choices": [{"message": {"content": "All at once."}, "finish_reason": "stop"}],
            "error": None,
        }

        assert assembled(whole) == Reply("All at once.", (), None, "stop", None)

    def test_a_length_cut_text_is_still_an_answer_and_a_cut_call_is_not(self) -> None:
        cut: dict[str, Any] = {"refusal": None, "usage": None, "finish_reason": "length"}
        tool_call = ToolCallRequest("a", "one", "{}")

        assert complete(text="as far as", calls=[], **cut).text == "as far as"
        with pytest.raises(ModelBrokenAnswer, match="cut off"):
            complete(text="as far as", calls=[tool_call], **cut)

    @pytest.mark.parametrize("text", ["", " ", "\n\t "])
    def test_of_nothing_but_space_are_empty(self, text: str) -> None:
        with pytest.raises(ModelBrokenAnswer, match="empty"):
            complete(text=text, refusal=None, calls=[], usage=None, finish_reason="stop")

    def test_of_nothing_but_a_refusal_are_whole(self) -> None:
        reply = assembled(chunk(refusal="I will "), chunk("stop", refusal="not."))

        assert (reply.text, reply.refusal) == ("", "I will not.")
        assert assembled(chunk("stop", content="yes")).refusal is None

    def test_tell_what_each_event_added(self) -> None:
        assembly = Assembly()

        assert [assembly.add(one) for one in (chunk(role="assistant"), chunk(content="a"))] == [
            "", "a",
        ]  # fmt: skip
        two = {"choices": [{"delta": {"content": "b"}}, {"index": 1, "delta": {"content": "no"}}]}
        assert assembly.add(two) == "b"
