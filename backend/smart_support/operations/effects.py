"""How to find out what became of a write: what a person linked to it when they reviewed it.

Values are named by JSON pointers (RFC 6901) into the call: `/arguments/…` are its arguments,
`/answer/…` what the API answered at first, `/key` is its idempotency key.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

CLOCKS_DIFFER = timedelta(seconds=5)
"""How much earlier than ours the API's clock may say that something happened."""

DONE_WORDS = ("done", "completed", "succeeded", "success", "finished")
FAILED_WORDS = ("failed", "error", "cancelled", "canceled", "rejected")

Progress = Literal["done", "failed", "running"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """A read of the same document that shows whether a write took effect."""

    operation: str
    """Its key, e.g. `GET /orders/{order_id}/refunds`."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """Its argument -> pointer into the call."""
    items: str = ""
    """Pointer into its answer to the list to search; an object counts as a list of itself."""
    equal: Mapping[str, str] = field(default_factory=dict)
    """Pointer into an item -> pointer into the call; all must be equal."""
    since: str | None = None
    """Pointer into an item to its time; what is older than the call is not the call's effect."""

    def found(self, answer: Any, call: Mapping[str, Any], sent_at: datetime) -> bool:
        """Whether `answer` shows the effect of `call`."""
        there = pointed(answer, self.items)
        items = there if isinstance(there, list) else [] if there is MISSING else [there]
        return any(self._is(item, call, sent_at) for item in items)

    def _is(self, item: Any, call: Mapping[str, Any], sent_at: datetime) -> bool:
        for place, wanted in self.equal.items():
            value = pointed(item, place)
            if value is MISSING or not _same(value, pointed(call, wanted)):
                return False
        if self.since is None:
            return True
        at = _instant(pointed(item, self.since))
        return at is not None and at >= sent_at - CLOCKS_DIFFER


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusCheck:
    """A read of the same document that says how far an accepted request (202) has come."""

    operation: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    """Its argument -> pointer into the call."""
    state: str = "/status"
    """Pointer into its answer."""
    done: tuple[str, ...] = DONE_WORDS
    failed: tuple[str, ...] = FAILED_WORDS

    def progress(self, answer: Any) -> Progress:
        """How far the request has come; a word that nobody named means it still runs."""
        said = str(pointed(answer, self.state)).lower()
        if said in {word.lower() for word in self.done}:
            return "done"
        return "failed" if said in {word.lower() for word in self.failed} else "running"


MISSING: Any = object()
"""What a pointer into nothing gives."""


def pointed(document: Any, pointer: str) -> Any:
    """The value at an RFC 6901 pointer, or MISSING."""
    value = document
    for escaped in pointer.split("/")[1:]:
        token = escaped.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping) and token in value:
            value = value[token]
        elif isinstance(value, list) and token.isdecimal() and int(token) < len(value):
            value = value[int(token)]
        else:
            return MISSING
    return value


def filled(arguments: Mapping[str, str], call: Mapping[str, Any]) -> dict[str, Any] | None:
    """The arguments of a linked read; None if the call does not have one of them."""
    values = {name: pointed(call, pointer) for name, pointer in arguments.items()}
    return None if any(value is MISSING for value in values.values()) else values


def bad_pointers(pointers: Iterable[str]) -> list[str]:
    """Those of `pointers` into a call that can never point at anything."""
    roots = ("/arguments/", "/answer/")
    return [one for one in pointers if one != "/key" and not one.startswith(roots)]


def lookup_of(stored: Mapping[str, Any] | None) -> Lookup | None:
    """The lookup that was stored as this JSON."""
    return None if stored is None else Lookup(**stored)


def status_of(stored: Mapping[str, Any] | None) -> StatusCheck | None:
    """The status operation that was stored as this JSON."""
    if stored is None:
        return None
    return StatusCheck(
        **{**stored, "done": tuple(stored["done"]), "failed": tuple(stored["failed"])}
    )


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if one == other:
        return True
    # An amount is a number in one place and text in another, as "20.00".
    try:
        return float(one) == float(other)
    except (TypeError, ValueError):
        return False


def _instant(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
