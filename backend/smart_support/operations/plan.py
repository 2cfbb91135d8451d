"""One operation's parameters and body into arguments: their schema, and how each one is sent."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

import orjson

from smart_support.operations.document import Document, Unusable
from smart_support.operations.encodings import FILE_SCHEMA, EncodingReader
from smart_support.operations.records import BodyPlan, EncodingPlan, Location, ParameterPlan
from smart_support.operations.schema import Schemas
from smart_support.operations.text import clean

BODY = "body"
"""The argument that becomes the request's body, whatever its shape."""
IDEMPOTENCY_HEADERS = {"idempotency-key", "x-idempotency-key"}

_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_JSON = "application/json"
_SENT = {"query", "cookie", "querystring"}
_PLACES = {
    place.lower(): place
    for place in ("body", "cookie", "formData", "header", "path", "query", "querystring")
} | {"formData": "formData"}
_UNDESCRIBED: Mapping[str, Any] = {"type": "string", "schema": {"type": "string"}}
_STYLES = {
    "path": {"simple", "label", "matrix"},
    "query": {"form", "spaceDelimited", "pipeDelimited", "deepObject"},
    "header": {"simple"},
    "cookie": {"form", "cookie"},
}
_DEFAULT_STYLE = {"path": "simple", "query": "form", "header": "simple", "cookie": "form"}
_COLLECTION_STYLES = {
    "csv": "form", "multi": "form", "ssv": "spaceDelimited", "tsv": "tabDelimited",
    "pipes": "pipeDelimited",
}  # fmt: skip

# Headers that say who speaks, to whom and how the message is framed, or that turn one method
# into another. They are the executor's alone.
_OWN_HEADERS = {
    "accept", "authorization", "connection", "content-length", "content-type", "cookie", "date",
    "expect", "forwarded", "host", "http2-settings", "keep-alive", "te", "trailer",
    "transfer-encoding", "upgrade", "via", "x-http-method", "x-http-method-override",
    "x-method-override", "x-original-url", "x-real-ip", "x-rewrite-url",
}  # fmt: skip
_OWN_PREFIXES = ("x-forwarded-", "proxy-", "sec-")
# Names that say that the value is a credential, whether or not the document has a scheme for it.
_CREDENTIAL_HEADER = re.compile(
    r"(?:.*[-_])?(?:api[-_]?(?:key|token|secret)|(?:auth|access|security|session)[-_]?(?:token|key)"
    r"|(?:client|app)[-_]?secret|authorization)"
)
_PARTS = 7
"""The rank of bodies of several parts that are no form."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TEMPLATE = re.compile(r"\{([?&+#./;])([^{}/]+)\}|\{()([^{}/]+\*)\}")
_VARIABLE = re.compile(r"\{([^{}/]+)\}")
_PRINTABLE = re.compile(r"[\x20-\x7e]+")
_TEXTUAL = re.compile(r"xml|json|yaml|csv|javascript|graphql|html|sql|text")
_MINOR = re.compile(r"3\.(\d+)")


_Parameter = tuple[Mapping[str, Any], Any, set[str], ParameterPlan]
"""A parameter, its schema, what that refers to, and how it is sent under its own name."""


def is_own_header(name: str) -> bool:
    """Whether no argument may ever set the header `name`."""
    lower = name.lower()
    return (
        lower in _OWN_HEADERS
        or lower.startswith(_OWN_PREFIXES)
        or _CREDENTIAL_HEADER.fullmatch(lower) is not None
    )


@dataclass(slots=True)
class Arguments:
    """What one operation takes, collected part by part."""

    properties: dict[str, Any] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    definitions: set[str] = field(default_factory=set)
    parameters: list[ParameterPlan] = field(default_factory=list)
    body: BodyPlan | None = None
    idempotency_header: str | None = None
    path: str | None = None
    """The template with nothing but names in it, if there are any."""

    def add(self, name: str, schema: Any, *, required: bool) -> None:
        """Offer the argument `name`."""
        self.properties[name] = schema
        if required:
            self.required.append(name)


class ArgumentReader:
    """Reads the arguments of one document's operations.

    `credentials`: `(in, name)` of what security schemes send; header names in lower case.
    """

    def __init__(
        self, document: Document, schemas: Schemas, credentials: set[tuple[str, str]]
    ) -> None:
        self._document = document
        self._schemas = schemas
        self._credentials = credentials
        self._swagger = document.swagger
        self._encodings = EncodingReader(document, schemas, self._is_executors)
        # Until 3.1 `allowReserved` spoke of the query alone.
        minor = _MINOR.match(document.dialect)
        self._reserved = (
            {"query", "querystring", "path", "cookie"} if minor and int(minor[1]) > 1 else {"query"}
        )
        # One that is shared, or written again with the same words, is converted once.
        self._known: dict[tuple[int, str], _Parameter] = {}
        self._alike: dict[bytes, _Parameter] = {}
        self._inherited: tuple[Any, dict[tuple[str, str], Mapping[str, Any]]] = (None, {})

    def read(
        self,
        path: str,
        path_item: Mapping[str, Any],
        operation: Mapping[str, Any],
    ) -> Arguments:
        """The arguments of one operation.

        Raises:
            Unusable: with the reason.
        """
        own = self._parameters(operation.get("parameters"))
        shared = path_item.get("parameters")
        if shared is not self._inherited[0]:
            self._inherited = (shared, self._parameters(shared))
        merged = self._inherited[1] | own if shared else own
        places = [place for place, _ in merged]
        if places.count("body") > 1:
            raise Unusable("it has more than one body parameter")
        arguments = Arguments()
        if "{" in path:
            path = arguments.path = _plain_template(path, merged)
        variables = dict.fromkeys(_VARIABLE.findall(path)) if "{" in path else {}
        sent = {
            at: parameter
            for at, parameter in merged.items()
            if self._is_sent(*at, variables, arguments)
        }
        for name in variables:  # needed even where the document forgot to describe it
            if ("path", name) not in sent:
                sent["path", name] = _UNDESCRIBED
        for at, argument in _argument_names(sent).items():
            self._add_parameter(arguments, at, argument, sent[at])
        body = operation.get("requestBody")
        if (body is None or self._swagger) and ("body" in places or "formData" in places):
            self._add_swagger_body(arguments, operation, merged)
        elif body is not None:
            self._add_body(arguments, body)
        return arguments

    def _parameters(self, listed: Any) -> dict[tuple[str, str], Mapping[str, Any]]:
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for entry in listed if isinstance(listed, list) else ():
            parameter = entry
            if isinstance(entry, dict) and "$ref" in entry:
                parameter = self._document.resolved(entry)
            if not isinstance(parameter, dict):
                continue
            place, name = parameter.get("in"), parameter.get("name")
            if not isinstance(place, str) or not isinstance(name, (str, int, float)):
                continue
            at = (_PLACES.get(place) or _PLACES.get(place.strip().lower(), place), str(name))
            if at in found and found[at] != parameter:
                raise Unusable(
                    f"it has two different parameters {clean(name, 80)!r} in its {place}"
                )
            found[at] = parameter
        return found

    def _is_sent(
        self,
        place: str,
        name: str,
        variables: Mapping[str, None],
        arguments: Arguments,
    ) -> bool:
        if place == "path":
            return name in variables
        if place == "header":
            if name.lower() in IDEMPOTENCY_HEADERS:
                arguments.idempotency_header = name
                return False
            return not self._is_executors(name) and _TOKEN.fullmatch(name) is not None
        return place in _SENT and (place, name) not in self._credentials

    def _is_executors(self, header: str) -> bool:
        """Whether no argument may set it. Names of headers do not depend on case."""
        return ("header", header.lower()) in self._credentials or is_own_header(header)

    def _add_parameter(
        self,
        arguments: Arguments,
        at: tuple[str, str],
        argument: str,
        parameter: Mapping[str, Any],
    ) -> None:
        converted = self._known.get((id(parameter), at[1]))
        if converted is None or converted[0] is not parameter:
            try:
                content = orjson.dumps([at, parameter])
            except orjson.JSONEncodeError:  # half a character, which costs the operation later
                content = b""
            converted = self._alike.get(content)
            if converted is None or not content:
                converted = self._alike[content] = self._convert_parameter(at, parameter)
            self._known[id(parameter), at[1]] = (parameter, *converted[1:])
        _, schema, used, plan = converted
        arguments.definitions |= used
        arguments.add(argument, schema, required=plan["required"])
        if argument != plan["argument"]:
            plan = plan.copy()
            plan["argument"] = argument
        arguments.parameters.append(plan)

    def _convert_parameter(self, at: tuple[str, str], parameter: Mapping[str, Any]) -> "_Parameter":
        place, name = at
        media_type, source = self._parameter_schema(parameter)
        schema, used = self._schemas.convert(source)
        if "description" in parameter:
            schema = _described(schema, parameter["description"])
        style, explode = self._style(place, parameter)
        plan: ParameterPlan = {
            "argument": name,
            "name": name,
            "location": cast("Location", "query" if place == "querystring" else place),
            "style": style,
            "explode": explode,
            "allow_reserved": parameter.get("allowReserved") is True and place in self._reserved,
            "media_type": media_type,
            "required": place == "path" or parameter.get("required") is True,
        }
        # A version that nobody has seen would let a write pass that was to be held up.
        versioned = place == "header" and name.lower() == "if-match"
        if plan["required"] and not versioned and (default := self._default(source)) is not None:
            plan["required"], plan["default"] = False, default
        if place == "querystring":
            plan["style"], plan["media_type"] = "querystring", media_type or _FORM
            if encodings := self._query_encodings(parameter, source):
                plan["encoding"] = encodings
        return parameter, schema, used, plan

    def _default(self, schema: Any) -> Any:
        """What a parameter is if nobody says; of a required one nobody has to then."""
        try:
            schema = self._document.resolved(schema)
        except Unusable:
            return None  # said where the schema is converted
        return schema.get("default") if isinstance(schema, dict) else None

    def _query_encodings(
        self, parameter: Mapping[str, Any], source: Any
    ) -> dict[str, EncodingPlan]:
        content = parameter.get("content")
        media = next(iter(content.values()), None) if isinstance(content, dict) else None
        media = self._document.resolved(media)
        given = media.get("encoding") if isinstance(media, dict) else None
        if not isinstance(given, dict):
            return {}
        properties = self._encodings.properties(source)
        return self._encodings.by_name(properties, given, multipart=False)

    def _parameter_schema(self, parameter: Mapping[str, Any]) -> tuple[str | None, Any]:
        if self._swagger:
            return None, {
                k: v for k, v in parameter.items() if k not in {"required", "description"}
            }
        content = parameter.get("content")
        if isinstance(content, dict) and content:
            media_type, media = next(iter(content.items()))
            media = self._document.resolved(media)
            return _essence(media_type), media.get("schema") if isinstance(media, dict) else None
        return None, parameter.get("schema", {"type": "string"})

    def _style(self, place: str, parameter: Mapping[str, Any]) -> tuple[str, bool]:
        style, explode = parameter.get("style"), parameter.get("explode")
        style = style if isinstance(style, str) else None
        if self._swagger:
            how = parameter.get("collectionFormat", "csv")
            style = _COLLECTION_STYLES.get(how) if isinstance(how, str) else None
            explode = how == "multi"
            if place in {"path", "header"} and style == "form":
                style = "simple"
        elif place in _STYLES and style not in _STYLES[place]:
            style = _DEFAULT_STYLE[place]
        style = style if isinstance(style, str) else _DEFAULT_STYLE.get(place, "form")
        # OpenAPI 3: exploded unless said otherwise where the style is form, and only there
        # (3.2 adds its style cookie).
        return style, explode if isinstance(explode, bool) else style in {"form", "cookie"}

    def _add_body(self, arguments: Arguments, source: Any) -> None:
        body = self._document.resolved(source)
        content = body.get("content") if isinstance(body, dict) else None
        if not isinstance(content, dict) or not content:
            return
        ranked = [
            (rank, t)
            for t, media in content.items()
            if (rank := _rank(str(t))) is not None and (rank != _PARTS or _describes(media))
        ]
        if not ranked:
            offered = ", ".join(clean(t, 80) for t in content)
            raise Unusable(f"its body can only be sent as {offered}, which is not supported")
        media_type = min(ranked, key=_by_rank)[1]
        media = self._document.resolved(content[media_type])
        media = media if isinstance(media, dict) else {}
        self._set_body(
            arguments,
            media_type=str(media_type),
            source=media.get("schema"),
            required=body.get("required") is True,
            description=body.get("description"),
            media=media,
        )

    def _add_swagger_body(
        self,
        arguments: Arguments,
        operation: Mapping[str, Any],
        parameters: Mapping[tuple[str, str], Mapping[str, Any]],
    ) -> None:
        fields = {name: part for (place, name), part in parameters.items() if place == "formData"}
        bodies = [part for (place, _), part in parameters.items() if place == "body"]
        if fields and bodies:
            raise Unusable("it has both a body parameter and form fields")
        consumes = operation.get("consumes", self._document.root.get("consumes"))
        offered = [t for t in consumes if isinstance(t, str)] if isinstance(consumes, list) else []
        if bodies:
            ranked = [(rank, t) for t in offered if (rank := _rank(t)) is not None]
            ranked = [pair for pair in ranked if _essence(pair[1]) not in {_FORM, _MULTIPART}]
            if offered and not ranked:
                # Bodies are never forms in 2.0; documents that say so mean their form fields only.
                ranked = [(0, _JSON)]
            self._set_body(
                arguments,
                media_type=min(ranked, key=_by_rank)[1] if ranked else _JSON,
                source=bodies[0].get("schema"),
                required=bodies[0].get("required") is True,
                description=bodies[0].get("description"),
                media={},
            )
        elif fields:
            files = any(part.get("type") == "file" for part in fields.values())
            multipart = files or (
                _MULTIPART in map(_essence, offered) and _FORM not in map(_essence, offered)
            )
            self._set_body(
                arguments,
                media_type=_MULTIPART if multipart else _FORM,
                source={
                    "type": "object",
                    "properties": {n: _form_field(part) for n, part in fields.items()},
                    "required": [n for n, part in fields.items() if part.get("required") is True],
                },
                required=any(part.get("required") is True for part in fields.values()),
                description=None,
                media={
                    "encoding": {
                        name: dict(
                            zip(("style", "explode"), self._style("query", part), strict=True)
                        )
                        for name, part in fields.items()
                        if part.get("type") == "array" and part.get("items") != {"type": "file"}
                    }
                },
            )

    def _set_body(
        self,
        arguments: Arguments,
        *,
        media_type: str,
        source: Any,
        required: bool,
        description: Any,
        media: Mapping[str, Any],
    ) -> None:
        rank = _rank(media_type)
        plan = BodyPlan(
            argument=BODY,
            media_type=_JSON if rank == 2 else media_type,
            required=required,
            binary=False,
            encoding={},
        )
        schema, used = self._schemas.convert(source if source is not None else {})
        if hidden := self._schemas.read_only(source):
            plan["read_only"] = sorted(hidden)
        if inside := self._schemas.read_only_inside(source):
            plan["read_only_inside"] = inside
        if rank in {3, 4, _PARTS}:
            multipart = rank != 3
            encodings = media.get("encoding")
            encodings = encodings if isinstance(encodings, dict) else {}
            properties = self._encodings.properties(source)
            plan["encoding"] = self._encodings.by_name(properties, encodings, multipart=multipart)
            written = EncodingPlan(encoding=plan["encoding"])
            if multipart:
                self._add_part_headers(arguments, properties, encodings)
            if rank == _PARTS and not properties:
                plan["positions"] = self._encodings.by_position(source, media)
                written["positions"] = plan["positions"]
            schema, used = self._encodings.with_files(source, schema, used, written)
        elif rank == 5 or (rank == 6 and _is_textual(media_type)):
            if not (isinstance(schema, dict) and schema.get("type") == "string"):
                schema, used = (
                    {"type": "string", "description": f"Text of type {media_type}."},
                    set(),
                )
        elif rank == 6:
            plan["binary"] = True
            schema, used = dict(FILE_SCHEMA), set()
        arguments.definitions |= used
        arguments.body = plan
        arguments.add(BODY, _described(schema, description), required=required)

    def _add_part_headers(
        self, arguments: Arguments, properties: Mapping[str, Any], encodings: Mapping[str, Any]
    ) -> None:
        """Offer the headers of a body's parts that have more than one possible value."""
        for name in properties:
            for plan, schema, used in self._encodings.arguments(name, encodings.get(name)):
                argument = plan["argument"]
                if argument in arguments.properties or argument == BODY:
                    argument = f"{argument}__{name}"
                while argument in arguments.properties:
                    argument += "_"
                plan["argument"] = argument
                arguments.definitions |= used
                # Whether it is needed depends on whether its part is sent.
                arguments.add(argument, schema, required=False)
                arguments.parameters.append(plan)


def _plain_template(path: str, merged: dict[tuple[str, str], Mapping[str, Any]]) -> str:
    """`path` without RFC 6570's operators, which some documents write; adds what they name."""

    def plain(match: re.Match[str]) -> str:
        operator, names = match[1] or "", match[2] or match[4]
        if operator in {"?", "&"}:
            for name in names.split(","):
                merged.setdefault(("query", name.strip("*")), _UNDESCRIBED)
            return ""
        name = names.strip("*")
        # Not if the document means it: a parameter with that very name.
        return match[0] if ("path", f"{operator}{names}") in merged else f"{{{name}}}"

    return _TEMPLATE.sub(plain, path)


def _argument_names(sent: Mapping[tuple[str, str], Any]) -> dict[tuple[str, str], str]:
    """`name`, or `name__location` where several parameters share a name (or take the body's)."""
    names = {at: at[1] for at in sent}
    if len({BODY, *names.values()}) > len(names):
        return names
    counts = Counter(name for _, name in sent)
    counts[BODY] += 1
    taken = {BODY}
    for at in sent:
        place, name = at
        argument = name if counts[name] == 1 else f"{name}__{place}"
        while argument in taken:
            argument += "_"
        taken.add(argument)
        names[at] = argument
    return names


def _described(schema: Any, description: Any) -> Any:
    text = clean(description, 700)
    if not text or not isinstance(schema, dict):
        return schema
    return {**schema, "description": text}


@lru_cache(maxsize=1024)
def _essence(media_type: Any) -> str:
    return str(media_type).partition(";")[0].strip().lower()


def _by_rank(ranked: tuple[int, str]) -> int:
    return ranked[0]


@lru_cache(maxsize=1024)
def _rank(media_type: str) -> int | None:
    """How gladly a body of this type is built from arguments; lower is better, None is never."""
    essence = _essence(media_type)
    if essence == _JSON:
        return 0
    if essence.endswith("+json"):
        return 1
    if essence in {"*/*", "application/*"}:
        return 2
    if essence == _FORM:
        return 3
    if essence == _MULTIPART:
        return 4
    if essence in {"multipart/mixed", "multipart/related"}:
        return _PARTS
    if essence.startswith("multipart/") or not _PRINTABLE.fullmatch(media_type):
        return None
    return 5 if essence.startswith("text/") else 6


def _describes(media: Any) -> bool:
    return isinstance(media, dict) and isinstance(media.get("schema"), dict)


def _form_field(part: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in part.items() if key != "required"}
    return {**kept, "type": "string", "format": "binary"} if part.get("type") == "file" else kept


def _is_textual(media_type: str) -> bool:
    return _TEXTUAL.search(media_type) is not None
