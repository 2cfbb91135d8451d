"""How the parts of a form are written: media types, styles, files, and what is inside of them.

Sources: OpenAPI 3.0.4, 3.1.1 and 3.2.0, "Encoding Object"; RFC 7578.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from smart_support.operations.document import Document, Unresolved
from smart_support.operations.part_headers import TOP, Found, HeaderReader, Place
from smart_support.operations.records import EncodingPlan
from smart_support.operations.schema import Schemas
from smart_support.operations.text import clean

FILE_SCHEMA: Mapping[str, Any] = {
    "anyOf": [
        {"type": "string", "description": "The content, if it is text."},
        {
            "type": "object",
            "properties": {
                "base64": {"type": "string", "contentEncoding": "base64"},
                "filename": {"type": "string"},
            },
            "required": ["base64"],
            "additionalProperties": False,
        },
    ]
}

_FILE_TYPES = ("image/", "audio/", "video/", "application/octet-stream", "application/pdf")
_PRINTABLE = re.compile(r"[\x20-\x7e]+")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# A schema that has none of these says nothing of what its value is.
_SAYS_WHAT = {
    "type", "properties", "items", "prefixItems", "additionalProperties", "allOf", "anyOf",
    "oneOf", "enum", "const", "$ref", "not", "format", "example", "default",
}  # fmt: skip
_FORM = "application/x-www-form-urlencoded"
_LISTS = {"items", "prefixItems"}


class EncodingReader:
    """Reads the Encoding Objects of one document.

    `is_own_header` says which headers no argument may ever set.
    """

    def __init__(
        self, document: Document, schemas: Schemas, is_own_header: Callable[[str], bool]
    ) -> None:
        self._document = document
        self._schemas = schemas
        self._headers = HeaderReader(schemas, is_own_header, self._followed)
        # Until 3.0 every schema was written for JSON, so that one without a type meant nothing.
        self._raw_without_type = not document.dialect.startswith(("2", "3.0"))

    def properties(self, schema: Any) -> dict[str, Any]:
        """The properties of a form's schema, through references and compositions."""
        found: dict[str, Any] = {}
        waiting, seen = [schema], set[str]()
        while waiting:
            part = waiting.pop(0)
            reference = part.get("$ref") if isinstance(part, dict) else None
            if isinstance(reference, str):
                if reference in seen:
                    continue
                seen.add(reference)
                part = self._followed(part)
            if not isinstance(part, dict):
                continue
            own = part.get("properties")
            found = (own if isinstance(own, dict) else {}) | found
            for key in ("allOf", "anyOf", "oneOf"):
                more = part.get(key)
                waiting.extend(more if isinstance(more, list) else ())
        return found

    def by_name(
        self, properties: Mapping[str, Any], given: Mapping[str, Any], *, multipart: bool
    ) -> dict[str, EncodingPlan]:
        """How each property is written; one that is written as usual is left out."""
        plans = {
            name: self.one(properties.get(name), given.get(name), multipart=multipart, each=True)
            for name in {**properties, **given}
        }
        return {name: plan for name, plan in plans.items() if plan}

    def by_position(self, schema: Any, media: Mapping[str, Any]) -> list[EncodingPlan]:
        """How each item of a list is written whose parts have no names; the last goes on."""
        listed = self._listed(schema, media)
        return [self.one(kind, encoding, multipart=True) for kind, encoding in listed]

    def _listed(self, schema: Any, media: Mapping[str, Any]) -> list[tuple[Any, Any]]:
        """Of each place in such a list its schema and its Encoding Object; the last goes on."""
        schema = self._followed(schema)
        schema = schema if isinstance(schema, dict) else {}
        first, rest = media.get("prefixEncoding"), media.get("itemEncoding")
        first = first if isinstance(first, list) else []
        kinds = schema.get("prefixItems")
        kinds = kinds if isinstance(kinds, list) else []
        others = schema.get("items", {})
        found = [
            (
                kinds[place] if place < len(kinds) else others,
                first[place] if place < len(first) else rest,
            )
            for place in range(max(len(first), len(kinds)))
        ]
        return [*found, (others, rest)]

    def one(
        self, schema: Any, encoding: Any, *, multipart: bool, each: bool = False
    ) -> EncodingPlan:
        """How one value is written; of a list each item, if `each`."""
        encoding = encoding if isinstance(encoding, dict) else {}
        plan = EncodingPlan()
        types: list[str] = []
        # OpenAPI 3.1.1, "Encoding Object": with any of these three, contentType is ignored.
        if any(key in encoding for key in ("style", "explode", "allowReserved")):
            plan["style"] = str(encoding.get("style") or "form")
            explode = encoding.get("explode")
            plan["explode"] = explode if isinstance(explode, bool) else plan["style"] == "form"
            plan["allow_reserved"] = encoding.get("allowReserved") is True
        else:
            content_type = encoding.get("contentType")
            if isinstance(content_type, str) and _PRINTABLE.fullmatch(content_type):
                types = [each.strip() for each in content_type.split(",") if each.strip()]
                if types:
                    plan["content_type"] = types[0]
        if not multipart:
            return plan
        inside = self._inside(schema, encoding, plan, types, each=each)
        if inside:
            plan.update(inside)
        elif self._is_file(schema, None if "style" in plan else plan.get("content_type", "")):
            plan["binary"] = True
            if len(types) > 1 or "*" in plan.get("content_type", ""):
                plan["content_types"] = types
        elif "json" not in plan.get("content_type", "json"):
            # Of several types the one that can be written from any value.
            plan["content_type"] = next((t for t in types if "json" in t), types[0])
        fixed = self._headers.fixed(encoding) | ({} if inside else self._transfer(schema, plan))
        if fixed:
            plan["headers"] = fixed
        return plan

    def _inside(
        self,
        schema: Any,
        encoding: Mapping[str, Any],
        plan: EncodingPlan,
        types: list[str],
        *,
        each: bool,
    ) -> EncodingPlan:
        """How the parts of a part are written; nothing for one that has none, or is a file.

        OpenAPI 3.2.0, "Nested Encoding"; what is nested in turn is read the same way.
        """
        essence = plan.get("content_type", "").partition(";")[0].strip().lower()
        of_parts = essence.startswith("multipart/")
        if len(types) != 1 or not (of_parts or essence == _FORM):
            return EncodingPlan()
        schema = self._item(schema) if each else self._followed(schema)
        if of_parts and isinstance(schema, dict) and _LISTS & schema.keys():
            return EncodingPlan(positions=self.by_position(schema, encoding))
        if self._is_file(schema, essence):
            return EncodingPlan()
        given, properties = encoding.get("encoding"), self.properties(schema)
        given = given if isinstance(given, dict) else {}
        if of_parts and not given and not properties:
            return EncodingPlan(positions=self.by_position(schema, encoding))
        return EncodingPlan(encoding=self.by_name(properties, given, multipart=of_parts))

    def arguments(self, name: str, encoding: Any) -> list[Found]:
        """The headers of the part `name` that the caller gives."""
        return self._headers.of_name(encoding, name)

    def arguments_inside(
        self, schema: Any, media: Mapping[str, Any], plan: EncodingPlan
    ) -> list[Found]:
        """The same of parts that are inside of others or have no name, as `plan` has them."""
        return list(self._inside_of(schema, media, plan, TOP))

    def _inside_of(
        self, schema: Any, given: Mapping[str, Any], plan: EncodingPlan, at: Place
    ) -> Iterator[Found]:
        """Those of a multipart document at `at`, whose Media Type or Encoding Object is `given`."""
        if plan.get("positions"):
            listed = self._listed(schema, given)
            for place, (kind, encoding) in enumerate(listed):
                each = place == len(listed) - 1
                inner = at.position(place, each=each)
                yield from self._of_part(kind, encoding, plan["positions"][place], inner)
            return
        encodings = given.get("encoding")
        encodings = encodings if isinstance(encodings, dict) else {}
        for name, kind in self.properties(schema).items():
            item = self._item(kind)
            inner = at.name(name, each=item is not self._followed(kind))
            yield from self._of_part(
                item, encodings.get(name), plan.get("encoding", {}).get(name, {}), inner
            )

    def _of_part(
        self, schema: Any, encoding: Any, plan: EncodingPlan, at: Place
    ) -> Iterator[Found]:
        if not isinstance(encoding, dict):
            return
        if at.further:
            yield from self._headers.of_place(encoding, at)
        of_parts = plan.get("content_type", "").lower().startswith("multipart/")
        if of_parts and ("encoding" in plan or "positions" in plan):
            yield from self._inside_of(schema, encoding, plan, at)

    def _transfer(self, schema: Any, plan: EncodingPlan) -> dict[str, str]:
        """How a part says that it is text that stands for bytes.

        OpenAPI 3.1.1, "Content-Transfer-Encoding and contentEncoding": the two mean the same.
        """
        schema = self._followed(schema)
        if not isinstance(schema, dict):
            return {}
        kind = schema.get("items") if schema.get("type") == "array" else schema
        kind = self._followed(kind)
        if not isinstance(kind, dict) or plan.get("binary"):
            return {}
        how = kind.get("contentEncoding")
        if isinstance(how, str) and _TOKEN.fullmatch(how):
            plan.setdefault("content_type", "application/octet-stream")
            return {"Content-Transfer-Encoding": how}
        if kind.get("format") == "byte" and kind.get("type") == "string":
            plan.setdefault("content_type", "application/octet-stream")
        return {}

    def _item(self, schema: Any) -> Any:
        """What one part is that is named so: of a list each item."""
        schema = self._followed(schema)
        if isinstance(schema, dict) and schema.get("type") == "array":
            return self._followed(schema.get("items"))
        return schema

    def _followed(self, schema: Any) -> Any:
        try:
            return self._document.resolved(schema)
        except Unresolved:
            return None  # the converted schema says so to the reader

    def _is_file(self, schema: Any, content_type: str | None, depth: int = 0) -> bool:
        """3.0 writes files as `format: binary`, 3.1 as a media type with no encoding of its own."""
        schema = self._followed(schema)
        if not isinstance(schema, dict) or depth > 3:
            return False
        kind = schema.get("type")
        if kind == "array":
            return self._is_file(schema.get("items"), content_type, depth + 1)
        if schema.get("format") == "binary" or kind == "file":
            return True
        if "contentEncoding" in schema:
            return False
        if "contentMediaType" in schema:
            return True
        if (
            kind is None
            and "properties" not in schema
            and (content_type or "").startswith(_FILE_TYPES)
        ):
            return True
        # Since 3.1 what has no type is raw, unless a style makes text of it.
        return content_type == "" and self._raw_without_type and _SAYS_WHAT.isdisjoint(schema)

    def with_files(
        self, source: Any, schema: Any, used: set[str], plan: EncodingPlan
    ) -> tuple[Any, set[str]]:
        """What a body written by `plan` is offered as, with its files as FILE_SCHEMA.

        So are those inside of its parts; what they are in is written out if it was a reference.
        `schema` is what `source` was converted to, and `used` what that refers to.
        """
        offered, known = self._offered(source, schema, used, plan, each=False)
        return offered, used if offered is schema else known & _referred(offered)

    def _offered(
        self, source: Any, schema: Any, used: set[str], plan: EncodingPlan, *, each: bool
    ) -> tuple[Any, set[str]]:
        if plan.get("binary"):
            return file_schema(schema, plan), used
        if not _has_files(plan):
            return schema, used
        if isinstance(source, dict) and isinstance(source.get("$ref"), str):
            schema, more = self._schemas.convert(self._followed(source))
            source, used = self._followed(source), used | more
        if not isinstance(schema, dict) or not isinstance(source, dict):
            return schema, used
        changed = dict(schema)

        def put(into: Any, key: Any, origin: Any, inner: EncodingPlan, *, each: bool) -> None:
            nonlocal used
            into[key], used = self._offered(origin, into[key], used, inner, each=each)

        if each and schema.get("type") == "array":
            if "items" in schema:
                put(changed, "items", source.get("items"), plan, each=False)
            return changed, used
        if isinstance(properties := schema.get("properties"), dict):
            sources, changed["properties"] = self.properties(source), dict(properties)
            for name in properties.keys() & plan.get("encoding", {}).keys():
                put(
                    changed["properties"],
                    name,
                    sources.get(name),
                    plan["encoding"][name],
                    each=True,
                )
        *first, rest = plan.get("positions") or [EncodingPlan()]
        if isinstance(parts := schema.get("prefixItems"), list):
            changed["prefixItems"] = list(parts)
            origins = source.get("prefixItems")
            origins = origins if isinstance(origins, list) else []
            for place, inner in enumerate(first[: len(parts)]):
                origin = origins[place] if place < len(origins) else None
                put(changed["prefixItems"], place, origin, inner, each=False)
        if _has_files(rest):
            changed.setdefault("items", {})
            put(changed, "items", source.get("items", {}), rest, each=False)
        return changed, used


def _has_files(plan: EncodingPlan) -> bool:
    inner = [*plan.get("encoding", {}).values(), *plan.get("positions", [])]
    return plan.get("binary", False) or any(_has_files(each) for each in inner)


def _referred(schema: Any) -> set[str]:
    """The names in `$defs` that a schema refers to, and more where data looks like a reference."""
    if isinstance(schema, list):
        return {name for each in schema for name in _referred(each)}
    if not isinstance(schema, dict):
        return set()
    own = schema.get("$ref")
    names = {own.removeprefix("#/$defs/")} if isinstance(own, str) else set()
    return names | {name for each in schema.values() for name in _referred(each)}


def file_schema(part: Any, plan: EncodingPlan) -> dict[str, Any]:
    """FILE_SCHEMA in the place of `part`: for each of its items, if it is a list."""
    file = _with_types(plan["content_types"]) if "content_types" in plan else dict(FILE_SCHEMA)
    if isinstance(part, dict) and part.get("type") == "array":
        return {**part, "items": file}
    text = clean(part.get("description"), 700) if isinstance(part, dict) else ""
    return {**file, "description": text} if text else file


def _with_types(types: list[str]) -> dict[str, Any]:
    """FILE_SCHEMA for a file that may be of several types, one of which the caller names."""
    text, file = FILE_SCHEMA["anyOf"]
    patterns = [re.escape(each).replace(r"\*", r"[\w.+-]+") for each in types]
    named: dict[str, Any] = {"type": "string", "description": f"One of: {', '.join(types)}."}
    if all("*" not in each for each in types):
        named = {"enum": types}
    else:
        named["pattern"] = f"^({'|'.join(patterns)})$".replace(r"\/", "/").replace(r"\-", "-")
    return {"anyOf": [text, {**file, "properties": {**file["properties"], "content_type": named}}]}
