"""How asking the model can fail, and which failure an endpoint's error is."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import openai

from smart_support.errors import (
    ClientAction,
    ErrorCategory,
    RetryStrategy,
    Severity,
    SupportError,
)


class ModelUnavailable(SupportError):
    """The endpoint cannot be reached, takes too long, or fails with 5xx.

    `category` is NETWORK, TIMEOUT or RETRYABLE, by which of them it was.
    """

    code = "MODEL_UNAVAILABLE"
    status = 503
    category = ErrorCategory.RETRYABLE
    severity = Severity.HIGH
    user_message = (
        "The language model that writes my answers does not respond right now. "
        "Please try again in a moment, or ask for a person."
    )
    action = ClientAction.HAND_OFF
    hint = "Look at the endpoint's status page and at the network in between; OPENAI_BASE_URL."

    def __init__(self, text: str, category: ErrorCategory = ErrorCategory.RETRYABLE) -> None:
        super().__init__(text)
        self.category = category


class ModelAuth(SupportError):
    """The endpoint does not accept the key (401 or 403)."""

    code = "MODEL_AUTH"
    status = 503
    category = ErrorCategory.AUTH_FAILURE
    severity = Severity.CRITICAL
    user_message = (
        "I cannot answer right now because my access to the language model is not set up "
        "correctly. Our team has to repair that; please try again later, or ask for a person."
    )
    action = ClientAction.HAND_OFF
    hint = "Set another OPENAI_API_KEY and start anew; the old one is refused."


class ModelRateLimited(SupportError):
    """The endpoint takes no more requests for now (429), or its quota is used up.

    `retry_after` is in seconds, None where the endpoint named no time. A used-up quota is
    NON_RETRYABLE: only a person with the contract can change that.
    """

    code = "MODEL_RATE_LIMITED"
    status = 503
    category = ErrorCategory.RETRYABLE
    severity = Severity.HIGH
    user_message = (
        "The language model that writes my answers is very busy right now. "
        "Please try again in a moment, or ask for a person."
    )
    retry = RetryStrategy.RATE_LIMIT
    action = ClientAction.HAND_OFF
    hint = "Raise the endpoint's rate limit or quota; CRITICAL means that the quota is used up."

    def __init__(self, text: str, retry_after: float | None, *, spent: bool = False) -> None:
        super().__init__(text)
        self.retry_after = retry_after
        if spent:
            self.category = ErrorCategory.NON_RETRYABLE
            self.severity = Severity.CRITICAL


class ModelRefused(SupportError):
    """A content filter of the endpoint stopped the question or the answer."""

    code = "MODEL_REFUSED"
    status = 422
    severity = Severity.LOW
    user_message = "I am not able to answer that. Could you put it in another way?"


class ModelContextTooLong(SupportError):
    """The conversation is longer than what the model can read."""

    code = "MODEL_CONTEXT_TOO_LONG"
    status = 413
    severity = Severity.MEDIUM
    user_message = (
        "Our conversation has become too long for me to read as a whole. "
        "Please start a new one, and tell me the most important part again."
    )


class ModelRejected(SupportError):
    """The endpoint does not take the request: an unknown model, a parameter it does not know."""

    code = "MODEL_REJECTED"
    status = 503
    severity = Severity.CRITICAL
    user_message = (
        "I cannot answer right now because the language model is not set up correctly. "
        "Our team has to repair that; please try again later, or ask for a person."
    )
    action = ClientAction.HAND_OFF
    hint = "OPENAI_MODEL or OPENAI_BASE_URL does not fit; the log has the endpoint's own words."


class ModelBrokenAnswer(SupportError):
    """The answer ended half way, was empty, or was not of the protocol. It may come right."""

    code = "MODEL_BROKEN_ANSWER"
    status = 502
    category = ErrorCategory.RETRYABLE
    severity = Severity.MEDIUM
    user_message = (
        "My answer broke off half way. Please send your message again, or ask for a person."
    )


def error_of_answer(
    status: int | None, body: object, headers: Mapping[str, str] | None = None
) -> SupportError:
    """The failure that an error answer means.

    `status` is None for an error in the middle of a stream; then a numeric `code` in the body
    stands for it, as some gateways do. `body` is the decoded JSON, or the text if it is none.
    """
    error = body.get("error", body) if isinstance(body, Mapping) else body
    fields: Mapping[str, Any] = error if isinstance(error, Mapping) else {"message": error}
    codes = " ".join(str(fields.get(key)) for key in ("code", "type") if fields.get(key))
    words = f"{codes} {_inner_code(fields)} {fields.get('message') or ''}".lower()
    if status is None:
        status = _number(fields.get("code")) or _number(fields.get("status"))
    shown = f"{codes} {fields.get('message') or ''}".strip()
    text = f"model endpoint answered {status or 'in mid-stream'}: {_masked(shown)}"

    if status in (401, 403) or "invalid_api_key" in words or "authentication_error" in words:
        # Its message may quote the key.
        return ModelAuth(f"model endpoint refuses the key ({status or 'in mid-stream'})")
    if status == 402 or "insufficient_quota" in words:
        return ModelRateLimited(text, None, spent=True)
    if status == 429 or "rate_limit" in words:
        return ModelRateLimited(text, retry_after(headers or {}))
    if any(mark in words for mark in _TOO_LONG):
        return ModelContextTooLong(text)
    if any(mark in words for mark in _FILTERED):
        return ModelRefused(text)
    if status in (408, 504):
        return ModelUnavailable(text, ErrorCategory.TIMEOUT)
    if status is not None and 400 <= status < 500 and status not in (409, 425):
        return ModelRejected(text)
    return ModelUnavailable(text)


def error_of_client(error: openai.OpenAIError) -> SupportError:
    """The failure that an exception of the openai package means."""
    match error:
        case openai.APITimeoutError():
            return ModelUnavailable("model endpoint timed out", ErrorCategory.TIMEOUT)
        case openai.APIConnectionError():
            return ModelUnavailable("model endpoint cannot be reached", ErrorCategory.NETWORK)
        case openai.APIStatusError(status_code=status, body=body, response=response):
            return error_of_answer(status, body, response.headers)
        case openai.APIError(body=body, message=message):
            return error_of_answer(None, body or message)
        case _:
            return ModelBrokenAnswer(f"the model client failed: {type(error).__name__}")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from now that `Retry-After` names, as a number or a date; None if it is neither.

    Source: RFC 9110, section 10.2.3. A date is measured against the answer's own Date.
    """
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,6})?", value):
        return float(value)
    until = _date(value)
    if until is None:
        return None
    now = _date(headers.get("date", "")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds())


_TOO_LONG = (
    "context_length_exceeded",
    "maximum context length",
    "context window",
    "prompt is too long",
    "exceed the configured limit",
)
_FILTERED = ("content_filter", "content_policy", "responsibleaipolicy", "content management")


def _inner_code(fields: Mapping[str, Any]) -> str:
    inner = fields.get("innererror")
    return str(inner.get("code")) if isinstance(inner, Mapping) else ""


def _number(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and re.fullmatch(r"[45]\d\d", value) else None


def _masked(text: str) -> str:
    return re.sub(r"\b(sk|key|Bearer)[-_ ][\w*.-]{6,}", r"\1-***", " ".join(text.split()))[:300]


def _date(value: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(value)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
