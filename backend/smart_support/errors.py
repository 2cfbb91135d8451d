"""What can go wrong, said once: for programs, for HTTP, for operators and for customers.

An error that only one package raises lives in that package; the ones here are shared. All of
them together are the catalogue, `docs/errors.md`.
"""

import math
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, ClassVar


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


class RetryStrategy(Enum):
    """How a program should try again, if at all."""

    NONE = "none"
    """The same again fails again."""
    BACKOFF = "backoff"
    """Later and later, with jitter."""
    AFTER_TIME = "after_time"
    """Once, when the named time or a short while has passed."""
    RATE_LIMIT = "rate_limit"
    """When there is room again; the answer says when."""


class ClientAction(Enum):
    """What the page does with an error, or offers to do."""

    TELL = "tell"
    """Shows the words; only another input helps."""
    RETRY = "retry"
    """Offers to send the same again."""
    WAIT = "wait"
    """Counts down, then lets go on."""
    RECONNECT = "reconnect"
    """Connects anew and resumes; nothing is lost."""
    SIGN_IN = "sign_in"
    """Leads to signing in."""
    HAND_OFF = "hand_off"
    """Offers a person."""


class Family(Enum):
    """What a code begins with: the part of the product that an operator looks at first."""

    CONN = "CONN"
    CONV = "CONV"
    MODEL = "MODEL"
    TOOL = "TOOL"
    API = "API"
    VAL = "VAL"
    AUTH = "AUTH"
    DB = "DB"
    FILE = "FILE"
    CONF = "CONF"
    REC = "REC"
    RATE = "RATE"
    SYS = "SYS"

    @classmethod
    def of(cls, code: str) -> "Family":
        """The family of a code.

        Raises:
            ValueError: there is no such family.
        """
        return cls(code.partition("_")[0])


HINTS: Mapping[Family, str] = {
    Family.CONN: "A client or the network between; only worth a look when many come at once.",
    Family.CONV: "Read the conversation back: the replay shows what came before.",
    Family.MODEL: "See the model under Settings → Dependencies, then the endpoint's own status.",
    Family.TOOL: "Read the tool call in the replay; often the operation's description misleads.",
    Family.API: "See the API under Settings → Dependencies, and its attempts in the replay.",
    Family.VAL: "The input is wrong, not the product; the detail says what to change.",
    Family.AUTH: "A missing, expired or wrong token, or another role; many at once: an attack?",
    Family.DB: "See GET /api/health, then the log and the disk of PostgreSQL.",
    Family.FILE: "The document is wrong or too large; the detail says where.",
    Family.CONF: "A setting or a file of this installation; the log names it.",
    Family.REC: "A process stopped while it worked; look for its end in the log.",
    Family.RATE: "Somebody asks for more than the limits allow; see Settings → Limits.",
    Family.SYS: "A bug or an unforeseen failure: find the correlation id in the log.",
}
"""Where an operator looks first, for errors that say nothing closer themselves."""

_RETRY: Mapping[ErrorCategory, RetryStrategy] = {
    ErrorCategory.RETRYABLE: RetryStrategy.BACKOFF,
    ErrorCategory.TIMEOUT: RetryStrategy.BACKOFF,
    ErrorCategory.NETWORK: RetryStrategy.BACKOFF,
    ErrorCategory.AUTH_FAILURE: RetryStrategy.NONE,
    ErrorCategory.NON_RETRYABLE: RetryStrategy.NONE,
}


class SupportError(Exception):
    """The root of every error of this product.

    The class says what programs, operators and customers need; the constructor's text is for
    logs and operators, and may name internals. `user_message` never does.

    A subclass states what differs. If it states none: `retry` and `action` follow from its
    category, `hint` from its family.
    """

    code = "SYS_INTERNAL"
    status = 500
    category = ErrorCategory.NON_RETRYABLE
    severity = Severity.HIGH
    user_message = "Something went wrong on our side. Please try again in a moment."
    close_code = 1011
    """With which a socket is closed if this error ends it (RFC 6455, 7.4; 4000 and up: ours)."""
    retry: ClassVar[RetryStrategy] = RetryStrategy.NONE
    action: ClassVar[ClientAction] = ClientAction.RETRY
    hint: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        said = cls.__dict__
        if "category" in said and "retry" not in said:
            cls.retry = _RETRY[cls.category]
        if ("category" in said or "code" in said) and "action" not in said:
            cls.action = ClientAction.TELL
            if cls.retry is not RetryStrategy.NONE:
                cls.action = ClientAction.RETRY
        if "code" in said and "hint" not in said:
            cls.hint = ""
        kind_of.cache_clear()

    @classmethod
    def operator_hint(cls) -> str:
        """Where an operator looks first."""
        if cls.hint:
            return cls.hint
        family = cls.code.partition("_")[0]
        known = next((each for each in Family if each.value == family), Family.SYS)
        return HINTS[known]

    def wait_seconds(self) -> float | None:
        """After which a new try makes sense; None if nobody named a time."""
        wait = getattr(self, "retry_after", None)
        if isinstance(wait, int | float) and 0 <= wait < math.inf:
            return float(wait)
        return None

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


def catalogued() -> Iterator[type[SupportError]]:
    """Every class of error whose module is loaded, in the order of their codes and names."""

    def below(kind: type[SupportError]) -> Iterator[type[SupportError]]:
        for each in kind.__subclasses__():
            yield each
            yield from below(each)

    # Classes of tests are no part of the catalogue.
    ours = {kind for kind in below(SupportError) if kind.__module__.startswith("smart_support.")}
    yield from sorted(ours, key=lambda kind: (kind.code, kind.__name__))


@lru_cache(maxsize=1_000)  # a page asks for each of hundreds, and the catalogue is a long walk
def kind_of(code: str | None) -> type[SupportError]:
    """The class of a code that was kept; SupportError itself if it is unknown."""
    return next((kind for kind in catalogued() if kind.code == code), SupportError)


def action_of(code: str | None) -> ClientAction:
    """What a page does about a code that was kept."""
    return kind_of(code).action


def severity_of(code: str) -> Severity:
    """How much an operator should care about a code that was kept."""
    return kind_of(code).severity


def operator_hint_of(code: str) -> str:
    """Where an operator looks first for a code that was kept."""
    return kind_of(code).operator_hint()


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
    """No token, one that does not verify, or one that has expired or was ended."""

    code = "AUTH_NOT_SIGNED_IN"
    status = 401
    category = ErrorCategory.AUTH_FAILURE
    severity = Severity.LOW
    user_message = "Please sign in again."
    close_code = 4401
    action = ClientAction.SIGN_IN


class NotAllowed(SupportError):
    """Signed in, but this is for another role."""

    code = "AUTH_NOT_ALLOWED"
    status = 403
    category = ErrorCategory.AUTH_FAILURE
    severity = Severity.MEDIUM
    user_message = "You may not do that."
    close_code = 4403


class RateLimited(SupportError):
    """More than the limit allows; `retry_after` seconds from now there is room again."""

    code = "RATE_LIMITED"
    status = 429
    category = ErrorCategory.RETRYABLE
    severity = Severity.LOW
    user_message = "That was a little fast. Please wait a moment and try again."
    retry = RetryStrategy.RATE_LIMIT
    action = ClientAction.WAIT

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
    close_code = 1013

    def __init__(self, reason: str, *, silent: bool = False) -> None:
        super().__init__(reason)
        self.silent = silent
        """Nothing was heard of PostgreSQL in time. It may never have been asked, or have answered
        a process that was too busy to listen."""


class SetupError(SupportError):
    """The installation cannot start as it is configured; the text says what to do."""

    code = "CONF_INVALID"
    severity = Severity.CRITICAL
    hint = "The text names the setting and what is expected; docs/configuration.md has them all."
