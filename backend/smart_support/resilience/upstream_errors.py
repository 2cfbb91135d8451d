"""How a call of somebody else's API can fail, as our catalogue names it."""

import httpx

from smart_support.errors import ClientAction, ErrorCategory, RetryStrategy, Severity, SupportError


class UpstreamUnreachable(SupportError):
    """No connection to the API: the name is unknown, nobody listens, the line was cut."""

    code = "API_UNREACHABLE"
    status = 502
    category = ErrorCategory.NETWORK
    severity = Severity.HIGH
    user_message = "I cannot reach the system that I need for that. Please try again in a moment."


class UpstreamTimeout(SupportError):
    """The API did not answer in time."""

    code = "API_TIMEOUT"
    status = 504
    category = ErrorCategory.TIMEOUT
    severity = Severity.MEDIUM
    user_message = "The system that I need for that is very slow. Please try again in a moment."


class UpstreamUnavailable(SupportError):
    """The API answered with 5xx: it failed itself."""

    code = "API_UNAVAILABLE"
    status = 502
    category = ErrorCategory.RETRYABLE
    severity = Severity.HIGH
    user_message = "The system that I need for that has a problem. Please try again in a moment."


class UpstreamAuth(SupportError):
    """The API refuses our credentials (401 or 403)."""

    code = "API_AUTH"
    status = 502
    category = ErrorCategory.AUTH_FAILURE
    severity = Severity.CRITICAL
    user_message = "I have no access to the system that I need for that. Our team has to repair it."
    action = ClientAction.HAND_OFF
    hint = "The API's credentials are missing, wrong or expired: set them anew for this API."


class UpstreamRateLimited(SupportError):
    """The API takes no more requests for now (429)."""

    code = "API_RATE_LIMITED"
    status = 503
    category = ErrorCategory.RETRYABLE
    severity = Severity.MEDIUM
    user_message = "The system that I need for that is busy. Please try again in a moment."
    retry = RetryStrategy.RATE_LIMIT


class UpstreamNotFound(SupportError):
    """The API knows no such thing for this customer (404)."""

    code = "API_NOT_FOUND"
    status = 404
    severity = Severity.LOW
    user_message = "I could not find that."


class UpstreamRedirected(SupportError):
    """The API answered with a redirect, which is not followed: it could lead anywhere."""

    code = "API_REDIRECTED"
    status = 502
    severity = Severity.MEDIUM
    user_message = "The system that I need for that has moved. Our team has to look at it."
    hint = "Set the base URL that the API redirects to."


class UpstreamRejected(SupportError):
    """The API refused the request (another 4xx)."""

    code = "API_REJECTED"
    status = 502
    severity = Severity.LOW
    user_message = "The system that I need for that did not accept the request."


class UpstreamUnknownHost(SupportError):
    """The name of the API's host is not known."""

    code = "API_UNKNOWN_HOST"
    status = 502
    category = ErrorCategory.NETWORK
    severity = Severity.HIGH
    user_message = "I cannot reach the system that I need for that. Please try again in a moment."
    hint = "The base URL's host name does not resolve: a typing error, or the DNS of this machine."


class UpstreamBadCertificate(SupportError):
    """The API's certificate is not trusted, not for this host, or expired."""

    code = "API_BAD_CERTIFICATE"
    status = 502
    severity = Severity.HIGH
    user_message = "I cannot reach the system that I need for that. Our team has to look at it."
    hint = "Renew the API's certificate, or trust its authority on this machine."


class UpstreamForbiddenAddress(SupportError):
    """The API's address lies in a network that may not be called."""

    code = "API_FORBIDDEN_ADDRESS"
    status = 502
    severity = Severity.HIGH
    user_message = "I may not reach the system that I need for that. Our team has to look at it."
    hint = "The host resolves to an address that is not allowed: an attack, or allow the network."


class UpstreamCircuitOpen(SupportError):
    """Most calls to the API failed just now, so that it is left alone for a moment."""

    code = "API_CIRCUIT_OPEN"
    status = 503
    category = ErrorCategory.RETRYABLE
    severity = Severity.HIGH
    user_message = "The system that I need for that has a problem. Please try again in a moment."
    retry = RetryStrategy.AFTER_TIME


class UpstreamBusy(SupportError):
    """As many calls to the API run and wait as may; this one was not made."""

    code = "API_BUSY"
    status = 503
    category = ErrorCategory.RETRYABLE
    severity = Severity.MEDIUM
    user_message = "The system that I need for that is busy. Please try again in a moment."
    hint = "More calls at once than its places: a slow API, or raise the number of places."


class UpstreamBadRequest(SupportError):
    """The request cannot be sent as it is, or the API cannot read it."""

    code = "API_BAD_REQUEST"
    status = 502
    severity = Severity.MEDIUM
    user_message = "The system that I need for that did not accept the request."


class UpstreamAnswerUnreadable(SupportError):
    """The API answered with something that is no HTTP, or cannot be unpacked."""

    code = "API_ANSWER_UNREADABLE"
    status = 502
    severity = Severity.MEDIUM
    user_message = "The system that I need for that has a problem. Please try again in a moment."


class UpstreamAnswerTooLarge(SupportError):
    """The API answered with more than is read; what it did stands."""

    code = "API_ANSWER_TOO_LARGE"
    status = 502
    severity = Severity.MEDIUM
    user_message = "The system that I need for that said more than I can read."
    hint = "Let the operation answer in pages or with fewer fields, or raise the limit of bytes."


class UpstreamStillRunning(SupportError):
    """The API accepted the request and had not finished it when the time was over."""

    code = "API_STILL_RUNNING"
    status = 504
    severity = Severity.MEDIUM
    user_message = "That is still being worked on. Please ask again in a while."


class OutcomeUnknown(SupportError):
    """A write was sent and no clear answer came: it may or may not have taken effect."""

    code = "TOOL_OUTCOME_UNKNOWN"
    status = 502
    severity = Severity.HIGH
    user_message = "I do not know whether that went through. A person has to check it."
    action = ClientAction.HAND_OFF
    hint = "Look in the API itself whether it took effect, then settle the call in the ledger."


class ToolDeclined(SupportError):
    """The customer said no, or did not answer in time; nothing was sent."""

    code = "TOOL_DECLINED"
    status = 409
    severity = Severity.LOW
    user_message = "I did not do that, since you did not want it."


class ToolCancelled(SupportError):
    """The customer stopped the turn while a call was on its way."""

    code = "TOOL_CANCELLED"
    status = 409
    severity = Severity.LOW
    user_message = "I stopped."


def error_of_upstream(error: BaseException) -> SupportError | None:
    """The failure that an exception of httpx means; None if it is none of httpx."""
    text = type(error).__name__
    match error:
        case httpx.TimeoutException():
            return UpstreamTimeout(text)
        case httpx.HTTPStatusError(response=response):
            return _error_of_status(response.status_code)
        case httpx.HTTPError() | httpx.InvalidURL() | httpx.StreamError():
            return UpstreamUnreachable(text)
    return None


def _error_of_status(status: int) -> SupportError:
    text = f"status {status}"
    match status:
        case 401 | 403:
            return UpstreamAuth(text)
        case 404:
            return UpstreamNotFound(text)
        case 408:
            return UpstreamTimeout(text)
        case 429:
            return UpstreamRateLimited(text)
        case _ if status >= 500:
            return UpstreamUnavailable(text)
        case _ if status < 400:
            return UpstreamRedirected(text)
    return UpstreamRejected(text)


def code_of_attempt(status: int | None, category: str | None) -> str:
    """The code of a failed attempt of which only status and category were kept."""
    if status is not None and not 200 <= status < 300:
        return _error_of_status(status).code
    match category:
        case "timeout":
            return UpstreamTimeout.code
        case "network":
            return UpstreamUnreachable.code
        case "auth_failure":
            return UpstreamAuth.code
        case "cancelled":
            return ToolCancelled.code
    return UpstreamUnavailable.code
