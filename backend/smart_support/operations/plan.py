"""One operation's parameters and body into arguments: their schema, and how each one is sent."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import orjson

from smart_support.operations.bodies import (
    BODY,
    FORM,
    Body,
    BodyReader,
    collection_style,
    described,
    essence_of,
)
from smart_support.operations.document import Document, Unusable
from smart_support.operations.encodings import EncodingReader
from smart_support.operations.part_headers import part_name
from smart_support.operations.records import BodyPlan, EncodingPlan, Location, ParameterPlan
from smart_support.operations.schema import Schemas
from smart_support.operations.text import clean

IDEMPOTENCY_HEADERS = {"idempotency-key", "x-idempotency-key"}

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
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TEMPLATE = re.compile(r"\{([?&+#./;])([^{}/]+)\}|\{()([^{}/]+\*)\}")
_VARIABLE = re.compile(r"\{([^{}/]+)\}")
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
        self._bodies = BodyReader(document, schemas, self._encodings)
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
            found = self._bodies.read_swagger(operation, merged)
        else:
            found = self._bodies.read(body) if body is not None else None
        if found is not None:
            self._add_body(arguments, found)
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
            schema = described(schema, parameter["description"])
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
            plan["style"], plan["media_type"] = "querystring", media_type or FORM
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
            return essence_of(str(media_type)), media.get("schema") if isinstance(
                media, dict
            ) else None
        return None, parameter.get("schema", {"type": "string"})

    def _style(self, place: str, parameter: Mapping[str, Any]) -> tuple[str, bool]:
        style, explode = parameter.get("style"), parameter.get("explode")
        style = style if isinstance(style, str) else None
        if self._swagger:
            style, explode = collection_style(parameter)
            if place in {"path", "header"} and style == "form":
                style = "simple"
        elif place in _STYLES and style not in _STYLES[place]:
            style = _DEFAULT_STYLE[place]
        style = style if isinstance(style, str) else _DEFAULT_STYLE.get(place, "form")
        # OpenAPI 3: exploded unless said otherwise where the style is form, and only there
        # (3.2 adds its style cookie).
        return style, explode if isinstance(explode, bool) else style in {"form", "cookie"}

    def _add_body(self, arguments: Arguments, body: Body) -> None:
        arguments.definitions |= body.used
        arguments.body = body.plan
        for header in body.headers:
            self._add_part_header(arguments, *header)
        arguments.add(BODY, body.schema, required=body.plan["required"])

    def _add_part_header(
        self, arguments: Arguments, plan: ParameterPlan, schema: Any, used: set[str]
    ) -> None:
        """Offer a header of one of the body's parts."""
        argument = plan["argument"]
        if argument in arguments.properties or argument == BODY:
            argument = f"{argument}__{part_name(plan)}"
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
