"""One operation's body into one argument: the media type that is chosen, and how it is written.

Sources: OpenAPI 3.0.4, 3.1.1 and 3.2.0, "Request Body Object" and "Media Type Object"; Swagger
2.0, "Parameter Object"; RFC 7464; RFC 8091; jsonlines.org; ndjson.org.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import Any

from smart_support.operations.document import Document, Unresolved, Unusable
from smart_support.operations.encodings import FILE_SCHEMA, EncodingReader
from smart_support.operations.part_headers import Found
from smart_support.operations.records import BodyPlan, EncodingPlan, Framing
from smart_support.operations.schema import Schemas
from smart_support.operations.text import clean

BODY = "body"
"""The argument that becomes the request's body, whatever its shape."""

FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_JSON = "application/json"
_PRINTABLE = re.compile(r"[\x20-\x7e]+")
_TEXTUAL = re.compile(r"xml|json|yaml|csv|javascript|graphql|html|sql|text")
_LINES = {
    "application/jsonl", "application/jsonlines", "application/ndjson", "application/x-jsonl",
    "application/x-jsonlines", "application/x-ndjson", "text/jsonl",
}  # fmt: skip


class Kind(IntEnum):
    """What a media type makes of an argument; the first that a body has is taken."""

    JSON = 0
    JSON_LIKE = 1
    """JSON under a name of its own (`+json`)."""
    ANY = 2
    """A wildcard, sent as JSON."""
    FORM = 3
    MULTIPART = 4
    SEQUENCE = 5
    """JSON texts one after the other."""
    TEXT = 6
    FILE = 7
    PARTS = 8
    """Several parts that are no form."""


@dataclass(frozen=True, slots=True)
class Body:
    """A body as an argument: its schema, what that refers to, and the headers of its parts."""

    plan: BodyPlan
    schema: Any
    used: set[str]
    headers: list[Found] = field(default_factory=list)


class BodyReader:
    """Reads the bodies of one document's operations."""

    def __init__(self, document: Document, schemas: Schemas, encodings: EncodingReader) -> None:
        self._document = document
        self._schemas = schemas
        self._encodings = encodings

    def read(self, source: Any) -> Body | None:
        """What a Request Body Object says; None if that is nothing.

        Raises:
            Unusable: none of its media types can be written.
        """
        body = self._document.resolved(source)
        content = body.get("content") if isinstance(body, dict) else None
        if not isinstance(content, dict) or not content:
            return None
        ranked = [
            (kind, media_type)
            for media_type, media in content.items()
            if (kind := self._kind(str(media_type), media)) is not None
        ]
        if not ranked:
            offered = ", ".join(clean(t, 80) for t in content)
            raise Unusable(f"its body can only be sent as {offered}, which is not supported")
        kind, media_type = min(ranked, key=lambda one: one[0])
        media = self._document.resolved(content[media_type])
        media = media if isinstance(media, dict) else {}
        return self._body(
            kind,
            str(media_type),
            self._whole(media),
            media,
            required=body.get("required") is True,
            description=body.get("description"),
        )

    def read_swagger(
        self,
        operation: Mapping[str, Any],
        parameters: Mapping[tuple[str, str], Mapping[str, Any]],
    ) -> Body | None:
        """What the parameters of Swagger 2.0 say of the body.

        Raises:
            Unusable: they say two things.
        """
        fields = {name: part for (place, name), part in parameters.items() if place == "formData"}
        bodies = [part for (place, _), part in parameters.items() if place == "body"]
        if fields and bodies:
            raise Unusable("it has both a body parameter and form fields")
        consumes = operation.get("consumes", self._document.root.get("consumes"))
        offered = [t for t in consumes if isinstance(t, str)] if isinstance(consumes, list) else []
        if bodies:
            ranked = [(kind, t) for t in offered if (kind := kind_of(t)) is not None]
            ranked = [pair for pair in ranked if essence_of(pair[1]) not in {FORM, _MULTIPART}]
            # Bodies are never forms in 2.0; documents that say so mean their form fields only.
            kind, media_type = min(ranked, key=lambda one: one[0], default=(Kind.JSON, _JSON))
            return self._body(
                kind,
                media_type,
                bodies[0].get("schema"),
                {},
                required=bodies[0].get("required") is True,
                description=bodies[0].get("description"),
            )
        return self._swagger_form(fields, set(map(essence_of, offered))) if fields else None

    def _swagger_form(self, fields: Mapping[str, Mapping[str, Any]], offered: set[str]) -> Body:
        files = any(part.get("type") == "file" for part in fields.values())
        multipart = files or (_MULTIPART in offered and FORM not in offered)
        return self._body(
            Kind.MULTIPART if multipart else Kind.FORM,
            _MULTIPART if multipart else FORM,
            {
                "type": "object",
                "properties": {n: _form_field(part) for n, part in fields.items()},
                "required": [n for n, part in fields.items() if part.get("required") is True],
            },
            {
                "encoding": {
                    name: dict(zip(("style", "explode"), collection_style(part), strict=True))
                    for name, part in fields.items()
                    if part.get("type") == "array" and part.get("items") != {"type": "file"}
                }
            },
            required=any(part.get("required") is True for part in fields.values()),
            description=None,
        )

    def _kind(self, media_type: str, media: Any) -> Kind | None:
        kind, framed = kind_of(media_type), framing_of(media_type) is not None
        if kind not in {Kind.PARTS, Kind.MULTIPART} and not framed:
            return kind
        media = self._followed(media)
        schema = media.get("schema") if isinstance(media, dict) else None
        items = isinstance(media, dict) and _is_schema(media.get("itemSchema"))
        if framed:
            return Kind.SEQUENCE if items or self._is_list(schema) else kind
        if kind == Kind.MULTIPART:
            # The parts of a list have no names, and a form cannot do without (RFC 7578, 4.2).
            return None if items or self._is_list(schema) else kind
        return kind if items or isinstance(schema, dict) else None

    def _is_list(self, schema: Any) -> bool:
        """Whether a schema speaks of the items, and not of the text that they make together.

        OpenAPI 3.2.0, "Sequential Media Types": the items are as if they were in an array.
        """
        schema = self._followed(schema)
        return isinstance(schema, dict) and schema.get("type") in ("array", ["array"])

    def _whole(self, media: Mapping[str, Any]) -> Any:
        """The schema of all that is sent, made of that of an item where there is only that.

        OpenAPI 3.2.0, "Streaming Sequential Media Types": where there are both, both count.
        """
        whole, item = media.get("schema"), media.get("itemSchema")
        if not _is_schema(item):
            return whole
        items = {"type": "array", "items": item}
        whole = self._followed(whole)
        if not isinstance(whole, dict):
            return items
        parts = whole.get("allOf")
        return {**whole, "allOf": [*(parts if isinstance(parts, list) else ()), items]}

    def _followed(self, node: Any) -> Any:
        try:
            return self._document.resolved(node)
        except Unresolved:
            return None  # said where it is used

    def _body(
        self,
        kind: Kind,
        media_type: str,
        source: Any,
        media: Mapping[str, Any],
        *,
        required: bool,
        description: Any,
    ) -> Body:
        plan = BodyPlan(
            argument=BODY,
            media_type=_JSON if kind == Kind.ANY else media_type,
            required=required,
            binary=False,
            encoding={},
        )
        schema, used = self._schemas.convert(source if source is not None else {})
        headers: list[Found] = []
        if hidden := self._schemas.read_only(source):
            plan["read_only"] = sorted(hidden)
        if inside := self._schemas.read_only_inside(source):
            plan["read_only_inside"] = inside
        match kind:
            case Kind.FORM | Kind.MULTIPART | Kind.PARTS:
                schema, used, headers = self._parts(kind, plan, source, media, schema, used)
            case Kind.SEQUENCE:
                framing = framing_of(media_type)
                assert framing is not None
                plan["framing"] = framing
            case Kind.FILE if not _TEXTUAL.search(media_type):
                plan["binary"] = True
                schema, used = dict(FILE_SCHEMA), set()
            case Kind.TEXT | Kind.FILE:
                if not (isinstance(schema, dict) and schema.get("type") == "string"):
                    schema, used = (
                        {"type": "string", "description": f"Text of type {media_type}."},
                        set(),
                    )
        return Body(plan, described(schema, description), used, headers)

    def _parts(
        self,
        kind: Kind,
        plan: BodyPlan,
        source: Any,
        media: Mapping[str, Any],
        schema: Any,
        used: set[str],
    ) -> tuple[Any, set[str], list[Found]]:
        """Say in `plan` how the fields or parts are written; what they are offered as."""
        multipart = kind != Kind.FORM
        encodings = media.get("encoding")
        encodings = encodings if isinstance(encodings, dict) else {}
        properties = self._encodings.properties(source)
        plan["encoding"] = self._encodings.by_name(properties, encodings, multipart=multipart)
        written = EncodingPlan(encoding=plan["encoding"])
        headers: list[Found] = []
        if kind == Kind.PARTS and not properties:
            written["positions"] = self._encodings.by_position(source, media)
            plan["positions"] = written["positions"]
        if multipart:
            for name in properties:
                headers += self._encodings.arguments(name, encodings.get(name))
            headers += self._encodings.arguments_inside(source, media, written)
        schema, used = self._encodings.with_files(source, schema, used, written)
        return schema, used, headers


def _is_schema(value: Any) -> bool:
    return isinstance(value, (dict, bool))


def described(schema: Any, description: Any) -> Any:
    """`schema` with the words that stand beside it."""
    text = clean(description, 700)
    if not text or not isinstance(schema, dict):
        return schema
    return {**schema, "description": text}


@lru_cache(maxsize=1024)
def essence_of(media_type: str) -> str:
    """A media type without its parameters."""
    return media_type.partition(";")[0].strip().lower()


@lru_cache(maxsize=1024)
def kind_of(media_type: str) -> Kind | None:
    """What a media type by its name makes of an argument; None if it cannot be written."""
    essence = essence_of(media_type)
    match essence:
        case "application/json":
            return Kind.JSON
        case "*/*" | "application/*":
            return Kind.ANY
        case "application/x-www-form-urlencoded":
            return Kind.FORM
        case "multipart/form-data":
            return Kind.MULTIPART
        case "multipart/mixed" | "multipart/related":
            return Kind.PARTS
    if essence.endswith("+json"):
        return Kind.JSON_LIKE
    if essence.startswith("multipart/") or not _PRINTABLE.fullmatch(media_type):
        return None
    return Kind.TEXT if essence.startswith("text/") else Kind.FILE


def framing_of(media_type: str) -> Framing | None:
    """How a media type tells one JSON text from the next; None if it is no sequence of them."""
    essence = essence_of(media_type)
    if essence in _LINES:
        return "lines"
    return "records" if essence == "application/json-seq" or essence.endswith("+json-seq") else None


_COLLECTION_STYLES = {
    "csv": "form", "multi": "form", "ssv": "spaceDelimited", "tsv": "tabDelimited",
    "pipes": "pipeDelimited",
}  # fmt: skip


def collection_style(parameter: Mapping[str, Any]) -> tuple[str, bool]:
    """The style that Swagger 2.0's collectionFormat means, and whether it is exploded."""
    how = parameter.get("collectionFormat", "csv")
    style = _COLLECTION_STYLES.get(how) if isinstance(how, str) else None
    return style or "form", how == "multi"


def _form_field(part: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in part.items() if key != "required"}
    return {**kept, "type": "string", "format": "binary"} if part.get("type") == "file" else kept
