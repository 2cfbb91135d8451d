"""Values as text, in the styles of OpenAPI: what stands in a path, a query, a header, a form.

A null, a list without members and one of nothing but nulls are *undefined*: they are not sent.

Sources: OpenAPI 3.1.1 and 3.2.0, "Style Values" and appendices C to E; RFC 6570; RFC 3986;
Swagger 2.0, "Parameter Object".
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

import orjson

from smart_support.operations.records import EncodingPlan, ParameterPlan
from smart_support.tools.arguments import ArgumentsInvalid

CONTROL = re.compile(r"[\x00-\x1f\x7f]")

# RFC 3986's reserved characters that mean nothing inside of a value where it stands; the others
# would end it, or begin another one.
_QUERY = "/:?@!$'()*,;="
_PATH = ":@!$&'()*+,;="
_COOKIE = "/:?@!$&'()*+=#"
_DELIMITERS = {"spaceDelimited": "%20", "pipeDelimited": "%7C", "tabDelimited": "%09"}
_TRIPLE = re.compile(r"(%[0-9A-Fa-f]{2})")
_CRUMB = re.compile(r"[!-+\--:<-\[\]-~]*,?[!-+\--:<-\[\]-~,]*")
_DEEP = 20

Pair = tuple[str, str]


def text_of(value: Any) -> str:
    """A value as text, in JSON's spelling; whole numbers without a fraction."""
    match value:
        case str():
            return value
        case float() if value.is_integer() and abs(value) < 2**53:
            return str(int(value))
        case None | bool() | int() | float():
            return json.dumps(value)
        case _:
            return orjson.dumps(value).decode()


def encode(text: str, reserved: str = "") -> str:
    """`text` percent-encoded; `reserved` characters stay as they are, if there are any.

    Then what is encoded already passes as it is, a percent sign alone does not (RFC 6570, 3.2.3).
    """
    if reserved and "%" in text:
        pieces = _TRIPLE.split(text)
        return "".join(
            piece if place % 2 else quote(piece, safe=reserved)
            for place, piece in enumerate(pieces)
        )
    return quote(text, safe=reserved)


def _items(value: Sequence[Any]) -> list[str]:
    return [text_of(item) for item in value if item is not None]


def _members(value: Mapping[str, Any]) -> list[Pair]:
    return [(str(key), text_of(item)) for key, item in value.items() if item is not None]


def serialised(media_type: str, value: Any) -> str:
    """The text of a value that is described by its `content`."""
    if isinstance(value, str) and "json" not in media_type:
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)


def in_path(parameter: ParameterPlan, value: Any) -> str:
    """What stands in the path for `value`."""
    if parameter["media_type"]:
        value = serialised(parameter["media_type"], value)
    name, style, explode = encode(parameter["name"]), parameter["style"], parameter["explode"]
    reserved = _PATH if parameter["allow_reserved"] else ""
    match value:
        case list():
            parts = [encode(text, reserved) for text in _items(value)]
        case dict():
            pairs = [(encode(k, reserved), encode(v, reserved)) for k, v in _members(value)]
            parts = [f"{k}={v}" for k, v in pairs] if explode else [t for p in pairs for t in p]
        case _:
            parts = [encode(text_of(value), reserved)]
    if style == "label":
        return "." + ("." if explode else ",").join(parts)
    if style == "matrix":
        if explode and isinstance(value, dict):
            return "".join(f";{part}" for part in parts)
        given = parts if explode else [",".join(parts)]
        return "".join(f";{name}={part}" if part else f";{name}" for part in given)
    return _DELIMITERS.get(style, ",").join(parts)


def pairs_of(
    plan: ParameterPlan | EncodingPlan, value: Any, name: str, *, reserved: str = _QUERY
) -> list[Pair]:
    """`(name, encoded text)` of one value in a query, a cookie or a form."""
    style, explode = plan.get("style", "form"), plan.get("explode", True)
    safe = reserved if plan.get("allow_reserved") else ""
    match value:
        case list() | dict() if style == "deepObject":
            return [(n, encode(t, safe)) for n, t in _deep(name, value, 0)]
        case list() if explode:
            return [(name, encode(text, safe)) for text in _items(value)]
        case dict() if explode:
            return [(key, encode(text, safe)) for key, text in _members(value)]
        case list():
            parts = _items(value)
        case dict():
            parts = [text for member in _members(value) for text in member]
        case _:
            return [(name, encode(text_of(value), safe))]
    # Each part is encoded first: a delimiter inside of one stays part of it.
    return [(name, _DELIMITERS.get(style, ",").join(encode(p, safe) for p in parts))] * bool(parts)


def _deep(name: str, value: Any, depth: int) -> Iterator[Pair]:
    """`filter[a][b]=…`; the specification leaves arrays open, here they are `filter[a][0]=…`."""
    if depth > _DEEP:
        raise ArgumentsInvalid(f"{name[:80]}: nested too deeply")
    match value:
        case dict():
            for key, item in value.items():
                yield from _deep(f"{name}[{key}]", item, depth + 1)
        case list():
            for index, item in enumerate(value):
                yield from _deep(f"{name}[{index}]", item, depth + 1)
        case None:
            return
        case _:
            yield name, text_of(value)


def in_header(parameter: ParameterPlan, value: Any) -> str | None:
    """The value of a header, which is never percent-encoded; None if it is undefined."""
    if parameter["media_type"]:
        value = serialised(parameter["media_type"], value)
    match value:
        case list():
            parts = _items(value)
        case dict() if parameter["explode"]:
            parts = [f"{key}={item}" for key, item in _members(value)]
        case dict():
            parts = [part for member in _members(value) for part in member]
        case _:
            return one_line(parameter["argument"], text_of(value)).strip()
    checked = [one_line(parameter["argument"], part) for part in parts]
    delimiter = unquote(_DELIMITERS.get(parameter["style"], ","))
    return delimiter.join(checked).strip() if parts else None


def in_cookie(parameter: ParameterPlan, value: Any) -> str:
    """The crumbs of a cookie line for `value`; empty if it is undefined."""
    if parameter["media_type"]:
        value = serialised(parameter["media_type"], value)
    pairs = pairs_of(parameter, value, parameter["name"], reserved=_COOKIE)
    if parameter["style"] == "cookie":
        # 3.2's style of that name encodes nothing, so nothing may need it (RFC 6265, 4.1.1).
        pairs = [(name, unquote(text)) for name, text in pairs]
        for name, text in pairs:
            if not _CRUMB.fullmatch(text) or "=" in name:
                raise ArgumentsInvalid(f"{parameter['argument']}: a cookie cannot hold this text")
    return "; ".join(f"{encode(name)}={text}" for name, text in pairs)


def one_line(argument: str, text: str) -> str:
    """`text`, if nothing in it could end the line that it will stand on."""
    if CONTROL.search(text):
        raise ArgumentsInvalid(f"{argument}: must be one line of plain text")
    return text
