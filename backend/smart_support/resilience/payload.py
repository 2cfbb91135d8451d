"""JSON from outside, read into what can be worked with: no NaN, no bombs, every digit kept."""

import json
import re
from collections.abc import Iterable
from typing import Any

import orjson

from smart_support.errors import Severity, SupportError

MAX_DEPTH = 100
"""Lists and objects inside of each other; recursion over what was read is safe up to here."""

_MAY_BE_TOO_LONG = re.compile(rb"\d{19}")
_LONGEST = 2**63


class UnreadableAnswer(SupportError):
    """The API's answer is not the JSON that it says it is; what the call did stands."""

    code = "API_ANSWER_UNREADABLE"
    status = 502
    severity = Severity.MEDIUM
    user_message = "I got an answer that I cannot read."


def read_json(body: bytes) -> Any:
    """The value in `body`, made of what JSON of 64-bit integers can hold.

    NaN and the infinities become null, and integers that do not fit become text, so that an id
    keeps its digits. NUL and lone surrogates stay: `storable` replaces them where it is stored.

    Raises:
        UnreadableAnswer: it is no JSON, no UTF-8, too deep, or has a number without end.
    """
    try:
        value = _read(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableAnswer(f"no JSON: {type(error).__name__}") from None
    if _depth_exceeds(value, MAX_DEPTH):
        raise UnreadableAnswer(f"more than {MAX_DEPTH} levels deep")
    return value


def _read(body: bytes) -> Any:
    if not _MAY_BE_TOO_LONG.search(body):  # orjson would make floats of them
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            pass  # it refuses NaN and lone surrogates, too
    return json.loads(
        body.decode("utf-8-sig"), parse_constant=_nothing, parse_int=_whole, parse_float=_broken
    )


def _nothing(_: str) -> None:
    """What stands for NaN and the infinities."""


def _whole(digits: str) -> int | str:
    number = int(digits)  # refuses thousands of digits
    return number if -_LONGEST <= number < _LONGEST else digits


def _broken(text: str) -> float | str:
    number = float(text)
    return number if number - number == 0.0 else text  # 1e999 is infinite


def _depth_exceeds(value: Any, most: int) -> bool:
    level: list[Any] = [value]
    for _ in range(most + 1):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in _members(each)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _members(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value
