"""A document into the operations it offers; what cannot be used is listed with its reason."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import jsonschema_rs
import orjson

from smart_support.operations.document import METHODS, Document, Unusable
from smart_support.operations.naming import tool_names
from smart_support.operations.plan import ArgumentReader, Arguments
from smart_support.operations.records import (
    DraftOperation,
    DraftSpec,
    JsonObject,
    RequestPlan,
    Skipped,
)
from smart_support.operations.schema import SCHEMA_BUDGET, Schemas, fit
from smart_support.operations.security import (
    Requirement,
    Scheme,
    read_requirements,
    read_schemes,
)
from smart_support.operations.suggest import HINTS, suggest
from smart_support.operations.text import DESCRIPTION_LIMIT, clean

_LEFT_OUT = "Details of large inputs are left out here."
# U+0000 in JSON text, which PostgreSQL's jsonb cannot hold; an escaped backslash before it is
# another thing.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_METHOD = re.compile(r"[A-Z][A-Z0-9-]{0,19}")


@dataclass(frozen=True, slots=True)
class _Entry:
    """One operation in the index: where it stands, not yet what it takes."""

    key: str
    method: str
    path: str
    pointer: str
    path_item: Mapping[str, Any]
    operation: Mapping[str, Any]

    @property
    def operation_id(self) -> str | None:
        return clean(self.operation.get("operationId"), 500) or None


def read_operations(document: Document, *, schema_budget: int = SCHEMA_BUDGET) -> DraftSpec:
    """All operations of `document`, converted one at a time, in the document's order.

    CPU-bound; for large documents call it in another process. What cannot be used is listed in
    `skipped`; a document without operations gives an empty spec.
    """
    skipped = list(document.remarks)
    index = list(_index(document, skipped))
    names = tool_names([(entry.key, entry.operation_id) for entry in index])
    base_url = base_url_of(document)
    schemas = Schemas(document)
    schemes = read_schemes(document, base_url)
    reader = ArgumentReader(document, schemas, _credentials(schemes))
    operations = []
    for entry, name in zip(index, names, strict=True):
        try:
            arguments = reader.read(entry.path, entry.path_item, entry.operation)
            definitions = schemas.definitions(arguments.definitions)
            schema = _schema(arguments, definitions)
            plan = _plan(document, entry, arguments, base_url)
            needs = read_requirements(document, entry.operation)
            draft = _draft(
                entry, arguments, schema, plan, needs=needs, name=name, budget=schema_budget
            )
        except Unusable as reason:
            skipped.append(Skipped(entry.key, f"It cannot be used: {reason}."))
        else:
            operations.append(draft)
    info = document.root.get("info")
    info = info if isinstance(info, dict) else {}
    return DraftSpec(
        title=clean(info.get("title"), 200) or clean(document.source, 200),
        version_text=clean(info.get("version"), 100),
        dialect=document.dialect,
        source=document.source,
        hash=document.hash,
        base_url=base_url,
        operations=tuple(operations),
        skipped=tuple(skipped),
        schemes=schemes,
    )


def _index(document: Document, skipped: list[Skipped]) -> Iterator[_Entry]:
    seen: set[str] = set()
    for path, pointer, item in _path_items(document, skipped):
        for method, at, operation in _methods(item):
            key = f"{method} {path}"
            if key in seen:
                skipped.append(Skipped(key, "It cannot be used: the document has it twice."))
                continue
            seen.add(key)
            if not isinstance(operation, dict):
                skipped.append(Skipped(key, "It cannot be used: it is not described."))
                continue
            yield _Entry(key, method, path, f"{pointer}/{at}", item, operation)


def _path_items(
    document: Document, skipped: list[Skipped]
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    try:
        paths = document.resolved(document.root.get("paths"))
    except Unusable as reason:
        skipped.append(Skipped("paths", f"They cannot be used: {reason}."))
        return
    for written, item in paths.items() if isinstance(paths, dict) else ():
        if written.startswith("x-") or written == "$ref":
            continue
        path = written if written.startswith("/") else f"/{written}"
        if clean(path, len(path) + 1) != path.strip():
            skipped.append(Skipped(clean(path, 500), "Its path has invisible characters."))
            continue
        try:
            target = document.resolved(item)
        except Unusable as reason:
            skipped.append(Skipped(path, f"It cannot be used: {reason}."))
            continue
        if isinstance(target, dict):
            # What stands beside the reference counts too, and before what it refers to.
            own = item if isinstance(item, dict) and target is not item else {}
            pointer = f"#/paths/{written.replace('~', '~0').replace('/', '~1')}"
            yield path, pointer, {**target, **{k: v for k, v in own.items() if k != "$ref"}}


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


def _plan(
    document: Document, entry: _Entry, arguments: Arguments, base_url: str | None
) -> RequestPlan:
    return RequestPlan(
        method=entry.method,
        path=entry.path,
        server=_server(document, entry, base_url),
        parameters=arguments.parameters,
        body=arguments.body,
        accept=_accept(document, entry.operation),
    )


def _draft(
    entry: _Entry,
    arguments: Arguments,
    schema: dict[str, Any],
    plan: RequestPlan,
    *,
    needs: Sequence[Requirement],
    name: str,
    budget: int,
) -> DraftOperation:
    try:
        schema, cut = fit(schema, budget)
        facts = orjson.dumps([schema, plan], option=orjson.OPT_SORT_KEYS)
        jsonschema_rs.Draft202012Validator(schema)
    except (orjson.JSONEncodeError, jsonschema_rs.ValidationError) as error:
        raise Unusable(f"its schema is not valid ({clean(str(error), 200)})") from error
    if _NUL.search(facts):
        raise Unusable("its schema has a NUL character")
    summary = clean(entry.operation.get("summary") or entry.path_item.get("summary"), 200)
    tags = entry.operation.get("tags")
    draft = DraftOperation(
        key=entry.key,
        method=entry.method,
        path=entry.path,
        operation_id=entry.operation_id,
        tool_name=name,
        summary=summary,
        description=_description(entry, summary, cut=cut),
        tags=tuple(clean(tag, 100) for tag in tags) if isinstance(tags, list) else (),
        deprecated=entry.operation.get("deprecated") is True,
        pointer=entry.pointer,
        schema=schema,
        security=tuple(needs),
        schema_hash=hashlib.sha256(facts).hexdigest(),
        request_plan=plan,
        hints=_hints(entry.operation, arguments),
    )
    return replace(draft, suggestion=suggest(draft))


def _schema(arguments: Arguments, definitions: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": arguments.properties,
        "required": arguments.required,
        # An argument that nobody described would silently not be sent.
        "additionalProperties": False,
    }
    return {**schema, "$defs": definitions} if definitions else schema


def _description(entry: _Entry, summary: str, *, cut: bool) -> str:
    remark = f"\n\n{_LEFT_OUT}" if cut else ""
    room = DESCRIPTION_LIMIT - len(remark)
    written = entry.operation.get("description") or entry.path_item.get("description")
    text = clean(written, room)
    if summary and not text.startswith(summary.rstrip(".…")):
        text = clean(f"{summary}\n\n{text}", room)
    return (text or clean(entry.key, room)) + remark


def _hints(operation: Mapping[str, Any], arguments: Arguments) -> JsonObject:
    hints = {
        name: operation[name] for name in HINTS if isinstance(operation.get(name), (bool, str))
    }
    if arguments.idempotency_header:
        hints["idempotency_header"] = arguments.idempotency_header
    return hints


def _accept(document: Document, operation: Mapping[str, Any]) -> str | None:
    """The media type to ask for: that of a successful answer, JSON before all others."""
    if document.swagger:
        produces = operation.get("produces", document.root.get("produces"))
        offered = produces if isinstance(produces, list) else []
    else:
        offered = _answer_types(document, operation)
    types = [
        t for t in offered if isinstance(t, str) and re.fullmatch(r"[\x21-\x7e][\x20-\x7e]*", t)
    ]
    return min(types, key=lambda t: "json" not in t, default=None)


def _answer_types(document: Document, operation: Mapping[str, Any]) -> list[str]:
    responses = operation.get("responses")
    offered: list[str] = []
    for status, entry in responses.items() if isinstance(responses, dict) else ():
        if str(status).startswith("2") or status == "default":
            try:
                response = document.resolved(entry)
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


def _server(document: Document, entry: _Entry, base_url: str | None) -> str | None:
    """The server that this operation has of its own, unless it is the document's anyway."""
    if document.swagger:
        return None
    for holder in (entry.operation, entry.path_item):
        servers = holder.get("servers")
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

    return re.sub(r"\{([^{}]+)\}", value, clean(server.get("url"), 2000))


def _absolute(url: str, source: str) -> str | None:
    if not source.startswith(("http://", "https://")):
        source = ""
    try:
        parts = urlsplit(urljoin(source, url) if source else url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    unusable = parts.scheme not in {"http", "https"} or not host or re.search(r"[\s{}\\]", url)
    if unusable or host is None:
        return None
    # No user names and passwords out of a document: credentials are the operator's.
    shown = f"[{host}]" if ":" in host else host
    origin = shown if port is None else f"{shown}:{port}"
    return urlunsplit((parts.scheme, origin, parts.path.rstrip("/"), "", ""))
