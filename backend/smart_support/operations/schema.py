"""Schemas of any OpenAPI version into JSON Schema 2020-12, one at a time and never in full.

A reference stays a reference, to a `$defs` entry of the operation's own schema, so that cycles
are kept and nothing is copied; each shared schema is converted once per document.
"""

import hashlib
import math
import posixpath
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, cast

import jsonschema_rs
import orjson

from smart_support.operations.binding import without
from smart_support.operations.document import Document, Unresolved, Unusable
from smart_support.operations.paging import Pagination
from smart_support.operations.pruning import (
    MAX_NESTING,
    ONE_SCHEMA,
    SCHEMA_BUDGET,
    SCHEMA_LISTS,
    SCHEMA_MAPS,
    Definition,
    Pruner,
    fit,
    size_of,
)
from smart_support.operations.records import INSIDE_LIST, Operation
from smart_support.operations.text import clean

__all__ = [
    "MAX_NESTING", "SCHEMA_BUDGET", "Schemas", "cursor_of", "fit", "size_of", "tool_schema",
]  # fmt: skip

_DESCRIPTION_LIMIT = 700
_MAX_WRITTEN_OUT = 200
_DEEPEST_READ_ONLY = 5
"""Levels inside of a body; what is read-only still deeper is sent if the model gives it."""
_MAX_LOOKED_AT = 200
_HOLDS = frozenset({"properties", "items", "allOf", "$ref"})
"""What a schema has in which others are."""
_LONGEST_PATTERN = 2_000
_MOST_REPEATED = 5_000
_REPEATED = re.compile(r"\{(?:[0-9]*,)?([1-9][0-9]*)\}")
_TYPES = {"string", "number", "integer", "boolean", "object", "array", "null"}
# What documents write where they mean one of the seven.
_TYPE_MEANT = {
    "file": "string", "str": "string", "text": "string", "date": "string", "datetime": "string",
    "date-time": "string", "uuid": "string", "int": "integer", "long": "integer",
    "int32": "integer", "int64": "integer", "float": "number", "double": "number",
    "decimal": "number", "bool": "boolean", "list": "array", "dict": "object", "map": "object",
}  # fmt: skip
_MAY_HIDE = frozenset({"properties", "allOf", "anyOf", "oneOf"})
_INSIDE = len("#/$defs/")
_UNSAFE_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


# Patterns that need no compiler to be known as good, which are most: it takes 100 µs and more.
_LITERAL = r"""[A-Za-z0-9 _@:/=,;%&~!'"<>-]"""
_ESCAPED = r"""\\[dwsDWS.+*?()\[\]{}^$|\\-]"""
_CLASS = rf"""\[\^?(?:a-z|A-Z|0-9|a-f|A-F|[A-Za-z0-9 _@:/=,;%!'"<>.+*?(){{}}$|]|{_ESCAPED})+-?\]"""
_TIMES = r"""[+*?]|\{(?:[1-9][0-9]?|[0-9]{1,2},|[01],[1-9][0-9]?)\}"""
_PLAIN_PATTERN = re.compile(
    rf"\^?(?:(?:{_LITERAL}|\.|{_ESCAPED}|{_CLASS})(?:{_TIMES})?){{0,40}}\$?"
)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return _is_number(value) and value >= 0 and value == int(value)


@lru_cache(maxsize=2048)
def _compiles(pattern: str) -> bool:
    # Documents hold patterns of every dialect; one that cannot be checked is left unchecked.
    if _PLAIN_PATTERN.fullmatch(pattern):
        return True
    if len(pattern) > _LONGEST_PATTERN:
        return False
    # `^.{0,262144}$` takes 50 ms and megabytes to compile.
    if math.prod(int(most[:9]) for most in _REPEATED.findall(pattern)) > _MOST_REPEATED:
        return False
    try:
        jsonschema_rs.Draft202012Validator({"pattern": pattern})
    except jsonschema_rs.ValidationError:
        return False
    return True


_CURSOR = "cursor"
_CURSOR_SCHEMA = {
    "type": "string",
    "description": "From an earlier answer with has_more, to go on from there. Without it: the "
    "first page.",
}
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
_RULES: Mapping[str, str] = {
    **dict.fromkeys(_COPIED, "copied"),
    **dict.fromkeys(ONE_SCHEMA, "one"),
    **dict.fromkeys(SCHEMA_LISTS, "list"),
    **dict.fromkeys(SCHEMA_MAPS, "map"),
    **{key: key for key in ("dependentRequired", "description", "items", "required", "type")},
}
_NOBODY: frozenset[str] = frozenset()
jsonschema_rs.meta.is_valid({})  # compiles the meta schema, which the first document would wait for


class Schemas:
    """The schemas of one document, converted on demand.

    What it gives out is shared between operations: read it, never change it.
    """

    def __init__(self, document: Document) -> None:
        self._document = document
        self._siblings = not (document.swagger or document.dialect.startswith("3.0"))
        self._written_out = 0
        self._read_only_targets: dict[str, bool] = {}
        self._pointers: dict[str, str] = {}
        self._references: dict[str, dict[str, Any]] = {}
        self._done: dict[str, Definition | Unusable] = {}
        self._pruner = Pruner(self._definition)

    def convert(self, schema: Any) -> tuple[Any, set[str]]:
        """`schema` in 2020-12, and the names in `$defs` that it refers to.

        Raises:
            Unusable: it refers to another file, or is nested too deeply.
        """
        used: set[str] = set()
        self._written_out = 0
        return self._convert(schema, used, 0, _NOBODY, ()), used

    def fit(
        self, own: dict[str, Any], used: Iterable[str], budget: int
    ) -> tuple[dict[str, Any], bool]:
        """`own` with all definitions that `used` needs in `$defs`; see `Pruner.fit`.

        Raises:
            Unusable: see `convert`; or there is something in it that is no JSON.
        """
        try:
            if not jsonschema_rs.meta.is_valid(own):
                raise Unusable("its schema is not valid")
            return self._pruner.fit(own, used, budget)
        except (orjson.JSONEncodeError, ValueError) as error:
            raise Unusable(f"its schema is not valid ({clean(str(error), 200)})") from error

    def read_only(self, schema: Any) -> frozenset[str]:
        """Names of the properties of `schema` that only answers have."""
        return self._read_only_names(schema) if self._document.read_only else _NOBODY

    def read_only_inside(self, schema: Any) -> list[list[str]]:
        """The ways to the properties further inside of `schema` that only answers have.

        Those nearest first; of a very large schema not the ones deepest down.
        """
        found: list[list[str]] = []
        waiting: deque[tuple[Any, tuple[str, ...]]] = deque()
        if self._document.read_only:
            waiting.append((schema, ()))
        for _ in range(_MAX_LOOKED_AT):
            if not waiting:
                break
            part, path = waiting.popleft()
            hidden = self._read_only_names(part)
            if path:
                found.extend([*path, name] for name in sorted(hidden))
            if len(path) < _DEEPEST_READ_ONLY:
                waiting.extend(
                    (value, (*path, step))
                    for step, value in self._steps(part)
                    if step not in hidden
                )
        return found

    def _steps(self, schema: Any) -> Iterator[tuple[str, Any]]:
        """What is directly inside of `schema`, and that in which more can be."""
        for part in self._parts(schema):
            properties = part.get("properties")
            if properties.__class__ is dict:
                for name, value in properties.items():
                    if value.__class__ is dict and not _HOLDS.isdisjoint(value):
                        yield name, value
            if part.get("items").__class__ is dict:
                yield INSIDE_LIST, part["items"]

    def _definition(self, name: str) -> Definition:
        done = self._done.get(name)
        if done is None:
            try:
                converted, used = self.convert(self._document.at(self._pointers[name]))
                done = (converted, frozenset(used))
                if not jsonschema_rs.meta.is_valid(converted):
                    done = Unusable("its schema is not valid")
            except (Unusable, ValueError) as error:
                done = Unusable(str(error))
            self._done[name] = done
        if isinstance(done, Unusable):
            raise Unusable(str(done))
        return done

    def _reference_to(self, pointer: str) -> dict[str, Any]:
        """The reference to what is at `pointer`, under a name of its own in `$defs`."""
        found = self._references.get(pointer)
        if found is None:
            # Through all that follow, so that references in a circle count as leading nowhere.
            self._document.resolved(self._document.at(pointer))
            place, _, fragment = pointer.partition("#")
            last = fragment.rpartition("/")[2] or posixpath.splitext(posixpath.basename(place))[0]
            plain = _UNSAFE_NAME.sub("_", last)[:60]
            # Only top-level schemas are known to have names of their own. The hash depends on
            # the place alone, so that a schema's name outlives changes elsewhere.
            shared = pointer.startswith(("#/components/schemas/", "#/definitions/"))
            if not plain or not shared or pointer.count("/") > 3 or plain in self._pointers:
                plain = f"{plain}_{hashlib.sha256(pointer.encode()).hexdigest()[:8]}"
            found = self._references[pointer] = {"$ref": f"#/$defs/{plain}"}
            self._pointers[plain] = pointer
        return found

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
        if not isinstance(schema, dict):
            return schema if isinstance(schema, bool) else {}
        if depth > MAX_NESTING:
            raise Unusable(f"its schema is nested more than {MAX_NESTING} levels deep")
        out: dict[str, Any] = {}
        reference = schema.get("$ref") or schema.get("$dynamicRef")
        if reference is not None and isinstance(reference, str):
            out = self._reference(reference, schema, used, depth, hidden, inside)
            if not self._siblings or len(schema) == 1:
                return out
            out = dict(out)
        if self._document.read_only and not schema.keys().isdisjoint(_MAY_HIDE):
            hidden |= self._read_only_names(schema)
        for key, value in schema.items():
            match _RULES.get(key):
                case None:
                    continue
                case "type":
                    if kinds := (value if value.__class__ is str and value in _TYPES
                                 else _types(value)):  # fmt: skip
                        out["type"] = kinds
                case "description":
                    if text := clean(value, _DESCRIPTION_LIMIT):
                        out["description"] = text
                case "copied":
                    if _COPIED[key](value):
                        out[key] = value
                case "map":
                    if isinstance(value, dict):
                        out[key] = self._map(key, value, used, depth + 1, hidden, inside)
                case "items":
                    self._items(value, out, used, depth, inside)
                case "list":
                    if isinstance(value, list) and value:
                        rest = _NOBODY if key == "prefixItems" else hidden
                        out[key] = [self._convert(v, used, depth + 1, rest, inside) for v in value]
                case "one":
                    if isinstance(value, (dict, bool)):
                        out[key] = self._convert(value, used, depth + 1, _NOBODY, inside)
                case "required":
                    if names := _names_in(value, hidden):
                        out["required"] = names
                case "dependentRequired":
                    if isinstance(value, dict):
                        out[key] = {str(k): _names_in(v, hidden) for k, v in value.items()}
        if "enum" in out and out.get("type") == "string":
            out["enum"] = [_as_text(value) for value in out["enum"]]
        if "exclusiveMinimum" in schema or "exclusiveMaximum" in schema:
            _exclusive_limits(schema, out)
        if schema.get("nullable") is True or schema.get("x-nullable") is True:
            return _nullable(out)
        return out

    def _map(
        self, key: str, parts: dict[Any, Any], used: set[str], depth: int, hidden: frozenset[str],
        inside: tuple[str, ...],
    ) -> dict[str, Any]:  # fmt: skip
        if key == "patternProperties":
            parts = {name: part for name, part in parts.items() if _compiles(name)}
        elif key == "properties" and hidden:
            parts = {name: part for name, part in parts.items() if name not in hidden}
        return {
            name: self._convert(part, used, depth, _NOBODY, inside) for name, part in parts.items()
        }

    def _reference(
        self,
        reference: str,
        schema: dict[str, Any],
        used: set[str],
        depth: int,
        hidden: frozenset[str],
        inside: tuple[str, ...],
    ) -> dict[str, Any]:
        try:
            out = self._reference_to(reference)
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
        used.add(out["$ref"][_INSIDE:])
        if len(schema) > 1 and not self._siblings:
            # Beside a reference nothing counted until 3.1, but many describe it there.
            if description := clean(schema.get("description"), _DESCRIPTION_LIMIT):
                out = {**out, "description": description}
            if schema.get("nullable") is True or schema.get("x-nullable") is True:
                return _nullable(dict(out))
        return out

    def _items(
        self, value: Any, out: dict[str, Any], used: set[str], depth: int, inside: tuple[str, ...]
    ) -> None:
        if isinstance(value, list):  # before 2020-12 this is how tuples were written
            if value:
                parts = [self._convert(v, used, depth + 1, _NOBODY, inside) for v in value]
                out["prefixItems"] = parts
        elif isinstance(value, (dict, bool)):
            out["items"] = self._convert(value, used, depth + 1, _NOBODY, inside)

    def _read_only_names(self, schema: Any) -> frozenset[str]:
        """Names of properties that only answers have, in any part of `schema`."""
        names: list[str] = []
        for part in self._parts(schema):
            properties = part.get("properties")
            if properties.__class__ is dict:
                for name, value in properties.items():
                    if value.__class__ is dict and (
                        value.get("readOnly") is True
                        or (("$ref" in value or "allOf" in value) and self._read_only(value))
                    ):
                        names.append(name)
        return frozenset(names) if names else _NOBODY

    def _read_only(self, schema: dict[str, Any]) -> bool:
        reference = schema.get("$ref")
        if not isinstance(reference, str) or "allOf" in schema:
            return any(part.get("readOnly") is True for part in self._parts(schema))
        known = self._read_only_targets.get(reference)
        if known is None:
            parts = self._parts({"$ref": reference})
            known = any(part.get("readOnly") is True for part in parts)
            self._read_only_targets[reference] = known
        return known

    def _parts(self, schema: Any) -> Iterable[dict[str, Any]]:
        """`schema` and all that it is made of, through `$ref` and `allOf`, each shared one once."""
        if schema.__class__ is dict and "$ref" not in schema and "allOf" not in schema:
            return (schema,)
        return self._all_parts(schema)

    def _all_parts(self, schema: Any) -> Iterator[dict[str, Any]]:
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


def cursor_of(operation: Operation) -> tuple[str, Pagination | None]:
    """The argument that takes a cursor, and how its pages are walked, if they are."""
    decided = operation.classification.pagination
    if not decided or decided.get("parameter") not in operation.schema["properties"]:
        return _CURSOR, None
    pagination = cast("Pagination", decided)
    taken = _CURSOR in operation.schema["properties"] and pagination["parameter"] != _CURSOR
    return (f"page_{_CURSOR}" if taken else _CURSOR), pagination


def _versions(operation: Operation) -> list[str]:
    return [
        parameter["argument"]
        for parameter in operation.request_plan["parameters"]
        if parameter["location"] == "header" and parameter["name"].lower() == "if-match"
    ]


def tool_schema(operation: Operation) -> dict[str, Any]:
    """The input schema as the model sees it: without what the executor fills in.

    That are the arguments bound to the customer, and the version that `If-Match` names.

    Where pages are walked, one cursor stands for the argument that asks for a page.
    """
    hidden = {*operation.classification.bindings, *_versions(operation)}
    cursor, pagination = cursor_of(operation)
    if pagination is not None:
        hidden.add(pagination["parameter"])
    schema = without(operation.schema, hidden)
    if pagination is not None:
        schema["properties"] = {**schema["properties"], cursor: _CURSOR_SCHEMA}
    return schema


def tokens_of(operation: Operation, schema: Mapping[str, Any]) -> int:
    """About how many tokens a model reads the tool as: its name, its words and its schema.

    Four bytes a token, as OpenAI's tokenizers have it for English and JSON; an estimate.
    """
    words = len(operation.tool_name) + len(operation.description or operation.key)
    return (size_of(schema) + words + _WRAPPING) // 4


_WRAPPING = 60
"""Bytes of what is around each function in a request."""
