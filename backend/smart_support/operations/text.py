"""Words from outside, made harmless to read: no control, bidi, invisible or tag characters."""

import re

DESCRIPTION_LIMIT = 1024
"""Longest description, in characters, that every OpenAI-compatible server takes."""

# Categories Cc (except tab and newline), Cf, Cs and Co, and what is invisible without being one
# of them: fillers, variation selectors, the grapheme joiner, Mongolian and Khmer fillers.
_INVISIBLE = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2"
    "\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164"
    "\ud800-\udfff\ue000-\uf8ff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U000110bd\U000110cd\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff\U000f0000-\U0010ffff"
    "]"
)


def clean(value: object, limit: int = DESCRIPTION_LIMIT) -> str:
    """`value` as text of at most `limit` characters that shows all it says.

    Anything but a string is empty text, numbers aside: YAML reads `version: 1.0` as one.
    """
    if value.__class__ is str and len(value) <= limit and value.isascii() and value.isprintable():
        return value.strip()  # nearly all that comes
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return ""
    raw = str(value)[: limit * 4]  # what is cut off below need not be read first
    text = visible(raw)
    text = text.strip()
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def shown(text: str) -> str:
    """`text` as it was written, with what cannot be seen in it spelled out: `‹U+200B›`."""
    if text.isascii() and text.isprintable():
        return text
    return _INVISIBLE.sub(lambda match: f"‹U+{ord(match[0]):04X}›", text)


def visible(text: str) -> str:
    """`text` without what cannot be seen in it, however long it is."""
    if text.isascii() and text.isprintable():
        return text
    return _INVISIBLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
