"""What kind of failure an exception is."""

import httpx

from smart_support.errors import ErrorCategory, SupportError
from smart_support.resilience.decision import read_status

# Of several failures at once the one counts that trying again helps least.
_WORST_FIRST = (
    ErrorCategory.NON_RETRYABLE,
    ErrorCategory.AUTH_FAILURE,
    ErrorCategory.TIMEOUT,
    ErrorCategory.NETWORK,
    ErrorCategory.RETRYABLE,
)


def classify_error(exc: BaseException) -> ErrorCategory:
    """Say what kind of failure `exc` is. Total for exceptions: an unknown one is NON_RETRYABLE.

    What is no failure but an order to stop (CancelledError, KeyboardInterrupt, also inside a
    group) has no category and is raised again.
    """
    match exc:
        case SupportError():
            return exc.category
        case BaseExceptionGroup():
            categories = {classify_error(each) for each in exc.exceptions}
            return next(category for category in _WORST_FIRST if category in categories)
        case httpx.TimeoutException():
            return ErrorCategory.TIMEOUT
        case httpx.TransportError():
            return ErrorCategory.NETWORK
        case httpx.HTTPStatusError(response=response):
            return read_status(response.status_code).category
        case Exception():
            return ErrorCategory.NON_RETRYABLE
        case _:
            raise exc


def is_retryable_error(exc: BaseException) -> bool:
    """Whether trying again may help by itself."""
    return classify_error(exc) is ErrorCategory.RETRYABLE
