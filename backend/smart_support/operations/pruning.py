"""Tool schemas in as many bytes as a model should read: first words go, then what lies deepest.

Each shared definition is copied and measured once per way of cutting it, however many operations
of its document use it, and no more of them are looked at than fit.
"""

from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush
from typing import Any

import orjson

SCHEMA_BUDGET = 8_192
"""Bytes of JSON that one tool's schema should not exceed; 3.5 % of real operations would."""
MAX_NESTING = 100
"""Levels of one schema without references; serialisers give up at 254."""

ONE_SCHEMA = {
    "additionalProperties", "contains", "else", "if", "not", "propertyNames", "then",
    "unevaluatedItems", "unevaluatedProperties",
}  # fmt: skip
SCHEMA_LISTS = {"allOf", "anyOf", "oneOf", "prefixItems"}
SCHEMA_MAPS = {"dependentSchemas", "patternProperties", "properties"}
"""Keywords whose values are one schema, a list of them, or schemas by name."""

# With parts left out these would refuse what was valid.
_NEED_DETAILS = {
    "contains", "dependentSchemas", "else", "if", "maxContains", "minContains", "not", "then",
    "unevaluatedItems", "unevaluatedProperties",
}  # fmt: skip
_WORDS = (120, 0)
_LEVELS = (3, 4, 5, 7, 10)
_INSIDE = len("#/$defs/")
_ALL_WORDS = -1

Definition = tuple[Any, Iterable[str]]
"""A schema, and the names of the others that it refers to."""
_Variant = tuple[Any, list[tuple[int, str]], int]
"""A schema as cut, what it refers to and with how many levels left, and its bytes."""


def size_of(schema: Any) -> int:
    """Bytes of `schema` as JSON."""
    return len(orjson.dumps(schema))


class Pruner:
    """Fits schemas that share their definitions, which `definition` gives by name."""

    def __init__(self, definition: Callable[[str], Definition]) -> None:
        self._definition = definition
        self._variants: dict[tuple[str, int, int], _Variant] = {}

    def fit(
        self, own: dict[str, Any], used: Iterable[str], budget: int
    ) -> tuple[dict[str, Any], bool]:
        """`own` with the definitions that it needs, directly or through others, in `$defs`.

        In at most `budget` bytes if that can be had, and whether details were left out. First
        descriptions are shortened, then what lies deepest loses its details: it keeps its name
        and type, so that whatever was valid stays valid. The outermost level is always kept.
        """
        most = 4 * budget  # what is larger does not come down by its words alone
        size = size_of(own)
        whole = self._whole(own, [(MAX_NESTING, name) for name in used], size, _ALL_WORDS, most)
        if whole is not None and whole[1] <= budget:
            return whole[0], False
        if whole is not None and whole[1] <= most:
            for words in _WORDS:
                shorter = self._cut(own, MAX_NESTING, words, budget)
                if shorter is not None:
                    return shorter, False
        for words in _WORDS:
            fitting = None
            for levels in _LEVELS:  # upwards, so that nothing much larger than the budget is copied
                deeper = self._cut(own, levels, words, budget)
                if deeper is None:
                    break
                fitting = deeper
            if fitting is not None:
                return fitting, True
        least = self._cut(own, 2, 0, None)
        assert least is not None
        return least, True

    def _cut(
        self, own: dict[str, Any], levels: int, words: int, most: int | None
    ) -> dict[str, Any] | None:
        """A copy that goes `levels` deep, each reference counting as the level it stands on."""
        references: list[tuple[int, str]] = []
        copied = self._copy(own, levels, words, references)
        whole = self._whole(copied, references, size_of(copied), words, most)
        return None if whole is None or (most is not None and whole[1] > most) else whole[0]

    def _whole(
        self,
        own: dict[str, Any],
        references: Iterable[tuple[int, str]],
        size: int,
        words: int,
        most: int | None,
    ) -> tuple[dict[str, Any], int] | None:
        """`own` with its `$defs`, and its bytes; None if they are more than `most`."""
        # The shallowest use of a definition decides how much of it is kept.
        queue: list[tuple[int, str]] = []
        for left, name in references:
            heappush(queue, (-left, name))
        kept: dict[str, Any] = {}
        while queue:
            if most is not None and size > most:
                return None
            left, name = heappop(queue)
            if name in kept:
                continue
            schema, more, bytes_ = self._variant(name, -left, words)
            kept[name] = schema
            size += bytes_ + len(name) + 4
            for further, needed in more:
                if needed not in kept:
                    heappush(queue, (-further, needed))
        if not kept:
            return own, size
        return {**own, "$defs": {name: kept[name] for name in sorted(kept)}}, size + 11

    def _variant(self, name: str, left: int, words: int) -> _Variant:
        """A definition, cut to what may stand below the level `left` of a reference to it."""
        cutting = left < MAX_NESTING
        at = (name, left if cutting else MAX_NESTING, words)
        variant = self._variants.get(at)
        if variant is None:
            schema, needs = self._definition(name)
            if words == _ALL_WORDS:
                more = [(MAX_NESTING, needed) for needed in needs]
            else:
                more = []
                depth = left - 1 if cutting else MAX_NESTING
                schema = self._copy(schema, depth, words, more)
            variant = self._variants[at] = (schema, more, size_of(schema))
        return variant

    def _copy(self, node: Any, left: int, words: int, references: list[tuple[int, str]]) -> Any:
        """`node` with `left` more levels, of MAX_NESTING all; what it refers to is added."""
        if not isinstance(node, dict):
            return node
        out: dict[str, Any] = {}
        cutting, composite = left < MAX_NESTING, False
        below = left - 1 if cutting else left
        for key, value in node.items():
            if cutting and key in _NEED_DETAILS:
                continue
            if key in SCHEMA_MAPS:
                composite = True
                if left > 0:
                    out[key] = {
                        name: self._copy(part, below, words, references)
                        for name, part in value.items()
                    }
            elif key == "description":
                if words:
                    out[key] = _shorter(value, words)
            elif key == "$ref":
                name = value[_INSIDE:]
                if left > 0:
                    references.append((left, name))
                    out[key] = value
                else:
                    target = self._definition(name)[0]
                    if isinstance(target, dict) and "type" in target:
                        out["type"] = target["type"]
            elif key in SCHEMA_LISTS:
                composite = True
                # Parts that lost details overlap, and oneOf would refuse what fits two of them.
                kind = "anyOf" if cutting and key == "oneOf" else key
                if (kind == key or kind not in node) and left > 0:
                    out[kind] = [self._copy(part, below, words, references) for part in value]
            elif key in ONE_SCHEMA or key == "items":
                composite = composite or isinstance(value, dict)
                if left > 0 or not isinstance(value, dict):
                    out[key] = self._copy(value, below, words, references)
            elif words or not (key == "default" or (key == "enum" and len(value) > 20)):
                out[key] = value
        if composite and left <= 0:
            return {key: out[key] for key in ("type", "description") if key in out}
        return out


def _shorter(text: str, words: int) -> str:
    return text if len(text) <= words else text[: words - 1].rstrip() + "…"


def fit(schema: Mapping[str, Any], budget: int = SCHEMA_BUDGET) -> tuple[dict[str, Any], bool]:
    """A schema with its own `$defs` in at most `budget` bytes; see `Pruner.fit`."""
    definitions = schema.get("$defs", {})
    own = {key: value for key, value in schema.items() if key != "$defs"}
    pruner = Pruner(lambda name: (definitions[name], references_of(definitions[name])))
    return pruner.fit(own, references_of(own), budget)


def references_of(schema: Any) -> set[str]:
    """Names in `$defs` that `schema` refers to."""
    found: set[str] = set()
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, dict):
            continue
        for key, value in node.items():
            if key == "$ref":
                found.add(value[_INSIDE:])
            elif key in SCHEMA_MAPS:
                waiting.extend(value.values())
            elif key in SCHEMA_LISTS:
                waiting.extend(value)
            elif key in ONE_SCHEMA or key == "items":
                waiting.append(value)
    return found
