"""What can go wrong, said once: for programs, for HTTP, for operators and for customers.

An error that only one package raises lives in that package; the ones here are shared.
"""

from enum import Enum
from typing import Any


class ErrorCategory(Enum):
    """What kind of failure it was; decides whether trying again makes sense."""

    RETRYABLE = "retryable"
    NON_RETRYABLE = "non_retryable"
    AUTH_FAILURE = "auth_failure"
    TIMEOUT = "timeout"
    NETWORK = "network"


class Severity(Enum):
    """How much an operator should care."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class SupportError(Exception):
    """The root of every error of this product.

    The class says what programs, operators and customers need; the constructor's text is for
    logs and operators, and may name internals. `user_message` never does.
    """

    code = "SYS_INTERNAL"
    status = 500
    category = ErrorCategory.NON_RETRYABLE
    severity = Severity.HIGH
    user_message = "Something went wrong on our side. Please try again in a moment."

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception's own way calls the constructor with the finished text, which most
        # constructors here do not take.
        return _restored, (type(self), self.args, self.__dict__)


def _restored(
    kind: type[SupportError], args: tuple[Any, ...], fields: dict[str, Any]
) -> SupportError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(fields)
    return error


class InternalError(SupportError):
    """A bug or an unforeseen failure; its text stays in the log."""

    def __init__(self) -> None:
        super().__init__("internal error")


class InvalidInput(SupportError):
    """What was sent does not have the form that is documented. The text says what to change."""

    code = "VAL_INVALID_INPUT"
    status = 422
    severity = Severity.LOW
    user_message = "I could not read that."


class NotFound(SupportError):
    """No such thing, or not yours: the two look the same on purpose."""

    code = "VAL_NOT_FOUND"
    status = 404
    severity = Severity.LOW
    user_message = "I could not find that."


class NotSignedIn(SupportError):
    """No token, one that does not verify, or one that has expired."""

    code = "AUTH_NOT_SIGNED_IN"
    status = 401
    category = ErrorCategory.AUTH_FAILURE
    severity = Severity.LOW
    user_message = "Please sign in again."


class NotAllowed(SupportError):
    """Signed in, but this is for another role."""

    code = "AUTH_NOT_ALLOWED"
    status = 403
    category = ErrorCategory.AUTH_FAILURE
    severity = Severity.MEDIUM
    user_message = "You may not do that."


class RateLimited(SupportError):
    """More than the limit allows; `retry_after` seconds from now there is room again."""

    code = "RATE_LIMITED"
    status = 429
    category = ErrorCategory.RETRYABLE
    severity = Severity.LOW
    user_message = "That was a little fast. Please wait a moment and try again."

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"rate limit reached; retry in {retry_after:.3f} s")
        self.retry_after = retry_after


class DatabaseUnavailable(SupportError):
    """PostgreSQL did not answer, or refuses writes."""

    code = "DB_UNAVAILABLE"
    status = 503
    category = ErrorCategory.RETRYABLE
    severity = Severity.CRITICAL
    user_message = "I cannot save your message just now. Please try again in a moment."


class SetupError(SupportError):
    """The installation cannot start as it is configured; the text says what to do."""

    code = "CONF_INVALID"
    severity = Severity.CRITICAL
