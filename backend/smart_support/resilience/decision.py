"""Whether a failed attempt may be made again: pure functions that read as a table."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from ssl import SSLCertVerificationError

import httpx

from smart_support.errors import ErrorCategory
from smart_support.resilience.address import ForbiddenAddress, UnknownHost
from smart_support.resilience.body import TooLarge, Unreadable
from smart_support.resilience.bulkhead import BulkheadFull
from smart_support.resilience.records import Outcome

NON_RETRYABLE, RETRYABLE = ErrorCategory.NON_RETRYABLE, ErrorCategory.RETRYABLE
NETWORK, TIMEOUT = ErrorCategory.NETWORK, ErrorCategory.TIMEOUT
AUTH_FAILURE = ErrorCategory.AUTH_FAILURE


class Sense(Enum):
    """What a failure says about trying again soon."""

    FRUITLESS = "fruitless"
    """The same request fails in the same way."""
    PASSING = "passing"
    """It may work in a moment; what was sent may have taken effect."""
    DECLINED = "declined"
    """It may work in a moment; the API says that it did nothing."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt, read.

    Attributes:
        words: for logs and for the model.
        unhealthy: it is a verdict against the API, for its circuit breaker.
        clear: the API answered, and its answer says that nothing was changed.
    """

    code: str
    category: ErrorCategory
    sense: Sense
    words: str
    unhealthy: bool = False
    clear: bool = False


def may_retry(failure: Failure, *, sent: bool, repeatable: bool) -> bool:
    """Whether the request may be sent again after `failure`.

    | | never sent | sent, keyless write | sent, repeatable |
    | --- | --- | --- | --- |
    | fruitless | no | no | no |
    | passing | yes | **no** | yes |
    | declined | yes | yes | yes |

    Source: RFC 9110, 9.2.2 "Idempotent Methods": no automatic retry of what is not idempotent
    unless it is known that the request was never applied.
    """
    if failure.sense is Sense.FRUITLESS:
        return False
    return not sent or repeatable or failure.sense is Sense.DECLINED


def outcome_of(failure: Failure, *, sent: bool, writes: bool) -> Outcome:
    """What may have happened upstream in an attempt that ended in `failure`."""
    if not sent:
        return "not_sent"
    return "rejected" if failure.clear or not writes else "unknown"


def outcome_of_call(
    last: Outcome, failure: Failure, *, unknown_before: bool, keyed: bool
) -> Outcome:
    """What may have happened upstream in a whole call whose last attempt ended so.

    An attempt whose answer was lost may have taken effect, whatever a later one says. Only an
    API that keeps our key answers for both: its refusal of the request itself is then the answer
    to the first one too.
    """
    if not unknown_before:
        return last
    return "rejected" if keyed and failure in _OF_THE_REQUEST else "unknown"


TIMED_OUT = Failure(
    "API_TIMEOUT", TIMEOUT, Sense.PASSING, "The API did not answer in time.", unhealthy=True
)
UNREACHABLE = Failure(
    "API_UNREACHABLE", NETWORK, Sense.PASSING, "The connection to the API failed.", unhealthy=True
)
UNKNOWN_HOST = Failure(
    "API_UNKNOWN_HOST", NETWORK, Sense.FRUITLESS, "There is no such host.", unhealthy=True
)
BAD_CERTIFICATE = Failure(
    "API_BAD_CERTIFICATE",
    NETWORK,
    Sense.FRUITLESS,
    "The API's certificate cannot be trusted.",
    unhealthy=True,
)
FORBIDDEN_ADDRESS = Failure(
    "API_FORBIDDEN_ADDRESS", NON_RETRYABLE, Sense.FRUITLESS, "This address may not be called."
)
BAD_REQUEST = Failure(
    "API_BAD_REQUEST", NON_RETRYABLE, Sense.FRUITLESS, "This request cannot be sent."
)
TOO_LARGE = Failure(
    "API_ANSWER_TOO_LARGE", NON_RETRYABLE, Sense.FRUITLESS, "The API answered with too much."
)
UNREADABLE = Failure(
    "API_ANSWER_UNREADABLE", NON_RETRYABLE, Sense.FRUITLESS, "The API's answer cannot be read."
)
BUSY = Failure("API_BUSY", RETRYABLE, Sense.FRUITLESS, "Too many calls to this API are under way.")
CIRCUIT_OPEN = Failure(
    "API_CIRCUIT_OPEN",
    RETRYABLE,
    Sense.FRUITLESS,
    "The API has been failing and is left alone for a moment.",
)
STILL_RUNNING = Failure(
    "API_STILL_RUNNING", RETRYABLE, Sense.PASSING, "The API still works on the first request."
)
REDIRECTED = Failure(
    "API_REDIRECTED",
    NON_RETRYABLE,
    Sense.FRUITLESS,
    "The API answered with a redirect, which is not followed.",
)
REJECTED = Failure(
    "API_REJECTED", NON_RETRYABLE, Sense.FRUITLESS, "The API refused the request.", clear=True
)
FAILED = Failure("API_UNAVAILABLE", RETRYABLE, Sense.PASSING, "The API failed.", unhealthy=True)
_ODDLY_FAILED = Failure(
    "API_UNAVAILABLE", NON_RETRYABLE, Sense.FRUITLESS, "The API failed.", unhealthy=True
)
_NOT_FOUND = Failure(
    "API_NOT_FOUND", NON_RETRYABLE, Sense.FRUITLESS, "The API knows no such thing.", clear=True
)
_AUTH = Failure(
    "API_AUTH",
    AUTH_FAILURE,
    Sense.FRUITLESS,
    "The API refused our credentials; an operator must look.",
    clear=True,
)
_OF_THE_REQUEST = frozenset({REJECTED, _NOT_FOUND})

_BY_STATUS = {
    401: _AUTH,
    403: _AUTH,
    404: _NOT_FOUND,
    408: Failure("API_TIMEOUT", RETRYABLE, Sense.PASSING, "The API gave up waiting."),
    # "Unwilling to risk processing a request that might be replayed" (RFC 8470, 5.2).
    425: Failure("API_BUSY", RETRYABLE, Sense.DECLINED, "The API is not ready yet.", clear=True),
    429: Failure(
        "API_RATE_LIMITED", RETRYABLE, Sense.DECLINED, "The API asked us to wait.", clear=True
    ),
    500: FAILED,
    502: FAILED,
    503: FAILED,
    504: FAILED,
    # What the API does not know how to do, it did not do (RFC 9110, 15.6.2 and 15.6.6).
    501: REJECTED,
    505: REJECTED,
}


def read_status(status: int) -> Failure:
    """What an answer with a status other than 2xx says."""
    found = _BY_STATUS.get(status)
    if found is not None:
        return found
    if status >= 500:
        return _ODDLY_FAILED
    return REJECTED if status >= 400 else REDIRECTED


def read_error(error: Exception) -> Failure | None:
    """What an attempt that ended in `error` says; None if it is none of a transport's."""
    match error:
        case TimeoutError() | httpx.TimeoutException():
            return TIMED_OUT
        case ForbiddenAddress():
            return FORBIDDEN_ADDRESS
        case UnknownHost():
            return UNKNOWN_HOST
        case httpx.ConnectError():
            untrusted = any(isinstance(cause, SSLCertVerificationError) for cause in _causes(error))
            return BAD_CERTIFICATE if untrusted else UNREACHABLE
        case httpx.UnsupportedProtocol() | httpx.InvalidURL() | httpx.LocalProtocolError():
            return BAD_REQUEST
        case httpx.HTTPError():
            return UNREACHABLE
        case TooLarge():
            return TOO_LARGE
        case Unreadable():
            return UNREADABLE
        case BulkheadFull():
            return BUSY
        case _:
            return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """`error` and what led to it, however often it was wrapped."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop()
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__cause__, each.__context__, *each.args]
