"""The model's arguments into exactly the request that the document describes.

Sources: OpenAPI 3.1.1 ("Style Values", "Encoding Object", Appendix E), RFC 6570, RFC 3986,
Swagger 2.0 ("Parameter Object").
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urljoin

import httpx
import jsonschema_rs
import orjson

from smart_support.errors import Severity, SupportError
from smart_support.operations.plan import is_own_header
from smart_support.operations.records import (
    BodyPlan,
    EncodingPlan,
    Operation,
    ParameterPlan,
    RequestPlan,
)
from smart_support.operations.schema import tool_schema
from smart_support.tools.paging import turned

MAX_PROBLEMS = 5
"""Problems named at once; more would crowd out the conversation."""

_FORM = "application/x-www-form-urlencoded"
_DELIMITERS = {"spaceDelimited": "%20", "pipeDelimited": "%7C", "tabDelimited": "%09"}
# Of RFC 3986's reserved characters those that mean nothing inside a query value; the others
# would end it, or start another parameter.
_RESERVED = "/:?@!$'()*,;="
_TRIPLE = re.compile(r"(%[0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_VARIABLE = re.compile(r"\{([^{}/]+)\}")
_DEEP = 20

Pair = tuple[str, str]


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


def build_request(
    plan: RequestPlan,
    arguments: Mapping[str, Any],
    *,
    base_url: str,
    headers: Mapping[str, str] | None = None,
) -> httpx.Request:
    """The request of one call with `arguments` (validated, and complete with the bound ones).

    `base_url` is the operator's; an operation with a server of its own goes there, so hold the
    result's origin against what is allowed before credentials are added. `headers` are the
    executor's own and win over every argument. An argument that is absent is not sent, whatever
    its default; null is sent only inside JSON.

    Raises:
        ArgumentsInvalid: a required argument is missing, or a value cannot be sent safely.
    """
    try:
        return _build(plan, arguments, base_url, headers or {})
    except (UnicodeEncodeError, orjson.JSONEncodeError) as error:
        raise ArgumentsInvalid(
            "a value cannot be sent: it has half a character or a number of more than 64 bits"
        ) from error


def _build(
    plan: RequestPlan, arguments: Mapping[str, Any], base_url: str, headers: Mapping[str, str]
) -> httpx.Request:
    values = {k: arguments[k] for k in arguments if arguments[k] is not None}
    _require(plan, arguments)
    sent: dict[str, list[ParameterPlan]] = {"path": [], "query": [], "header": [], "cookie": []}
    for parameter in plan["parameters"]:
        if parameter["argument"] in values:
            sent[parameter["location"]].append(parameter)
    path, _, fixed = plan["path"].partition("#")[0].partition("?")
    by_name = {p["name"]: p for p in sent["path"]}
    target = _path(path, by_name, values)
    query = [_template(fixed, by_name, values)] if fixed else []
    query += _query(plan, sent["query"], values)
    lines = [("Accept", plan["accept"] or "*/*")]
    own = [p for p in sent["header"] if not is_own_header(p["name"])]
    lines += [(parameter["name"], _header(parameter, values)) for parameter in own]
    if crumbs := [text for parameter in sent["cookie"] if (text := _cookie(parameter, values))]:
        lines.append(("Cookie", "; ".join(crumbs)))
    content = b""
    body = plan["body"]
    if body and body["argument"] in arguments:
        content, content_type = _body(body, arguments[body["argument"]])
        lines.append(("Content-Type", content_type))
    result = httpx.Headers([(n.encode(), v.encode()) for n, v in lines])
    result.update(headers)
    return httpx.Request(
        plan["method"],
        _url(plan["server"], base_url, target, "&".join(filter(None, query))),
        headers=result,
        content=content if body or plan["method"] in {"POST", "PUT", "PATCH"} else None,
    )


def _require(plan: RequestPlan, arguments: Mapping[str, Any]) -> None:
    needed = [p["argument"] for p in plan["parameters"] if p["required"]]
    missing = [name for name in needed if arguments.get(name) is None]
    body = plan["body"]
    if body and body["required"] and body["argument"] not in arguments:
        missing.append(body["argument"])
    if missing:
        raise ArgumentsInvalid(f"these arguments are required: {', '.join(missing)}")


def _url(server: str | None, base_url: str, target: str, query: str) -> httpx.URL:
    base = server or base_url
    if base.startswith("/"):
        base = urljoin(base_url, base)
    return httpx.URL(f"{base.rstrip('/')}{target}{'?' if query else ''}{query}")


# Text of values


def _text(value: Any) -> str:
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


def _encode(text: str, safe: str = "") -> str:
    if safe == _RESERVED and "%" in text:
        # RFC 6570, 3.2.3: what is encoded already passes as it is, a percent sign alone does not.
        pieces = _TRIPLE.split(text)
        return "".join(
            piece if place % 2 else quote(piece, safe=safe) for place, piece in enumerate(pieces)
        )
    return quote(text, safe=safe)


def _items(value: Sequence[Any]) -> list[str]:
    return [_text(item) for item in value]


def _members(value: Mapping[str, Any]) -> list[Pair]:
    return [(str(key), _text(item)) for key, item in value.items() if item is not None]


# Path


def _path(path: str, by_name: Mapping[str, ParameterPlan], values: Mapping[str, Any]) -> str:
    segments = path.split("/")
    written = [_template(segment, by_name, values) for segment in segments]
    for segment, result in zip(segments, written, strict=True):
        # RFC 3986, 5.2.4: such segments would lead to another resource.
        if segment != result and unquote(result) in {"", ".", ".."}:
            names = ", ".join(_VARIABLE.findall(segment))
            raise ArgumentsInvalid(f"{names}: must not be empty, “.” or “..”")
    return "/".join(written)


def _template(part: str, by_name: Mapping[str, ParameterPlan], values: Mapping[str, Any]) -> str:
    """`part` with its variables filled in, each value encoded so that it stays one value."""

    def expand(match: re.Match[str]) -> str:
        parameter = by_name[match[1]]
        return _path_value(parameter, values[parameter["argument"]])

    pieces = re.split(r"(\{[^{}/]+\})", part)
    return "".join(
        expand(match)
        if (match := _VARIABLE.fullmatch(piece))
        else _encode(piece, "!$&'()*+,;=:@%?")
        for piece in pieces
    )


def _path_value(parameter: ParameterPlan, value: Any) -> str:
    if parameter["media_type"]:
        value = _serialised(parameter["media_type"], value)
    name, style, explode = _encode(parameter["name"]), parameter["style"], parameter["explode"]
    match value:
        case list():
            parts = [_encode(text) for text in _items(value)]
        case dict():
            pairs = [(_encode(k), _encode(v)) for k, v in _members(value)]
            parts = [f"{k}={v}" for k, v in pairs] if explode else [t for p in pairs for t in p]
        case _:
            parts = [_encode(_text(value))]
    if style == "label":
        return "." + ("." if explode else ",").join(parts)
    if style == "matrix":
        if explode and isinstance(value, dict):
            return "".join(f";{part}" for part in parts)
        given = parts if explode else [",".join(parts)]
        return "".join(f";{name}={part}" if part else f";{name}" for part in given)
    return _DELIMITERS.get(style, ",").join(parts)


# Query


def _query(
    plan: RequestPlan, parameters: Sequence[ParameterPlan], values: Mapping[str, Any]
) -> Iterator[str]:
    names = {p["name"] for p in plan["parameters"] if p["location"] == "query"}
    for parameter in parameters:
        value = values[parameter["argument"]]
        if parameter["style"] == "querystring":
            yield _whole_query(parameter, value)
            continue
        if parameter["media_type"]:
            value = _serialised(parameter["media_type"], value)
        for name, text in _pairs(parameter, value, parameter["name"]):
            # An object's members become parameters; they must not stand in for declared ones,
            # of which some are filled by the executor.
            if name in names - {parameter["name"]}:
                raise ArgumentsInvalid(f"{parameter['argument']}: {name} is an argument of its own")
            yield f"{_encode(name)}={text}"


def _whole_query(parameter: ParameterPlan, value: Any) -> str:
    if parameter["media_type"] == _FORM and isinstance(value, dict):
        return "&".join(f"{_encode(n)}={t}" for n, t in _form_pairs(value, {}))
    return _encode(_serialised(parameter["media_type"] or "", value))


def _pairs(plan: ParameterPlan | EncodingPlan, value: Any, name: str) -> list[Pair]:
    """`(name, encoded text)` of one value in a query, a cookie or a form."""
    style, explode = plan.get("style", "form"), plan.get("explode", True)
    safe = _RESERVED if plan.get("allow_reserved") else ""
    match value:
        case list() | dict() if style == "deepObject":
            return [(n, _encode(t, safe)) for n, t in _deep(name, value, 0)]
        case list() if explode:
            return [(name, _encode(text, safe)) for text in _items(value)]
        case dict() if explode:
            return [(key, _encode(text, safe)) for key, text in _members(value)]
        case list():
            parts = _items(value)
        case dict():
            parts = [text for member in _members(value) for text in member]
        case _:
            return [(name, _encode(_text(value), safe))]
    # Each part is encoded first: a delimiter inside of one stays part of it.
    return [(name, _DELIMITERS.get(style, ",").join(_encode(p, safe) for p in parts))] * bool(parts)


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
            yield name, _text(value)


def _serialised(media_type: str, value: Any) -> str:
    """The text of a `content` parameter."""
    if isinstance(value, str) and "json" not in media_type:
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)


# Headers and cookies


def _header(parameter: ParameterPlan, values: Mapping[str, Any]) -> str:
    value = values[parameter["argument"]]
    if parameter["media_type"]:
        value = _serialised(parameter["media_type"], value)
    match value:
        case list():
            text = _DELIMITERS.get(parameter["style"], ",").join(_items(value))
        case dict() if parameter["explode"]:
            text = ",".join(f"{key}={item}" for key, item in _members(value))
        case dict():
            text = ",".join(part for member in _members(value) for part in member)
        case _:
            text = _text(value)
    return _one_line(parameter, text).strip()


def _cookie(parameter: ParameterPlan, values: Mapping[str, Any]) -> str:
    value = values[parameter["argument"]]
    if parameter["media_type"]:
        value = _serialised(parameter["media_type"], value)
    if parameter["style"] != "cookie":
        return "; ".join(
            f"{_encode(n)}={t}" for n, t in _pairs(parameter, value, parameter["name"])
        )
    # 3.2's style of that name encodes nothing, so nothing may need it (RFC 6265, 4.1.1).
    pairs = [(n, unquote(t)) for n, t in _pairs(parameter, value, parameter["name"])]
    for name, text in pairs:
        if not re.fullmatch(r"[!-+\--:<-\[\]-~]*,?[!-+\--:<-\[\]-~,]*", text) or "=" in name:
            raise ArgumentsInvalid(f"{parameter['argument']}: a cookie cannot hold this text")
    return "; ".join(f"{_encode(name)}={text}" for name, text in pairs)


def _one_line(parameter: ParameterPlan, text: str) -> str:
    if _CONTROL.search(text):
        raise ArgumentsInvalid(f"{parameter['argument']}: must be one line of plain text")
    return text


# Body


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    filename: str | None


def _body(plan: BodyPlan, value: Any) -> tuple[bytes, str]:
    media_type = plan["media_type"]
    if isinstance(value, dict) and (hidden := plan.get("read_only")):
        value = {name: item for name, item in value.items() if name not in hidden}
    essence = media_type.partition(";")[0].strip().lower()
    if plan["binary"]:
        return _file(plan["argument"], value).content, media_type
    if essence == _FORM:
        pairs = _form_pairs(_object(plan, value), plan["encoding"])
        return "&".join(
            f"{quote_plus(n)}={t.replace('%20', '+')}" for n, t in pairs
        ).encode(), media_type
    if essence == "multipart/form-data":
        return _multipart(_object(plan, value), plan["encoding"])
    if essence == "application/json" or essence.endswith("+json") or not isinstance(value, str):
        return orjson.dumps(value), media_type
    if essence.startswith("text/") and "charset" not in media_type.lower():
        media_type = f"{media_type}; charset=utf-8"
    return value.encode(), media_type


def _object(plan: BodyPlan, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ArgumentsInvalid(f"{plan['argument']}: must be an object, it is sent as a form")
    return value


def _form_pairs(value: Mapping[str, Any], encoding: Mapping[str, EncodingPlan]) -> list[Pair]:
    """`(name, encoded text)` for each field. Objects are JSON unless a style says otherwise."""
    pairs: list[Pair] = []
    for name, item in value.items():
        plan = encoding.get(name, {})
        if item is None:
            continue
        json_wanted = "json" in plan.get("content_type", "")
        if "style" not in plan and (isinstance(item, dict) or json_wanted):
            text = orjson.dumps(item).decode() if json_wanted else _text(item)
            pairs.append((name, _encode(text)))
        else:
            pairs.extend(_pairs(plan, item, name))
    return pairs


def _multipart(value: Mapping[str, Any], encoding: Mapping[str, EncodingPlan]) -> tuple[bytes, str]:
    """Parts by RFC 7578: an array gives one part per item, objects are JSON, files are files."""
    parts: list[tuple[str, tuple[str | None, bytes, str]]] = []
    for name, item in value.items():
        plan = encoding.get(name, {})
        if item is None:
            continue
        if "style" in plan and not plan.get("binary"):
            parts += [
                (n, (None, unquote(t).encode(), "text/plain")) for n, t in _pairs(plan, item, name)
            ]
            continue
        for one in item if isinstance(item, list) else [item]:
            parts.append((name, _part(name, one, plan)))
    for name, (filename, _, content_type) in parts:
        if _CONTROL.search(name + content_type + (filename or "")):
            raise ArgumentsInvalid(f"{_CONTROL.sub('', name)[:80]}: its name must be one line")
    request = httpx.Request("POST", "http://part.invalid", files=parts or [("", (None, b""))])
    return request.read(), request.headers["Content-Type"]


def _part(name: str, value: Any, plan: EncodingPlan) -> tuple[str | None, bytes, str]:
    content_type = plan.get("content_type", "")
    if plan.get("binary"):
        file = _file(name, value)
        known = content_type and "*" not in content_type
        return (
            file.filename or name,
            file.content,
            content_type if known else "application/octet-stream",
        )
    default = "application/json" if isinstance(value, (dict, list)) else "text/plain"
    if "json" in content_type:
        return None, orjson.dumps(value), content_type
    return None, _text(value).encode(), content_type or default


def _file(name: str, value: Any) -> _File:
    """A file as the model gives it: text, or `{"base64": …, "filename": …}`."""
    match value:
        case str():
            return _File(value.encode(), None)
        case {"base64": str(encoded)}:
            filename = value.get("filename")
            try:
                content = base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError) as error:
                raise ArgumentsInvalid(f"{name}: this is not base64") from error
            return _File(content, filename if isinstance(filename, str) else None)
        case _:
            return _File(orjson.dumps(value), None)
