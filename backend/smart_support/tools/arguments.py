"""What the model gives for a call, held against the schema that it was shown."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jsonschema_rs
import orjson

from smart_support.errors import Severity, SupportError
from smart_support.operations.records import Operation
from smart_support.operations.schema import tool_schema
from smart_support.tools.paging import turned

MAX_PROBLEMS = 5
"""Problems named at once; more would crowd out the conversation."""


class ArgumentsInvalid(SupportError):
    """The arguments do not fit the operation. The text is for the model: what and where."""

    code = "TOOL_ARGUMENTS_INVALID"
    status = 422
    severity = Severity.LOW
    user_message = "I could not put that request together."


@lru_cache(maxsize=1024)
def _validator(schema: bytes) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(orjson.loads(schema))


def validate_arguments(operation: Operation, arguments: Mapping[str, Any]) -> None:
    """Hold the model's `arguments` against the schema that it was shown.

    Arguments bound to the customer are therefore refused here; the executor adds them after.

    Raises:
        CursorInvalid: no answer gave such a cursor.
        ArgumentsInvalid: naming each place and what is wrong there, MAX_PROBLEMS at most.
    """
    validator = _validator(orjson.dumps(tool_schema(operation)))
    if problems := [_problem(error) for error in validator.iter_errors(dict(arguments))]:
        shown = "; ".join(dict.fromkeys(problems[:MAX_PROBLEMS]))
        more = f"; and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
        raise ArgumentsInvalid(f"{operation.tool_name}: {shown}{more}")
    turned(operation, arguments)


def _problem(error: jsonschema_rs.ValidationError) -> str:
    place = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path
    )
    message = error.message if len(error.message) <= 300 else f"{error.message[:299]}…"
    return f"{place.lstrip('.') or 'arguments'}: {message}"
