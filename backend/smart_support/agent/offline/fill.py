"""A tool's arguments from what was said and from what tools have answered."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from smart_support.agent.offline import found
from smart_support.agent.offline.tool import READS, Action, Json, Tool, kind, mapping, resolve
from smart_support.agent.offline.words import STOP, label, parts, stem, terms

_MAX_DEPTH = 6
_WHOLE_TEXT = {"message", "text", "comment", "body", "content", "description", "note", "question"}
_SHORT_TEXT = {"subject", "title", "topic"}
_TEXTS = _WHOLE_TEXT | _SHORT_TEXT
_SEARCH = {"q", "query", "search", "keyword", "keywords", "term", "name_contains"}
_MONEY = {"amount", "price", "sum", "value"}
_LEFT = ("refundable", "remaining", "outstanding", "refundable_amount", "amount_refundable")
_NOT_SEARCHED = STOP | frozenset(
    re.findall(
        r"\w+",
        """
    search find looking sell stock product products available there anything something buy
    price cost costs much recommend carry items shop store got list all offer
    """,
    )
)


@dataclass(frozen=True)
class Known:
    """Everything that arguments can come from."""

    texts: tuple[str, ...]
    """What the person wants, and what they answered to questions about it since."""
    answer: str | None = None
    """Their last message, if it answers a question of ours."""
    asked: str | None = None
    """The path of the argument that question was about."""
    earlier: tuple[str, ...] = ()
    """What they said before, latest first."""
    results: tuple[Json, ...] = ()
    """What tools answered, latest first."""
    arguments: tuple[Json, ...] = ()
    """What tools were called with, latest first."""

    @property
    def request(self) -> str:
        """All of `texts` as one."""
        return "\n".join(self.texts)


@dataclass(frozen=True)
class Missing:
    """An argument that nothing gives."""

    path: str
    schema: Json

    @property
    def name(self) -> str:
        """Its own name, without the object it is part of."""
        return self.path.rsplit(".", 1)[-1]


@dataclass(frozen=True)
class Filled:
    """The arguments as far as they are known, and what stands in the way of a call."""

    arguments: dict[str, Any]
    missing: tuple[Missing, ...]


def fill(tool: Tool, known: Known) -> Filled:
    """The arguments of `tool`, by its schema. Optional ones only where they were asked for."""
    missing: list[Missing] = []
    value = _Filling(tool, known, missing).object(tool.schema, "", depth=0)
    return Filled(value, tuple(missing))


class _Filling:
    def __init__(self, tool: Tool, known: Known, missing: list[Missing]) -> None:
        self._tool = tool
        self._known = known
        self._missing = missing
        self._about: set[str] = set()
        """Ids found so far: an amount or a line is taken only from what has one of them."""

    def object(self, schema: Json, path: str, depth: int) -> dict[str, Any]:
        value: dict[str, Any] = {}
        required = schema.get("required") or ()
        properties = mapping(schema.get("properties"))
        # Ids first: they decide where the rest may be taken from.
        for name in sorted(properties, key=lambda name: not name.lower().endswith("id")):
            raw = properties[name]
            inner = resolve(mapping(raw), self._tool.schema)
            here = f"{path}.{name}" if path else name
            needed = name in required
            one = self._value(name, inner, here, needed=needed, depth=depth)
            if one is not None:
                value[name] = one
                if name.lower().endswith("id"):
                    self._about.add(str(one))
            elif needed and not any(each.path.startswith(f"{here}.") for each in self._missing):
                self._missing.append(Missing(here, inner))
        return value

    def _value(self, name: str, schema: Json, path: str, *, needed: bool, depth: int) -> Any:
        if "const" in schema:
            return schema["const"]
        match kind(schema):
            case "object" if depth < _MAX_DEPTH:
                return self._inner(schema, path, needed=needed, depth=depth)
            case "array":
                return self._lines(mapping(schema.get("items")), needed=needed)
            case "boolean":
                asked = set(parts(name)) <= set(parts(self._known.request))
                return True if asked else (schema.get("default") if needed else None)
            case "integer" | "number":
                return self._number(name, schema, path, needed=needed)
            case "string":
                return self._string(name, schema, path, needed=needed)
        return None

    def _inner(self, schema: Json, path: str, *, needed: bool, depth: int) -> Any:
        if not needed:
            # What is missing inside something optional stands in nobody's way.
            inside: list[Missing] = []
            quiet = _Filling(self._tool, self._known, inside)
            quiet._about |= self._about
            value = quiet.object(schema, path, depth + 1)
            return value if value and not inside else None
        value = self.object(schema, path, depth + 1)
        return value or ({} if not schema.get("required") else None)

    def _number(self, name: str, schema: Json, path: str, *, needed: bool) -> Any:
        words = set(parts(name))
        if name.lower().endswith("id") or words & {"number", "no"}:
            identifier = self._identifier(name, schema, path, needed=needed)
            return int(identifier) if identifier and identifier.isdigit() else None
        if words & _MONEY or "cents" in words or "minor" in words:
            return self._money(name, schema, needed=needed)
        if words & {"limit", "count", "size"}:
            wanted = found.count(self._known.request)
            return _within(wanted, schema) if wanted else None
        if not needed:
            return None
        text = self._known.answer if self._known.asked == path else self._known.request
        numbers = re.findall(r"(?<![\w#.])\d+(?![\w.])", found.without_amounts(text or ""))
        # What names a thing counts nothing: `refund order 1002` is no rate of 1002.
        if numbers := [each for each in numbers if each not in self._about]:
            return _within(int(numbers[0]), schema)
        return schema.get("default")

    def _money(self, name: str, schema: Json, *, needed: bool) -> Any:
        described = f"{name} {schema.get('description', '')}".lower()
        minor = kind(schema) == "integer" and bool(re.search(r"minor|cents|pence", described))
        said = found.amounts(self._known.request)
        if not said and self._known.asked and self._known.asked.endswith(name):
            bare = re.search(r"\d+(?:[.,]\d{1,2})?", self._known.answer or "")
            said = [found.Amount(Decimal(bare.group().replace(",", ".")), None)] if bare else []
        if said:
            value = said[-1].value
            exact = value * 100 if minor else value
            return int(exact) if exact == exact.to_integral_value() else float(exact)
        if not needed:
            return None
        for result in self._relevant():
            left = next((result[key] for key in _LEFT if result.get(key) is not None), None)
            if isinstance(left, Mapping):
                left = left.get("minor_units") if minor else left.get("amount")
            if isinstance(left, int | float) and left > 0:
                left = min(left, self._named_lines(result, minor=minor) or left)
                return int(left) if left == int(left) else left
        return None

    def _named_lines(self, thing: Json, *, minor: bool) -> float | None:
        """What the lines cost that the request names; None if it names none or all."""
        rows = [mapping(each) for each in thing.get("lines") or ()]
        said = terms(self._known.request)
        named = [row for row in rows if said & terms(_described(row))]
        costs = [mapping(row.get("total")).get("minor_units") for row in named]
        if len(named) == len(rows) or not all(isinstance(cost, int) for cost in costs):
            return None
        total = sum(cost for cost in costs if isinstance(cost, int))
        return total if minor else total / 100

    def _string(self, name: str, schema: Json, path: str, *, needed: bool) -> Any:
        known = self._known
        words = set(parts(name))
        answered = known.answer if known.asked == path else None
        if known.asked and words & _TEXTS and known.asked.rsplit(".", 1)[-1] in _TEXTS:
            answered = known.answer  # subject and message are asked for as one
        if isinstance(options := schema.get("enum"), list):
            return self._option(name, options, answered, needed=needed)
        if name.lower() in _SEARCH:
            return _searched(known.request, self._tool)
        coded = name.lower().endswith("id") or bool(words & {"number", "sku", "code"})
        if coded and not words & {"postal", "zip", "country"}:
            return self._identifier(name, schema, path, needed=needed)
        if schema.get("format") == "email" or "email" in words:
            match = re.search(r"[\w.+-]+@[\w-]+\.[\w.-]*\w", known.request)
            return match.group() if match else None
        if schema.get("format") == "date":
            match = re.search(r"\b\d{4}-\d{2}-\d{2}\b", known.request)
            return match.group() if match else None
        if name in {"name", "street", "city", "postal_code", "country", "zip", "line1"}:
            return self._part_of_address(name, answered)
        if "reason" in words:
            text = found.reason(known.request) or answered
        elif words & _WHOLE_TEXT:
            text = answered or found.message(known.request)
        elif words & _SHORT_TEXT:
            text = answered or found.message(known.request)
            text = re.split(r"(?<=[.!?])\s", text)[0].rstrip(".")[:80] if text else None
        else:
            text = answered
        if text is None and needed and isinstance(schema.get("default"), str):
            return schema["default"]
        return text.strip()[: schema.get("maxLength") or None] if text else None

    def _option(self, name: str, options: list[Any], answered: str | None, *, needed: bool) -> Any:
        texts = [each for each in options if isinstance(each, str)]
        if "currency" in parts(name):
            named = [each.currency for each in found.amounts(self._known.request)]
            return next((each for each in named if each in texts), None) or (
                self._fact(name, texts) if needed else None
            )
        for text in texts:
            spoken = re.escape(" ".join(parts(text)))
            if needed or answered:
                where = rf"\b{spoken}\b"
            else:
                # A filter must be said as one: `delivered orders`, `orders that were delivered`.
                subject = re.escape(self._tool.subject)
                where = (
                    rf"\b{spoken} (?:\w+ )?{subject}s?\b"
                    rf"|\b(?:status|is|are|been|still|were|was)(?: not)? {spoken}\b"
                )
            if re.search(where, answered or self._known.request, re.IGNORECASE):
                return text
        return self._fact(name, texts) if needed else None

    def _fact(self, name: str, allowed: Sequence[str]) -> Any:
        for result in self._known.results:
            for each in _objects(result):
                if each.get(name) in allowed:
                    return each[name]
        return None

    def _identifier(self, name: str, schema: Json, path: str, *, needed: bool) -> str | None:
        known = self._known
        words = parts(name)
        thing = " ".join(words[:-1]) if len(words) > 1 else self._tool.subject
        pattern = schema.get("pattern") or _shape(schema)
        if kind(schema) == "integer":
            pattern = r"^\d+$"
        answered = known.answer if known.asked == path and known.answer else ""
        if numbers := found.numbered(answered, thing, pattern, alone=True):
            return numbers[0]
        # A bare number is an order's before it is anything else's.
        alone = needed or thing == "order"
        if numbers := found.numbered(known.request, thing, pattern, alone=alone):
            return numbers[0]
        if not needed:
            return None
        for arguments in known.arguments:
            for each in _objects(arguments):
                if isinstance(each.get(name), str | int):
                    return str(each[name])
        for text in known.earlier:
            if numbers := found.numbered(text, thing, pattern, alone=True):
                return numbers[0]
        return self._only_one(name, thing)

    def _only_one(self, name: str, thing: str) -> str | None:
        """The id of the one thing of this kind that the latest result holds."""
        for result in self._known.results:
            ids: dict[str, None] = {}
            for holder in _objects(result):
                plural = holder.get(f"{name}s")
                if isinstance(plural, list):
                    ids |= dict.fromkeys(str(each) for each in plural)
                listed = holder.get(f"{thing}s")
                if isinstance(listed, list):
                    ids |= dict.fromkeys(str(mapping(each).get("id")) for each in listed)
                if isinstance(holder.get(name), str | int):
                    ids[str(holder[name])] = None
            if ids:
                return next(iter(ids)) if len(ids) == 1 else None
        return None

    def _relevant(self) -> Iterator[Json]:
        """Results, and the entries of results, that are the thing this call is about."""
        for result in self._known.results:
            for each in _objects(result):
                if str(each.get("id")) in self._about:
                    yield each

    def _part_of_address(self, name: str, answered: str | None) -> str | None:
        said = next(filter(None, map(found.address, reversed(self._known.texts))), {})
        alias = {"zip": "postal_code", "line1": "street"}.get(name, name)
        if said and alias in said:
            return said[alias]
        if said and alias in ("name", "country"):
            # The same person in the same country, unless they say otherwise.
            for result in self._known.results:
                for each in _objects(result):
                    if "street" in each and isinstance(each.get(alias), str):
                        return str(each[alias])
        return answered

    def _lines(self, items: Json, *, needed: bool) -> Any:
        """Entries of a known list that the person named, as e.g. lines of an order."""
        items = resolve(items, self._tool.schema)
        wanted = list(mapping(items.get("properties")))
        if not wanted or not needed:
            return None
        for thing in self._relevant():
            for value in thing.values():
                rows = value if isinstance(value, list) else []
                rows = [each for each in rows if isinstance(each, Mapping)]
                if rows and all(set(wanted) <= row.keys() for row in rows):
                    return self._picked(rows, wanted)
        return None

    def _picked(self, rows: list[Json], wanted: list[str]) -> Any:
        request = self._known.request
        said = terms(request) - {stem(part) for part in parts(self._tool.name)}
        every = re.search(r"\b(all|everything|whole|entire|both)\b", request, re.IGNORECASE)
        named = [row for row in rows if said & terms(_described(row))]
        chosen = rows if every or len(rows) == 1 else named
        if not chosen or (len(chosen) < len(rows) and len(chosen) > 1 and not named):
            return None
        picked = []
        for row in chosen:
            line = {key: row[key] for key in wanted}
            if "quantity" in line:
                line["quantity"] = self._quantity(row)
            picked.append(line)
        return picked

    def _quantity(self, row: Json) -> Any:
        for word in parts(_described(row)):
            number = found.quantity(self._known.request, stem(word)) if len(word) > 2 else None
            if number is not None:
                return number
        return row["quantity"]


def question(tool: Tool, missing: Missing) -> str:
    """The plain question for an argument."""
    words = parts(missing.name)
    if missing.name.lower().endswith("id"):
        thing = " ".join(words[:-1]) or tool.subject or "one"
        return f"Which {thing} is it about? Please tell me the {thing} number."
    if set(words) & {"reason"}:
        return "What is the reason?"
    if set(words) & (_WHOLE_TEXT | _SHORT_TEXT):
        return "What should I write? Please tell me in your own words."
    if set(words) & _MONEY:
        return "How much should it be?"
    if missing.name in {"street", "city", "postal_code", "country", "name", "zip", "line1"}:
        return "What is the full address? Please write name, street, postal code, city and country."
    if kind(missing.schema) == "array":
        return "Which products is it about?"
    options = missing.schema.get("enum")
    if isinstance(options, list):
        listed = ", ".join(" ".join(parts(str(each))) for each in options)
        return f"Which {label(missing.name)}: {listed}?"
    return f"What is the {label(missing.name)}?"


def lookup(missing: Missing, tools: Sequence[Tool], known: Known) -> tuple[Tool, Filled] | None:
    """A read that may give `missing`, ready to be called."""
    name = missing.name
    if name.lower().endswith("id"):
        thing = stem((parts(name)[:-1] or [""])[-1])
        candidates = [
            each for each in tools if each.action is Action.LIST and each.subject == thing
        ]
    elif (
        kind(missing.schema) == "array" or set(parts(name)) & _MONEY or name in ("name", "country")
    ):
        candidates = [
            each for each in tools if each.action is Action.READ and each.subject == "order"
        ]
    else:
        return None
    for tool in candidates:
        filled = fill(tool, known)
        if not filled.missing and tool.action in READS:
            return tool, filled
    return None


def _searched(request: str, tool: Tool) -> str | None:
    words = [
        word
        for word in re.findall(r"[A-Za-z][\w-]*", request.lower())
        if word not in _NOT_SEARCHED and not found.without_amounts(word).isdigit()
    ]
    kept = [word[:-1] if len(word) > 3 and re.search(r"[^s]s$", word) else word for word in words]
    return " ".join(kept[-3:]) or None if tool.action in READS else None


def _shape(schema: Json) -> str | None:
    """The pattern that an example stands for, where the schema names none."""
    examples = schema.get("examples") or [schema.get("example")]
    example = next((each for each in examples if isinstance(each, str | int)), None)
    if example is None:
        return None
    pieces = re.findall(r"\d+|[A-Za-z]+|[^A-Za-z\d]+", str(example))
    return "^" + "".join(r"\d+" if each.isdigit() else re.escape(each) for each in pieces) + "$"


def _within(number: int, schema: Json) -> int:
    low, high = schema.get("minimum"), schema.get("maximum")
    number = max(number, int(low)) if isinstance(low, int | float) else number
    return min(number, int(high)) if isinstance(high, int | float) else number


def _objects(value: object, depth: int = 0) -> Iterator[Json]:
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from _objects(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _objects(inner, depth + 1)


def _described(row: Json) -> str:
    return " ".join(str(value) for value in row.values() if isinstance(value, str))
