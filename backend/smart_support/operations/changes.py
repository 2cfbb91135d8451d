"""What a new document changed of an operation, field by field, for whoever decides again."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from smart_support.operations.binding import arguments_of, at
from smart_support.operations.records import Access, Change, DraftOperation, Kind

MOST = 100
"""Changes kept of one operation; one that differs in more is another operation."""
_LONGEST = 600

_TEXTS = ("summary", "description", "tool_name", "deprecated")
_SAID = (
    "type", "format", "enum", "const", "pattern", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems", "$ref",
    "additionalProperties", "items",
)  # fmt: skip


def changes_between(before: DraftOperation, after: DraftOperation) -> tuple[Change, ...]:
    """How `after` differs from `before`, what matters most first; MOST at most."""
    found = [*_suggested(before, after), *_arguments(before, after), *_sending(before, after)]
    if not found and before.schema_hash != after.schema_hash:
        words = "Details deep in its schema."
        found = [Change(field="schema", kind="changed", before=None, after=words, breaking=True)]
    found += _texts(before, after)
    return tuple(sorted(found, key=lambda change: not change.breaking)[:MOST])


def is_stricter(before: DraftOperation, after: DraftOperation) -> bool:
    """Whether the rules ask for more care now: a read became a write, or asking is a must."""
    was, now = before.suggestion, after.suggestion
    return (was.access is Access.READ and now.access is Access.WRITE) or (
        now.confirm_locked and not was.confirm_locked
    )


def turned_write(changes: Iterable[Change]) -> bool:
    """Whether a read became a write."""
    return any(change.field == "access" and change.after == "write" for change in changes)


def _suggested(before: DraftOperation, after: DraftOperation) -> Iterator[Change]:
    was, now = before.suggestion, after.suggestion
    for field, one, other in (
        ("access", was.access.value, now.access.value),
        ("risk", was.risk.value, now.risk.value),
        ("always asks", _text(was.confirm_locked), _text(now.confirm_locked)),
        ("idempotency header", was.idempotency_header, now.idempotency_header),
    ):
        if one != other:
            worse = field == "access" and now.access is Access.WRITE
            yield _change(field, one, other, breaking=worse)


def _arguments(before: DraftOperation, after: DraftOperation) -> Iterator[Change]:
    was, now = _described(before), _described(after)
    for name in sorted(was.keys() | now.keys()):
        one, other = was.get(name), now.get(name)
        if one != other:
            new_and_free = one is None and other is not None and not other.startswith("required")
            yield _change(f"argument {name}", one, other, breaking=not new_and_free)


def _described(operation: DraftOperation) -> dict[str, str]:
    """Each argument, also inside the body, and what is asked of it."""
    plans = {plan["argument"]: plan for plan in operation.request_plan["parameters"]}
    found = {}
    for name in arguments_of(operation.schema):
        schema, required = at(operation.schema, name)
        words = ["required" if required else "optional"]
        if (plan := plans.get(name)) is not None:
            words.append(f"in {plan['location']}, style {plan['style']}")
        words += [f"{key} {_text(schema[key])}" for key in _SAID if key in schema]
        found[name] = _cut(", ".join(words))
    return found


def _sending(before: DraftOperation, after: DraftOperation) -> Iterator[Change]:
    was, now = before.request_plan, after.request_plan
    for field, one, other in (
        ("server", was["server"], now["server"]),
        ("media type of the body", _media(was["body"]), _media(now["body"])),
        ("media type of the answer", was["accept"], now["accept"]),
    ):
        if one != other:
            yield _change(field, one, other, breaking=True)


def _texts(before: DraftOperation, after: DraftOperation) -> Iterator[Change]:
    for field in _TEXTS:
        one, other = getattr(before, field), getattr(after, field)
        if one != other:
            yield _change(field.replace("_", " "), _text(one), _text(other), breaking=False)


def _change(field: str, one: str | None, other: str | None, *, breaking: bool) -> Change:
    kind: Kind = "added" if one is None else "removed" if other is None else "changed"
    return Change(
        field=field,
        kind=kind,
        before=None if one is None else _cut(one),
        after=None if other is None else _cut(other),
        breaking=breaking,
    )


def _media(body: Mapping[str, Any] | None) -> str | None:
    return None if body is None else str(body["media_type"])


def _text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
