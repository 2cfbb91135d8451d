"""The model's `body` argument into the bytes of a request: JSON, forms, parts, text, files.

Sources: OpenAPI 3.1.1 and 3.2.0, "Encoding Object"; RFC 7578; RFC 2046, 5.1.
"""

import base64
import binascii
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any
from urllib.parse import quote_plus, unquote

import orjson

from smart_support.operations.records import INSIDE_LIST, BodyPlan, EncodingPlan, ParameterPlan
from smart_support.tools.arguments import ArgumentsInvalid
from smart_support.tools.styles import CONTROL, Pair, encode, in_header, one_line, pairs_of, text_of

FORM = "application/x-www-form-urlencoded"
_FORM_DATA = "multipart/form-data"
_ANY_FILE = "application/octet-stream"
# Some documents write one; it would have to be in the body as well.
_BOUNDARY = re.compile(r"""\s*;\s*boundary\s*=\s*("[^"]*"|[^;]*)""", re.IGNORECASE)
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+")
# As browsers write names (WHATWG HTML, "Multipart form data"); line breaks are refused before.
_NAME = str.maketrans({'"': "%22", "\\": "\\\\"})

Given = Mapping[str, Any]
"""Arguments by their names."""


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    filename: str | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of a multipart body; `name` is None in those whose parts have none."""

    name: str | None
    content: bytes
    content_type: str
    filename: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def written(
    plan: BodyPlan, value: Any, headers: Sequence[ParameterPlan], values: Given
) -> tuple[bytes, str]:
    """The body for `value`, and its media type. `headers` are those of its parts.

    Raises:
        ArgumentsInvalid: it cannot be sent so.
    """
    media_type = plan["media_type"]
    if isinstance(value, dict) and (hidden := plan.get("read_only")):
        value = {name: item for name, item in value.items() if name not in hidden}
    for path in plan.get("read_only_inside", ()):
        value = _without(value, path)
    essence = media_type.partition(";")[0].strip().lower()
    if plan["binary"]:
        return _file(plan["argument"], value).content, media_type
    if essence == FORM or essence.startswith("multipart/"):
        inside = EncodingPlan(encoding=plan["encoding"], positions=plan.get("positions", []))
        return _of_parts(plan["argument"], value, inside, media_type, headers, values)
    if essence == "application/json" or essence.endswith("+json") or not isinstance(value, str):
        return orjson.dumps(value), media_type
    if essence.startswith("text/") and "charset" not in media_type.lower():
        media_type = f"{media_type}; charset=utf-8"
    return value.encode(), media_type


def _of_parts(
    place: str,
    value: Any,
    plan: EncodingPlan,
    media_type: str,
    headers: Sequence[ParameterPlan] = (),
    values: Given = MappingProxyType({}),
) -> tuple[bytes, str]:
    """A form or a multipart document, a body or a part of one, and its media type."""
    essence = media_type.partition(";")[0].strip().lower()
    if essence == FORM:
        pairs = form_pairs(_object(place, value), plan.get("encoding", {}))
        return "&".join(
            f"{quote_plus(n)}={t.replace('%20', '+')}" for n, t in pairs
        ).encode(), media_type
    parts = _parts(place, value, plan, headers, values, named=essence == _FORM_DATA)
    return _multipart(parts, media_type)


def _without(value: Any, path: Sequence[str]) -> Any:
    """`value` without what is at `path`, in every item where it leads through a list."""
    step, *rest = path
    if step == INSIDE_LIST:
        return [_without(item, rest) for item in value] if isinstance(value, list) else value
    if not isinstance(value, dict) or step not in value:
        return value
    if not rest:
        return {name: item for name, item in value.items() if name != step}
    return {**value, step: _without(value[step], rest)}


def _object(place: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ArgumentsInvalid(f"{place}: must be an object, it is sent as a form")
    return value


def form_pairs(value: Mapping[str, Any], encoding: Mapping[str, EncodingPlan]) -> list[Pair]:
    """`(name, encoded text)` for each field. Objects are JSON unless a style says otherwise."""
    pairs: list[Pair] = []
    for name, item in value.items():
        plan = encoding.get(name, {})
        if item is None:
            continue
        json_wanted = "json" in plan.get("content_type", "")
        if "style" not in plan and (isinstance(item, dict) or json_wanted):
            text = orjson.dumps(item).decode() if json_wanted else text_of(item)
            pairs.append((name, encode(text)))
        else:
            pairs.extend(pairs_of(plan, item, name))
    return pairs


def _parts(
    place: str,
    value: Any,
    plan: EncodingPlan,
    headers: Sequence[ParameterPlan],
    values: Given,
    *,
    named: bool,
) -> Iterator[_Part]:
    """The parts of a multipart body: an object gives named ones, a list those without a name."""
    if isinstance(value, list) and not named:
        encodings = plan.get("positions", [])
        for number, item in enumerate(value):
            encoding = encodings[min(number, len(encodings) - 1)] if encodings else EncodingPlan()
            yield _part(None, item, encoding, dict(encoding.get("headers", {})))
        return
    for name, item in _object(place, value).items():
        encoding = plan.get("encoding", {}).get(name, EncodingPlan())
        if CONTROL.search(name):
            raise ArgumentsInvalid(f"{CONTROL.sub('', name)[:80]}: its name must be one line")
        if item is None:
            continue
        own = {**encoding.get("headers", {}), **dict(_given_headers(headers, name, values))}
        if "style" in encoding and not encoding.get("binary"):
            for key, text in pairs_of(encoding, item, name):
                yield _Part(one_line(name, key), unquote(text).encode(), "text/plain", headers=own)
            continue
        for one in item if isinstance(item, list) else [item]:
            if one is not None:
                yield _part(name, one, encoding, own)


def _given_headers(headers: Sequence[ParameterPlan], part: str, values: Given) -> Iterator[Pair]:
    """The headers that arguments set for one part."""
    for header in headers:
        if header.get("part") != part:
            continue
        value = values.get(header["argument"], header.get("default"))
        text = None if value is None else in_header(header, value)
        if text is not None:
            yield header["name"], text
        elif header["required"]:
            raise ArgumentsInvalid(f"{header['argument']}: is required together with {part}")


def _part(name: str | None, value: Any, plan: EncodingPlan, headers: dict[str, str]) -> _Part:
    content_type = plan.get("content_type", "")
    place = name or "body"
    if plan.get("binary"):
        file = _file(place, value)
        chosen = _chosen(place, file.content_type, plan)
        return _Part(name, file.content, chosen, file.filename or name, headers)
    if "encoding" in plan or "positions" in plan:
        content, content_type = _of_parts(place, value, plan, content_type)
        return _Part(name, content, content_type, headers=headers)
    if "json" in content_type:
        return _Part(name, orjson.dumps(value), content_type, headers=headers)
    if isinstance(value, (dict, list)):
        if content_type and "*" not in content_type:
            raise ArgumentsInvalid(f"{place}: must be the text of its {content_type}")
        return _Part(name, orjson.dumps(value), "application/json", headers=headers)
    known = content_type and "*" not in content_type
    return _Part(
        name, text_of(value).encode(), content_type if known else "text/plain", headers=headers
    )


def _chosen(name: str, wanted: str | None, plan: EncodingPlan) -> str:
    """The media type of a file: the one that was named, if the document allows it."""
    allowed = plan.get("content_types") or [plan.get("content_type") or "*/*"]
    if wanted is None:
        return next((each for each in allowed if "*" not in each), _ANY_FILE)
    if _MEDIA_TYPE.fullmatch(wanted) and any(
        fnmatchcase(wanted.lower(), each.lower()) for each in allowed
    ):
        return wanted
    raise ArgumentsInvalid(f"{name}: its content_type must be one of {', '.join(allowed)}")


def _multipart(parts: Iterator[_Part], media_type: str) -> tuple[bytes, str]:
    boundary = os.urandom(16).hex()
    lines: list[bytes] = []
    for part in parts:
        lines.append(f"--{boundary}".encode())
        if part.name is not None:
            about = f'form-data; name="{part.name.translate(_NAME)}"'
            if part.filename:
                filename = one_line(part.name, part.filename).translate(_NAME)
                about += f'; filename="{filename}"'
            lines.append(f"Content-Disposition: {about}".encode())
        lines.append(f"Content-Type: {part.content_type}".encode())
        lines += [f"{name}: {text}".encode() for name, text in part.headers.items()]
        lines += [b"", part.content]
    content = b"\r\n".join([*lines, f"--{boundary}--".encode(), b""])
    return content, f"{_BOUNDARY.sub('', media_type)}; boundary={boundary}"


def _file(name: str, value: Any) -> _File:
    """A file as the model gives it: text, or `{"base64": …, "filename": …}`."""
    match value:
        case str():
            return _File(value.encode())
        case {"base64": str(encoded)}:
            filename, content_type = value.get("filename"), value.get("content_type")
            try:
                content = base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError) as error:
                raise ArgumentsInvalid(f"{name}: this is not base64") from error
            return _File(
                content,
                filename if isinstance(filename, str) else None,
                content_type if isinstance(content_type, str) else None,
            )
        case _:
            return _File(orjson.dumps(value))
