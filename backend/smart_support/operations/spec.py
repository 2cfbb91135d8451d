"""A document into the operations it offers; what cannot be used is listed with its reason."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import orjson

from smart_support.operations.document import METHODS, Document, Unusable
from smart_support.operations.naming import tool_names
from smart_support.operations.paging import pagination_of
from smart_support.operations.plan import ArgumentReader
from smart_support.operations.pruning import SCHEMA_BUDGET
from smart_support.operations.records import (
    Access,
    DraftOperation,
    DraftSpec,
    JsonObject,
    RequestPlan,
    Skipped,
)
from smart_support.operations.schema import Schemas
from smart_support.operations.security import Scheme, read_requirements, read_schemes
from smart_support.operations.suggest import HINTS, suggest
from smart_support.operations.text import DESCRIPTION_LIMIT, clean

_LEFT_OUT = "Details of large inputs are left out here."
# U+0000 in JSON text, which PostgreSQL's jsonb cannot hold; an escaped backslash before it is
# another thing.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_TELL_EVERY = 50
_MEDIA_TYPE = re.compile(r"[\x21-\x7e][\x20-\x7e]*")
_VARIABLE = re.compile(r"\{([^{}]+)\}")
_UNFIT = re.compile(r"[\s{}\\]")
_METHOD = re.compile(r"[A-Z][A-Z0-9-]{0,19}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation in the index: where it stands, not yet what it takes."""

    key: str
    method: str
    path: str
    pointer: str
    path_item: Mapping[str, Any]
    operation: Mapping[str, Any]

    @property
    def operation_id(self) -> str | None:
        """As the document has it."""
        return clean(self.operation.get("operationId"), 500) or None


@dataclass(frozen=True, slots=True)
class Converted:
    """One operation as a tool: what a call of it depends on."""

    schema: dict[str, Any]
    plan: RequestPlan
    schema_hash: str
    cut: bool
    """Whether details were left out of the schema."""
    idempotency_header: str | None


class Catalogue:
    """The operations of one document: indexed at once, converted on demand."""

    def __init__(self, document: Document, *, schema_budget: int = SCHEMA_BUDGET) -> None:
        self.document = document
        self.base_url = base_url_of(document)
        self.skipped = list(document.remarks)
        """What cannot be used; `convert` tells of more."""
        self.entries = list(_index(document, self.skipped))
        self.names = tool_names([(entry.key, entry.operation_id) for entry in self.entries])
        """The tool names of `entries`."""
        self._schemas = Schemas(document)
        self.schemes = read_schemes(document, self.base_url)
        """The security schemes by name."""
        self._reader = ArgumentReader(document, self._schemas, _credentials(self.schemes))
        self._budget = schema_budget

    def convert(self, entry: Entry) -> Converted:
        """One operation as a tool.

        Raises:
            Unusable: with the reason.
        """
        arguments = self._reader.read(entry.path, entry.path_item, entry.operation)
        own = {
            "type": "object",
            "properties": arguments.properties,
            "required": arguments.required,
            # An argument that nobody described would silently not be sent.
            "additionalProperties": False,
        }
        schema, cut = self._schemas.fit(own, arguments.definitions, self._budget)
        plan: RequestPlan = {
            "method": entry.method,
            "path": arguments.path or entry.path,
            "server": _server(self.document, entry, self.base_url),
            "parameters": arguments.parameters,
            "body": arguments.body,
            "accept": _accept(self.document, entry.operation),
        }
        try:
            facts = orjson.dumps([schema, plan], option=orjson.OPT_SORT_KEYS)
        except orjson.JSONEncodeError as error:
            raise Unusable(f"its schema is not valid ({clean(str(error), 200)})") from error
        if b"u0000" in facts and _NUL.search(facts):
            raise Unusable("its schema has a NUL character")
        digest = hashlib.sha256(facts).hexdigest()
        return Converted(schema, plan, digest, cut, arguments.idempotency_header)


def read_operations(document: Document, *, schema_budget: int = SCHEMA_BUDGET) -> DraftSpec:
    """All operations of `document`, each with a suggestion of what it is; see `convert`."""
    converted = convert(document, schema_budget=schema_budget)
    return replace(converted, operations=tuple(map(suggested, converted.operations)))


def suggested(operation: DraftOperation) -> DraftOperation:
    """`operation` with a suggestion of what it is."""
    suggestion = suggest(operation)
    if suggestion.access is Access.READ and "pagination" in operation.hints:
        suggestion = replace(suggestion, pagination=operation.hints["pagination"])
    return replace(operation, suggestion=suggestion)


def convert(
    document: Document,
    *,
    schema_budget: int = SCHEMA_BUDGET,
    told: Callable[[int, int], None] = lambda _done, _all: None,
) -> DraftSpec:
    """All operations of `document`, converted one at a time, in the document's order.

    CPU-bound; for large documents call it in another process. What cannot be used is listed in
    `skipped`; a document without operations gives an empty spec. `told` hears how many
    operations are done, of how many.
    """
    catalogue = Catalogue(document, schema_budget=schema_budget)
    skipped = catalogue.skipped
    operations = []
    for done, (entry, name) in enumerate(zip(catalogue.entries, catalogue.names, strict=True)):
        if done % _TELL_EVERY == 0:
            told(done, len(catalogue.entries))
        try:
            operations.append(_draft(document, entry, name, catalogue.convert(entry)))
        except Unusable as reason:
            why = f"It cannot be used: {reason}."
            skipped.append(Skipped(entry.key, why, pointer=entry.pointer))
    if document.files is not None:
        skipped.extend(document.files.remarks)
    info = document.root.get("info")
    info = info if isinstance(info, dict) else {}
    return DraftSpec(
        title=clean(info.get("title"), 200) or clean(document.source, 200),
        version_text=clean(info.get("version"), 100),
        dialect=document.dialect,
        source=document.source,
        hash=document.hash,
        base_url=catalogue.base_url,
        operations=tuple(operations),
        skipped=tuple(skipped),
        schemes=catalogue.schemes,
    )


def _index(document: Document, skipped: list[Skipped]) -> Iterator[Entry]:
    seen: set[str] = set()
    for path, pointer, item in _path_items(document, skipped):
        for method, at, operation in _methods(item):
            key, place = f"{method} {path}", f"{pointer}/{at}"
            if key in seen:
                reason = "It cannot be used: the document has it twice."
                skipped.append(Skipped(key, reason, pointer=place))
                continue
            seen.add(key)
            if not isinstance(operation, dict):
                reason = "It cannot be used: it is not described."
                skipped.append(Skipped(key, reason, pointer=place))
                continue
            yield Entry(key, method, path, place, item, operation)


def _path_items(
    document: Document, skipped: list[Skipped]
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    try:
        paths = document.resolved(document.root.get("paths"))
    except Unusable as reason:
        why = f"They cannot be used: {reason}."
        skipped.append(Skipped("paths", why, pointer="#/paths"))
        return
    for written, item in paths.items() if isinstance(paths, dict) else ():
        if written.startswith("x-") or written == "$ref":
            continue
        pointer = f"#/paths/{written.replace('~', '~0').replace('/', '~1')}"
        path = written if written.startswith("/") else f"/{written}"
        if clean(path, len(path) + 1) != path.strip():
            why = "Its path has invisible characters."
            skipped.append(Skipped(clean(path, 500), why, pointer=pointer))
        elif isinstance(item, dict) and "$ref" in item:
            try:
                target = document.resolved(item)
            except Unusable as reason:
                why = f"It cannot be used: {reason}."
                skipped.append(Skipped(path, why, pointer=pointer))
                continue
            if isinstance(target, dict):
                # What stands beside the reference counts too, and before what it refers to.
                own = {k: v for k, v in item.items() if k != "$ref"}
                yield path, pointer, {**target, **own}
        elif isinstance(item, dict):
            yield path, pointer, item


def _methods(item: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for method in METHODS:
        if method in item:
            yield method.upper(), method, item[method]
    more = item.get("additionalOperations")  # since 3.2
    for method, operation in more.items() if isinstance(more, dict) else ():
        if _METHOD.fullmatch(method) and method != "CONNECT":
            yield method, f"additionalOperations/{method}", operation


def _credentials(schemes: Mapping[str, Scheme]) -> set[tuple[str, str]]:
    """`(in, name)` of API keys: they come from the executor, even where also documented."""
    return {
        (s["place"], s["name"].lower() if s["place"] == "header" else s["name"])
        for s in schemes.values()
        if s["type"] == "apiKey"
    }


def _draft(document: Document, entry: Entry, name: str, converted: Converted) -> DraftOperation:
    """All that a person reviews of one operation."""
    operation = entry.operation
    summary = clean(operation.get("summary") or entry.path_item.get("summary"), 200)
    tags = operation.get("tags")
    return DraftOperation(
        key=entry.key,
        method=entry.method,
        path=entry.path,
        operation_id=entry.operation_id,
        tool_name=name,
        summary=summary,
        description=_description(entry, summary, cut=converted.cut),
        tags=tuple(clean(tag, 100) for tag in tags) if isinstance(tags, list) else (),
        deprecated=operation.get("deprecated") is True,
        pointer=entry.pointer,
        schema=converted.schema,
        schema_hash=converted.schema_hash,
        security=tuple(read_requirements(document, operation)),
        request_plan=converted.plan,
        hints=_hints(document, entry, converted),
    )


def _description(entry: Entry, summary: str, *, cut: bool) -> str:
    remark = f"\n\n{_LEFT_OUT}" if cut else ""
    room = DESCRIPTION_LIMIT - len(remark)
    written = entry.operation.get("description") or entry.path_item.get("description")
    text = clean(written, room)
    if summary and not text.startswith(summary.rstrip(".…")):
        text = clean(f"{summary}\n\n{text}", room)
    return (text or clean(entry.key, room)) + remark


def _hints(document: Document, entry: Entry, converted: Converted) -> JsonObject:
    operation = entry.operation
    hints = {
        name: operation[name]
        for name in HINTS
        if name in operation and isinstance(operation[name], (bool, str))
    }
    if converted.idempotency_header:
        hints["idempotency_header"] = converted.idempotency_header
    parameters = converted.plan["parameters"]
    if entry.method == "GET" and parameters:
        properties = converted.schema["properties"]
        pagination = pagination_of(document, operation, parameters, properties)
        if pagination is not None:
            hints["pagination"] = pagination
    return hints


def _accept(document: Document, operation: Mapping[str, Any]) -> str | None:
    """The media type to ask for: that of a successful answer, JSON before all others."""
    if document.swagger:
        produces = operation.get("produces", document.root.get("produces"))
        offered = produces if isinstance(produces, list) else []
    else:
        offered = _answer_types(document, operation)
    first = None
    for each in offered:
        if isinstance(each, str) and _MEDIA_TYPE.fullmatch(each):
            if "json" in each:
                return each
            first = first or each
    return first


def _answer_types(document: Document, operation: Mapping[str, Any]) -> list[str]:
    responses = operation.get("responses")
    offered: list[str] = []
    for status, response in responses.items() if isinstance(responses, dict) else ():
        if status[:1] == "2" or status == "default":
            if isinstance(response, dict) and "$ref" in response:
                try:
                    response = document.resolved(response)  # noqa: PLW2901 - what it stands for
                except Unusable:
                    continue
            content = response.get("content") if isinstance(response, dict) else None
            offered.extend(content if isinstance(content, dict) else ())
    return offered


def base_url_of(document: Document) -> str | None:
    """Where the document says its API is: absolute, no trailing slash; None if it does not say.

    Of several servers the first counts. What is relative is so to where the document came from.
    """
    if not document.swagger:
        servers = document.root.get("servers")
        first = servers[0] if isinstance(servers, list) and servers else {"url": "/"}
        return _absolute(_expanded(first), document.source)
    schemes = document.root.get("schemes")
    schemes = schemes if isinstance(schemes, list) else []
    host, base_path = document.root.get("host"), clean(document.root.get("basePath"), 500)
    if not isinstance(host, str) or not host:
        return _absolute(base_path or "/", document.source)
    http_only = "http" in schemes and "https" not in schemes
    scheme = "http" if http_only else "https"
    return _absolute(f"{scheme}://{host}/{base_path.lstrip('/')}", document.source)


def _server(document: Document, entry: Entry, base_url: str | None) -> str | None:
    """The server that this operation has of its own, unless it is the document's anyway."""
    if document.swagger:
        return None
    for holder in (entry.operation, entry.path_item):
        servers = holder.get("servers") if "servers" in holder else None
        if isinstance(servers, list) and servers:
            url = _expanded(servers[0])
            absolute = _absolute(url, document.source)
            if absolute is not None:
                return None if absolute == base_url else absolute
            return url.rstrip("/") if url.startswith("/") else None
    return None


def _expanded(server: Any) -> str:
    """The URL of a Server Object with the defaults of its variables; empty if there is none."""
    if not isinstance(server, dict):
        return ""
    variables = server.get("variables")
    variables = variables if isinstance(variables, dict) else {}

    def value(match: re.Match[str]) -> str:
        variable = variables.get(match[1])
        variable = variable if isinstance(variable, dict) else {}
        choices = variable.get("enum")
        first = choices[0] if isinstance(choices, list) and choices else None
        chosen = variable.get("default", first)
        return match[0] if chosen is None else clean(chosen, 500)

    return _VARIABLE.sub(value, clean(server.get("url"), 2000))


def _absolute(url: str, source: str) -> str | None:
    if not source.startswith(("http://", "https://")):
        source = ""
    try:
        parts = urlsplit(urljoin(source, url) if source else url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    unusable = parts.scheme not in {"http", "https"} or not host or _UNFIT.search(url)
    if unusable or host is None:
        return None
    # No user names and passwords out of a document: credentials are the operator's.
    shown = f"[{host}]" if ":" in host else host
    origin = shown if port is None else f"{shown}:{port}"
    return urlunsplit((parts.scheme, origin, parts.path.rstrip("/"), "", ""))
