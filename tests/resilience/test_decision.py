import itertools

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_support.errors import ErrorCategory
from smart_support.resilience import decision
from smart_support.resilience.decision import (
    Failure,
    Sense,
    may_retry,
    outcome_of,
    outcome_of_call,
    read_error,
    read_status,
)

TABLE = {
    # (sense, sent, repeatable): again?
    (Sense.FRUITLESS, False, False): False,
    (Sense.FRUITLESS, False, True): False,
    (Sense.FRUITLESS, True, False): False,
    (Sense.FRUITLESS, True, True): False,
    (Sense.PASSING, False, False): True,
    (Sense.PASSING, False, True): True,
    (Sense.PASSING, True, False): False,
    (Sense.PASSING, True, True): True,
    (Sense.DECLINED, False, False): True,
    (Sense.DECLINED, False, True): True,
    (Sense.DECLINED, True, False): True,
    (Sense.DECLINED, True, True): True,
}


def test_the_decision_is_the_table() -> None:
    for (sense, sent, repeatable), again in TABLE.items():
        failure = Failure("API_X", ErrorCategory.NETWORK, sense, "")

        assert may_retry(failure, sent=sent, repeatable=repeatable) is again


def test_the_table_leaves_nothing_out() -> None:
    assert set(TABLE) == set(itertools.product(Sense, (False, True), (False, True)))


@given(status=st.integers(300, 999), writes=st.booleans())
def test_no_status_lets_a_keyless_write_be_repeated_that_may_have_taken_effect(
    status: int, writes: bool
) -> None:
    failure = read_status(status)

    if outcome_of(failure, sent=True, writes=writes) == "unknown":
        assert not may_retry(failure, sent=True, repeatable=False)


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 520, 301, 303])
def test_after_these_nobody_knows_what_a_write_did(status: int) -> None:
    assert outcome_of(read_status(status), sent=True, writes=True) == "unknown"
    assert outcome_of(read_status(status), sent=True, writes=False) == "rejected"
    assert outcome_of(read_status(status), sent=False, writes=True) == "not_sent"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422, 425, 429, 501, 505])
def test_after_these_a_write_did_nothing(status: int) -> None:
    assert outcome_of(read_status(status), sent=True, writes=True) == "rejected"


@pytest.mark.parametrize("last", ["not_sent", "rejected", "unknown"])
def test_a_lost_attempt_is_not_forgotten(last: decision.Outcome) -> None:
    failure = read_status(404)

    assert outcome_of_call(last, failure, unknown_before=True, keyed=False) == "unknown"
    assert outcome_of_call(last, failure, unknown_before=False, keyed=False) == last


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(422, "rejected"), (404, "rejected"), (429, "unknown"), (401, "unknown"), (503, "unknown")],
)
def test_only_the_refusal_of_a_keyed_request_answers_for_the_lost_attempt(
    status: int, outcome: str
) -> None:
    failure = read_status(status)

    assert outcome_of_call("rejected", failure, unknown_before=True, keyed=True) == outcome


TRANSPORT_ERRORS = [
    each
    for each in vars(httpx).values()
    if isinstance(each, type) and issubclass(each, httpx.HTTPError | httpx.InvalidURL)
]


@pytest.mark.parametrize("kind", TRANSPORT_ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_of_httpx_is_read(kind: type[Exception]) -> None:
    error = kind.__new__(kind)

    failure = read_error(error)

    assert failure is not None
    assert failure.words


def test_a_bug_is_none_of_them() -> None:
    assert read_error(KeyError("x")) is None
