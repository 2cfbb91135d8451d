"""Schemas of any OpenAPI version into JSON Schema 2020-12, one at a time and never in full.

A reference stays a reference, to a `$defs` entry of the operation's own schema, so that cycles
are kept and nothing is copied; each shared schema is converted once per document.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from heapq import heappop, heappush
from typing import Any

import jsonschema_rs
import orjson

from smart_support.operations.binding import without
from smart_support.operations.document import Document, Unresolved, Unusable
from smart_support.operations.records import Operation
from smart_support.operations.text import clean

SCHEMA_BUDGET = 8_192
"""Bytes of JSON that one tool's schema should not exceed; 3.5 % of real operations would."""
MAX_NESTING = 100
"""Levels of one schema without references; serialisers give up at 254."""

_DESCRIPTION_LIMIT = 700
_MAX_WRITTEN_OUT = 200
_TYPES = {"string", "number", "integer", "boolean", "object", "array", "null"}
# What documents write where they mean one of the seven.
_TYPE_MEANT = {
    "file": "string", "str": "string", "text": "string", "date": "string", "datetime": "string",
    "date-time": "string", "uuid": "string", "int": "integer", "long": "integer",
    "int32": "integer", "int64": "integer", "float": "number", "double": "number",
    "decimal": "number", "bool": "boolean", "list": "array", "dict": "object", "map": "object",
}  # fmt: skip
_UNSAFE_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_number(value) and value >= 0 and value == int(value)


@lru_cache(maxsize=2048)
def _compiles(pattern: str) -> bool:
    # Documents hold patterns of every dialect; one that cannot be checked is left unchecked.
    try:
        jsonschema_rs.Draft202012Validator({"pattern": pattern})
    except jsonschema_rs.ValidationError:
        return False
    return True


_COPIED: Mapping[str, Callable[[Any], bool]] = {
    "format": lambda v: isinstance(v, str),
    "pattern": lambda v: isinstance(v, str) and _compiles(v),
    "contentEncoding": lambda v: isinstance(v, str),
    "contentMediaType": lambda v: isinstance(v, str),
    "deprecated": lambda v: v is True,
    "uniqueItems": lambda v: isinstance(v, bool),
    "multipleOf": lambda v: _is_number(v) and v > 0,
    "enum": lambda v: isinstance(v, list) and bool(v),
    "const": lambda _: True,
    "default": lambda _: True,
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _is_number),
    **dict.fromkeys(
        ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties",
         "minContains", "maxContains"),
        _is_count,
    ),
}  # fmt: skip
_ONE_SCHEMA = {
    "additionalProperties", "contains", "else", "if", "not", "propertyNames", "then",
    "unevaluatedItems", "unevaluatedProperties",
}  # fmt: skip
_SCHEMA_LISTS = {"allOf", "anyOf", "oneOf", "prefixItems"}
_SCHEMA_MAPS = {"dependentSchemas", "patternProperties", "properties"}
# With parts left out these would refuse what was valid.
_NEED_DETAILS = {
    "contains", "dependentSchemas", "else", "if", "maxContains", "minContains", "not", "then",
    "unevaluatedItems", "unevaluatedProperties",
}  # fmt: skip


class Schemas:
    """The schemas of one document, converted on demand."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._siblings = not (document.swagger or document.dialect.startswith("3.0"))
        self._written_out = 0
        self._read_only_targets: dict[str, bool] = {}
        self._pointers: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._done: dict[str, tuple[Any, frozenset[str]] | Unusable] = {}

    def convert(self, schema: Any) -> tuple[Any, set[str]]:
        """`schema` in 2020-12, and the names in `$defs` that it refers to.

        Raises:
            Unusable: it refers to another file, or is nested too deeply.
        """
        used: set[str] = set()
        self._written_out = 0
        return self._convert(schema, used, 0, frozenset(), ()), used

    def definitions(self, used: Iterable[str]) -> dict[str, Any]:
        """All that `used` needs, directly or through others, by name.

        Raises:
            Unusable: see `convert`.
        """
        found: dict[str, Any] = {}
        waiting = list(used)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name], needs = self._definition(name)
                waiting.extend(needs)
        return dict(sorted(found.items()))

    def _definition(self, name: str) -> tuple[Any, frozenset[str]]:
        done = self._done.get(name)
        if done is None:
            try:
                converted, used = self.convert(self._document.at(self._pointers[name]))
                done = (converted, frozenset(used))
            except Unusable as unusable:
                done = unusable
            self._done[name] = done
        if isinstance(done, Unusable):
            raise Unusable(str(done))
        return done

    def _name(self, pointer: str) -> str:
        name = self._names.get(pointer)
        if name is None:
            self._document.at(pointer)
            plain = _UNSAFE_NAME.sub("_", pointer.rpartition("/")[2])[:60]
            # Only top-level schemas are known to have names of their own. The hash depends on
            # the place alone, so that a schema's name outlives changes elsewhere.
            shared = pointer.startswith(("#/components/schemas/", "#/definitions/"))
            if not plain or not shared or pointer.count("/") > 3 or plain in self._pointers:
                plain = f"{plain}_{hashlib.sha256(pointer.encode()).hexdigest()[:8]}"
            name = plain
            self._names[pointer] = name
            self._pointers[name] = pointer
        return name

    def _convert(
        self,
        schema: Any,
        used: set[str],
        depth: int,
        hidden: frozenset[str],
        inside: tuple[str, ...],
    ) -> Any:
        """Convert one schema, in place of which `hidden` and `inside` say where it stands.

        `hidden`: read-only names of the whole that this is a part of, which no part may ask for;
        `inside`: the references that have been written out on the way here.
        """
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            return {}
        if depth > MAX_NESTING:
            raise Unusable(f"its schema is nested more than {MAX_NESTING} levels deep")
        out: dict[str, Any] = {}
        reference = schema.get("$ref")
        if isinstance(reference, str):
            out = self._reference(reference, used, depth, hidden, inside)
            if not self._siblings:
                if description := clean(schema.get("description"), _DESCRIPTION_LIMIT):
                    out["description"] = description
                return out
        composed = any(key in schema for key in ("allOf", "anyOf", "oneOf"))
        if "properties" in schema or composed:
            hidden |= self._read_only_names(schema)
        for key, value in schema.items():
            if key in _COPIED:
                if _COPIED[key](value):
                    out[key] = value
            elif key in _ONE_SCHEMA:
                if isinstance(value, (dict, bool)):
                    out[key] = self._convert(value, used, depth + 1, frozenset(), inside)
            elif key in _SCHEMA_LISTS:
                if isinstance(value, list) and value:
                    rest = frozenset() if key == "prefixItems" else hidden
                    out[key] = [self._convert(v, used, depth + 1, rest, inside) for v in value]
            elif key in _SCHEMA_MAPS:
                if isinstance(value, dict):
                    kept = hidden if key == "properties" else ()
                    out[key] = {
                        str(name): self._convert(part, used, depth + 1, frozenset(), inside)
                        for name, part in value.items()
                        if name not in kept
                    }
            elif key == "items":
                self._items(value, out, used, depth, inside)
            elif key == "required":
                if names := _names_in(value, hidden):
                    out["required"] = names
            elif key == "dependentRequired":
                if isinstance(value, dict):
                    out[key] = {str(k): _names_in(v, hidden) for k, v in value.items()}
            elif key == "type":
                if kinds := _types(value):
                    out["type"] = kinds
            elif key == "description" and (text := clean(value, _DESCRIPTION_LIMIT)):
                out["description"] = text
        if out.get("type") == "string" and "enum" in out:
            out["enum"] = [_as_text(value) for value in out["enum"]]
        _exclusive_limits(schema, out)
        if schema.get("nullable") is True or schema.get("x-nullable") is True:
            return _nullable(out)
        return out

    def _reference(
        self, reference: str, used: set[str], depth: int, hidden: frozenset[str],
        inside: tuple[str, ...],
    ) -> dict[str, Any]:  # fmt: skip
        try:
            name = self._name(reference)
        except Unresolved:
            return {"description": "The document does not say what this is."}
        if hidden and reference not in inside:
            target = self._document.at(reference)
            asked = set(_names_in(target.get("required"))) if isinstance(target, dict) else set()
            if asked & hidden - self._read_only_names(target):
                # It asks for what another part makes read-only, so it cannot be shared here.
                self._written_out += 1
                if self._written_out > _MAX_WRITTEN_OUT:
                    raise Unusable("its schemas are too entangled")
                written = self._convert(target, used, depth + 1, hidden, (*inside, reference))
                return dict(written)
        used.add(name)
        return {"$ref": f"#/$defs/{name}"}

    def _items(
        self, value: Any, out: dict[str, Any], used: set[str], depth: int, inside: tuple[str, ...]
    ) -> None:
        if isinstance(value, list):  # before 2020-12 this is how tuples were written
            if value:
                parts = [self._convert(v, used, depth + 1, frozenset(), inside) for v in value]
                out["prefixItems"] = parts
        elif isinstance(value, (dict, bool)):
            out["items"] = self._convert(value, used, depth + 1, frozenset(), inside)

    def _read_only_names(self, schema: Any) -> frozenset[str]:
        """Names of properties that only answers have, in any part of `schema`."""
        names: set[str] = set()
        for part in self._parts(schema):
            properties = part.get("properties")
            if isinstance(properties, dict):
                names |= {name for name, value in properties.items() if self._read_only(value)}
        return frozenset(names)

    def _read_only(self, schema: Any) -> bool:
        if not isinstance(schema, dict) or schema.get("readOnly") is True:
            return isinstance(schema, dict)
        reference = schema.get("$ref")
        if not isinstance(reference, str) or "allOf" in schema:
            return any(part.get("readOnly") is True for part in self._parts(schema))
        known = self._read_only_targets.get(reference)
        if known is None:
            parts = self._parts({"$ref": reference})
            known = any(part.get("readOnly") is True for part in parts)
            self._read_only_targets[reference] = known
        return known

    def _parts(self, schema: Any) -> Iterator[dict[str, Any]]:
        """`schema` and all that it is made of, through `$ref` and `allOf`, each shared one once."""
        waiting, seen = [schema], set[str]()
        while waiting:
            part = waiting.pop()
            if not isinstance(part, dict):
                continue
            yield part
            reference, more = part.get("$ref"), part.get("allOf")
            if isinstance(reference, str) and reference not in seen:
                seen.add(reference)
                waiting.append(self._target(reference))
            if isinstance(more, list):
                waiting.extend(more)

    def _target(self, reference: str) -> Any:
        try:
            return self._document.at(reference)
        except Unusable:
            return None  # said where the reference itself is converted


def _names_in(value: Any, without: frozenset[str] = frozenset()) -> list[str]:
    names = value if isinstance(value, list) else []  # `required: true` is an old way of speaking
    return list(dict.fromkeys(n for n in names if isinstance(n, str) and n not in without))


def _types(value: Any) -> str | list[str] | None:
    if isinstance(value, list):
        kinds = list(dict.fromkeys(kind for v in value if isinstance(kind := _types(v), str)))
        return kinds or None
    if not isinstance(value, str):
        return None
    kind = value.lower()
    kind = _TYPE_MEANT.get(kind, kind)
    return kind if kind in _TYPES else None


def _as_text(value: Any) -> Any:
    """An enum of strings whose values were written without quotes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else value


def _exclusive_limits(schema: Mapping[str, Any], out: dict[str, Any]) -> None:
    """Until 3.0 `exclusiveMinimum: true` qualified `minimum`; since 3.1 it is the limit."""
    for flag, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if schema.get(flag) is True and limit in out:
            out[flag] = out.pop(limit)


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    kinds = schema.get("type")
    if kinds is None:
        if any(key in schema for key in ("$ref", "allOf", "anyOf", "oneOf", "enum", "const")):
            return {"anyOf": [schema, {"type": "null"}]}
        return schema
    listed = [kinds] if isinstance(kinds, str) else kinds
    if "null" not in listed:
        schema["type"] = [*listed, "null"]
    if "enum" in schema and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]
    return schema


def tool_schema(operation: Operation) -> dict[str, Any]:
    """The input schema as the model sees it: without the arguments bound to the customer."""
    return without(operation.schema, operation.classification.bindings)


def size_of(schema: Mapping[str, Any]) -> int:
    """Bytes of `schema` as JSON."""
    return len(orjson.dumps(schema))


def tokens_of(operation: Operation, schema: Mapping[str, Any]) -> int:
    """About how many tokens a model reads the tool as: its name, its words and its schema.

    Four bytes a token, as OpenAI's tokenizers have it for English and JSON; an estimate.
    """
    words = len(operation.tool_name) + len(operation.description or operation.key)
    return (size_of(schema) + words + _WRAPPING) // 4


_WRAPPING = 60
"""Bytes of what is around each function in a request."""


def fit(schema: dict[str, Any], budget: int = SCHEMA_BUDGET) -> tuple[dict[str, Any], bool]:
    """`schema` in at most `budget` bytes if that can be had, and whether details were left out.

    First descriptions are shortened, then what lies deepest loses its details: it keeps its name
    and type, so that whatever was valid stays valid. The outermost level is always kept.
    """
    size = size_of(schema)
    if size <= budget:
        return schema, False
    if size <= 4 * budget:
        for words in (120, 0):
            shorter = _cut(schema, MAX_NESTING, words)
            if size_of(shorter) <= budget:
                return shorter, False
    for words in (120, 0):
        fitting = None
        for levels in (3, 4, 5, 7, 10):  # upwards, so that no copy is much larger than the budget
            deeper = _cut(schema, levels, words)
            if size_of(deeper) > budget:
                break
            fitting = deeper
        if fitting is not None:
            return fitting, True
    return _cut(schema, 2, 0), True


def _cut(schema: dict[str, Any], levels: int, words: int) -> dict[str, Any]:
    """A copy that goes `levels` deep, each reference counting as the level that it stands on."""
    cutting = levels < MAX_NESTING
    definitions = schema.get("$defs", {})
    queue: list[tuple[int, str]] = []

    def copy(node: Any, left: int) -> Any:
        if not isinstance(node, dict):
            return node
        out: dict[str, Any] = {}
        composite = False
        for key, value in node.items():
            if key == "$defs" or (cutting and key in _NEED_DETAILS):
                continue
            if key == "description":
                if words and (text := clean(value, words)):
                    out[key] = text
            elif key == "$ref":
                if left > 0:
                    heappush(queue, (-left, value.removeprefix("#/$defs/")))
                    out[key] = value
                else:
                    target = definitions[value.removeprefix("#/$defs/")]
                    if isinstance(target, dict) and "type" in target:
                        out["type"] = target["type"]
            elif key in _SCHEMA_MAPS:
                composite = True
                out[key] = {name: copy(part, left - 1) for name, part in value.items()}
            elif key in _SCHEMA_LISTS:
                composite = True
                # Parts that lost details overlap, and oneOf would refuse what fits two of them.
                kind = "anyOf" if cutting and key == "oneOf" else key
                if kind == key or kind not in node:
                    out[kind] = [copy(part, left - 1) for part in value]
            elif key in _ONE_SCHEMA or key == "items":
                composite = composite or isinstance(value, dict)
                out[key] = copy(value, left - 1)
            elif key == "enum" and not words and len(value) > 20:
                pass
            elif key != "default" or words:
                out[key] = value
        if composite and left <= 0:
            return {key: out[key] for key in ("type", "description") if key in out}
        return out

    result: dict[str, Any] = copy(schema, levels)
    kept: dict[str, Any] = {}
    while queue:  # the shallowest use of a definition decides how much of it is kept
        left, name = heappop(queue)
        if name not in kept:
            kept[name] = None
            kept[name] = copy(definitions[name], -left - 1)
    if kept:
        result["$defs"] = dict(sorted(kept.items()))
    return result
