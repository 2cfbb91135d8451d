import asyncio

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_support.errors import DatabaseUnavailable, ErrorCategory, NotSignedIn, SupportError
from smart_support.resilience.classify import classify_error, is_retryable_error

RETRYABLE = {408, 425, 429, 500, 502, 503, 504}


def answered(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "http://upstream.test")
    return httpx.HTTPStatusError("", request=request, response=httpx.Response(status))


@pytest.mark.parametrize(
    ("exc", "category"),
    [
        (httpx.ConnectTimeout(""), ErrorCategory.TIMEOUT),
        (httpx.ReadTimeout(""), ErrorCategory.TIMEOUT),
        (httpx.WriteTimeout(""), ErrorCategory.TIMEOUT),
        (httpx.PoolTimeout(""), ErrorCategory.TIMEOUT),
        (httpx.ConnectError(""), ErrorCategory.NETWORK),
        (httpx.ReadError(""), ErrorCategory.NETWORK),
        (httpx.RemoteProtocolError(""), ErrorCategory.NETWORK),
        (httpx.InvalidURL(""), ErrorCategory.NON_RETRYABLE),
        (ValueError(), ErrorCategory.NON_RETRYABLE),
        (DatabaseUnavailable("down"), ErrorCategory.RETRYABLE),
        (NotSignedIn(), ErrorCategory.AUTH_FAILURE),
        (SupportError(), ErrorCategory.NON_RETRYABLE),
    ],
    ids=repr,
)
def test_each_kind_of_failure_has_its_category(exc: Exception, category: ErrorCategory) -> None:
    assert classify_error(exc) is category
    assert is_retryable_error(exc) is (category is ErrorCategory.RETRYABLE)


@pytest.mark.parametrize("status", range(400, 600))
def test_a_status_is_retryable_only_if_it_says_so(status: int) -> None:
    category = classify_error(answered(status))

    assert (category is ErrorCategory.RETRYABLE) == (status in RETRYABLE)
    assert (category is ErrorCategory.AUTH_FAILURE) == (status in {401, 403})


def test_of_several_failures_the_worst_counts() -> None:
    both = ExceptionGroup("", [answered(503), ExceptionGroup("", [answered(401)])])

    assert classify_error(both) is ErrorCategory.AUTH_FAILURE
    assert classify_error(ExceptionGroup("", [answered(503)])) is ErrorCategory.RETRYABLE
    assert (
        classify_error(ExceptionGroup("", [httpx.ReadTimeout(""), ValueError()]))
        is ErrorCategory.NON_RETRYABLE
    )


@pytest.mark.parametrize(
    "order",
    [
        asyncio.CancelledError(),
        KeyboardInterrupt(),
        SystemExit(1),
    ],
    ids=repr,
)
def test_an_order_to_stop_is_no_failure_and_passes(order: BaseException) -> None:
    for exc in (order, BaseExceptionGroup("", [answered(503), order])):
        with pytest.raises(type(order)) as passed:
            classify_error(exc)
        assert passed.value is order


EXCEPTIONS = st.sampled_from(
    [answered(429), answered(404), httpx.ConnectError(""), httpx.ReadTimeout(""), KeyError("x")]
)


@given(st.recursive(EXCEPTIONS, lambda inner: st.lists(inner, min_size=1, max_size=4)))
def test_classification_is_total(shape: object) -> None:
    def grown(node: object) -> Exception:
        if isinstance(node, list):
            return ExceptionGroup("", [grown(each) for each in node])
        assert isinstance(node, Exception)
        return node

    assert classify_error(grown(shape)) in ErrorCategory
