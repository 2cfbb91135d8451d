"""The catalogue of errors: every class says all of itself, and nothing internal to customers."""

import re
from pathlib import Path

import pytest

from smart_support.cli.catalogue import actions_json, all_errors, errors_page
from smart_support.errors import (
    ClientAction,
    ErrorCategory,
    Family,
    InternalError,
    NotSignedIn,
    RateLimited,
    RetryStrategy,
    Severity,
    SupportError,
    action_of,
)

CATALOGUE = all_errors()
DOCS = Path(__file__).parents[1] / "docs"
PAGE = Path(__file__).parents[1] / "frontend/src/api/errors.gen.json"


@pytest.mark.parametrize("kind", CATALOGUE, ids=lambda kind: kind.__name__)
def test_every_error_says_all_of_itself(kind: type[SupportError]) -> None:
    assert re.fullmatch(r"[A-Z]+(_[A-Z]+)+", kind.code)
    assert 400 <= kind.status < 600
    assert isinstance(kind.category, ErrorCategory)
    assert isinstance(kind.severity, Severity)
    assert isinstance(kind.retry, RetryStrategy)
    assert isinstance(kind.action, ClientAction)
    assert kind.close_code in {1001, 1011, 1013, 4401, 4403, 4429}
    assert Family.of(kind.code)
    assert kind.operator_hint().rstrip()[-1] in ".?!"
    assert kind.__doc__
    assert kind.user_message[0].isupper() or kind.user_message.startswith("“")
    assert kind.user_message.rstrip()[-1] in ".?!…”"


@pytest.mark.parametrize("kind", CATALOGUE, ids=lambda kind: kind.__name__)
def test_what_a_customer_reads_names_nothing_of_ours(kind: type[SupportError]) -> None:
    internals = (
        r"postgres|sql|langgraph|openai|httpx|exception|traceback|smart_support|[A-Z]+_[A-Z]+"
    )

    assert not re.search(internals, kind.user_message)


def test_a_code_names_one_error_or_those_that_look_the_same() -> None:
    said: dict[str, set[tuple[int, Severity]]] = {}
    for kind in CATALOGUE:
        said.setdefault(kind.code, set()).add((kind.status, kind.severity))

    assert {code: found for code, found in said.items() if len(found) > 1} == {}


def test_an_internal_error_keeps_its_reason_to_itself() -> None:
    assert str(InternalError()) == "internal error"
    assert InternalError.code == "SYS_INTERNAL"


def test_a_rate_limit_says_when_there_is_room() -> None:
    refusal = RateLimited(1.25)

    assert refusal.retry_after == 1.25
    assert "1.250 s" in str(refusal)
    assert refusal.category is ErrorCategory.RETRYABLE


def test_the_text_is_for_the_log_and_the_message_for_people() -> None:
    refusal = NotSignedIn("token refused: ExpiredSignatureError")

    assert "Expired" in str(refusal)
    assert "Expired" not in refusal.user_message


def test_what_follows_from_what_a_class_states() -> None:
    class Slow(NotSignedIn):
        code = "API_SLOW"
        category = ErrorCategory.TIMEOUT

    class Plain(Slow):
        pass

    class Stated(Slow):
        retry = RetryStrategy.NONE
        action = ClientAction.HAND_OFF

    assert (Slow.retry, Slow.action) == (RetryStrategy.BACKOFF, ClientAction.RETRY)
    assert (Plain.retry, Plain.action) == (RetryStrategy.BACKOFF, ClientAction.RETRY)
    assert (Stated.retry, Stated.action) == (RetryStrategy.NONE, ClientAction.HAND_OFF)
    assert "Dependencies" in Slow.operator_hint()


def test_what_can_be_retried_by_category_is_not_given_up_by_strategy() -> None:
    again = {ErrorCategory.RETRYABLE, ErrorCategory.TIMEOUT, ErrorCategory.NETWORK}

    given_up = [k for k in CATALOGUE if k.category in again and k.retry is RetryStrategy.NONE]

    assert given_up == []


@pytest.mark.parametrize("wait", [float("nan"), float("inf"), -1.0, "soon", None])
def test_a_wait_that_is_no_time_is_none(wait: object) -> None:
    refusal = RateLimited(1.0)
    refusal.retry_after = wait  # type: ignore[assignment]

    assert refusal.wait_seconds() is None


def test_what_a_page_does_is_known_by_the_code_alone() -> None:
    assert action_of("AUTH_NOT_SIGNED_IN") is ClientAction.SIGN_IN
    assert action_of("MODEL_UNAVAILABLE") is ClientAction.HAND_OFF
    assert action_of("FROM_THE_FUTURE") is ClientAction.RETRY
    assert action_of(None) is ClientAction.RETRY


@pytest.mark.skipif(not DOCS.exists(), reason="the documents are not here")
def test_the_page_of_errors_is_what_the_classes_say() -> None:
    assert (DOCS / "errors.md").read_text() == errors_page(), (
        "smart-support errors > docs/errors.md"
    )


@pytest.mark.skipif(not PAGE.exists(), reason="the front end is not here")
def test_the_front_end_knows_every_code() -> None:
    assert PAGE.read_text() == actions_json(), (
        "smart-support errors --actions > frontend/src/api/errors.gen.json"
    )
