"""Bytes from outside into one OpenAPI document: JSON or YAML, any supported version."""

import hashlib
import json
import math
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar
from urllib.parse import unquote

import orjson
import yaml

from smart_support.errors import Severity, SupportError
from smart_support.operations.duplicates import MOST_TOLD, TWICE, written_twice
from smart_support.operations.records import Skipped
from smart_support.operations.text import clean

DEFAULT_MAX_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 500
"""Levels of nesting; real documents stay below 50."""
MAX_ALIASED_NODES = 1_000_000
"""Nodes that YAML aliases may repeat in all. Repeats share memory, but each is read again."""

_NOTHING: Any = object()
_MAX_HOPS = 20
"""References that may stand in the way of one pointer."""
# What orjson says of JSON that others read.
_BENT = (
    "invalid high surrogate", "invalid low surrogate", "no digit after sign", "no low surrogate",
    "number is infinity", "unexpected character, expected a JSON value",
    "unexpected control character",
)  # fmt: skip

_DIALECT = re.compile(r"(2\.0|3\.\d+)(\.|$)")

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")


class FileEmpty(SupportError):
    """There is nothing in the document."""

    code = "FILE_EMPTY"
    status = 422
    severity = Severity.LOW
    user_message = "The document is empty."

    def __init__(self, source: str) -> None:
        super().__init__(f"{source} is empty; choose the file of an OpenAPI document")


class FileTooLarge(SupportError):
    """More bytes than the configured limit."""

    code = "FILE_TOO_LARGE"
    status = 413
    severity = Severity.LOW
    user_message = "The document is too large."

    def __init__(self, source: str, size: int, max_bytes: int) -> None:
        super().__init__(
            f"{source} has {size} bytes and the limit is {max_bytes}; "
            "import a smaller part of it or raise the limit in the settings"
        )


class FileBroken(SupportError):
    """Neither JSON nor YAML; `line` (from 1) is where reading stopped, if that is known."""

    code = "FILE_BROKEN"
    status = 422
    severity = Severity.LOW
    user_message = "The document could not be read."

    def __init__(self, source: str, problem: str, line: int | None = None) -> None:
        where = f"{source}, line {line}" if line else source
        super().__init__(f"{where}: {problem}; correct it there and import it again")
        self.line = line


class FileTooComplex(SupportError):
    """Small on disk and huge once read: nesting or aliases beyond any real document."""

    code = "FILE_TOO_COMPLEX"
    status = 422
    severity = Severity.MEDIUM
    user_message = "The document is too deeply nested."

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(f"{source}: {problem}; flatten it and import it again")


class FileNotOpenAPI(SupportError):
    """Readable, but no OpenAPI document of a supported version."""

    code = "FILE_NOT_OPENAPI"
    status = 422
    severity = Severity.LOW
    user_message = "That is not an OpenAPI document."

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(
            f"{source}: {problem}; import a Swagger 2.0 or OpenAPI 3.x document, as JSON or YAML"
        )


class Unusable(Exception):
    """One operation cannot be offered. Its text is the reason; it never leaves this package."""


class Unresolved(Unusable):
    """A reference leads to nothing in this document."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it was read: plain data, references still in place.

    References into other files of the same import are written `path#/a/b`, the path counted from
    the import's root; those into the document itself are `#/a/b`.
    """

    root: dict[str, Any]
    dialect: str
    """The version of the description language, e.g. `2.0` or `3.1.0`."""
    source: str
    hash: str
    """SHA-256 of the bytes, hex."""
    remarks: tuple[Skipped, ...] = ()
    """What reading had to leave out."""
    read_only: bool = True
    """Whether any schema may say `readOnly`."""
    files: "Files | None" = None
    _known: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    _anchors: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def swagger(self) -> bool:
        """Whether this is Swagger 2.0."""
        return self.dialect.startswith("2")

    def at(self, reference: str) -> Any:
        """What `reference` (`#/a/b`, RFC 6901) points at, in this document or another file of it.

        Raises:
            Unusable: it points outside of what was imported.
            Unresolved: it points at nothing.
        """
        if reference not in self._known:
            self._known[reference] = self._find(reference, 0)
        return self._known[reference]

    def resolved(self, node: Any) -> Any:
        """`node`, or what it refers to, through any number of references.

        Raises:
            Unusable: see `at`; or the references go round in a circle.
        """
        seen: set[str] = set()
        while isinstance(node, dict) and isinstance(reference := node.get("$ref"), str):
            if reference in seen:
                raise Unresolved(f"{clean(reference, 200)} refers to itself")
            seen.add(reference)
            node = self.at(reference)
        return node

    def _find(self, reference: str, hops: int) -> Any:
        place, _, fragment = reference.partition("#")
        if not fragment.startswith("/") and (place or fragment):
            named = self._named(reference, place, fragment)
            if named is not _NOTHING:
                return named
            fragment = f"/{fragment}" if fragment else ""  # `#components/schemas/A`
        node: Any = self.root if not place else self._file(reference)
        for token in fragment.split("/")[1:]:
            node = self._step(node, token, hops)
            if node is _NOTHING:
                break
        if node is _NOTHING and not place:
            node = self._named(reference, "", fragment)
        if node is _NOTHING:
            raise Unresolved(f"it refers to {clean(reference, 200)}, which is not there")
        return node

    def _step(self, node: Any, token: str, hops: int) -> Any:
        """One token further, through a reference that stands in the way."""
        while True:
            for written in (unquote(token), token):  # not every document encodes its pointers
                key = written.replace("~1", "/").replace("~0", "~")
                if isinstance(node, dict) and key in node:
                    return node[key]
                if isinstance(node, list) and key.isdecimal() and int(key[:9]) < len(node):
                    return node[int(key[:9])]
            reference = node.get("$ref") if isinstance(node, dict) else None
            if not isinstance(reference, str) or hops >= _MAX_HOPS:
                return _NOTHING
            hops += 1
            node = self._find(reference, hops)

    def _file(self, reference: str) -> Any:
        place = reference.partition("#")[0]
        if "://" in place or place.startswith("//"):
            raise Unusable(
                f"it refers to another site ({clean(reference, 200)}), which is not read"
            )
        if self.files is None:
            raise Unusable(
                f"it refers to another file ({clean(reference, 200)}), which is not read; "
                "import the document together with its files"
            )
        return self.files.root(place)

    def _named(self, reference: str, place: str, fragment: str) -> Any:
        """What has this name: an `$anchor`, an `$id`, or a schema written without its place.

        The last are `Pet`, and `#/$defs/Pet` for what some schema has in a `$defs` of its own.
        """
        if not self._anchors:
            self._anchors.update({"": None, **_anchors(self.root)})
        found = self._anchors.get(f"#{fragment}" if not place else reference, _NOTHING)
        if found is _NOTHING and not fragment and not self._anchors.get(place):
            holder = self.root if self.swagger else self.root.get("components")
            schemas = (
                holder.get("definitions" if self.swagger else "schemas", {})
                if isinstance(holder, dict)
                else {}
            )
            found = schemas.get(place, _NOTHING) if isinstance(schemas, dict) else _NOTHING
        return found


def _anchors(root: Any) -> dict[str, Any]:
    """What in `root` can be referred to by a name: `#anchor` and `$id`."""
    found: dict[str, Any] = {}
    waiting, seen = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if not isinstance(node, (dict, list)) or id(node) in seen:
            continue
        seen.add(id(node))  # YAML's aliases can make one node stand in many places
        if isinstance(node, list):
            waiting.extend(node)
            continue
        for key in ("$anchor", "$dynamicAnchor"):
            if isinstance(name := node.get(key), str):
                found.setdefault(f"#{name}", node)
        if isinstance(name := node.get("$id"), str) and name:
            found.setdefault(name, node)
        for key in ("$defs", "definitions"):
            held = node.get(key) if node is not root else None
            for name, schema in held.items() if isinstance(held, dict) else ():
                found.setdefault(f"#/{key}/{name}", schema)
        waiting.extend(node.values())
    return found


class Files:
    """The other files of an import, each read when something first refers to it.

    `content` gives the bytes of the file at a path below the root, None if there is none.
    """

    def __init__(self, main: str, content: Callable[[str], bytes | None]) -> None:
        self._main = main
        self._content = content
        self._roots: dict[str, Any] = {}
        self.remarks: list[Skipped] = []
        """On the files that were read so far."""

    def root(self, path: str) -> Any:
        """The content of the file at `path`, its references counted from the import's root.

        Raises:
            Unusable: it lies outside of the root, or cannot be read.
            Unresolved: there is no such file.
        """
        if path not in self._roots:
            try:
                self._roots[path] = self._read(path)
            except Unusable as unusable:
                self._roots[path] = unusable
        known = self._roots[path]
        if isinstance(known, Unusable):
            raise type(known)(str(known))
        return known

    def _read(self, path: str) -> Any:
        if path.startswith(("/", "..")):
            raise Unusable(
                f"it refers to a file outside of the import ({clean(path, 200)}), which is not read"
            )
        try:
            raw = self._content(path)
            if raw is None:
                raise Unresolved(f"it refers to the file {clean(path, 200)}, which is not there")
            text = decode(raw, path)
            root, remarks = _parse(text, path)
            for told in (*remarks, *written_twice(text)):
                place = f"{clean(path, 200)}, line {told.line}: {told.key}"
                self.remarks.append(replace(told, key=place, line=None))
        except SupportError as error:
            raise Unusable(clean(str(error), 300).rstrip(".")) from error
        self.anchor(root, path)
        return root

    def anchor(self, root: Any, path: str) -> None:
        """Write each reference in the file at `path` as seen from the import's root."""
        waiting, seen = [root], set[int]()
        while waiting:
            node = waiting.pop()
            if isinstance(node, dict):
                if id(node) in seen:
                    continue
                seen.add(id(node))
                reference = node.get("$ref")
                if isinstance(reference, str) and "://" not in reference:
                    node["$ref"] = self._from_root(reference, path)
                waiting.extend(v for v in node.values() if v.__class__ in {dict, list})
            elif isinstance(node, list) and id(node) not in seen:
                seen.add(id(node))
                waiting.extend(v for v in node if v.__class__ in {dict, list})

    def _from_root(self, reference: str, path: str) -> str:
        place, _, fragment = reference.partition("#")
        if place:
            place = unquote(place).replace("\\", "/")
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), place))
        return f"#{fragment}" if path == self._main else f"{path}#{fragment}"


def read_document(
    raw: bytes,
    *,
    source: str,
    max_bytes: int = DEFAULT_MAX_BYTES,
    path: str = "",
    content: Callable[[str], bytes | None] | None = None,
) -> Document:
    """Read one document. CPU-bound; for large ones call it in another process.

    If it may refer to other files, `path` is its own below their root, and `content` gives them.

    Raises:
        FileEmpty, FileTooLarge, FileBroken, FileTooComplex, FileNotOpenAPI: the text says what
            to do about it.
    """
    if len(raw) > max_bytes:
        raise FileTooLarge(source, len(raw), max_bytes)
    text = decode(raw, source)
    if not text.strip():
        raise FileEmpty(source)
    root, remarks = _parse(text, source)
    dialect = _dialect(root, text, source)
    files = Files(path, content) if content else None
    if files:
        files.anchor(root, path)
    return Document(
        root=root,
        dialect=dialect,
        source=source,
        hash=hashlib.sha256(raw).hexdigest(),
        remarks=remarks,
        read_only=files is not None or "readOnly" in text,
        files=files,
    )


def decode(raw: bytes, source: str) -> str:
    """The text of a document, UTF-8 or UTF-16, with or without a mark of its byte order.

    Raises:
        FileBroken: it is neither.
    """
    encoding = "utf-16" if raw[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise FileBroken(source, "this is not UTF-8 text", line) from error


def _parse(text: str, source: str) -> tuple[Any, tuple[Skipped, ...]]:
    if text.lstrip()[:1] in {"{", "["}:
        try:
            return orjson.loads(text), ()
        except orjson.JSONDecodeError as error:
            if "depth" in error.msg:
                raise FileTooComplex(source, "its values are nested too deeply") from error
            if error.msg.startswith(_BENT):
                return _parse_bent(text, source), ()
            # YAML can begin with a brace too, but reading all of a large broken JSON file as
            # YAML takes minutes: only a file that claims to be YAML gets a second try.
            if not source.lower().endswith((".yaml", ".yml")):
                raise FileBroken(source, f"this is not JSON ({error.msg})", error.lineno) from error
    try:
        builder = _YamlBuilder(source)
        return builder.build(text), tuple(builder.remarks)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = f"this is not YAML ({error.problem or error.context})"
        raise FileBroken(source, problem, mark.line + 1 if mark else None) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise FileBroken(source, "there is a character that YAML does not allow", line) from error
    except yaml.YAMLError as error:
        raise FileBroken(source, "this is not YAML") from error


def _parse_bent(text: str, source: str) -> Any:
    """JSON as careless programs write it: NaN, half a character, a number without bounds."""
    try:
        return json.loads(
            text, strict=False, parse_constant=lambda _: None, parse_float=_finite_or_text
        )
    except RecursionError as error:
        raise FileTooComplex(source, "its values are nested too deeply") from error
    except json.JSONDecodeError as error:
        raise FileBroken(source, f"this is not JSON ({error.msg})", error.lineno) from error


def _finite_or_text(written: str) -> float | str:
    number = float(written)
    return number if math.isfinite(number) else written


def _dialect(root: Any, text: str, source: str) -> str:
    if not isinstance(root, dict):
        hint = "this is a web page" if text.lstrip()[:1] == "<" else "there is no object in it"
        raise FileNotOpenAPI(source, hint)
    version = root.get("openapi") or root.get("swagger")
    if version is None:
        raise FileNotOpenAPI(source, _other_format(root))
    dialect = clean(version, 20)
    if not _DIALECT.match(f"{dialect}.0" if dialect in {"2", "3"} else dialect):
        raise FileNotOpenAPI(source, f"it is of version {dialect!r}")
    return dialect


def _other_format(root: dict[str, Any]) -> str:
    for name, marks in {
        "a Postman collection": {"info", "item"},
        "an AsyncAPI document": {"asyncapi"},
        "a JSON Schema": {"$schema"},
    }.items():
        if marks <= root.keys():
            return f"it is {name}"
    return "the field `openapi` (or `swagger`) is missing"


class _YamlBuilder:
    """Plain data from YAML events, by the rules of YAML 1.2's core schema.

    PyYAML's own constructors follow YAML 1.1, where `no` is false, `12:30` is 750 and a date
    is a date; OpenAPI asks for 1.2. Building from events also bounds depth and aliases as it
    goes, keeps keys as the text they are written as (`200:`), and is several times faster.

    Source: YAML 1.2.2, 10.3.2 (tag resolution); OpenAPI 3.1.1, "Format".
    """

    _CONSTANTS: ClassVar[dict[str, Any]] = {
        **dict.fromkeys(("", "~", "null", "Null", "NULL")),
        **dict.fromkeys(("true", "True", "TRUE"), True),
        **dict.fromkeys(("false", "False", "FALSE"), False),
    }
    _INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
    _FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")

    def __init__(self, source: str) -> None:
        self.remarks: list[Skipped] = []
        self._source = source
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._aliased = 0
        self._keys: dict[str, str] = {}
        # Of each mapping that takes over another's keys (`<<`) those that it has not written.
        self._inherited: dict[int, set[str]] = {}

    def build(self, text: str) -> Any:
        """The one document in `text`; None if there is none."""
        documents = 0
        root: Any = None
        # Each open collection: (the collection, its pending key, its anchor, nodes before it).
        stack: list[tuple[Any, str | None, str | None, int]] = []
        container: Any = None
        key: str | None = None
        nodes = 0
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.ScalarEvent):
                nodes += 1
                is_key = type(container) is dict and key is None
                value = event.value if is_key else self._scalar(event)
                if event.anchor:
                    self._anchors[event.anchor] = (value, 1)
            elif isinstance(event, yaml.CollectionStartEvent):
                nodes += 1
                if len(stack) >= MAX_DEPTH:
                    raise FileTooComplex(self._source, "its values are nested too deeply")
                if type(container) is dict and key is None:
                    raise FileBroken(self._source, "a key must be a word, not a list", _line(event))
                stack.append((container, key, event.anchor, nodes))
                if event.anchor:  # a collection cannot hold an alias of itself
                    self._anchors.pop(event.anchor, None)
                container, key = ({} if isinstance(event, yaml.MappingStartEvent) else []), None
                continue
            elif isinstance(event, yaml.CollectionEndEvent):
                value = container
                container, key, anchor, before = stack.pop()
                if anchor:
                    self._anchors[anchor] = (value, nodes - before + 1)
            elif isinstance(event, yaml.AliasEvent):
                value, size = self._alias(event)
                nodes += size
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise FileBroken(self._source, "a second document begins here", _line(event))
                continue
            else:
                continue
            if container is None:
                root = value
            elif type(container) is list:
                container.append(value)
            elif key is None:
                key = self._key(value, event)
            else:
                self._put(container, key, value, event)
                key = None
        return root

    def _alias(self, event: yaml.AliasEvent) -> tuple[Any, int]:
        if event.anchor not in self._anchors:
            raise FileBroken(self._source, f"*{event.anchor} has no value here", _line(event))
        value, size = self._anchors[event.anchor]
        self._aliased += size
        if self._aliased > MAX_ALIASED_NODES:
            raise FileTooComplex(self._source, "its aliases repeat more than a million values")
        return value, size

    def _key(self, value: Any, event: yaml.Event) -> str:
        if isinstance(value, (dict, list)):
            raise FileBroken(self._source, "a key must be a word, not a list", _line(event))
        text = str(value)
        return self._keys.setdefault(text, text)

    def _put(self, mapping: dict[str, Any], key: str, value: Any, event: yaml.Event) -> None:
        if key == "<<" and (merged := self._merged(value)) is not None:
            new = merged.keys() - mapping.keys()
            self._inherited.setdefault(id(mapping), set()).update(new)
            for name in new:
                mapping[name] = merged[name]
            return
        if key in mapping and len(self.remarks) <= MOST_TOLD:
            overridden = self._inherited.get(id(mapping), set())
            if key in overridden:
                overridden.remove(key)
            else:
                self._remark(key, event)
        mapping[key] = value

    def _remark(self, key: str, event: yaml.Event) -> None:
        more = len(self.remarks) == MOST_TOLD
        reason = "More names of the document are written twice." if more else TWICE
        self.remarks.append(Skipped(clean(key, 200), reason, line=_line(event)))

    def _merged(self, value: Any) -> dict[str, Any] | None:
        if isinstance(value, dict):
            return value
        if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
            return {name: part[name] for part in reversed(value) for name in part}
        return None

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        text: str = event.value
        if event.tag == "tag:yaml.org,2002:str" or not event.implicit[0]:
            return text
        if text in self._CONSTANTS:
            return self._CONSTANTS[text]
        if text[0] not in "+-.0123456789":
            return text
        if self._INTEGER.fullmatch(text) and len(text) <= 20:  # 2**64 has twenty digits
            number = int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
            return number if -(2**63) <= number < 2**64 else float(number)
        if self._FLOAT.fullmatch(text):
            value = float(text)
            return value if math.isfinite(value) else text
        return text


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0
