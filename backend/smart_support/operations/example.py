"""Arguments made up from a schema, to see what a request looks like."""

from collections.abc import Mapping
from typing import Any

_DEEPEST = 6
_BY_FORMAT = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "email": "ada@example.org",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.org/",
}
_BY_TYPE: Mapping[str, Any] = {
    "integer": 1, "number": 1, "boolean": True, "array": [], "object": {}, "null": None,
}  # fmt: skip


def example_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments with everything that is required, as far as the schema says what that is."""
    made = _example(schema, schema, 0, "value")
    return made if isinstance(made, dict) else {}


def _example(root: Mapping[str, Any], node: Any, depth: int, name: str) -> Any:
    if not isinstance(node, Mapping) or depth > _DEEPEST:
        return name
    for key in ("const", "default"):
        if key in node:
            return node[key]
    if node.get("enum"):
        return node["enum"][0]
    if isinstance(reference := node.get("$ref"), str):
        target = root.get("$defs", {}).get(reference.removeprefix("#/$defs/"))
        return _example(root, target, depth + 1, name)
    for key in ("anyOf", "oneOf"):
        if node.get(key):
            return _example(root, node[key][0], depth + 1, name)
    if node.get("allOf"):
        parts = [_example(root, part, depth + 1, name) for part in node["allOf"]]
        merged = {k: v for part in parts if isinstance(part, dict) for k, v in part.items()}
        return merged or parts[0]
    properties = node.get("properties")
    if isinstance(properties, Mapping):
        required = [each for each in node.get("required", ()) if each in properties]
        return {each: _example(root, properties[each], depth + 1, each) for each in required}
    kinds = node.get("type")
    kind = kinds[0] if isinstance(kinds, list) and kinds else kinds
    if kind == "array" and node.get("minItems"):
        return [_example(root, node.get("items"), depth + 1, name)]
    if kind in ("integer", "number") and "minimum" in node:
        return node["minimum"]
    if isinstance(kind, str) and kind in _BY_TYPE:
        return _BY_TYPE[kind]
    return _BY_FORMAT.get(str(node.get("format")), name)
