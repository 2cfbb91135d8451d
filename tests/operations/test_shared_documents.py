"""Real documents that nobody here wrote: all are read, and what they give can be used."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
from tests.operations.documents import SHARED

from smart_support.operations.document import read_document
from smart_support.operations.records import Access, DraftSpec
from smart_support.operations.schema import SCHEMA_BUDGET
from smart_support.operations.spec import read_operations

SPECS = SHARED / "specs"
MANIFEST = json.loads((SPECS / "manifest.json").read_text()) if SPECS.exists() else []
# What is refused, and why: the reason must hold these words.
REFUSED = {
    "goswagger_2919_edge/management.yml": (105, "another file"),
    "readmeio__packages_parser_test_specs_validate-spec_invalid_2.0_multiple-body-params.yaml": (
        1,
        "more than one body parameter",
    ),
    "readmeio__packages_parser_test_specs_validate-spec_invalid_3.x_duplicate-operation-params"
    ".yaml": (1, "two different parameters 'username'"),
}


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(references, node.values()))
    return set().union(*map(references, node)) if isinstance(node, list) else set()


def read(path: Path) -> DraftSpec:
    raw = path.read_bytes()
    return read_operations(read_document(raw, source=path.name, max_bytes=len(raw)))


@pytest.mark.skipif(not MANIFEST, reason="the shared documents are not on this machine")
def test_there_are_forty_documents() -> None:
    assert len(MANIFEST) == 40


@pytest.mark.parametrize("entry", MANIFEST, ids=[entry["file"] for entry in MANIFEST])
def test_all_operations_of_a_real_document_are_usable(entry: dict[str, Any]) -> None:
    spec = read(SPECS / entry["file"])

    skipped, reason = REFUSED.get(entry["file"], (0, ""))
    assert [s.reason for s in spec.skipped if reason not in s.reason] == []
    assert len(spec.skipped) == skipped
    if not skipped:
        assert len(spec.operations) == entry["operations"]
    assert spec.dialect == entry["version"]
    names = [operation.tool_name for operation in spec.operations]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in names)
    for operation in spec.operations:
        schema = dict(operation.schema)
        assert jsonschema_rs.meta.is_valid(schema)
        assert len(orjson.dumps(schema)) <= SCHEMA_BUDGET
        inside = {f"#/$defs/{name}" for name in schema.get("$defs", {})}
        assert references(schema) == inside, operation.key
        assert 0 < len(operation.description) <= 1024
        assert operation.suggestion.reasons
        if operation.suggestion.access is Access.READ:
            assert operation.method in {"GET", "HEAD", "OPTIONS"}
