"""What an API answered, as short text that the model can read."""

import json
from typing import Any

from smart_support.events.postgres import storable
from smart_support.resilience.payload import UnreadableAnswer, read_json

MAX_CHARACTERS = 12_000
"""Longest answer that the model reads, about 3,000 tokens."""

_MAX_ITEMS = 50
_MAX_TEXT = 2_000
_MAX_DEPTH = 12


def success(status: int, content_type: str, body: bytes) -> str:
    """The body of a successful answer as JSON text.

    JSON is shortened item by item, so that what is left is still JSON and says what is missing;
    other text is wrapped; what is no text is described.

    Raises:
        UnreadableAnswer: it says that it is JSON, and is none that can be worked with.
    """
    if not body.strip():
        return _compact({"status": status, "result": "The API confirmed without further data."})
    if "json" in content_type:
        return _fitted(storable(read_json(body)))
    if body[:1] in b"{[" and (parsed := _parsed(body)) is not None:
        return _fitted(parsed)
    if content_type.startswith("text/") or not content_type:
        return _fitted({"status": status, "text": body.decode("utf-8", "replace")})
    return _compact(
        {
            "status": status,
            "result": f"{len(body)} bytes of {content_type.split(';', maxsplit=1)[0]}, not shown.",
        }
    )


def old(content: str, seconds: float) -> str:
    """An earlier answer, marked as such, that stands in for one that could not be had."""
    return _compact(
        {
            "stale": True,
            "age_seconds": round(seconds),
            "remark": "The API does not answer now; this is its last answer. Say how old it is.",
            "answer": _parsed(content.encode()),
        }
    )


def repeated(content: str) -> str:
    """The answer to a call that was made before in the same turn, and was not made again."""
    return _compact(
        {
            "remark": "This was done before in this turn, and was not done a second time.",
            "answer": _parsed(content.encode()),
        }
    )


def checked(content: str) -> str:
    """What showed that a call whose answer was lost has taken effect."""
    return _compact(
        {
            "remark": "Its answer was lost. It was checked: it has taken effect.",
            "answer": _parsed(content.encode()),
        }
    )


def failure(
    code: str,
    outcome: str,
    message: str,
    *,
    status: int | None = None,
    body: bytes = b"",
    say: str | None = None,
) -> str:
    """A failed call for the model: what happened upstream, and the API's own words if it gave any.

    `outcome` is `failed` (nothing was changed), `declined` (a person said no) or `unknown`.
    `say` is a sentence for the customer.
    """
    error: dict[str, Any] = {"code": code, "outcome": outcome, "message": message}
    if say is not None:
        error["say"] = say
    if status is not None:
        error["status"] = status
    parsed = _parsed(body) if body[:1] == b"{" else None
    if isinstance(parsed, dict):
        said = {
            key: parsed[key]
            for key in ("title", "detail", "message", "error", "errors", "type", "code")
            if key in parsed
        }
        if said:
            error["api_said"] = _shortened(said, 0, 5)
    return _fitted({"error": error})


def _parsed(body: bytes) -> Any:
    try:
        return storable(read_json(body))
    except UnreadableAnswer:
        return None


def _fitted(value: Any) -> str:
    items = _MAX_ITEMS
    text = _compact(_shortened(value, 0, items))
    while len(text) > MAX_CHARACTERS and items > 1:
        items //= 2
        text = _compact(_shortened(value, 0, items))
    if len(text) <= MAX_CHARACTERS:
        return text
    return _compact({"shortened": True, "beginning": text[: MAX_CHARACTERS // 2]})


def _shortened(value: Any, depth: int, items: int) -> Any:
    if isinstance(value, str):
        limit = max(80, _MAX_TEXT * items // _MAX_ITEMS)
        return value if len(value) <= limit else f"{value[:limit]}… [{len(value)} characters]"
    if isinstance(value, dict):
        if depth == _MAX_DEPTH:
            return f"[object with {len(value)} fields]"
        return {key: _shortened(item, depth + 1, items) for key, item in value.items()}
    if isinstance(value, list):
        if depth == _MAX_DEPTH:
            return f"[list of {len(value)}]"
        kept = [_shortened(item, depth + 1, items) for item in value[:items]]
        return kept if len(value) <= items else [*kept, f"[{len(value) - items} more not shown]"]
    return value


def _compact(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    # JSON can spell half of a surrogate pair; neither the log nor the model can be told it.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
