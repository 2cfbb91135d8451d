"""One cursor for the model, whatever way an API has of turning pages.

The cursor is opaque to the model and holds no secret: the values of the one or two arguments that
ask for the next page. It can set nothing that the model could not set itself.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from smart_support.errors import Severity, SupportError
from smart_support.operations.paging import CONTAINERS, NEXT, Pagination, plain
from smart_support.operations.records import Operation
from smart_support.operations.schema import cursor_of

_FLAGS = {"hasmore", "hasnext", "hasnextpage", "more", "morepages"}
_LAST = {"islast", "last", "lastpage", "islastpage", "end"}
_PAGES = {"totalpages", "pagecount", "pages", "lastpage", "numpages", "totalpage"}
_TOTALS = {"total", "totalcount", "totalresults", "totalitems", "totalelements", "totalrecords"}
_ENTRIES = {
    "data", "items", "results", "records", "entries", "values", "list", "content", "elements",
    "rows", "nodes", "hits", "collection", "value", "objects",
}  # fmt: skip
_LINK = re.compile(r"""<([^>]*)>((?:\s*;\s*[^,;"=]+(?:=(?:"[^"]*"|[^,;"]*))?)*)""")
_MAX_CURSOR = 4_000


class CursorInvalid(SupportError):
    """A cursor is none that an answer of this operation gave. The text is for the model."""

    code = "TOOL_ARGUMENTS_INVALID"
    status = 422
    severity = Severity.LOW
    user_message = "I could not put that request together."

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}: this is no cursor; take the one that the last answer gave")


def turned(operation: Operation, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with the page that their cursor stands for, in place of it.

    Raises:
        CursorInvalid: it stands for none.
    """
    name, pagination = cursor_of(operation)
    if pagination is None or name not in arguments:
        return dict(arguments)
    rest = {key: value for key, value in arguments.items() if key != name}
    if arguments[name] is None:
        return rest
    return rest | _decoded(arguments[name], name, pagination)


def _decoded(cursor: Any, name: str, pagination: Pagination) -> dict[str, Any]:
    if not isinstance(cursor, str) or len(cursor) > _MAX_CURSOR:
        raise CursorInvalid(name)
    try:
        value = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError) as error:
        raise CursorInvalid(name) from error
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        raise CursorInvalid(name)
    return {pagination["parameter"]: value}


def next_cursor(
    operation: Operation, arguments: Mapping[str, Any], answer: Any, link: str | None
) -> str | None:
    """The cursor of the page after this `answer`; None if it is the last.

    `arguments` are those of the call, `link` is the answer's `Link` header.
    """
    _, pagination = cursor_of(operation)
    if pagination is None:
        return None
    value = _next(pagination, operation, arguments, answer, link)
    if value is None or value == arguments.get(pagination["parameter"]):
        return None
    return base64.urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")


def _next(
    pagination: Pagination,
    operation: Operation,
    arguments: Mapping[str, Any],
    answer: Any,
    link: str | None,
) -> str | int | None:
    names = {pagination["parameter"]}
    names |= {
        p["name"]
        for p in operation.request_plan["parameters"]
        if p["argument"] == pagination["parameter"]
    }
    if link is not None:
        address = _linked(link)
        return _of_address(address, names) if address else None
    facts = dict(_facts(answer))
    if _ends(facts):
        return None
    entries = _entries(answer)
    if pagination["style"] == "cursor":
        return _mark(pagination, answer, facts, names, entries)
    if pagination["style"] == "link":
        return None
    if not entries and not any(facts.get(flag) is True for flag in _FLAGS):
        return None
    current = arguments.get(pagination["parameter"], pagination["start"])
    if not isinstance(current, int) or isinstance(current, bool):
        return None
    return _counted(pagination, operation, arguments, facts, entries, current)


def _counted(
    pagination: Pagination,
    operation: Operation,
    arguments: Mapping[str, Any],
    facts: Mapping[str, Any],
    entries: list[Any],
    current: int,
) -> int | None:
    """The next page's number, or how many to leave out, if there seems to be more."""
    by_page = pagination["style"] == "page"
    after = current + 1 if by_page else current + len(entries)
    if any(facts.get(flag) is True for flag in _FLAGS):
        return after
    pages = next((n for key in _PAGES if _whole(n := facts.get(key))), None)
    if by_page and pages is not None:
        return after if current - pagination["start"] + 1 < pages else None
    size = _size(pagination, operation, arguments)
    total = next((n for key in _TOTALS if _whole(n := facts.get(key))), None)
    if total is not None and (size or not by_page):
        seen = (current - pagination["start"]) * (size or 0) if by_page else current
        return after if seen + len(entries) < total else None
    return None if size is not None and len(entries) < size else after


def _size(pagination: Pagination, operation: Operation, arguments: Mapping[str, Any]) -> int | None:
    if pagination["size"] is None:
        return None
    schema = operation.schema["properties"].get(pagination["size"])
    default = schema.get("default") if isinstance(schema, dict) else None
    size = arguments.get(pagination["size"], default)
    return size if _whole(size) and size > 0 else None


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _mark(
    pagination: Pagination,
    answer: Any,
    facts: Mapping[str, Any],
    names: set[str],
    entries: list[Any],
) -> str | int | None:
    if pagination["next"] is not None:
        found = answer
        for step in pagination["next"]:
            found = found.get(step) if isinstance(found, dict) else None
        return _value(found, names)
    for key in NEXT & facts.keys():
        if (value := _value(facts[key], names)) is not None:
            return value
    # Without a mark of its own, the last entry is the mark.
    last = entries[-1] if entries else None
    return _value(last.get("id"), names) if isinstance(last, dict) else None


def _value(found: Any, names: set[str]) -> str | int | None:
    """A mark as it stands there, or out of the address that stands there."""
    if isinstance(found, dict):  # HAL: {"href": …}
        found = found.get("href")
    if isinstance(found, bool) or not isinstance(found, (str, int)) or found in {"", 0}:
        return None
    if isinstance(found, str) and (found.startswith(("http://", "https://", "/", "?"))):
        return _of_address(found, names)
    return found


def _of_address(address: str, names: set[str]) -> str | int | None:
    try:
        query = parse_qs(urlsplit(address).query)
    except ValueError:
        return None
    for name in names:
        if query.get(name):
            value = query[name][-1]
            return int(value) if re.fullmatch(r"[1-9][0-9]{0,15}", value) else value
    return None


def _linked(header: str) -> str | None:
    """The address with `rel="next"`. Source: RFC 8288, 3."""
    for match in _LINK.finditer(header):
        parameters = re.findall(r';\s*rel\s*=\s*(?:"([^"]*)"|([^;,\s]+))', match[2], re.IGNORECASE)
        relations = {
            word.lower() for quoted, bare in parameters for word in (quoted or bare).split()
        }
        if "next" in relations:
            return match[1]
    return None


def _facts(answer: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """What an answer says of itself, by plain name."""
    for name, value in answer.items() if isinstance(answer, dict) else ():
        if isinstance(value, dict) and plain(name) in CONTAINERS and depth < 3:
            yield from _facts(value, depth + 1)
        if not isinstance(value, list):
            yield plain(name), value


def _ends(facts: Mapping[str, Any]) -> bool:
    return any(facts.get(key) is False for key in _FLAGS) or any(
        facts.get(key) is True for key in _LAST
    )


def _entries(answer: Any) -> list[Any]:
    if isinstance(answer, list):
        return answer
    lists = (
        {k: v for k, v in answer.items() if isinstance(v, list)} if isinstance(answer, dict) else {}
    )
    named = [v for k, v in lists.items() if plain(k) in _ENTRIES]
    if named or len(lists) == 1:
        return (named or list(lists.values()))[0]
    return []
