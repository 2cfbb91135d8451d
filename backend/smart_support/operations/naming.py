"""Names under which operations are offered to the model."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence

NAME_LIMIT = 64
"""Longest tool name, in characters, that OpenAI-compatible servers take."""

_FORBIDDEN = re.compile(r"[^a-zA-Z0-9_-]+")
_DIGITS = 6


def tool_names(operations: Sequence[tuple[str, str | None]]) -> list[str]:
    """A name for each `(key, operationId)`, in order. Keys must be unique.

    Each matches ^[a-zA-Z0-9_-]{1,64}$, no two are equal, and none depends on the order of the
    document: names that are too long or not unique end in a hash of the operation's key.
    """
    wished = [_FORBIDDEN.sub("_", wish or key).strip("_") for key, wish in operations]
    wishes = Counter(wished)
    names: list[str] = []
    taken = {name for name, count in wishes.items() if count == 1 and 0 < len(name) <= NAME_LIMIT}
    for (key, _), wish in zip(operations, wished, strict=True):
        name, digits = wish, _DIGITS
        if wish not in taken:
            name = _hashed(wish, key, digits)
            while name in taken:
                digits += 1
                name = _hashed(wish, key, digits)
            taken.add(name)
        names.append(name)
    return names


def keep_names(wanted: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """The name of each operation by key, where those in `known` keep the one that they have.

    What is new and wants a name that is kept gets one with the hash of its key.
    """
    names = {key: known[key] for key in wanted if key in known}
    taken = set(names.values())
    for key, wish in wanted.items():
        if key in names:
            continue
        name, digits = wish, _DIGITS
        while name in taken:
            name = _hashed(wish, key, digits)
            digits += 1
        taken.add(name)
        names[key] = name
    return names


def _hashed(wish: str, key: str, digits: int) -> str:
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:digits]
    return f"{wish[: NAME_LIMIT - 1 - digits]}_{digest}".lstrip("_")
