"""Keys that a JSON document writes twice in one object, of which parsers keep the last.

Source: RFC 8259, 4: names SHOULD be unique, and of those that are not most programs report the
last alone.
"""

import json
import re

from smart_support.operations.records import Skipped
from smart_support.operations.text import clean

TWICE = "The document has it twice under one name; the last one counts."
MOST_TOLD = 50
"""Remarks on one document; the next one says that there are more."""

# Keys (with their colon), other texts, and what begins and ends a collection.
_TOKEN = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")(\s*:)?|[{}\[\]]', re.DOTALL)


def written_twice(text: str) -> list[Skipped]:
    """The keys that stand twice in one object of `text`, each with its line; none if it is YAML.

    Without any, which is nearly always, this takes less than reading the document takes
    `json.loads`: the parser written in C calls back for each object and builds nothing. Only
    with some is it looked for where they are, token by token.
    """
    if not _any_twice(text):
        return []
    found: list[Skipped] = []
    open_keys: list[set[str]] = []
    line, before = 1, 0
    for token in _TOKEN.finditer(text):
        match token[0][0]:
            case "{" | "[":
                open_keys.append(set())
            case "}" | "]":
                open_keys.pop()
            case _ if token[2] is not None:
                key = json.loads(token[1], strict=False)
                if key in open_keys[-1]:
                    line += text.count("\n", before, token.start())
                    before = token.start()
                    if len(found) == MOST_TOLD:
                        more = "More names of the document are written twice."
                        return [*found, Skipped(clean(key, 200), more, line=line)]
                    found.append(Skipped(clean(key, 200), TWICE, line=line))
                open_keys[-1].add(key)
    return found


def _any_twice(text: str) -> bool:
    """Whether some object has a key twice."""
    twice = False

    def closed(pairs: list[tuple[str, object]]) -> None:
        nonlocal twice
        twice = twice or len(dict(pairs)) < len(pairs)

    try:
        json.loads(text, strict=False, object_pairs_hook=closed)
    except (ValueError, RecursionError):
        # It is YAML, whose reader tells of its keys, or deeper than any document may be.
        return False
    return twice
