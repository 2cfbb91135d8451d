"""The catalogue of errors: every class says all of itself, and nothing internal to customers."""

import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest

import smart_support
from smart_support.errors import (
    ErrorCategory,
    InternalError,
    NotSignedIn,
    RateLimited,
    Severity,
    SupportError,
)


def catalogue() -> list[type[SupportError]]:
    """Every error class of the product, wherever it lives."""
    for module in pkgutil.walk_packages(smart_support.__path__, "smart_support."):
        if "__main__" not in module.name and ".demo" not in module.name:
            importlib.import_module(module.name)

    def below(kind: type[SupportError]) -> Iterator[type[SupportError]]:
        for each in kind.__subclasses__():
            yield each
            yield from below(each)

    return sorted(
        {kind for kind in below(SupportError) if kind.__module__.startswith("smart_support.")},
        key=lambda kind: kind.__name__,
    )


CATALOGUE = catalogue()


@pytest.mark.parametrize("kind", CATALOGUE, ids=lambda kind: kind.__name__)
def test_every_error_says_all_of_itself(kind: type[SupportError]) -> None:
    assert re.fullmatch(r"[A-Z]+(_[A-Z]+)+", kind.code)
    assert 400 <= kind.status < 600
    assert isinstance(kind.category, ErrorCategory)
    assert isinstance(kind.severity, Severity)
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
    said: dict[str, set[int]] = {}
    for kind in CATALOGUE:
        said.setdefault(kind.code, set()).add(kind.status)

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
