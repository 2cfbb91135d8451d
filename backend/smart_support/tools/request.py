"""The model's arguments into exactly the request that the document describes.

Sources: OpenAPI 3.1.1 and 3.2.0, "Paths Object" and "Parameter Object"; RFC 3986; Swagger 2.0.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urljoin

import httpx
import orjson

from smart_support.operations.part_headers import is_own_part_header
from smart_support.operations.plan import is_own_header
from smart_support.operations.records import Location, ParameterPlan, RequestPlan
from smart_support.tools import body as bodies
from smart_support.tools.arguments import ArgumentsInvalid
from smart_support.tools.styles import (
    encode,
    in_cookie,
    in_header,
    in_path,
    pairs_of,
    serialised,
)

_VARIABLE = re.compile(r"\{([^{}/]+)\}")


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
    executor's own and win over every argument. An argument that is absent is not sent, unless it
    is required and has a default; null is sent only inside JSON.

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
    sent: dict[Location, list[ParameterPlan]] = {
        "path": [], "query": [], "header": [], "cookie": [], "part": [],
    }  # fmt: skip
    for parameter in plan["parameters"]:
        if parameter["location"] == "part":
            # Which of them is required depends on the body.
            if not (is_own_header(parameter["name"]) or is_own_part_header(parameter["name"])):
                sent["part"].append(parameter)
            continue
        if "default" in parameter:
            values.setdefault(parameter["argument"], parameter["default"])
        if parameter["argument"] in values:
            sent[parameter["location"]].append(parameter)
    path, _, fixed = plan["path"].partition("#")[0].partition("?")
    by_name = {p["name"]: p for p in sent["path"]}
    target = _path(path, by_name, values)
    query = [_template(fixed, by_name, values)] if fixed else []
    query += _query(plan, sent["query"], values)
    lines = [("Accept", plan["accept"] or "*/*")]
    own = [p for p in sent["header"] if not is_own_header(p["name"])]
    lines += [
        (parameter["name"], text)
        for parameter in own
        if (text := in_header(parameter, values[parameter["argument"]])) is not None
    ]
    crumbs = [in_cookie(parameter, values[parameter["argument"]]) for parameter in sent["cookie"]]
    if any(crumbs):
        lines.append(("Cookie", "; ".join(filter(None, crumbs))))
    content = b""
    body = plan["body"]
    if body and body["argument"] in arguments:
        content, content_type = bodies.written(
            body, arguments[body["argument"]], sent["part"], values
        )
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
    needed = [
        p["argument"] for p in plan["parameters"] if p["required"] and p["location"] != "part"
    ]
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
        return in_path(parameter, values[parameter["argument"]])

    pieces = re.split(r"(\{[^{}/]+\})", part)
    return "".join(
        expand(match) if (match := _VARIABLE.fullmatch(piece)) else encode(piece, "!$&'()*+,;=:@%?")
        for piece in pieces
    )


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
            value = serialised(parameter["media_type"], value)
        for name, text in pairs_of(parameter, value, parameter["name"]):
            # An object's members become parameters; they must not stand in for declared ones,
            # of which some are filled by the executor.
            if name in names - {parameter["name"]}:
                raise ArgumentsInvalid(f"{parameter['argument']}: {name} is an argument of its own")
            yield f"{encode(name)}={text}"


def _whole_query(parameter: ParameterPlan, value: Any) -> str:
    if parameter["media_type"] == bodies.FORM and isinstance(value, dict):
        pairs = bodies.form_pairs(value, parameter.get("encoding", {}))
        return "&".join(f"{encode(n)}={t}" for n, t in pairs)
    return encode(serialised(parameter["media_type"] or "", value))
