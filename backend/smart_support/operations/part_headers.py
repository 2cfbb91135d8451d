"""Headers of the parts of a multipart body: which are fixed, and which somebody gives.

Sources: OpenAPI 3.1.1 and 3.2.0, "Encoding Object" and "Header Object"; RFC 2046, 5.1; RFC 7578, 4.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from smart_support.operations.records import ParameterPlan
from smart_support.operations.schema import Schemas
from smart_support.operations.text import clean

_PRINTABLE = re.compile(r"[\x20-\x7e]+")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Of a part these are the executor's, as `is_own_header` has them for a request.
_OWN = {"content-disposition", "content-type", "content-length", "content-transfer-encoding"}


def is_own_part_header(name: str) -> bool:
    """Whether no argument may ever set this header of a part."""
    return name.lower() in _OWN


def part_name(plan: ParameterPlan) -> str:
    """How a part's header is told from another's of its name; places count from 1."""
    part = plan["part"]
    steps = [part] if isinstance(part, str) else part
    return "__".join(str(step + 1) if isinstance(step, int) else step for step in steps)


Found = tuple[ParameterPlan, Any, set[str]]
"""A header that is an argument: how it is sent, its schema, and what that refers to."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part stands in a body: the way to it, in plan and in words."""

    way: tuple[str | int, ...] = ()
    words: str = ""
    each: bool = False
    """There may be several: somewhere on the way is a list of parts."""
    many: bool = False
    """The last name on the way is that of a list, so that what is inside of it is repeated."""

    @property
    def further(self) -> bool:
        """Whether it is more than a name of the first level."""
        return len(self.way) > 1 or isinstance(self.way[0], int)

    def position(self, place: int, *, each: bool) -> "Place":
        """The part at `place`; from there on each, if `each`."""
        words = f"part {place + 1}"
        if each:
            words = f"each part from {place + 1} on" if place else "each part"
        return self._inner(place, words, each=self.each or self.many or each, many=False)

    def name(self, name: str, *, each: bool) -> "Place":
        """The part that is called so; if `each`, all of them."""
        return self._inner(name, f"“{clean(name, 80)}”", each=self.each or self.many, many=each)

    def _inner(self, step: str | int, words: str, *, each: bool, many: bool) -> "Place":
        words = f"{words} of {self.words}" if self.words else words
        return Place((*self.way, step), words, each, many)


TOP = Place()
"""The body itself."""


class HeaderReader:
    """Reads the headers that one document's Encoding Objects describe.

    `is_own_header` says which no argument may ever set, `followed` what a reference stands for:
    None where it leads nowhere.
    """

    def __init__(
        self,
        schemas: Schemas,
        is_own_header: Callable[[str], bool],
        followed: Callable[[Any], Any],
    ) -> None:
        self._schemas = schemas
        self._is_own_header = is_own_header
        self._followed = followed

    def of_name(self, encoding: Any, name: str) -> list[Found]:
        """The headers of the part `name` that the caller gives."""
        return [self._argument(*each, name) for each in self._free(encoding)]

    def of_place(self, encoding: Any, at: Place) -> Iterator[Found]:
        """The same of a part that a name alone does not tell; of several such parts, for each."""
        for header, described in self._free(encoding):
            plan, schema, used = self._argument(header, described, list(at.way))
            words = f"Header {clean(header, 80)} of {at.words}."
            if at.each:
                plan["each"] = True
                words += " One value for each of them, in their order."
                item = schema if plan["required"] else {"anyOf": [schema, {"type": "null"}]}
                schema = {"type": "array", "items": item}
            elif isinstance(schema, dict):
                words = f"{words} {schema.get('description', '')}".rstrip()
            else:
                schema = {}
            yield plan, {**schema, "description": words}, used

    def fixed(self, encoding: Mapping[str, Any]) -> dict[str, str]:
        """The headers of one part that can have one value only."""
        fixed = {}
        for name, described in self._headers(encoding):
            media_type, source = self._content(described)
            value = _only_value(self._followed(source), media_type)
            if value is not None:
                fixed[name] = value
        return fixed

    def _free(self, encoding: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The headers of one part that can have more than one value."""
        for header, described in self._headers(encoding):
            media_type, source = self._content(described)
            resolved = self._followed(source)
            if resolved is not False and _only_value(resolved, media_type) is None:
                yield header, described

    def _argument(
        self, header: str, described: Mapping[str, Any], part: str | list[str | int]
    ) -> Found:
        media_type, source = self._content(described)
        schema, used = self._schemas.convert(source)
        if text := clean(described.get("description"), 700):
            schema = {**schema, "description": text} if isinstance(schema, dict) else schema
        plan: ParameterPlan = {
            "argument": header,
            "name": header,
            "location": "part",
            "style": "simple",
            "explode": described.get("explode") is True,
            "allow_reserved": False,
            "media_type": media_type,
            "required": described.get("required") is True,
            "part": part,
        }
        resolved = self._followed(source)
        default = resolved.get("default") if isinstance(resolved, dict) else None
        if plan["required"] and default is not None:
            plan["default"] = default
        return plan, schema, used

    def _headers(self, encoding: Any) -> list[tuple[str, Mapping[str, Any]]]:
        """The headers of one part that may be sent."""
        headers = encoding.get("headers") if isinstance(encoding, dict) else None
        found: list[tuple[str, Mapping[str, Any]]] = []
        for name, described in headers.items() if isinstance(headers, dict) else ():
            described = self._followed(described)  # noqa: PLW2901 - what it stands for
            if is_own_part_header(name) or self._is_own_header(name) or not _TOKEN.fullmatch(name):
                continue
            if isinstance(described, dict):
                found.append((name, described))
        return found

    def _content(self, described: Mapping[str, Any]) -> tuple[str | None, Any]:
        """The media type of a header's value, if it has one, and its schema."""
        content = described.get("content")
        if not isinstance(content, dict) or not content:
            return None, described.get("schema", {"type": "string"})
        media_type, media = next(iter(content.items()))
        media = self._followed(media)
        source = media.get("schema") if isinstance(media, dict) else None
        return str(media_type).partition(";")[0].lower(), source


def _only_value(schema: Any, media_type: str | None) -> str | None:
    """The one text that a header can be, None if the caller has a choice."""
    if not isinstance(schema, dict):
        return None
    choices = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(choices, list) or len(choices) != 1:
        return None
    (value,) = choices
    if isinstance(value, bool) or (isinstance(value, str) and "json" in (media_type or "")):
        value = orjson.dumps(value).decode()
    text = str(value) if isinstance(value, (str, int, float)) else ""
    return text if text and _PRINTABLE.fullmatch(text) else None
