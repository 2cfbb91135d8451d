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
from smart_support.errors import ErrorCategory, SupportError

REQUEST = httpx2.Request("POST", "http://127.0.0.1/v1/chat/completions")
NOW = "Tue, 24 Nov 2026 10:00:00 GMT"


def body(**fields: Any) -> dict[str, Any]:
    return {"error": fields}


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        (401, body(message="Incorrect API key"), ModelAuth),
        (403, {}, ModelAuth),
        (400, body(code="invalid_api_key"), ModelAuth),
        (402, body(message="pay first"), ModelRateLimited),
        (429, body(code="insufficient_quota"), ModelRateLimited),
        (429, "slow down", ModelRateLimited),
        (400, body(code="context_length_exceeded"), ModelContextTooLong),
        (400, body(message="This model's maximum context length is 8"), ModelContextTooLong),
        (400, body(code="content_filter"), ModelRefused),
        (
            400,
            body(code="x", innererror={"code": "ResponsibleAIPolicyViolation"}),
            ModelRefused,
        ),
        (400, body(message="unknown parameter"), ModelRejected),
        (404, body(message="The model does not exist"), ModelRejected),
        (409, {}, ModelUnavailable),
        (500, {}, ModelUnavailable),
        (503, "<html>", ModelUnavailable),
        (302, "", ModelUnavailable),
        (None, body(message="overloaded"), ModelUnavailable),
        (None, body(code=429, message="busy"), ModelRateLimited),
        (None, body(code="401"), ModelAuth),
        (None, body(code=True), ModelUnavailable),
        (None, "plain words", ModelUnavailable),
        (None, None, ModelUnavailable),
    ],
)
def test_names_each_failure(status: int | None, answer: Any, expected: type[SupportError]) -> None:
    assert type(error_of_answer(status, answer)) is expected


@pytest.mark.parametrize("status", [408, 504])
def test_a_timeout_at_their_side_is_a_timeout(status: int) -> None:
    assert error_of_answer(status, {}).category is ErrorCategory.TIMEOUT


def test_a_used_up_quota_is_not_tried_again() -> None:
    spent = error_of_answer(429, body(code="insufficient_quota"))
    busy = error_of_answer(429, body(message="busy"), {"retry-after": "2"})
    assert spent.category is ErrorCategory.NON_RETRYABLE
    assert busy.category is ErrorCategory.RETRYABLE
    assert isinstance(busy, ModelRateLimited)
    assert busy.retry_after == 2.0


def test_keys_are_not_in_the_text() -> None:
    told = "Incorrect key sk-abcdef123456 given with Bearer abcdef123456"
    assert "abcdef" not in str(error_of_answer(401, body(message=told)))
    assert "abcdef" not in str(error_of_answer(400, body(message=told)))


@given(
    st.none() | st.integers(300, 599),
    st.none() | st.text() | st.dictionaries(st.text(), st.text() | st.none() | st.integers()),
)
def test_is_total_and_speaks_to_customers_without_internals(
    status: int | None, answer: Any
) -> None:
    error = error_of_answer(status, {"error": answer})
    assert error.code.startswith("MODEL_")
    assert len(str(error)) < 400
    assert not any(word in error.user_message for word in ("HTTP", "endpoint", "API", "{"))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        (" 0.5 ", 0.5),
        ("Tue, 24 Nov 2026 10:00:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 10:00:30 -0000", 30.0),
        ("Tue, 24 Nov 2026 09:00:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-3", None),
        ("inf", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value, "date": NOW}) == seconds


def test_without_a_date_of_theirs_ours_counts() -> None:
    assert retry_after({"retry-after": "Tue, 24 Nov 2020 10:00:00 GMT"}) == 0.0
    assert retry_after({}) is None


def test_exceptions_of_the_client_are_the_same_failures() -> None:
    answer = httpx2.Response(429, request=REQUEST, headers={"retry-after": "4"})
    busy = error_of_client(openai.RateLimitError("busy", response=answer, body={"code": None}))
    assert isinstance(busy, ModelRateLimited)
    assert busy.retry_after == 4.0
    timeout = error_of_client(openai.APITimeoutError(REQUEST))
    assert timeout.category is ErrorCategory.TIMEOUT
    gone = error_of_client(openai.APIConnectionError(request=REQUEST))
    assert gone.category is ErrorCategory.NETWORK
    inside = openai.APIError("overloaded", REQUEST, body={"code": "content_filter"})
    assert isinstance(error_of_client(inside), ModelRefused)
    assert isinstance(error_of_client(openai.OpenAIError("odd")), ModelBrokenAnswer)
