"""The lines of a document that an operation was read from."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

import orjson
import yaml

from smart_support.operations.files import main_text
from smart_support.operations.records import Ground
from smart_support.operations.text import shown

CONTEXT = 3
"""Lines shown before and after."""
MAX_LINES = 400
LONG_LINE = 300
"""Characters; JSON that stands on one line of more than this is indented for reading."""
LONGEST_SHOWN = 2_000
"""Characters of one line."""

Path = tuple[str, ...]
Span = tuple[int, int]
"""Characters before something, and up to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """An excerpt of a document; without lines if it is not known where the operation stands."""

    source: str
    pointer: str
    document_line: int
    """Line of the document, from 1, on which the operation begins."""
    first_line: int
    """Number of the first of `lines`: in the document, or in itself if reformatted."""
    lines: tuple[str, ...]
    highlight_first: int
    """The operation itself is what stands from this line to `highlight_last`."""
    highlight_last: int
    reformatted: bool
    """The document has the operation on one long line, which is indented here."""
    left_out: int
    """Lines of the operation behind the last one shown."""

    def line_of(self, ground: Ground) -> int | None:
        """Number of the shown line that a ground was read from; None if no lines are shown.

        It is the operation's first line if no other says so, as for what its method means.
        """
        if not self.lines:
            return None
        quote = ground.quote.lower()
        own = range(self.highlight_first, self.highlight_last + 1)
        if not ground.place:  # the path stands above what it holds
            above = range(self.highlight_first, self.first_line - 1, -1)
            return next((n for n in above if quote and quote in self._line(n)), own[0])
        holder = re.compile(rf"[\"']?{re.escape(ground.place.lower())}[\"']?\s*:")
        inside = False
        for number in own:  # what a key holds can go on for many lines
            inside = inside or holder.search(self._line(number)) is not None
            if inside and quote in self._line(number):
                return number
        return own[0]

    def _line(self, number: int) -> str:
        return self.lines[number - self.first_line].lower()


def locate(text: str, pointers: Iterable[str]) -> dict[str, Span]:
    """Where what each JSON pointer (`#/a/b`) points at is written, its key included.

    Linear in the text, which must be readable (`read_document`). What is not written at its
    pointer, since a reference leads there, has the place of the nearest thing around it that
    is; without one, it is left out. Lists are not looked into.
    """
    wanted = {pointer: _path(pointer) for pointer in pointers}
    prefixes = {path[:n] for path in wanted.values() for n in range(len(path) + 1)}
    spans = _Reader(prefixes, set(wanted.values())).read(
        _json_tokens(text) if _is_json(text) else _yaml_tokens(text)
    )
    found = {}
    for pointer, path in wanted.items():
        # The nearest thing around it, but never as much as all paths.
        near = (path[:n] for n in range(len(path), min(len(path), 2) - 1, -1))
        if (written := next((each for each in near if each in spans), None)) is not None:
            found[pointer] = spans[written]
    return found


def evidence_of(raw: bytes, *, source: str, pointer: str, place: Span | None) -> Evidence:
    """The lines of `raw` on which the operation stands, and a few around them.

    Args:
        raw: the document.
        source: what it is called.
        pointer: of the operation.
        place: where `locate` found it; None looks for it, which takes CPU.
    """
    text = main_text(raw, source=source)
    place = place or locate(text, [pointer]).get(pointer)
    if place is None:
        return _excerpt(source, pointer, 0, 1, [], (1, 0), left_out=0)
    start, end = place
    end = start + len(text[start:end].rstrip())
    line = text.count("\n", 0, start) + 1
    own = text[start:end].split("\n")
    if len(own) == 1 and len(own[0]) > LONG_LINE and (indented := _indented(own[0])):
        shown = indented[:MAX_LINES]
        left_out = len(indented) - len(shown)
        span = (1, len(shown))
        return _excerpt(source, pointer, line, 1, shown, span, left_out=left_out, reformatted=True)
    before = text[: _line_start(text, start)].split("\n")[-CONTEXT - 1 : -1]
    # The first and the last line in full, also where the operation shares them.
    own[0] = text[_line_start(text, start) : start] + own[0]
    own[-1] += text[end : _line_end(text, end)]
    left_out = max(0, len(own) - MAX_LINES)
    rest = text[_line_end(text, end) + 1 :]
    after = [] if left_out or not rest else rest.split("\n", CONTEXT)[:CONTEXT]
    shown = [*before, *own[:MAX_LINES], *after]
    first = line - len(before)
    span = (line, line + min(len(own), MAX_LINES) - 1)
    return _excerpt(source, pointer, line, first, shown, span, left_out=left_out)


def _excerpt(
    source: str,
    pointer: str,
    document_line: int,
    first_line: int,
    lines: list[str],
    highlight: tuple[int, int],
    *,
    left_out: int,
    reformatted: bool = False,
) -> Evidence:
    return Evidence(
        source=source,
        pointer=pointer,
        document_line=document_line,
        first_line=first_line,
        lines=tuple(
            shown(line) if len(line) <= LONGEST_SHOWN else f"{shown(line[:LONGEST_SHOWN])}…"
            for line in (line.removesuffix("\r") for line in lines)
        ),
        highlight_first=highlight[0],
        highlight_last=highlight[1],
        reformatted=reformatted,
        left_out=left_out,
    )


def _line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _indented(member: str) -> list[str] | None:
    """`"key": value` over several lines; None if it is not JSON."""
    try:
        parsed = orjson.loads(f"{{{member}}}")
    except orjson.JSONDecodeError:
        return None
    lines = json.dumps(parsed, indent=2, ensure_ascii=False).split("\n")
    return [line[2:] for line in lines[1:-1]]


def _path(pointer: str) -> Path:
    _, _, fragment = pointer.partition("#")
    tokens = unquote(fragment).split("/")[1:]
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in tokens)


def _is_json(text: str) -> bool:
    if text.lstrip()[:1] not in {"{", "["}:
        return False
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    else:
        return True
    try:
        json.loads(text, strict=False)  # as careless programs write it
    except (ValueError, RecursionError):  # YAML can begin with a brace too
        return False
    return True


# (kind, text, start, end): `{` and `[` begin a collection, `}` ends one, "" is a value. The end
# is None where the syntax does not mark it; it is then that of what came before.
Token = tuple[str, str, int, int | None]

_JSON_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]|[^\s{}\[\]",:]+')


def _json_tokens(text: str) -> Iterator[Token]:
    for match in _JSON_TOKEN.finditer(text):
        written = match[0]
        if written[0] == '"':
            key = str(json.loads(written, strict=False)) if "\\" in written else written[1:-1]
            yield "", key, match.start(), match.end()
        else:
            kind = "}" if written == "]" else written if written in "{}[" else ""
            yield kind, written, match.start(), match.end()


def _yaml_tokens(text: str) -> Iterator[Token]:
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if event.start_mark is None or event.end_mark is None:  # never, of a text
            continue
        start, end = event.start_mark.index, event.end_mark.index
        match event:
            case yaml.ScalarEvent():
                yield "", event.value, start, end
            case yaml.AliasEvent():
                yield "", "", start, end
            case yaml.MappingStartEvent():
                yield "{", "", start, end
            case yaml.SequenceStartEvent():
                yield "[", "", start, end
            case yaml.CollectionEndEvent():
                yield "}", "", start, end if end > start else None


@dataclass(slots=True)
class _Mapping:
    """A mapping in which something wanted may be."""

    path: Path
    start: int
    key: str | None = None
    key_start: int = 0


class _Reader:
    """Finds the places of some paths in a stream of tokens, and stops when it has them all."""

    def __init__(self, prefixes: set[Path], wanted: set[Path]) -> None:
        self._prefixes = prefixes
        self._missing = wanted

    def read(self, tokens: Iterator[Token]) -> dict[Path, Span]:
        spans: dict[Path, Span] = {}
        stack: list[_Mapping] = []
        last = 0
        for kind, text, start, end in tokens:
            last = end or last
            if kind == "}":
                closed = stack.pop()
                spans[closed.path] = (closed.start, last)
                self._missing.discard(closed.path)
                if not self._missing:
                    break
                continue
            path: Path | None = ()
            begin = start
            if stack:
                top = stack[-1]
                if top.key is None and not kind:
                    top.key, top.key_start = text, start
                    continue
                path = (*top.path, top.key or "")
                begin, top.key = top.key_start, None
            if path not in self._prefixes:
                path = None
            if kind == "{" and path is not None:
                stack.append(_Mapping(path, begin))
                continue
            if kind:
                last = _skip(tokens, last)
            if path is not None:
                spans[path] = (begin, last)
                self._missing.discard(path)
        return spans


def _skip(tokens: Iterator[Token], last: int) -> int:
    """Read to the end of a collection that has just begun; where that end is."""
    depth = 1
    for kind, _, _, end in tokens:
        last = end or last
        if kind:
            depth += 1 if kind != "}" else -1
            if depth == 0:
                break
    return last
