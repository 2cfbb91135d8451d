"""How the pages of an operation's answer are walked, as far as its document shows.

What is found here is a suggestion like any other: a person sees it in the review and may take it
away. `tools.paging` acts on it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, TypedDict

from smart_support.operations.document import Document, Unusable
from smart_support.operations.records import ParameterPlan

Style = Literal["cursor", "page", "offset", "link"]


class Pagination(TypedDict):
    """The way from one page of an answer to the next. Plain JSON."""

    style: Style
    """What `parameter` takes: a mark from the last answer, the number of a page, how many entries
    to leave out, or whatever the address in the answer's `Link` header has for it."""
    parameter: str
    """The argument that asks for a page; the model sees a cursor in its place."""
    size: str | None
    """The argument for how many entries a page has."""
    next: list[str] | None
    """Where in the answer the mark or address of the next page is; None: made from the entries."""
    start: int
    """The first page, or how many are left out for it."""


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


# In letters and digits alone: `page[after]`, `pageAfter` and `page_after` are one.
_CURSORS = _names(
    """cursor nextcursor startcursor pagecursor pagetoken nexttoken nextpagetoken pagingtoken
    continuationtoken continuation after pageafter startingafter startafter aftercursor bookmark
    scrollid marker skiptoken paginationtoken exclusivestartkey lastevaluatedkey"""
)
_PAGES = _names("page pagenumber pagenum pageno pageindex p currentpage")
_OFFSETS = _names("offset pageoffset skip start startat startindex startindexno from")
_SIZES = _names(
    """limit pagelimit perpage pagesize count size maxresults take top rows maxitems itemsperpage
    numresults maxcount"""
)
NEXT = _names(
    """nextcursor nextpagetoken nexttoken continuationtoken endcursor aftercursor nextpage
    nextmarker nextbookmark cursor pagetoken nextpageuri nexturl nextlink odatanextlink next after
    scrollid marker nextpageurl nexthref"""
)
CONTAINERS = _names(
    """meta metadata paging pagination pageinfo page links cursors responsemetadata next
    searchmetadata pageable result"""
)
_MORE = _names("hasmore hasnext hasnextpage more morepages")
_PUNCTUATION = re.compile(r"[^a-z0-9]")
_NUMBERS = {"integer", "number"}


@lru_cache(maxsize=8192)
def plain(name: str) -> str:
    """A name without what sets one way of writing it apart from others."""
    return _PUNCTUATION.sub("", name.lower())


def pagination_of(
    document: Document,
    operation: Mapping[str, Any],
    parameters: Sequence[ParameterPlan],
    schemas: Mapping[str, Any],
) -> Pagination | None:
    """How the pages of a reading operation are walked; None if the document shows no way.

    `schemas` are those of its arguments, as converted.
    """
    asked = {plain(p["name"]): p["argument"] for p in parameters if p["location"] == "query"}
    marks = [asked[name] for name in asked if name in _CURSORS]
    pages = [asked[name] for name in asked if name in _PAGES]
    offsets = [asked[name] for name in asked if name in _OFFSETS]
    if not (marks or pages or offsets):
        return None
    size = next((asked[name] for name in asked if name in _SIZES), None)
    response = _success(document, operation)
    if response is None:
        return None
    fields = list(_fields(document, response.get("schema"), ()))
    if marks:
        ways = [(_distance(path), path) for path in fields if plain(path[-1]) in NEXT]
        if ways:
            return _pagination("cursor", marks[0], size, list(min(ways)[1]), 0)
        if any(plain(path[-1]) in _MORE for path in fields):
            return _pagination("cursor", marks[0], size, None, 0)
    if "link" in response["headers"]:
        return _pagination("link", (marks or pages or offsets)[0], size, None, 0)
    if size or fields or response["list"]:
        for name in (*pages, *offsets):
            schema = schemas.get(name)
            if isinstance(schema, dict) and _is_number(schema.get("type")):
                style: Style = "page" if name in pages else "offset"
                start = schema.get("default", schema.get("minimum"))
                first = start if start in {0, 1} and style == "page" else int(style == "page")
                return _pagination(style, name, size, None, int(first))
    return None


def _is_number(kinds: Any) -> bool:
    return not _NUMBERS.isdisjoint(kinds if isinstance(kinds, list) else [kinds])


def _pagination(
    style: Style, parameter: str, size: str | None, found: list[str] | None, start: int
) -> Pagination:
    return {
        "style": style, "parameter": parameter, "size": size, "next": found, "start": start,
    }  # fmt: skip


def _distance(path: tuple[str, ...]) -> int:
    """How far a field is from saying surely where the next page is."""
    doubtful = {"cursor", "after", "marker", "next", "scrollid", "pagetoken"}
    return int(len(path) == 1 and plain(path[0]) in doubtful)


def _success(document: Document, operation: Mapping[str, Any]) -> dict[str, Any] | None:
    """Schema and headers of the answer when all is well."""
    responses = operation.get("responses")
    for status, entry in responses.items() if isinstance(responses, dict) else ():
        if status[:1] != "2":
            continue
        try:
            response = document.resolved(entry)
            if not isinstance(response, dict):
                continue
            schema = (
                response.get("schema") if document.swagger else _json_schema(document, response)
            )
            target = document.resolved(schema)
        except Unusable:
            continue
        headers = response.get("headers")
        return {
            "schema": target,
            "headers": {h.lower() for h in headers} if isinstance(headers, dict) else set(),
            "list": isinstance(target, dict) and target.get("type") == "array",
        }
    return None


def _json_schema(document: Document, response: Mapping[str, Any]) -> Any:
    content = response.get("content")
    for media_type, media in content.items() if isinstance(content, dict) else ():
        if "json" in media_type:
            found = document.resolved(media)
            return found.get("schema") if isinstance(found, dict) else None
    return None


def _fields(document: Document, schema: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Paths of the fields of an answer, at its top and in what speaks of pages there."""
    for part in _parts(document, schema):
        properties = part.get("properties")
        for name, value in properties.items() if isinstance(properties, dict) else ():
            inside = len(path) < 3 and plain(name) in CONTAINERS
            held = list(_fields(document, value, (*path, name))) if inside else []
            yield from held or [(*path, name)]


def _parts(document: Document, schema: Any) -> Iterator[dict[str, Any]]:
    waiting, seen = [schema], 0
    while waiting and seen < 30:
        seen += 1
        part = waiting.pop()
        if isinstance(part, dict) and "$ref" in part:
            try:
                part = document.resolved(part)
            except Unusable:
                continue
        if isinstance(part, dict):
            yield part
            for key in ("allOf", "anyOf", "oneOf"):
                if isinstance(more := part.get(key), list):
                    waiting.extend(more)
