"""What an API answered, as short text that the model can read.

It is data from outside: whatever cannot be seen is taken out of it, and nothing in it is obeyed.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from smart_support.operations.text import visible
from smart_support.resilience.payload import read_json

MAX_TOKENS = 3_000
"""Longest answer that the model reads, as `tokens_of` counts them."""
BYTES_PER_TOKEN = 4
"""About what tokenizers make of English and of JSON."""
MAX_CHARACTERS = MAX_TOKENS * BYTES_PER_TOKEN

_MAX_DEPTH = 12
_ERROR_WORDS = ("title", "detail", "message", "error", "errors", "type", "code")
_MAX_SAID = 300
_TEXTUAL = re.compile(r"text/|[/+](xml|yaml|x-yaml|csv|javascript|graphql|toml|sql)\b")
_LINES = re.compile(r"/(x-)?(ndjson|jsonl|json-?lines|json-seq)\b")


@dataclass(frozen=True, slots=True)
class _Room:
    """How much of each part of an answer is shown."""

    items: int
    text: int
    fields: int


_ROOMS = (
    _Room(50, 2_000, 5_000), _Room(25, 1_000, 5_000), _Room(12, 480, 5_000),
    _Room(6, 240, 5_000), _Room(3, 120, 5_000), _Room(1, 80, 5_000),
    _Room(1, 80, 200), _Room(1, 80, 60), _Room(1, 80, 20), _Room(1, 80, 5),
)  # fmt: skip
"""Tried in turn until the answer fits. Keys are what the model asks by, so they go last."""


def tokens_of(text: str) -> int:
    """About how many tokens `text` is for a model."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def success(
    status: int,
    content_type: str,
    body: bytes,
    *,
    fields: Iterable[str] = (),
    cursor: Callable[[Any], str | None] | None = None,
    max_tokens: int = MAX_TOKENS,
) -> str:
    """The body of a successful answer as JSON text of about `max_tokens` at most.

    JSON is shortened item by item, so that what is left is still JSON and says what is missing;
    other text is wrapped; what is no text is described. Of JSON only `fields` are shown, if any:
    `order.id` is the field `id` of `order`, and of each of its entries if that is a list.
    `cursor` gives that of the next page; with it, the answer stands in `data`, beside `has_more`.
    """
    if not body.strip():
        return _compact({"status": status, "result": "The API confirmed without further data."})
    parsed = _json(content_type, body)
    if parsed is not None:
        shown = _selected(parsed, list(fields))
        if cursor is None:
            return _fitted(shown, max_tokens)
        following = cursor(parsed)
        page: dict[str, Any] = {"has_more": following is not None}
        if following is not None:
            page["cursor"] = following
        # A cursor is of use only as a whole.
        rest = max_tokens - tokens_of(_compact(page)) - len('{"data":,}')
        return f'{{"data":{_fitted(shown, rest)},{_compact(page)[1:]}'
    essence = content_type.partition(";")[0].strip().lower()
    if not essence or (_TEXTUAL.search(essence) and b"\x00" not in body):
        return _fitted({"status": status, "text": _decoded(content_type, body)}, max_tokens)
    return _compact(
        {"status": status, "result": f"{len(body)} bytes of {visible(essence)[:100]}, not shown."}
    )


def check_readable(content_type: str, body: bytes) -> None:
    """Return if an answer that says that it is JSON is JSON that can be worked with.

    Raises:
        UnreadableAnswer: it is not.
    """
    essence = content_type.partition(";")[0].strip().lower()
    if body.strip() and (essence == "application/json" or essence.endswith("+json")):
        read_json(body.removeprefix(b"\xef\xbb\xbf"))


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
    Problem details (RFC 9457) are kept with all their members.
    """
    error: dict[str, Any] = {"code": code, "outcome": outcome, "message": message}
    if say is not None:
        error["say"] = say
    if status is not None:
        error["status"] = status
    parsed = _parsed(body) if body[:1] == b"{" else None
    if isinstance(parsed, dict) and (said := _said(parsed)):
        error["api_said"] = _shortened(said, 0, _Room(5, 500, 40))
    elif _is_sentence(body):
        error["api_said"] = visible(body.decode()).strip()
    return _fitted({"error": error}, MAX_TOKENS)


def _said(parsed: Mapping[str, Any]) -> Mapping[str, Any]:
    is_problem = "title" in parsed and ("type" in parsed or "status" in parsed)
    return parsed if is_problem else {key: parsed[key] for key in _ERROR_WORDS if key in parsed}


def _is_sentence(body: bytes) -> bool:
    """Whether this is a few words, and no page or program that failed."""
    text = body.decode("utf-8", "replace").strip()
    return (
        0 < len(text) <= _MAX_SAID
        and "\n" not in text
        and text[0] not in "<{["
        and ("\ufffd" not in text)
    )


def _json(content_type: str, body: bytes) -> Any:
    if _LINES.search(content_type):
        parsed = [_parsed(line.lstrip(b"\x1e")) for line in body.splitlines() if line.strip()]
        return parsed if None not in parsed else None
    if "json" in content_type or body[:1] in b"{[" or body[:3] == b"\xef\xbb\xbf":
        return _parsed(body.removeprefix(b"\xef\xbb\xbf"))
    return None


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        # NaN and the like, which orjson refuses and jsonb could not store.
        return json.loads(body, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None


def _decoded(content_type: str, body: bytes) -> str:
    charset = re.search(r"charset=\"?([\w.:-]+)", content_type, re.IGNORECASE)
    try:
        return body.decode(charset[1] if charset else "utf-8", "replace")
    except LookupError:
        return body.decode("utf-8", "replace")


def _selected(value: Any, fields: list[str]) -> Any:
    """The parts of `value` that a person chose to show; all of it if nobody chose."""
    wanted: dict[str, Any] = {}
    for field in sorted(fields, key=len, reverse=True):
        *path, last = field.replace("[]", "").split(".")
        here = wanted
        for step in path:
            here = here.setdefault(step, {})
        here[last] = {}  # all of it, whatever was chosen of its parts
    if not wanted:
        return value
    found = _picked(value, wanted)
    if found is None or found == {}:
        return {"result": "None of the fields that may be shown is in the answer."}
    return found


def _picked(value: Any, wanted: Mapping[str, Any]) -> Any:
    if not wanted:
        return value
    if isinstance(value, list):
        return [found for item in value if (found := _picked(item, wanted)) is not None]
    if not isinstance(value, dict):
        return None
    picked = {name: _picked(value[name], more) for name, more in wanted.items() if name in value}
    return {name: part for name, part in picked.items() if part is not None or value[name] is None}


def _fitted(value: Any, max_tokens: int) -> str:
    text = ""
    for room in _ROOMS:
        text = _compact(_shortened(value, 0, room))
        if tokens_of(text) <= max_tokens:
            return text
    return _compact({"shortened": True, "beginning": text[: max_tokens * BYTES_PER_TOKEN // 4]})


def _shortened(value: Any, depth: int, room: _Room) -> Any:
    if isinstance(value, str):
        text = visible(value)
        cut = f"{text[: room.text]}… [{len(text)} characters]"
        return text if len(text) <= len(cut) else cut
    if isinstance(value, Mapping):
        if depth == _MAX_DEPTH:
            return f"[object with {len(value)} fields]"
        kept = list(value.items())[: room.fields]
        shown = {visible(key): _shortened(item, depth + 1, room) for key, item in kept}
        if len(value) > room.fields:
            shown["…"] = f"[{len(value) - room.fields} more fields not shown]"
        return shown
    if isinstance(value, list):
        if depth == _MAX_DEPTH:
            return f"[list of {len(value)}]"
        entries = [_shortened(item, depth + 1, room) for item in value[: room.items]]
        left = len(value) - room.items
        return entries if left <= 0 else [*entries, f"[{left} more not shown]"]
    return value


def _compact(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    # JSON can spell half of a surrogate pair; neither the log nor the model can be told it.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
