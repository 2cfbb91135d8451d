"""The arguments of a tool call, as the model wrote them."""

import json
import re
from typing import Any

import orjson

from smart_support.errors import SupportError


class BrokenArguments(SupportError):
    """The model wrote arguments that are no JSON object."""

    code = "TOOL_BROKEN_ARGUMENTS"
    status = 422


def parse_arguments(text: str) -> dict[str, Any]:
    """The arguments that the model wrote.

    Raises:
        BrokenArguments: they are no JSON object.
    """
    try:
        parsed = json.loads(text or "{}", parse_constant=_refuse_constant)
        # What no request, log or ledger can hold, as text that cannot be encoded or a number of
        # more than 64 bits, is refused here, while the model can still put it right.
        kept = orjson.dumps(parsed)
    except (ValueError, TypeError, RecursionError) as error:
        raise BrokenArguments(f"The arguments are no valid JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise BrokenArguments("The arguments must be a JSON object.")
    if _NUL.search(kept):
        raise BrokenArguments("The arguments must not contain the character U+0000.")
    return parsed


_NUL = re.compile(rb"(?<!\\)(\\\\)*\\u0000")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")
