"""A request as a person reads it before saying yes: made from what will be sent, nothing else."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import httpx

from smart_support.ledger.records import PlannedCall

_MAX_FIELDS = 60
_MAX_VALUE = 2_000


def fields_of(planned: PlannedCall) -> list[dict[str, str]]:
    """Every value that will be sent, as name and text, in a stable order."""
    found: list[dict[str, str]] = []
    _flatten("", planned.arguments, found)
    if len(found) > _MAX_FIELDS:
        left = len(found) - _MAX_FIELDS
        return [*found[:_MAX_FIELDS], {"name": "…", "value": f"{left} more values"}]
    return found


def address_of(request: httpx.Request) -> str:
    """Where the request goes: scheme, host and path, readable."""
    url = request.url
    return f"{url.scheme}://{url.netloc.decode('ascii')}{unquote(url.path)}"


def _flatten(name: str, value: Any, found: list[dict[str, str]]) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _flatten(f"{name}.{key}" if name else str(key), item, found)
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        for place, item in enumerate(value):
            _flatten(f"{name}[{place}]", item, found)
    else:
        text = ", ".join(map(_text, value)) if isinstance(value, list) else _text(value)
        found.append({"name": name.removeprefix("body."), "value": text[:_MAX_VALUE]})


def _text(value: Any) -> str:
    match value:
        case None:
            return "(empty)"
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)
