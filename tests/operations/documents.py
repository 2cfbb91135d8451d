"""Small documents to read operations from."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from smart_support.operations.document import Document, read_document
from smart_support.operations.records import (
    DraftOperation,
    DraftSpec,
    Operation,
    OperationId,
    SpecId,
)
from smart_support.operations.spec import read_operations

SHARED = Path(__file__).parents[2].parent / "shared"
"""Real documents and conformance cases, present on development machines only."""


def read(root: Any, source: str = "shop.json") -> Document:
    return read_document(json.dumps(root).encode(), source=source)


def spec_of(root: Any, source: str = "shop.json", **options: Any) -> DraftSpec:
    return read_operations(read(root, source), **options)


def openapi(paths: Any, version: str = "3.1.0", **more: Any) -> dict[str, Any]:
    head = {"swagger": version} if version == "2.0" else {"openapi": version}
    return {**head, "info": {"title": "Shop", "version": "1"}, "paths": paths, **more}


def operation_of(
    operation: dict[str, Any],
    *,
    method: str = "get",
    path: str = "/things",
    version: str = "3.1.0",
    item: dict[str, Any] | None = None,
    **more: Any,
) -> DraftOperation:
    """The only operation of a document; fails with the reason if it was skipped."""
    spec = spec_of(openapi({path: {**(item or {}), method: operation}}, version, **more))
    assert spec.skipped == ()
    (draft,) = spec.operations
    return draft


def skipped_reason(operation: dict[str, Any], **options: Any) -> str:
    method, path = options.pop("method", "get"), options.pop("path", "/things")
    spec = spec_of(openapi({path: {method: operation}}, **options))
    assert spec.operations == ()
    (skipped,) = spec.skipped
    return skipped.reason


def parameter(name: str, place: str = "query", **more: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "schema": {"type": "string"}, **more}


def json_body(schema: Any, **more: Any) -> dict[str, Any]:
    return {"requestBody": {"content": {"application/json": {"schema": schema}}, **more}}


def body_schema(schema: Any, version: str = "3.1.0", **more: Any) -> Any:
    """What becomes of `schema` as the schema of a JSON body."""
    draft = operation_of(json_body(schema), method="post", version=version, **more)
    return draft.schema["properties"]["body"]


def stored(draft: DraftOperation, **changes: Any) -> Operation:
    """`draft` as if it had been saved and approved as suggested."""
    fields = {name: getattr(draft, name) for name in DraftOperation.__dataclass_fields__}
    return Operation(
        id=OperationId("o1"),
        spec_id=SpecId("s1"),
        decided_at=datetime(2026, 1, 1, tzinfo=UTC),
        **{"classification": draft.suggestion, **fields, **changes},
    )
