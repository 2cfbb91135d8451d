"""The model's `body` argument into the bytes of a request: JSON, forms, parts, text, files.

Sources: OpenAPI 3.1.1 and 3.2.0, "Encoding Object"; RFC 7578; RFC 2046, 5.1; RFC 7464.
"""

import base64
import binascii
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import quote_plus, unquote

import orjson

from smart_support.operations.records import (
    INSIDE_LIST,
    BodyPlan,
    EncodingPlan,
    Framing,
    ParameterPlan,
)
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
    if "framing" in plan:
        return _sequence(plan["argument"], value, plan["framing"]), media_type
    if essence == FORM or essence.startswith("multipart/"):
        inside = EncodingPlan(encoding=plan["encoding"], positions=plan.get("positions", []))
        given = _PartHeaders(headers, values)
        content, media_type = _of_parts(plan["argument"], value, inside, media_type, given, ())
        given.require_all_sent()
        return content, media_type
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
    headers: "_PartHeaders",
    way: tuple[str | int, ...],
) -> tuple[bytes, str]:
    """A form or a multipart document, a body or the part at `way`, and its media type."""
    essence = media_type.partition(";")[0].strip().lower()
    if essence == FORM:
        pairs = form_pairs(_object(place, value), plan.get("encoding", {}))
        return "&".join(
            f"{quote_plus(n)}={t.replace('%20', '+')}" for n, t in pairs
        ).encode(), media_type
    parts = _parts(place, value, plan, headers, way, named=essence == _FORM_DATA)
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


def _sequence(place: str, value: Any, framing: Framing) -> bytes:
    """JSON texts one after the other: RFC 7464, 2.2; ndjson-spec 1.0.0, 3.1; jsonlines.org.

    None of them holds a line break or a record separator: in JSON's strings both are escaped.
    """
    if not isinstance(value, list):
        raise ArgumentsInvalid(f"{place}: must be a list, it is sent as a sequence")
    before = b"\x1e" if framing == "records" else b""
    return b"".join(before + orjson.dumps(item) + b"\n" for item in value)


class _PartHeaders:
    """The headers of parts that arguments set, by the way to the part."""

    def __init__(self, plans: Sequence[ParameterPlan], values: Given) -> None:
        self._values = values
        self._sent: Counter[str] = Counter()
        self._by_way: dict[tuple[str | int, ...], list[ParameterPlan]] = {}
        for plan in plans:
            part = plan["part"]
            way = (part,) if isinstance(part, str) else tuple(part)
            self._by_way.setdefault(way, []).append(plan)

    def of(self, way: tuple[str | int, ...]) -> dict[str, str]:
        """Those of one part that is sent, the next one at `way` if there are several.

        Raises:
            ArgumentsInvalid: one is missing, or cannot be a header.
        """
        found = {}
        for plan in self._by_way.get(way, ()):
            value = self._next(plan)
            text = None if value is None else in_header(plan, value)
            if text is not None:
                found[plan["name"]] = text
            elif plan["required"]:
                which = _words(way) + (
                    f", number {self._sent[plan['argument']]}" * ("each" in plan)
                )
                raise ArgumentsInvalid(f"{plan['argument']}: is required together with {which}")
        return found

    def _next(self, plan: ParameterPlan) -> Any:
        argument = plan["argument"]
        value = self._values.get(argument)
        if plan.get("each") and isinstance(value, list):
            place = self._sent[argument]
            value = value[place] if place < len(value) else None
        self._sent[argument] += 1
        return plan.get("default") if value is None else value

    def require_all_sent(self) -> None:
        """Refuse values for more parts than there were: whoever gave them meant something."""
        for plan in (plan for plans in self._by_way.values() for plan in plans):
            value, sent = self._values.get(plan["argument"]), self._sent[plan["argument"]]
            if plan.get("each") and isinstance(value, list) and len(value) > sent:
                raise ArgumentsInvalid(
                    f"{plan['argument']}: has {len(value)} values for {sent} parts"
                )


def _words(way: tuple[str | int, ...]) -> str:
    steps = [f"part {step + 1}" if isinstance(step, int) else step for step in reversed(way)]
    return " of ".join(steps)


def _parts(
    place: str,
    value: Any,
    plan: EncodingPlan,
    headers: _PartHeaders,
    way: tuple[str | int, ...],
    *,
    named: bool,
) -> Iterator[_Part]:
    """The parts of a multipart body: an object gives named ones, a list those without a name."""
    if isinstance(value, list) and not named:
        encodings = plan.get("positions") or [EncodingPlan()]
        for number, item in enumerate(value):
            at = min(number, len(encodings) - 1)
            inner = (*way, at)
            own = {**encodings[at].get("headers", {}), **headers.of(inner)}
            yield _part(None, item, encodings[at], own, headers, inner)
        return
    for name, item in _object(place, value).items():
        encoding = plan.get("encoding", {}).get(name, EncodingPlan())
        if CONTROL.search(name):
            raise ArgumentsInvalid(f"{CONTROL.sub('', name)[:80]}: its name must be one line")
        items = [one for one in (item if isinstance(item, list) else [item]) if one is not None]
        if not items:
            continue
        inner = (*way, name)
        own = {**encoding.get("headers", {}), **headers.of(inner)}
        if "style" in encoding and not encoding.get("binary"):
            for key, text in pairs_of(encoding, item, name):
                yield _Part(one_line(name, key), unquote(text).encode(), "text/plain", headers=own)
            continue
        for one in items:
            yield _part(name, one, encoding, own, headers, inner)


def _part(
    name: str | None,
    value: Any,
    plan: EncodingPlan,
    own: dict[str, str],
    headers: _PartHeaders,
    way: tuple[str | int, ...],
) -> _Part:
    """One part with its `own` headers; `headers` has those of the parts inside of it."""
    content_type = plan.get("content_type", "")
    place = name or "body"
    if plan.get("binary"):
        file = _file(place, value)
        chosen = _chosen(place, file.content_type, plan)
        return _Part(name, file.content, chosen, file.filename or name, own)
    if "encoding" in plan or "positions" in plan:
        content, content_type = _of_parts(place, value, plan, content_type, headers, way)
        return _Part(name, content, content_type, headers=own)
    if "json" in content_type:
        return _Part(name, orjson.dumps(value), content_type, headers=own)
    if isinstance(value, (dict, list)):
        if content_type and "*" not in content_type:
            raise ArgumentsInvalid(f"{place}: must be the text of its {content_type}")
        return _Part(name, orjson.dumps(value), "application/json", headers=own)
    known = content_type and "*" not in content_type
    return _Part(
        name, text_of(value).encode(), content_type if known else "text/plain", headers=own
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
